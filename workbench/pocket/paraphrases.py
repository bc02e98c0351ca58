"""Paraphrase rows of the pocket world: find the family and item of a row, and fill another phrasing with them."""

import random
import re
from collections.abc import Iterable

from workbench.data import content
from workbench.errors import InputError
from workbench.pocket import families, items, splits, task_rows


def source_of(row: dict) -> tuple[families.Family, items.Item]:
    """Return the family and the item that a row was made of.

    Raises:
        InputError: the row is not from the pocket world, or was edited.
    """
    for family in (family for family in families.all_families() if family.name == row.get("family")):
        for item in (item for item in family.items if item.key == row.get("item")):
            if (
                task_rows.make_row(family, item, row["phrasing"], row["split"], row["axis"])["messages"]
                == row["messages"]
            ):
                return family, item
    raise InputError(
        f'a row of family "{row.get("family")}" about "{row.get("item")}" was not made by the pocket world, or was edited; '
        "only its own rows can be paraphrased, so pass rows of tasks.evaluation"
    )


def rephrase(row: dict, phrasing: str) -> dict:
    """Return a row that asks for the same thing in another phrasing, a template over the slots of its family.

    Raises:
        InputError: see :func:`source_of`.
    """
    return task_rows.make_row(*source_of(row), phrasing, row["split"], row["axis"])


def paraphrases(row: dict) -> list[dict]:
    """Return the row in every phrasing of its family that is not held out; in all of them if the whole family is held out.

    Raises:
        InputError: see :func:`source_of`.
    """
    family, item = source_of(row)
    split = splits.phrasing_splits(family)
    usable = [p for p in family.phrasings if family.held_out != "train" or split[p] == "train"]
    return [task_rows.make_row(family, item, phrasing, row["split"], row["axis"]) for phrasing in usable]


COURTESY = "Hello! Could you please help me with this?"

# Words that people leave out when they type as into a search engine.
SMALL_WORDS = frozenset(
    "a an the of to in on with for from about into as and it is are was do does did i me my you your we they this that these those "
    "which what who where how can could would should will like want need know tell give say write name show make put please".split()
)

SLOT = re.compile(r"(\{\w+\})")


def polite(row: dict) -> dict:
    """Put a greeting and a courteous question (:data:`COURTESY`) before the request."""
    return rephrase(row, f"{COURTESY} {row['phrasing']}")


def terse(row: dict) -> dict:
    """Reduce the request to keywords, without :data:`SMALL_WORDS` and punctuation; unchanged if no word would be left."""
    parts = SLOT.split(row["phrasing"])
    words = [w for part in parts for w in ([part] if SLOT.match(part) else re.findall(r"[\w']+", part))]
    kept = [word for word in words if word.lower() not in SMALL_WORDS]
    return rephrase(row, " ".join(kept) or row["phrasing"])


def typos(row: dict, seed: int = 0, rate: float = 0.5) -> dict:
    """Swap two neighbouring letters in the share `rate` of the words of four or more letters, in at least one if there is one."""
    draw = random.Random(f"{seed}|{row['item']}|{row['phrasing']}")
    pieces = re.split(r"(\{\w+\}|[^\W\d_]{4,})", row["phrasing"])
    long = [i for i, piece in enumerate(pieces) if i % 2 and not SLOT.match(piece)]
    for i in draw.sample(long, max(round(rate * len(long)), min(1, len(long)))):
        pieces[i] = _swapped(pieces[i], draw)
    return rephrase(row, "".join(pieces))


def _swapped(word: str, draw: random.Random) -> str:
    """Swap two different neighbouring letters, never the first: typos are rare there, and a capital letter would show."""
    places = [i for i in range(1, len(word) - 1) if word[i] != word[i + 1]]
    if not places:
        return word
    at = draw.choice(places)
    return word[:at] + word[at + 1] + word[at] + word[at + 2 :]


def questions_and_commands(rows: Iterable[dict], items: int, k: int = 2) -> dict[str, list[dict]]:
    """Return the first `items` requests that have both forms, each as `k` questions and as `k` commands ("Tell me …", no question mark).

    The phrasings come from those that are not held out, so the items must be held out: take rows of the axis "input" or "family".

    Returns:
        Two lists, "question" and "command"; their rows at the same index ask for the same thing.

    Raises:
        InputError: the item of a row is in the tuning data.
    """
    found: dict[str, list[dict]] = {"question": [], "command": []}
    seen = set()
    for row in rows:
        if row["axis"] not in ("input", "family"):
            raise InputError(
                f'"{row["item"]}" is of axis "{row["axis"]}": its paraphrase may be a tuning row; pass rows of axis "input" or "family"'
            )
        others = paraphrases(row) if (row["family"], row["item"]) not in seen else []
        questions = [other for other in others if "?" in content.plain_prompt(other)]
        commands = [other for other in others if other not in questions]
        if len(seen) < items and min(len(questions), len(commands)) >= k:
            seen.add((row["family"], row["item"]))
            for form, rows_ in zip(found, (questions, commands), strict=True):
                found[form] += random.Random(row["item"]).sample(rows_, k)
    return found
