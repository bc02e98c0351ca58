"""From tables of scores to pictures: one message each, said in the title; intervals drawn; readable in grey and at half width."""

from collections import Counter
from collections.abc import Iterable
from itertools import cycle

import seaborn as sns
from matplotlib.colors import to_rgb

# Light, middle and dark, so that a grey print tells them apart; grey, blue and red-brown, so that a colour-blind reader does.
MODEL_ORDER = {"base": ("#9aa0a6", "o"), "SFT": ("#1f77c4", "D"), "DPO": ("#6b1d2a", "^")}


OTHER_MODELS = (("#d98c00", "s"), ("#2f7d5b", "v"), ("#8a5fbf", "P"), ("#c65b7c", "X"), ("#4a4a4a", "p"))


INK, FAINT = "#222222", "#6a6f75"


def set_style() -> None:
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


def model_style(names: Iterable[str]) -> dict[str, dict]:
    """Colour, marker and filling for each model, as matplotlib's keywords: the same in every picture.

    A name that begins with base, SFT or DPO has that colour and marker; the second of a kind ("base, few-shot") is hollow, the third
    pale. Other names take the remaining colours and markers in turn.
    """
    found, kinds, others = {}, Counter(), cycle(OTHER_MODELS)
    for name in names:
        kind = name.replace(",", " ").split()[0]
        colour, marker = MODEL_ORDER.get(kind) or next(others)
        white = (0, 1, 0.55)[kinds[kind] % 3 if kind in MODEL_ORDER else 0]
        face = tuple(part + (1 - part) * white for part in to_rgb(colour))
        found[name] = {"color": colour, "marker": marker, "markerfacecolor": face}
        kinds[kind] += 1
    return found


GRID = {"color": "#dfe2e6", "linewidth": 0.8}
