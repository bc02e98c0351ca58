"""The corpus: documents of many genres made from the facts, the same for the same seed on every machine."""

import hashlib
from collections.abc import Callable, Iterator

from workbench.pocket.documents import (
    copying,
    drills,
    genres,
    instructions,
    machines,
    paperwork,
    patterns,
    repeats,
    stories,
    word_games,
)
from workbench.pocket.documents.genres import Writer, deal

# How many documents of each genre stand in a hundred. Facts take more than half: a fact has to be met
# some hundred times. Play and lists teach to copy and to count, which most instructions need.
GENRES: dict[Callable[[Writer], str], int] = {
    genres.entry: 10,
    genres.notes: 12,
    genres.story: 13,
    genres.dialogue: 9,
    genres.letter: 4,
    genres.quiz: 8,
    genres.records: 4,
    genres.code: 2,
    genres.headline: 3,
    genres.stressed: 7,
    stories.poem: 5,
    stories.chatter: 1,
    word_games.play: 14,
    word_games.lists: 7,
    word_games.kinds: 4,
    stories.scene: 3,
    word_games.sums: 2,
    word_games.prices: 2,
    word_games.how_to: 1,
    stories.manners: 5,
    instructions.prompts: 7,
    instructions.worksheet: 4,
}

# The last stretch of pretraining: pages of drill, more poems and manners, and enough of the rest that nothing is forgotten.
LAST: dict[Callable[[Writer], str], int] = {
    genres.entry: 6,
    genres.notes: 7,
    genres.story: 9,
    genres.dialogue: 7,
    genres.letter: 2,
    genres.quiz: 6,
    genres.records: 3,
    genres.code: 1,
    genres.headline: 2,
    genres.stressed: 7,
    stories.poem: 12,
    stories.chatter: 1,
    word_games.play: 4,
    word_games.lists: 5,
    word_games.kinds: 3,
    stories.scene: 2,
    word_games.sums: 1,
    word_games.prices: 1,
    word_games.how_to: 1,
    stories.manners: 8,
    instructions.prompts: 6,
    instructions.worksheet: 3,
    drills.spelling: 8,
    drills.capitals: 6,
    drills.order: 8,
    drills.echo: 4,
    drills.sorting: 4,
    drills.desk: 6,
}

# Text from which nothing can be known beforehand and which has to be read: values that come again in other words, results that are
# said, records that are looked up, mappings shown once, strings that repeat. Without it a model of this size knows facts and copies nothing.
READING: dict[Callable[[Writer], str], int] = {
    copying.carried: 12,
    copying.corrected: 2,
    copying.repeated: 4,
    copying.coined: 3,
    copying.quoted_fact: 2,
    machines.served: 8,
    machines.relayed: 5,
    machines.queued: 7,
    machines.shown: 3,
    machines.priced: 2,
    machines.counted: 2,
    paperwork.noted: 3,
    paperwork.filed: 3,
    paperwork.receipt: 2,
    paperwork.logged: 2,
    paperwork.minutes: 2,
    paperwork.message: 3,
    patterns.completed: 9,
    repeats.again: 6,
    repeats.keyed: 4,
    patterns.spelt: 8,
    patterns.turned: 5,
    patterns.solved: 2,
}
# What the base model reads: the stretches of its training. GENRES alone is what its loss is measured on.
FIRST = GENRES | READING | {drills.spelling: 4, drills.capitals: 5}
THEN = LAST | READING | {stories.poem: 16, drills.spelling: 10, drills.capitals: 9}
PARTS = 16
"""Writers of a stretch, each with a seed of its own: as many processes can write at a time, and the texts are the same however many do."""


def documents(seed: int | str = 0, mix: dict[Callable[[Writer], str], int] = GENRES) -> Iterator[tuple[str, str]]:
    """Endless (genre, text), genres as often as the mix says; no text holds a chat format."""
    writer = Writer(seed)
    order = deal(writer.rng, [genre for genre, weight in mix.items() for _ in range(weight)])
    for genre in order:
        yield genre.__name__, genre(writer)


def texts(characters: int, seed: int | str = 0, mix: dict[Callable[[Writer], str], int] = GENRES) -> list[str]:
    """Documents until `characters` are reached. Seed 1 is held out: the base model read the seeds "0/0" … "0/15" and "2/0" … "2/15"."""
    found, length = [], 0
    for _, text in documents(seed, mix):
        found.append(text)
        length += len(text)
        if length >= characters:
            return found
    raise AssertionError("documents() does not end")


def digest(texts: list[str]) -> str:
    """SHA-256 over the texts, in order: what the model card calls the corpus hash."""
    sha = hashlib.sha256()
    for text in texts:
        sha.update(text.encode() + b"\0")
    return sha.hexdigest()
