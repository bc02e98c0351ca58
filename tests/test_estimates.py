"""Pictures of estimates draw what the tables hold, and their titles say no more than their verdicts."""

import pandas as pd
import pytest
from drawn import ends, names, points, rows_of

from workbench.evaluate import stats
from workbench.experiments import claims
from workbench.plots import estimates

pytestmark = pytest.mark.usefixtures("pictures")


def interval(estimate, low, high, unit="difference in share"):
    return stats.Interval(estimate, low, high, 100, 3, unit)


def test_every_estimate_lies_in_its_row_and_panel_with_its_interval():
    found = pd.DataFrame([("a", "x", "left", 0.1, 0.0, 0.3), ("a", "y", "left", 0.2, 0.1, 0.4), ("b", "x", "left", 0.5, 0.4, 0.6),
                          ("b", "x", "right", 0.7, 0.6, 0.9)],
                         columns=["r", "s", "p", "estimate", "low", "high"])  # fmt: skip
    left, right = estimates.intervals(found, "Message", row="r", series="s", panel="p")
    assert names(left) == ["a", "b"] and points(left) == {"x": pytest.approx([10, 50]), "y": pytest.approx([20])}
    assert rows_of(left, "x") == ["a", "b"] and ends(left, "y") == [pytest.approx((10, 40))]
    assert points(right)["x"] == pytest.approx([70]) and right.get_title(loc="left") == "right"


def test_estimates_of_the_named_rows_are_written_out_beside_their_intervals():
    found = pd.DataFrame(
        {"r": ["a", "b", "c"], "estimate": [0.1, 0.7, 0.9], "low": [0.0, 0.6, 0.8], "high": [0.2, 0.8, 1.0]}
    )
    (axis,) = estimates.intervals(found, "Message", row="r", numbered=["a", "b"])
    written = {text.get_text(): (text.xy, text.get_ha()) for text in axis.texts}
    assert written.keys() == {"10%", "70%"}
    assert written["10%"][0][0] == pytest.approx(20) and written["10%"][1] == "left"  # to the right of its interval
    assert written["70%"][0][0] == pytest.approx(60) and written["70%"][1] == "right"
    bold = [label.get_text() for label in axis.get_yticklabels() if label.get_fontweight() == "bold"]
    assert bold == ["a", "b"]


def test_a_long_title_is_wrapped_and_the_figure_grows_with_it():
    found = pd.DataFrame({"r": ["a"], "estimate": [0.5], "low": [0.4], "high": [0.6]})
    (short,), (long,) = (estimates.intervals(found, title, row="r") for title in ("Short", "many words " * 12))
    assert max(map(len, long.figure.get_suptitle().split("\n"))) <= 74
    assert long.figure.get_figheight() > short.figure.get_figheight()


@pytest.mark.parametrize(("ends", "title"), [
    ((0.05, 0.2), "DPO admits more, +10 points [+5, +20]"),
    ((-0.05, 0.2), "Inconclusive: DPO admits more, +10 points [-5, +20]"),
    ((-0.2, -0.1), "Not confirmed: DPO admits more, +10 points [-20, -10]"),
])  # fmt: skip
def test_a_title_states_an_effect_only_where_the_whole_interval_does(ends, title):
    assert estimates.verdict_title("DPO admits more", interval(0.1, *ends), claims.more_than(0)) == title


def test_titles_give_shares_in_percent_and_other_numbers_with_their_unit():
    share = estimates.verdict_title("It follows", interval(0.9, 0.85, 0.95, "share"), claims.at_least(0.8))
    pairs = estimates.verdict_title("Flat early", interval(57, 44, 292, "pairs"), claims.at_most(200))
    assert share == "It follows, 90% [85, 95]" and pairs == "Inconclusive: Flat early, 57 pairs [44, 292]"
    longer = estimates.verdict_title(
        "Answers grow", interval(3.2, 1, 5.44, "difference in length"), claims.more_than(0)
    )
    loss = estimates.verdict_title("It forgets", interval(0.25, 0.2, 0.3, "difference in loss"), claims.more_than(0))
    assert longer == "Answers grow, +3.20 tokens [+1.00, +5.44]"
    assert loss == "It forgets, +0.25 nats per token [+0.20, +0.30]"
    apart = interval(0.03, -0.01, 0.06, "difference in spread")
    assert (
        estimates.verdict_title("They disagree", apart, claims.more_than(0))
        == "Inconclusive: They disagree, +3 points [-1, +6]"
    )
