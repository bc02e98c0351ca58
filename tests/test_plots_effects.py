"""The pictures of prompt variants draw what the tables hold."""

import pandas as pd
import pytest

from workbench.plots import intervals

pytestmark = pytest.mark.usefixtures("pictures")


def effect(model, variant, column, estimate):
    return {
        "model": model,
        "variant": variant,
        "column": column,
        "estimate": estimate,
        "low": estimate - 0.1,
        "high": estimate + 0.1,
    }


FOUND = pd.DataFrame([
    effect("base", "template", "follows", -0.7), effect("base", "template", "correct", -0.6),
    effect("base", "typos", "follows", -0.1), effect("base", "typos", "correct", -0.2),
    effect("SFT", "examples", "follows", 0.05), effect("SFT", "examples", "correct", 0.0),
    effect("SFT", "typos", "follows", -0.2), effect("SFT", "typos", "correct", -0.3),
])  # fmt: skip


def test_each_effect_stands_in_its_row_in_points_with_its_interval():
    base, sft = intervals.effects(FOUND, "Typos cost", reference={"base": "examples", "SFT": "template"})
    rows = [label.get_text() for label in base.get_yticklabels()]
    assert rows == ["template", "typos", "examples"], (
        "dearest for the tuned model first, behind what only the base was asked"
    )
    (follows, right) = sft.containers
    places = [round(place) for place in follows.lines[0].get_ydata()]
    assert (places, follows.lines[0].get_xdata().tolist()) == ([2, 1], pytest.approx([5, -20]))
    assert right.lines[0].get_xdata().tolist() == pytest.approx([0, -30])
    (low, high) = follows.lines[2][0].get_segments()[1][:, 0]
    assert (low, high) == pytest.approx((-30, -10))
    assert [text.get_text() for text in sft.texts] == ["reference"] and sft.texts[0].get_position()[1] == 0
    assert base.texts[0].get_position()[1] == 2


def test_the_bars_say_how_many_requests_depend_on_their_wording():
    tables = {"base": pd.DataFrame({"correct": [0, 0.5, 0.5, 1]}), "SFT": pd.DataFrame({"correct": [1, 1, 1, 0.25]})}
    panel = intervals.outcomes(tables, "It depends")
    widths = [[bar.get_width() for bar in bars] for bars in panel.containers]
    assert widths == [[25], [50], [25], [75], [25], [0]]
    assert [text.get_text() for text in panel.texts] == ["25%", "50%", "25%", "75%", "25%"]
