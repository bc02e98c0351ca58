"""Make data worse on purpose: noise of five kinds, and data of few families or few phrasings.

Noise is how one asks what quality is worth: the same rows, so many of them spoiled, everything else equal. What was done to a row stands
in its column `noise` ("" for a clean row), so that a way to choose rows (see curate) can be measured against the known junk.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import cycle

import datasets
import numpy as np

from workbench.data import content, duplicates, reading
from workbench.errors import InputError
from workbench.graders import grade

RAMBLE = 4  # a rambling answer is at least so many times as long,


RAMBLE_WORDS = 20  # and so many words longer, since four times one word is no rambling


def wrong(rows: Iterable[dict], share: float, seed: int = 0) -> datasets.Dataset:
    """Right form, false content: the answer of another row of the same family that does not fit this one.

    Where the row has a `check`, the new answer passes it for form and fails it for content, as far as the family has such an answer;
    the answer of nearly the same length is taken. Data without families give the answer nearest in length. Wrong answers hurt less
    than wrong form in the in-context study of Min et al. 2022 (arXiv 2202.12837); whether that holds in tuning is to be measured.

    Args:
        rows: with `messages`; the last answer is spoiled, and those before it stay. Rows whose answer is a tool call stay as they are, and
            so do rows that are noisy already; where there are such, the share that `noise` shows is a little smaller than asked.
        share: of all rows, 0 to 1. A row that is noisy at 0.3 is noisy at 0.6 too, and in the same way; all kinds hit the same rows.
        seed: draws the rows and what stands in them.

    Returns:
        As many rows in the same order, with the column `noise`.

    Raises:
        InputError: a share outside 0 to 1, or rows without `messages`.
    """
    return corrupt(rows, {"wrong": share}, seed)


def mismatched(rows: Iterable[dict], share: float, seed: int = 0) -> datasets.Dataset:
    """The answer of another instruction: of any row of another family, of any other row where there are no families or only one.

    The label noise of Zhang et al. 2017 (arXiv 1611.03530), for answers in place of classes. Arguments and errors as :func:`wrong`.
    """
    return corrupt(rows, {"mismatched": share}, seed)


def rambling(rows: Iterable[dict], share: float, seed: int = 0) -> datasets.Dataset:
    """The right answer and no end: sentences of other rows' answers follow until it is four times as long and 20 words longer.

    Judges like it all the same: the verbosity bias of Zheng et al. 2023 (arXiv 2306.05685). Arguments and errors as :func:`wrong`.
    """
    return corrupt(rows, {"rambling": share}, seed)


def truncated(rows: Iterable[dict], share: float, seed: int = 0) -> datasets.Dataset:
    """The answer breaks off after 30 to 70% of its words, a single word after as many of its letters; the end token follows all the same.

    So ends an answer that was cut by the token limit of whoever wrote it. (The doctor's "truncated" is another fault: answers cut by the
    trainer, which lose the end token too.) Answers of one letter stay as they are. Arguments and errors as :func:`wrong`.
    """
    return corrupt(rows, {"truncated": share}, seed)


def repeated(rows: Iterable[dict], share: float, seed: int = 0) -> datasets.Dataset:
    """Copies: the whole row, prompt too, is replaced by one of the rows that are left, which take turns (at share 1 one row is left).

    The rows that are copies at 0.3 are copies at 0.6 too, though of fewer rows. Repeated data hurts more than its share says in
    Hernandez et al. 2022 (arXiv 2205.10487), on pretraining. Arguments and errors as :func:`wrong`.
    """
    return corrupt(rows, {"repeated": share}, seed)


def corrupt(rows: Iterable[dict], shares: dict[str, float], seed: int = 0) -> datasets.Dataset:
    """A pool with several kinds of noise, each in rows of its own: mixed(rows, {"wrong": 0.2, "truncated": 0.1}).

    Raises:
        InputError: an unknown kind, a share outside 0 to 1, shares that sum to more than 1, or rows without `messages`.
    """
    for kind, share in shares.items():
        if kind not in CORRUPTIONS:
            raise InputError(f'noise "{kind}" is unknown; use one of {", ".join(CORRUPTIONS)}')
        if not 0 <= share <= 1:
            raise InputError(f'noise "{kind}": the share is {share}; give a number from 0 to 1')
    if sum(shares.values()) > 1 + 1e-9:
        raise InputError(f"the shares of noise sum to {sum(shares.values()):g}; make it 1 or less")
    pool = _pool(rows)
    order = np.random.default_rng(seed).permutation(len(pool.rows))
    ends = np.round(np.cumsum(list(shares.values())) * len(order)).astype(int)
    slices = dict(zip(shares, np.split(order, ends), strict=False))  # what is left over stays clean
    found = [{**row, "noise": row.get("noise") or ""} for row in pool.rows]
    last = ["repeated"] if "repeated" in slices else []  # copies are made of what the others leave clean
    for kind in [kind for kind in slices if kind not in last] + last:
        places = [i for i in slices[kind] if pool.answers[i]]
        if kind == "repeated":
            new = _copies(found, places, [i for i in order if pool.answers[i] and not found[i]["noise"]])
        else:
            said = {i: CORRUPTIONS[kind](pool, i, np.random.default_rng([seed, i])) for i in places}
            new = {i: _answered(found[i], text) for i, text in said.items() if text}
        found = [{**new[i], "noise": kind} if i in new else row for i, row in enumerate(found)]
    return reading.to_dataset(found)


def few_families(rows: datasets.Dataset, n: int, size: int, seed: int = 0) -> datasets.Dataset:
    """`size` rows of only `n` families, in their order: what is lost when the data are as many, but of fewer kinds.

    The families at a larger n hold those at a smaller one. What a row's family is where no column says so: see data.kinds.

    Raises:
        InputError: more families than there are, or too few rows in these.
    """
    families = content.task_types(rows)
    kept = set(_drawn(families, n, seed))
    return _first(rows, [i for i, family in enumerate(families) if family in kept], size, f"families at n = {n}")


def few_phrasings(rows: datasets.Dataset, n: int, size: int, seed: int = 0) -> datasets.Dataset:
    """`size` rows in which each family is asked in at most `n` ways; the families keep their shares as far as the rows reach.

    Arguments and errors as :func:`few_families`. Rows without the column `phrasing` are asked in the same way where they begin with
    the same two words; of such ways the `n` commonest of a family are taken, since most are rare.
    """
    families, told = content.task_types(rows), "phrasing" in rows.column_names
    phrasings = required_column(rows, "phrasing") if told else content.opening_words(rows)
    ways = defaultdict(list)
    for family, phrasing in zip(families, phrasings, strict=True):
        ways[family].append(phrasing)
    chosen = {
        family: _drawn(each, n, seed, at_most=True) if told else [way for way, _ in Counter(each).most_common(n)]
        for family, each in ways.items()
    }
    kept = {(family, way) for family, few in chosen.items() for way in few}
    quota, first, rest = Counter(families[:size]), [], []
    for i, asked in enumerate(zip(families, phrasings, strict=True)):
        if asked in kept:
            (first if quota[asked[0]] > 0 else rest).append(i)
            quota[asked[0]] -= 1
    return _first(rows, first + rest, size, f"phrasings at n = {n}")


@dataclass(frozen=True)
class _Pool:
    """Rows with what the kinds of noise read of them, once."""

    rows: list[dict]
    answers: list[str]
    """The last answer; "" where it is a tool call or noisy already: such rows neither get noise nor lend their answer."""
    usable: np.ndarray
    """Positions of the rows with an answer in words."""
    words: np.ndarray
    """Length of each answer in words."""
    families: list[str | None]
    kin: dict[str | None, np.ndarray]
    """The usable rows of each family."""
    sentences: list[tuple[int, str]]
    """(row, sentence) of all answers; those of four words or more, where there are any."""


def _pool(rows: Iterable[dict]) -> _Pool:
    rows = list(rows)
    if not rows:
        raise InputError("there are no rows to make noise in; give at least one")
    for i, row in enumerate(rows):
        if not row.get("messages"):
            raise InputError(
                f'rows[{i}] has no "messages"; noise is made of instructions with one answer, not of preference pairs'
            )
    ends = [row["messages"][-1] for row in rows]
    spared = [bool(row.get("noise") or end.get("tool_calls")) for row, end in zip(rows, ends, strict=True)]
    answers = ["" if out else (end["content"] or "").strip() for out, end in zip(spared, ends, strict=True)]
    sentences = [
        (i, text) for i, answer in enumerate(answers) for text in re.split(r"(?<=[.!?])\s+|\s*\n\s*", answer) if text
    ]
    families = [row.get("family") for row in rows]
    if len(set(families)) == 1:  # no family has an answer that another lacks
        families = [None] * len(rows)
    usable = np.array([i for i, answer in enumerate(answers) if answer], dtype=int)
    kin = {family: np.array([i for i in usable if families[i] == family]) for family in set(families)}
    words = np.array([len(answer.split()) for answer in answers])
    long = [(i, text) for i, text in sentences if len(text.split()) >= 4]
    return _Pool(rows, answers, usable, words, families, kin, long or sentences)


def _false(row: dict, own: str, answer: str, form: bool) -> bool:
    """Whether the answer is none to this row, and where `form` is asked for still looks like one."""
    if not row.get("check"):
        return duplicates.normalise_words(answer) != duplicates.normalise_words(own)
    result = grade(row["check"], answer)
    return not result.correct and (result.follows or not form)


def _wrong(pool: _Pool, i: int, rng: np.random.Generator) -> str | None:
    kin = pool.kin[pool.families[i]]
    for candidates, form in ((kin, True), (kin, False), (pool.usable, False)):
        order = rng.permutation(candidates)
        order = order[np.argsort(abs(pool.words[order] - pool.words[i]), kind="stable")]
        answers = (pool.answers[j] for j in order)
        found = next((said for said in answers if _false(pool.rows[i], pool.answers[i], said, form)), None)
        if found:
            return found
    return None


def _mismatched(pool: _Pool, i: int, rng: np.random.Generator) -> str | None:
    own = pool.families[i]
    others = (j for j in rng.permutation(pool.usable) if own is None or pool.families[j] != own)
    return next(
        (pool.answers[j] for j in others if _false(pool.rows[i], pool.answers[i], pool.answers[j], False)), None
    )


def _rambling(pool: _Pool, i: int, rng: np.random.Generator) -> str | None:
    drawn = rng.permutation(len(pool.sentences))[: 4 * RAMBLE_WORDS]  # more than enough of four words and more
    others = [text for j, text in map(pool.sentences.__getitem__, drawn) if j != i]
    if not others:
        return None
    said, words, enough = [pool.answers[i]], pool.words[i], max(RAMBLE * pool.words[i], pool.words[i] + RAMBLE_WORDS)
    for text in cycle(others):
        if words >= enough:
            return " ".join(said)
        said.append(text)
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
    "repeated": None,
}


def _answered(row: dict, text: str) -> dict:
    return {**row, "messages": [*row["messages"][:-1], {"role": "assistant", "content": text}]}


def _copies(rows: list[dict], places: list[int], clean: list[int]) -> dict[int, dict]:
    """For each place a row that stays, these in turn; where none would stay, the last place does."""
    stay = sorted(set(clean) - set(places)) or places[-1:]
    return dict(zip([i for i in places if i not in stay[:1]], map(rows.__getitem__, cycle(stay)), strict=False))


def required_column(rows: datasets.Dataset, name: str) -> list[str]:
    """The values of a column. Raises InputError where it is missing or empty in a row."""
    if name not in rows.column_names:
        raise InputError(f'rows have no column "{name}", which this needs; there are {", ".join(rows.column_names)}')
    values = list(rows[name])
    if None in values:
        raise InputError(f'rows[{values.index(None)}]: the column "{name}" is empty; fill it or leave the row out')
    return values


def _drawn(values: Iterable[str], n: int, seed: int, at_most: bool = False) -> list[str]:
    """The first `n` of the different values, in an order that the seed draws."""
    found = sorted(set(values))
    if n < 1 or n > len(found) and not at_most:
        raise InputError(f"n asks for {n:,} of {len(found):,} families; ask for 1 to {len(found):,}")
    return np.random.default_rng(seed).permutation(found)[:n].tolist()


def _first(rows: datasets.Dataset, places: list[int], size: int, what: str) -> datasets.Dataset:
    if not 0 < size <= len(places):
        raise InputError(f"size asks for {size:,} rows; the {what} hold {len(places):,}; ask for fewer rows or raise n")
    return rows.select(sorted(places[:size]))
