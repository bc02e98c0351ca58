"""Show rows in the terminal as they are trained: the template's text with the supervised part marked."""

import os
import sys
from collections.abc import Iterator
from itertools import groupby

import typer

from workbench.data import content, reading, templates
from workbench.errors import InputError
from workbench.models import loading

OPEN, CLOSE = "⟦", "⟧"
"""Around the supervised part where there are no colours."""


def row_lines(loaded: reading.Loaded, number: int, base: str, max_length: int) -> Iterator[str]:
    """Yield one row as it is trained, of a pair both answers. Raises InputError where there is no such row."""
    if number > len(loaded.rows):
        raise InputError(
            f"--row {number}: {loaded.source} has {len(loaded.rows):,} rows; give 1 to {len(loaded.rows):,}"
        )
    tokenizer = loading.load_tokenizer(base)
    row = loaded.rows[number - 1]
    yield f"row {number} of {len(loaded.rows):,}, format {loaded.format}; template and tokens of {base}"
    yield from marked_lines(row, tokenizer, max_length)


def marked_lines(row: dict, tokenizer, max_length: int) -> Iterator[str]:
    """Yield the marked text of a row, under a line with its counts; of a preference pair, of both its answers."""
    answers = {"": row["messages"]} if row.get("messages") else {
        f"{name}: ": row["prompt"] + row[name] for name in ("chosen", "rejected")
    }  # fmt: skip
    for name, messages in answers.items():
        ids, mask = templates.encode(tokenizer, messages, content.row_tools(row))
        kept = sum(mask[:max_length])
        cut = (
            f"; cut after {max_length:,}, {sum(mask) - kept:,} supervised ones are lost"
            if len(ids) > max_length
            else ""
        )
        yield f"{name}{len(ids):,} tokens, {kept:,} supervised{cut}"
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
