"""Pictures of preference trainings: what each setting gained against what it cost, and what became of both answers."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from workbench.charts import GRID, label
from workbench.plots import FAINT, INK, looks
from workbench.runs import Run


def tradeoff(
    tidy: pd.DataFrame, x: str, panels: dict[str, str], title: str, xlabel: str, start: dict[str, float]
) -> np.ndarray:
    """What each setting gained against what it cost: a labelled dot a setting, a panel for each score, a logarithmic `x`.

    Args:
        tidy: a row a setting: model (its name), `x`, and the scores, shares.
        panels: score → heading.
        start: the scores before the training, level lines.
    """
    figure, axes = plt.subplots(1, len(panels), sharex=True, figsize=(9, 4.4), layout="constrained")
    style = looks(tidy["model"])
    for panel, (column, heading) in zip(axes, panels.items(), strict=True):
        for point in tidy.itertuples():
            height = 100 * getattr(point, column)
            panel.plot(getattr(point, x), height, markersize=8, linestyle="", **style[point.model])
            panel.annotate(point.model, (getattr(point, x), height), (7, 4), textcoords="offset points", fontsize=11)
        panel.axhline(100 * start[column], color=FAINT, linewidth=1.2, linestyle="--")
        panel.set_title(heading, fontsize=13, fontweight="normal", color=INK, pad=6)
        panel.set(xscale="log", xlabel=xlabel)
        panel.margins(0.22, 0.12)
        panel.yaxis.set_major_formatter(lambda value, _: f"{value:.0f}%")
        panel.grid(axis="y", **GRID)
    figure.suptitle(title, x=0.01, ha="left", fontsize=16, fontweight="bold")
    return axes


def likelihoods(panels: dict[str, Sequence[Run]], title: str) -> np.ndarray:
    """How much likelier chosen and rejected answers get than under the model that a preference training began from; a thin line a run."""
    figure, axes = plt.subplots(1, len(panels), sharey=True, figsize=(9, 4.2), layout="constrained")
    for panel, (heading, runs) in zip(axes, panels.items(), strict=True):
        ends = []
        for side, colour in (("chosen", "#1f77c4"), ("rejected", "#6b1d2a")):
            lines = pd.DataFrame(
                {i: run.log.set_index("step")[f"rewards/{side}"] / run.spec["beta"] for i, run in enumerate(runs)}
            )
            panel.plot(lines.index, lines, color=colour, alpha=0.3, linewidth=1)
            panel.plot(lines.index, lines.mean(axis=1), color=colour)
            ends.append((lines.mean(axis=1).iloc[-1], side, colour, lines.index[-1]))
        panel.axhline(0, color=FAINT, linewidth=1.2, linestyle="--")
        panel.set_title(heading, fontsize=13, fontweight="normal", color=INK, pad=6)
        panel.set_xlabel("optimizer steps")
        panel.grid(axis="y", **GRID)
        label(panel, ends)
    axes[0].set_ylabel("log-probability against SFT,\nnats an answer")
    figure.suptitle(title, x=0.01, ha="left", fontsize=16, fontweight="bold")
    return axes
