"""Rows whose answers another model wrote: a teacher's, taken as they are or only where a check finds them right."""

from collections.abc import Sequence

import datasets
import pandas as pd

from workbench import data
from workbench.errors import InputError


def taught(rows: Sequence[dict], answers: pd.DataFrame, *, right_only: bool = False) -> datasets.Dataset:
    """The rows with the teacher's answers in place of their own.

    An answer that the teacher did not end itself, or that is empty, is none: its row is left out. A tool call stays the text that
    the teacher wrote, which the chat template renders as the same tokens, whether it is sound or not.

    Args:
        rows: training rows.
        answers: table of :func:`workbench.evaluate.score` of the teacher on these rows (:func:`workbench.measures.scores` keeps it with
            the teacher's run).
        right_only: leave out what the checks find wrong: distillation with rejection sampling (Yuan et al. 2023, arXiv 2308.01825).

    Raises:
        InputError: the table is not of these rows, or no answer is left.
    """
    if len(answers) != len(rows):
        raise InputError(
            f"{len(answers):,} answers for {len(rows):,} rows; let the teacher answer the rows that you pass"
        )
    kept = []
    for row, answer in zip(rows, answers.itertuples(), strict=True):
        text = answer.response.strip()
        if text and answer.stops and (answer.correct or not right_only):
            kept.append({**row, "messages": [*row["messages"][:-1], {"role": "assistant", "content": text}]})
    if not kept:
        raise InputError(f"none of the teacher's {len(rows):,} answers can be trained on; take a stronger teacher")
    return data.dataset(kept)
