"""Pictures of ablations: curves over size, a map of size and noise, a ranking. One message each, intervals drawn."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from workbench.errors import InputError
from workbench.evaluate import stats
from workbench.evaluate.curves import Curve
from workbench.plots.style import FAINT, GRID, INK, MODEL_ORDER, model_style
from workbench.store import Run


def training_curve(log: pd.DataFrame, scores: dict | None = None, title: str | None = None) -> Axes:
    """Loss against tokens trained; with `scores` of a run, also the loss on held-out rows before and after.

    Args:
        log: of a run: columns `num_tokens` and `loss` (nats a token), as TRL's trainer logs them.
        scores: of a run: `held_out_before` and `held_out_after` (nats a token), or None for each.
        title: the message; None states what the loss does.
    """
    log = log.dropna(subset=["loss", "num_tokens"])
    if log.empty:
        raise InputError("the training log holds no loss to draw; was anything logged?")
    _, panel = plt.subplots(figsize=(7.5, 4.2), layout="constrained")
    tokens = log["num_tokens"] / 1000
    panel.plot(tokens, log["loss"], color=MODEL_ORDER["SFT"][0], alpha=0.3, linewidth=1.2)
    # The loss of one step is the loss of its batch: the eye needs the mean of several to see where it goes.
    window = max(1, len(log) // 30)
    smooth = log["loss"].rolling(window, center=True, min_periods=1).mean()
    panel.plot(
        tokens, smooth, color=MODEL_ORDER["SFT"][0], label="training rows" + f", mean of {window} steps" * (window > 1)
    )
    start, end = log["loss"].iloc[0], smooth.iloc[-1]
    message = _change("Loss on the training rows", start, end)
    held = [(scores or {}).get(key) for key in ("held_out_before", "held_out_after")]
    if None not in held:
        panel.plot(
            [0, tokens.iloc[-1]],
            held,
            "D",
            color=INK,
            markersize=8,
            label="held-out rows, before and after",
            clip_on=False,
        )
        for x, y, side in zip([0, tokens.iloc[-1]], held, ("left", "right"), strict=True):
            panel.annotate(f"{y:.2f}", (x, y), (8 if side == "left" else -8, 8), textcoords="offset points", ha=side)
        message = _change("Loss on held-out rows", *held)
    panel.set(xlabel="tokens trained, thousands", ylabel="loss, nats a token", title=title or message, ylim=(0, None))
    panel.set_xlim(0, None)
    panel.grid(axis="y", color="#dfe2e6", linewidth=0.8)
    panel.legend(loc="upper right")
    return panel


def _change(what: str, before: float, after: float) -> str:
    return f"{what} {'falls' if after < before else 'rises'} from {before:.2f} to {after:.2f}"


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
        panels: panel → line → table of :func:`workbench.experiments.grid.run_grid`.
        column: the score on the vertical axis, a share.
        fits: panel → fitted curve, drawn dotted.
    """
    figure, axes = plt.subplots(1, len(panels), sharey=True, figsize=(9, 4.6), layout="constrained", squeeze=False)
    style = model_style(dict.fromkeys(name for lines in panels.values() for name in lines))
    for panel, (heading, lines) in zip(axes[0], panels.items(), strict=True):
        ends = []
        for name, table in lines.items():
            points = 100 * stats.intervals(table, column, x)[["estimate", "low", "high"]].sort_index()
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
        label_ends(panel, ends)
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
    for (name, series), marks in zip(lines.items(), model_style(lines).values(), strict=True):
        means = series.groupby(level=0).mean()
        panel.plot(series.index, series, linestyle="", marker="o", markersize=4, alpha=0.5, color=marks["color"])
        panel.plot(means.index, means, color=marks["color"])
        ends.append((means.iloc[-1], name, marks["color"], means.index.max()))
    sizes = sorted({size for series in lines.values() for size in series.index})
    if base is not None:
        panel.axhline(base, color=FAINT, linewidth=1.2, linestyle="--")
        panel.annotate("base model", (sizes[0], base), (0, 5), textcoords="offset points", color=FAINT)
    label_ends(panel, ends)
    _log(panel, sizes, unit)
    panel.set(title=title, ylabel=ylabel)
    panel.grid(axis="y", **GRID)
    return panel


def _log(panel: Axes, sizes: Sequence[float], unit: str) -> None:
    panel.set_xscale("log")
    panel.set_xticks(sizes, [f"{size:g}" for size in sizes])
    panel.minorticks_off()
    panel.set_xlabel(unit)


def label_ends(panel: Axes, ends: list[tuple[float, str, str, float]], apart: float = 0.06) -> None:
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
        label_ends(panel, ends)
    axes[0].set_ylabel("log-probability against SFT,\nnats an answer")
    figure.suptitle(title, x=0.01, ha="left", fontsize=16, fontweight="bold")
    return axes
