"""Read one table of rows into the one shape of :mod:`workbench.data.reading`, and count what became of every row."""

import array
from collections import Counter
from collections.abc import Iterator
from itertools import chain, islice

from workbench.data import files, formats
from workbench.data.columns import KNOWN, PROMPTS
from workbench.errors import BadRow, InputError, counted

HEAD = 10_000  # rows from which the format is recognised


class TableReader:
    """One table as it is read: how its rows are converted, and what became of them."""

    def __init__(self, table: files.Table, split: str | None, roles: dict[str, str], answers: bool = True):
        self.table, self.split, self.roles, self.answers = table, split, roles, answers
        self.layout: formats.Layout | None = None
        self.splits: set[str] = set()
        self.count, self.used, self.marked_bad = 0, 0, 0
        self.bad: Counter = Counter()
        self.held_out: Counter = Counter()
        self.first_bad: tuple[str, BadRow] | None = None
        self.unit, self.numbers = "", array.array("q")  # of the rows that are used: "line" or "row", and their numbers

    def converted(self) -> Iterator[dict]:
        """Yield the rows in the one shape, and count the others."""
        self.count, self.used, self.marked_bad, self.first_bad = 0, 0, 0, None
        self.numbers = array.array("q")
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
                self.unit, number = place.split()
                self.numbers.append(int(number))
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
