"""Estimate means and paired differences, with 95% intervals and p-values, from a grid of answers: seeds × prompts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf, sqrt

import numpy as np
import pandas as pd
from scipy.stats import norm, t

from workbench.errors import InputError, counted

LEVEL = 0.95
BOUNDS = {"share": (0, 1), "difference in share": (-1, 1)}
"""Unit → its lowest and highest possible value."""


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
    error: float | None = None
    """Standard error of the estimate; None where the ends come from resampling."""
    df: float | None = None
    """Degrees of freedom of the standard error; None where the ends are no confidence interval, such as a smallest and a largest value."""

    def __str__(self) -> str:
        sign = "+" if self.unit.startswith("difference") else "-"
        # First to the four digits that claims are stored with: otherwise 0.9650000000001 is 0.97 in a notebook and 0.96 in README.
        estimate, low, high = (f"{round(value, 4):{sign}z.2f}" for value in (self.estimate, self.low, self.high))
        return f"{estimate} [{low}, {high}]"

    def columns(self) -> dict[str, float]:
        """Return what a table shows of it: estimate, low, high, prompts, seeds."""
        return {name: getattr(self, name) for name in ("estimate", "low", "high", "prompts", "seeds")}

    def p_value(self, value: float) -> float | None:
        """Return the two-sided p-value of the hypothesis that the true effect is `value`; it is below 0.05 where the interval excludes `value`.

        The test is the one whose inversion is the interval (see :func:`mean_interval`): a t test for means and differences, Wilson's score
        test for shares, and the probability of no exception in all prompts where all values are equal. For an interval from resampling
        it is a normal approximation with the spread of the side on which `value` lies. None where there is no confidence interval.
        """
        if self.df is None:
            return None
        distance = abs(value - self.estimate)
        if distance == 0:
            return 1.0
        if self.error == 0:
            bound = BOUNDS[self.unit][value > self.estimate] if self.unit in BOUNDS else self.estimate
            farthest = abs(bound - self.estimate)
            return (1 - distance / farthest) ** self.prompts if distance < farthest else 0.0
        if self.error is None:
            spread = abs((self.high if value > self.estimate else self.low) - self.estimate) / norm.ppf((1 + LEVEL) / 2)
        elif self.unit == "share":
            spread = self.error * sqrt(max(value * (1 - value), 0) / (self.estimate * (1 - self.estimate)))
        else:
            spread = self.error
        return float(2 * t.sf(distance / spread, self.df)) if spread else 0.0


def estimate(table: pd.DataFrame, column: str) -> Interval:
    """Return the mean of a column over prompts and seeds, with its interval (see :func:`mean_interval`).

    Args:
        table: one or more tables of :func:`workbench.evaluate.scoring.score`, stacked, with a column `seed`; a table without that column
            is one seed.

    Raises:
        InputError: as for :func:`crossed`.
    """
    values = crossed(table, column)
    return mean_interval(values.to_numpy(), "share" if is_share(values) else column)


def intervals(table: pd.DataFrame, column: str, by: str | list[str] | None = None) -> pd.DataFrame:
    """Apply :func:`estimate` to the table, or to each of its groups: estimate, low, high, prompts, seeds, with the groups as index."""
    if by is None:
        groups, index = [table], pd.Index([column])
    else:
        grouped = table.groupby(by, sort=False)
        names, groups = zip(*grouped, strict=True)
        index = pd.Index(names, name=by) if isinstance(by, str) else pd.MultiIndex.from_tuples(names, names=by)
    return pd.DataFrame([estimate(group, column).columns() for group in groups], index=index)


def difference(a: pd.DataFrame, b: pd.DataFrame, column: str) -> Interval:
    """Return the mean of `a` minus the mean of `b`, paired on prompts, and on seeds where both tables have several.

    The difference of each seed and prompt is one cell of the grid whose mean is estimated (see :func:`mean_interval`), so that what a prompt or
    a seed does to both sides cancels. A table with one seed (a base model, which is not trained) is compared with every seed of the
    other; the interval then covers the variation between the other's seeds alone.

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
    unit = "share" if is_share(left) and is_share(right) else column
    return mean_interval(left.to_numpy() - right.to_numpy(), f"difference in {unit}")


