"""Ways to ask for the same thing: functions from an evaluation row to a row that asks otherwise, and the scores that come of them.

A row keeps its `check`: what is asked for, and what counts as an answer, is the same whichever way it is asked. The wordings come from
the row's `phrasing`, so that what is asked about (a name to be spelled, words to be put in order) is never touched.
"""

import random
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import pandas as pd
from joblib import delayed

from workbench import data, evaluate, models, progress, runs
from workbench.errors import InputError
from workbench.pocket import wordings

# What a format that the model was never tuned on puts around the prompt: Stanford Alpaca's and Llama 2's.
TEMPLATES = {
    "Alpaca": "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{}\n\n### Response:",
    "Llama 2": "[INST] {} [/INST]",
}
COURTESY = "Hello! Could you please help me with this?"
# What people leave out who type as into a search engine.
SMALL_WORDS = frozenset(
    "a an the of to in on with for from about into as and it is are was do does did i me my you your we they this that these those "
    "which what who where how can could would should will like want need know tell give say write name show make put please".split()
)
COLUMNS = ("follows", "correct")
SLOT = re.compile(r"(\{\w+\})")


def template(row: dict, kind: str) -> dict:
    """The whole prompt in a foreign template, as text: to be scored in the mode "plain". Raises InputError for an unknown kind."""
    if kind not in TEMPLATES:
        raise InputError(f'template "{kind}" is unknown; known are {", ".join(TEMPLATES)}')
    request = {"role": "user", "content": TEMPLATES[kind].format(evaluate.plain(row))}
    return {**{key: row[key] for key in row if key != "tools"}, "messages": [request, row["messages"][-1]]}


def polite(row: dict) -> dict:
    """A greeting and a courteous question before the request (:data:`COURTESY`)."""
    return wordings.rephrase(row, f"{COURTESY} {row['phrasing']}")


def terse(row: dict) -> dict:
    """The request in keywords: without :data:`SMALL_WORDS` and punctuation. What would lose every word stays as it is."""
    parts = SLOT.split(row["phrasing"])
    words = [w for part in parts for w in ([part] if SLOT.match(part) else re.findall(r"[\w']+", part))]
    kept = [word for word in words if word.lower() not in SMALL_WORDS]
    return wordings.rephrase(row, " ".join(kept) or row["phrasing"])


def typos(row: dict, seed: int = 0, rate: float = 0.5) -> dict:
    """Two neighbouring letters swapped in a share of the words of four letters or more; in one at least, where there is one."""
    draw = random.Random(f"{seed}|{row['item']}|{row['phrasing']}")
    pieces = re.split(r"(\{\w+\}|[^\W\d_]{4,})", row["phrasing"])
    long = [i for i, piece in enumerate(pieces) if i % 2 and not SLOT.match(piece)]
    for i in draw.sample(long, max(round(rate * len(long)), min(1, len(long)))):
        pieces[i] = _swapped(pieces[i], draw)
    return wordings.rephrase(row, "".join(pieces))


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


def both_ways(rows: Iterable[dict], items: int, k: int = 2) -> dict[str, list[dict]]:
    """The first `items` requests that can be put both ways, each as `k` questions and as `k` commands ("Tell me …", no question mark).

    The wordings are drawn for the item from the phrasings that tuning may show, so that none was held out. The items must be: take rows
    of the axis "input" or "family". Returns two lists, "question" and "command", whose rows ask for the same thing pair by pair.

    Raises:
        InputError: a row whose item was tuned on.
    """
    found: dict[str, list[dict]] = {"question": [], "command": []}
    seen = set()
    for row in rows:
        if row["axis"] not in ("input", "family"):
            raise InputError(f'"{row["item"]}" is of axis "{row["axis"]}": in other words its row may be a tuning row')
        put = wordings.paraphrases(row) if (row["family"], row["item"]) not in seen else []
        asks = [other for other in put if "?" in evaluate.plain(other)]
        tells = [other for other in put if other not in asks]
        if len(seen) < items and min(len(asks), len(tells)) >= k:
            seen.add((row["family"], row["item"]))
            for way, ones in zip(found, (asks, tells), strict=True):
                found[way] += random.Random(row["item"]).sample(ones, k)
    return found


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
        ways = {way: [asked.mode, *evaluate.named(asked.rows)] for way, asked in self.asked.items()}
        source = self.source.id if isinstance(self.source, runs.Run) else models.fingerprint(models.fetch(self.source))
        return [self.name, self.seed, source, ways]


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
        jobs = [delayed(_scores)(model, way, list(shots)) for model in asked for way in model.asked]
        return pd.concat(progress.parallel(jobs, parallel, "ways asked"), ignore_index=True)

    key = [*(model.key for model in asked), data.content_hash(shots)]
    return (store or runs.Store()).cached(key, "ways", make)


def _scores(model: Model, way: str, shots: list[dict]) -> pd.DataFrame:
    rows, mode = model.asked[way].rows, model.asked[way].mode
    table = evaluate.score(*_loaded(model.source), rows, mode, shots=shots).rename(columns={"prompt": "asked"})
    asks_for = [f"{row['family']}: {row['item']}" for row in rows]
    return table.assign(prompt=asks_for, model=model.name, seed=model.seed, way=way)


# a worker does one model's ways after another's
_loaded = lru_cache(maxsize=1)(models.load_any)


def effects(table: pd.DataFrame, reference: Mapping[str, str], columns: Sequence[str] = COLUMNS) -> pd.DataFrame:
    """What each way costs or brings against a model's reference: paired differences with intervals.

    Args:
        table: of :func:`scores`.
        reference: model → the way that its others are compared with.

    Returns:
        A row a model, way and column: model, way, column, estimate, low, high, prompts, seeds; none for the reference itself.
    """
    found = []
    for (model, way), part in table.groupby(["model", "way"], sort=False):
        against = table[(table["model"] == model) & (table["way"] == reference[model])]
        if way != reference[model]:
            found += [
                {"model": model, "way": way, "column": column, **vars(evaluate.difference(part, against, column))}
                for column in columns
            ]
    return pd.DataFrame(found).drop(columns="unit")


def by_item(table: pd.DataFrame, by: Sequence[str] = ("model", "way")) -> pd.DataFrame:
    """Several wordings of each request as one row of means, so that an interval draws requests, and not wordings as if they were many.

    The column `spread` is the chance that two different wordings of a request differ in whether the answer is right.
    """
    grouped = table.groupby([*by, "seed", "prompt"], sort=False)
    found = grouped[[*COLUMNS]].mean().assign(wordings=grouped.size()).reset_index()
    right, n = found["correct"], found["wordings"]
    return found.assign(index=pd.factorize(found["prompt"])[0], spread=2 * right * (1 - right) * n / (n - 1))
