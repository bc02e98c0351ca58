"""plots.heatmaps"""

from collections.abc import Iterable, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from pandas.api.types import is_numeric_dtype

from workbench.evaluate import stats
from workbench.plots.style import INK


def heatmap(
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
    cells = stats.intervals(table, column, [y, x])
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
        table: of :func:`workbench.evaluate.cross_evaluation.best_mode`: model, task, seed, index, prompt, value.
        aims: aim → heading of its column, in order.
        perplexity: aims whose value is a loss in nats a token; shown as its exponential, lower is better.
    """
    found = stats.intervals(table, "value", ["model", "task"])[["estimate", "low", "high"]]
    shades, texts, winners = {}, {}, []
    for aim, heading in aims.items():
        column = found.xs(aim, level="task")
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
