"""Read instruction and preference data from files, folders and the Hub into one shape.

An instruction row is {"messages": [{"role", "content"}, …]} with the answer last; a preference pair is {"prompt", "chosen",
"rejected"}, each a list of messages. Both may have "tools", a list of JSON schemas, and further columns. A message may have
"tool_calls", and "weight": 0 if it is an answer that is not to be learned.
"""

import atexit
import tempfile
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import datasets

from workbench import environment
from workbench.data import files, formats
from workbench.data.findings import by_position
from workbench.data.table_reader import TableReader
from workbench.errors import InputError, counted

VALUES = {str: "string", bool: "bool", float: "float64"}  # whole numbers stay JSON: Arrow's end at 2**63
IN_MEMORY = 20_000  # rows; more are written to disk as they are read, and mapped from there


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
    """What was chosen, changed or left out in reading, one line each."""
    place: Callable[[int], str] = field(default=by_position, compare=False, repr=False)
    """Name of a row for messages, from its position in `rows`: its file with the line or row there, "a.jsonl, line 3"."""


def load(
    source: str | Path,
    *,
    split: str | None = None,
    drop_bad: bool = False,
    columns: Mapping[str, str] | None = None,
    answers: bool = True,
) -> Loaded:
    """Read a file, a folder of files or a Hub data set, in any format of :mod:`workbench.data.formats`.

    Files are .json, .jsonl, .ndjson, .csv and .parquet, and .gz, .bz2, .xz and .zst of all but the last. Up to 20,000 rows are
    held in memory; of more, the rows are mapped from a temporary file, so that memory does not grow with them.

    Args:
        source: a path, or a Hub id "owner/name", in full "owner/name:config@revision#split:rows", where `rows` is the number of rows
            to draw from the split with a fixed seed.
        split: on the Hub the split ("train", "train[:1000]"; default what the source says, else "train"). In a folder the files with
            this word in their names; by default all but those named like held-out data. Else the rows with this in column `split`; by
            default all but those of test, validation and the like.
        drop_bad: leave out rows that cannot be used, and count them in the notes, instead of stopping at the first.
        columns: role → column, {"prompt": "question", "response": "answer"}, where the names do not say it; "" for a role that no
            column has. Roles are the keys of workbench.data.columns.COLUMNS.
        answers: False reads prompts as well: a row may lack its answer, and its messages then end with the user.

    Raises:
        InputError: nothing there, unreadable, no known format, or a row that cannot be used.
    """
    roles, notes = formats.named_roles(columns), []
    tables = [TableReader(table, split, roles, answers) for table in files.tables(str(source), split, notes)]
    rows, types = _collect(tables)
    said, unread = [], Counter()
    for table in tables:
        table.require_usable(drop_bad)
        said += table.notes()
        unread.update(table.layout.ignored if table.layout else {})
    if not answers:
        unread.pop("check", None)  # verifiable rewards ask it
    if len({table.layout.shape == "preference" for table in tables}) > 1:
        raise InputError(f"{source}: some files hold preference pairs, others single answers; load them one by one")
    if not types and split:
        found = sorted(set().union(*(table.splits for table in tables)))
        there = f"there are {', '.join(found)}" if found else "neither file names nor a column split name any"
        raise InputError(f"{source}: no split {split!r}; {there}")
    if not types:
        raise InputError(
            f"{source}: no row is left ({'; '.join(said)}); give data with {'answers to learn' if answers else 'prompts'}"
        )
    names = ", ".join(dict.fromkeys(table.layout.name for table in tables))
    return Loaded(
        _on_disk(tables, types) if rows is None else _typed(rows, types),
        names,
        str(source),
        [*notes, *_unread_notes(str(source), unread), *said],
        lambda row: _place(tables, row),
    )


def take_first(rows: datasets.Dataset, size: int) -> datasets.Dataset:
    """Return the first `size` rows, so that smaller sets are nested in larger ones. Raises InputError if there are fewer rows."""
    if not 0 < size <= len(rows):
        raise InputError(
            f"size asks for {counted(size, 'row')}; the data hold {len(rows):,}; ask for 1 to {len(rows):,}"
        )
    return rows.select(range(size))


def to_dataset(rows: list[dict]) -> datasets.Dataset:
    """Return rows with typed columns; what differs from row to row (tools, check) is kept as JSON, not filled up with nulls."""
    types = {}
    for row in rows:
        _note_types(types, row)
    return _typed(rows, types)


def _typed(rows: list[dict], types: dict[str, set]) -> datasets.Dataset:
    features = _features(types)
    # Every row needs every column: from_list takes the columns of the first.
    return datasets.Dataset.from_list([{**dict.fromkeys(features), **row} for row in rows], features=features)


def _note_types(types: dict[str, set], row: dict) -> None:
    for name, value in row.items():
        types.setdefault(name, set()).update([] if value is None else [type(value)])


def _features(types: dict[str, set]) -> datasets.Features:
    features = {}
    for name, found in types.items():
        plain = VALUES.get(next(iter(found))) if len(found) == 1 else None
        features[name] = datasets.Value(plain) if plain else datasets.Json()
        if name in ("messages", "prompt", "chosen", "rejected"):
            features[name] = datasets.List(datasets.Json())
    return datasets.Features(features)


def _place(tables: Sequence[TableReader], row: int) -> str:
    """Return the place of a row among those that were read from several tables."""
    for table in tables:
        if row < table.used:
            return f"{table.table.name}, {table.unit} {table.numbers[row]}"
        row -= table.used
    raise IndexError(row)


def _collect(tables: Sequence[TableReader]) -> tuple[list[dict] | None, dict[str, set]]:
    """Return the converted rows of all tables, None if they are too many to hold, and the types of each column."""
    rows, types = [], {}
    for row in chain.from_iterable(map(TableReader.converted, tables)):
        _note_types(types, row)
        if rows is not None:
            rows.append(row)
            rows = rows if len(rows) <= IN_MEMORY else None
    return rows, types


def _on_disk(tables: Sequence[TableReader], types: dict[str, set]) -> datasets.Dataset:
    """Return the rows of all tables, read a second time, in a temporary file that lives as long as this process."""
    features = _features(types)

    def generate() -> Iterator[dict]:
        for row in chain.from_iterable(map(TableReader.converted, tables)):
            yield {**dict.fromkeys(features), **row}

    Path(datasets.config.HF_DATASETS_CACHE).mkdir(parents=True, exist_ok=True)
    folder = tempfile.TemporaryDirectory(prefix="workbench-", dir=datasets.config.HF_DATASETS_CACHE)
    atexit.register(folder.cleanup)
    # Named by chance: by default the name is a hash of the generator, which does not see a file that has changed.
    with environment.few_progress_bars():  # the bar of the file says how much is left
        return datasets.Dataset.from_generator(
            generate, features=features, cache_dir=folder.name, fingerprint=uuid.uuid4().hex
        )


def _unread_notes(source: str, unread: Counter) -> list[str]:
    """Return one note that names all columns and fields that are not trained on, and one on reasoning that became text."""
    reasoning = {name: count for name, count in unread.items() if name.startswith("reasoning: ")}
    names = [
        name.strip() or "a column without a name" for name, count in unread.items() if count and name not in reasoning
    ]
    notes = [f"{source}: not trained on: {', '.join(names)}"] if names else []
    for name, count in reasoning.items():
        said = name.removeprefix("reasoning: ")
        notes.append(f"{source}: {said} of {count:,} turns is written as <think>…</think> before the answer")
    return notes
