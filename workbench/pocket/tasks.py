"""Rows of the pocket world: the tuning pool and the evaluations, split four ways by hash.

What is held out is a fact (axis `input`), a way to ask (`phrasing`), a pair of demands (`combination`) or a whole kind of task
(`family`); the axis `seen` asks facts of the tuning data in phrasings of the tuning data, in pairs that it does not hold. The split
is a property of the fact and the phrasing, never of the row, so no way of drawing rows can leak.
"""

import json
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from workbench.data import decontamination
from workbench.pocket import facts, families
from workbench.pocket.items import TOOLS, Item, calling

AXES = ("seen", "input", "phrasing", "combination", "family")


DEFAULT = 2_000


"""Rows of the default tuning set."""


PUBLISHED = {"seen": 160, "input": 200, "phrasing": 120, "combination": 80, "family": 90}


"""Prompts of an evaluation, by axis: 650, of which the first 300 serve the ablations."""


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


CAREFUL = ("safety", "honesty")


"""Skills in which the right thing to do may be not to answer."""


SALT = "pocket 3"


def key_split(key: str) -> str:
    """train (half of all items), dev or test, drawn for the key. Hot and cold are one fact, from whichever end it is told."""
    if key.startswith("opposite|"):
        key = "opposite|" + "/".join(sorted((key.removeprefix("opposite|"), facts.lookup()[key])))
    drawn = facts.share(f"{SALT}|item|{key}")
    return "train" if drawn < 0.5 else "dev" if drawn < 0.65 else "test"


def item_split(item: Item | facts.Fact) -> str:
    """The split of an item: that of its key."""
    return key_split(item.key)


@cache
def parts(options: tuple[str, ...], name: str, dev: float = 0.15, test: float = 0.25) -> dict[str, str]:
    """Option → split, by rank of hash, so that each split gets its share even of a short list."""
    ranked = sorted(options, key=lambda o: facts.share(f"{SALT}|{name}|{o}"))
    if len(ranked) < 4:
        return dict.fromkeys(ranked, "train")
    n_test, n_dev = round(test * len(ranked)), max(1, round(dev * len(ranked)))
    return {o: "test" if i < n_test else "dev" if i < n_test + n_dev else "train" for i, o in enumerate(ranked)}


@cache
def combination_split() -> dict[str, str]:
    """ "capital+quotes" → split."""
    pairs = {item.combination for family in families.all_families() for item in family.items if item.combination}
    return parts(tuple(sorted(pairs)), "combination", dev=0.1, test=0.25)


def prompt_of(item: Item, phrasing: str) -> str:
    """The user's turn."""
    return facts.sentence(phrasing.format(**item.slots))


def make_row(family: families.Family, item: Item, phrasing: str, split: str, axis: str) -> dict:
    """A row as plain data: messages, tools, family, phrasing, skill, item, split, axis, check."""
    answer = {"role": "assistant", "content": item.answer}
    if isinstance(item.answer, dict):
        answer = calling(item.answer)
    request = {"role": "user", "content": prompt_of(item, phrasing)}
    row = {"messages": [*item.before, request, *item.after, answer]}
    if family.skill == "tools":
        row["tools"] = TOOLS
    return row | {
        "family": family.name,
        "phrasing": phrasing,
        "skill": family.skill,
        "item": item.key,
        "split": split,
        "axis": axis,
        "check": item.check,
    }


def pair_split(family: families.Family, item: Item, phrasing: str) -> str:
    """Of the pairs of a tuning fact and a tuning phrasing, a quarter is kept out of the pool for the axis `seen`."""
    drawn = facts.share(f"{SALT}|pair|{item.key}|{phrasing}") if len(family.phrasings) > 1 else 0
    return "train" if drawn < 0.75 else "dev" if drawn < 0.85 else "test"


