"""Select the best rows of a data set and show what is selected and what is not: the command `workbench select`."""

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import datasets
import numpy as np
import transformers

from workbench import outputs
from workbench.cli.masks import data_lines
from workbench.data import content, reading, selection, validation
from workbench.data.findings import placed
from workbench.errors import InputError, counted, known_names, shortened
from workbench.models import adapters, loading, selection_scores

NEEDS_GOOD = ("deita", "less")  # these compare rows with a few that are known to be good
SAMPLE = 200  # rows on which the judge's loss is measured
KNOWS_LITTLE = 0.8  # of the loss of a uniform guess: from there on, scores say more about the judge than about the rows


@dataclass(frozen=True)
class Judge:
    """The model that scores rows."""

    name: str
    model: transformers.PreTrainedModel
    tokenizer: transformers.PreTrainedTokenizerBase
    good: list[dict]
    """Rows known to be good."""

    def score(self, score: Callable, rows: datasets.Dataset, *rest) -> np.ndarray:
        """Apply one of models.selection_scores."""
        return np.asarray(score(rows, self.model, self.tokenizer, *rest), dtype=float)


@dataclass(frozen=True)
class Selector:
    """A way to rank rows."""

    measure: str
    """What the score is, and which end comes first."""
    score: Callable[[datasets.Dataset, Judge], np.ndarray]
    reads: str = ""
    """The text that the judge's model reads: "sheet", "template", or "" if it reads none."""
    rank: Callable[[np.ndarray, datasets.Dataset, Judge], np.ndarray] | None = None
    """Makes the ranking of the scores: -inf for the rows to exclude."""
    excludes: str = ""
    """Which rows get -inf."""


SELECTORS = {
    "random": Selector("a random number", lambda rows, judge: selection_scores.random_scores(rows)),
    "longest": Selector(
        "tokens of the answer, the longest first",
        lambda rows, judge: selection_scores.answer_lengths(rows, judge.tokenizer).astype(float),
    ),
    "perplexity": Selector(
        "mean log-probability of the answer's tokens in nats, the highest first",
        lambda rows, judge: judge.score(selection_scores.perplexity, rows),
        "sheet",
    ),
    "ifd": Selector(
        "IFD (loss of the answer after its instruction / loss without it), the highest below 1 first",
        lambda rows, judge: judge.score(selection_scores.ifd, rows),
        "sheet",
        lambda scores, rows, judge: selection_scores.cherry(scores),
        "an IFD of 1 or more, which means that the instruction does not make the answer more likely",
    ),
    "deita": Selector(
        "probability of the answer below the good rows × nats of the instruction, the highest first",
        lambda rows, judge: (
            judge.score(selection_scores.quality, rows, judge.good) * judge.score(selection_scores.complexity, rows)
        ),
        "sheet",
        lambda scores, rows, judge: selection.diverse(scores, judge.score(selection_scores.embeddings, rows)),
        "too similar to a row with a higher score (cosine of the embeddings above 0.9)",
    ),
    "less": Selector(
        "cosine of the row's gradient and the good rows' gradient, the highest first",
        lambda rows, judge: selection_scores.less(
            rows, judge.good, adapters.with_adapter(judge.model, judge.tokenizer), judge.tokenizer
        ),
        "template",
        excludes="no answer left within the tokens that the judge reads",
    ),
    "distinct": Selector(
        "a random number",
        lambda rows, judge: selection_scores.random_scores(rows),
        rank=lambda scores, rows, judge: selection.distinct(rows, scores),
        excludes="asks nearly the same as a row that is kept",
    ),
}


def select_rows(
    loaded: reading.Loaded,
    by: str,
    size: int,
    base: str,
    good: str | None,
    out: Path | None,
    show: int,
    drop_bad: bool = False,
) -> Iterator[str]:
    """Select `size` of the rows that were read by one of SELECTORS, write them to `out`, and yield a report, line by line.

    Args:
        base: folder or Hub id of the model that scores the rows.
        good: a file of rows known to be good, for those of NEEDS_GOOD.
        out: a new file, which gets one row per line.
        show: number of selected and of other rows to show.
        drop_bad: leave out rows that the chat template refuses instead of raising.

    Raises:
        InputError: an unknown selector, fewer rows than `size`, or preference pairs in place of single answers.
    """
    selector, examples = require_selector(by, good), good_rows(good)
    tokenizer = loading.load_tokenizer(base)
    rows, notes = usable_rows(loaded, tokenizer, size, drop_bad)
    yield from data_lines(loaded)
    yield from (f"{'':<12}{note}" for note in notes)
    judge = Judge(base, loading.load_base(base, tokenizer=tokenizer), tokenizer, examples)
    if selector.reads:
        yield from _judge_lines(judge, rows, selector.reads, by)
    scores = selector.score(rows, judge)
    ranking = selector.rank(scores, rows, judge) if selector.rank else scores
    yield f"{'score':<12}{by}: {selector.measure}"
    excluded = np.isneginf(ranking)
    if selector.excludes:
        yield f"{'excluded':<12}{excluded.sum():,} of {counted(len(rows), 'row')} ({excluded.mean():.0%}): {selector.excludes}"
    selected = selection.select(rows, ranking, size=size, selector=by)
    order = np.argsort(-ranking, kind="stable")
    lengths = selection_scores.answer_lengths(rows, judge.tokenizer)
    yield (
        f"{'selected':<12}{counted(size, 'row')}, scores {_number(scores[order[0]])} to {_number(scores[order[size - 1]])}; answers have "
        f"{lengths[order[:size]].mean():.0f} tokens on average, in all rows {lengths.mean():.0f}"
    )
    for heading, places in (("selected", order[:size][:show]), ("not selected", order[size:][::-1][:show])):
        yield f"\n{heading}"
        yield from (_line(rows[int(i)], scores[i], excluded[i]) for i in places)
    if out is not None:
        _write(selected, out)
        yield f"\n{'written':<12}{out}: {counted(len(selected), 'row')}"


