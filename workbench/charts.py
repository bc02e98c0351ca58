"""Pictures of ablations: curves over size, a map of size and noise, a ranking. One message each, intervals drawn."""

from collections.abc import Iterable, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from pandas.api.types import is_numeric_dtype

from workbench.curves import Curve
from workbench.evaluate import estimate, interval
from workbench.plots import FAINT, INK, looks

GRID = {"color": "#dfe2e6", "linewidth": 0.8}


def curves(
    panels: dict[str, dict[str, pd.DataFrame]],
    column: str,
    title: str,
    *,
    x: str = "size",
    unit: str = "training pairs",
    fits: dict[str, Curve] | None = None,
) -> np.ndarray:
    """Shares over size, a panel for each entry and a line for each table in it; the name of a line stands at its end.

    Args:
        panels: panel → line → table of :func:`workbench.ablate.grid`.
        column: the score on the vertical axis, a share.
        fits: panel → fitted curve, drawn dotted.
    """
    figure, axes = plt.subplots(1, len(panels), sharey=True, figsize=(9, 4.6), layout="constrained", squeeze=False)
    style = looks(dict.fromkeys(name for lines in panels.values() for name in lines))
    for panel, (heading, lines) in zip(axes[0], panels.items(), strict=True):
        ends = []
        for name, table in lines.items():
            points = 100 * interval(table, column, x)[["estimate", "low", "high"]].sort_index()
            marks = style[name]
            panel.fill_between(points.index, points["low"], points["high"], color=marks["color"], alpha=0.15, lw=0)
            panel.plot(points.index, points["estimate"], **marks, markersize=6)
            ends.append((points["estimate"].iloc[-1], name, marks["color"], points.index.max()))
        if fits and heading in fits:
            sizes = np.geomspace(fits[heading].first, fits[heading].last, 50)
            panel.plot(sizes, 100 * fits[heading](sizes), color=INK, linewidth=1, linestyle=(0, (2, 2)))
        _log(panel, sorted({size for table in lines.values() for size in table[x].unique()}), unit)
        panel.set_title(heading, fontsize=13, fontweight="normal", color=INK, pad=6)
        panel.set_ylim(0, 102)
        panel.set_yticks([0, 25, 50, 75, 100], ["0", "25", "50", "75", "100%"])
        panel.grid(axis="y", **GRID)
        label(panel, ends)
    figure.suptitle(title, x=0.01, ha="left", fontsize=16, fontweight="bold")
    return axes[0]


def values(
    lines: dict[str, pd.Series], title: str, ylabel: str, *, unit: str = "training pairs", base: float | None = None
) -> Axes:
    """A number a size, such as a loss; each series has a number a run and the size as its index. A dot a run, a line through the means.

    Args:
        base: the same of the untuned model, a level line.
    """
    _, panel = plt.subplots(figsize=(7.5, 4.2), layout="constrained")
    ends = []
    for (name, series), marks in zip(lines.items(), looks(lines).values(), strict=True):
        means = series.groupby(level=0).mean()
        panel.plot(series.index, series, linestyle="", marker="o", markersize=4, alpha=0.5, color=marks["color"])
        panel.plot(means.index, means, color=marks["color"])
        ends.append((means.iloc[-1], name, marks["color"], means.index.max()))
    sizes = sorted({size for series in lines.values() for size in series.index})
    if base is not None:
        panel.axhline(base, color=FAINT, linewidth=1.2, linestyle="--")
        panel.annotate("base model", (sizes[0], base), (0, 5), textcoords="offset points", color=FAINT)
    label(panel, ends)
    _log(panel, sizes, unit)
    panel.set(title=title, ylabel=ylabel)
    panel.grid(axis="y", **GRID)
    return panel


