"""Make rows of the pocket world from families, items and phrasings, in an order fixed by hash."""

from collections.abc import Iterator

from workbench.pocket import facts, families, splits
from workbench.pocket.items import TOOLS, Item, calling


def prompt_of(item: Item, phrasing: str) -> str:
    """Return the user's turn: the phrasing filled with the item."""
    return facts.sentence(phrasing.format(**item.slots))


def make_row(family: families.Family, item: Item, phrasing: str, split: str, axis: str) -> dict:
    """Return a row as plain data: messages, tools, family, phrasing, skill, item, split, axis, check."""
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


def stream(family: families.Family, split: str, axis: str) -> Iterator[dict]:
    """Yield rows of one family for a split ("train" is the tuning pool) and an axis, each item once before any item twice."""
    items, phrasings = _items(family, split, axis), _phrasings(family, split, axis)
    given = set()
    for turn in range(len(phrasings)):
        for item in items:
            first = int(facts.share(f"{family.name}|{item.key}|{item.answer}") * len(phrasings))
            phrasing = phrasings[(first + turn) % len(phrasings)]
            if axis == "seen" and splits.pair_split(family, item, phrasing) != split:
                continue
            row = make_row(family, item, phrasing, split, axis)
            prompt = str(row["messages"][:-1])
            if prompt not in given:
                given.add(prompt)
                yield row


def _wanted(what: str, split: str, axis: str) -> str:
    """Return the split that items, phrasings or combinations come from: only what the axis names is held out."""
    return split if axis == what else "train"


def _items(family: families.Family, split: str, axis: str) -> list[Item]:
    """Return the items of a family for a split and axis, in an order fixed by hash."""
    wanted = _wanted("input", split, axis)
    items = [i for i in family.items if axis == "family" or splits.item_split(i) == wanted]
    if wanted == "train":
        items = [i for i in items if all(splits.key_split(key) == "train" for key in i.reveals)]
    if axis != "family":
        combinations, wanted = splits.combination_splits(), _wanted("combination", split, axis)
        items = [i for i in items if (combinations[i.combination] if i.combination else "train") == wanted]
    if axis == "combination":
        items = [i for i in items if i.combination]
    return sorted(items, key=lambda i: facts.share(f"{splits.SALT}|order|{family.name}|{i.key}|{i.combination}"))


def _phrasings(family: families.Family, split: str, axis: str) -> list[str]:
    """Return the phrasings of a family for a split and axis."""
    known, wanted = splits.phrasing_splits(family), _wanted("phrasing", split, axis)
    return [p for p in family.phrasings if axis == "family" or known[p] == wanted]


def interleave(streams: dict[str, tuple[float, Iterator[dict]]], count: int | None) -> list[dict]:
    """Return rows of several streams in turn, each as often as its weight says, until `count` or until all are exhausted."""
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
