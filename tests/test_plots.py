"""Pictures draw what the tables hold, and their titles say it."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from workbench.errors import InputError
from workbench.evaluate import stats
from workbench.plots import intervals, lines, style, tables

pytestmark = pytest.mark.usefixtures("pictures")


def table(follows: float, seeds=1, prompts=60):
    """Three skills in turn on two axes; the given share of each skill follows, half of those are right."""
    index = np.arange(prompts)
    skill, place = np.array(["lists", "create", "tools"])[index % 3], index // 3 / (prompts // 3)
    share = np.select([skill == "lists", skill == "create"], [follows, follows / 2], 0)
    scores = pd.DataFrame({
        "index": index, "skill": skill, "axis": np.where(index % 2, "family", "seen"), "prompt": [f"p{i}" for i in index],
        "response": "a\n  <b> & b", "follows": place < share, "correct": place < share / 2, "stops": True})  # fmt: skip
    return pd.concat([scores.assign(seed=seed) for seed in range(seeds)], ignore_index=True)


def points(panel):
    """Estimates, in percent, of each model from top to bottom, by label."""
    return {bars.get_label(): bars.lines[0].get_xdata().tolist() for bars in panel.containers}


def ends(panel, model):
    """Left and right ends, in percent, of each interval of a model."""
    (bars,) = (bars for bars in panel.containers if bars.get_label() == model)
    return [(segment[0, 0], segment[1, 0]) for segment in bars.lines[2][0].get_segments()]


def names(panel):
    return [label.get_text() for label in panel.get_yticklabels()]


def test_the_scorecard_shows_every_model_in_every_skill_and_over_all():
    follows, right = intervals.scorecard({"base": table(0.2), "SFT": table(1, seeds=2)})
    assert names(follows) == ["all prompts", "lists", "create", "tools"], (
        "the best skill of the last model stands first"
    )
    assert points(follows)["base"] == pytest.approx([10, 20, 10, 0])
    assert points(follows)["SFT"] == pytest.approx([50, 100, 50, 0])
    assert points(right)["SFT"] == pytest.approx([25, 50, 25, 0])
    assert [panel.get_title(loc="left") for panel in (follows, right)] == ["follows the instruction", "is right"]


def test_intervals_are_drawn_as_they_were_computed():
    tuned = table(0.6, seeds=2)
    follows, _ = intervals.scorecard({"SFT": tuned})
    found = stats.intervals(tuned, "follows", by="skill").loc["create"]
    assert ends(follows, "SFT")[names(follows).index("create")] == pytest.approx(
        (100 * found["low"], 100 * found["high"])
    )
    assert ends(follows, "SFT")[names(follows).index("tools")][1] > 10, "none of 20 is not certainty"


def test_the_whole_scale_is_shown_whatever_the_data():
    for panel in intervals.scorecard({"base": table(0), "SFT": table(0.1)}):
        left, right = panel.get_xlim()
        assert left < 0 and right > 100 and panel.get_xticks().tolist() == [0, 25, 50, 75, 100]
        bottom, top = panel.get_ylim()
        rows = np.concatenate([bars.lines[0].get_ydata() for bars in panel.containers])
        assert top < rows.min() and rows.max() < bottom, "every dot is inside the picture"


def test_dots_lie_in_their_own_row_and_apart_from_each_other():
    four = {"base": table(0.2), "SFT full": table(0.8), "SFT LoRA": table(0.8), "SFT QLoRA": table(0.8)}
    follows, _ = intervals.scorecard(four)
    rows = np.array([bars.lines[0].get_ydata() for bars in follows.containers])
    assert (np.abs(rows[:, 1:] - [[1, 2, 3]]) < 0.5).all() and (rows[:, 0] < 0.5).all()
    assert (np.diff(rows, axis=0) > 0.1).all()


def test_the_numbers_of_the_first_row_and_the_title_are_those_of_the_tables():
    panels = intervals.scorecard({"base": table(0.2), "SFT": table(1)})
    assert [text.get_text() for text in panels[0].texts] == ["10%", "50%"]
    assert panels[0].figure.get_suptitle() == "SFT follows 50% of the instructions, base 10%"
    assert intervals.scorecard({"base": table(0.2)})[0].figure.get_suptitle() == "base follows 10% of the instructions"
    assert (
        intervals.scorecard({"base": table(0.2)}, title="A base model completes")[0].figure.get_suptitle()
        == "A base model completes"
    )
    assert "60 prompts, with 95% intervals" in panels[0].figure.get_supxlabel()
    three = intervals.scorecard({"base": table(0.2), "SFT": table(1, seeds=3)})
    assert "60 prompts × 3 seeds" in three[0].figure.get_supxlabel()


def test_the_legend_names_each_model_once():
    panels = intervals.scorecard({"base": table(0.2), "SFT": table(1), "DPO": table(1)})
    (legend,) = panels[0].figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["base", "SFT", "DPO"]


def test_held_out_axes_stand_in_their_fixed_order():
    far = table(0.5).assign(axis=np.tile(["family", "input", "combination", "seen", "phrasing"], 12))
    follows, _ = intervals.generalisation({"SFT": far})
    assert names(follows) == [
        "all prompts",
        "seen inputs",
        "new inputs",
        "new phrasings",
        "new combinations",
        "new families",
    ]
    by_axis = far.groupby("axis")["follows"].mean()
    assert points(follows)["SFT"][1:] == pytest.approx([100 * by_axis[axis] for axis in intervals.AXES])
    title = follows.figure.get_suptitle()
    assert title == f"SFT follows {by_axis['seen']:.0%} of seen inputs, {by_axis['family']:.0%} of new families"


def test_base_sft_and_dpo_differ_in_lightness_marker_and_to_the_colour_blind():
    look = style.model_style(["base", "SFT", "DPO"])
    grey = [np.dot([0.299, 0.587, 0.114], to_rgb(marks["color"])) for marks in look.values()]
    assert grey[0] - grey[1] > 0.15 and grey[1] - grey[2] > 0.15
    assert len({marks["marker"] for marks in look.values()}) == 3


def test_a_model_looks_the_same_in_every_picture_and_no_two_look_alike():
    assert style.model_style(["SFT", "base"])["base"] == style.model_style(["base"])["base"]
    many = style.model_style(
        ["base", "base, few-shot", "base in chat", "SFT full", "SFT LoRA", "SFT QLoRA", "DPO", "noise 0", "noise 30%"]
    )
    assert len({tuple(marks.items()) for marks in many.values()}) == 9
    assert many["SFT LoRA"]["color"] == many["SFT full"]["color"] != many["base"]["color"]


LOG = pd.DataFrame({"step": range(1, 101), "num_tokens": np.arange(1, 101) * 500, "loss": np.linspace(3, 1, 100)})


def test_the_training_curve_draws_loss_against_thousands_of_tokens_and_the_held_out_loss_at_both_ends():
    panel = lines.training_curve(LOG, {"held_out_before": 3.2, "held_out_after": 1.4})
    raw, smooth, held = panel.lines
    assert raw.get_xdata().max() == 50 and raw.get_ydata().tolist() == LOG["loss"].tolist()
    assert len(smooth.get_xdata()) == 100 and "mean of 3 steps" in smooth.get_label()
    assert [*zip(held.get_xdata(), held.get_ydata(), strict=True)] == [(0, 3.2), (50, 1.4)]
    assert panel.get_title(loc="left") == "Loss on held-out rows falls from 3.20 to 1.40"
    assert panel.get_xlabel() == "tokens trained, thousands" and panel.get_ylabel() == "loss, nats a token"
    assert panel.get_ylim()[0] == 0 and panel.get_ylim()[1] > 3.2


def test_without_held_out_rows_the_curve_speaks_of_the_training_rows():
    for scores in (None, {"held_out_before": None, "held_out_after": None}):
        panel = lines.training_curve(LOG, scores)
        assert len(panel.lines) == 2 and panel.get_title(loc="left").startswith(
            "Loss on the training rows falls from 3.00 to 1.0"
        )
    worse = lines.training_curve(LOG, {"held_out_before": 1.0, "held_out_after": 1.4})
    assert worse.get_title(loc="left") == "Loss on held-out rows rises from 1.00 to 1.40"


def test_summary_lines_of_the_log_are_not_drawn():
    summary = pd.DataFrame({"step": [100], "train_runtime": [9.0]})
    panel = lines.training_curve(pd.concat([LOG, summary]))
    assert len(panel.lines[0].get_xdata()) == 100
    with pytest.raises(InputError, match="no loss"):
        lines.training_curve(summary.assign(loss=np.nan, num_tokens=np.nan))


def test_answers_stand_side_by_side_with_ticks_lines_and_nothing_taken_for_markup():
    base, tuned = table(0), table(1, seeds=2)
    page = tables.side_by_side({"base": base.assign(stops=False), "SFT <1>": tuned}, n=4).data
    assert page.count("<tr") == 1 + 4 and page.count("<td") == 4 * 3
    assert "SFT &lt;1&gt;" in page and "a<br>&nbsp;&nbsp;&lt;b&gt; &amp; b" in page
    assert page.count("&amp; b …") == 4, "an answer that was cut off is seen to be"
    assert page.count("does not follow") == 4 + 1, "the base always, the tuned model in the skill it lacks"
    assert page.count("✓</b> follows") == 3


def test_prompts_of_the_view_come_from_all_skills_and_from_both_models():
    page = tables.side_by_side({"base": table(0).sort_values("skill", kind="stable")}, n=3).data
    assert all(f">p{i}<" in page for i in range(3))
    with pytest.raises(InputError, match='"SFT" holds other prompts'):
        tables.side_by_side({"base": table(0), "SFT": table(1).assign(prompt="else")})
