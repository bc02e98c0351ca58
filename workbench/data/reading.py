"""Read instruction and preference data from files, folders and the Hub into one shape.

An instruction row is {"messages": [{"role", "content"}, …]} with the answer last; a preference pair is {"prompt", "chosen",
"rejected"}, each a list of messages. Both may have "tools", a list of JSON schemas, and further columns. A message may have
"tool_calls", and "weight": 0 if it is an answer that is not to be learned.
"""

import atexit
import tempfile
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path

import datasets

from workbench import environment
from workbench.data import files, formats
from workbench.data.columns import KNOWN, PROMPTS
from workbench.errors import BadRow, InputError, counted

VALUES = {str: "string", bool: "bool", float: "float64"}  # whole numbers stay JSON: Arrow's end at 2**63
HEAD = 10_000  # rows from which the format is recognised
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
    tables = [_Reading(table, split, roles, answers) for table in files.tables(str(source), split, notes)]
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


def _collect(tables: list) -> tuple[list[dict] | None, dict[str, set]]:
    """Return the converted rows of all tables, None if they are too many to hold, and the types of each column."""
    rows, types = [], {}
    for row in chain.from_iterable(map(_Reading.converted, tables)):
        _note_types(types, row)
        if rows is not None:
            rows.append(row)
            rows = rows if len(rows) <= IN_MEMORY else None
    return rows, types


def _on_disk(tables: list, types: dict[str, set]) -> datasets.Dataset:
    """Return the rows of all tables, read a second time, in a temporary file that lives as long as this process."""
    features = _features(types)

    def generate() -> Iterator[dict]:
        for row in chain.from_iterable(map(_Reading.converted, tables)):
            yield {**dict.fromkeys(features), **row}

    Path(datasets.config.HF_DATASETS_CACHE).mkdir(parents=True, exist_ok=True)
    folder = tempfile.TemporaryDirectory(prefix="workbench-", dir=datasets.config.HF_DATASETS_CACHE)
    atexit.register(folder.cleanup)
    # Named by chance: by default the name is a hash of the generator, which does not see a file that has changed.
    with environment.few_progress_bars():  # the bar of the file says how much is left
        return datasets.Dataset.from_generator(
            generate, features=features, cache_dir=folder.name, fingerprint=uuid.uuid4().hex
        )


