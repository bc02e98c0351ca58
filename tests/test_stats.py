"""Intervals cover what they claim to cover, differences are paired, and tables that do not fit are refused."""

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from workbench.errors import InputError
from workbench.evaluate import stats
from workbench.experiments import claims


def made(columns, seed=0, **more):
    """A table of scores with the given columns."""
    size = len(next(iter(columns.values())))
    table = pd.DataFrame({"index": range(size), "prompt": [f"p{i}" for i in range(size)], "skill": "lists", **columns})
    return table.assign(seed=seed, **more)


def test_the_interval_of_one_seed_is_the_binomial_one():
    answers = np.arange(400) < 280
    found = stats.estimate(made({"follows": answers}), "follows")
    error = 1.96 * np.sqrt(0.7 * 0.3 / 400)
    assert found.estimate == pytest.approx(0.7)
    assert [found.low, found.high] == pytest.approx([0.7 - error, 0.7 + error], abs=0.006)
    assert (found.prompts, found.seeds, found.unit) == (400, 1, "share")


def ends(found):
    return pytest.approx([found.low, found.high])


def test_one_seed_gives_the_paired_t_test():
    a, b = np.random.default_rng(0).normal(size=(2, 80))
    found = stats.difference(made({"loss": a}), made({"loss": b}), "loss")
    theirs = scipy.stats.ttest_rel(a, b)
    assert [*theirs.confidence_interval()] == ends(found) and found.p_value(0) == pytest.approx(theirs.pvalue)
    assert (found.df, found.unit) == (79, "difference in loss")


def test_a_rare_share_has_the_wilson_interval():
    theirs = scipy.stats.binomtest(4, 400).proportion_ci(method="wilson")
    found = stats.estimate(made({"follows": np.arange(400) < 4}), "follows")
    assert [found.low, found.high] == pytest.approx([*theirs], abs=0.0003) and found.low > 0


# Two seeds × three prompts: mean 4, seed means 2 and 6, prompt means 2, 4 and 6, so MS_seed 24 and MS_prompt 8.
EXAMPLE = np.array([[0.0, 2, 4], [4, 6, 8]])


def test_the_variance_of_the_mean_comes_from_the_mean_squares():
    rest = np.array([[1.0, -2, 1], [-1, 2, -1]])  # MS_residual 12 / 2
    mean, error, df = stats.crossed_effects(EXAMPLE + rest)
    assert mean == 4 and error**2 == pytest.approx((24 + 8 - 6) / 6)
    assert df == pytest.approx(26**2 / (24**2 / 1 + 8**2 / 2 + 6**2 / 2))


@pytest.mark.parametrize("negative", ["seeds", "prompts"])
def test_a_component_that_comes_out_negative_is_zero_and_takes_no_part(negative):
    """What is left is the t test on the means of the other factor."""
    grid = np.random.default_rng(1).normal(size=(5, 40))
    grid -= grid.mean(
        axis=1 if negative == "seeds" else 0, keepdims=True
    )  # seeds, or prompts, agree more than by chance
    means = grid.mean(axis=0 if negative == "seeds" else 1)
    if negative == "seeds":
        grid, means = (values + 3 * np.arange(40) for values in (grid, means))
    else:
        grid, means = grid + 3 * np.arange(5)[:, None], means + 3 * np.arange(5)
    found = stats.mean_interval(grid, "length")
    assert [*scipy.stats.ttest_1samp(means, 0).confidence_interval()] == ends(found)
    assert found.df == len(means) - 1


def test_one_exception_in_the_grid_counts_as_one_and_not_as_seeds_that_differ():
    """Its three mean squares are equal: rounding must not decide which degrees of freedom count."""
    for seeds, prompts in ((3, 60), (5, 180), (10, 540)):
        grid = np.zeros((seeds, prompts))
        grid[0, 0] = 1
        assert stats.mean_interval(grid, "share").df == (seeds - 1) * (prompts - 1)


def test_few_seeds_that_differ_have_few_degrees_of_freedom():
    apart = pd.concat([made({"follows": np.arange(200) < share}, seed) for seed, share in enumerate((60, 100, 140))])
    assert stats.estimate(apart, "follows").df < 3


def test_seeds_that_disagree_widen_the_interval():
    agree = pd.concat([made({"follows": np.arange(200) < 100}, seed) for seed in range(3)])
    apart = pd.concat([made({"follows": np.arange(200) < share}, seed) for seed, share in enumerate((60, 100, 140))])
    narrow, wide = stats.estimate(agree, "follows"), stats.estimate(apart, "follows")
    assert narrow.estimate == wide.estimate and wide.seeds == 3
    assert wide.high - wide.low > 1.5 * (narrow.high - narrow.low)


