"""Commands on published results: results list, show, verify, publish."""

from typing import Annotated

import typer

from workbench.cli.runs import print_table
from workbench.cli.spec_fields import key_and_value
from workbench.errors import counted

results_app = typer.Typer(help="Look at published results, verify and make them.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="FILE", help="File of results, or the beginning of its name: 04.")]


@results_app.command("list")
def list_results() -> None:
    """List the files of published results, and say which are stale or damaged."""
    from workbench import published
    from workbench.experiments import results

    found = results.summary()
    print_table(str(published.FOLDER), found.drop(columns="problem").astype(object).fillna(""))
    for problem in found["problem"]:
        if problem:
            typer.echo(problem)


@results_app.command("show")
def show_results(name: Name) -> None:
    """Print the trainings in a file of published results, and its tables."""
    from workbench import published
    from workbench.experiments import results

    archive = results.find_archive(name)
    published.require_whole(archive)
    columns = ["run", "seed", "rows", "steps", "tokens", "seconds", "cpu", "date"]
    print_table(str(archive.path), archive.runs[columns])
    for table, parts in archive.about["tables"].items():
        typer.echo(
            f'{table}: {counted(len(parts), "table")}; pandas.read_parquet("zip://{table}.parquet::{archive.path}")'
        )
    if stale := published.why_stale(archive):
        typer.echo(stale)


@results_app.command("verify")
def verify_results(
    names: Annotated[
        list[str] | None, typer.Argument(help="Files to draw from; default: those of the profile pocket.")
    ] = None,
    cells: Annotated[int, typer.Option(min=1, help="How many trainings to make again.")] = 4,
    seed: Annotated[str, typer.Option(help="Seed of the draw; any text.")] = "0",
    seconds: Annotated[
        float | None,
        typer.Option(
            min=1,
            help="Leave out trainings that took longer, with the runs they start from; default: none is left out.",
        ),
    ] = None,
) -> None:
    """Train published runs again, compare replies and scores, and exit with 1 where one disagrees."""
    from workbench import published
    from workbench.experiments import results

    drawn, left_out = results.draw(cells, seed, names or (), seconds=seconds)
    if left_out:
        typer.echo(
            f"{counted(left_out, 'training')} left out of the draw: more than {seconds:g} seconds each with what they start from; "
            "without --seconds, as in the weekly workflow, all are drawn from"
        )
    found = results.verify(drawn)
    shown = found.assign(table=found["table"].map(published.table_name))
    print_table(f"{counted(found['run'].nunique(), 'training')} made again", shown)
    wrong = found.loc[~found["agrees"], "run"].unique()
    typer.echo(f"disagree: {', '.join(wrong) or 'none'}")
    if len(wrong):
        raise typer.Exit(1)


@results_app.command("publish")
def publish_results(
    notebook: Annotated[str, typer.Argument(help="Notebook of the series, e.g. 04.")],
    profile: Annotated[str | None, typer.Option(help="Profile to run it with; default: the notebook's own.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Parameter to change, as key=value. Repeatable.")
    ] = None,
) -> None:
    """Execute a notebook with trainings made here, and write what it measured to data/results."""
    from workbench.experiments import results

    target, executed = results.publish(notebook, profile, settings=dict(map(key_and_value, settings or [])))
    typer.echo(f"{target}: written, {target.stat().st_size / 1e6:.1f} MB")
    typer.echo(f"{executed}: the executed notebook; `make notebooks` updates the committed ones")