def heat(
    table: pd.DataFrame,
    column: str,
    title: str,
    *,
    x: str,
    y: str = "size",
    xlabel: str,
    ylabel: str,
    framed: Iterable[tuple[str, str]] = (),
) -> Axes:
    """A share for each pair of `x` and `y`, with half the width of its interval below it.

    Numbers rise to the right and upwards; names stand in the order in which the table has them.

    Args:
        framed: pairs of `y` and `x` that get a frame, such as the diagonal.
    """
    cells = interval(table, column, [y, x])
    shares = 100 * cells["estimate"].unstack()
    names = not is_numeric_dtype(table[y])
    shares = shares.reindex(index=table[y].unique()) if names else shares.sort_index(ascending=False)
    if not is_numeric_dtype(table[x]):
        shares = shares[table[x].unique()]
    half = 50 * (cells["high"] - cells["low"]).unstack().reindex_like(shares)
    texts = shares.map("{:.0f}%".format) + half.map("\n± {:.0f}".format)
    _, panel = plt.subplots(figsize=(1.5 * shares.shape[1] + 2.2, 1.05 * shares.shape[0] + 1.4), layout="constrained")
    sns.heatmap(
        shares, annot=texts, fmt="", vmin=0, vmax=100, cmap="Blues", linewidths=2, cbar=False, ax=panel,
        annot_kws={"fontsize": 13},
    )  # fmt: skip
    for row, place in framed:
        corner = shares.columns.get_loc(place), shares.index.get_loc(row)
        panel.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor=INK, linewidth=2.5, clip_on=False))
    panel.set(title=title, xlabel=xlabel, ylabel=ylabel)
    panel.tick_params(length=0)
    panel.set_yticklabels(panel.get_yticklabels(), rotation=0)
    return panel


def matrix(table: pd.DataFrame, aims: dict[str, str], title: str, *, perplexity: Sequence[str] = ()) -> Axes:
    """Ways of tuning by aims: the value and its interval in each cell, the best of a column outlined and darkest.

    Shares are shaded in proportion to the best of their column, perplexities from the worst to the best on a log scale.

    Args:
        table: of :func:`workbench.aims.best`: way, aim, seed, index, prompt, value.
        aims: aim → heading of its column, in order.
        perplexity: aims whose value is a loss in nats a token; shown as its exponential, lower is better.
    """
    found = interval(table, "value", ["way", "aim"])[["estimate", "low", "high"]]
    shades, texts, winners = {}, {}, []
    for aim, heading in aims.items():
        column = found.xs(aim, level="aim")
        if aim in perplexity:
            worst, leader = column["estimate"].max(), column["estimate"].min()
            shades[heading] = (worst - column["estimate"]) / (worst - leader)
            texts[heading] = [f"{v:.1f}\n[{low:.1f}, {high:.1f}]" for v, low, high in np.exp(column).to_numpy()]
        else:
            shades[heading] = column["estimate"] / max(column["estimate"].max(), 1e-9)
            texts[heading] = [f"{v:.0f}%\n[{low:.0f}, {high:.0f}]" for v, low, high in (100 * column).to_numpy()]
        winners.append((len(winners), int(shades[heading].argmax())))
    shades = pd.DataFrame(shades)
    _, panel = plt.subplots(figsize=(9, 0.78 * len(shades) + 1.5), layout="constrained")
    sns.heatmap(
        shades, annot=pd.DataFrame(texts, index=shades.index), fmt="", vmin=0, vmax=1.1, cmap="Blues", linewidths=2,
        cbar=False, ax=panel, annot_kws={"fontsize": 12},
    )  # fmt: skip
    for place in winners:
        panel.add_patch(Rectangle(place, 1, 1, fill=False, edgecolor=INK, linewidth=2.5, clip_on=False, zorder=3))
    panel.set(xlabel="", ylabel="")
    panel.set_title(title, loc="left", x=-0.28, pad=14)
    panel.xaxis.tick_top()
    panel.tick_params(length=0)
    panel.set_yticklabels(panel.get_yticklabels(), rotation=0)
    return panel


