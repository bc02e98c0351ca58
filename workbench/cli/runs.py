"""Commands on finished runs: runs list, show, remove and size, eval, export."""

from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from workbench.errors import InputError, counted

runs_app = typer.Typer(help="Manage the store of training runs.", no_args_is_help=True)

RunId = Annotated[str, typer.Argument(metavar="RUN", help="Id of a run, or the beginning of its id.")]


def print_table(title: str, frame, empty: str = "none") -> None:
    """Print a data frame as a table, or `empty` where it has no rows; its first column is never cut."""
    from rich.console import Console
    from rich.table import Table

    shown = Table(title=title, title_justify="left")
    for number, column in enumerate(map(str, frame.columns)):
        shown.add_column(column, overflow="fold", no_wrap=number == 0)
    for row in frame.itertuples(index=False):
        shown.add_row(*(f"{value:.4g}" if isinstance(value, float) else str(value) for value in row))
    console = Console()
    # The first column is what other commands ask for, so it is never cut, however narrow the terminal is.
    first = max((len(str(value)) for value in frame.iloc[:, 0]), default=0)
    console.width = max(console.width, first + 10 * len(frame.columns))
    console.print(shown if len(frame) else f"{title}: {empty}")


def evaluate(
    run_id: RunId,
    tasks: Annotated[str, typer.Option(help="Tasks of lm-eval, separated by commas: ifeval,hellaswag.")] = "ifeval",
    limit: Annotated[
        int | None, typer.Option(min=1, help="Use the first N prompts of each task; default: all.")
    ] = None,
    new_tokens: Annotated[
        int, typer.Option(min=1, help="Longest reply in tokens; fewer are faster, but replies that are cut fail.")
    ] = 512,
    include: Annotated[Path | None, typer.Option(help="Folder with task files (YAML) of your own.")] = None,
) -> None:
    """Score a run on standard benchmarks such as IFEval; needs the extra `eval` (see data/REFERENCE.md)."""
    from workbench.evaluate import benchmarks

    names = [name.strip() for name in tasks.split(",") if name.strip()]
    if not names:
        raise InputError("--tasks names no task; name some of lm-eval's, separated by commas: ifeval,hellaswag")
    if include is not None and not include.is_dir():
        raise InputError(f"--include {include}: no such folder; name one with task files (YAML)")
    found = benchmarks.benchmark(find_run(run_id), names, limit, new_tokens=new_tokens, include=include)
    print_table(f"{run_id}: 95% intervals over prompts", benchmarks.benchmark_summary(found))


def export(
    run_id: RunId,
    out: Annotated[Path, typer.Argument(help="New folder to write to.")],
    push: Annotated[
        str | None, typer.Option(help="Hub repository (owner/name) to upload the model to; it is made private.")
    ] = None,
    trl: Annotated[
        bool, typer.Option("--trl", help="Write data and configuration to repeat the run with `trl sft` instead.")
    ] = False,
) -> None:
    """Export a run as a merged model in full precision, with tokenizer, chat template and model card."""
    from workbench.experiments.export import export_run, push_to_hub, require_token
    from workbench.train import trl_yaml

    run = find_run(run_id)
    if trl:
        path = trl_yaml.write_trl_yaml(run, out)
        typer.echo(f"{path}: written; next: cd {path.parent} && trl sft --config {path.name}")
        return
    if push:
        require_token()
    typer.echo(f"{export_run(run, out)}: written; read its README.md before you share it")
    if push:
        typer.echo(f"{push_to_hub(out, push)}: uploaded, private")


def _store():
    from workbench.store import Store

    return Store()


@runs_app.command("list")
def list_runs() -> None:
    """List the runs, the newest last."""
    import pandas as pd

    from workbench.runs import damage

    runs = _store()
    rows, damaged = [], {}
    for run in runs.runs():
        if wrong := damage(run.path):
            damaged[run.id] = wrong
        else:
            rows.append([run.id, run.spec["base"], run.scores["rows"], run.spec["seed"], run.size / 2**20])
    print_table(str(runs.root), pd.DataFrame(rows, columns=["id", "base", "rows", "seed", "MiB"]))
    for name in runs.unfinished():
        typer.echo(f"unfinished: {name}")
    for name, wrong in damaged.items():
        typer.echo(f"damaged: {name} ({wrong}); `workbench runs repair` moves it aside")
    for name in runs.moved_aside():
        typer.echo(f"moved aside: {name}; `workbench runs remove {name}` deletes it")


@runs_app.command("show")
def show_run(run_id: RunId) -> None:
    """Print the settings of a run and what was measured."""
    import json

    run = find_run(run_id)
    record = {"id": run.id, "path": str(run.path), **{k: v for k, v in run.record.items() if k not in ("key", "files")}}
    typer.echo(json.dumps(record, indent=2))


def find_run(beginning: str):
    """Return the run of the store whose id starts with `beginning`. Raises InputError for no run or more than one."""
    if not beginning.strip():
        raise InputError("the id of the run is empty; `workbench runs list` lists the runs")
    runs = _store()
    found = [run for run in runs.runs() if run.id.startswith(beginning)]
    if len(found) == 1:
        return found[0]
    many = (
        f"several ids start like this: {', '.join(run.id for run in found)}" if found else f"no such run in {runs.root}"
    )
    if not found and (file := _published_in(beginning)):
        raise InputError(
            f"{beginning}: published in {file} without its weights, and not trained here; run that notebook with fresh = True"
        )
    raise InputError(f"{beginning}: {many}; `workbench runs list` lists them")


def _published_in(beginning: str) -> str | None:
    """Return the name of the file of published results with a run whose id begins so."""
    from workbench import published

    for archive in published.in_folder():
        with suppress(InputError):  # a damaged file is named by `workbench results list`
            if archive.runs["run"].str.startswith(beginning).any():
                return archive.path.name
    return None


@runs_app.command("repair")
def repair_store() -> None:
    """Move damaged runs aside, so that they can be trained again."""
    found = _store().repair()
    for name, what in found.items():
        typer.echo(f"{name}: {what}; train it again with the same settings")
    if not found:
        typer.echo("no run is damaged")


@runs_app.command("remove")
def remove_run(
    run_id: Annotated[str, typer.Argument(help="Full id of a run: finished, unfinished or moved aside.")],
) -> None:
    """Delete a run and its tables."""
    freed = _store().remove(run_id)
    typer.echo(f"{run_id}: removed, {freed / 2**20:.1f} MiB freed")


@runs_app.command("size")
def store_size() -> None:
    """Print how much disk space the store takes."""
    runs = _store()
    total = sum(path.stat().st_size for path in runs.root.rglob("*") if path.is_file())
    typer.echo(f"{runs.root}: {counted(len(runs.runs()), 'run')}, {total / 2**20:.1f} MiB")
