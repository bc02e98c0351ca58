"""The picture of a log draws every run, its means end with the shortest run, and it leaves out what says nothing."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from workbench.errors import InputError
from workbench.plots import rl

pytestmark = pytest.mark.usefixtures("pictures")


def run(steps, **columns):
    log = {"step": np.arange(1, steps + 1), "reward": np.linspace(0, 1, steps), "kl": np.linspace(0, 0.1, steps)}
    return SimpleNamespace(log=pd.DataFrame(log | columns))


def test_panels_lines_and_means():
    runs = {
        "GRPO": [run(30, entropy=1.0), run(20, entropy=0.5)],
        "no KL": [run(30, entropy=0.2).log.drop(columns="kl")],
    }
    runs["no KL"] = [SimpleNamespace(log=runs["no KL"][0].assign(**{"clip_ratio/region_mean": 0.0}))]
    axes = rl.rl_log(runs, "The reward rises", window=1)
    shown = [panel for panel in axes.flat if panel.get_visible()]
    assert [panel.get_title(loc="left") for panel in shown] == [
        "reward",
        "KL from the start, nats per token",
        "entropy, nats per token",
    ]
    assert [len(panel.lines) for panel in shown] == [5, 3, 5], "runs and their mean"
    assert shown[0].lines[2].get_xdata().max() == 20, "a mean ends with its shortest run"
    assert shown[2].lines[2].get_ydata()[0] == 0.75


def test_a_reward_that_was_not_watched_is_named():
    with pytest.raises(InputError, match="a run of 'GRPO' has no rewards/correct/mean in its log"):
        rl.rl_log({"GRPO": [run(3)]}, "t", watched=["correct"])
    with pytest.raises(InputError, match="there is no run to draw"):
        rl.rl_log({"GRPO": []}, "t")
