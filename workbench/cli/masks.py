"""Show data in the terminal: what was read, and rows as they are trained, with the supervised part of the template's text marked."""

import os
import sys
from collections.abc import Iterator
from itertools import groupby

import typer

from workbench.data import content, reading, templates
from workbench.errors import InputError, counted
from workbench.models import loading

OPEN, CLOSE = "⟦", "⟧"
"""Around the supervised part where there are no colours."""


def data_lines(loaded: reading.Loaded) -> Iterator[str]:
    """Yield what was read: rows, format, notes."""
    yield f"{'data':<12}{loaded.source}: {counted(len(loaded.rows), 'row')}, format {loaded.format}"
    yield from (f"{'':<12}{note}" for note in loaded.notes)


def row_lines(loaded: reading.Loaded, number: int, base: str, max_length: int, template: str | None) -> Iterator[str]:
    """Yield one row as it is trained, of a pair both answers. Raises InputError where there is no such row."""
    if number > len(loaded.rows):
        raise InputError(
            f"--row {number}: {loaded.source} has {counted(len(loaded.rows), 'row')}; give 1 to {len(loaded.rows):,}"
        )
    tokenizer = loading.load_tokenizer(base, template=template)
    row = loaded.rows[number - 1]
    yield f"row {number} of {len(loaded.rows):,} ({loaded.place(number - 1)}), format {loaded.format}; template and tokens of {base}"
    yield from marked_lines(row, tokenizer, max_length)


def marked_lines(row: dict, tokenizer, max_length: int) -> Iterator[str]:
    """Yield the marked text of a row, under a line with its counts; of a preference pair, of both its answers."""
    names = ("",) if row.get("messages") else ("chosen: ", "rejected: ")
    for name, each in zip(names, content.conversations(row), strict=True):
        ids, mask = templates.encode(tokenizer, each["messages"], content.row_tools(row))
        kept = sum(mask[:max_length])
        cut = (
            f"; cut after {max_length:,}, {sum(mask) - kept:,} supervised ones are lost"
            if len(ids) > max_length
            else ""
        )
        yield f"{name}{counted(len(ids), 'token')}, {kept:,} supervised{cut}"
        yield marked_text(tokenizer, ids[:max_length], mask[:max_length])


def marked_text(tokenizer, ids: list[int], mask: list[int]) -> str:
    """Return the text of token ids with the supervised parts in colour, or in brackets where the output has no colours."""
    colours = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    parts = []
    for supervised, pairs in groupby(zip(ids, mask, strict=True), key=lambda pair: pair[1]):
        text = tokenizer.decode([token for token, _ in pairs])
        if supervised:
            text = typer.style(text, fg="green", bold=True) if colours else f"{OPEN}{text}{CLOSE}"
        parts.append(text)
    return "".join(parts)
