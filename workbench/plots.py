"""From tables of scores to pictures: one message each, said in the title; intervals drawn; readable in grey and at half width."""

from collections import Counter
from collections.abc import Iterable
from itertools import cycle

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb

from workbench.errors import InputError
from workbench.evaluate import compare

# Light, middle and dark, so that a grey print tells them apart; grey, blue and red-brown, so that a colour-blind reader does.
KINDS = {"base": ("#9aa0a6", "o"), "SFT": ("#1f77c4", "D"), "DPO": ("#6b1d2a", "^")}
OTHERS = (("#d98c00", "s"), ("#2f7d5b", "v"), ("#8a5fbf", "P"), ("#c65b7c", "X"), ("#4a4a4a", "p"))
INK, FAINT = "#222222", "#6a6f75"

SCORES = {"follows": "follows the instruction", "correct": "is right"}
AXES = {
    "seen": "seen inputs",
    "input": "new inputs",
    "phrasing": "new phrasings",
    "combination": "new combinations",
    "family": "new families",
}


def style() -> None:
    """Set the look of every picture in a notebook: call it once, at the top."""
    sns.set_theme(
        style="white",
        rc={
            "figure.dpi": 110,
            "savefig.bbox": "tight",
            "font.size": 13,
            "axes.titlesize": 15,
            "axes.titleweight": "bold",
            "axes.titlelocation": "left",
            "axes.titlepad": 12,
            "axes.labelsize": 13,
            "axes.labelcolor": FAINT,
            "axes.edgecolor": "#b5b9be",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "xtick.labelsize": 12,
            "ytick.labelsize": 13,
            "text.color": INK,
            "xtick.color": FAINT,
            "ytick.color": INK,
            "legend.frameon": False,
            "legend.fontsize": 13,
            "lines.linewidth": 2.2,
        },
    )


def looks(names: Iterable[str]) -> dict[str, dict]:
    """Colour, marker and filling for each model, as matplotlib's keywords: the same in every picture.

    A name that begins with base, SFT or DPO has that colour and marker; the second of a kind ("base, few-shot") is hollow, the third
    pale. Other names take the remaining colours and markers in turn.
    """
    found, kinds, others = {}, Counter(), cycle(OTHERS)
    for name in names:
        kind = name.replace(",", " ").split()[0]
        colour, marker = KINDS.get(kind) or next(others)
        white = (0, 1, 0.55)[kinds[kind] % 3 if kind in KINDS else 0]
        face = tuple(part + (1 - part) * white for part in to_rgb(colour))
        found[name] = {"color": colour, "marker": marker, "markerfacecolor": face}
        kinds[kind] += 1
    return found


def scorecard(tables: dict[str, pd.DataFrame], title: str | None = None) -> np.ndarray:
    """Models by skill, in two panels: the share of answers that follow the instruction, and the share that are right.

    Args:
        tables: of :func:`workbench.evaluate.score`, by the model's name, the untuned one first.
        title: the message, a line of up to 65 characters; None states what the last and the first model follow.

    Returns:
        The two Axes.
    """
    last = [*tables.values()][-1].groupby("skill")["follows"].mean()
    skills = last.sort_values(ascending=False, kind="stable").index
    return _panels(tables, "skill", {skill: skill for skill in skills}, title or _overall(tables))


def axes(tables: dict[str, pd.DataFrame], title: str | None = None) -> np.ndarray:
    """Models by what was held out from tuning (nothing, inputs, phrasings, combinations, families): panels as in :func:`scorecard`.

    Without a title, the picture states what the last model follows on the nearest and on the farthest kind.
    """
    present = {axis for table in tables.values() for axis in table["axis"]}
    labels = {axis: label for axis, label in AXES.items() if axis in present}
    return _panels(tables, "axis", labels, title or _nearest_and_farthest(tables, labels))


