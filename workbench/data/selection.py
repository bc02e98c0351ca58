"""Select rows by their scores: filters, a budget in rows or tokens, and the share of known junk that was avoided.

A score is one number per row, higher is better (:mod:`workbench.models.selection_scores`, or any array of numbers). Filters set the score
of some rows to -inf, and :func:`select` takes the best of the rest:

    scores = data.distinct(rows, models.random_scores(rows))
    selected = data.select(rows, scores, tokens=5_000, lengths=models.answer_lengths(rows, tokenizer))
"""

from collections import defaultdict
from collections.abc import Iterable

import datasets
import numpy as np

from workbench.data import content, corruption, decontamination, duplicates
from workbench.errors import InputError, counted


def oracle(rows: datasets.Dataset, scores: np.ndarray) -> np.ndarray:
    """Return the scores, with -inf for every row that is known to be corrupted: an upper bound for all selectors.

    Raises:
        InputError: the column `corruption` (see data.corrupt) is missing.
    """
    return np.where(np.array(corruption.required_column(rows, "corruption")) == "", scores, -np.inf)


def distinct(rows: Iterable[dict], scores: np.ndarray, threshold: float = decontamination.THRESHOLD) -> np.ndarray:
    """Return the scores, with -inf for every row that is a near duplicate of a kept row with a higher score.

    The same prompt with another answer is a duplicate too; for the rest see duplicates.near_duplicates. Near-duplicate removal as in
    Lee et al. 2021 (arXiv 2107.06499).
    """
    asked = [content.answered_turns(row)[-1] for row in rows]
    duplicates_of = defaultdict(list)
    for i, j, _ in duplicates.near_duplicates(asked, asked, threshold):
        duplicates_of[i].append(j)
    scores = np.array(scores, dtype=float)
    for i in np.argsort(-scores, kind="stable"):
        if scores[i] > -np.inf:
            scores[[j for j in duplicates_of[i] if j != i]] = -np.inf
    return scores


def diverse(scores: np.ndarray, embeddings: np.ndarray, tau: float = 0.9) -> np.ndarray:
    """Return the scores, with -inf for every row that is too similar to a kept row with a higher score.

    The Repr Filter of DEITA (Liu et al. 2023, arXiv 2312.15685): in descending order of scores, a row is kept if its cosine similarity
    to the nearest kept row is at most tau (0.9 in the paper; a lower value excludes more rows).

    Args:
        embeddings: shape (rows, dimensions), for instance models.embeddings.
    """
    scores = np.array(scores, dtype=float)
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    kept = np.empty_like(unit)
    count = 0
    for i in np.argsort(-scores, kind="stable"):
        if not scores[i] > -np.inf:
            break  # the remaining rows are excluded, or their score is not a number
        if count and (kept[:count] @ unit[i]).max() > tau:
            scores[i] = -np.inf
        else:
            kept[count] = unit[i]
            count += 1
    return scores


def select(
    rows: datasets.Dataset,
    scores: np.ndarray,
    *,
    size: int | None = None,
    tokens: int | None = None,
    lengths: np.ndarray | None = None,
    selector: str = "scores",
) -> datasets.Dataset:
    """Return the rows with the highest scores, best first: `size` of them, or as many as fit into a budget of `tokens`.

    At equal size a selector that prefers long answers trains on more tokens; at equal tokens it does not, and the selected rows are
    within one row of the budget. Rows with the score -inf are never selected; of two rows with the same score the earlier one is first.

    Args:
        lengths: tokens that each row takes from the budget, for instance models.answer_lengths(rows, tokenizer).
        selector: the name of the scores in error messages.

    Raises:
        InputError: neither or both of size and tokens, a score that is not a number, or more rows or tokens than there are.
    """
    scores = np.asarray(scores, dtype=float)
    for name, values in ((selector, scores), ("lengths", lengths)):
        if values is not None and len(values) != len(rows):
            raise InputError(
                f"{name}: {counted(len(values), 'number')} for {counted(len(rows), 'row')}; give one number per row"
            )
    if np.isnan(scores).any():
        first = int(np.flatnonzero(np.isnan(scores))[0])
        raise InputError(f"{selector}: the score of rows[{first}] is not a number; fix the selector or remove the row")
    if (size is None) == (tokens is None) or (tokens is None) != (lengths is None):
        raise InputError("select needs a size, or tokens with lengths; give one of the two")
    order = np.argsort(-scores, kind="stable")
    order = order[scores[order] > -np.inf]
    available = f"of {counted(len(rows), 'row')}, {selector} leaves" if len(order) < len(rows) else "the data have"
    if size is not None:
        if not 0 < size <= len(order):
            raise InputError(
                f"size asks for {counted(size, 'row')}; {available} {len(order):,}; ask for 1 to {len(order):,}"
            )
        return rows.select(order[:size])
    total = np.cumsum(np.asarray(lengths)[order])
    if not len(total) or total[-1] < tokens:
        there = total[-1] if len(total) else 0
        raise InputError(
            f"the budget is {counted(tokens, 'token')}; {available} {counted(there, 'token')}; lower the budget"
        )
    if tokens < total[0]:
        raise InputError(
            f"the budget is {counted(tokens, 'token')}; the first row alone has {total[0]:,}; raise the budget"
        )
    return rows.select(order[: np.searchsorted(total, tokens, side="right")])


def selection_precision(selected: datasets.Dataset) -> float:
    """Return the share of the selected rows that are not junk; a copy is junk only where another one was selected before it.

    Raises:
        InputError: the column `corruption` (see data.corrupt) is missing.
    """
    seen, good = set(), 0
    corruptions = corruption.required_column(selected, "corruption")
    for name, messages in zip(corruptions, map(str, selected["messages"]), strict=True):
        good += name in ("", "repeated") and messages not in seen
        seen.add(messages)
    return good / len(selected)
