"""The tuning data and the default training that several notebooks share, so that they read the same runs from the store."""

from collections.abc import Iterable

import datasets

from workbench.data import decontamination, reading
from workbench.experiments import grid
from workbench.pocket import facts, tasks
from workbench.profiles import Profile

HELD_OUT_ROWS = 200  # development rows, about, whose loss is measured before and after a default training


def rows(profile: Profile, count: int | None = None) -> datasets.Dataset:
    """Return the first `count` tuning rows of a profile, or all; rows that ask what an evaluation asks are left out.

    Raises:
        InputError: the data has fewer than `count` rows, or cannot be read.
    """
    found = decontamination.decontaminate(reading.load(profile.tuning).rows, tasks.all_evaluations())
    return found if count is None else reading.take_first(found, count)


def pool(profile: Profile, count: int = 25_000) -> datasets.Dataset:
    """Return up to `count` rows to draw tuning rows of a special kind from; the first ones are :func:`rows`.

    Where the profile's data is the pocket tuning set, they are the tuning pool that it is the beginning of; else they are the data.
    Rows that ask what an evaluation asks are left out.
    """
    if profile.tuning != str(facts.DATA / "tasks" / "tuning.jsonl"):
        return rows(profile)
    found = reading.to_dataset(list(tasks.pool_rows(count)))
    return decontamination.decontaminate(found, tasks.all_evaluations())


def held_out_rows() -> list[dict]:
    """Return the development rows whose loss is measured before and after a default training."""
    return tasks.evaluation("dev", HELD_OUT_ROWS)


def default_cells(profile: Profile, seeds: Iterable[int], count: int = tasks.TUNING_SIZE, **fields) -> list[grid.Cell]:
    """Return one cell per seed of the default training: QLoRA on the first `count` tuning rows, with the profile's settings.

    Notebook 02 introduces this training; 06 to 09 start from its runs. The label `training` is "SFT".

    Args:
        profile: gives the base model, the data, the learning rate and the number of passes.
        seeds: of the adapter's start and the order of the rows; one training per seed.
        count: number of tuning rows; more take longer.
        fields: fields of an SFTSpec that replace the profile's, such as ``rank=32``.
    """
    settings = {"method": "qlora", **profile.sft_settings(), **fields}
    held_out = reading.to_dataset(held_out_rows())
    return grid.make_cells(settings, rows(profile, count), {"SFT": {}}, seeds, held_out=held_out)
