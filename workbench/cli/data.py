"""Commands on data, before anything is trained: select."""

from pathlib import Path
from typing import Annotated

import typer

Source = Annotated[str, typer.Argument(metavar="DATA", help="File (.json, .jsonl, .csv, .parquet), folder or Hub id.")]
DropBad = Annotated[bool, typer.Option("--drop-bad", help="Leave out rows that cannot be used instead of stopping.")]


def select(
    source: Source,
    by: Annotated[str, typer.Option(help="random, longest, perplexity, ifd, deita, less or distinct.")] = "ifd",
    size: Annotated[int, typer.Option(help="Number of rows to select.")] = 100,
    base: Annotated[str | None, typer.Option(help="Model that scores the rows; default: the pocket base.")] = None,
    good: Annotated[str | None, typer.Option(help="File of rows known to be good, for deita and less.")] = None,
    out: Annotated[Path | None, typer.Option(help="File (.jsonl) to write the selected rows to.")] = None,
    drop_bad: DropBad = False,
    show: Annotated[int, typer.Option(help="How many selected and how many rejected rows to show.")] = 5,
) -> None:
    """Select rows of your own data by one of the methods of notebook 05, and see which are selected and which are not."""
    from workbench.cli import selection

    for line in selection.select_rows(source, by, size, base, good, out, drop_bad, show):
        typer.echo(line)
