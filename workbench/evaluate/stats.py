"""Estimate means and paired differences, with 95% intervals, from a grid of answers: seeds × prompts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from workbench.errors import InputError

DRAWS = 2_000
LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95% confidence interval."""

    estimate: float
    low: float
    high: float
    prompts: int
    """Number of prompts behind the estimate."""
    seeds: int
    """Number of trained models behind the estimate."""
    unit: str = "share"
    """"share" (0 to 1), the name of a column such as "length", or "difference in …" of one of them."""

    def __str__(self) -> str:
        sign = "+" if self.unit.startswith("difference") else "-"
        # First to the four digits that claims are stored with: otherwise 0.9650000000001 is 0.97 in a notebook and 0.96 in README.
        estimate, low, high = (f"{round(value, 4):{sign}z.2f}" for value in (self.estimate, self.low, self.high))
        return f"{estimate} [{low}, {high}]"


def estimate(table: pd.DataFrame, column: str) -> Interval:
    """Return the mean of a column over prompts and seeds, with its interval (see :func:`bootstrap`).

    Args:
        table: one or more tables of :func:`workbench.evaluate.scoring.score`, stacked, with a column `seed`; a table without that column
            is one seed.

    Raises:
        InputError: as for :func:`crossed`.
    """
    values = crossed(table, column)
    unit, bounds = ("share", (0, 1)) if is_share(values) else (column, None)
    return bootstrap(values, unit, bounds)


def intervals(table: pd.DataFrame, column: str, by: str | list[str] | None = None) -> pd.DataFrame:
    """Apply :func:`estimate` to the table, or to each of its groups: estimate, low, high, prompts, seeds, with the groups as index."""
    if by is None:
        groups, index = [table], pd.Index([column])
    else:
        grouped = table.groupby(by, sort=False)
        names, groups = zip(*grouped, strict=True)
        index = pd.Index(names, name=by) if isinstance(by, str) else pd.MultiIndex.from_tuples(names, names=by)
    return pd.DataFrame([vars(estimate(group, column)) for group in groups], index=index).drop(columns="unit")


def difference(a: pd.DataFrame, b: pd.DataFrame, column: str) -> Interval:
    """Return the mean of `a` minus the mean of `b`, paired on prompts, and on seeds where both tables have several.

    A table with one seed (a base model, which is not trained) is compared with every seed of the other; the interval then covers the
    variation between the other's seeds alone.

    Raises:
        InputError: the tables hold different prompts, or several seeds each that are not the same.
    """
    left, right = crossed(a, column), crossed(b, column)
    if dict(zip(a["index"], a["prompt"], strict=True)) != dict(zip(b["index"], b["prompt"], strict=True)):
        raise InputError("the two tables hold different prompts; a paired difference needs the same rows in both")
    if len(left) > 1 and len(right) > 1 and not left.index.equals(right.index):
        raise InputError(
            f"seeds {[*left.index]} and {[*right.index]} differ; compare the same seeds, or one with several"
        )
    unit, bounds = ("share", (-1, 1)) if is_share(left) and is_share(right) else (column, None)
    values = left.to_numpy() - right.to_numpy()
    return bootstrap(pd.DataFrame(values), f"difference in {unit}", bounds)


def compare(tables: dict[str, pd.DataFrame], columns: Iterable[str], by: str | None = None) -> pd.DataFrame:
    """Return the intervals of several models in one tidy table: model, column, group (or "all"), estimate, low, high, prompts, seeds."""
    parts = []
    for model, table in tables.items():
        for column in columns:
            part = intervals(table, column, by).reset_index(names="group")
            parts.append(part.assign(group=part["group"] if by else "all", model=model, column=column))
    return pd.concat(parts, ignore_index=True)[
        ["model", "column", "group", "estimate", "low", "high", "prompts", "seeds"]]  # fmt: skip


def crossed(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """Return a column as a grid of shape (seeds, prompts), in which every seed has answered every prompt.

    Raises:
        InputError: an answer is missing or duplicated, or a row is a training that failed (see
            :func:`workbench.experiments.grid.run_grid`).
    """
    if "error" in table and table["error"].notna().any():
        failed = table[table["error"].notna()]
        raise InputError(
            f"{len(failed)} trainings of this table failed, the first (seed {failed['seed'].iloc[0]}): {failed['error'].iloc[0]}; fix "
            'them and call the grid again, or leave them out: table[table["error"].isna()]'
        )
    seeds = table["seed"] if "seed" in table else pd.Series(0, index=table.index)
    counts = pd.crosstab(seeds, table["index"])
    if table.empty or (counts != 1).any(axis=None):
        raise InputError(
            f'column "{column}": each seed needs one answer to each prompt; score all seeds on the same rows'
        )
    return table.assign(seed=seeds).pivot(index="seed", columns="index", values=column).astype(float)


def is_share(values: pd.DataFrame) -> bool:
    """Return whether a grid holds nothing but yes (1) and no (0)."""
    return bool(values.isin([0, 1]).all(axis=None))


def bootstrap(values: pd.DataFrame, unit: str, bounds: tuple[float, float] | None) -> Interval:
    """Return the mean of a (seeds, prompts) grid with its percentile interval: 2,000 draws that resample both seeds and prompts.

    This is the pigeonhole bootstrap (Owen, "The pigeonhole bootstrap", Annals of Applied Statistics 1, 2007), which errs on the
    wide side. With one seed only prompts are resampled, and the interval says nothing about other seeds. In a simulation with 300
    prompts, intervals from three seeds covered the true mean 97, 96 and 91 times in a hundred where the standard deviation of seeds
    was 0, 1.4 and 4.3 points; intervals from one seed 96, 92 and 69 times.

    Where all values are equal nothing varies between draws, and the bootstrap would claim certainty. There the interval is what "no
    exception in n prompts" allows: up to 1 - 0.05 ** (1 / n) of all prompts, about 3 / n, may be exceptions (the rule of three; Hanley
    and Lippman-Hand, JAMA 249, 1983), each as far away as `bounds`, the lowest and the highest possible value, permit.
    """
    grid = values.to_numpy()
    seeds, prompts = grid.shape
    mean = grid.mean()
    if bounds is not None and (grid == grid[0, 0]).all():
        exceptions = 1 - 0.05 ** (1 / prompts)
        low, high = (mean + exceptions * (bound - mean) for bound in bounds)
    else:
        low, high = percentiles(resampled(grid))
    return Interval(float(mean), float(low), float(high), prompts, seeds, unit)


def resampled(grids: np.ndarray, draws: int = DRAWS) -> np.ndarray:
    """Return the means of grids of shape (…, seeds, prompts) under resampled seeds and prompts: shape (draws, …).

    All grids share the draws, so that whatever is computed from several means of one draw is paired.
    """
    seeds, prompts = grids.shape[-2:]
    rng = np.random.default_rng(0)
    by_seed = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=draws) / seeds
    by_prompt = rng.multinomial(prompts, np.full(prompts, 1 / prompts), size=draws) / prompts
    return np.einsum("ds,...sp,dp->d...", by_seed, grids, by_prompt, optimize=True)


def percentiles(draws: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """Return the ends of the percentile interval at LEVEL of whatever was computed from the draws of :func:`resampled`."""
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
