"""data.decontamination"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import datasets
import numpy as np
import pandas as pd
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from workbench.data import content, duplicates, files
from workbench.errors import InputError
from workbench.store import Store


@dataclass(frozen=True)
class Leak:
    """A training row and an evaluation row that ask the same: positions, and similarity (1.0: the same prompt)."""

    train: int
    evaluation: int
    similarity: float


def hold_out(rows: datasets.Dataset, fraction: float = 0.1, seed: int = 0) -> tuple[datasets.Dataset, datasets.Dataset]:
    """Split into (training, held out) so that no held-out prompt is trained: leakage(training, held out) is empty.

    Rows that ask the same stay together, so at most, not exactly, `fraction` of the rows are held out.
    """
    n = len(rows)
    wanted = max(1, round(fraction * n))
    pairs = np.array([(i, j) for i, j, _ in _matches(rows, rows, 0.8)]).reshape(-1, 2).T
    _, group = connected_components(coo_matrix((np.ones(pairs.shape[1]), pairs), shape=(n, n)), directed=False)
    size = np.bincount(group)
    held: list[int] = []
    for chosen in np.random.default_rng(seed).permutation(len(size)):
        if len(held) + size[chosen] <= wanted:
            held += np.flatnonzero(group == chosen).tolist()
    if not held or len(held) == n:
        raise InputError(
            f"no row of {n} can be held out, since the others ask the same; give more prompts or hold out none"
        )
    kept = sorted(set(range(n)) - set(held))
    return rows.select(kept), rows.select(sorted(held))


def find_leaks(train: Iterable[dict], evaluation: Iterable[dict], threshold: float = 0.8) -> list[Leak]:
    """For each evaluation row that stands in the training data, in the same words or nearly (see overlap), its closest row.

    Every answered turn of a training conversation counts as a prompt, and both answers of a preference pair count. System turns are
    left out: the same question under another system prompt is the same question.
    """
    best: dict[int, Leak] = {}
    for i, j, similarity in _matches(train, evaluation, threshold):
        if j not in best or similarity > best[j].similarity:
            best[j] = Leak(i, j, similarity)
    return [best[j] for j in sorted(best)]


def leaked_rows(train: Iterable[dict], evaluation: Iterable[dict], threshold: float = 0.8) -> set[int]:
    """Positions of all training rows that ask what an evaluation row asks, so that :func:`require_no_leaks` lets the others pass.

    :func:`find_leaks` names the closest of each evaluation row alone.
    """
    rows, evaluation, found = list(train), list(evaluation), set()
    left = list(range(len(rows)))
    # How rare a word is depends on all rows, so that without the leaked ones others may come near.
    while leaked := {left[i] for i, _, _ in _matches([rows[n] for n in left], evaluation, threshold)}:
        found |= leaked
        left = [n for n in left if n not in leaked]
    return found


def require_no_leaks(train: Iterable[dict], evaluation: Iterable[dict]) -> None:
    """Stop where evaluation rows stand in the training data. Raises InputError that shows the first pair."""
    train, evaluation = list(train), list(evaluation)
    if pairs := find_leaks(train, evaluation):
        raise InputError(describe_leaks(pairs, train, evaluation))


def describe_leaks(pairs: list[Leak], train: list[dict], evaluation: list[dict]) -> str:
    """One line about leaked rows: how many, the first pair, the mend."""
    shown = [
        f"{name}[{i}] {files.short(content.answered_turns(rows[i])[-1][0])!r}"
        for name, rows, i in (("train", train, pairs[0].train), ("evaluation", evaluation, pairs[0].evaluation))
    ]
    return (
        f"{len(pairs)} of {len(evaluation)} evaluation rows stand in the training data, first {' and '.join(shown)} "
        f"(similarity {pairs[0].similarity:.2f}); take them out of one of the two"
    )


def _matches(train: Iterable[dict], evaluation: Iterable[dict], threshold: float) -> Iterable[tuple[int, int, float]]:
    indexed = [
        (i, pair)
        for i, row in enumerate(train)
        for side in content.conversations(row)
        for pair in content.answered_turns(side)
    ]
    asked = [content.answered_turns(row)[-1] for row in evaluation]
    for i, j, similarity in duplicates.near_duplicates([pair for _, pair in indexed], asked, threshold):
        yield indexed[i][0], j, similarity


def decontaminate(rows: datasets.Dataset, evaluation: Sequence[dict], store: Store | None = None) -> datasets.Dataset:
    """The rows that ask nothing that the evaluation asks, in the same words or nearly; a printed line says how many were left out.

    For data that somebody else made, of which the leakage gate would stop each training. What was found is kept in the store.

    Raises:
        InputError: all rows ask what the evaluation asks.
    """

    def found() -> pd.DataFrame:
        leaked = leaked_rows(rows, evaluation)
        return pd.DataFrame({"row": [n for n in range(len(rows)) if n not in leaked]}, dtype="int64")

    key = [content.content_hash(rows), content.content_hash(evaluation)]
    kept = (store or Store()).cached(key, "without", found)["row"]
    if len(kept) == len(rows):
        return rows
    if kept.empty:
        raise InputError(f"all {len(rows):,} rows ask what the evaluation asks; give other data to train on")
    print(f"left out {len(rows) - len(kept):,} of {len(rows):,} rows, which ask what the evaluation asks")
    return rows.select(kept)
