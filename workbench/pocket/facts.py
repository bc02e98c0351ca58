"""Read the facts of the pocket world from the tables in data/facts/ and put them into words with data/relations.toml."""

import csv
import hashlib
import re
import tomllib
from dataclasses import dataclass
from functools import cache

from workbench.environment import ROOT
from workbench.errors import InputError

DATA = ROOT / "data"

VOWEL_BUT_NO_AN = ("uni", "use", "eu", "one", "ewe", "uru", "ukr", "uga", "util", "uk")


@dataclass(frozen=True)
class Relation:
    """A relation between a subject and an answer, with its wordings; data/relations.toml explains the fields."""

    name: str
    table: str
    subject: str
    answer: str
    kind: str
    np: str
    statements: tuple[str, ...]
    asks: tuple[str, ...]
    questions: tuple[str, ...]
    skill: str = "knowledge"


@dataclass(frozen=True)
class Fact:
    """`answer` is what holds for `subject` under `relation`: ("capital", "Norway", "Oslo")."""

    relation: str
    subject: str
    answer: str

    @property
    def key(self) -> str:
        """Key that the split is drawn for; it does not depend on the prompt."""
        return f"{self.relation}|{self.subject}"


@cache
def table(name: str) -> tuple[dict[str, str], ...]:
    """Return the rows of data/facts/NAME.csv. Raises InputError naming file and line when a row has too few or too many cells."""
    path = DATA / "facts" / f"{name}.csv"
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        rows = []
        for row in reader:
            if None in row or None in row.values():
                raise InputError(
                    f"{path}: line {reader.line_num}: expected the cells {reader.fieldnames}; fix the commas"
                )
            rows.append(row)
    return tuple(rows)


@cache
def relations() -> dict[str, Relation]:
    """Return all relations by name, in the order of data/relations.toml."""
    text = tomllib.loads((DATA / "relations.toml").read_text(encoding="utf-8"))
    return {
        name: Relation(name, **{k: tuple(v) if isinstance(v, list) else v for k, v in entry.items()})
        for name, entry in text.items()
    }


@cache
def families() -> dict[str, dict]:
    """Return the task families of data/families.toml: name → skill and phrasings."""
    return tomllib.loads((DATA / "families.toml").read_text(encoding="utf-8"))


@cache
def demands() -> dict[str, dict]:
    """Return data/demands.toml: the forms that can be demanded of an answer, and the relations whose answers they apply to."""
    return tomllib.loads((DATA / "demands.toml").read_text(encoding="utf-8"))


@cache
def facts(relation: str | None = None) -> tuple[Fact, ...]:
    """Return all facts, or those of one relation. An empty cell in a table gives no fact."""
    names = [relation] if relation else list(relations())
    return tuple(
        Fact(r.name, row[r.subject], row[r.answer])
        for r in (relations()[n] for n in names)
        for row in table(r.table)
        if row[r.subject] and row[r.answer]
    )


@cache
def lookup() -> dict[str, str]:
    """Map the key of each fact ("capital|Norway") to its answer."""
    return {f.key: f.answer for f in facts()}


@cache
def values(kind: str) -> frozenset[str]:
    """Return every answer of one kind, for example all capitals; each counts as an answer of the right form."""
    return frozenset(f.answer for r in relations().values() if r.kind == kind for f in facts(r.name))


@cache
def members() -> dict[str, tuple[str, ...]]:
    """Map each category, in the plural that a request uses, to its members: "fruits" → apple, banana, …"""
    groups: dict[str, list[str]] = {}
    for row in table("nouns"):
        groups.setdefault(PLURAL_CATEGORY.get(row["category"], row["category"] + "s"), []).append(row["singular"])
    for row in table("animals"):
        if row["class"] in ("mammal", "bird", "fish", "reptile", "insect"):
            groups.setdefault("fish" if row["class"] == "fish" else row["class"] + "s", []).append(row["animal"])
    return {name: tuple(things) for name, things in groups.items() if len(things) >= 6}


PLURAL_CATEGORY = {
    "sport equipment": "pieces of sport equipment",
    "body part": "body parts",
    "furniture": "pieces of furniture",
    "clothing": "pieces of clothing",
}


def with_article(word: str) -> str:
    """Add the indefinite article: "a frog", "an owl"; names and words with an article are returned as they are."""
    if word[0].isupper() or word.split()[0] in ("the", "a", "an"):
        return word
    an = word[0] in "aeiou" and not word.startswith(VOWEL_BUT_NO_AN) or word.startswith(("hour", "honest", "heir"))
    return f"{'an' if an else 'a'} {word}"


def sentence(text: str) -> str:
    """Correct "a owl" to "an owl" and capitalise the first letter."""
    text = re.sub(
        r"\b([Aa]) (?=([a-z]+))", lambda m: m[1] + ("n " if with_article(m[2]).startswith("an ") else " "), text
    )
    return text[:1].upper() + text[1:]


def say(template: str, fact: Fact) -> str:
    """Fill a wording with a fact; {as} is the subject with its article."""
    article = with_article(fact.subject)
    slots = {"s": fact.subject, "S": fact.subject, "a": fact.answer, "as": article, "As": article}
    return template.format(**slots)


@cache
def share(key: str) -> float:
    """Return a fixed number in [0, 1) for a key, by SHA-256; splits and choices are drawn with it."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:6]) / 2**48
