"""Choose rows of data that we did not make, and show what is picked and what is dropped: the command `workbench select`."""

import json
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from pathlib import Path

import datasets
import numpy as np

from workbench import outputs, profiles
from workbench.data import content, reading, selection
from workbench.errors import InputError
from workbench.models import adapters, loading, selection_scores

GOOD = ("deita", "less")  # these judge rows by a few that are known to be good


SELECTORS: dict[str, Callable] = {
    "random": lambda rows, model, tokenizer, good: selection_scores.random_scores(rows),
    "longest": lambda rows, model, tokenizer, good: selection_scores.answer_lengths(rows, tokenizer),
    "perplexity": lambda rows, model, tokenizer, good: selection_scores.perplexity(rows, model, tokenizer),
    "ifd": lambda rows, model, tokenizer, good: selection_scores.cherry(selection_scores.ifd(rows, model, tokenizer)),
    "deita": lambda rows, model, tokenizer, good: selection.diverse(
        selection_scores.quality(rows, model, tokenizer, good) * selection_scores.complexity(rows, model, tokenizer),
        selection_scores.embeddings(rows, model, tokenizer),
    ),
    "less": lambda rows, model, tokenizer, good: selection_scores.less(
        rows, good, adapters.with_adapter(model, tokenizer), tokenizer
    ),
    "distinct": lambda rows, model, tokenizer, good: selection.distinct(rows, selection_scores.random_scores(rows)),
}


def select_rows(
    source: str, by: str, size: int, base: str | None, good: str | None, out: Path | None, drop_bad: bool, show: int
) -> Iterator[str]:
    """Choose `size` rows of `source` by one of SELECTORS and yield what a person wants to read; write them to `out`, a row a line.

    base: folder or Hub id of the model that judges; None is the pocket base. good: a file of rows known to be good, for
    those of GOOD. show: rows to print of the picked and of the dropped.
    Raises InputError for an unknown selector, a size that the rows do not have, an `out` that is there already.
    """
    if by not in SELECTORS:
        near = get_close_matches(by, SELECTORS, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise InputError(f'selector "{by}" is unknown; known are {", ".join(SELECTORS)}{hint}')
    if by in GOOD and good is None:
        raise InputError(f"{by} judges rows by a few that are known to be good; name a file of them with --good")
    if out is not None:
        outputs.require_new(out)
    loaded = reading.load(source, drop_bad=drop_bad)
    if "messages" not in loaded.rows.column_names:
        raise InputError(f"{source}: preference pairs (chosen, rejected); give data with one answer a prompt")
    yield f"data     {source}: {len(loaded.rows):,} rows, format {loaded.format}"
    yield from (f"         {note}" for note in loaded.notes)
    examples = list(reading.load(good).rows) if good else None
    where = str(base or profiles.get("pocket").base)
    model, tokenizer = loading.load_base(where), loading.load_tokenizer(where)
    found = np.asarray(SELECTORS[by](loaded.rows, model, tokenizer, examples), dtype=float)
    chosen = selection.select(loaded.rows, found, size=size, selector=by)
    never = int(np.isneginf(found).sum())
    yield f"selector {by}, judged by {where}" + f"; it excludes {never:,} rows" * bool(never)
    lengths = selection_scores.answer_lengths(loaded.rows, tokenizer)
    order = np.argsort(-found, kind="stable")
    taken, left = order[:size], order[size:]
    yield f"answers  {lengths.mean():.0f} tokens in all rows, {lengths[taken].mean():.0f} in those picked"
    for heading, places in (("picked", taken[:show]), ("dropped", left[::-1][:show])):
        yield f"\n{heading}"
        yield from (_line(loaded.rows[int(i)], found[i]) for i in places)
    if out is not None:
        _write(chosen, out)
        yield f"\nwritten  {out}: {len(chosen):,} rows"


def _line(row: dict, score: float) -> str:
    asked, said = content.plain_prompt(row), content.message_text(row["messages"][-1])
    return f"  {score:9.3f}  {_short(asked)}  →  {_short(said)}"


def _short(text: str, most: int = 70) -> str:
    text = " ".join(text.split())
    return text if len(text) <= most else text[:most] + " …"


def _write(rows: datasets.Dataset, out: Path) -> None:
    lines = (
        json.dumps({key: value for key, value in row.items() if value is not None}, ensure_ascii=False) for row in rows
    )
    outputs.write_file(out, "\n".join(lines) + "\n")
