"""Fit curves over the size of the data: where they flatten, and how many pairs of other data one clean pair is worth."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf

import numpy as np
import pandas as pd
from scipy.optimize import OptimizeWarning, curve_fit

from workbench.errors import InputError, shortened
from workbench.evaluate import stats

DRAWS = 500  # each draw is a fit
LEAST = 3  # sizes: a curve has three parameters


@dataclass(frozen=True)
class Curve:
    """A fitted saturating power law: score = top - drop × (size / first) ** -rate."""

    first: float
    """Smallest measured size."""
    last: float
    """Largest measured size."""
    top: float
    """Score in the limit of infinite data."""
    drop: float
    """How far below `top` the score of the smallest size is."""
    rate: float
    """How fast the gap to `top` shrinks: at 1 it halves when the data double."""

    def __call__(self, size):
        """Return the score at a size (a number or an array)."""
        return self.top - self.drop * (np.asarray(size) / self.first) ** -self.rate

    def size(self, score: float) -> float:
        """Return the size that reaches a score, limited to the measured range."""
        if score <= self(self.first):
            return self.first
        if score >= self(self.last):
            return self.last
        return float(self.first * ((self.top - score) / self.drop) ** (-1 / self.rate))

    def flat(self, share: float = 0.9) -> float:
        """Return the size at which this share of the rise from the smallest to the largest size is reached."""
        low, high = self(self.first), self(self.last)
        return self.size(low + share * (high - low))


def can_fit_curve(sizes: Sequence[float]) -> bool:
    """Return whether there are sizes enough for a curve, and print a line where there are not: a notebook asks before it trains.

    Raises:
        InputError: fewer than two sizes, or sizes that do not increase, so that the last cannot be compared with the first.
    """
    if len(sizes) < 2 or any(a >= b for a, b in pairwise(sizes)):
        raise InputError(f"sizes {shortened([*sizes])}; give two or more, each larger than the one before")
    if len(sizes) < LEAST:
        print(f"sizes: {len(sizes)} are given, and a curve needs {LEAST} or more; what is read off a curve is left out")
    return len(sizes) >= LEAST


def fit_curve(table: pd.DataFrame, column: str, x: str = "size") -> Curve:
    """Fit the means over seeds and prompts at each size with a power law (Hestness et al. 2017, arXiv 1712.00409).

    Args:
        table: of :func:`workbench.experiments.grid.run_grid`, with the sizes in the column `x`.

    Raises:
        InputError: fewer than three sizes (see :func:`can_fit_curve`).
    """
    sizes, grids = _grids(table, column, x)
    return _fitted(sizes, grids.mean(axis=(1, 2)))


def flattens_at(table: pd.DataFrame, column: str, x: str = "size", share: float = 0.9) -> stats.Interval:
    """Return :meth:`Curve.flat` with its interval: seeds and prompts are resampled, and the curve is fitted to each draw.

    A place on a curve is no mean, and its distribution is skewed and piles up at the ends of the measured range, so that a standard
    error would say little: hence the pigeonhole bootstrap (Owen, Annals of Applied Statistics 1, 2007). It is too wide where seeds hardly
    matter, and too narrow where few seeds differ much.
    """
    sizes, grids = _grids(table, column, x)
    flat = [_fitted(sizes, means).flat(share) for means in _resampled(grids)]
    _, seeds, prompts = grids.shape
    return stats.Interval(fit_curve(table, column, x).flat(share), *_percentiles(flat), prompts, seeds, "pairs", df=inf)


def exchange_rate(clean: pd.DataFrame, other: pd.DataFrame, column: str, x: str = "size") -> stats.Interval:
    """Return how many pairs of `other` one clean pair is worth: the size of `other` over the size of clean data with the same score.

    The clean size is read off the fitted curve and stays within the measured range: data that score below the smallest clean set get
    that size, so that the ratio is a lower bound there. The interval comes from resampling, as for :func:`flattens_at`.

    Args:
        clean: table of clean data of several sizes.
        other: table of other data of one size, with the same prompts and seeds.

    Raises:
        InputError: fewer than three clean sizes, or different prompts or seeds.
    """
    sizes, grids = _grids(clean, column, x)
    (size,) = other[x].unique()
    rival = stats.crossed(other, column).to_numpy()
    if rival.shape != grids.shape[1:]:
        raise InputError("the two tables hold different prompts or seeds; score both on the same")
    both = np.concatenate([grids, rival[None]])
    ratios = [size / _fitted(sizes, means[:-1]).size(means[-1]) for means in _resampled(both)]
    estimate = size / fit_curve(clean, column, x).size(rival.mean())
    return stats.Interval(
        float(estimate), *_percentiles(ratios), rival.shape[1], rival.shape[0], "pairs for one", df=inf
    )


def _grids(table: pd.DataFrame, column: str, x: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the sizes, and the scores as an array of shape (sizes, seeds, prompts)."""
    sizes = np.sort(table[x].unique()).astype(float)
    if len(sizes) < LEAST:
        raise InputError(f"a curve needs {LEAST} sizes or more, there are {len(sizes)}; add sizes")
    return sizes, np.stack([stats.crossed(table[table[x] == size], column).to_numpy() for size in sizes])


def _resampled(grids: np.ndarray) -> np.ndarray:
    """Return the means of grids of shape (…, seeds, prompts) under resampled seeds and prompts: shape (DRAWS, …).

    All grids share the draws, so that whatever is computed from several means of one draw is paired.
    """
    seeds, prompts = grids.shape[-2:]
    rng = np.random.default_rng(0)
    by_seed = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=DRAWS) / seeds
    by_prompt = rng.multinomial(prompts, np.full(prompts, 1 / prompts), size=DRAWS) / prompts
    return np.einsum("ds,...sp,dp->d...", by_seed, grids, by_prompt, optimize=True)


def _percentiles(draws: Sequence[float]) -> tuple[float, float]:
    """Return the ends of the percentile interval of whatever was computed from the draws of :func:`_resampled`."""
    low, high = np.quantile(draws, [(1 - stats.LEVEL) / 2, (1 + stats.LEVEL) / 2])
    return float(low), float(high)


def _fitted(sizes: np.ndarray, means: np.ndarray) -> Curve:
    first, last = sizes[0], sizes[-1]
    rise = max(means.max() - means[0], 1e-3)

    def curve(size, top, drop, rate):
        return top - drop * (size / first) ** -rate

    def slopes(size, _, drop, rate):
        part = (size / first) ** -rate
        return np.stack([np.ones_like(part), -part, drop * part * np.log(size / first)], axis=1)

    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", OptimizeWarning
        )  # about the covariance, which is not used: intervals come from draws
        (top, drop, rate), _ = curve_fit(
            curve,
            sizes,
            means,
            p0=(means.max(), rise, 0.7),
            bounds=([0, 0, 0.1], [1.5, 1.5, 4]),
            jac=slopes,
            max_nfev=2_000,
        )
    return Curve(float(first), float(last), float(top), float(drop), float(rate))
