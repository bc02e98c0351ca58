"""Ways to ask for the same thing: functions from an evaluation row to a row that asks otherwise, and the scores that come of them.

A row keeps its `check`: what is asked for, and what counts as an answer, is the same whichever way it is asked. The wordings come from
the row's `phrasing`, so that what is asked about (a name to be spelled, words to be put in order) is never touched.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import pandas as pd
from joblib import delayed

from workbench import hub
from workbench.data import content
from workbench.errors import InputError
from workbench.evaluate import scoring, stats
from workbench.models import adapters, loading
from workbench.parallel import run_parallel
from workbench.store import Run, Store

# What a format that the model was never tuned on puts around the prompt: Stanford Alpaca's and Llama 2's.
TEMPLATES = {
    "Alpaca": "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{}\n\n### Response:",
    "Llama 2": "[INST] {} [/INST]",
}


COLUMNS = ("follows", "correct")


def foreign_template(row: dict, kind: str) -> dict:
    """The whole prompt in a foreign template, as text: to be scored in the mode "plain". Raises InputError for an unknown kind."""
    if kind not in TEMPLATES:
        raise InputError(f'template "{kind}" is unknown; known are {", ".join(TEMPLATES)}')
    request = {"role": "user", "content": TEMPLATES[kind].format(content.plain_prompt(row))}
    return {**{key: row[key] for key in row if key != "tools"}, "messages": [request, row["messages"][-1]]}


def few_shot_turns(row: dict, examples: Iterable[dict]) -> dict:
    """Solved examples as earlier turns of the conversation."""
    turns = [message for example in examples for message in example["messages"]]
    return {**row, "messages": [*turns, *row["messages"]]}


def with_system_prompt(row: dict, text: str) -> dict:
    """A system prompt before the conversation."""
    return {**row, "messages": [{"role": "system", "content": text}, *row["messages"]]}


@dataclass(frozen=True)
class PromptVariant:
    """Evaluation rows as they are put to a model: one way of asking."""

    rows: Sequence[dict]
    mode: str = "chat"
    """Of :func:`workbench.evaluate.scoring.score`."""


@dataclass(frozen=True)
class AskedModel:
    """Who is asked, and in which ways."""

    name: str
    source: Run | str
    """A run, or the folder or Hub id of a base model."""
    asked: Mapping[str, PromptVariant]
    seed: int = 0

    @property
    def key(self) -> list:
        """Plain data that names model, ways and rows."""
        ways = {way: [asked.mode, *scoring.evaluation_key(asked.rows)] for way, asked in self.asked.items()}
        source = self.source.id if isinstance(self.source, Run) else loading.fingerprint(hub.fetch(self.source))
        return [self.name, self.seed, source, ways]


def score_variants(
    asked: Sequence[AskedModel], *, shots: Sequence[dict] = (), parallel: int = 1, store: Store | None = None
) -> pd.DataFrame:
    """Ask every model in each of its ways; the table is kept in the store.

    Args:
        shots: rows that the mode "few_shot" takes its examples from.
        parallel: models asked at a time, each in a process of its own with its share of the cores.

    Returns:
        The columns of :func:`workbench.evaluate.scoring.score`, and `model`, `seed`, `way`, `asked`: the prompt as it was put. The column `prompt`
        says what was asked for (family and item), the same in every way, so that differences between ways are paired.
    """

    def make() -> pd.DataFrame:
        jobs = [delayed(_score_variant)(model, way, list(shots)) for model in asked for way in model.asked]
        return pd.concat(run_parallel(jobs, parallel, "ways asked"), ignore_index=True)

    key = [*(model.key for model in asked), content.content_hash(shots)]
    return (store or Store()).cached(key, "ways", make)


def _score_variant(model: AskedModel, way: str, shots: list[dict]) -> pd.DataFrame:
    rows, mode = model.asked[way].rows, model.asked[way].mode
    table = scoring.score(*_loaded(model.source), rows, mode, shots=shots).rename(columns={"prompt": "asked"})
    asks_for = [f"{row['family']}: {row['item']}" for row in rows]
    return table.assign(prompt=asks_for, model=model.name, seed=model.seed, way=way)


# a worker does one model's ways after another's
_loaded = lru_cache(maxsize=1)(adapters.load_any)


def variant_effects(
    table: pd.DataFrame, reference: Mapping[str, str], columns: Sequence[str] = COLUMNS
) -> pd.DataFrame:
    """What each way costs or brings against a model's reference: paired differences with intervals.

    Args:
        table: of :func:`score_variants`.
        reference: model → the way that its others are compared with.

    Returns:
        A row a model, way and column: model, way, column, estimate, low, high, prompts, seeds; none for the reference itself.
    """
    found = []
    for (model, way), part in table.groupby(["model", "way"], sort=False):
        against = table[(table["model"] == model) & (table["way"] == reference[model])]
        if way != reference[model]:
            found += [
                {"model": model, "way": way, "column": column, **vars(stats.difference(part, against, column))}
                for column in columns
            ]
    return pd.DataFrame(found).drop(columns="unit")


def by_request(table: pd.DataFrame, by: Sequence[str] = ("model", "way")) -> pd.DataFrame:
    """Several wordings of each request as one row of means, so that an interval draws requests, and not wordings as if they were many.

    The column `spread` is the chance that two different wordings of a request differ in whether the answer is right.
    """
    grouped = table.groupby([*by, "seed", "prompt"], sort=False)
    found = grouped[[*COLUMNS]].mean().assign(wordings=grouped.size()).reset_index()
    right, n = found["correct"], found["wordings"]
    return found.assign(index=pd.factorize(found["prompt"])[0], spread=2 * right * (1 - right) * n / (n - 1))
