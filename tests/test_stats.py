"""Intervals cover what they claim to cover, differences are paired, and tables that do not fit are refused."""

import numpy as np
import pandas as pd
import pytest

from workbench.errors import InputError
from workbench.evaluate import stats


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


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(5)
    hits = 0
    for _ in range(200):
        skill = 1 + 2 * rng.standard_normal(100) + 0.1 * rng.standard_normal((3, 1)) + rng.standard_normal((3, 100))
        found = stats.bootstrap(pd.DataFrame((skill > 0).astype(float)), "share", (0, 1))
        hits += found.low <= 0.672 <= found.high  # Phi(1 / sqrt(4 + 0.01 + 1))
    assert 0.92 <= hits / 200 <= 1


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
