"""Intervals cover the truth as often as they say, in grids of answers whose truth is known; run as a program, it prints the whole table.

An answer is right where ability + prompt + seed + residual > 0 (a probit model): prompts and residuals have standard deviation 1, seeds
the one that is given. Both sides of a difference see the same prompts; a base model has no seed.
"""

from dataclasses import dataclass

import numpy as np
import pytest
from scipy.stats import binom, norm

from workbench.evaluate import stats

SEED_SDS = (0, 0.05, 0.2)
PROMPTS = (60, 180, 540)


@dataclass(frozen=True)
class Case:
    name: str
    a: float
    """Expected share of right answers."""
    b: float | None = None
    """That of the model it is compared with."""
    base: bool = False
    """The other model is a base model: one row of answers for all seeds."""

    def draw(self, draws: int, seeds: int, prompts: int, seed_sd: float) -> np.ndarray:
        """Return grids of shape (draws, seeds, prompts)."""
        rng = np.random.default_rng([seeds, prompts, int(100 * seed_sd)])
        prompt = rng.standard_normal((draws, 1, prompts), dtype=np.float32)

        def answers(share, seeds, sd):
            ability = norm.ppf(share) * np.sqrt(2 + sd**2)
            seed = sd * rng.standard_normal((draws, seeds, 1), dtype=np.float32)
            residual = rng.standard_normal((draws, seeds, prompts), dtype=np.float32)
            return (ability + prompt + seed + residual > 0).astype(float)

        grids = answers(self.a, seeds, seed_sd)
        if self.b is not None:
            grids -= answers(self.b, 1 if self.base else seeds, 0 if self.base else seed_sd)
        return grids

    def measure(self, draws: int, seeds: int, prompts: int, seed_sd: float) -> tuple[float, float]:
        """Return the share of intervals that hold the truth, and the mean half of their width."""
        grids = self.draw(draws, seeds, prompts, seed_sd)
        unit, truth = ("share", self.a) if self.b is None else ("difference in share", self.a - self.b)
        low, high = stats.ends(*stats.crossed_effects(grids), prompts, unit)
        return float(np.mean((low <= truth) & (truth <= high))), float(np.mean(high - low) / 2)


CASES = [
    Case("share", 0.7),
    Case("rare share", 0.02),
    Case("paired difference", 0.7, 0.6),
    Case("rare paired difference", 0.03, 0.02),
    Case("difference from a base model", 0.8, 0.1, base=True),
    Case("rare difference from a base model", 0.03, 0.01, base=True),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_intervals_of_five_and_ten_seeds_cover_at_least_93_percent(case):
    draws = 500
    found = {
        (seeds, prompts, sd): case.measure(draws, seeds, prompts, sd)[0]
        for seeds in (5, 10)
        for prompts in PROMPTS
        for sd in SEED_SDS
    }
    # What 93% can come to by chance, once in a thousand times: in one setting, and in all together.
    least = binom.ppf(0.001, draws, 0.93) / draws
    least_of_all = binom.ppf(0.001, draws * len(found), 0.93) / (draws * len(found))
    assert {setting: share for setting, share in found.items() if share < least} == {}
    assert least_of_all <= np.mean([*found.values()]) < 0.98


def test_intervals_of_three_seeds_cover_90_percent_where_seeds_differ():
    """The docstring of mean_interval says so."""
    found = [case.measure(500, 3, 540, 0.2)[0] for case in CASES]
    assert 0.90 <= np.mean(found) <= 0.96


def table(draws: int = 2000) -> None:
    """Print coverage and mean half-width in points of every case and setting, one line per case, seeds and prompts."""
    print("| case | seeds × prompts | " + " | ".join(f"seed sd {sd:g}" for sd in SEED_SDS) + " |")
    print("| --- | --- |" + " --- |" * len(SEED_SDS))
    for case in CASES:
        for seeds in (1, 3, 5, 10):
            for prompts in PROMPTS:
                found = [case.measure(draws, seeds, prompts, sd) for sd in SEED_SDS]
                cells = [f"{share:.1%}, {100 * half:.1f}" for share, half in found]
                print(f"| {case.name} | {seeds} × {prompts} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    table()
