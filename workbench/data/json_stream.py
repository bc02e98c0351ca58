"""Read JSON values one behind the other from text that comes in pieces, so that memory holds one value and not the file.

The decoder is Python's. ijson also reads in pieces, but it turns half of a surrogate pair into "?" without a word, refuses the NaN that
json.dump writes, and names no line.
"""

import json
from collections.abc import Iterator

NEAR_END = 16
"""Characters: what is wrong or ends so near to the end of what was read may be a word, an escape or a number that continues in the next
piece."""


class DoubledField(ValueError):
    """An object has a field twice, of which Python would keep the last one without a word."""


def _once(pairs: list[tuple[str, object]]) -> dict:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise DoubledField(next(name for name in names if names.count(name) > 1))
    return found


DECODER = json.JSONDecoder(object_pairs_hook=_once)


class JSONStream:
    """The JSON values in pieces of text."""

    def __init__(self, pieces: Iterator[str]):
        self._pieces = pieces
        self._text, self._at, self._ended = "", 0, False
        self._lines, self._columns = 0, 0  # before the text that is held

    def peek(self) -> str:
        """Return the next character that is no space, "" at the end."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in " \t\r\n":
                self._at += 1
            if self._at < len(self._text) or self._ended:
                return self._text[self._at : self._at + 1]
            self._read()

    def skip(self) -> None:
        """Step over the next character that is no space."""
        self.peek()
        self._at += 1

    def value(self) -> object:
        """Return the next value.

        Raises:
            json.JSONDecodeError: broken JSON, with the line and the column in the whole text.
            ValueError, RecursionError: a field that is there twice, a number of too many digits, too many levels.
        """
        self.peek()
        while True:
            try:
                value, end = DECODER.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                unfinished = error.msg.startswith("Unterminated string") or error.pos > len(self._text) - NEAR_END
                if not unfinished or self._ended:
                    raise self.error(error.msg, error.pos) from None
            else:
                if (
                    end < len(self._text) - NEAR_END or self._ended
                ):  # of 1.5e-7 it takes 1.5 where the piece ends before the 7
                    self._at = end
                    return value
            self._read()

    @property
    def line(self) -> int:
        """The number of the line at which reading continues; the first is 1."""
        return self._lines + self._text.count("\n", 0, self._at) + 1

    def error(self, message: str, position: int | None = None) -> json.JSONDecodeError:
        """Return an error at a position of the text that is held; None is the next character."""
        position = self._at if position is None else position
        found = json.JSONDecodeError(message, self._text, position)
        if found.lineno == 1:
            found.colno += self._columns
        found.lineno += self._lines
        return found

    def _read(self) -> None:
        """Forget what was decoded, and read as much again as is left: each value is tried only a few times, however long it is."""
        gone, left = self._text[: self._at], [self._text[self._at :]]
        self._lines += gone.count("\n")
        self._columns = len(gone) - gone.rfind("\n") - 1 + (0 if "\n" in gone else self._columns)
        wanted, held = 2 * len(left[0]), len(left[0])
        while held <= wanted and not self._ended:
            piece = next(self._pieces, None)
            self._ended = piece is None
            left.append(piece or "")
            held += len(left[-1])
        self._text, self._at = "".join(left), 0
