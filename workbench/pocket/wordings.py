"""A row of the pocket world in other words: what it was made of, and the same made again."""

from ..errors import InputError
from . import tasks
from .families import Family, all_families
from .items import Item


def found_in(row: dict) -> tuple[Family, Item]:
    """The family and the item that a row was made of.

    Raises:
        InputError: the row is none of the pocket world, or was changed by hand.
    """
    for family in (family for family in all_families() if family.name == row.get("family")):
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