def require_selector(by: str, good: str | None) -> Selector:
    """Return the selector. Raises InputError for an unknown one, or one that needs a file of good rows and has none."""
    if by not in SELECTORS:
        raise InputError(f"selector {shortened(by)} is unknown{known_names(by, SELECTORS)}")
    if by in NEEDS_GOOD and good is None:
        raise InputError(f"{by} compares rows with a few that are known to be good; name a file of them with --good")
    return SELECTORS[by]


def good_rows(good: str | None) -> list[dict]:
    """Return the rows of a file of rows that are known to be good; none without a file. Raises InputError where they are no single answers."""
    return list(_single_answers(good, reading.load(good).rows)) if good else []


def usable_rows(
    loaded: reading.Loaded, tokenizer: transformers.PreTrainedTokenizerBase, size: int, drop_bad: bool
) -> tuple[datasets.Dataset, list[str]]:
    """Return the rows to select from, and a note on those that were left out: with `drop_bad` what the chat template refuses.

    Raises:
        InputError: preference pairs, rows that the chat template refuses, or fewer rows than `size`.
    """
    rows, notes = _single_answers(loaded.source, loaded.rows), []
    refused = placed(validation.find_refused(rows, tokenizer), loaded.place)
    bad = validation.rows_with(refused, "template-refuses")
    if not drop_bad or len(bad) == len(rows):
        validation.require_valid(refused)
    elif bad:
        rows = rows.select([i for i in range(len(rows)) if i not in bad])
        notes = [f"dropped {len(bad):,}: {refused[0].text.split(';')[0]}"]
    if size > len(rows):
        raise InputError(
            f"size asks for {counted(size, 'row')}; {loaded.source} has {len(rows):,}; ask for 1 to {len(rows):,}"
        )
    return rows, notes


def _single_answers(source: str, rows: datasets.Dataset) -> datasets.Dataset:
    if "messages" not in rows.column_names:
        raise InputError(f"{source}: preference pairs (chosen, rejected); give data with one answer per prompt")
    return rows


def _judge_lines(judge: Judge, rows: datasets.Dataset, reads: str, by: str) -> Iterator[str]:
    """Yield what the judge knows of the text, and how rows are treated that are longer than its context."""
    sample = rows.select(range(0, len(rows), max(1, len(rows) // SAMPLE)))
    loss, guess = -np.nanmean(judge.score(selection_scores.perplexity, sample)), math.log(len(judge.tokenizer))
    yield (
        f"{'judge':<12}{judge.name}: its loss on these answers is {loss:.2f} nats per token; a uniform guess among its "
        f"{len(judge.tokenizer):,} tokens has {guess:.2f}"
    )
    if loss >= KNOWS_LITTLE * guess:
        yield (
            f"{'warning':<12}the judge knows too little of this text to rank it: its loss is near that of a guess, so the scores "
            "say little about the rows; name a model that was trained on such text with --base"
        )
    room = loading.context_length(judge.model)
    if reads == "sheet":
        shots = [judge.good] if by == "deita" else []
        beyond = selection_scores.beyond_context(rows, judge.model, judge.tokenizer, *shots)
        rule = "of these, the beginning of the answer and the end of the instruction count"
    else:
        beyond = selection_scores.answer_lengths(rows, judge.tokenizer, whole=True) > room
        rule = "of these, what comes later does not count"
    if beyond.any():
        yield f"{'too long':<12}longer than the {room:,} tokens that the judge reads: {beyond.sum():,} of {counted(len(rows), 'row')}; {rule}"


def _line(row: dict, score: float, excluded: bool) -> str:
    prompt, answer = content.plain_prompt(row), content.message_text(row["messages"][-1])
    return f"  {_number(score):>9}  {'excluded  ' if excluded else ''}{_short(prompt)}  →  {_short(answer)}"


def _number(score: float) -> str:
    return f"{score:.5g}"


def _short(text: str, most: int = 70) -> str:
    text = " ".join(text.split())
    return text if len(text) <= most else text[:most] + " …"


def _write(rows: datasets.Dataset, out: Path) -> None:
    lines = (
        json.dumps({key: value for key, value in row.items() if value is not None}, ensure_ascii=False) for row in rows
    )
    outputs.write_file(out, "\n".join(lines) + "\n")