def range_over_runs(values: Sequence[float], unit: str) -> Interval:
    """Return the mean of one number per run, with the smallest and the largest as its ends: what is claimed of it is claimed of every run."""
    return Interval(sum(values) / len(values), min(values), max(values), 0, len(values), unit)


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

    A grid with missing cells is refused: its mean squares are not independent, and what is missing is seldom missing by chance.

    Raises:
        InputError: an answer is missing or duplicated, or a row is a training that failed (see
            :func:`workbench.experiments.grid.run_grid`).
    """
    if "error" in table and table["error"].notna().any():
        failed = table[table["error"].notna()]
        raise InputError(
            f"{counted(len(failed), 'training')} of this table failed, the first (seed {failed['seed'].iloc[0]}): {failed['error'].iloc[0]}; fix "
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


def mean_interval(grid: np.ndarray, unit: str) -> Interval:
    """Return the mean of a (seeds, prompts) grid with its 95% interval for other seeds and other prompts: crossed random effects.

    Seeds and prompts are both samples (Clark, "The language-as-fixed-effect fallacy", Journal of Verbal Learning and Verbal Behavior 12,
    1973), and :func:`crossed_effects` gives the standard error and its degrees of freedom. The interval is

    * of a share: Wilson's score interval, with the number of independent answers that would have this standard error in place of the
      number of answers (Wilson, JASA 22, 1927; Korn and Graubard, Survey Methodology 24, 1998). It stays within 0 and 1, and holds for
      rare events, where estimate ± t × standard error does not;
    * of all else: estimate ± t × standard error; a difference of shares ends at -1 and 1.

    Where all values are equal nothing varies, and both would claim certainty. There the interval is what "no exception in n prompts"
    allows: up to 1 - 0.05 ** (1 / n) of all prompts, about 3 / n, may be exceptions (the rule of three; Hanley and Lippman-Hand,
    JAMA 249, 1983), each as far away as the lowest or the highest possible value. With one seed the interval says nothing about other
    seeds; with one prompt, nothing about other prompts; one number that is no share has no interval (NaN).

    Coverage in simulations (tests/test_stats_coverage.py prints the table: probit models; shares, paired differences, differences from a
    base model, rare events of 1 to 3%; 60 to 540 prompts; 2,000 grids per setting; standard deviation of seeds 0 to 0.2 on the probit
    scale, 6 points of a share of one half): 93 to 98% with 5 and with 10 seeds, 92 to 98% with 3. Poor are

    * one seed, where seeds matter: 87% at a standard deviation of 0.05 and 45 to 62% at 0.2 with 540 prompts (95% at 0);
    * two seeds: 87 to 94% at 0.1 to 0.2;
    * three seeds: no coverage is lost, but at 0.2 a paired difference is known to ±17 points only (±9 with 5 seeds, ±5 with 10);
    * rare events where seeds differ much: 87 to 94% with 3 and 89 to 96% with 5 seeds at 0.5.
    """
    seeds, prompts = grid.shape
    mean, error, df = (float(number) for number in crossed_effects(grid))
    low, high = (float(end) for end in ends(mean, error, df, prompts, unit))
    return Interval(mean, low, high, prompts, seeds, unit, error, df)


def crossed_effects(grids: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return mean, standard error of the mean and its degrees of freedom for grids of shape (…, seeds, prompts), one value per cell.

    The model is value = mean + seed + prompt + residual, all random. The variance of the mean is
    (MS_seed + MS_prompt - MS_residual) / (seeds × prompts), from the mean squares of the two-way layout, with Satterthwaite's degrees of
    freedom (Searle, Casella and McCulloch, "Variance Components", 1992, chapters 2 and 4).

    A variance component whose estimate is negative, because its mean square is below the residual one, is set to zero as there (section
    3.5), and its mean square leaves the sum and the degrees of freedom. Where seeds do not matter the variance is then
    MS_prompt / (seeds × prompts) with prompts - 1 degrees of freedom, and not ruled by the few degrees of freedom of the seeds. With one
    seed or one prompt it is the variance of the values by their number; all values equal: 0.
    """
    seeds, prompts = grids.shape[-2:]
    mean = grids.mean(axis=(-2, -1))
    if min(seeds, prompts) == 1:
        n = seeds * prompts
        deviation = grids.std(axis=(-2, -1), ddof=1) if n > 1 else np.full(mean.shape, np.nan)
        return mean, deviation / np.sqrt(n), np.full(mean.shape, n - 1.0)
    by_seed, by_prompt = grids.mean(axis=-1), grids.mean(axis=-2)
    rest = grids - by_seed[..., :, None] - by_prompt[..., None, :] + mean[..., None, None]
    freedom = np.array([seeds - 1, prompts - 1, (seeds - 1) * (prompts - 1)])
    residual = (rest**2).sum(axis=(-2, -1)) / freedom[2]
    squares = np.stack(
        [prompts * by_seed.var(axis=-1, ddof=1), seeds * by_prompt.var(axis=-1, ddof=1), residual], axis=-1
    )
    # More than rounding above: with a single exception in the grid all three are equal.
    weights = np.where(squares > (1 + 1e-9) * residual[..., None], 1.0, 0.0)
    weights[..., 2] = 1 - weights[..., 0] - weights[..., 1]
    parts = weights * squares
    total = parts.sum(axis=-1)
    noise = (parts**2 / freedom).sum(axis=-1)
    df = np.divide(total**2, noise, out=np.full(mean.shape, inf), where=noise > 0)
    return mean, np.sqrt(total / (seeds * prompts)), df


def ends(mean, error, df, prompts: int, unit: str) -> tuple[np.ndarray, np.ndarray]:
    """Return low and high of the interval that :func:`mean_interval` describes, for numbers or arrays of :func:`crossed_effects`."""
    reach = t.ppf((1 + LEVEL) / 2, df) * error
    if unit not in BOUNDS:
        return mean - reach, mean + reach
    lowest, highest = BOUNDS[unit]
    centre = mean
    if unit == "share":
        spread = mean * (1 - mean)
        k = np.divide(reach**2, spread, out=np.zeros_like(spread), where=spread > 0)
        centre, reach = (mean + k / 2) / (1 + k), np.sqrt(k * spread + k**2 / 4) / (1 + k)
    exceptions = 1 - (1 - LEVEL) ** (1 / prompts)
    varies = error > 0
    low = np.where(varies, np.maximum(centre - reach, lowest), mean + exceptions * (lowest - mean))
    return low, np.where(varies, np.minimum(centre + reach, highest), mean + exceptions * (highest - mean))