def stream(family: families.Family, split: str, axis: str) -> Iterator[dict]:
    """Rows of one family for a split ("train" is the tuning pool) and axis, in an order fixed by hash: each item once before any twice."""
    phrasing_split = parts(family.phrasings, f"phrasing|{family.name}")
    wanted = {kind: split if axis == kind else "train" for kind in ("input", "phrasing", "combination")}
    items = [i for i in family.items if axis == "family" or item_split(i) == wanted["input"]]
    if wanted["input"] == "train":
        items = [i for i in items if all(key_split(key) == "train" for key in i.tells)]
    if axis != "family":
        items = [
            i
            for i in items
            if (combination_split()[i.combination] if i.combination else "train") == wanted["combination"]
        ]
    if axis == "combination":
        items = [i for i in items if i.combination]
    items.sort(key=lambda i: facts.share(f"{SALT}|order|{family.name}|{i.key}|{i.combination}"))
    phrasings = [p for p in family.phrasings if axis == "family" or phrasing_split[p] == wanted["phrasing"]]
    told = set()
    for turn in range(len(phrasings)):
        for item in items:
            phrasing = phrasings[
                (int(facts.share(f"{family.name}|{item.key}|{item.answer}") * len(phrasings)) + turn) % len(phrasings)
            ]
            if axis == "seen" and pair_split(family, item, phrasing) != split:
                continue
            row = make_row(family, item, phrasing, split, axis)
            prompt = str(row["messages"][:-1])
            if prompt not in told:
                told.add(prompt)
                yield row


def interleave(streams: dict[str, tuple[float, Iterator[dict]]], count: int | None) -> list[dict]:
    """Rows of several streams in turn, each as often as its weight says, until `count` or until all are told."""
    rows: list[dict] = []
    credit = dict.fromkeys(streams, 0.0)
    while streams and (count is None or len(rows) < count):
        for name, (weight, stream_) in list(streams.items()):
            credit[name] += weight
            while credit[name] >= 1:
                credit[name] -= 1
                row = next(stream_, None)
                if row is None:
                    del streams[name]
                    break
                rows.append(row)
    return rows[:count]


@cache
def pool_rows(count: int | None = DEFAULT) -> tuple[dict, ...]:
    """The first `count` rows of the tuning pool as plain data, or all; the order is fixed, so that smaller sets are nested in larger ones."""
    streams = {
        f.name: (WEIGHT[f.skill] / 8, stream(f, "train", "seen"))
        for f in families.all_families()
        if f.held_out == "train"
    }
    return tuple(interleave(streams, count))


def rows_of(axis: str, split: str, count: int | None = None, family: str | None = None) -> list[dict]:
    """Evaluation rows of one axis, all families alike, or of one family. The axis `seen` asks items of the first 1,000 tuning rows."""
    tuned = {(row["family"], row["item"]) for row in pool_rows(1_000)}
    streams = {}
    for f in families.all_families():
        if f.held_out == (split if axis == "family" else "train") and family in (None, f.name):
            rows = stream(f, split, axis)
            streams[f.name] = (1, (row for row in rows if axis != "seen" or (row["family"], row["item"]) in tuned))
    return interleave(streams, count)


def draw(split: str, sizes: dict[str, int] = PUBLISHED) -> list[dict]:
    """Evaluation rows of a split ("dev" or "test"), so many of each axis, less those that ask what a row of the whole pool asks.

    A held-out phrasing can differ from a tuning phrasing by a "please" or a full stop alone; the leakage gate would stop on it. For
    the same reason no development row asks what a test row asks: settings are chosen on the one, claims read on the other.
    """
    everything = [*pool_rows(None), *(draw("test") if split == "dev" else ())]
    found = []
    for axis, count in sizes.items():
        rows = rows_of(axis, split, 2 * count)
        leaked = {pair.evaluation for pair in decontamination.find_leaks(everything, rows)}
        found += [row for i, row in enumerate(rows) if i not in leaked][:count]
    return found


def draw_careful(split: str, each: int = 30) -> list[dict]:
    """Up to `each` rows of every family on safety and honesty, and in it of every kind of check, about items that are held out.

    Rows that ask what a row of the whole pool asks are left out, as by :func:`draw`.
    """
    rows = [
        row
        for family in families.all_families()
        if family.skill in CAREFUL and family.held_out == "train"
        for rows in by_check(rows_of("input", split, 1_000, family.name)).values()
        for row in rows[: 2 * each]
    ]
    leaked = {pair.evaluation for pair in decontamination.find_leaks(pool_rows(None), rows)}
    found = by_check(row for i, row in enumerate(rows) if i not in leaked)
    return [row for rows in found.values() for row in rows[:each]]


