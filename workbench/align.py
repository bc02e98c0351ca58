"""What a preference training needs around it: pairs from a tuned model's own answers, and how far it moved; both kept in the store."""

import json
from collections.abc import Sequence

import datasets
import pandas as pd
from joblib import Parallel, delayed

from workbench import data, evaluate, models
from workbench.pocket import preferences
from workbench.runs import Run, Store

RECIPE = 1  # part of the pairs' key; raise it when they would come out otherwise


def pairs(
    run: Run, rows: Sequence[dict], n: int = 4, *, max_new_tokens: int = 40, store: Store | None = None
) -> datasets.Dataset:
    """Preference pairs for the model of a run: it answers every row `n` times, and the answers are judged; kept with the run.

    Helpful pairs come from :func:`workbench.pocket.preferences.sampled`, harmless and honest ones from
    :func:`workbench.pocket.preferences.principled`. Few prompts give half of it: of the others no two answers differ.

    Raises:
        InputError: a row is of another split than the tuning split.
    """

    def make() -> pd.DataFrame:
        model, tokenizer = models.load_tuned(run, unfolded=models.default_device() == "cpu")
        made = [
            pair
            for judge in (preferences.sampled, preferences.principled)
            for pair in judge(model, tokenizer, rows, run.spec["seed"], n, max_new_tokens=max_new_tokens)
        ]
        return pd.DataFrame({"pair": [json.dumps(pair) for pair in made]})

    key = [run, data.content_hash(rows), n, max_new_tokens, RECIPE]
    kept = (store or Store()).cached(key, "pairs", make)
    return data.dataset([json.loads(pair) for pair in kept["pair"]])


def all_pairs(runs: Sequence[Run], rows: Sequence[dict], n: int = 4, *, parallel: int = 1) -> list[datasets.Dataset]:
    """:func:`pairs` of several runs, so many at a time, each in a process of its own with one thread."""
    workers = Parallel(parallel, inner_max_num_threads=1)
    return workers(delayed(pairs)(run, rows, n) for run in runs)


def drift(run: Run, start: Run, rows: Sequence[dict], store: Store | None = None) -> float:
    """:func:`workbench.evaluate.drift` of a run's model from that of another run, on the reference answers of the rows."""

    def make() -> pd.DataFrame:
        unfolded = models.default_device() == "cpu"
        (policy, tokenizer), (reference, _) = (models.load_tuned(each, unfolded=unfolded) for each in (run, start))
        return pd.DataFrame({"drift": [evaluate.drift(policy, reference, tokenizer, rows)]})

    return (store or Store()).cached([run, start, data.content_hash(rows)], "drift", make)["drift"].item()
