"""Draw lines: a training's loss, scores over the size of the data, likelihoods in preference training."""

import textwrap
from collections.abc import Iterable, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from workbench.errors import InputError
from workbench.evaluate import stats
from workbench.evaluate.curves import Curve
from workbench.plots.style import FAINT, GRID, HEADING, INK, MODEL_ORDER, WIDTH, add_title, model_style
from workbench.store import Run

ANSWER_STYLES = {"chosen": {"color": "#1f77c4"}, "rejected": {"color": "#6b1d2a", "linestyle": "--"}}
SHARES = np.linspace(0, 100, 101)
"""Percent of a training at which likelihoods are read."""


def training_curve(log: pd.DataFrame, scores: dict | None = None, title: str | None = None) -> Axes:
    """Draw the loss against the tokens trained; with `scores` of a run, also the loss on held-out rows before and after.

    Args:
        log: of a run: columns `num_tokens` and `loss` (nats per token), as TRL's trainer logs them.
        scores: of a run: `held_out_before` and `held_out_after` (nats per token), or None for each.
        title: the message; None states what the loss does.
    """
    log = log.dropna(subset=["loss", "num_tokens"])
    if log.empty:
        raise InputError("the training log has no loss to draw; check that the trainer logged any step")
    figure, panel = plt.subplots(figsize=(WIDTH, 4.2), layout="constrained")
    tokens, colour = log["num_tokens"] / 1000, MODEL_ORDER["SFT"][0]
    panel.plot(tokens, log["loss"], color=colour, alpha=0.3, linewidth=1.2)
    # The loss of one step is the loss of its batch: the eye needs the mean of several to see where it goes.
    window = max(1, len(log) // 30)
    smooth = log["loss"].rolling(window, center=True, min_periods=1).mean()
    panel.plot(tokens, smooth, color=colour, label="training rows" + f", mean of {window} steps" * (window > 1))
    message = _change("Loss on the training rows", log["loss"].iloc[0], smooth.iloc[-1])
    held = [(scores or {}).get(key) for key in ("held_out_before", "held_out_after")]
    if None not in held:
        ends = [0, tokens.iloc[-1]]
        panel.plot(ends, held, "D", color=INK, markersize=8, label="held-out rows, before and after", clip_on=False)
        for x, y, side in zip(ends, held, ("left", "right"), strict=True):
            panel.annotate(f"{y:.2f}", (x, y), (8 if side == "left" else -8, 8), textcoords="offset points", ha=side)
        message = _change("Loss on held-out rows", *held)
    panel.set(xlabel="tokens trained, thousands", ylabel="loss, nats per token", ylim=(0, None), xlim=(0, None))
    panel.grid(axis="y", **GRID)
    panel.legend(loc="upper right")
    add_title(figure, title or message)
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
    fits: dict[str, Curve | None] | None = None,
) -> np.ndarray:
    """Draw a share over the size of the data with its 95% intervals: one panel per entry, one line per table, named at its end.

    Args:
        panels: panel → line → table of :func:`workbench.experiments.grid.run_grid`.
        column: the score on the vertical axis, a share.
        fits: panel → fitted curve, drawn dotted; None where there are too few sizes for one.
    """
    figure, axes = plt.subplots(1, len(panels), sharey=True, figsize=(WIDTH, 4.2), layout="constrained", squeeze=False)
    style = _line_style(name for lines in panels.values() for name in lines)
    for panel, (heading, lines) in zip(axes[0], panels.items(), strict=True):
        ends = []
        for name, table in lines.items():
            points = 100 * stats.intervals(table, column, x)[["estimate", "low", "high"]].sort_index()
            panel.fill_between(
                points.index, points["low"], points["high"], color=style[name]["color"], alpha=0.15, lw=0
            )
            panel.plot(points.index, points["estimate"], **style[name], markersize=7)
            ends.append((points["estimate"].iloc[-1], name, style[name]["color"], points.index.max()))
        if fit := (fits or {}).get(heading):
            sizes = np.geomspace(fit.first, fit.last, 50)
            panel.plot(sizes, 100 * fit(sizes), color=INK, linewidth=1, linestyle=(0, (2, 2)))
        _log(panel, sorted({size for table in lines.values() for size in table[x].unique()}), unit)
        panel.set_title(heading, **HEADING)
        panel.set_ylim(0, 102)
        panel.set_yticks([0, 25, 50, 75, 100], ["0", "25", "50", "75", "100%"])
        panel.grid(axis="y", **GRID)
        _label_ends(panel, ends)
    axes[0][0].set_ylabel("share of prompts, with 95% intervals", fontsize=12)
    add_title(figure, title)
    return axes[0]