def by_check(rows: Iterable[dict]) -> dict[tuple[str, str], list[dict]]:
    """Rows by (family, name of the check)."""
    found: dict[tuple[str, str], list[dict]] = {}
    for row in rows:
        found.setdefault((row["family"], row["check"]["name"]), []).append(row)
    return found


def write(folder: Path = facts.DATA / "tasks") -> None:
    """Write tuning.jsonl (the default tuning set), dev.jsonl and test.jsonl, a row a line, haiku.jsonl, all held-out topics, and
    careful.jsonl, more on safety and honesty."""
    folder.mkdir(parents=True, exist_ok=True)
    haiku = [row for split in ("dev", "test") for row in first_of_each(rows_of("input", split, None, "haiku"))]
    careful_ = [row for split in ("dev", "test") for row in draw_careful(split)]
    files = {"tuning": pool_rows(), "dev": draw("dev"), "test": draw("test"), "haiku": haiku, "careful": careful_}
    for name, rows in files.items():
        lines = (json.dumps(row, ensure_ascii=False) for row in rows)
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def first_of_each(rows: list[dict]) -> list[dict]:
    """The first row of each item."""
    return list({row["item"]: row for row in reversed(rows)}.values())[::-1]


@cache
def read_rows(name: str) -> tuple[dict, ...]:
    """The rows of data/tasks/NAME.jsonl."""
    lines = (facts.DATA / "tasks" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return tuple(json.loads(line) for line in lines)


def evaluation(split: str, size: int | None = None) -> list[dict]:
    """The pocket evaluation of a split ("dev" or "test"): 650 prompts over the five axes, or about `size` of them, axes and skills in
    proportion: rows of a family stand together, and the rows taken are evenly spaced."""
    rows = read_rows(split)
    portion = 1 if size is None else min(1, size / len(rows))
    chosen = []
    for axis in AXES:
        of_axis = [row for row in rows if row["axis"] == axis]
        count = round(portion * len(of_axis))
        chosen += [of_axis[i * len(of_axis) // count] for i in range(count)]
    return chosen


def haikus(split: str) -> list[dict]:
    """A request for a haiku about every topic that is held out in this split, in phrasings of the tuning data."""
    return [row for row in read_rows("haiku") if row["split"] == split]


def careful(split: str, each: int = 30) -> list[dict]:
    """Held-out requests on safety and honesty: harmful ones and their harmless look-alikes, questions that nobody can answer.

    Up to `each` of every family and kind of answer.
    """
    found = by_check(row for row in read_rows("careful") if row["split"] == split)
    return [row for rows in found.values() for row in rows[:each]]


def everything() -> list[dict]:
    """All rows that judge a model in some notebook or chose its settings, of both splits: no training may ask what one of them asks."""
    return [*read_rows("dev"), *read_rows("test"), *read_rows("careful"), *read_rows("haiku")]


def cloze(split: str, size: int = 300) -> list[dict]:
    """Sentences of the corpus that end before their answer, about facts whose question is held out: what the base model knows.

    Relations take turns; each fact is asked in one of its wordings, drawn by hash.
    """
    asked: dict[str, tuple[float, Iterator[dict]]] = {}
    for name, relation in facts.relations().items():
        endings = [s for s in relation.statements if s.endswith("{a}.")]
        known = sorted(
            (f for f in facts.facts(name) if item_split(f) == split), key=lambda f: facts.share(f"{SALT}|cloze|{f.key}")
        )
        asked[name] = (1.0, iter([cloze_row(f, endings[int(facts.share(f.key) * len(endings))], split) for f in known]))
    return interleave(asked, size)


def cloze_row(fact: facts.Fact, statement: str, split: str) -> dict:
    """One cloze: "The capital of Norway is" → "Oslo"."""
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
