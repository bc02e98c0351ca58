"""List the task families: which phrasings ask about which items."""

from dataclasses import dataclass, field
from functools import cache

from workbench.pocket import dialogue_items, facts
from workbench.pocket.items import (
    Item,
    classify_items,
    create_items,
    demand_items,
    fact_items,
    list_items,
    record_items,
    row_items,
    word_items,
)

# Families without tuning rows, and the split that evaluates them; all others are in the tuning data.
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
    """A family of tasks; `phrasings` are templates over the slots of its items."""

    name: str
    skill: str
    phrasings: tuple[str, ...]
    items: tuple[Item, ...] = field(repr=False)
    held_out: str = "train"


MAKERS = {
    word_items: ("uppercase", "first_letter", "spell", "repeat", "quote"),
    row_items: ("reverse", "bullets", "numbered"),
    list_items: ("list_category", "list_continent", "list_home"),
    record_items: ("json_country", "json_animal"),
    create_items: ("haiku", "story", "sentence"),
    classify_items: ("sentiment", "category", "language_id"),
    dialogue_items.converse_items: ("manners", "follow_up", "again_capitals", "pronoun", "recall_name"),
    dialogue_items.tool_items: ("calculator", "look_up", "tool_answer", "no_tool"),
    dialogue_items.safety_items: ("refuse", "insult", "private", "unknowable", "fictional", "fictional_form"),
}

# Families that use the phrasings of another: name → skill and the family whose phrasings it uses.
BORROWED = {"fictional": ("honesty", "unknowable")}


@cache
def all_families() -> tuple[Family, ...]:
    """Return every family: fact questions, fact questions that demand a form, and the families of data/families.toml."""
    known = facts.families()
    found = []
    for name, relation in facts.relations().items():
        phrasings = (*relation.questions, *known["frames"]["phrasings"])
        found.append(Family(name, relation.skill, phrasings, tuple(fact_items(name)), HELD_OUT.get(name, "train")))
    for demand, phrasings in facts.demands()["demands"].items():
        found.append(Family(f"in_{demand}", "compose", tuple(phrasings), tuple(demand_items(demand))))
    for make, names in MAKERS.items():
        for name in names:
            skill, like = BORROWED.get(name, (known.get(name, {}).get("skill"), name))
            found.append(
                Family(name, skill, tuple(known[like]["phrasings"]), tuple(make(name)), HELD_OUT.get(name, "train"))
            )
    return tuple(found)
