"""Read a text file as lines or in pieces, compressed or not, with a progress bar where it is large."""

import codecs
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pyarrow
from fsspec.compression import compr

from workbench.errors import InputError
from workbench.parallel import progress_bar

COMPRESSIONS = {".gz": "gzip", ".bz2": "bz2", ".xz": "xz", ".zst": "zstd"}
BAR_BYTES = 50_000_000  # larger files are read with a progress bar
PIECE = 2**20  # bytes
STEP = 1_000  # lines between two movements of the bar


@contextmanager
def reading_bar(total: int, path: Path, unit: str, shown: bool):
    """Give a progress bar for reading a file."""
    bar = progress_bar(total, f"reading {path.name}", quiet=not shown)
    bar.unit, bar.unit_scale = unit, True
    with bar:
        yield bar


@dataclass(frozen=True)
class TextFile:
    """A text file in UTF-8, with or without a byte order mark."""

    path: Path
    compression: str
    """Its ending, one of COMPRESSIONS, or "" for none."""

    def lines(self) -> Iterator[tuple[int, str]]:
        """Yield (number, text) of each line, its end included."""
        with self._open(shown=True) as (stream, raw, bar):
            offset = 0
            for number, line in enumerate(stream, 1):
                try:
                    text = line.decode("utf-8-sig" if number == 1 else "utf-8")
                except UnicodeDecodeError as error:
                    raise self._not_utf8(number, offset + error.start) from None
                yield number, text
                offset += len(line)
                if number % STEP == 0:
                    bar.update(raw.tell() - bar.n)

    def pieces(self, shown: bool = False) -> Iterator[str]:
        """Yield the text in pieces of about a megabyte, however long its lines are.

        Args:
            shown: show a progress bar where the file is large.
        """
        decoder, offset, lines = codecs.getincrementaldecoder("utf-8")(), 0, 1
        with self._open(shown) as (stream, raw, bar):
            while data := stream.read(PIECE):
                yield from self._decoded(decoder, data, offset, lines)
                offset, lines = offset + len(data), lines + data.count(b"\n")
                bar.update(raw.tell() - bar.n)
            yield from self._decoded(decoder, b"", offset, lines, final=True)

    def _decoded(self, decoder, data: bytes, offset: int, line: int, final: bool = False) -> Iterator[str]:
        pending = len(decoder.getstate()[0])  # bytes of a character that the piece before has cut
        try:
            text = decoder.decode(data, final)
        except UnicodeDecodeError as error:
            line += error.object[: error.start].count(b"\n")
            raise self._not_utf8(line, offset - pending + error.start) from None
        yield text.removeprefix("\ufeff") if not offset else text

    def _not_utf8(self, line: int, byte: int) -> InputError:
        return InputError(f"{self.path}, line {line}: not UTF-8 (byte {byte}); save it as UTF-8")

    @contextmanager
    def _open(self, shown: bool):
        size = self.path.stat().st_size
        with (
            open(self.path, "rb") as raw,
            reading_bar(size, self.path, "B", shown and size > BAR_BYTES) as bar,
            self._unpacked(raw) as stream,
        ):
            yield stream, raw, bar

    def _unpacked(self, raw: BinaryIO) -> BinaryIO:
        if self.compression == ".zst":
            # by fsspec, a file that is cut short, and all but the first frame, would be lost in silence
            return io.BufferedReader(pyarrow.CompressedInputStream(pyarrow.PythonFile(raw, mode="r"), "zstd"))
        return compr[COMPRESSIONS[self.compression]](raw, mode="rb") if self.compression else raw
