"""Task families: what can be asked, in which ways, about which items."""

from dataclasses import dataclass, field
from functools import cache

from . import items, talk
from .facts import demands, families, relations
from .items import Item

# Families that no tuning row belongs to; the rest of the world is tuned on.
HELD_OUT = {
    "superlative": "test",
    "numbered": "test",
    "language_id": "test",
    "river": "test",
    "material": "dev",
    "quote": "dev",
    "english": "dev",
    "list_home": "dev",
}


@dataclass(frozen=True)
class Family:
    """A kind of task. `phrasings` are templates over the slots of its items."""

    name: str
    skill: str
    phrasings: tuple[str, ...]
    items: tuple[Item, ...] = field(repr=False)
    held_out: str = "train"


MAKERS = {
    items.word_items: ("uppercase", "first_letter", "spell", "repeat", "quote"),
    items.row_items: ("reverse", "bullets", "numbered"),
    items.list_items: ("list_category", "list_continent", "list_home"),
    items.record_items: ("json_country", "json_animal"),
    items.create_items: ("haiku", "story", "sentence"),
    items.classify_items: ("sentiment", "category", "language_id"),
    talk.converse_items: ("manners", "follow_up", "again_capitals", "pronoun", "recall_name"),
    talk.tool_items: ("calculator", "look_up", "tool_answer", "no_tool"),
    talk.careful_items: ("refuse", "insult", "private", "unknowable", "fictional", "fictional_form"),
}
# Families with templates of their own beside data/families.toml.
EXTRA = {"fictional": ("honesty", "unknowable")}


@cache
def all_families() -> tuple[Family, ...]:
    """Every family of the pocket world: fact questions, demands on the form of an answer, and the rest of data/families.toml."""
    asked = families()
    found = []
    for name, relation in relations().items():
        phrasings = (*relation.questions, *asked["frames"]["phrasings"])
        found.append(
            Family(name, relation.skill, phrasings, tuple(items.fact_items(name)), HELD_OUT.get(name, "train"))
        )
    for demand, phrasings in demands()["demands"].items():
        found.append(Family(f"in_{demand}", "compose", tuple(phrasings), tuple(items.demand_items(demand))))
    for make, names in MAKERS.items():
        for name in names:
            skill, like = EXTRA.get(name, (asked.get(name, {}).get("skill"), name))
            found.append(
                Family(name, skill, tuple(asked[like]["phrasings"]), tuple(make(name)), HELD_OUT.get(name, "train"))
            )
    return tuple(found)
