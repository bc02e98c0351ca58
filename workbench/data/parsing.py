"""Read the rows of one file: JSON, JSON lines, CSV or Parquet, compressed or not; what the rows mean is for formats to say.

All of them are read piece by piece, so that memory does not grow with the file.
"""

import csv
import json
import lzma
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import datasets
import pyarrow
import pyarrow.parquet

from workbench.data.json_stream import DECODER, DoubledField, JSONStream
from workbench.data.text_files import COMPRESSIONS, TextFile, reading_bar
from workbench.errors import BadRow, InputError, first_line

SUFFIXES = (".json", ".jsonl", ".ndjson", ".csv", ".parquet")
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
            f"{path}: files ending in {''.join(suffixes(path)) or 'nothing'} are not read; give {known} (or with {', '.join(COMPRESSIONS)})"
        )
    if kind == ".parquet":
        yield from _parquet(path, notes)
        return
    _require_text(path, compression)
    try:
        yield from (_csv if kind == ".csv" else _json)(path, TextFile(path, compression))
    except (EOFError, zlib.error, lzma.LZMAError, OSError) as error:
        raise InputError(f"{path}: cannot be read ({first_line(error)}); write it again") from None


MAGIC = {  # the first bytes of what people rename to .json
    b"\x1f\x8b": "gzip; let its name end in .gz", b"BZh": "bzip2; let its name end in .bz2", b"\xfd7zXZ": "xz; let its name end in .xz",
    b"(\xb5/\xfd": "zstd; let its name end in .zst", b"PAR1": "Parquet; let its name end in .parquet", b"PK\x03\x04": "zip; unpack it",
    b"version https://git-lfs": "a Git LFS pointer; fetch the file it stands for: git lfs pull",
    b"<!DOCTYPE": "a web page; download the file itself", b"<html": "a web page; download the file itself",
}  # fmt: skip


def _require_text(path: Path, compression: str) -> None:
    """Raise InputError for a file whose first bytes say that it is something else than its name."""
    with path.open("rb") as file:
        start = file.read(24)
    found = next((what for magic, what in MAGIC.items() if start.startswith(magic)), None)
    if found and not compression:
        raise InputError(f"{path}: this is {found}")


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
        if not kept:
            raise InputError(
                f"{path}: no column of a type that can be read ({schema.field(odd[0])}); write maps as structs or as JSON"
            )
        with reading_bar(file.metadata.num_rows, path, " rows", file.metadata.num_rows > 100_000) as bar:
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
    pairs = zip(batch.columns, fields, strict=True)
    # only where there is something to change: pyarrow cannot cast lists of objects with a field that is null throughout
    columns = [column if column.type == field.type else column.cast(field.type) for column, field in pairs]
    return pyarrow.Table.from_arrays(columns, schema=pyarrow.schema(fields))


def _csv(path: Path, text: TextFile) -> Rows:
    try:
        header = next((line for _, line in text.lines()), "")
        # Excel writes semicolons where the comma is for decimals
        delimiter = next((sign for sign in ",;\t|" if sign in header), ",")
        reader = csv.DictReader((line for _, line in text.lines()), strict=True, delimiter=delimiter)
        names = reader.fieldnames or []
        if doubled := {name for name in names if names.count(name) > 1}:
            raise InputError(f"{path}: two columns are called {', '.join(sorted(doubled))}; give each its own name")
        wrong = BadRow("", "more cells than columns", "quote cells that hold a comma")
        for i, row in enumerate(reader, 1):
            yield f"row {i}", wrong if None in row else row
    except csv.Error as error:
        raise InputError(f"{path}: broken CSV ({error}); close every quote") from None


def _json(path: Path, text: TextFile) -> Rows:
    """Yield the rows of one list, or of one object per line, whatever the name says: .json files hold either."""
    opening = JSONStream(text.pieces()).peek()
    if opening == "[":
        yield from _listed(path, JSONStream(text.pieces(shown=True)))
    elif opening and (value := _value_over_lines(path, text)) is not None:
        yield "row 1", _row(value)
    elif opening:
        for number, line in text.lines():
            if line.strip():
                yield f"line {number}", _row(_parsed(line))


def _listed(path: Path, stream: JSONStream) -> Rows:
    """Yield the rows of one list. Raises InputError with line and column where it is broken."""
    row = 0
    try:
        stream.skip()
        while stream.peek() != "]":
            if row:
                if stream.peek() != ",":
                    raise stream.error("Expecting ',' delimiter")
                stream.skip()
            row += 1
            yield f"row {row}", _row(stream.value())
        stream.skip()
        if stream.peek():
            raise stream.error("Extra data")
    except (ValueError, RecursionError) as error:
        wrong, fix = _broken(error)
        place = f"line {error.lineno}, column {error.colno}: " if isinstance(error, json.JSONDecodeError) else ""
        raise InputError(f"{path}, {place}{wrong}; {fix}") from None


def _value_over_lines(path: Path, text: TextFile):
    """Return the one object that a file holds over several lines; None where there is one per line. Raises InputError for several."""
    first = next((line for _, line in text.lines() if line.strip()), "")
    if not isinstance(_parsed(first), Exception):
        return None
    stream = JSONStream(text.pieces())
    try:
        stream.peek()
        begins, value, ends = stream.line, stream.value(), stream.line
    except (ValueError, RecursionError):
        return None
    if stream.peek() and begins < ends:
        raise InputError(
            f"{path}, line 1: JSON objects span several lines; write one object per line (jq -c . FILE > NEW.jsonl)"
        )
    return None if stream.peek() else value


def _parsed(text: str):
    """Return what JSON text says, or the error that parsing it gives."""
    try:
        return DECODER.decode(text)
    except (ValueError, RecursionError) as error:
        return error


def _row(value) -> dict | BadRow:
    if isinstance(value, Exception):
        return BadRow("", *_broken(value))
    fix = 'write each row as {"messages": […]} or in another known format'
    return value if isinstance(value, dict) else BadRow("", "not an object with fields", fix)


def _broken(error: Exception) -> tuple[str, str]:
    """Return (what is wrong, the fix) for text that is no JSON, from the error that parsing it gave."""
    if isinstance(error, RecursionError):
        return "JSON nested too deeply", "write it with fewer levels"
    if isinstance(error, DoubledField):
        return f"the field {str(error)[:40]!r} is there twice", "keep one of the two"
    if not isinstance(error, json.JSONDecodeError):
        return f"broken JSON ({first_line(error)})", "write this value as text"
    rest = error.doc[error.pos :].lstrip()
    if rest.startswith(("//", "/*", "#")):
        return "a comment, and JSON has none", "remove the comments"
    if error.msg.startswith("Expecting property name") and rest.startswith("'"):
        return "single quotes, as Python prints objects; JSON has double ones", "write it with json.dump"
    if error.msg == "Extra data" and rest.startswith(("{", "[")):
        return "several JSON values in a row", "write one object per line"
    return f"broken JSON ({error.msg})", f"correct it at column {error.colno} or just before"
