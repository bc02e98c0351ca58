"""Scorecards, rankings and effects draw what the tables hold, and their titles say it."""

import numpy as np
import pandas as pd
import pytest
from drawn import ends, names, points, rows_of, table

from workbench.evaluate import stats
from workbench.plots import scorecards

pytestmark = pytest.mark.usefixtures("pictures")


def test_the_scorecard_shows_every_model_in_every_skill_and_over_all():
    follows, right = scorecards.scorecard({"base": table(0.2), "SFT": table(1, seeds=2)})
    assert names(follows) == ["all prompts", "lists", "create", "tools"], (
        "the best skill of the last model stands first"
    )
    assert points(follows)["base"] == pytest.approx([10, 20, 10, 0])
    assert points(follows)["SFT"] == pytest.approx([50, 100, 50, 0])
    assert points(right)["SFT"] == pytest.approx([25, 50, 25, 0])
    assert [panel.get_title(loc="left") for panel in (follows, right)] == ["follows the instruction", "is right"]


def test_intervals_are_drawn_as_they_were_computed():
    tuned = table(0.6, seeds=2)
    follows, _ = scorecards.scorecard({"SFT": tuned})
    found = stats.intervals(tuned, "follows", by="skill").loc["create"]
    assert ends(follows, "SFT")[names(follows).index("create")] == pytest.approx(
        (100 * found["low"], 100 * found["high"])
    )
    assert ends(follows, "SFT")[names(follows).index("tools")][1] > 10, "none of 20 is not certainty"


def test_the_whole_scale_is_shown_whatever_the_data():
    for panel in scorecards.scorecard({"base": table(0), "SFT": table(0.1)}):
        left, right = panel.get_xlim()
        assert left < 0 and right > 100 and panel.get_xticks().tolist() == [0, 25, 50, 75, 100]
        bottom, top = panel.get_ylim()
        rows = np.concatenate([bars.lines[0].get_ydata() for bars in panel.containers])
        assert top < rows.min() and rows.max() < bottom, "every dot is inside the picture"


def test_dots_lie_in_their_own_row_and_apart_from_each_other():
    four = {"base": table(0.2), "SFT full": table(0.8), "SFT LoRA": table(0.8), "SFT QLoRA": table(0.8)}
    follows, _ = scorecards.scorecard(four)
    rows = np.array([bars.lines[0].get_ydata() for bars in follows.containers])
    assert all(rows_of(follows, name) == names(follows) for name in four)
    assert (np.diff(rows, axis=0) > 0.12).all(), "in inches: marks do not lie on each other"


def test_the_numbers_of_the_first_row_and_the_title_are_those_of_the_tables():
    panels = scorecards.scorecard({"base": table(0.2), "SFT": table(1)})
    assert [text.get_text() for text in panels[0].texts] == ["10%", "50%"]
    assert panels[0].figure.get_suptitle() == "Instructions followed: 50% (SFT), 10% (base)"
    assert scorecards.scorecard({"base": table(0.2)})[0].figure.get_suptitle() == "Instructions followed: 10% (base)"
    assert (
        scorecards.scorecard({"base": table(0.2)}, title="A base model completes")[0].figure.get_suptitle()
        == "A base model completes"
    )
    assert "60 prompts, with 95% intervals" in panels[0].figure.get_supxlabel()
    three = scorecards.scorecard({"base": table(0.2), "SFT": table(1, seeds=3)})
    assert "60 prompts × 3 seeds" in three[0].figure.get_supxlabel()


def test_the_legend_names_each_model_once():
    panels = scorecards.scorecard({"base": table(0.2), "SFT": table(1), "DPO": table(1)})
    (legend,) = panels[0].figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["base", "SFT", "DPO"]


def test_held_out_axes_stand_in_their_fixed_order():
    far = table(0.5).assign(axis=np.tile(["family", "input", "combination", "seen", "phrasing"], 12))
    follows, _ = scorecards.generalisation({"SFT": far})
    assert names(follows) == [
        "all prompts",
        "seen inputs",
        "new inputs",
        "new phrasings",
        "new combinations",
        "new families",
    ]
    by_axis = far.groupby("axis")["follows"].mean()
    assert points(follows)["SFT"][1:] == pytest.approx([100 * by_axis[axis] for axis in scorecards.AXES])
    title = follows.figure.get_suptitle()
    assert (
        title
        == f"Instructions followed by SFT: {by_axis['seen']:.0%} on seen inputs, {by_axis['family']:.0%} on new families"
    )


def test_a_ranking_has_the_best_on_top_in_every_panel_and_notes_beside_the_right_row():
    tables = {"random": table(0.5), "oracle": table(0.9), "longest": table(0.2)}
    notes = pd.DataFrame({"clean": {"random": "50%", "oracle": "100%", "longest": "31%"}})
    panels = scorecards.ranking(
        tables, {"follows": "follows", "correct": "is right"}, "Best", reference="random", notes=notes
    )
    assert [label.get_text() for label in panels[0].get_yticklabels()] == ["oracle", "random", "longest"]
    for panel, column in zip(panels, ("follows", "correct"), strict=True):
        assert points(panel) == {name: pytest.approx([100 * tables[name][column].mean()]) for name in tables}
    (*_, band), found = panels[0].patches, 100 * stats.estimate(tables["random"], "follows").low
    assert band.get_x() == pytest.approx(found), "the interval of the reference runs through"
    notes = [text.get_text() for text in panels[0].figure.axes[-1].texts]
    assert notes == ["clean", "100%", "50%", "31%"]
    assert panels[0].get_ylim()[0] > panels[0].get_ylim()[1]


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


def test_each_effect_lies_in_the_row_of_its_variant_in_points_with_its_interval():
    base, sft = scorecards.effects(FOUND, "Typos cost", reference={"base": "examples", "SFT": "template"})
    assert names(base) == ["template", "typos", "examples"], (
        "what costs the tuned model most is at the top, after what only the base was asked"
    )
    assert [bars.get_label() for bars in sft.containers] == [*scorecards.SCORES.values()]
    assert points(sft) == {"follows the instruction": pytest.approx([-20, 5]), "is right": pytest.approx([-30, 0])}
    assert rows_of(base, "is right") == ["template", "typos"]
    assert ends(sft, "follows the instruction")[0] == pytest.approx((-30, -10))
    marked = {
        panel: names(base)[np.abs(base.get_yticks() - panel.texts[0].get_position()[1]).argmin()]
        for panel in (base, sft)
    }
    assert marked == {base: "examples", sft: "template"}, "the reference of each model is named in its row"


def test_outcomes_say_how_many_requests_depend_on_their_wording():
    shares = {"base": [0, 0.5, 0.5, 1], "SFT": [1, 1, 1, 0.25]}
    tables = {name: pd.DataFrame({"index": range(4), "seed": 0, "correct": right}) for name, right in shares.items()}
    (panel,) = scorecards.outcomes(tables, "It depends")
    assert names(panel) == ["right in every wording", "it depends on the wording", "right in none"]
    assert points(panel) == {"base": pytest.approx([25, 50, 25]), "SFT": pytest.approx([75, 25, 0])}
