"""What a finding of validation is: how bad, what it is, which rows have it."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from workbench.errors import counted


@dataclass(frozen=True)
class Finding:
    """One fault of the data or the tokenizer, or one fact about them."""

    level: str
    """"error" (training makes no sense), "warning" (costs quality) or "note" (worth knowing)."""
    code: str
    """A short name that does not change: "truncated"."""
    text: str
    """One line: what it is, how many rows have it, and the fix."""
    rows: tuple[int, ...] = ()
    """Positions of these rows, from 0."""
    first: str = ""
    """The first of them as messages name it: "rows[3]", or its place in a file (see :func:`placed`)."""


def finding(level: str, code: str, rows: Iterable[int], text: str) -> list[Finding]:
    """Return a list with one finding, or an empty one if no row has it; "{n} rows" in the text becomes "1 row", "2 rows", …"""
    rows = tuple(dict.fromkeys(rows))
    text = re.sub(r"\{n\} (row|pair)s", lambda found: counted(len(rows), found[1]), text)
    return [Finding(level, code, text.replace("{n}", f"{len(rows):,}"), rows, by_position(rows[0]))] if rows else []


def by_position(row: int) -> str:
    """Return the name of a row where only its position among the rows is known."""
    return f"rows[{row}]"


def placed(findings: Sequence[Finding], place: Callable[[int], str]) -> list[Finding]:
    """Return findings that name their first row by its place, see :attr:`workbench.data.reading.Loaded.place`."""

    def moved(found: Finding) -> Finding:
        first = place(found.rows[0])
        return replace(found, text=found.text.replace(found.first, first), first=first)

    return [moved(each) if each.rows else each for each in findings]
