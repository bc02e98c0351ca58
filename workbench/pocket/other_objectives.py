"""Make data for other fine-tuning objectives: poems (a domain), exclamation marks (a style), topics (labels).

Test data are held out by the hash of :mod:`workbench.pocket.splits`: the topics of the poems, the facts of the openings and of the
sentences to classify.
"""

import re

from workbench.pocket import facts, splits, task_rows, tasks
from workbench.pocket.documents import genres, stories

TOPICS = {
    "geography": ("countries", "landmarks", "rivers"),
    "animals": ("animals",),
    "art": ("works", "people"),
    "jobs": ("jobs",),
    "chemistry": ("elements", "materials"),
    "language": ("opposites", "spanish", "nouns", "verbs", "adjectives"),
}
"""Label of a sentence → the fact tables that belong to it."""

SEEDS = {"train": 11, "dev": 12, "test": 13}


def poems(split: str, count: int, haiku: int = 4) -> list[str]:
    """Return `count` pages with `haiku` poems each, about topics of the split, without the titles that they have in the corpus."""
    writer = genres.Writer(SEEDS[split])
    topics = genres.deal(
        writer.rng, [topic for topic in stories.topics() if splits.key_split(f"topic|{topic}") == split]
    )
    return ["\n\n".join(stories.haiku(writer.rng, next(topics)) for _ in range(haiku)) for _ in range(count)]


def exclaimed(count: int) -> list[str]:
    """Return small stories that contain no facts, with exclamation marks in place of full stops."""
    writer = genres.Writer(SEEDS["train"])
    return [re.sub(r"\.(?=\s|$)", "!", stories.scene(writer)) for _ in range(count)]


def openings(split: str, count: int) -> list[dict]:
    """Return sentences about facts without their last words; the continuation must end every sentence with an exclamation mark."""
    return [row | {"check": {"name": "exclaims", "args": {}}} for row in tasks.cloze(split, count)]


def topic_sentences(split: str, count: int) -> list[dict]:
    """Return rows to classify by topic: `text`, its `label` (a key of TOPICS), and messages that ask for the label in words.

    Both the fact and its wording belong to the split and occur in no other split. The labels take turns.
    """
    found = {label: (1.0, iter(_labelled(label, split))) for label in TOPICS}
    return task_rows.interleave(found, count)


def _labelled(label: str, split: str) -> list[dict]:
    rows = []
    for relation in facts.relations().values():
        if relation.table in TOPICS[label]:
            wordings = splits.option_splits(relation.statements, f"topic|{relation.name}")
            known = [f for f in facts.facts(relation.name) if splits.item_split(f) == split]
            rows += [
                _topic_row(facts.sentence(facts.say(w, f)), label, split)
                for f in known
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
