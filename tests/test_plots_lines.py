"""Pictures of ablations draw what the tables hold."""

import numpy as np
import pandas as pd
import pytest

from workbench.evaluate import curves, stats
from workbench.plots import heatmaps, intervals, lines

pytestmark = pytest.mark.usefixtures("pictures")


def table(share, prompts=40, **labels):
    """Scores of two seeds: the given share of prompts follows, half of those are right."""
    place = np.arange(prompts) / prompts
    scores = pd.DataFrame({"index": np.arange(prompts), "follows": place < share, "correct": place < share / 2})
    return pd.concat([scores.assign(seed=seed, **labels) for seed in (0, 1)], ignore_index=True)


def by_size(shares):
    return pd.concat([table(share, size=size) for size, share in shares.items()], ignore_index=True)


def texts(panel):
    return [text.get_text() for text in panel.texts]


def test_a_curve_passes_through_the_shares_and_its_band_holds_them():
    grown = by_size({25: 0.2, 100: 0.6, 400: 0.8})
    left, right = lines.curves({"tokens": {"all": grown}, "passes": {"all": grown, "few": by_size({25: 0.1, 400: 0.3})}},
                                "follows", "Flat", fits={"tokens": curves.fit_curve(grown, "follows")})  # fmt: skip
    drawn, dotted = left.lines
    assert drawn.get_xdata().tolist() == [25, 100, 400] and drawn.get_ydata().tolist() == pytest.approx([20, 60, 80])
    assert dotted.get_ydata()[[0, -1]] == pytest.approx([20, 80], abs=3)
    bands = left.collections[0].get_paths()[0].vertices
    found = 100 * stats.intervals(grown, "follows", "size")
    assert bands[:, 1].min() == pytest.approx(found["low"].min()) and bands[:, 1].max() == pytest.approx(
        found["high"].max()
    )
    assert len(right.lines) == 2 and texts(right) == ["few", "all"], "a fit is drawn where it is given"
    assert [label.get_text() for label in right.get_xticklabels()] == ["25", "100", "400"]


def test_names_of_lines_that_end_together_do_not_lie_on_each_other():
    same = by_size({25: 0.5, 400: 0.5})
    (panel,) = lines.curves({"all": {"one": same, "other": same, "third": same}}, "follows", "Equal")
    heights = sorted(note.xy[1] for note in panel.texts)
    assert np.diff(heights).min() > 5, "percent points"


def test_values_are_dots_for_runs_and_a_line_through_their_means():
    losses = pd.Series([0.1, 0.3, 0.5, 0.7], index=[25, 25, 400, 400])
    panel = lines.values({"tuned": losses}, "Forgets", "loss", base=0)
    dots, means, base = panel.lines
    assert dots.get_ydata().tolist() == losses.tolist()
    assert means.get_xdata().tolist() == [25, 400] and means.get_ydata().tolist() == pytest.approx([0.2, 0.6])
    assert base.get_ydata()[0] == 0 and "base model" in texts(panel)


def test_a_map_writes_every_share_with_its_interval_and_the_most_pairs_on_top():
    cells = pd.concat([table(share, size=size, noise=noise) for size, noise, share in
                       [(25, 0.0, 0.4), (25, 0.6, 0.1), (400, 0.0, 0.9), (400, 0.6, 0.5)]])  # fmt: skip
    panel = heatmaps.heatmap(cells, "follows", "Noise", x="noise", xlabel="junk", ylabel="pairs")
    half = {
        key: 50 * (row["high"] - row["low"])
        for key, row in stats.intervals(cells, "follows", ["size", "noise"]).iterrows()
    }
    wanted = [(400, 0.0, 90), (400, 0.6, 50), (25, 0.0, 40), (25, 0.6, 10)]
    assert texts(panel) == [f"{share}%\n± {half[size, noise]:.0f}" for size, noise, share in wanted]
    assert [label.get_text() for label in panel.get_yticklabels()] == ["400", "25"]
    assert panel.collections[0].get_array().flatten().tolist() == pytest.approx([90, 50, 40, 10])


def test_a_ranking_has_the_best_on_top_in_every_panel_and_notes_beside_the_right_row():
    tables = {"random": table(0.5), "oracle": table(0.9), "longest": table(0.2)}
    notes = pd.DataFrame({"clean": {"random": "50%", "oracle": "100%", "longest": "31%"}})
    panels = intervals.ranking(
        tables, {"follows": "follows", "correct": "is right"}, "Best", reference="random", notes=notes
    )
    assert [label.get_text() for label in panels[0].get_yticklabels()] == ["oracle", "random", "longest"]
    middles = [[bars.lines[0].get_xdata()[0] for bars in panel.containers] for panel in panels[:2]]
    assert middles[0] == pytest.approx([90, 50, 20]) and middles[1] == pytest.approx([45, 25, 10])
    band, found = panels[0].patches[0], 100 * stats.estimate(tables["random"], "follows").low
    assert band.get_x() == pytest.approx(found), "the interval of the reference runs through"
    assert texts(panels[2]) == ["clean", "100%", "50%", "31%"] and panels[0].get_ylim()[0] > panels[0].get_ylim()[1]


def test_a_map_of_names_keeps_their_order_and_frames_what_it_is_told():
    cells = pd.concat([table(0 if out == kind else share, out=out, kind=kind) for out in ("nothing", "tools", "care")
                       for kind, share in (("tools", 0.4), ("care", 0.9))])  # fmt: skip
    panel = heatmaps.heatmap(
        cells, "follows", "Left out", x="kind", y="out", xlabel="x", ylabel="y", framed=[("care", "care")]
    )
    assert [label.get_text() for label in panel.get_yticklabels()] == ["nothing", "tools", "care"]
    assert [label.get_text() for label in panel.get_xticklabels()] == ["tools", "care"]
    assert [text.split("%")[0] for text in texts(panel)] == ["40", "90", "0", "90", "40", "0"]
    assert [patch.get_xy() for patch in panel.patches] == [(1, 2)]