def test_more_seeds_of_the_same_answers_do_not_make_the_prompts_more():
    one = stats.estimate(made({"follows": np.arange(200) < 100}), "follows")
    many = stats.estimate(pd.concat([made({"follows": np.arange(200) < 100}, seed) for seed in range(9)]), "follows")
    assert many.high - many.low == pytest.approx(one.high - one.low, rel=0.1)


@pytest.mark.parametrize(("prompts", "low"), [(300, 1 - 3 / 300), (30, 1 - 3 / 30)])
def test_all_right_is_not_certainty_but_the_rule_of_three(prompts, low):
    found = stats.estimate(made({"follows": np.ones(prompts, bool)}), "follows")
    assert found.high == 1 and found.low == pytest.approx(low, abs=0.006)
    none = stats.estimate(made({"follows": np.zeros(prompts, bool)}), "follows")
    assert none.low == 0 and none.high == pytest.approx(1 - found.low)


def test_a_difference_is_paired():
    rng = np.random.default_rng(0)
    easy = rng.random(300) < 0.5
    a, b = easy.copy(), easy.copy()
    b[np.flatnonzero(easy)[:15]] = False  # b fails on 15 prompts more and is like a elsewhere
    paired = stats.difference(made({"correct": a}), made({"correct": b}), "correct")
    assert paired.estimate == pytest.approx(15 / 300)
    assert 0 < paired.low < paired.high < 0.08, "unpaired, the interval would be 0.16 wide and hold 0"
    shuffled = made({"correct": b}).sample(frac=1, random_state=0)
    assert stats.difference(made({"correct": a}), shuffled, "correct") == paired
    assert paired.unit == "difference in share" and str(paired).startswith("+0.05 [+0.0")


def test_a_difference_without_exceptions_allows_some():
    same = made({"correct": np.arange(100) < 50})
    none = stats.difference(same, same, "correct")
    assert none.estimate == 0 and none.high == pytest.approx(0.03, abs=0.001) and none.low == pytest.approx(-none.high)
    all_ = stats.difference(made({"f": np.ones(100)}), made({"f": np.zeros(100)}), "f")
    assert all_.estimate == all_.high == 1 and all_.low == pytest.approx(1 - 2 * none.high)


GRIDS = {
    "share": np.arange(3 * 50).reshape(3, 50) % 7 < 2,
    "rare share": np.arange(3 * 50).reshape(3, 50) % 40 == 0,
    "no exception": np.ones((3, 50)),
    "difference in share": np.sign(np.arange(3 * 50).reshape(3, 50) % 5 - 1.5),
    "difference without exception": np.zeros((3, 50)),
    "length": np.arange(3 * 50).reshape(3, 50) % 11.0,
}


@pytest.mark.parametrize("name", GRIDS)
def test_a_p_value_is_below_5_percent_exactly_where_the_interval_excludes_the_value(name):
    unit = {"rare share": "share", "no exception": "share", "difference without exception": "difference in share"}
    found = stats.mean_interval(GRIDS[name].astype(float), unit.get(name, name))
    assert found.p_value(found.estimate) == 1
    for end, away in ((found.low, -1), (found.high, 1)):
        if end == found.estimate:
            assert found.p_value(end + away * 1e-9) == 0, "beyond what is possible"
            continue
        assert found.p_value(end) == pytest.approx(0.05)
        assert found.p_value(end + away * 1e-4) < 0.05 < found.p_value(end - away * 1e-4)


def test_p_values_of_resampled_intervals_agree_with_their_ends_and_other_ranges_have_none():
    skewed = stats.Interval(57, 44, 292, 180, 3, "pairs", df=np.inf)
    assert skewed.p_value(44) == pytest.approx(0.05) and skewed.p_value(292) == pytest.approx(0.05)
    assert skewed.p_value(200) > 0.05 > skewed.p_value(40)
    assert stats.Interval(0.69, 0.68, 0.70, 0, 3, "nats").p_value(0.5) is None


def test_one_number_says_nothing_about_others():
    found = stats.estimate(made({"length": [7]}), "length")
    assert found.estimate == 7 and np.isnan([found.low, found.high]).all()
    assert stats.estimate(made({"follows": [True]}), "follows").low == pytest.approx(0.05), "a share: the rule of three"


