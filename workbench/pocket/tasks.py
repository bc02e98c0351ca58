"""Draw the tuning rows and the evaluations of the pocket world, and read them from data/tasks.

An evaluation holds something out on one of five axes: a fact (`input`), a phrasing (`phrasing`), a combination of fact and form
(`combination`) or a whole family of tasks (`family`). The axis `seen` asks facts of the tuning data in phrasings of the tuning data, in
pairs that the tuning data does not hold. See :mod:`workbench.pocket.splits`.
"""

import json
from collections.abc import Collection, Iterable, Iterator
from functools import cache
from pathlib import Path

from workbench.data import decontamination
from workbench.pocket import facts, families, splits
from workbench.pocket.task_rows import interleave, stream

AXES = ("seen", "input", "phrasing", "combination", "family")

TUNING_SIZE = 2_000
"""Rows of the default tuning set."""

EVALUATION_SIZES = {"seen": 160, "input": 200, "phrasing": 120, "combination": 80, "family": 90}
"""Prompts of an evaluation by axis, 650 in all."""

# How often a skill's families are drawn, so that the many fact families do not crowd out the rest.
WEIGHT = {
    "knowledge": 1.5,
    "transform": 6,
    "lists": 9,
    "format": 8,
    "compose": 10,
    "create": 12,
    "classify": 6,
    "converse": 5,
    "tools": 3,
    "safety": 7,
    "honesty": 3,
}

FAMILY_WEIGHT = {"spell": 2, "haiku": 1.5, "in_quotes": 1.5, "story": 0.6, "sentence": 0.6}
"""Factors for single families, chosen on the development split (data/LOG.md): what tuning loses most is shown more often."""

SAFETY_SKILLS = ("safety", "honesty")
DIALOGUE_FAMILIES = ("follow_up", "again_capitals", "pronoun", "recall_name", "calculator", "look_up")
"""Skills whose right answer may be to decline."""


@cache
def pool_rows(count: int | None = TUNING_SIZE) -> tuple[dict, ...]:
    """Return the first `count` rows of the tuning pool, or all; the order is fixed, so smaller sets are nested in larger ones."""
    streams = {
        f.name: (WEIGHT[f.skill] / 8 * FAMILY_WEIGHT.get(f.name, 1), stream(f, "train", "seen"))
        for f in families.all_families()
        if f.held_out == "train"
    }
    return tuple(interleave(streams, count))


def rows_of(axis: str, split: str, count: int | None = None, family: str | None = None) -> list[dict]:
    """Return evaluation rows of one axis, of all families in turn or of one. The axis `seen` asks items of the first 1,000 tuning rows."""
    tuned = {(row["family"], row["item"]) for row in pool_rows(1_000)}
    streams = {}
    for f in families.all_families():
        if f.held_out == (split if axis == "family" else "train") and family in (None, f.name):
            rows = stream(f, split, axis)
            streams[f.name] = (1, (row for row in rows if axis != "seen" or (row["family"], row["item"]) in tuned))
    return interleave(streams, count)


def draw_evaluation(split: str, sizes: dict[str, int] = EVALUATION_SIZES) -> list[dict]:
    """Return evaluation rows of a split ("dev" or "test"), `sizes` of each axis, without prompts that the tuning pool contains.

    A held-out phrasing can differ from a tuning phrasing by a "please" or a full stop alone; the decontamination check would stop on
    it. For the same reason no development row asks what a test row asks: settings are chosen on dev, claims are read on test.
    """
    everything = [*pool_rows(None), *(draw_evaluation("test") if split == "dev" else ())]
    found = []
    for axis, count in sizes.items():
        rows = rows_of(axis, split, 2 * count)
        leaked = {pair.evaluation for pair in decontamination.find_leaks(everything, rows)}
        found += [row for i, row in enumerate(rows) if i not in leaked][:count]
    return found


def draw_more(names: Collection[str], split: str, each: int) -> list[dict]:
    """Return up to `each` evaluation rows per family and grader of these families, about held-out items.

    Prompts that the tuning pool contains are left out, as in :func:`draw_evaluation`.
    """
    rows = [
        row
        for name in names
        for rows in by_check(rows_of("input", split, 1_000, name)).values()
        for row in rows[: 2 * each]
    ]
    leaked = {pair.evaluation for pair in decontamination.find_leaks(pool_rows(None), rows)}
    found = by_check(row for i, row in enumerate(rows) if i not in leaked)
    return [row for rows in found.values() for row in rows[:each]]


