"""Keep evaluation prompts out of the training data: find leaked rows, remove them, stop on them, hold rows out without making any.

Two rows leak where they ask the same, in the same words or nearly: :mod:`workbench.data.duplicates` says what that means.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

import datasets
import numpy as np
import pandas as pd
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from workbench.data import content, duplicates, files
from workbench.errors import InputError, counted
from workbench.store import Store

THRESHOLD = 0.8  # similarity from which on two prompts count as the same


@dataclass(frozen=True)
class Leak:
    """A training row and an evaluation row that ask the same."""

    train: int
    """Position of the training row."""
    evaluation: int
    """Position of the evaluation row."""
    similarity: float
    """1.0 for the same prompt, else see duplicates.near_duplicates."""


def hold_out(
    rows: datasets.Dataset, fraction: float = 0.1, seed: int = 0, exclude: Collection[int] = ()
) -> tuple[datasets.Dataset, datasets.Dataset]:
    """Split into (training, held out) so that no held-out prompt is trained on: find_leaks(training, held_out) is empty.

    Rows that ask the same stay together, so at most, not exactly, `fraction` of the rows are held out, but at least one.

    Args:
        exclude: positions of rows that must not be held out, for instance those without an answer within max_length.

    Raises:
        InputError: no row can be held out.
    """
    n = len(rows)
    wanted = max(1, round(fraction * n))
    pairs = np.array([(i, j) for i, j, _ in _matches(rows, rows, THRESHOLD)]).reshape(-1, 2).T
    _, group = connected_components(coo_matrix((np.ones(pairs.shape[1]), pairs), shape=(n, n)), directed=False)
    size = np.bincount(group)
    excluded = set(group[list(exclude)])
    held: list[int] = []
    for chosen in np.random.default_rng(seed).permutation(len(size)):
        if chosen not in excluded and len(held) + size[chosen] <= wanted:
            held += np.flatnonzero(group == chosen).tolist()
    if not held or len(held) == n:
        raise InputError(_why_none(size, excluded, wanted))
    kept = sorted(set(range(n)) - set(held))
    return rows.select(kept), rows.select(sorted(held))


def _why_none(size: np.ndarray, excluded: set[int], wanted: int) -> str:
    """Explain why no row can be held out, given the number of rows of each prompt."""
    n = size.sum()
    if n == 1:
        return "the data have 1 row, so none can be held out; give at least 2 rows with different prompts"
    if len(size) == 1:
        return f"no row of {n:,} can be held out, because all ask the same; give more prompts"
    if len(excluded) == len(size):
        return f"no row of {n:,} can be held out, because none has an answer within max_length; raise max_length"
    least = min(rows for prompt, rows in enumerate(size) if prompt not in excluded)
    return (
        f"no row of {n:,} can be held out, because each prompt has at least {counted(least, 'row')}, and the share to hold out "
        f"allows {wanted:,}; give more prompts, or hold out a share of at least {min(0.99, np.ceil(100 * least / n) / 100):g}"
    )


def find_leaks(train: Iterable[dict], evaluation: Iterable[dict], threshold: float = THRESHOLD) -> list[Leak]:
    """Return, for each evaluation row that the training data contain, its most similar training row.

    Every answered turn of a training conversation counts as a prompt, and both answers of a preference pair count. System turns are
    left out: the same question under another system prompt is the same question.
    """
    best: dict[int, Leak] = {}
    for i, j, similarity in _matches(train, evaluation, threshold):
        if j not in best or similarity > best[j].similarity:
            best[j] = Leak(i, j, similarity)
    return [best[j] for j in sorted(best)]


def leaked_rows(train: Iterable[dict], evaluation: Iterable[dict], threshold: float = THRESHOLD) -> set[int]:
    """Return the positions of all training rows that have to go before :func:`require_no_leaks` accepts the rest.

    (:func:`find_leaks` returns only the most similar one for each evaluation row.)
    """
    rows, evaluation, found = list(train), list(evaluation), set()
    left = list(range(len(rows)))
    # Similarity depends on how rare a word is among all rows, so removing rows may bring others over the threshold.
    while leaked := {left[i] for i, _, _ in _matches([rows[n] for n in left], evaluation, threshold)}:
        found |= leaked
        left = [n for n in left if n not in leaked]
    return found


def decontaminate(rows: datasets.Dataset, evaluation: Sequence[dict], store: Store | None = None) -> datasets.Dataset:
    """Return the rows that ask nothing that the evaluation asks, and print how many were left out.

    For data made elsewhere, which :func:`require_no_leaks` would otherwise refuse before each training. The result is kept in the store.

    Raises:
        InputError: all rows ask what the evaluation asks.
    """

    def clean() -> pd.DataFrame:
        leaked = leaked_rows(rows, evaluation)
        return pd.DataFrame({"row": [n for n in range(len(rows)) if n not in leaked]}, dtype="int64")

    key = [content.content_hash(rows), content.content_hash(evaluation)]
    kept = (store or Store()).cached(key, "decontaminated", clean)["row"]
    if len(kept) == len(rows):
        return rows
    if kept.empty:
        raise InputError("every row asks what the evaluation asks; give other training data")
    print(f"left out {len(rows) - len(kept):,} of {counted(len(rows), 'row')}, which ask what the evaluation asks")
    return rows.select(kept)


def require_no_leaks(train: Iterable[dict], evaluation: Iterable[dict]) -> None:
    """Raise InputError, with the first pair of rows, where evaluation rows leak into the training data."""
    train, evaluation = list(train), list(evaluation)
    if leaks := find_leaks(train, evaluation):
        raise InputError(describe_leaks(leaks, train, evaluation))


def describe_leaks(leaks: list[Leak], train: list[dict], evaluation: list[dict]) -> str:
    """Describe leaks in one line: how many, the first pair of rows, the fix."""
    first = leaks[0]
    shown = [
        f"{name}[{i}] {files.short(content.answered_turns(rows[i])[-1][0])!r}"
        for name, rows, i in (("train", train, first.train), ("evaluation", evaluation, first.evaluation))
    ]
    return (
        f"{len(leaks):,} of {counted(len(evaluation), 'evaluation row')} found in the training data, first {' and '.join(shown)} "
        f"(similarity {first.similarity:.2f}); remove them from one of the two"
    )


def _matches(train: Iterable[dict], evaluation: Iterable[dict], threshold: float) -> Iterator[tuple[int, int, float]]:
    """Yield (training row, evaluation row, similarity) of all answered turns in the one that ask what the other asks."""
    indexed = [
        (i, turn)
        for i, row in enumerate(train)
        for each in content.conversations(row)
        for turn in content.answered_turns(each)
    ]
    asked = [content.answered_turns(row)[-1] for row in evaluation]
    for i, j, similarity in duplicates.near_duplicates([turn for _, turn in indexed], asked, threshold):
        yield indexed[i][0], j, similarity
