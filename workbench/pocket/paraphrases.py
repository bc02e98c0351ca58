"""A row of the pocket world in other words: what it was made of, and the same made again."""

import random
import re
from collections.abc import Iterable

from workbench.data import content
from workbench.errors import InputError
from workbench.pocket import families, items, tasks


def found_in(row: dict) -> tuple[families.Family, items.Item]:
    """The family and the item that a row was made of.

    Raises:
        InputError: the row is none of the pocket world, or was changed by hand.
    """
    for family in (family for family in families.all_families() if family.name == row.get("family")):
        for item in (item for item in family.items if item.key == row.get("item")):
            if tasks.make_row(family, item, row["phrasing"], row["split"], row["axis"])["messages"] == row["messages"]:
                return family, item
    raise InputError(
        f'a row of family "{row.get("family")}" about "{row.get("item")}" was not made by the pocket world, which knows other '
        "wordings of its own rows alone; pass rows of tasks.evaluation"
    )


def rephrase(row: dict, phrasing: str) -> dict:
    """A row that asks for the same thing in another phrasing: a template over the slots of its family, as in `phrasing`.

    Raises:
        InputError: see :func:`found_in`.
    """
    return tasks.make_row(*found_in(row), phrasing, row["split"], row["axis"])


def paraphrases(row: dict) -> list[dict]:
    """The row in every phrasing of its family but those held out from tuning; in all of them, where the whole family is held out.

    Raises:
        InputError: see :func:`found_in`.
    """
    family, item = found_in(row)
    split = tasks.parts(family.phrasings, f"phrasing|{family.name}")
    tuned = [p for p in family.phrasings if family.held_out != "train" or split[p] == "train"]
    return [tasks.make_row(family, item, phrasing, row["split"], row["axis"]) for phrasing in tuned]


COURTESY = "Hello! Could you please help me with this?"


# What people leave out who type as into a search engine.
SMALL_WORDS = frozenset(
    "a an the of to in on with for from about into as and it is are was do does did i me my you your we they this that these those "
    "which what who where how can could would should will like want need know tell give say write name show make put please".split()
)


SLOT = re.compile(r"(\{\w+\})")


def polite(row: dict) -> dict:
    """A greeting and a courteous question before the request (:data:`COURTESY`)."""
    return rephrase(row, f"{COURTESY} {row['phrasing']}")


def terse(row: dict) -> dict:
    """The request in keywords: without :data:`SMALL_WORDS` and punctuation. What would lose every word stays as it is."""
    parts = SLOT.split(row["phrasing"])
    words = [w for part in parts for w in ([part] if SLOT.match(part) else re.findall(r"[\w']+", part))]
    kept = [word for word in words if word.lower() not in SMALL_WORDS]
    return rephrase(row, " ".join(kept) or row["phrasing"])


def typos(row: dict, seed: int = 0, rate: float = 0.5) -> dict:
    """Two neighbouring letters swapped in a share of the words of four letters or more; in one at least, where there is one."""
    draw = random.Random(f"{seed}|{row['item']}|{row['phrasing']}")
    pieces = re.split(r"(\{\w+\}|[^\W\d_]{4,})", row["phrasing"])
    long = [i for i, piece in enumerate(pieces) if i % 2 and not SLOT.match(piece)]
    for i in draw.sample(long, max(round(rate * len(long)), min(1, len(long)))):
        pieces[i] = _swapped(pieces[i], draw)
    return rephrase(row, "".join(pieces))


def _swapped(word: str, draw: random.Random) -> str:
    """Two different neighbours change places; the first letter stays, since few typos are there and a capital would show."""
    places = [i for i in range(1, len(word) - 1) if word[i] != word[i + 1]]
    if not places:
        return word
    at = draw.choice(places)
    return word[:at] + word[at + 1] + word[at] + word[at + 2 :]


def questions_and_commands(rows: Iterable[dict], items: int, k: int = 2) -> dict[str, list[dict]]:
    """The first `items` requests that can be put both ways, each as `k` questions and as `k` commands ("Tell me …", no question mark).

    The wordings are drawn for the item from the phrasings that tuning may show, so that none was held out. The items must be: take rows
    of the axis "input" or "family". Returns two lists, "question" and "command", whose rows ask for the same thing pair by pair.

    Raises:
        InputError: a row whose item was tuned on.
    """
    found: dict[str, list[dict]] = {"question": [], "command": []}
    seen = set()
    for row in rows:
        if row["axis"] not in ("input", "family"):
            raise InputError(f'"{row["item"]}" is of axis "{row["axis"]}": in other words its row may be a tuning row')
        put = paraphrases(row) if (row["family"], row["item"]) not in seen else []
        asks = [other for other in put if "?" in content.plain_prompt(other)]
        tells = [other for other in put if other not in asks]
        if len(seen) < items and min(len(asks), len(tells)) >= k:
            seen.add((row["family"], row["item"]))
            for way, ones in zip(found, (asks, tells), strict=True):
                found[way] += random.Random(row["item"]).sample(ones, k)
    return found
