"""Facts about selection: the best rows come first, budgets hold, filters exclude what they should, and impossible requests are errors."""

import numpy as np
import pytest
from conftest import make_rows
from datasets import Dataset

from workbench.data import corruption, selection
from workbench.errors import InputError


def row(prompt, answer):
    return {"messages": [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]}


@pytest.fixture
def numbered():
    return Dataset.from_list(
        [{**row(f"{i}", "yes"), "id": i, "corruption": "wrong" if i % 2 else ""} for i in range(6)]
    )


def test_the_highest_scores_come_first_and_the_earlier_of_equals(numbered):
    selected = selection.select(numbered, np.array([1, 5, 3, 5, -np.inf, 2]), size=4)
    assert selected["id"] == [1, 3, 2, 5]


def test_a_budget_of_tokens_is_filled_to_within_a_row(numbered):
    scores, lengths = np.arange(6.0), np.array([9, 9, 9, 4, 5, 6])
    assert selection.select(numbered, scores, tokens=15, lengths=lengths)["id"] == [5, 4, 3]
    assert selection.select(numbered, scores, tokens=14, lengths=lengths)["id"] == [5, 4]
    assert len(selection.select(numbered, scores, tokens=42, lengths=lengths)) == 6


def test_selectors_that_prefer_long_and_short_get_the_same_tokens_and_other_rows():
    lengths = np.random.default_rng(0).integers(1, 40, 500)
    rows = Dataset.from_dict({"length": lengths})
    long, short = (selection.select(rows, sign * lengths, tokens=3_000, lengths=lengths) for sign in (1, -1))
    assert len(short) > 2 * len(long)
    assert all(3_000 - 40 < sum(selected["length"]) <= 3_000 for selected in (long, short))


@pytest.mark.parametrize(
    "scores, asked, message",
    [
        (np.zeros(6), {"size": 5_000}, "size asks for 5,000 rows; the data have 6"),
        (np.zeros(6), {"size": 0}, "size asks for 0 rows"),
        (np.array([0, 0, -np.inf, 0, 0, 0]), {"size": 6}, "of 6 rows, ifd leaves 5; ask for 1 to 5"),
        (np.array([0, 0, np.nan, 0, np.nan, 0]), {"size": 2}, r"ifd: the score of rows\[2\] is not a number"),
        (np.zeros(5), {"size": 2}, "ifd: 5 numbers for 6 rows"),
        (np.zeros(6), {}, "select needs a size, or tokens with lengths"),
        (np.zeros(6), {"size": 2, "tokens": 2, "lengths": np.ones(6)}, "give one of the two"),
        (np.zeros(6), {"tokens": 2}, "tokens with lengths"),
        (np.zeros(6), {"tokens": 2, "lengths": np.ones(3)}, "lengths: 3 numbers for 6 rows"),
        (
            np.zeros(6),
            {"tokens": 70, "lengths": np.full(6, 10)},
            "the budget is 70 tokens; the data have 60 tokens; lower the budget",
        ),
        (np.zeros(6), {"tokens": 9, "lengths": np.full(6, 10)}, "the first row alone has 10; raise the budget"),
        (np.full(6, -np.inf), {"tokens": 9, "lengths": np.full(6, 10)}, "of 6 rows, ifd leaves 0"),
    ],
)
def test_impossible_requests_are_errors(numbered, scores, asked, message):
    with pytest.raises(InputError, match=message):
        selection.select(numbered, scores, selector="ifd", **asked)


def test_the_oracle_selects_clean_rows_only_and_precision_counts_them(numbered):
    scores = selection.oracle(numbered, np.arange(6.0))
    assert scores.tolist() == [0, -np.inf, 2, -np.inf, 4, -np.inf]
    assert selection.select(numbered, scores, size=3)["id"] == [4, 2, 0]
    assert selection.selection_precision(selection.select(numbered, scores, size=3)) == 1.0
    assert selection.selection_precision(selection.select(numbered, np.arange(6.0), size=3)) == pytest.approx(1 / 3)
    with pytest.raises(InputError, match='rows have no column "corruption"'):
        selection.selection_precision(make_rows(2))


def test_a_copy_is_junk_only_beside_another_one(rows):
    corrupted = corruption.corrupt(rows, {"repeated": 0.5})
    assert selection.selection_precision(corrupted) == 0.5
    assert selection.selection_precision(corrupted.filter(lambda row: row["corruption"] == "repeated")) == 1.0


def test_of_near_duplicates_the_one_with_the_best_score_stays():
    long = "Please write a short and friendly letter to the people next door about the noise of last night"
    rows = [row("Name a fruit.", "fig"), row("name a  fruit", "plum"), row("Name a tree.", "oak"),
            row(f"{long}.", "Dear all, sorry."), row(f"{long}, please.", "Dear all, sorry.")]  # fmt: skip
    kept = selection.distinct(rows, np.array([1.0, 2, 0, 4, 3]))
    assert kept.tolist() == [-np.inf, 2, 0, 4, -np.inf]


def test_distinct_rows_contain_no_copy(rows):
    corrupted = corruption.corrupt(rows, {"repeated": 0.5})
    kept = selection.distinct(corrupted, np.zeros(48)) > -np.inf
    assert kept.sum() == 24 == len({str(messages) for messages in corrupted["messages"]})


def test_a_row_too_similar_to_a_better_one_is_excluded_and_an_excluded_one_excludes_nothing():
    angles = np.deg2rad([0, 20, 40, 90])
    embeddings = 7 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    scores = np.array([4.0, 3, 2, 1])
    # cos 20° = 0.94: the second is too similar to the first; the third, like the second, stays
    assert selection.diverse(scores, embeddings).tolist() == [4, -np.inf, 2, 1]
    assert selection.diverse(scores, embeddings, tau=0.7).tolist() == [4, -np.inf, -np.inf, 1]
    assert selection.diverse(scores, embeddings, tau=0.95).tolist() == [4, 3, 2, 1]
    # an excluded row excludes nothing, and a score that is not a number stays so, for select to refuse
    assert selection.diverse(np.array([-np.inf, 3, 2, 1]), embeddings).tolist() == [-np.inf, 3, -np.inf, 1]
    assert np.isnan(selection.diverse(np.array([4, np.nan, 2, 1]), embeddings)[1])
