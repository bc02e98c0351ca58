"""Pictures of what ways of asking cost: effects against a reference, and how far the wording decides."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from workbench.charts import GRID
from workbench.plots import FAINT, INK, looks


def effects(
    found: pd.DataFrame, title: str, *, reference: dict[str, str], headings: dict[str, str] | None = None
) -> np.ndarray:
    """What each way costs or brings, in points, a panel for each model: a row a way, the dearest for the last model on top.

    Filled marks are the form (follows), hollow ones the content (correct).

    Args:
        found: of :func:`workbench.ways.effects`.
        reference: model → its way of reference, which the zero line stands for and which the panel's heading names.
        headings: model → heading of its panel, where the model's name is not enough.
    """
    shown = list(reference)
    dear = found[(found["model"] == shown[-1]) & (found["column"] == "follows")].set_index("way")["estimate"]
    rest = found.groupby("way", sort=False)["estimate"].min().drop(dear.index)
    rows = [*rest.sort_values().index, *dear.sort_values(kind="stable").index]
    figure, axes = plt.subplots(1, len(shown), sharex=True, sharey=True, figsize=(9, 0.46 * len(rows) + 2.1),
                                layout="constrained")  # fmt: skip
    colours = {name: marks["color"] for name, marks in looks(shown).items()}
    for panel, model in zip(axes, shown, strict=True):
        for column, shift, face in (("follows", -0.16, colours[model]), ("correct", 0.16, "white")):
            part = found[(found["model"] == model) & (found["column"] == column)].set_index("way")
            middle, low, high = (100 * part[key] for key in ("estimate", "low", "high"))
            panel.errorbar(middle, [rows.index(way) + shift for way in part.index], xerr=[middle - low, high - middle],
                           linestyle="", marker="o" if column == "follows" else "D", markersize=7, color=colours[model],
                           markerfacecolor=face, markeredgewidth=1.6, elinewidth=2.2)  # fmt: skip
        for row in range(0, len(rows), 2):
            panel.axhspan(row - 0.5, row + 0.5, color="#f3f4f6", zorder=0)
        if reference[model] in rows:
            panel.text(-2, rows.index(reference[model]), "reference", ha="right", va="center", fontsize=12, color=FAINT)
        panel.axvline(0, color=INK, linewidth=1.2)
        panel.set_title((headings or {}).get(model, model), fontsize=13, fontweight="normal", color=INK, pad=6)
        panel.xaxis.set_major_formatter(lambda value, _: f"{value:+.0f}".replace("+0", "0"))
        panel.set_xlabel("points, with 95% intervals")
        panel.grid(axis="x", **GRID)
        panel.tick_params(axis="y", length=0)
        sns.despine(ax=panel, left=True, bottom=True)
    axes[0].set_yticks(range(len(rows)), rows)
    axes[0].set_ylim(len(rows) - 0.5, -0.5)
    marks = [axes[0].plot([], [], linestyle="", marker=marker, color=FAINT, markerfacecolor=face, markeredgewidth=1.6)[0]
             for marker, face in (("o", FAINT), ("D", "white"))]  # fmt: skip
    figure.legend(marks, ["follows the instruction", "is right"], loc="outside lower center", ncols=2)
    figure.suptitle(title, x=0.01, ha="left", fontsize=16, fontweight="bold")
    return axes


def outcomes(tables: dict[str, pd.DataFrame], title: str) -> Axes:
    """How many requests come out right in every wording, in some, in none: a bar for each table of :func:`workbench.ways.by_item`."""
    _, panel = plt.subplots(figsize=(9, 0.62 * len(tables) + 1.7), layout="constrained")
    kinds = {
        "right in every wording": lambda right: right == 1,
        "it depends on the wording": lambda right: (right > 0) & (right < 1),
        "in none": lambda right: right == 0,
    }
    for row, (name, table) in enumerate(tables.items()):
        start, colour = 0.0, looks(tables)[name]["color"]
        for strength, is_kind in zip((1, 0.45, 0.12), kinds.values(), strict=True):
            width = 100 * is_kind(table["correct"]).mean()
            panel.barh(row, width, left=start, height=0.62, color=colour, alpha=strength, edgecolor="white")
            if width > 4:
                panel.text(start + width / 2, row, f"{width:.0f}%", ha="center", va="center", fontweight="bold",
                           color="white" if strength == 1 else INK)  # fmt: skip
            start += width
    panel.set_yticks(range(len(tables)), tables)
    panel.invert_yaxis()
    panel.set(xlim=(0, 100), xlabel="share of requests", title=title)
    panel.xaxis.set_major_formatter(lambda value, _: f"{value:.0f}%")
    panel.tick_params(axis="y", length=0)
    sns.despine(ax=panel, left=True)
    handles = [plt.Rectangle((0, 0), 1, 1, color=FAINT, alpha=strength) for strength in (1, 0.45, 0.12)]
    panel.figure.legend(handles, list(kinds), loc="outside lower center", ncols=3)
    return panel
