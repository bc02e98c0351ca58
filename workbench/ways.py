"""Ways to ask for the same thing: functions from an evaluation row to a row that asks otherwise, and the scores that come of them.

A row keeps its `check`: what is asked for, and what counts as an answer, is the same whichever way it is asked. The wordings come from
the row's `phrasing`, so that what is asked about (a name to be spelled, words to be put in order) is never touched.
"""

import os
import random
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
from joblib import Parallel, delayed

from workbench import data, evaluate, models, runs
from workbench.errors import InputError
from workbench.pocket import tasks

# What a format that the model was never tuned on puts around the prompt: Stanford Alpaca's and Llama 2's.
TEMPLATES = {
    "alpaca": "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{}\n\n### Response:",
    "llama 2": "[INST] {} [/INST]",
}
COURTESY = "Hello! Could you please help me with this?"
# What people leave out who type as into a search engine.
SMALL_WORDS = frozenset(
    "a an the of to in on with for from about into as and it is are was do does did i me my you your we they this that these those "
    "which what who where how can could would should will like want need know tell give say write name show make put please".split()
)
SLOT = re.compile(r"(\{\w+\})")


def template(row: dict, kind: str) -> dict:
    """The whole prompt in a foreign template, as text: to be scored in the mode "plain". Raises InputError for an unknown kind."""
    if kind not in TEMPLATES:
        raise InputError(f'template "{kind}" is unknown; known are {", ".join(TEMPLATES)}')
    request = {"role": "user", "content": TEMPLATES[kind].format(evaluate.plain(row))}
    return {**{key: row[key] for key in row if key != "tools"}, "messages": [request, row["messages"][-1]]}


def polite(row: dict) -> dict:
    """A greeting and a courteous question before the request (:data:`COURTESY`)."""
    return tasks.rephrase(row, f"{COURTESY} {row['phrasing']}")


def terse(row: dict) -> dict:
    """The request in keywords: without :data:`SMALL_WORDS` and punctuation. What would lose every word stays as it is."""
    parts = SLOT.split(row["phrasing"])
    words = [w for part in parts for w in ([part] if SLOT.match(part) else re.findall(r"[\w']+", part))]
    kept = [word for word in words if word.lower() not in SMALL_WORDS]
    return tasks.rephrase(row, " ".join(kept) or row["phrasing"])


def typos(row: dict, seed: int = 0, rate: float = 0.5) -> dict:
    """Two neighbouring letters swapped in a share of the words of four letters or more; in one at least, where there is one."""
    draw = random.Random(f"{seed}|{row['item']}|{row['phrasing']}")
    pieces = re.split(r"(\{\w+\}|[^\W\d_]{4,})", row["phrasing"])
    long = [i for i, piece in enumerate(pieces) if i % 2 and not SLOT.match(piece)]
    for i in draw.sample(long, max(round(rate * len(long)), min(1, len(long)))):
        pieces[i] = _swapped(pieces[i], draw)
    return tasks.rephrase(row, "".join(pieces))


def _swapped(word: str, draw: random.Random) -> str:
    """Two different neighbours change places; the first letter stays, since few typos are there and a capital would show."""
    places = [i for i in range(1, len(word) - 1) if word[i] != word[i + 1]]
    if not places:
        return word
    at = draw.choice(places)
    return word[:at] + word[at + 1] + word[at] + word[at + 2 :]


def few_shot(row: dict, examples: Iterable[dict]) -> dict:
    """Solved examples as earlier turns of the conversation."""
    turns = [message for example in examples for message in example["messages"]]
    return {**row, "messages": [*turns, *row["messages"]]}


def system(row: dict, text: str) -> dict:
    """A system prompt before the conversation."""
    return {**row, "messages": [{"role": "system", "content": text}, *row["messages"]]}


def question(row: dict) -> dict | None:
    """The row put as a question, in a phrasing of the tuning data drawn for its item; None where its family has no such phrasing."""
    return _drawn(row, True)


def command(row: dict) -> dict | None:
    """The same put as a command: without any question mark."""
    return _drawn(row, False)


def _drawn(row: dict, asks: bool) -> dict | None:
    found = [other for other in tasks.paraphrases(row) if ("?" in evaluate.plain(other)) == asks]
    return random.Random(row["item"]).choice(found) if found else None


@dataclass(frozen=True)
class Asked:
    """Evaluation rows as they are put to a model: one way of asking."""

    rows: Sequence[dict]
    mode: str = "chat"
    """Of :func:`workbench.evaluate.score`."""


@dataclass(frozen=True)
class Model:
    """Who is asked, and in which ways."""

    name: str
    source: runs.Run | str
    """A run, or the folder or Hub id of a base model."""
    asked: Mapping[str, Asked]
    seed: int = 0

    @property
    def key(self) -> list:
        """Plain data that names model, ways and rows."""
        ways = {way: [asked.mode, data.content_hash(asked.rows)] for way, asked in self.asked.items()}
        source = self.source.id if isinstance(self.source, runs.Run) else models.fingerprint(models.fetch(self.source))
        return [self.name, self.seed, source, ways]

    def load(self) -> tuple:
        """Model and tokenizer, ready to answer."""
        if isinstance(self.source, runs.Run):
            # on a GPU memory is what is short, on a CPU it is time
            return models.load_tuned(self.source, unfolded=models.default_device() == "cpu")
        return models.load_base(self.source), models.load_tokenizer(self.source)


def scores(
    asked: Sequence[Model], *, shots: Sequence[dict] = (), parallel: int = 1, store: runs.Store | None = None
) -> pd.DataFrame:
    """Ask every model in each of its ways; the table is kept in the store.

    Args:
        shots: rows that the mode "few_shot" takes its examples from.
        parallel: models asked at a time, each in a process of its own with its share of the cores.

    Returns:
        The columns of :func:`workbench.evaluate.score`, and `model`, `seed`, `way`, `asked`: the prompt as it was put. The column `prompt`
        says what was asked for (family and item), the same in every way, so that differences between ways are paired.
    """

    def make() -> pd.DataFrame:
        work = Parallel(parallel, inner_max_num_threads=max(1, (os.cpu_count() or 1) // parallel))
        return pd.concat(work(delayed(_scores)(model, list(shots)) for model in asked), ignore_index=True)

    key = [*(model.key for model in asked), data.content_hash(shots)]
    return (store or runs.Store()).cached(key, "ways", make)


def _scores(asked: Model, shots: list[dict]) -> pd.DataFrame:
    model, tokenizer = asked.load()
    tables = []
    for name, way in asked.asked.items():
        table = evaluate.score(model, tokenizer, way.rows, way.mode, shots=shots).rename(columns={"prompt": "asked"})
        table["prompt"] = [f"{row['family']}: {row['item']}" for row in way.rows]
        tables.append(table.assign(model=asked.name, seed=asked.seed, way=name))
    return pd.concat(tables, ignore_index=True)
