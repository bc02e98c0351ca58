"""Heat maps write what the tables hold; their shades span what is shown."""

import numpy as np
import pandas as pd
import pytest

from workbench.evaluate import stats
from workbench.plots import heatmaps

pytestmark = pytest.mark.usefixtures("pictures")


def table(share, prompts=40, **labels):
    """Scores of two seeds: the given share of prompts follows, half of those are right."""
    place = np.arange(prompts) / prompts
    scores = pd.DataFrame({"index": np.arange(prompts), "follows": place < share, "correct": place < share / 2})
    return pd.concat([scores.assign(seed=seed, **labels) for seed in (0, 1)], ignore_index=True)


def texts(panel):
    return [text.get_text() for text in panel.texts]


def test_a_map_writes_every_share_with_its_interval_and_the_most_pairs_on_top():
    cells = pd.concat([table(share, size=size, noise=noise) for size, noise, share in
                       [(25, 0.0, 0.4), (25, 0.6, 0.1), (400, 0.0, 0.9), (400, 0.6, 0.5)]])  # fmt: skip
    panel = heatmaps.heatmap(cells, "follows", "Noise", x="noise", xlabel="junk", ylabel="pairs")
    cell = 100 * stats.intervals(cells, "follows", ["size", "noise"])
    wanted = [(400, 0.0, 90), (400, 0.6, 50), (25, 0.0, 40), (25, 0.6, 10)]
    assert texts(panel) == [
        f"{share}%\n[{cell['low'][size, noise]:.0f}, {cell['high'][size, noise]:.0f}]" for size, noise, share in wanted
    ]
    assert [label.get_text() for label in panel.get_yticklabels()] == ["400", "25"]
    assert panel.collections[0].get_array().flatten().tolist() == pytest.approx([90, 50, 40, 10])


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


def shades(panel):
    return panel.collections[0].get_clim()


def test_shades_span_the_shares_that_are_shown_but_never_less_than_twenty_points():
    wide = pd.concat([table(share, size=size, noise=0.0) for size, share in ((25, 0.2), (100, 0.9))])
    assert shades(heatmaps.heatmap(wide, "follows", "Wide", x="noise", xlabel="x", ylabel="y")) == pytest.approx(
        (20, 90)
    )
    close = pd.concat([table(share, size=size, noise=0.0) for size, share in ((25, 0.50), (100, 0.55))])
    assert shades(heatmaps.heatmap(close, "follows", "Close", x="noise", xlabel="x", ylabel="y")) == pytest.approx(
        (42.5, 62.5)
    )


def by_model(**shares):
    parts = []
    for model, tasks in shares.items():
        for task, share in tasks.items():
            parts.append(table(share).rename(columns={"follows": "value"}).assign(model=model, task=task))
    return pd.concat(parts, ignore_index=True)


def test_the_best_of_a_column_is_framed_only_where_no_other_interval_reaches_it():
    found = by_model(base={"topics": 0.0, "facts": 0.9}, classifier={"topics": 0.9, "facts": 0.85})
    panel = heatmaps.matrix(found, {"topics": "topics", "facts": "facts"}, "Each its own")
    assert [patch.get_xy() for patch in panel.patches] == [(0, 1)], "0.9 against 0.85 of 40 prompts says nothing"
    assert [text.get_text().split("%")[0] for text in panel.texts] == ["0", "90", "90", "85"]


def test_of_losses_the_lowest_is_best_and_shown_as_perplexity():
    found = by_model(base={"poems": 0.0}, adapted={"poems": 0.0})
    found["value"] = np.where(found["model"] == "base", 2.0, 1.0) + 0.01 * (found["index"] % 3)
    panel = heatmaps.matrix(found, {"poems": "poems"}, "Lower", perplexity=["poems"])
    assert [patch.get_xy() for patch in panel.patches] == [(0, 1)]
    assert [text.get_text().split("\n")[0] for text in panel.texts] == ["7.5", "2.7"]
