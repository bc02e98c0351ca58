"""The tables of a grid: one per value, and what the runs read."""

import pandas as pd

from workbench.experiments import split_by, training_sizes

SCORES = pd.DataFrame({
    "training": ["long", "long", "long", "short"], "run": ["a", "a", "b", "c"], "rows": [100, 100, 300, 10],
    "steps": [10, 10, 20, 1], "tokens": [1000, 1000, 3000, 50],
})  # fmt: skip


def test_each_run_counts_once_however_many_prompts_it_answered():
    assert training_sizes(SCORES, "training").loc["long"].to_dict() == {"rows": 200, "steps": 15, "tokens": 2000}


def test_an_untuned_model_has_no_training():
    base = pd.DataFrame({"training": ["base"], "run": [None]})
    assert list(training_sizes(pd.concat([base, SCORES]), "training").index) == ["long", "short"]


def test_tables_come_in_the_order_of_the_grid():
    assert {name: len(table) for name, table in split_by(SCORES, "training").items()} == {"long": 3, "short": 1}
    assert list(split_by(SCORES, "training")) == ["long", "short"]