def values(
    lines: dict[str, pd.Series], title: str, ylabel: str, *, unit: str = "training pairs", base: float | None = None
) -> Axes:
    """Draw one number per run, such as a loss, over the size of the data: one mark per run, and a line through the means.

    Args:
        lines: line → numbers, one per run, with the size as their index.
        base: the number of the untuned model, drawn as a level line.
    """
    figure, panel = plt.subplots(figsize=(WIDTH, 4.2), layout="constrained")
    ends = []
    for (name, series), look in zip(lines.items(), _line_style(lines).values(), strict=True):
        means = series.groupby(level=0).mean()
        panel.plot(
            series.index, series, linestyle="", marker=look["marker"], markersize=5, alpha=0.5, color=look["color"]
        )
        panel.plot(means.index, means, color=look["color"])
        ends.append((means.iloc[-1], name, look["color"], means.index.max()))
    sizes = sorted({size for series in lines.values() for size in series.index})
    if base is not None:
        panel.axhline(base, color=FAINT, linewidth=1.2, linestyle="--")
        panel.annotate("base model", (sizes[0], base), (0, 5), textcoords="offset points", color=FAINT)
    _label_ends(panel, ends)
    _log(panel, sizes, unit)
    panel.set_ylabel(textwrap.fill(ylabel, 36))
    panel.grid(axis="y", **GRID)
    add_title(figure, title)
    return panel


def _line_style(names: Iterable[str]) -> dict[str, dict]:
    """Return the look of each line; the only line of a picture is drawn as the tuned model, which it measures."""
    names = [*dict.fromkeys(names)]
    return model_style(names) if len(names) > 1 else {names[0]: model_style(["SFT"])["SFT"]}


def _log(panel: Axes, sizes: Sequence[float], unit: str) -> None:
    panel.set_xscale("log")
    panel.set_xticks(sizes, [f"{size:g}" for size in sizes])
    panel.minorticks_off()
    panel.set_xlabel(unit)


def _label_ends(panel: Axes, ends: list[tuple[float, str, str, float]], apart: float = 0.06) -> None:
    """Write the names at the ends of their lines, moved apart where they would lie on each other."""
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


def likelihoods(panels: dict[str, Sequence[Run]], title: str, window: int = 5) -> np.ndarray:
    """Draw how much more likely chosen and rejected answers get in a preference training than they were before it.

    Thin lines are runs, the thick one is their mean. Runs may differ in length, so they are drawn over the share of their training:
    every point of a mean is a mean of all runs.

    Args:
        panels: heading → runs of :func:`workbench.train.preference.dpo`, one per seed.
        window: number of steps whose mean is drawn, as one step is the batch of a few pairs.
    """
    figure, axes = plt.subplots(1, len(panels), sharey=True, figsize=(WIDTH, 4.0), layout="constrained", squeeze=False)
    for panel, (heading, runs) in zip(axes[0], panels.items(), strict=True):
        ends = []
        for side, look in ANSWER_STYLES.items():
            lines = np.array([_over_training(run, side, window) for run in runs])
            panel.plot(SHARES, lines.T, alpha=0.3, linewidth=1, **look)
            panel.plot(SHARES, lines.mean(axis=0), label=side, **look)
            ends.append((lines.mean(axis=0)[-1], side, look["color"], SHARES[-1]))
        panel.axhline(0, color=FAINT, linewidth=1.2, linestyle=":")
        panel.set_title(heading, **HEADING)
        panel.set_xlim(0, 100)
        panel.xaxis.set_major_formatter(lambda value, _: f"{value:.0f}%")
        panel.grid(axis="y", **GRID)
        _label_ends(panel, ends)
    axes[0][0].set_ylabel("log-probability of an answer,\nchange in nats")
    figure.supxlabel(f"share of the training (mean of {window} steps)", fontsize=12, color=FAINT)
    add_title(figure, title)
    return axes[0]


def _over_training(run: Run, side: str, window: int) -> np.ndarray:
    """Return the change of log-probability, averaged over `window` steps, at each of SHARES of the run's own length."""
    log = run.log.dropna(subset=[f"rewards/{side}"])
    change = (log[f"rewards/{side}"] / run.spec["beta"]).rolling(window, min_periods=1).mean()
    return np.interp(SHARES, 100 * log["step"] / log["step"].max(), change)
