"""Make data worse on purpose: corrupt some of the rows, or keep only few families or few phrasings.

Corruption measures what quality is worth: the same rows, a share of them corrupted, everything else equal. There are five types:

* wrong: the answer of another row of the same family that is false for this row and, where the family has such an answer, passes the
  row's `check` for form. Among those, the one nearest in length is taken. Data without families give the answer nearest in length of all.
  In the in-context study of Min et al. 2022 (arXiv 2202.12837) wrong answers hurt less than the wrong form.
* mismatched: the answer to another instruction: of any row of another family, or of any other row where there are no families or only
  one. The label noise of Zhang et al. 2017 (arXiv 1611.03530), with answers in place of classes.
* rambling: the right answer, followed by sentences of other rows' answers until it is four times as long and at least 20 words longer.
  Judges prefer such answers: the verbosity bias of Zheng et al. 2023 (arXiv 2306.05685).
* truncated: the answer stops after 30 to 70% of its words (an answer of one word after 30 to 70% of its letters), as it does where its
  author reached a token limit. The end token follows all the same. (The finding "truncated" of validation is another fault: there the
  trainer cuts the row, which loses its end token too.) Answers of one letter do not change.
* repeated: the whole row, prompt included, is replaced by a copy of one of the rows that are not replaced; these are used in turn. At
  share 1 one row remains. The copies at a share of 0.3 are copies at 0.6 too, though of fewer rows. In Hernandez et al. 2022
  (arXiv 2205.10487), on pretraining, repeated data hurt more than their share suggests.

The column `corruption` names what was done to a row ("" for a clean row), so that a selector can be measured against the known junk.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import cycle

import datasets
import numpy as np

from workbench.data import content, duplicates, reading
from workbench.errors import InputError, counted, known_names, shortened
from workbench.graders import grade

RAMBLING_FACTOR = 4  # a rambling answer is at least this many times as long as the right one,
RAMBLING_WORDS = 20  # and at least this many words longer: four times one word is still a short answer


def corrupt(rows: Iterable[dict], shares: dict[str, float], seed: int = 0) -> datasets.Dataset:
    """Corrupt a share of the rows; each row gets at most one type: corrupt(rows, {"wrong": 0.2, "truncated": 0.1}).

    The last answer is corrupted, earlier turns stay. Rows whose answer is a tool call, and rows that are corrupted already, do not
    change; where there are such, the share in the column `corruption` is a little smaller than asked.

    Args:
        rows: with `messages`.
        shares: share of all rows, 0 to 1, per type (see the module). Alone, every type selects the same rows, and a row that is corrupted at
            0.3 is corrupted at 0.6 too and, except by "repeated", in the same way.
        seed: draws the rows and their new answers.

    Returns:
        The same number of rows in the same order, with the column `corruption`.

    Raises:
        InputError: an unknown type, a share outside 0 to 1, shares that sum to more than 1, no rows, or rows without `messages`.
    """
    _require_shares(shares)
    pool = _pool(rows)
    order = np.random.default_rng(seed).permutation(len(pool.rows))
    ends = np.round(np.cumsum(list(shares.values())) * len(order)).astype(int)
    places_of = dict(zip(shares, np.split(order, ends), strict=False))  # the rest of the order stays clean
    result = [{**row, "corruption": row.get("corruption") or ""} for row in pool.rows]
    last = ["repeated"] if "repeated" in places_of else []  # copies are made of what the other types leave clean
    for name in [name for name in places_of if name not in last] + last:
        places = [i for i in places_of[name] if pool.answers[i]]
        if name == "repeated":
            new = _copies(result, places, [i for i in order if pool.answers[i] and not result[i]["corruption"]])
        else:
            answers = {i: CORRUPTIONS[name](pool, i, np.random.default_rng([seed, i])) for i in places}
            new = {i: _with_answer(result[i], answer) for i, answer in answers.items() if answer}
        result = [{**new[i], "corruption": name} if i in new else row for i, row in enumerate(result)]
    return reading.to_dataset(result)


def few_families(rows: datasets.Dataset, n: int, size: int, seed: int = 0) -> datasets.Dataset:
    """Return `size` rows of only `n` families, in their order: the same amount of data with less diverse tasks.

    The families at a larger n include those at a smaller one. content.task_types says what a row's family is where no column does.

    Raises:
        InputError: there are fewer than `n` families, or these have fewer than `size` rows.
    """
    families = content.task_types(rows)
    kept = set(_draw(families, n, seed))
    return _take(rows, [i for i, family in enumerate(families) if family in kept], size, f"families at n = {n}")


def few_phrasings(rows: datasets.Dataset, n: int, size: int, seed: int = 0) -> datasets.Dataset:
    """Return `size` rows with at most `n` phrasings per family; families keep their shares as far as their rows suffice.

    In rows without the column `phrasing`, instructions with the same first two words share a phrasing. Most of these are rare, so the
    `n` most common of each family are kept, and nothing is drawn. Arguments and errors as :func:`few_families`.
    """
    families, has_column = content.task_types(rows), "phrasing" in rows.column_names
    phrasings = required_column(rows, "phrasing") if has_column else content.opening_words(rows)
    phrasings_of = defaultdict(list)
    for family, phrasing in zip(families, phrasings, strict=True):
        phrasings_of[family].append(phrasing)
    kept = set()
    for family, each in phrasings_of.items():
        few = _draw(each, n, seed, at_most=True) if has_column else [text for text, _ in Counter(each).most_common(n)]
        kept |= {(family, phrasing) for phrasing in few}
    quota, first, rest = Counter(families[:size]), [], []
    for i, pair in enumerate(zip(families, phrasings, strict=True)):
        if pair in kept:
            (first if quota[pair[0]] > 0 else rest).append(i)
            quota[pair[0]] -= 1
    return _take(rows, first + rest, size, f"phrasings at n = {n}")


def required_column(rows: datasets.Dataset, name: str) -> list[str]:
    """Return the values of a column. Raises InputError where it is missing, or empty in a row."""
    if name not in rows.column_names:
        raise InputError(f'rows have no column "{name}", which is needed here; columns: {", ".join(rows.column_names)}')
    values = list(rows[name])
    if None in values:
        raise InputError(f'rows[{values.index(None)}]: the column "{name}" is empty; fill it or remove the row')
    return values


@dataclass(frozen=True)
class _Pool:
    """Rows, and what the corruption types read of all of them."""

    rows: list[dict]
    answers: list[str]
    """The last answer; "" where it is a tool call or corrupted already: such rows do not change, and no row gets their answer."""
    usable: np.ndarray
    """Positions of the rows with an answer in words."""
    words: np.ndarray
    """Length of each answer in words."""
    families: list[str | None]
    usable_in: dict[str | None, np.ndarray]
    """Positions of the usable rows, per family."""
    sentences: list[tuple[int, str]]
    """(row, sentence) of all answers; only those of four words or more, where there are any."""


def _pool(rows: Iterable[dict]) -> _Pool:
    rows = list(rows)
    if not rows:
        raise InputError("there are no rows to corrupt; give at least one")
    for i, row in enumerate(rows):
        if not row.get("messages"):
            raise InputError(
                f'rows[{i}] has no "messages"; only instructions with one answer can be corrupted, not pairs'
            )
    ends = [row["messages"][-1] for row in rows]
    fixed = [bool(row.get("corruption") or end.get("tool_calls")) for row, end in zip(rows, ends, strict=True)]
    answers = ["" if out else (end["content"] or "").strip() for out, end in zip(fixed, ends, strict=True)]
    sentences = [
        (i, text) for i, answer in enumerate(answers) for text in re.split(r"(?<=[.!?])\s+|\s*\n\s*", answer) if text
    ]
    families = [row.get("family") for row in rows]
    if len(set(families)) == 1:  # no family has an answer that another lacks
        families = [None] * len(rows)
    usable = np.array([i for i, answer in enumerate(answers) if answer], dtype=int)
    usable_in = {family: np.array([i for i in usable if families[i] == family]) for family in set(families)}
    words = np.array([len(answer.split()) for answer in answers])
    long = [(i, text) for i, text in sentences if len(text.split()) >= 4]
    return _Pool(rows, answers, usable, words, families, usable_in, long or sentences)


def _require_shares(shares: dict[str, float]) -> None:
    for name, share in shares.items():
        if name not in CORRUPTIONS:
            raise InputError(f"corruption {shortened(name)} is unknown{known_names(name, CORRUPTIONS)}")
        if not 0 <= share <= 1:
            raise InputError(f'corruption "{name}": the share is {share}; give a number from 0 to 1')
    if sum(shares.values()) > 1 + 1e-9:
        raise InputError(f"the shares of corrupted rows sum to {sum(shares.values()):g}; reduce them to 1 or less")


def _is_false(row: dict, right: str, answer: str, form: bool) -> bool:
    """Return whether the answer is false for this row and, if `form` is set, still has the form that the row asks for."""
    if not row.get("check"):
        return duplicates.normalise_words(answer) != duplicates.normalise_words(right)
    result = grade(row["check"], answer)
    return not result.correct and (result.follows or not form)


def _wrong(pool: _Pool, i: int, rng: np.random.Generator) -> str | None:
    family = pool.usable_in[pool.families[i]]
    for candidates, form in ((family, True), (family, False), (pool.usable, False)):
        order = rng.permutation(candidates)
        order = order[np.argsort(abs(pool.words[order] - pool.words[i]), kind="stable")]
        answers = (pool.answers[j] for j in order)
        found = next((answer for answer in answers if _is_false(pool.rows[i], pool.answers[i], answer, form)), None)
        if found:
            return found
    return None


def _mismatched(pool: _Pool, i: int, rng: np.random.Generator) -> str | None:
    own = pool.families[i]
    others = (j for j in rng.permutation(pool.usable) if own is None or pool.families[j] != own)
    answers = (pool.answers[j] for j in others)
    return next((answer for answer in answers if _is_false(pool.rows[i], pool.answers[i], answer, False)), None)


def _rambling(pool: _Pool, i: int, rng: np.random.Generator) -> str | None:
    drawn = rng.permutation(len(pool.sentences))[: 4 * RAMBLING_WORDS]  # enough even of sentences of four words
    others = [text for j, text in map(pool.sentences.__getitem__, drawn) if j != i]
    if not others:
        return None
    parts, words = [pool.answers[i]], pool.words[i]
    enough = max(RAMBLING_FACTOR * words, words + RAMBLING_WORDS)
    for text in cycle(others):
        if words >= enough:
            return " ".join(parts)
        parts.append(text)
        words += len(text.split())


def _truncated(pool: _Pool, i: int, rng: np.random.Generator) -> str | None:
    answer, kept = pool.answers[i], rng.uniform(0.3, 0.7)
    ends = [match.end() for match in re.finditer(r"\S+", answer)]
    if len(ends) == 1:
        ends = list(range(1, len(answer) + 1))
    return answer[: ends[max(1, int(kept * len(ends))) - 1]] if len(ends) > 1 else None


CORRUPTIONS = {
    "wrong": _wrong,
    "mismatched": _mismatched,
    "rambling": _rambling,
    "truncated": _truncated,
    "repeated": None,  # replaces whole rows: see _copies
}


def _with_answer(row: dict, answer: str) -> dict:
    return {**row, "messages": [*row["messages"][:-1], {"role": "assistant", "content": answer}]}


def _copies(rows: list[dict], places: list[int], clean: list[int]) -> dict[int, dict]:
    """Return for each place the row that replaces it: the clean rows elsewhere, in turn; the last place where there are none."""
    originals = sorted(set(clean) - set(places)) or places[-1:]
    return dict(
        zip([i for i in places if i not in originals[:1]], map(rows.__getitem__, cycle(originals)), strict=False)
    )


def _draw(values: Iterable[str], n: int, seed: int, at_most: bool = False) -> list[str]:
    """Return `n` of the distinct values, the first in an order that the seed draws; fewer if `at_most` is set and there are fewer."""
    distinct = sorted(set(values))
    if n < 1 or n > len(distinct) and not at_most:
        raise InputError(f"n asks for {n:,} of {len(distinct):,} families; ask for 1 to {len(distinct):,}")
    return np.random.default_rng(seed).permutation(distinct)[:n].tolist()


def _take(rows: datasets.Dataset, places: list[int], size: int, what: str) -> datasets.Dataset:
    """Return the rows at the first `size` places, in the order of the data."""
    if not 0 < size <= len(places):
        raise InputError(
            f"size asks for {counted(size, 'row')}; the {what} have {counted(len(places), 'row')}; ask for fewer rows or raise n"
        )
    return rows.select(sorted(places[:size]))
