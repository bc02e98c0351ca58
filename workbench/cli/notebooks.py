"""Commands on notebooks: run, report, fork, diff."""

from collections.abc import Iterator
from typing import Annotated

import typer

from workbench.cli.runs import print_table
from workbench.cli.spec_fields import key_and_value


def run(
    names: Annotated[list[str] | None, typer.Argument(help="Notebooks or forks; default: the whole series.")] = None,
    profile: Annotated[
        str | None,
        typer.Option(
            help="pocket (CPU, no network), laptop (CPU, a real base model), gpu or gpu-small; default: the one that the notebook names."
        ),
    ] = None,
) -> None:
    """Execute notebooks from top to bottom."""
    from workbench.experiments import notebooks

    if not _all_ran(notebooks.run_notebooks(names or (), profile)):
        raise typer.Exit(1)


def _all_ran(outcomes: Iterator) -> bool:
    """Print how each notebook ended, as soon as it has; return whether all of them ran to the end."""
    good = True
    for outcome in outcomes:
        typer.echo(f"{outcome.name:<24}{outcome.seconds:6.0f} s  {outcome.error or 'ok'}  {outcome.path}")
        good = good and not outcome.error
    return good


def report(
    readme: Annotated[
        bool, typer.Option("--readme", help="Update the claims in README and data/CLAIMS.md instead.")
    ] = False,
) -> None:
    """Write the executed notebooks as web pages to open in a browser."""
    from workbench import environment, outputs
    from workbench.plots.report import build, claims_page, cover, fill

    if not readme:
        typer.echo(f"open {build()}")
        return
    path = environment.ROOT / "README.md"
    text = fill(path)
    outputs.write_file(path, text, replace=True)
    (environment.ROOT / "data").mkdir(exist_ok=True)
    page = outputs.write_file(environment.ROOT / "data" / "CLAIMS.md", claims_page(), replace=True)
    typer.echo(f"{path} and {page}: claims written")
    if "stages.png" in text:
        typer.echo(f"{cover()}: picture written")


def fork(
    notebook: Annotated[str, typer.Argument(help="Notebook to start from, e.g. 05_data_quality or 05.")],
    name: Annotated[str, typer.Argument(help="Name of the copy.")],
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Parameter to change, as key=value. Repeatable.")
    ] = None,
    execute: Annotated[bool, typer.Option("--run", help="Run the copy at once.")] = False,
) -> None:
    """Copy a notebook with other parameters."""
    from workbench.experiments import notebooks

    path = notebooks.fork_notebook(notebook, name, dict(map(key_and_value, settings or [])))
    typer.echo(f"{path}: written")
    if not execute:
        typer.echo(f"next: workbench run {name}")
    elif _all_ran(notebooks.run_notebooks([name])):
        typer.echo(f"next: workbench diff {notebook} {name}")
    else:
        raise typer.Exit(1)


def diff(
    a: Annotated[str, typer.Argument(help="Notebook or fork, by name or path.")],
    b: Annotated[str, typer.Argument(help="The one to compare with it.")],
) -> None:
    """Show what differs between two runs of a notebook: parameters, effects and verdicts."""
    from workbench.experiments import comparison

    found = comparison.diff(a, b)
    print_table(f"parameters: {a} (a) and {b} (b)", found.parameters, "no difference")
    print_table("claims", found.claims.drop(columns="flipped"))
    flipped = found.claims.loc[found.claims["flipped"], "claim"].tolist()
    typer.echo(f"flipped verdicts: {', '.join(flipped) or 'none'}")