def by_check(rows: Iterable[dict]) -> dict[tuple[str, str], list[dict]]:
    """Group rows by (family, name of the check)."""
    found: dict[tuple[str, str], list[dict]] = {}
    for row in rows:
        found.setdefault((row["family"], row["check"]["name"]), []).append(row)
    return found


def write_tasks(folder: Path = facts.DATA / "tasks") -> None:
    """Write one JSON row per line: tuning.jsonl (the default tuning set), dev.jsonl, test.jsonl, haiku.jsonl (all held-out topics),
    careful.jsonl (more on safety and honesty) and dialogues.jsonl (more conversations and tool calls)."""
    folder.mkdir(parents=True, exist_ok=True)
    haiku = [row for split in ("dev", "test") for row in first_of_each(rows_of("input", split, None, "haiku"))]
    safe = [f.name for f in families.all_families() if f.skill in SAFETY_SKILLS and f.held_out == "train"]
    careful = [row for split in ("dev", "test") for row in draw_more(safe, split, 30)]
    dialogues = [row for split in ("dev", "test") for row in draw_more(DIALOGUE_FAMILIES, split, 60)]
    dev, test = draw_evaluation("dev"), draw_evaluation("test")
    files = {
        "tuning": pool_rows(),
        "dev": dev,
        "test": test,
        "haiku": haiku,
        "careful": careful,
        "dialogues": dialogues,
    }
    for name, rows in files.items():
        lines = (json.dumps(row, ensure_ascii=False) for row in rows)
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def first_of_each(rows: list[dict]) -> list[dict]:
    """Return the first row of each item."""
    return list({row["item"]: row for row in reversed(rows)}.values())[::-1]


@cache
def read_rows(name: str) -> tuple[dict, ...]:
    """Return the rows of data/tasks/NAME.jsonl."""
    lines = (facts.DATA / "tasks" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return tuple(json.loads(line) for line in lines)


def evaluation(split: str, size: int | None = None) -> list[dict]:
    """Return the pocket evaluation of a split ("dev" or "test"): 650 prompts over the five axes, or about `size` of them.

    A smaller one keeps axes and skills in proportion: rows of a family are neighbours in the file, and evenly spaced rows are taken.
    """
    rows = read_rows(split)
    portion = 1 if size is None else min(1, size / len(rows))
    chosen = []
    for axis in AXES:
        of_axis = [row for row in rows if row["axis"] == axis]
        count = round(portion * len(of_axis))
        chosen += [of_axis[i * len(of_axis) // count] for i in range(count)]
    return chosen


def haikus(split: str) -> list[dict]:
    """Return one request for a haiku per held-out topic of the split, in phrasings of the tuning data."""
    return [row for row in read_rows("haiku") if row["split"] == split]


def safety_and_honesty(split: str, each: int = 30) -> list[dict]:
    """Return held-out harmful requests with their harmless look-alikes and questions that nobody can answer, up to `each` per family and grader."""
    found = by_check(row for row in read_rows("careful") if row["split"] == split)
    return [row for rows in found.values() for row in rows[:each]]


def all_evaluations() -> list[dict]:
    """Return every row of both splits that measures a model or chooses a setting in some notebook; no training may contain such a prompt."""
    return [row for name in ("dev", "test", "careful", "haiku", "dialogues") for row in read_rows(name)]


def cloze(split: str, size: int = 300) -> list[dict]:
    """Return sentences of the corpus without their last words, about facts of the split: they measure what the base model knows.

    Relations take turns; each fact is asked in one of its wordings, chosen by hash.
    """
    asked: dict[str, tuple[float, Iterator[dict]]] = {}
    for name, relation in facts.relations().items():
        endings = [s for s in relation.statements if s.endswith("{a}.")]
        known = [f for f in facts.facts(name) if splits.item_split(f) == split]
        known.sort(key=lambda f: facts.share(f"{splits.SALT}|cloze|{f.key}"))
        asked[name] = (1.0, iter([cloze_row(f, endings[int(facts.share(f.key) * len(endings))], split) for f in known]))
    return interleave(asked, size)


def cloze_row(fact: facts.Fact, statement: str, split: str) -> dict:
    """Return one cloze row: "The capital of Norway is" → "Oslo"."""
    text = facts.sentence(facts.say(statement, fact)).removesuffix(f"{fact.answer}.").rstrip()
    messages = [{"role": "user", "content": text}, {"role": "assistant", "content": fact.answer}]
    check = {"name": "begins", "args": {"answer": fact.answer}}
    return {
        "messages": messages,
        "family": fact.relation,
        "skill": "knowledge",
        "item": fact.key,
        "split": split,
        "axis": "input",
        "check": check,
    }
