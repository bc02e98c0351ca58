"""Make the corpus: documents of many genres from the facts, the same for the same seed on every machine."""

import hashlib
from collections.abc import Callable, Iterator

from workbench.pocket.documents import drills, genres, instructions, stories, word_games

# Weight of each genre. Facts take more than half, since a fact must occur some hundred times to be learned. Word games and lists
# teach to copy and to count, which most instructions need.
GENRES: dict[Callable[[genres.Writer], str], int] = {
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


# The last stage of pretraining: drills, more poems and manners, and enough of the rest that nothing is forgotten.
LAST: dict[Callable[[genres.Writer], str], int] = {
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


def documents(seed: int = 0, mix: dict[Callable[[genres.Writer], str], int] = GENRES) -> Iterator[tuple[str, str]]:
    """Yield (genre, text) without end, genres as often as the mix says; no text contains a chat format."""
    writer = genres.Writer(seed)
    order = genres.deal(writer.rng, [genre for genre, weight in mix.items() for _ in range(weight)])
    for genre in order:
        yield genre.__name__, genre(writer)


def texts(characters: int, seed: int = 0, mix: dict[Callable[[genres.Writer], str], int] = GENRES) -> list[str]:
    """Return documents until `characters` are reached. The base model was trained on seed 0, then on the mix LAST of seed 2; seed 1 is
    held out."""
    found, length = [], 0
    for _, text in documents(seed, mix):
        found.append(text)
        length += len(text)
        if length >= characters:
            return found
    raise AssertionError("documents() does not end")


def digest(texts: list[str]) -> str:
    """Return the SHA-256 of the texts, in order: the corpus hash of the model card."""
    sha = hashlib.sha256()
    for text in texts:
        sha.update(text.encode() + b"\0")
    return sha.hexdigest()
