"""Say how much is left to train, before a grid starts to train it."""

import json
import re
from collections.abc import Iterable

import pandas as pd

from workbench import published
from workbench.config import DPOSpec, RLSpec, SFTSpec
from workbench.environment import portable_base
from workbench.errors import counted
from workbench.store import Run

LEFT = re.compile(r"[\d,]+ of [\d,]+ trainings? left to do\b.*")  # what describe_left says
SCORING = 1.3  # a training with its scoring takes about this much longer than the training alone


def describe_left(left: Iterable[tuple[SFTSpec | DPOSpec | RLSpec, int, Run | None]], total: int, at_once: int) -> str:
    """Return one line: how many trainings are left, and about how long they take at the speed of the published ones.

    Trainings from another base than the published ones have no estimate.

    Args:
        left: spec, number of rows, and run to start from of each.
        total: trainings of the grid.
        at_once: trainings that run side by side.
    """
    left = list(left)
    seconds = [_seconds(*each, _published_trainings()) for each in left]
    line = f"{len(left):,} of {counted(total, 'training')} left to do"
    if any(each is None for each in seconds):
        return line
    minutes = SCORING * sum(seconds) / min(at_once, len(left)) / 60
    about = "less than a minute" if minutes < 1 else f"about {minutes:.0f} min"
    return f"{line}, {about} at the speed of those in data/results"


def _published_trainings() -> pd.DataFrame:
    tables = [archive.runs for archive in published.in_use() if len(archive.runs)]
    return (
        pd.concat(tables)
        if tables
        else pd.DataFrame(columns=["method", "seconds", "tokens", "rows", "epochs", "steps", "record"])
    )


def _seconds(spec: SFTSpec | DPOSpec | RLSpec, rows: int, start: Run | None, known: pd.DataFrame) -> float | None:
    """Return the seconds of one training, from the published ones of its method and base; None where there are none."""
    kinds = {DPOSpec: "dpo", RLSpec: "rl"}
    like = known[known["method"] == (kinds.get(type(spec)) or spec.method)]
    base = start.spec["base"] if start else portable_base(spec.base)
    like = like[like["record"].map(lambda record: json.loads(record)["spec"]["base"]) == base]
    if like.empty:
        return None
    if isinstance(spec, RLSpec):
        return spec.max_steps * (like["seconds"] / like["steps"]).median()
    budget = getattr(spec, "max_tokens", None)
    if budget:
        return budget * like["seconds"].sum() / like["tokens"].sum()
    per_row = (like["seconds"] / (like["rows"] * like["epochs"])).median()
    return (
        None
        if pd.isna(per_row)
        else per_row * (spec.max_steps * spec.batch_size if spec.max_steps else rows * spec.epochs)
    )