def ranking(
    tables: dict[str, pd.DataFrame],
    columns: dict[str, str],
    title: str,
    *,
    reference: str | None = None,
    notes: pd.DataFrame | None = None,
    unit: str = "share of prompts",
) -> np.ndarray:
    """A row for each table, the best on top, a panel for each score; the interval of `reference` runs through as a band.

    Args:
        columns: score → heading of its panel; the first one gives the order.
        notes: text or numbers beside the rows, a column each, such as what a selector's choice consists of.
    """
    first = next(iter(columns))
    order = sorted(tables, key=lambda name: tables[name][first].mean(), reverse=True)
    extra = 0 if notes is None else len(notes.columns)
    figure, axes = plt.subplots(
        1, len(columns) + bool(extra), sharey=True, figsize=(9, 0.42 * len(order) + 1.7), layout="constrained",
        width_ratios=[3] * len(columns) + [1.3 * extra] * bool(extra),
    )  # fmt: skip
    for panel, (column, heading) in zip(axes, columns.items(), strict=False):
        for row, name in enumerate(order):
            found = estimate(tables[name], column)
            colour = INK if name == reference else "#1f77c4"
            low, middle, high = (100 * value for value in (found.low, found.estimate, found.high))
            if name == reference:
                panel.axvspan(low, high, color="#e9ebee", zorder=0)
            panel.errorbar(
                middle, row, xerr=[[middle - low], [high - middle]], marker="o", color=colour, elinewidth=2.4
            )
        panel.set_title(heading, fontsize=13, fontweight="normal", color=INK, pad=6)
        panel.xaxis.set_major_formatter(lambda value, _: f"{value:.0f}%")
        panel.grid(axis="x", **GRID)
        panel.tick_params(axis="y", length=0)
        sns.despine(ax=panel, left=True, bottom=True)
    axes[0].set_yticks(range(len(order)), order)
    axes[0].set_ylim(len(order) - 0.4, -0.6)
    if extra:
        axes[-1].axis("off")
        for place, (heading, texts) in enumerate(notes.items()):
            axes[-1].text((place + 1) / extra, 1.02, heading, transform=axes[-1].transAxes, ha="right", va="bottom",
                          fontsize=11, color=FAINT)  # fmt: skip
            for row, name in enumerate(order):
                axes[-1].text((place + 1) / extra, row, str(texts[name]), ha="right", va="center", fontsize=12,
                              transform=axes[-1].get_yaxis_transform())  # fmt: skip
    figure.supxlabel(f"{unit}, with 95% intervals", fontsize=12, color=FAINT)
    figure.suptitle(title, x=0.01, ha="left", fontsize=16, fontweight="bold")
    return axes


def dots(tidy: pd.DataFrame, row: str, title: str, unit: str = "share of prompts") -> Axes:
    """A row for each value of the column `row`, a dot with its interval for each model in it.

    Args:
        tidy: columns model, estimate, low, high and `row`; models and rows come in the order of the table.
    """
    rows, style = list(dict.fromkeys(tidy[row])), looks(dict.fromkeys(tidy["model"]))
    pitch = 0.2 + 0.14 * len(style)
    _, panel = plt.subplots(figsize=(9, pitch * len(rows) + 1.7), layout="constrained")
    for place in range(0, len(rows), 2):
        panel.axhspan(place - 0.5, place + 0.5, color="#f3f4f6", zorder=0)
    for shift, (name, marks) in zip(np.linspace(-0.27, 0.27, len(style)), style.items(), strict=True):
        part = tidy[tidy["model"] == name].set_index(row).loc[rows]
        middle, low, high = (100 * part[key] for key in ("estimate", "low", "high"))
        panel.errorbar(middle, np.arange(len(rows)) + shift, xerr=[middle - low, high - middle], label=name, linestyle="",
                       markersize=7.5, markeredgewidth=1.6, elinewidth=2.4, **marks)  # fmt: skip
    panel.set(xlim=(-2, 102), ylim=(len(rows) - 0.5, -0.5), xlabel=f"{unit}, with 95% intervals")
    panel.set_yticks(range(len(rows)), rows)
    panel.xaxis.set_major_formatter(lambda value, _: f"{value:.0f}%")
    panel.grid(axis="x", **GRID)
    panel.tick_params(axis="y", length=0)
    panel.figure.legend(loc="outside upper left", ncols=len(style), handletextpad=0.2, columnspacing=1.4)
    panel.figure.suptitle(title, x=0.01, ha="left", fontsize=16, fontweight="bold")
    sns.despine(ax=panel, left=True, bottom=True)
    return panel


def _log(panel: Axes, sizes: Sequence[float], unit: str) -> None:
    panel.set_xscale("log")
    panel.set_xticks(sizes, [f"{size:g}" for size in sizes])
    panel.minorticks_off()
    panel.set_xlabel(unit)


def label(panel: Axes, ends: list[tuple[float, str, str, float]], apart: float = 0.06) -> None:
    """Names at the ends of their lines, moved apart where they would lie on each other."""
    low, high = panel.get_ylim()
    gap, taken = apart * (high - low), -np.inf
    for height, name, colour, x in sorted(ends):
        taken = max(height, taken + gap)
        panel.annotate(
            name,
            (x, taken),
            (8, 0),
            textcoords="offset points",
            va="center",
            color=colour,
            fontsize=12,
            fontweight="bold",
        )
