"""Read instruction data from anywhere into one shape, hold rows out, and keep evaluation rows out of training.

A row is {"messages": [{"role", "content"}, …]} with the answer last (and "tools", and columns of its own), or for preference
data {"prompt", "chosen", "rejected"}, each a list of messages.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import datasets
import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from workbench import formats, overlap, sources
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


@dataclass(frozen=True)
class Pair:
    """A training row and an evaluation row that ask the same: positions, and similarity (1.0: the same prompt)."""

    train: int
    evaluation: int
    similarity: float


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
    tables = sources.tables(str(source), split, notes)
    names, rows = [], []
    for name, raw in tables:
        form, converted = _convert(name, raw, drop_bad, notes)
        names.append(form.name)
        rows += converted
    if split and Path(source).exists() and not all(split in sources.words(name) for name, _ in tables):
        found = sorted({str(row["split"]) for row in rows if "split" in row})
        rows = [row for row in rows if row.get("split") == split]
        if not rows:
            there = f"there are {', '.join(found)}" if found else "neither file names nor a column split name any"
            raise InputError(f"{source}: no split {split!r}; {there}")
    if len({"messages" in row for row in rows}) > 1:
        raise InputError(f"{source}: some files hold preference pairs, others single answers; load them one by one")
    return Loaded(dataset(rows), ", ".join(dict.fromkeys(names)), str(source), notes)


def first(rows: datasets.Dataset, size: int) -> datasets.Dataset:
    """The first `size` rows: smaller sets are nested in larger ones. Raises InputError where there are not so many."""
    if not 0 < size <= len(rows):
        raise InputError(f"size asks for {size:,} rows; the data hold {len(rows):,}; ask for 1 to {len(rows):,}")
    return rows.select(range(size))


def kinds(rows: datasets.Dataset, by: str = "family") -> list[str]:
    """What kind of task each row is: its column `by`, else `category`, else `source`, the first of them that tells rows apart.

    Where none does, the first word of the instruction stands for it, in lower case, if one row in a hundred begins so, else "other".
    Instructions mostly begin with the verb that says what to do: Self-Instruct (Wang et al. 2022, arXiv 2212.10560) counts its own by it.
    """
    for name in (by, "category", "source"):
        found = list(rows[name]) if name in rows.column_names else []
        if all(isinstance(kind, str) for kind in found) and len(set(found)) > 1:
            return found
    words = openings(rows, 1)
    counts = Counter(words)
    return [word if 100 * counts[word] >= len(words) else "other" for word in words]


def openings(rows: datasets.Dataset, words: int = 2) -> list[str]:
    """The first words of each conversation, as the user says them: lower case, no punctuation."""
    asked = (next(turn["content"] for turn in conversation(row) if turn["role"] == "user") for row in rows)
    return [" ".join(overlap.normalise(text[:200]).split()[:words]) for text in asked]


def conversation(row: dict) -> list[dict]:
    """The row's messages up to its answer; the chosen answer of a preference pair."""
    return row["messages"] if row.get("messages") else row["prompt"] + row["chosen"]


def sides(row: dict) -> list[dict]:
    """The conversations that training on the row shows: itself, or one with each answer of a preference pair."""
    if row.get("messages"):
        return [row]
    return [{"messages": row["prompt"] + row[answer]} for answer in ("chosen", "rejected")]


def tools(row: dict) -> list[dict] | None:
    """The row's tools as a list, which a table made elsewhere may hold as JSON text; None where there are none."""
    given = row.get("tools")
    return (json.loads(given) if isinstance(given, str) else given) or None


def content_hash(rows: Iterable[dict]) -> str:
    """SHA-256 of what training reads (messages, tools, preference pairs), in order; other columns do not count.

    A Dataset is read once in a process: its fingerprint, which the library makes of its content and of what was done to it, is remembered.
    """
    fingerprint = getattr(rows, "_fingerprint", None)
    if fingerprint is None:
        return _hash(rows)
    if fingerprint not in _hashes:
        _hashes[fingerprint] = _hash(rows)
    return _hashes[fingerprint]


_hashes: dict[str, str] = {}


def _hash(rows: Iterable[dict]) -> str:
    digest = hashlib.sha256()
    for row in rows:
        read = {key: row[key] for key in ("messages", "prompt", "chosen", "rejected") if row.get(key)}
        read |= {"tools": tools(row)} if tools(row) else {}
        digest.update(json.dumps(formats.without_nulls(read), sort_keys=True, ensure_ascii=False).encode() + b"\n")
    return digest.hexdigest()


