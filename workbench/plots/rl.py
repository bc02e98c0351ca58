"""Draw what the log of a reinforcement learning holds, as one picture of small panels."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.lines import Line2D

from workbench.errors import InputError
from workbench.plots.style import FAINT, GRID, HEADING, WIDTH, add_title, model_style
from workbench.store import Run

PANELS = {
    "reward": "reward",
    "kl": "KL from the start, nats per token",
    "entropy": "entropy, nats per token",
    "frac_reward_zero_std": "groups without spread, share",
    "completions/mean_length": "length of a reply, tokens",
    "completions/clipped_ratio": "replies cut off, share",
    "clip_ratio/region_mean": "tokens with a clipped ratio, share",
}
"""Column of the log → what its panel shows. A panel whose numbers are all 0 or missing is left out, except for reward and KL."""


def rl_log(
    runs: Mapping[str, Sequence[Run]], title: str, *, watched: Sequence[str] = (), window: int = 5
) -> np.ndarray:
    """Draw reward, KL, entropy, groups without spread, length and clipping over the steps: thin lines are runs, the thick one is their mean.

    A mean ends where the shortest of its runs ends.

    Args:
        runs: name of a line → runs of :func:`workbench.train.reinforcement.rl`, one per seed.
        title: the message.
        watched: names of rewards that were watched (or trained on), each in a panel of its own after the reward.
        window: number of steps whose mean is drawn, as one step is the replies to a few prompts.

    Raises:
        InputError: there is no run, or a reward that a run did not log.
    """
    if not any(runs.values()):
        raise InputError("there is no run to draw; give name → runs of train.rl")
    logs = {name: [run.log for run in found] for name, found in runs.items()}
    panels = {
        **dict([*PANELS.items()][:1]),
        **{f"rewards/{name}/mean": f"{name}, watched" for name in watched},
        **PANELS,
    }
    for column in (f"rewards/{name}/mean" for name in watched):
        if lacking := [name for name, found in logs.items() if any(column not in log for log in found)]:
            raise InputError(
                f"a run of {lacking[0]!r} has no {column} in its log; pass the reward to train.rl as watch"
            )
    shown = [column for column in panels if column in ("reward", "kl") or _says_something(logs, column)]
    columns = 3
    rows = -(-len(shown) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(WIDTH, 2.3 * rows), layout="constrained", squeeze=False)
    style = model_style(logs)
    for panel, column in zip(axes.flat, shown, strict=False):
        for name, found in logs.items():
            lines = [_line(log, column, window) for log in found if column in log]
            if not lines:
                continue
            look = {"color": style[name]["color"], "linestyle": _dash(logs, name)}
            for line in lines:
                panel.plot(line.index, line, alpha=0.3, linewidth=0.9, **look)
            mean = pd.concat(lines, axis=1).dropna().mean(axis=1)
            panel.plot(mean.index, mean, **look)
        panel.set_title(panels[column], **{**HEADING, "fontsize": 11})
        panel.tick_params(labelsize=10)
        panel.grid(axis="y", **GRID)
        if column != "reward":
            panel.set_ylim(bottom=min(0, panel.get_ylim()[0]))
    for panel in axes.flat[len(shown) :]:
        panel.set_visible(False)
    figure.supxlabel(f"step (mean of {window} steps)", fontsize=12, color=FAINT)
    handles = [Line2D([], [], color=style[name]["color"], linestyle=_dash(logs, name), label=name) for name in logs]
    add_title(figure, title, handles if len(logs) > 1 else ())
    return axes


def _dash(logs: Mapping, name: str):
    """Return a line style of its own for each name, which a grey print needs."""
    return ("-", "--", ":", "-.")[[*logs].index(name) % 4]


def _says_something(logs: Mapping[str, list[pd.DataFrame]], column: str) -> bool:
    return any(log[column].fillna(0).ne(0).any() for found in logs.values() for log in found if column in log)


def _line(log: pd.DataFrame, column: str, window: int) -> pd.Series:
    """Return the mean of `window` steps up to each step."""
    return log.dropna(subset=[column]).set_index("step")[column].rolling(window, min_periods=1).mean()
