"""Read instruction and preference data from files, folders and the Hub into one shape.

An instruction row is {"messages": [{"role", "content"}, …]} with the answer last; a preference pair is {"prompt", "chosen",
"rejected"}, each a list of messages. Both may have "tools", a list of JSON schemas, and further columns.
"""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import datasets

from workbench.data import files, formats
from workbench.errors import InputError

VALUES = {
    str: "string",
    bool: "bool",
    float: "float64",
}  # whole numbers stay JSON: Arrow's end at 2**63


@dataclass(frozen=True)
class Loaded:
    """Data as it was read: the rows, and what a user should know about how they were read."""

    rows: datasets.Dataset
    """In the one shape (see the module)."""
    format: str
    """The recognised format as users call it, "Alpaca"; several files of several formats joined by a comma."""
    source: str
    """The file, folder or Hub id as given."""
    notes: list[str] = field(default_factory=list)
    """What was chosen or left out on the way, a line each."""


def load(source: str | Path, *, split: str | None = None, drop_bad: bool = False) -> Loaded:
    """Read a .json, .jsonl, .csv or .parquet file, a folder of such, or a Hub data set, in any of formats.FORMATS.

    Args:
        source: a path, or a Hub id "owner/name", in full "owner/name:config@revision#split:rows", where `rows` asks for so many
            rows, drawn from the split by a fixed seed.
        split: on the Hub the split ("train", "train[:1000]"; default what the source says, else "train"). In a folder the files with this word in
            their names; by default all but those named like held-out data. Else the rows with this in their `split` column.
        drop_bad: leave rows out that cannot be used, and say so in the notes, instead of stopping at the first.

    Raises:
        InputError: nothing there, unreadable, no known format, or a row that cannot be used.
    """
    notes: list[str] = []
    tables = files.tables(str(source), split, notes)
    names, rows = [], []
    for name, raw in tables:
        form, converted = _convert(name, raw, drop_bad, notes)
        names.append(form.name)
        rows += converted
    if split and Path(source).exists() and not all(split in files.words(name) for name, _ in tables):
        found = sorted({str(row["split"]) for row in rows if "split" in row})
        rows = [row for row in rows if row.get("split") == split]
        if not rows:
            there = f"there are {', '.join(found)}" if found else "neither file names nor a column split name any"
            raise InputError(f"{source}: no split {split!r}; {there}")
    if len({"messages" in row for row in rows}) > 1:
        raise InputError(f"{source}: some files hold preference pairs, others single answers; load them one by one")
    return Loaded(to_dataset(rows), ", ".join(dict.fromkeys(names)), str(source), notes)


def take_first(rows: datasets.Dataset, size: int) -> datasets.Dataset:
    """The first `size` rows: smaller sets are nested in larger ones. Raises InputError where there are not so many."""
    if not 0 < size <= len(rows):
        raise InputError(f"size asks for {size:,} rows; the data hold {len(rows):,}; ask for 1 to {len(rows):,}")
    return rows.select(range(size))


def to_dataset(rows: list[dict]) -> datasets.Dataset:
    """Rows with typed columns; what differs from row to row (tools, check) is kept as JSON, not filled up with nulls."""
    features = {}
    for name in dict.fromkeys(key for row in rows for key in row):
        types = {type(row[name]) for row in rows if row.get(name) is not None}
        plain = VALUES.get(types.pop()) if len(types) == 1 else None
        features[name] = datasets.Value(plain) if plain else datasets.Json()
        if name in ("messages", "prompt", "chosen", "rejected"):
            features[name] = datasets.List(datasets.Json())
    # Every row needs every column: from_list takes the columns of the first.
    return datasets.Dataset.from_list(
        [{**dict.fromkeys(features), **row} for row in rows], features=datasets.Features(features)
    )


def _convert(name: str, raw: list, drop_bad: bool, notes: list[str]) -> tuple[formats.Format, list[dict]]:
    """The table's format and its rows in the one shape. `raw` holds (place, row or BadRow)."""
    if not raw:
        raise InputError(f"{name}: empty; give at least one row")
    read = [row for _, row in raw if isinstance(row, dict)]
    form = formats.recognise(read)
    if read and form is None:
        columns = ", ".join(dict.fromkeys(key for row in read for key in row)) or "none"
        raise InputError(f"{name}: unknown format, columns {columns}; known are {formats.known()}")
    rows, bad, worse = [], [], 0
    for place, row in raw:
        try:
            if isinstance(row, formats.BadRow):
                raise row
            if not formats.better(row):
                worse += 1
                continue
            rows.append(formats.to_messages(form, row))
        except formats.BadRow as error:
            bad.append((place, error))
    if bad and (not drop_bad or not rows):
        place, error = bad[0]
        more = f" ({len(bad):,} of {len(raw):,} rows are bad; drop_bad, --drop-bad leaves them out)" if rows else ""
        raise InputError(f"{name}, {place}, {error}{more}")
    if worse:
        notes.append(f"{name}: left out {worse:,} of {len(raw):,} pairs, whose chosen answer has no higher score")
    if bad:
        kinds = Counter(error.wrong for _, error in bad).most_common(3)
        said = ", ".join(f"{count} × {wrong}" for wrong, count in kinds)
        notes.append(f"{name}: left out {len(bad):,} of {len(raw):,} rows ({said}; the first is {bad[0][0]})")
    if form.name == "self-instruct":
        more = sum(len(row["instances"]) > 1 for row in read if isinstance(row.get("instances"), list))
        notes.append(f"{name}: the first instance of each task is taken; {more} of {len(read)} tasks have more")
    return form, rows