def _panels(tables: dict[str, pd.DataFrame], by: str, labels: dict[str, str], title: str) -> np.ndarray:
    """Two panels that share their rows: one for everything, then one a group."""
    whole, parts = compare(tables, SCORES), compare(tables, SCORES, by=by)
    rows = {"all": "all prompts", **labels}
    tidy = pd.concat([whole, parts], ignore_index=True)
    tidy["row"] = tidy["group"].map({group: position for position, group in enumerate(rows)})
    # In inches: the strip for title and legend, a row, and the first row, which has room for a number beside every dot.
    head, pitch, first = 0.8, max(0.42, 0.17 * len(tables)), 0.24 * (len(tables) + 1)
    height = head + pitch * (len(rows) - 1) + first + 1.1
    figure, panels = plt.subplots(1, 2, sharey=True, figsize=(9, height), layout="constrained")
    figure.get_layout_engine().set(rect=(0, 0, 1, 1 - head / height))
    for panel, (column, label) in zip(panels, SCORES.items(), strict=True):
        _dots(panel, tidy[tidy["column"] == column], looks(tables), len(rows), first / pitch)
        panel.set_title(label, fontsize=13, fontweight="normal", color=INK, pad=6)
    panels[0].set_yticks([(1 - first / pitch) / 2, *range(1, len(rows))], rows.values())
    panels[0].get_yticklabels()[0].set_fontweight("bold")
    prompts, seeds = whole["prompts"].max(), whole["seeds"].max()
    models = f" × {seeds} seeds" if seeds > 1 else ""
    figure.supxlabel(f"share of {prompts} prompts{models}, with 95% intervals", fontsize=12, color=FAINT)
    figure.suptitle(title, x=0.01, y=1 - 0.05 / height, ha="left", va="top", fontsize=16, fontweight="bold")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="upper left", bbox_to_anchor=(0.006, 1 - 0.42 / height),
                  borderpad=0, borderaxespad=0, ncols=len(tables), handletextpad=0.2, columnspacing=1.4)  # fmt: skip
    return panels


def _dots(panel: Axes, tidy: pd.DataFrame, look: dict[str, dict], rows: int, first: float) -> None:
    """A dot with its interval for each model in each row, the models beside each other; numbers in the first row, `first` high."""
    top = 0.5 - first
    for row in range(0, rows, 2):
        panel.axhspan(row - 0.5 if row else top, row + 0.5, color="#f3f4f6", zorder=0)
    reach = {1: 0, 2: 0.13}.get(len(look), 0.26)
    shifts = np.linspace(-reach, reach, len(look))
    heads = top + first * (np.arange(len(look)) + 1) / (len(look) + 1)
    for shift, head, (name, marks) in zip(shifts, heads, look.items(), strict=True):
        part = tidy[tidy["model"] == name]
        middle, low, high = (100 * part[key] for key in ("estimate", "low", "high"))
        panel.errorbar(middle, (part["row"] + shift).where(part["row"] > 0, head), xerr=[middle - low, high - middle],
                       label=name, linestyle="", markersize=7.5, markeredgewidth=1.6, elinewidth=2.4, **marks)  # fmt: skip
        left = middle.iloc[0] > 50
        panel.annotate(f"{middle.iloc[0]:.0f}%", ((low if left else high).iloc[0], head), (-8 if left else 8, 0),
                       textcoords="offset points", va="center_baseline", ha="right" if left else "left",
                       fontsize=12, fontweight="bold")  # fmt: skip
    panel.set(xlim=(-3, 103), ylim=(rows - 0.5, top))
    panel.set_xticks([0, 25, 50, 75, 100], ["0", "25", "50", "75", "100%"])
    panel.grid(axis="x", color="#dfe2e6", linewidth=0.8)
    panel.set_axisbelow(True)
    panel.tick_params(axis="y", length=0)
    sns.despine(ax=panel, left=True, bottom=True)


def _overall(tables: dict[str, pd.DataFrame]) -> str:
    """What the last and the first model do with instructions, in a line."""
    shares = [(name, table["follows"].mean()) for name, table in tables.items()]
    (first, before), (last, after) = shares[0], shares[-1]
    return f"{last} follows {after:.0%} of the instructions" + f", {first} {before:.0%}" * (len(shares) > 1)


def _nearest_and_farthest(tables: dict[str, pd.DataFrame], labels: dict[str, str]) -> str:
    """What the last model follows where it is nearest to its tuning data and where it is farthest from it, in a line."""
    name, table = [*tables.items()][-1]
    shares = table.groupby("axis")["follows"].mean()
    parts = [f"{shares[axis]:.0%} of {label}" for axis, label in labels.items() if axis in shares]
    return f"{name} follows " + ", ".join(dict.fromkeys([parts[0], parts[-1]]))


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
    panel.plot(tokens, log["loss"], color=KINDS["SFT"][0], alpha=0.3, linewidth=1.2)
    # The loss of one step is the loss of its batch: the eye needs the mean of several to see where it goes.
    window = max(1, len(log) // 30)
    smooth = log["loss"].rolling(window, center=True, min_periods=1).mean()
    panel.plot(
        tokens, smooth, color=KINDS["SFT"][0], label="training rows" + f", mean of {window} steps" * (window > 1)
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
