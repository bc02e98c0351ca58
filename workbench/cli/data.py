"""Commands on data, before anything is trained: show, select."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from workbench.cli.spec_fields import Config, DryRun, Settings, spec_fields
from workbench.errors import InputError

Source = Annotated[str, typer.Argument(metavar="DATA", help="File (.json, .jsonl, .csv, .parquet), folder or Hub id.")]
DropBad = Annotated[bool, typer.Option("--drop-bad", help="Leave out rows that cannot be used instead of stopping.")]
Split = Annotated[str | None, typer.Option(help="Split to read, where the data has several; default: train.")]
Columns = Annotated[
    str | None,
    typer.Option(metavar="ROLE=COLUMN,…", help="What the columns are: prompt=question,response=answer,system=…"),
]
Base = Annotated[
    str | None, typer.Option(help="Model folder, Hub id, GGUF file or gemma-3-270m; default: the pocket base.")
]
Template = Annotated[
    str | None,
    typer.Option(
        help="Chat template: chatml, gemma3, llama3, phi3, cohere, granite, mistral, own, or a Jinja file; default: the first that fits."
    ),
]


def load(source: str, split: str | None, columns: str | None, drop_bad: bool, answers: bool = True):
    """Read the data of a command. Raises InputError, see :func:`workbench.data.reading.load`."""
    from workbench.data import formats, reading

    if columns is not None and not columns.strip():
        raise InputError("--columns is empty; write it as prompt=question,response=answer, or leave it out")
    roles = formats.parse_columns(columns) if columns is not None else None
    return reading.load(source, split=split, columns=roles, drop_bad=drop_bad, answers=answers)


def base_or_default(base: str | None) -> str:
    """Return the base that was given, or the pocket base. Raises InputError for an empty name."""
    from workbench import profiles

    if base is not None and not base.strip():
        raise InputError(
            "--base is empty; name a model folder, a Hub id or a GGUF file, or leave the option out for the pocket base"
        )
    return base or str(profiles.get("pocket").base)


def show(
    source: Source,
    row: Annotated[
        int,
        typer.Option(
            min=1, help="Number of the row among those that are read, from 1; its place in the file is shown."
        ),
    ] = 1,
    base: Base = None,
    template: Template = None,
    max_length: Annotated[int, typer.Option(min=1, help="Tokens per row; what would be cut is marked.")] = 512,
    split: Split = None,
    columns: Columns = None,
    drop_bad: DropBad = False,
) -> None:
    """Show a row as it is trained: the text of the chat template, with the supervised part marked.

    In a terminal the supervised part is green and bold; elsewhere it stands between ⟦ and ⟧.
    """
    from workbench.cli import masks

    loaded = load(source, split, columns, drop_bad)
    for line in masks.row_lines(loaded, row, base_or_default(base), max_length, template):
        typer.echo(line)


@dataclass(frozen=True)
class SelectSpec:
    """What `workbench select` does, in full."""

    by: str = "ifd"
    """Method that scores the rows."""
    size: int = 100
    """Rows to select."""
    base: str | None = None
    """Model that scores the rows; None is the pocket base."""
    good: str | None = None
    """File of rows known to be good, for deita and less."""

    def __post_init__(self):
        if self.size < 1:
            raise InputError(f"size is {self.size}; it must be 1 or more")


def select(
    source: Source,
    by: Annotated[
        str | None, typer.Option(help="random, longest, perplexity, ifd (default), deita, less or distinct.")
    ] = None,
    size: Annotated[int | None, typer.Option(help="Number of rows to select; default: 100.")] = None,
    base: Annotated[str | None, typer.Option(help="Model that scores the rows; default: the pocket base.")] = None,
    good: Annotated[str | None, typer.Option(help="File of rows known to be good, for deita and less.")] = None,
    out: Annotated[Path | None, typer.Option(help="File (.jsonl) to write the selected rows to.")] = None,
    settings: Settings = None,
    config: Config = None,
    split: Split = None,
    columns: Columns = None,
    drop_bad: DropBad = False,
    show: Annotated[int, typer.Option(min=0, help="How many selected and how many rejected rows to show.")] = 5,
    dry_run: DryRun = False,
) -> None:
    """Select rows of your own data by one of the methods of notebook 05, and see which are selected and which are not."""
    spec = SelectSpec(**spec_fields(SelectSpec, {"by": by, "size": size, "base": base, "good": good}, settings, config))
    from workbench import outputs
    from workbench.cli import selection

    if out is not None:
        outputs.require_new(out)

    judge = base_or_default(spec.base)
    selection.require_selector(spec.by, spec.good)
    loaded = load(source, split, columns, drop_bad)
    if dry_run:
        from workbench.cli import dry_run as plan

        lines = plan.select_lines(loaded, judge, spec.size, spec.good, drop_bad)
    else:
        lines = selection.select_rows(loaded, spec.by, spec.size, judge, spec.good, out, show, drop_bad)
    for line in lines:
        typer.echo(line)
