"""Read the rows of one file: JSON, JSON lines, CSV or Parquet, compressed or not; what the rows mean is for formats to say.

JSON lines, CSV and Parquet are read piece by piece, so that memory does not grow with the file. One JSON list is read whole.
"""

import csv
import io
import json
import lzma
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import datasets
import pyarrow
import pyarrow.parquet
from fsspec.compression import compr

from workbench.errors import BadRow, InputError, first_line
from workbench.parallel import progress_bar

SUFFIXES = (".json", ".jsonl", ".ndjson", ".csv", ".parquet")
COMPRESSIONS = {".gz": "gzip", ".bz2": "bz2", ".xz": "xz", ".zst": "zstd"}
BAR_BYTES = 50_000_000  # larger files are read with a progress bar
BATCH = 1_000

Rows = Iterator[tuple[str, dict | BadRow]]
"""Each row with its place as messages name it, "line 3" or "row 3"."""

csv.field_size_limit(sys.maxsize)  # the default, 128 kB, is shorter than a long answer


def suffixes(path: Path) -> tuple[str, str]:
    """Return the ending that says what a file holds and the one that says how it is compressed, in lower case, "" for none."""
    last = path.suffix.lower()
    return (Path(path.stem).suffix.lower(), last) if last in COMPRESSIONS else (last, "")


def is_data(path: Path) -> bool:
    """Return whether a file can be read, by its ending."""
    kind, compression = suffixes(path)
    return kind in SUFFIXES and not (kind == ".parquet" and compression)


def read_file(path: Path, notes: list[str]) -> Rows:
    """Yield (place, row or BadRow) for each row of a file. Columns of a Parquet file that cannot be read are added to `notes`.

    Raises:
        InputError: the file cannot be read.
    """
    kind, compression = suffixes(path)
    if not is_data(path):
        known = ", ".join(SUFFIXES)
        raise InputError(
            f"{path}: files ending in {path.suffix or 'nothing'} are not read; give {known} (or with {', '.join(COMPRESSIONS)})"
        )
    if kind == ".parquet":
        yield from _parquet(path, notes)
        return
    try:
        yield from (_csv if kind == ".csv" else _json)(path, lambda: _lines(path, compression))
    except (EOFError, zlib.error, lzma.LZMAError, OSError) as error:
        raise InputError(f"{path}: cannot be read ({first_line(error)}); write it again") from None


def dataset_rows(table: datasets.Dataset) -> Rows:
    """Yield the rows of a datasets.Dataset, without the fields that Arrow fills in where rows have different keys."""
    for column, feature in table.features.items():
        if isinstance(feature, datasets.Image | datasets.Audio | datasets.Video):
            table = table.cast_column(column, type(feature)(decode=False))
    filled = {column for column, feature in table.features.items() if _is_nested(feature)}
    place = 0
    for batch in table.iter(BATCH):
        for values in zip(*batch.values(), strict=True):
            place += 1
            row = dict(zip(batch, values, strict=True))
            yield f"row {place}", row | {column: without_nulls(row[column]) for column in filled}


