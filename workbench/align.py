"""What a preference training needs around it: pairs from a tuned model's own answers, and how far it moved; both kept in the store."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import datasets
import pandas as pd
import transformers
from joblib import Parallel, delayed

from workbench import chat, data, evaluate, models
from workbench.intervals import Interval
from workbench.pairs import SIDES
from workbench.pocket import preferences
from workbench.runs import Run, Store

RECIPE = 1  # part of the pairs' key; raise it when they would come out otherwise
ORDINARY, CAREFUL = ("known", "other"), ("harmful", "look-alike", "unknowable")
AIMS = {
    "helpful: follows": (ORDINARY, "follows"),
    "helpful: is right": (ORDINARY, "correct"),
    "harmless: refuses harm": (("harmful",), "correct"),
    "over-refusal: declines look-alikes": (("look-alike",), "declines"),
    "honest: admits not knowing": (("unknowable",), "correct"),
    "over-abstention: declines known facts": (("known",), "declines"),
    "knowledge kept: known facts right": (("known",), "correct"),
}
"""What alignment is measured by: name → the prompts (aims of preferences.aims) and the column; of "declines" less is better."""
ALIGNED = (CAREFUL, "good")


def pairs(
    run: Run, rows: Sequence[dict], n: int = 4, *, max_new_tokens: int = 32, store: Store | None = None
) -> datasets.Dataset:
    """Preference pairs for the model of a run: it answers every row `n` times, and the answers are judged; kept with the run.

    Helpful pairs come from :func:`workbench.pocket.preferences.sampled`, harmless and honest ones from
    :func:`workbench.pocket.preferences.principled`; those with a false chosen answer are left out. Two prompts in three give none:
    their answers are all good, or all bad.

    Raises:
        InputError: a row is of another split than the tuning split.
    """

    def make() -> pd.DataFrame:
        model, tokenizer = models.load_any(run)
        made = [
            pair
            for judge in (preferences.sampled, preferences.principled)
            for pair in judge(model, tokenizer, rows, run.spec["seed"], n, max_new_tokens=max_new_tokens)
            # the best of a model's answers can be false, and would be taught
            if pair["right"] and all(_said_so(tokenizer, pair, side) for side in SIDES)
        ]
        return pd.DataFrame({"pair": [json.dumps(pair) for pair in made]})

    key = [run, *evaluate.named(rows), n, max_new_tokens, RECIPE]
    kept = (store or Store()).cached(key, "pairs", make)
    return data.dataset([json.loads(pair) for pair in kept["pair"]])


def _said_so(tokenizer: transformers.PreTrainedTokenizerBase, pair: dict, side: str) -> bool:
    """Whether the template writes the answer with the first token that the model is asked for. A sampled one may begin in mid-word."""
    _, mask = chat.encode(tokenizer, pair["prompt"] + pair[side], pair.get("tools"))
    return mask[len(chat.prompt_ids(tokenizer, pair["prompt"], pair.get("tools")))] == 1


def all_pairs(
    starts: Mapping[int, Run], rows: Sequence[dict], n: int = 4, *, parallel: int = 1
) -> dict[int, datasets.Dataset]:
    """:func:`pairs` of the runs of several seeds, by seed; so many at a time, each in a process of its own with one thread."""
    workers = Parallel(parallel, inner_max_num_threads=1)
    made = workers(delayed(pairs)(run, rows, n) for run in starts.values())
    return dict(zip(starts, made, strict=True))


def drift(run: Run, start: Run, rows: Sequence[dict], store: Store | None = None) -> float:
    """:func:`workbench.evaluate.drift` of a run's model from that of another run, on the reference answers of the rows."""

    def make() -> pd.DataFrame:
        (policy, tokenizer), (reference, _) = (models.load_any(each) for each in (run, start))
        return pd.DataFrame({"drift": [evaluate.drift(policy, reference, tokenizer, rows)]})

    return (store or Store()).cached([run, start, data.content_hash(rows)], "drift", make)["drift"].item()


def on(table: pd.DataFrame, aim: str) -> tuple[pd.DataFrame, str]:
    """The rows of a table of :func:`workbench.pocket.preferences.aims` that one of AIMS is measured on, and its column."""
    prompts, column = {**AIMS, "aligned": ALIGNED}[aim]
    return table[table["aim"].isin(prompts)], column


def summary(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Every aim of every model with its interval, tidy: model, aim, estimate, low, high, prompts, seeds."""
    found = [
        {"model": model, "aim": aim, **vars(evaluate.estimate(*on(table, aim)))}
        for model, table in tables.items()
        for aim in AIMS
    ]
    return pd.DataFrame(found).drop(columns="unit")


def difference(a: pd.DataFrame, b: pd.DataFrame, aim: str) -> Interval:
    """:func:`workbench.evaluate.difference` of two models in one of AIMS, or in "aligned", all careful prompts together."""
    (left, column), (right, _) = on(a, aim), on(b, aim)
    return evaluate.difference(left, right, column)
