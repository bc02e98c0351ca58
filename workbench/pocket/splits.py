"""Split facts, phrasings and combinations into train, dev and test by hash.

The split is a property of the fact and of the phrasing, never of the row, so no way to draw rows can leak.
"""

from functools import cache

from workbench.pocket import facts, families
from workbench.pocket.items import Item

SALT = "pocket 3"


def key_split(key: str) -> str:
    """Return the split of a key: train for half of them, dev for 15%, test for 35%. Both directions of a pair of opposites are one fact."""
    if key.startswith("opposite|"):
        key = "opposite|" + "/".join(sorted((key.removeprefix("opposite|"), facts.lookup()[key])))
    drawn = facts.share(f"{SALT}|item|{key}")
    return "train" if drawn < 0.5 else "dev" if drawn < 0.65 else "test"


def item_split(item: Item | facts.Fact) -> str:
    """Return the split of an item: that of its key."""
    return key_split(item.key)


@cache
def option_splits(options: tuple[str, ...], name: str, dev: float = 0.15, test: float = 0.25) -> dict[str, str]:
    """Map each option to its split, by rank of its hash, so that each split gets its share even of a short list.

    Fewer than four options are all train.
    """
    ranked = sorted(options, key=lambda o: facts.share(f"{SALT}|{name}|{o}"))
    if len(ranked) < 4:
        return dict.fromkeys(ranked, "train")
    n_test, n_dev = round(test * len(ranked)), max(1, round(dev * len(ranked)))
    return {o: "test" if i < n_test else "dev" if i < n_test + n_dev else "train" for i, o in enumerate(ranked)}


def phrasing_splits(family: families.Family) -> dict[str, str]:
    """Map each phrasing of a family to its split."""
    return option_splits(family.phrasings, f"phrasing|{family.name}")


@cache
def combination_splits() -> dict[str, str]:
    """Map each combination of a relation and a demanded form ("capital+quotes") to its split."""
    pairs = {item.combination for family in families.all_families() for item in family.items if item.combination}
    return option_splits(tuple(sorted(pairs)), "combination", dev=0.1, test=0.25)


def pair_split(family: families.Family, item: Item, phrasing: str) -> str:
    """Return the split of a pair of a tuning fact and a tuning phrasing: a quarter is held out for the axis `seen`."""
    drawn = facts.share(f"{SALT}|pair|{item.key}|{phrasing}") if len(family.phrasings) > 1 else 0
    return "train" if drawn < 0.75 else "dev" if drawn < 0.85 else "test"
