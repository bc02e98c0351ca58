"""Draw estimates with their intervals: one function for rows × series × panels, and titles that say no more than the evidence does."""

import textwrap
from collections.abc import Collection, Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from workbench.evaluate import stats
from workbench.experiments import claims
from workbench.plots.style import (
    FAINT,
    GRID,
    HEADING,
    INK,
    MODEL_ORDER,
    STRIPE,
    WIDTH,
    add_title,
    model_kind,
    model_style,
)

UNITS = {"length": "tokens", "loss": "nats per token", "drift": "nats per token"}
"""Of the columns that are no shares; other names are units themselves, such as "pairs"."""

MARKS = {"linestyle": "", "markersize": 7.5, "markeredgewidth": 1.6, "elinewidth": 2.4}


def verdict_title(statement: str, effect: stats.Interval, region: claims.Region) -> str:
    """Return a title that says no more than the evidence does, with the effect and its interval.

    Args:
        statement: what the picture shows if the effect lies in the region, such as "DPO admits more often that it cannot know".
        effect: a share, a difference of shares, or another number with its interval.
        region: the effects for which the statement is true, such as ``more_than(0)``: as for a claim.

    Returns:
        The statement, after "Inconclusive:" or "Not confirmed:" where its verdict is not "holds", and the effect in percent, in points
        (a difference of shares), or in its own unit.
    """
    begin = {claims.HOLDS: "", claims.FAILS: "Not confirmed: ", claims.INCONCLUSIVE: "Inconclusive: "}[
        region.verdict(effect)
    ]
    difference, ends = effect.unit.startswith("difference"), (effect.low, effect.estimate, effect.high)
    if effect.unit.endswith(("share", "spread")):  # a spread is the share of pairs of wordings that disagree
        scale, digits, what = 100, 0, " points" if difference else "%"
    else:
        name = effect.unit.removeprefix("difference in ")
        scale, digits, what = 1, 0 if max(map(abs, ends)) >= 10 else 2, f" {UNITS.get(name, name)}"
    low, middle, high = (f"{scale * value:{'+' if difference else '-'}z.{digits}f}" for value in ends)
    return f"{begin}{statement}, {middle}{what} [{low}, {high}]"


def intervals(
    found: pd.DataFrame,
    title: str,
    *,
    row: str,
    series: str | None = None,
    panel: str | None = None,
    headings: Mapping[str, str] | None = None,
    scale: str = "share",
    unit: str = "share of prompts",
    models: str = "series",
    numbered: Collection[str] = (),
    reference: str | None = None,
    notes: pd.DataFrame | None = None,
) -> np.ndarray:
    """Draw every estimate of a tidy table as a mark with its 95% interval.

    Rows, series and panels come in the order in which the table has them.

    Args:
        found: columns `estimate`, `low` and `high` (shares, or differences of shares), and those that are named here.
        row: column whose values are the rows.
        series: column whose values are drawn beside each other in each row, with a legend; None: one mark per row.
        panel: column whose values are drawn in panels side by side.
        headings: value of `panel` → heading; names the panels to show, in order.
        scale: "share" shows 0 to 100%, "zoom" the part of it that the data need, "points" differences around zero.
        unit: what the horizontal axis measures.
        models: "series" or "panel": the one that holds the models, which gives the colours.
        numbered: rows whose estimates are written out.
        reference: row whose interval runs through the panel as a band.
        notes: text beside the rows, one column each, with the rows as its index.

    Returns:
        The Axes of the panels.
    """
    rows = [*dict.fromkeys(found[row])]
    names = [*dict.fromkeys(found[series or row])]
    panels = [*(headings or dict.fromkeys(found[panel]))] if panel else [""]
    slots = len(names) if series else 1
    # In inches, from the top down; the row of numbers is higher, so that they do not lie on each other.
    heights = [0.24 * (slots + 1) if name in numbered else max(0.4, 0.14 * (slots + 1)) for name in rows]
    edges = np.concatenate([[0], np.cumsum(heights)])
    beside = [] if notes is None else [1.3 * len(notes.columns)]
    figure, axes = plt.subplots(
        1, len(panels) + len(beside), sharey=True, figsize=(WIDTH, edges[-1] + (1.05 if panel else 0.75)),
        layout="constrained", squeeze=False, width_ratios=[3] * len(panels) + beside,
    )  # fmt: skip
    drawn = axes[0][: len(panels)]
    for axis, shown in zip(drawn, panels, strict=True):
        part = found[found[panel] == shown] if panel else found
        for bottom, top in zip(edges[:-1:2], edges[1::2], strict=True):
            axis.axhspan(bottom, top, color=STRIPE, zorder=0)
        if reference:
            low, high = part.loc[part[row] == reference, ["low", "high"]].to_numpy()[0]
            axis.axvspan(100 * low, 100 * high, color="#dde1e6", zorder=0.5)
        looks = _looks(names, shown if models == "panel" else None, bool(series))
        for place, (name, look) in enumerate(looks.items()):
            slot = (place + 1 if series else 1) / (slots + 1)
            heights_of = {label: top + height * slot for label, top, height in zip(rows, edges, heights, strict=False)}
            _draw(axis, part[part[series or row] == name], row, heights_of, name, look, numbered)
        axis.set_title((headings or {}).get(shown, shown), **HEADING)
        axis.set_ylim(edges[-1], 0)
        axis.grid(axis="x", **GRID)
        axis.set_axisbelow(True)
        axis.tick_params(axis="y", length=0)
        sns.despine(ax=axis, left=True, bottom=True)
    _scale(drawn, scale)
    middles = (edges[1:] + edges[:-1]) / 2
    drawn[0].set_yticks(middles, [textwrap.fill(str(name), 28, break_on_hyphens=False) for name in rows])
    for label, name in zip(drawn[0].get_yticklabels(), rows, strict=True):
        label.set_fontweight("bold" if name in {*numbered, reference} else "normal")
    if notes is not None:
        _write_notes(axes[0][-1], notes.loc[rows], middles)
    band = f"; the band is that of {reference}" if reference else ""
    figure.supxlabel(f"{unit}, with 95% intervals{band}", fontsize=12, color=FAINT)
    add_title(figure, title, _handles(looks, grey=models == "panel") if series else ())
    return drawn


