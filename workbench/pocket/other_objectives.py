"""Data and tests for tunings with an aim of their own: poems (a domain), exclamations (a style), topics (labels).

What is tested was held out by the same hash as in tasks: the topics of the poems, the facts of the openings and of the sentences to classify.
"""

import re

from workbench.pocket import facts, tasks
from workbench.pocket.documents import genres, stories

TOPICS = {
    "geography": ("countries", "landmarks", "rivers"),
    "animals": ("animals",),
    "art": ("works", "people"),
    "jobs": ("jobs",),
    "chemistry": ("elements", "materials"),
    "language": ("opposites", "spanish", "nouns", "verbs", "adjectives"),
}


"""What a text can be about, and the tables whose facts are about it."""


SEEDS = {"train": 11, "dev": 12, "test": 13}


def poems(split: str, count: int, haiku: int = 4) -> list[str]:
    """Pages of a book of haiku: `haiku` of them a page, about topics of the split, without the titles that they have in the corpus."""
    writer = genres.Writer(SEEDS[split])
    topics = genres.deal(
        writer.rng, [topic for topic in stories.topics() if tasks.key_split(f"topic|{topic}") == split]
    )
    return ["\n\n".join(stories.haiku(writer.rng, next(topics)) for _ in range(haiku)) for _ in range(count)]


def exclaimed(count: int) -> list[str]:
    """Small stories and sentences about things, which tell no fact, with an exclamation mark for every full stop."""
    writer = genres.Writer(SEEDS["train"])
    return [re.sub(r"\.(?=\s|$)", "!", stories.scene(writer)) for _ in range(count)]


def openings(split: str, count: int) -> list[dict]:
    """Sentences that end before their last words, about facts; whoever goes on is to end every sentence with an exclamation mark."""
    return [row | {"check": {"name": "exclaims", "args": {}}} for row in tasks.cloze(split, count)]


def topic_sentences(split: str, count: int) -> list[dict]:
    """Sentences to classify by what they are about: the `text`, its `label` (of TOPICS), and a row that asks for the label in words.

    A sentence tells a fact of the split in a wording of the split: neither stands in another split. The labels take turns.
    """
    found = {label: (1.0, iter(_told(label, split))) for label in TOPICS}
    return tasks.interleave(found, count)


def _told(label: str, split: str) -> list[dict]:
    rows = []
    for relation in facts.relations().values():
        if relation.table in TOPICS[label]:
            wordings = tasks.parts(relation.statements, f"topic|{relation.name}")
            told = [f for f in facts.facts(relation.name) if tasks.item_split(f) == split]
            rows += [
                _topic_row(facts.sentence(facts.say(w, f)), label, split)
                for f in told
                for w in wordings
                if wordings[w] == split
            ]
    return sorted(rows, key=lambda row: facts.share(row["text"]))


def _topic_row(text: str, label: str, split: str) -> dict:
    options = [*TOPICS]
    asked = f"Is this about {', '.join(options[:-1])} or {options[-1]}? {text}"
    messages = [{"role": "user", "content": asked}, {"role": "assistant", "content": label}]
    check = {"name": "choice", "args": {"options": options, "answer": label}}
    return {
        "messages": messages,
        "text": text,
        "label": label,
        "family": "topic",
        "skill": "classify",
        "split": split,
        "check": check,
    }
