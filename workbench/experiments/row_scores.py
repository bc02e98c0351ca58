"""Score training rows with a base model by the methods of data selection, each once for the run store."""

from collections.abc import Sequence

import datasets
import pandas as pd
from joblib import delayed

from workbench import hub
from workbench.data import content
from workbench.models import adapters, loading, selection_scores
from workbench.parallel import run_parallel
from workbench.store import Store


def score_rows(
    base: str,
    rows: datasets.Dataset,
    targets: Sequence[dict],
    shots: Sequence[dict],
    *,
    parallel: int = 1,
    store: Store | None = None,
) -> pd.DataFrame:
    """Return one row per training row with what a base model says of it; kept in the store.

    Args:
        base: the judge, a base model: a folder or a Hub id.
        rows: training rows, each with one answer.
        targets: rows of a development split that LESS compares gradients with.
        shots: rows known to be good, shown to the judge before it rates quality.
        parallel: processes at a time.

    Returns:
        Columns `perplexity`, `ifd`, `quality`, `complexity` and `less` (see :mod:`workbench.models.selection_scores`), and `e0`, `e1`, …, the
        embedding of each row.
    """
    store = store or Store()
    tokenizer = loading.load_tokenizer(base)

    def numbers() -> pd.DataFrame:
        model = loading.load_base(base, tokenizer=tokenizer)
        found = {
            "perplexity": selection_scores.perplexity(rows, model, tokenizer),
            "ifd": selection_scores.ifd(rows, model, tokenizer),
            "quality": selection_scores.quality(rows, model, tokenizer, shots),
            "complexity": selection_scores.complexity(rows, model, tokenizer),
        }
        embedded = selection_scores.embeddings(rows, model, tokenizer)
        return pd.DataFrame(found | {f"e{i}": column for i, column in enumerate(embedded.T)})

    def gradients() -> pd.DataFrame:
        model = adapters.with_adapter(loading.load_base(base, tokenizer=tokenizer), tokenizer)
        return pd.DataFrame({"less": selection_scores.less(rows, targets, model, tokenizer)})

    key = [loading.fingerprint(hub.fetch(base)), *map(content.content_hash, (rows, targets, shots))]
    calls = [
        delayed(store.cached)(key, name, make)
        for name, make in (("row-gradients", gradients), ("row-numbers", numbers))
    ]
    return pd.concat(run_parallel(calls, parallel, "scored", stored=True), axis=1)
