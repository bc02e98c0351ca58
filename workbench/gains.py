"""Pictures of preference trainings: what became of chosen and rejected answers."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from workbench.charts import GRID, label
from workbench.plots import FAINT, INK
from workbench.runs import Run


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
        panel.xaxis.get_major_locator().set_params(integer=True)
        panel.grid(axis="y", **GRID)
        label(panel, ends)
    axes[0].set_ylabel("log-probability against SFT,\nnats an answer")
    figure.suptitle(title, x=0.01, ha="left", fontsize=16, fontweight="bold")
    return axes
