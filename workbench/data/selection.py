"""Choose rows by their scores: filters, a budget, and how much of the known junk was avoided.

A selector is a score a row (see scores; any array of numbers will do), then filters, which set the score of some rows to -inf, then
:func:`choose`:

    score = curate.distinct(rows, scores.random(rows, seed))
    chosen = curate.choose(rows, score, tokens=5_000, lengths=scores.length(rows, tokenizer))
"""

from collections import defaultdict
from collections.abc import Iterable

import datasets
import numpy as np

from workbench.data import content, corruption, duplicates
from workbench.errors import InputError


def oracle(rows: datasets.Dataset, scores: np.ndarray) -> np.ndarray:
    """The scores, with -inf for every row that is known to be noisy: what a selector could reach at best."""
    return np.where(np.array(corruption.required_column(rows, "noise")) == "", scores, -np.inf)


def distinct(rows: Iterable[dict], scores: np.ndarray, threshold: float = 0.8) -> np.ndarray:
    """The scores, with -inf for every row that is a near duplicate (see overlap) of a row with a higher score that is kept.

    The same prompt with another answer is a duplicate too. Near-duplicate removal as in Lee et al. 2021 (arXiv 2107.06499).
    """
    asked = [content.answered_turns(row)[-1] for row in rows]
    close = defaultdict(list)
    for i, j, _ in duplicates.near_duplicates(asked, asked, threshold):
        close[i].append(j)
    scores = np.array(scores, dtype=float)
    for i in np.argsort(-scores, kind="stable"):
        if scores[i] > -np.inf:
            scores[[j for j in close[i] if j != i]] = -np.inf
    return scores


def diverse(scores: np.ndarray, embeddings: np.ndarray, tau: float = 0.9) -> np.ndarray:
    """The scores, with -inf for every row that is too like a row with a higher score that is kept.

    The Repr Filter of DEITA (Liu et al. 2023, arXiv 2312.15685): down the order of scores, a row is kept if its cosine
    similarity to the nearest kept one is at most tau (0.9 there; a lower one drops more).

    Args:
        embeddings: shape (rows, dimensions), such as scores.embeddings.
    """
    scores = np.array(scores, dtype=float)
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    kept = np.empty_like(unit)
    count = 0
    for i in np.argsort(-scores, kind="stable"):
        if not scores[i] > -np.inf:
            break  # the rest is out already, or no number
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
    """The rows with the highest scores, best first: `size` of them, or as many as fit into a budget of `tokens`.

    At equal size a selector that likes long answers trains on more tokens; at equal tokens it does not, and what is chosen differs
    from the budget by less than one row. Rows with the score -inf are never chosen; among equals the earlier row is.

    Args:
        lengths: what each row takes from the budget, for instance scores.length(rows, tokenizer), the tokens of its answers.
        selector: the name of the scores in error messages.

    Raises:
        InputError: a score that is NaN, scores or lengths of another number than rows, neither or both of size and tokens, a budget
            larger than what there is to choose from or smaller than the first row.
    """
    scores = np.asarray(scores, dtype=float)
    for name, values in ((selector, scores), ("lengths", lengths)):
        if values is not None and len(values) != len(rows):
            raise InputError(
                f"{name}: {len(values):,} numbers for {len(rows):,} rows; score the rows that you choose from"
            )
    if np.isnan(scores).any():
        first = int(np.flatnonzero(np.isnan(scores))[0])
        raise InputError(f"{selector}: the score of rows[{first}] is not a number; mend the selector or drop the row")
    if (size is None) == (tokens is None) or (tokens is None) != (lengths is None):
        raise InputError("choose needs a size, or tokens with lengths; give one of the two")
    order = np.argsort(-scores, kind="stable")
    order = order[scores[order] > -np.inf]
    holds = "the pool holds" if len(order) == len(rows) else f"{selector} leaves, of {len(rows):,} rows,"
    if size is not None:
        if not 0 < size <= len(order):
            raise InputError(f"size asks for {size:,} rows; {holds} {len(order):,}; ask for 1 to {len(order):,}")
        return rows.select(order[:size])
    total = np.cumsum(np.asarray(lengths)[order])
    if not len(total) or total[-1] < tokens:
        raise InputError(f"the budget is {tokens:,} tokens; {holds} {total[-1] if len(total) else 0:,}; lower it")
    if tokens < total[0]:
        raise InputError(f"the budget is {tokens:,} tokens; the first row alone has {total[0]:,}; raise it")
    return rows.select(order[: np.searchsorted(total, tokens, side="right")])


def selection_precision(chosen: datasets.Dataset) -> float:
    """Share of the chosen rows that are not junk. A copy is junk only where another of its kind was chosen before it.

    Raises:
        InputError: the column `noise` is missing.
    """
    seen, good = set(), 0
    for noise, messages in zip(corruption.required_column(chosen, "noise"), map(str, chosen["messages"]), strict=True):
        good += noise in ("", "repeated") and messages not in seen
        seen.add(messages)
    return good / len(chosen)