def without_nulls(value):
    """Return `value` without the empty fields that Arrow fills in where rows have different keys."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


def _is_nested(feature) -> bool:
    """Return whether a feature has keys that Arrow gives to all rows; JSON columns keep their own."""
    if isinstance(feature, dict):
        return True
    return _is_nested(feature[0] if isinstance(feature, list) else feature.feature) if _is_list(feature) else False


def _is_list(feature) -> bool:
    return isinstance(feature, list | datasets.List | datasets.LargeList | datasets.Sequence)


def _parquet(path: Path, notes: list[str]) -> Rows:
    try:
        file = pyarrow.parquet.ParquetFile(path)
        schema, odd = file.schema_arrow, []
        for field in schema:
            try:
                datasets.Features.from_arrow_schema(pyarrow.schema([_plain_field(field)]))
            except (ValueError, TypeError, NotImplementedError):
                odd.append(field.name)
        if odd:
            notes.append(
                f"{path}: left out {', '.join(odd)}, columns of a type that cannot be read ({schema.field(odd[0]).type})"
            )
        kept = [field.name for field in schema if field.name not in odd]
        with _bar(file.metadata.num_rows, path, " rows", file.metadata.num_rows > 100_000) as bar:
            start = 0
            for batch in file.iter_batches(BATCH, columns=kept):
                table = datasets.Dataset(_plain_table(batch).replace_schema_metadata(schema.metadata))
                for i, (_, row) in enumerate(dataset_rows(table), start + 1):
                    yield f"row {i}", row
                start += len(batch)
                bar.update(len(batch))
    except (pyarrow.ArrowException, OSError, ValueError, KeyError, TypeError) as error:  # damage shows in many ways
        raise InputError(f"{path}: not a sound Parquet file ({first_line(error)}); write it again") from None


def _plain_field(field: pyarrow.Field) -> pyarrow.Field:
    return field.with_type(field.type.value_type) if pyarrow.types.is_dictionary(field.type) else field


def _plain_table(batch: pyarrow.RecordBatch) -> pyarrow.Table:
    """Return a batch as a table, with the categories of pandas as their values."""
    fields = [_plain_field(field) for field in batch.schema]
    columns = [column.cast(field.type) for column, field in zip(batch.columns, fields, strict=True)]
    return pyarrow.Table.from_arrays(columns, schema=pyarrow.schema(fields))


@contextmanager
def _bar(total: int, path: Path, unit: str, shown: bool):
    bar = progress_bar(total, f"reading {path.name}", quiet=not shown)
    bar.unit, bar.unit_scale = unit, True
    with bar:
        yield bar


def _lines(path: Path, compression: str) -> Iterator[tuple[int, str]]:
    """Yield (number, text) of each line of a text file, its end included."""
    size = path.stat().st_size
    with open(path, "rb") as raw, _bar(size, path, "B", size > BAR_BYTES) as bar:
        stream = _unpacked(raw, compression)
        offset = 0
        for number, line in enumerate(stream, 1):
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                place = f"{path}, line {number}: not UTF-8 (byte {offset + error.start})"
                raise InputError(f"{place}; save it as UTF-8") from None
            yield number, text
            offset += len(line)
            if number % BATCH == 0:
                bar.update(raw.tell() - bar.n)


def _unpacked(raw: BinaryIO, compression: str) -> BinaryIO:
    if (
        compression == ".zst"
    ):  # by fsspec, a file that is cut short, and all but the first frame, would be lost in silence
        return io.BufferedReader(pyarrow.CompressedInputStream(pyarrow.PythonFile(raw, mode="r"), "zstd"))
    return compr[COMPRESSIONS[compression]](raw, mode="rb") if compression else raw


def _csv(path: Path, lines: Callable) -> Rows:
    try:
        reader = csv.DictReader((text for _, text in lines()), strict=True)
        names = reader.fieldnames or []
        if doubled := {name for name in names if names.count(name) > 1}:
            raise InputError(f"{path}: two columns are called {', '.join(sorted(doubled))}; give each its own name")
        wrong = BadRow("", "more cells than columns", "quote cells that hold a comma")
        for i, row in enumerate(reader, 1):
            yield f"row {i}", wrong if None in row else row
    except csv.Error as error:
        raise InputError(f"{path}: broken CSV ({error}); close every quote") from None


def _json(path: Path, lines: Callable) -> Rows:
    """Yield the rows of one list, or of one object per line, whatever the name says: .json files hold either."""
    first = next((text for _, text in lines() if text.strip()), None)
    if first is None:
        return
    if not first.lstrip().startswith("[") and (
        not isinstance(_parsed(first), Exception) or not _is_one_value(path, lines)
    ):
        for number, line in lines():
            if line.strip():
                yield f"line {number}", _row(_parsed(line), line)
        return
    text = "".join(line for _, line in lines())
    value = _parsed(text)
    if isinstance(value, Exception):
        wrong, fix = _broken(text, value)
        place = f"line {value.lineno}, column {value.colno}: " if isinstance(value, json.JSONDecodeError) else ""
        raise InputError(f"{path}, {place}{wrong}; {fix}")
    for i, row in enumerate(value if isinstance(value, list) else [value], 1):
        yield f"row {i}", _row(row, "")


def _is_one_value(path: Path, lines: Callable) -> bool:
    """Return whether a file whose first line is no JSON is one object over several lines; raise InputError where it is several."""
    text = "".join(line for _, line in lines()).lstrip()
    try:
        _, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return False
    if "\n" in text[:end].rstrip() and text[end:].strip():
        raise InputError(
            f"{path}, line 1: JSON objects span several lines; write one object per line (jq -c . FILE > NEW.jsonl)"
        )
    return not text[end:].strip()


def _parsed(text: str):
    """Return what JSON text says, or the error that parsing it gives."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        return error


def _row(value, line: str) -> dict | BadRow:
    if isinstance(value, Exception):
        return BadRow("", *_broken(line, value))
    fix = 'write each row as {"messages": […]} or in another known format'
    return value if isinstance(value, dict) else BadRow("", "not an object with fields", fix)


def _broken(text: str, error: Exception) -> tuple[str, str]:
    """Return (what is wrong, the fix) for text that is no JSON."""
    if isinstance(error, RecursionError):
        return "JSON nested too deeply", "write it with fewer levels"
    if not isinstance(error, json.JSONDecodeError):
        return f"broken JSON ({first_line(error)})", "write this value as text"
    rest = text[error.pos :].lstrip()
    if rest.startswith(("//", "/*", "#")) or text.lstrip().startswith(("//", "/*", "#")):
        return "a comment, and JSON has none", "remove the comments"
    if error.msg == "Extra data" and rest.startswith(("{", "[")):
        return "several JSON values in a row", "write one object per line"
    return f"broken JSON ({error.msg})", f"correct it at column {error.colno} or just before"
