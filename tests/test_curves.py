"""Curves over size find what was put into the data."""

import numpy as np
import pandas as pd
import pytest

from workbench.errors import InputError
from workbench.evaluate import curves

SIZES = (25, 50, 100, 200, 400, 800)


def table(share, sizes=SIZES, seeds=3, prompts=200, noise=0.0):
    """A grid's table in which a run at size n follows the first share(n) of the prompts, and a few others by chance."""
    rng = np.random.default_rng(0)
    rows = []
    for size in sizes:
        for seed in range(seeds):
            right = np.arange(prompts) < round((share(size) + noise * rng.normal()) * prompts)
            rows += [{"size": size, "seed": seed, "index": i, "follows": bool(r)} for i, r in enumerate(right)]
    return pd.DataFrame(rows)


def saturating(size):
    return 0.9 - 0.6 * (size / 25) ** -1.0


def test_the_fit_is_the_curve_that_made_the_data():
    found = curves.fit_curve(table(saturating, prompts=1_000), "follows")
    assert (found.top, found.drop, found.rate) == pytest.approx((0.9, 0.6, 1.0), abs=0.02)
    assert found(100) == pytest.approx(saturating(100), abs=0.01)
    assert found.size(float(found(137))) == pytest.approx(137)


def test_it_flattens_where_nine_tenths_of_the_rise_are_made():
    rise = saturating(800) - saturating(25)
    truth = next(n for n in range(25, 800) if saturating(n) >= saturating(25) + 0.9 * rise)
    flat = curves.flattens_at(table(saturating, noise=0.01), "follows")
    assert flat.low <= truth <= flat.high and flat.low < flat.estimate < flat.high
    assert flat.high < 400 and (flat.seeds, flat.prompts) == (3, 200)
    # one that rises to the end flattens later
    assert curves.flattens_at(table(lambda n: 0.2 + 0.1 * np.log2(n / 25)), "follows").estimate > flat.high


def test_pairs_that_do_as_well_as_half_as_many_clean_ones_are_worth_half():
    clean = table(saturating)
    noisy = table(lambda n: saturating(n / 2), sizes=(200,))
    price = curves.exchange_rate(clean, noisy, "follows")
    assert price.low <= 2 <= price.high and price.estimate == pytest.approx(2, rel=0.15)
    assert curves.exchange_rate(clean, table(saturating, sizes=(200,)), "follows").estimate == pytest.approx(1, rel=0.1)


def test_data_worse_than_the_smallest_clean_set_have_the_least_price_that_can_be_read():
    assert curves.exchange_rate(table(saturating), table(lambda n: 0.1, sizes=(800,)), "follows").estimate == 800 / 25


def test_two_sizes_make_no_curve_and_other_prompts_no_price():
    with pytest.raises(InputError, match="3 sizes or more, there are 2"):
        curves.fit_curve(table(saturating, sizes=(25, 50)), "follows")
    with pytest.raises(InputError, match="score both on the same"):
        curves.exchange_rate(table(saturating), table(saturating, sizes=(200,), prompts=100), "follows")


def test_a_notebook_learns_before_it_trains_that_its_sizes_make_no_curve(capsys):
    assert curves.can_fit_curve([25, 100, 400]) and capsys.readouterr().out == ""
    assert not curves.can_fit_curve([25, 400])
    assert (
        capsys.readouterr().out
        == "sizes: 2 are given, and a curve needs 3 or more; what is read off a curve is left out\n"
    )


@pytest.mark.parametrize("sizes", [[400], [400, 25], [25, 25, 400], []])
def test_sizes_that_cannot_be_compared_from_first_to_last_are_refused(sizes):
    with pytest.raises(InputError, match="sizes .*; give two or more, each larger than the one before"):
        curves.can_fit_curve(sizes)
