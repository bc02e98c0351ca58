"""Select the best rows of a data set and show what is selected and what is not: the command `workbench select`."""

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from pathlib import Path

import datasets
import numpy as np

from workbench.data import content, reading, selection
from workbench.errors import InputError
from workbench.models import adapters, loading, selection_scores

NEEDS_GOOD = ("deita", "less")  # these compare rows with a few that are known to be good

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


def require_selector(by: str, good: str | None) -> None:
    """Raise InputError for an unknown selector, or one that needs a file of good rows and has none."""
    if by not in SELECTORS:
        near = get_close_matches(by, SELECTORS, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise InputError(f'selector "{by}" is unknown; known are {", ".join(SELECTORS)}{hint}')
    if by in NEEDS_GOOD and good is None:
        raise InputError(f"{by} compares rows with a few that are known to be good; name a file of them with --good")


def select_rows(
    loaded: reading.Loaded, by: str, size: int, base: str, good: str | None, out: Path | None, show: int
) -> Iterator[str]:
    """Select `size` of the rows that were read by one of SELECTORS, write them to `out`, and yield a report, line by line.

    Args:
        base: folder or Hub id of the model that scores the rows.
        good: a file of rows known to be good, for those of NEEDS_GOOD.
        out: a new file, which gets one row per line.
        show: number of selected and of other rows to show.

    Raises:
        InputError: fewer rows than `size`, or preference pairs in place of single answers.
    """
    yield f"data     {loaded.source}: {len(loaded.rows):,} rows, format {loaded.format}"
    yield from (f"         {note}" for note in loaded.notes)
    _require_answers(loaded)
    if size > len(loaded.rows):
        raise InputError(
            f"size asks for {size:,} rows; the data hold {len(loaded.rows):,}; ask for 1 to {len(loaded.rows):,}"
        )
    examples = _good_rows(good) if good else None
    model, tokenizer = loading.load_base(base), loading.load_tokenizer(base)
    scores = np.asarray(SELECTORS[by](loaded.rows, model, tokenizer, examples), dtype=float)
    selected = selection.select(loaded.rows, scores, size=size, selector=by)
    excluded = int(np.isneginf(scores).sum())
    yield f"selector {by}, judged by {base}" + f"; it excludes {excluded:,} rows" * bool(excluded)
    lengths = selection_scores.answer_lengths(loaded.rows, tokenizer)
    order = np.argsort(-scores, kind="stable")
    taken, left = order[:size], order[size:]
    yield f"answers  {lengths.mean():.0f} tokens in all rows, {lengths[taken].mean():.0f} in the selected ones"
    for heading, places in (("selected", taken[:show]), ("not selected", left[::-1][:show])):
        yield f"\n{heading}"
        yield from (_line(loaded.rows[int(i)], scores[i]) for i in places)
    if out is not None:
        _write(selected, out)
        yield f"\nwritten  {out}: {len(selected):,} rows"


def _require_answers(loaded: reading.Loaded) -> None:
    if "messages" not in loaded.rows.column_names:
        raise InputError(f"{loaded.source}: preference pairs (chosen, rejected); give data with one answer per prompt")


def _good_rows(source: str) -> list[dict]:
    loaded = reading.load(source)
    _require_answers(loaded)
    return list(loaded.rows)


def _line(row: dict, score: float) -> str:
    prompt, answer = content.plain_prompt(row), content.message_text(row["messages"][-1])
    return f"  {score:9.3f}  {_short(prompt)}  →  {_short(answer)}"


def _short(text: str, most: int = 70) -> str:
    text = " ".join(text.split())
    return text if len(text) <= most else text[:most] + " …"


def _write(rows: datasets.Dataset, out: Path) -> None:
    """Write one JSON row per line, under another name until all is written: a full disk leaves no half file under `out`."""
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", dir=out.parent, prefix=f".{out.name[:100]}.", delete=False
    ) as file:
        try:
            for row in rows:
                kept = {key: value for key, value in row.items() if value is not None}
                file.write(json.dumps(kept, ensure_ascii=False) + "\n")
            file.close()
            os.link(file.name, out)  # unlike a rename, it never replaces a file that has appeared meanwhile
        finally:
            os.unlink(file.name)
    out.chmod(0o666 & ~_umask())


def _umask() -> int:
    """Return the process's mask for new files, which a temporary file ignores."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