class _Reading:
    """One table as it is read: how its rows are converted, and what became of them."""

    def __init__(self, table: files.Table, split: str | None, roles: dict[str, str], answers: bool = True):
        self.table, self.split, self.roles, self.answers = table, split, roles, answers
        self.layout: formats.Layout | None = None
        self.splits: set[str] = set()
        self.count, self.used, self.marked_bad = 0, 0, 0
        self.bad: Counter = Counter()
        self.held_out: Counter = Counter()
        self.first_bad: tuple[str, BadRow] | None = None

    def converted(self) -> Iterator[dict]:
        """Yield the rows in the one shape, and count the others."""
        self.count, self.used, self.marked_bad, self.first_bad = 0, 0, 0, None
        self.bad, self.held_out = Counter(), Counter()
        rows = self.table.rows()
        head = list(islice(rows, HEAD))
        self.layout = self._recognise([row for _, row in head if isinstance(row, dict)], len(head))
        for place, row in chain(head, rows):
            self.count += 1
            try:
                if isinstance(row, BadRow):
                    raise row
                data = formats.convert(self.layout, row)
            except BadRow as error:
                self.bad[error.wrong] += 1
                self.first_bad = self.first_bad or (place, error)
                continue
            if data is None:
                self.marked_bad += 1
            elif self._is_asked_for(data):
                self.used += 1
                yield self._labelled(data)

    def require_usable(self, drop_bad: bool) -> None:
        """Raise InputError where a row is bad and is not to be left out, or none is good."""
        if self.first_bad and (not drop_bad or not self.used):
            place, error = self.first_bad
            bad = f"{sum(self.bad.values()):,} of {counted(self.count, 'row')} bad"
            more = f" ({bad}; drop_bad, --drop-bad leaves them out)" if self.used else ""
            raise InputError(f"{self.table.name}, {place}, {error}{more}")

    def notes(self) -> list[str]:
        """Return what became of the rows that were not used."""
        name, notes = self.table.name, []
        if self.held_out:
            parts = ", ".join(f"{count:,} {split}" for split, count in self.held_out.most_common())
            rows = f"{self.held_out.total():,} of {counted(self.count, 'row')}"
            notes.append(
                f"{name}: left out {rows}, held out by column split ({parts}); ask for them with split, --split"
            )
        if self.marked_bad:
            pairs = self.layout.shape == "preference"
            why = "pairs, whose chosen answer has no higher score" if pairs else "rows, whose answers are marked as bad"
            notes.append(f"{name}: left out {self.marked_bad:,} of {self.count:,} {why}")
        if self.bad:
            said = ", ".join(f"{count} × {wrong}" for wrong, count in self.bad.most_common(3))
            place = self.first_bad[0]
            bad = sum(self.bad.values())
            notes.append(f"{name}: left out {bad:,} of {counted(self.count, 'row')} ({said}; the first is {place})")
        if self.layout.shape == "self-instruct":
            more = self.layout.ignored.pop("instances after the first", 0)
            notes.append(
                f"{name}: the first instance of each task is taken; tasks with more: {more:,} of {self.count:,}"
            )
        if self.layout.prompt_repeated:
            notes.append(f"{name}: chosen and rejected begin with the prompt, which is removed from them")
        return notes

    def _recognise(self, rows: list[dict], count: int) -> formats.Layout:
        if not count:
            raise InputError(f"{self.table.name}: empty; give at least one row")
        found = list(dict.fromkeys(name for row in rows for name in row))
        there = ", ".join(found) or "none"
        if absent := [name for name in self.roles.values() if name and rows and name not in found]:
            raise InputError(f"{self.table.name}: no column {', '.join(absent)}; columns are {there}")
        layout = formats.recognise(rows, self.roles, self.answers)
        if rows and layout is None:
            fix = "or name the columns: columns, --columns prompt=…,response=…"
            if (
                count == 1
                and rows[0]
                and all(isinstance(value, list | dict) and len(value) > 1 for value in rows[0].values())
            ):
                fix += (
                    "; if this is a table by columns: pandas.read_json(FILE).to_json(NEW, orient='records', lines=True)"
                )
            inner = [
                name
                for name, value in rows[0].items()
                if isinstance(value, list) and value and isinstance(value[0], dict)
            ]
            if count == 1 and inner:
                fix += f"; if the rows are the list in {inner[0]}, write that list as the file"
            known = KNOWN if self.answers else f"{PROMPTS}, {KNOWN}"
            raise InputError(f"{self.table.name}: unknown format, columns {there}; known are {known}; {fix}")
        return layout or formats.Layout("messages", "messages", {}, self.roles, self.answers)

    def _is_asked_for(self, data: dict) -> bool:
        """Return whether the column `split` says that a row is of the split asked for; where none is, that it is not held out."""
        if self.split is None and self.table.family is None:  # of a set of the Hub one split was chosen
            named = data.get("split")
            held_out = isinstance(named, str) and not files.HELD_OUT.isdisjoint(files.words(named))
            self.held_out.update([named] * held_out)
            return not held_out
        if self.table.in_split:
            return True
        self.splits |= {str(data["split"])} if "split" in data else set()
        return data.get("split") == self.split

    def _labelled(self, data: dict) -> dict:
        """Return a row of the Hub with `family` and `skill`, by which notebooks group: its category, its source or the set's name."""
        if self.table.family is None:
            return data
        name = data.get("category") or data.get("source") or self.table.family
        return data | {key: data.get(key) or name for key in ("family", "skill")}


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