def test_one_base_model_is_compared_with_every_seed():
    base = made({"follows": np.zeros(100, bool)}, seed=0)
    tuned = pd.concat([made({"follows": np.arange(100) < share}, seed) for seed, share in enumerate((80, 90, 100))])
    found = stats.difference(tuned, base, "follows")
    assert found.estimate == pytest.approx(0.9) and (found.prompts, found.seeds) == (100, 3)


def test_what_cannot_be_paired_is_named():
    a = made({"follows": np.ones(4)})
    with pytest.raises(InputError, match="different prompts"):
        stats.difference(a, a.assign(prompt="other"), "follows")
    with pytest.raises(InputError, match="different prompts"):
        stats.difference(a, a[:3], "follows")
    two, three = pd.concat([a, a.assign(seed=1)]), pd.concat([a, a.assign(seed=1), a.assign(seed=2)])
    with pytest.raises(InputError, match=r"seeds \[0, 1\] and \[0, 1, 2\] differ"):
        stats.difference(two, three, "follows")
    with pytest.raises(InputError, match="each seed needs one answer"):
        stats.estimate(pd.concat([a, a[:2].assign(seed=1)]), "follows")
    with pytest.raises(InputError, match="each seed needs one answer"):
        stats.estimate(pd.concat([a, a]), "follows")


def test_groups_are_estimated_from_their_own_prompts_in_the_order_of_the_table():
    table = made({"follows": np.arange(100) < 60, "skill": ["lists"] * 60 + ["create"] * 40})
    found = stats.intervals(table, "follows", by="skill")
    assert found.index.tolist() == ["lists", "create"] and found.index.name == "skill"
    assert found["estimate"].tolist() == [1, 0] and found["prompts"].tolist() == [60, 40]
    whole = stats.intervals(table, "follows")
    assert whole["estimate"].tolist() == [pytest.approx(0.6)] and list(whole) == [
        "estimate",
        "low",
        "high",
        "prompts",
        "seeds",
    ]
    both = stats.intervals(table.assign(axis="seen"), "follows", by=["skill", "axis"])
    assert both.index.tolist() == [("lists", "seen"), ("create", "seen")]


def test_the_same_table_gives_the_same_interval():
    table = made({"follows": np.arange(50) % 3 == 0})
    assert stats.estimate(table, "follows") == stats.estimate(table, "follows")


def test_lengths_are_measured_in_tokens_not_as_shares():
    found = stats.estimate(made({"length": np.full(20, 7)}), "length")
    assert (found.estimate, found.unit) == (7, "length")


def test_models_are_compared_in_one_tidy_table():
    base, tuned = (
        made({"follows": np.zeros(20), "correct": np.ones(20)}),
        made({"follows": np.ones(20), "correct": np.ones(20)}),
    )
    tidy = stats.compare({"base": base, "SFT": tuned}, ["follows", "correct"], by="skill")
    assert tidy[["model", "column", "group", "estimate"]].to_numpy().tolist() == [
        ["base", "follows", "lists", 0], ["base", "correct", "lists", 1],
        ["SFT", "follows", "lists", 1], ["SFT", "correct", "lists", 1]]  # fmt: skip
    assert stats.compare({"base": base}, ["follows"])["group"].tolist() == ["all"]


def test_an_interval_reads_as_a_number_with_its_range():
    assert str(stats.Interval(0.934, 0.9, 0.96, 300, 3)) == "0.93 [0.90, 0.96]"
    assert str(stats.Interval(0.001, -0.004, 0.006, 300, 3, "difference in share")) == "+0.00 [+0.00, +0.01]"
    assert str(stats.Interval(-0.2, -0.25, -0.15, 300, 3, "length")) == "-0.20 [-0.25, -0.15]"
    assert str(stats.Interval(0.5, 0.4, 193 / 200 + 1e-15, 200, 3)) == str(
        stats.Interval(0.5, 0.4, 0.965, 200, 3)
    )  # stored with four digits


def test_a_number_per_run_ends_at_its_extremes_so_a_claim_of_it_is_one_of_every_run():
    changes = stats.range_over_runs([-9.0, -7.5, -4.5], "nats")
    assert (changes.estimate, changes.low, changes.high, changes.seeds) == (-7.0, -9.0, -4.5, 3)
    assert claims.at_most(-4).verdict(changes) == claims.HOLDS and changes.p_value(-4) is None
    assert claims.at_most(-5).verdict(changes) == claims.INCONCLUSIVE
