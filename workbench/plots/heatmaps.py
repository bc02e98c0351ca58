"""Draw heat maps: a share for each pair of conditions, and every model on every evaluation task."""

import textwrap
from collections.abc import Iterable, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from pandas.api.types import is_numeric_dtype

from workbench.evaluate import stats
from workbench.plots.style import INK, add_title

LEAST_RANGE = 20
"""Points between the lightest and the darkest shade at least, so that differences of a few points do not look like much."""


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
    """Draw a share and its 95% interval for each pair of `x` and `y`; the shades span the shares that are shown.

    Numbers rise to the right and upwards; names keep the order of the table.

    Args:
        table: scores with a column `seed`, such as those of :func:`workbench.experiments.grid.run_grid`.
        framed: pairs of `y` and `x` that get a frame, such as the diagonal.
    """
    cells = 100 * stats.intervals(table, column, [y, x])[["estimate", "low", "high"]]
    shares = cells["estimate"].unstack()
    shares = (
        shares.sort_index(ascending=False) if is_numeric_dtype(table[y]) else shares.reindex(index=table[y].unique())
    )
    if not is_numeric_dtype(table[x]):
        shares = shares[table[x].unique()]
    texts = cells.apply(lambda cell: _cell(cell, "%"), axis=1).unstack().reindex_like(shares)
    low, high = shares.min(axis=None), shares.max(axis=None)
    spare = max(0, LEAST_RANGE - (high - low)) / 2
    corners = [(shares.columns.get_loc(place), shares.index.get_loc(row)) for row, place in framed]
    return _draw(shares, texts, (low - spare, high + spare), corners, title, xlabel, ylabel)


def matrix(table: pd.DataFrame, tasks: dict[str, str], title: str, *, perplexity: Sequence[str] = ()) -> Axes:
    """Draw every model on every evaluation task: value and 95% interval, the best of each column darkest.

    The best is framed where its interval lies beyond all others of its column.
    Shares are shaded in proportion to the best of their column, perplexities from the worst to the best on a log scale.

    Args:
        table: of :func:`workbench.evaluate.cross_evaluation.best_mode`: model, task, seed, index, prompt, value.
        tasks: task → heading of its column, in order.
        perplexity: tasks whose value is a loss in nats per token; shown as its exponential, lower is better.
    """
    found = stats.intervals(table, "value", ["model", "task"])[["estimate", "low", "high"]]
    shades, texts, clear = {}, {}, []
    for place, (task, heading) in enumerate(tasks.items()):
        column = found.xs(task, level="task")
        if task in perplexity:
            worst, least = column["estimate"].max(), column["estimate"].min()
            shades[heading] = (worst - column["estimate"]) / (worst - least)
            texts[heading] = np.exp(column).apply(lambda cell: _cell(cell, "", 1), axis=1)
        else:
            shades[heading] = column["estimate"] / max(column["estimate"].max(), 1e-9)
            texts[heading] = (100 * column).apply(lambda cell: _cell(cell, "%"), axis=1)
        signs = column if task in perplexity else -column
        leader = signs["estimate"].argmin()
        ends = np.sort(signs[["low", "high"]].to_numpy(), axis=1)
        if ends[leader, 1] < np.delete(ends[:, 0], leader).min():
            clear.append((place, int(leader)))
    panel = _draw(pd.DataFrame(shades), pd.DataFrame(texts), (0, 1.1), clear, title, "", "")
    panel.xaxis.tick_top()
    return panel


def _cell(cell: pd.Series, sign: str, digits: int = 0) -> str:
    """Return the estimate, and its interval on a second line."""
    return f"{cell['estimate']:.{digits}f}{sign}\n[{cell['low']:.{digits}f}, {cell['high']:.{digits}f}]"


def _draw(shades: pd.DataFrame, texts: pd.DataFrame, span: tuple[float, float], framed: Iterable[tuple[int, int]], title: str,
          xlabel: str, ylabel: str) -> Axes:  # fmt: skip
    rows, columns = shades.shape
    names = [textwrap.fill(str(name), 22) for name in shades.index]
    longest = max(len(line) for name in names for line in name.split("\n"))
    width = max(6.5, 1.45 * columns + 0.11 * longest + 0.6)
    figure, panel = plt.subplots(figsize=(width, 0.72 * rows + 0.9), layout="constrained")
    sns.heatmap(shades, annot=texts, fmt="", vmin=span[0], vmax=span[1], cmap="Blues", linewidths=2, cbar=False, ax=panel,
                annot_kws={"fontsize": 12})  # fmt: skip
    for corner in framed:
        panel.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor=INK, linewidth=2.5, clip_on=False, zorder=3))
    panel.set(xlabel=xlabel, ylabel=ylabel)
    panel.tick_params(length=0)
    panel.set_yticklabels(names, rotation=0)
    panel.set_xticklabels([textwrap.fill(name.get_text(), 16) for name in panel.get_xticklabels()])
    add_title(figure, title)
    return panel
