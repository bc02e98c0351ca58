"""Tables of scores to draw, and what a picture of intervals holds."""

import numpy as np
import pandas as pd


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
    """Estimates, in percent, of each series from top to bottom, by label."""
    return {bars.get_label(): bars.lines[0].get_xdata().tolist() for bars in panel.containers}


def ends(panel, series):
    """Left and right ends, in percent, of each interval of a series."""
    (bars,) = (bars for bars in panel.containers if bars.get_label() == series)
    return [(segment[0, 0], segment[1, 0]) for segment in bars.lines[2][0].get_segments()]


def names(panel):
    return [label.get_text() for label in panel.get_yticklabels()]


def rows_of(panel, series):
    """The row in which each mark of a series lies."""
    (bars,) = (bars for bars in panel.containers if bars.get_label() == series)
    middles = panel.get_yticks()
    return [names(panel)[np.abs(middles - height).argmin()] for height in bars.lines[0].get_ydata()]
