"""Set the look that all pictures share: one palette for base, SFT, DPO and RL, readable in grey and at half width, a title over each figure."""

import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import cycle

import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

# base, SFT and DPO are light, middle and dark, so that a grey print tells them apart, and grey, blue and red-brown, so that a colour-blind
# reader does; RLHF and RL, which stand beside all three, have markers of their own.
MODEL_ORDER = {
    "base": ("#9aa0a6", "o"),
    "SFT": ("#1f77c4", "D"),
    "DPO": ("#6b1d2a", "^"),
    "RLHF": ("#2f7d5b", "v"),
    "RL": ("#8a5fbf", "P"),
}
OTHER_MODELS = (("#d98c00", "s"), ("#2f7d5b", "v"), ("#8a5fbf", "P"), ("#c65b7c", "X"), ("#4a4a4a", "p"))
INK, FAINT = "#222222", "#6a6f75"
STRIPE = "#f3f4f6"
GRID = {"color": "#dfe2e6", "linewidth": 0.8}
HEADING = {"fontsize": 13, "fontweight": "normal", "color": INK, "pad": 6}
"""Keywords of `Axes.set_title` for the heading of one panel."""
WIDTH = 9
"""Width of a figure, in inches."""


def set_style() -> None:
    """Set the look of every picture in a notebook: call it once, at the top."""
    sns.set_theme(
        style="white",
        rc={
            "figure.dpi": 110,
            "savefig.bbox": "tight",
            "font.size": 13,
            "axes.titlelocation": "left",
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


def model_style(names: Iterable[str]) -> dict[str, dict]:
    """Return colour, marker and marker filling of each model, as matplotlib's keywords: the same in every picture.

    A name that begins with base, SFT, DPO, RLHF or RL has that colour and marker; the second of its kind ("base, few-shot") is hollow, the third
    pale. Other names take the remaining colours and markers in turn, and when they are used up those again, hollow.
    """
    names = [*names]
    taken = [MODEL_ORDER[kind] for kind in map(model_kind, names) if kind]
    found, seen, others = {}, Counter(), cycle(look for look in OTHER_MODELS if look not in taken)
    for name in names:
        kind = model_kind(name)
        look = colour, marker = MODEL_ORDER[kind] if kind else next(others)
        white = (0, 1, 0.55)[seen[look] % 3]
        face = tuple(part + (1 - part) * white for part in to_rgb(colour))
        found[name] = {"color": colour, "marker": marker, "markerfacecolor": face}
        seen[look] += 1
    return found


def model_kind(name: str) -> str | None:
    """Return base, SFT, DPO, RLHF or RL where the name begins with it, else None."""
    kind = name.replace(",", " ").split()[0]
    return kind if kind in MODEL_ORDER else None


def add_title(figure: Figure, title: str, handles: Sequence[Artist] = ()) -> None:
    """Write the title over a figure and the legend of `handles` under it; the figure grows by the height that they need.

    Long titles are wrapped at the width of the figure, so that they never run out of it.
    """
    width, height = figure.get_size_inches()
    lines = textwrap.wrap(title, int(8.2 * width))
    legend = 0.31 if handles else 0
    strip = 0.14 + 0.29 * len(lines) + legend
    whole = height + strip
    figure.set_size_inches(width, whole)
    figure.get_layout_engine().set(rect=(0, 0, 1, height / whole), w_pad=0.08)
    figure.suptitle(
        "\n".join(lines), x=0.08 / width, y=1 - 0.04 / whole, ha="left", va="top", fontsize=16, fontweight="bold"
    )
    if handles:
        figure.legend(handles=handles, loc="upper left", bbox_to_anchor=(0.05 / width, 1 - (strip - legend - 0.02) / whole), borderpad=0,
                      borderaxespad=0, ncols=len(handles), handletextpad=0.5, columnspacing=1.4)  # fmt: skip
