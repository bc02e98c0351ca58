"""Errors that a user's input can cause, and one-line messages."""

import difflib
from collections.abc import Iterable


class InputError(Exception):
    """Input that cannot be used: one line that names the file, the row, the field and the fix.

    The command line prints the message and exits with code 2; a notebook shows it as the last line of the traceback.
    """


class BadRow(Exception):
    """A row of data that cannot be used: its field, what is wrong with it, and the fix. Reading names the file and the row as well."""

    def __init__(self, field: str, wrong: str, fix: str):
        super().__init__(f"field {field}: {wrong}; {fix}" if field else f"{wrong}; {fix}")
        self.wrong = wrong


def shortened(value: object, most: int = 60) -> str:
    """Return a value as Python writes it, cut after `most` characters, for messages of one line."""
    try:
        text = repr(value)
    except ValueError:  # Python does not print integers of more than 4,300 digits
        return "a very large number"
    return text if len(text) <= most else text[:most] + "…"


def counted(count: int, noun: str) -> str:
    """Return a count with its noun in the singular or plural: "1 row", "1,200 rows"."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def known_names(word: object, names: Iterable[str]) -> str:
    """Return the end of an error message about an unknown name: the nearest known name if one is near, and all known ones."""
    names = list(names)
    near = difflib.get_close_matches(str(word), names, 1)
    return (f"; did you mean {near[0]!r}?" if near else ";") + f" known are {', '.join(names) or 'none'}"


def first_line(error: Exception) -> str:
    """Return the first line of an error, at most 200 characters, for messages of one line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