def _looks(names: Sequence[str], model: str | None, series: bool) -> dict[str, dict]:
    """Return the marks of every series: in their models' colours, or filled and hollow in the colour of the panel's one model."""
    if model is not None:
        colour = model_style([model])[model]["color"]
        return {name: {"color": colour, "marker": marker, "markerfacecolor": face}
                for name, marker, face in zip(names, "oDs", (colour, "white", "white"), strict=False)}  # fmt: skip
    if series:
        return model_style(names)
    # Rows without a series: what names no model is a tuned model, such as one trained on another choice of rows.
    colours = (MODEL_ORDER[model_kind(name) or "SFT"] for name in names)
    return {name: {"color": colour, "marker": marker} for name, (colour, marker) in zip(names, colours, strict=True)}


def _draw(
    axis: Axes, part: pd.DataFrame, row: str, heights: dict, name: str, look: dict, numbered: Collection[str]
) -> None:
    """Draw the marks of one series; write out the estimates of the rows `numbered`."""
    middle, low, high = (100 * part[key].to_numpy() for key in ("estimate", "low", "high"))
    axis.errorbar(middle, part[row].map(heights), xerr=[middle - low, high - middle], label=name, **MARKS, **look)
    for at in np.flatnonzero(part[row].isin(numbered)):
        left = middle[at] > 50
        axis.annotate(f"{middle[at]:.0f}%", ((low if left else high)[at], heights[part[row].iloc[at]]), (-8 if left else 8, 0),
                      textcoords="offset points", va="center_baseline", ha="right" if left else "left",
                      fontsize=12, fontweight="bold")  # fmt: skip


def _scale(panels: Sequence[Axes], scale: str) -> None:
    """Give all panels one horizontal scale, so that equal distances are equal effects."""
    ends = np.array([panel.get_xlim() for panel in panels])
    for panel in panels:
        panel.set_xlim(ends.min(), ends.max())
        panel.xaxis.set_major_formatter(lambda value, _: f"{value:.0f}%")
        if scale == "share":
            panel.set_xlim(-3, 103)
            step = 25 if len(panels) < 4 else 50  # the numbers of narrow panels would run into each other
            ticks = range(0, 100, step)
            panel.set_xticks([*ticks, 100], [*map(str, ticks), "100%"])
        elif scale == "points":
            panel.axvline(0, color=INK, linewidth=1.2)
            panel.xaxis.set_major_formatter(lambda value, _: f"{value:+.0f}" if value else "0")


def _write_notes(axis: Axes, notes: pd.DataFrame, heights: Sequence[float]) -> None:
    axis.axis("off")
    for column, (heading, texts) in enumerate(notes.items(), start=1):
        place = column / len(notes.columns)
        axis.text(place, 1.02, heading, transform=axis.transAxes, ha="right", va="bottom", fontsize=12, color=FAINT)
        for text, height in zip(texts, heights, strict=True):
            axis.text(
                place, height, str(text), ha="right", va="center", fontsize=12, transform=axis.get_yaxis_transform()
            )


def _handles(looks: dict[str, dict], grey: bool) -> list[Line2D]:
    """Return the marks of the legend; in grey where every panel has a colour of its own."""
    handles = []
    for place, (name, look) in enumerate(looks.items()):
        if grey:
            look = {**look, "color": FAINT, "markerfacecolor": "white" if place else FAINT}
        handles.append(Line2D([], [], label=name, linewidth=2.4, markersize=7.5, markeredgewidth=1.6, **look))
    return handles