def hold_out(rows: datasets.Dataset, fraction: float = 0.1, seed: int = 0) -> tuple[datasets.Dataset, datasets.Dataset]:
    """Split into (training, held out) so that no held-out prompt is trained: leakage(training, held out) is empty.

    Rows that ask the same stay together, so at most, not exactly, `fraction` of the rows are held out.
    """
    n = len(rows)
    wanted = max(1, round(fraction * n))
    pairs = np.array([(i, j) for i, j, _ in _matches(rows, rows, 0.8)]).reshape(-1, 2).T
    _, group = connected_components(coo_matrix((np.ones(pairs.shape[1]), pairs), shape=(n, n)), directed=False)
    size = np.bincount(group)
    held: list[int] = []
    for chosen in np.random.default_rng(seed).permutation(len(size)):
        if len(held) + size[chosen] <= wanted:
            held += np.flatnonzero(group == chosen).tolist()
    if not held or len(held) == n:
        raise InputError(
            f"no row of {n} can be held out, since the others ask the same; give more prompts or hold out none"
        )
    kept = sorted(set(range(n)) - set(held))
    return rows.select(kept), rows.select(sorted(held))


def leakage(train: Iterable[dict], evaluation: Iterable[dict], threshold: float = 0.8) -> list[Pair]:
    """For each evaluation row that stands in the training data, in the same words or nearly (see overlap), its closest row.

    Every answered turn of a training conversation counts as a prompt, and both answers of a preference pair count. System turns are
    left out: the same question under another system prompt is the same question.
    """
    best: dict[int, Pair] = {}
    for i, j, similarity in _matches(train, evaluation, threshold):
        if j not in best or similarity > best[j].similarity:
            best[j] = Pair(i, j, similarity)
    return [best[j] for j in sorted(best)]


def asking(train: Iterable[dict], evaluation: Iterable[dict], threshold: float = 0.8) -> set[int]:
    """Positions of all training rows that ask what an evaluation row asks, so that :func:`gate` lets the others pass.

    :func:`leakage` names the closest of each evaluation row alone.
    """
    rows, evaluation, found = list(train), list(evaluation), set()
    left = list(range(len(rows)))
    # How rare a word is depends on all rows, so that without the leaked ones others may come near.
    while leaked := {left[i] for i, _, _ in _matches([rows[n] for n in left], evaluation, threshold)}:
        found |= leaked
        left = [n for n in left if n not in leaked]
    return found


def gate(train: Iterable[dict], evaluation: Iterable[dict]) -> None:
    """Stop where evaluation rows stand in the training data. Raises InputError that shows the first pair."""
    train, evaluation = list(train), list(evaluation)
    if pairs := leakage(train, evaluation):
        raise InputError(told(pairs, train, evaluation))


def told(pairs: list[Pair], train: list[dict], evaluation: list[dict]) -> str:
    """One line about leaked rows: how many, the first pair, the mend."""
    shown = [
        f"{name}[{i}] {sources.short(prompts(rows[i])[-1][0])!r}"
        for name, rows, i in (("train", train, pairs[0].train), ("evaluation", evaluation, pairs[0].evaluation))
    ]
    return (
        f"{len(pairs)} of {len(evaluation)} evaluation rows stand in the training data, first {' and '.join(shown)} "
        f"(similarity {pairs[0].similarity:.2f}); take them out of one of the two"
    )


def prompts(row: dict) -> list[tuple[str, str]]:
    """(all that was said before, answer) of each answered turn of a row, system turns left out."""
    turns = [turn for turn in conversation(row) if turn["role"] != "system"]
    texts = [turn.get("content") or json.dumps(turn.get("tool_calls")) for turn in turns]
    return [("\n".join(texts[:i]), texts[i]) for i, turn in enumerate(turns) if turn["role"] == "assistant" and i]


def _matches(train: Iterable[dict], evaluation: Iterable[dict], threshold: float) -> Iterable[tuple[int, int, float]]:
    indexed = [(i, pair) for i, row in enumerate(train) for side in sides(row) for pair in prompts(side)]
    asked = [prompts(row)[-1] for row in evaluation]
    for i, j, similarity in overlap.matches([pair for _, pair in indexed], asked, threshold):
        yield indexed[i][0], j, similarity


def dataset(rows: list[dict]) -> datasets.Dataset:
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
