"""Lines draw what the logs and tables hold."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from workbench.errors import InputError
from workbench.evaluate import curves, stats
from workbench.plots import lines

pytestmark = pytest.mark.usefixtures("pictures")


LOG = pd.DataFrame({"step": range(1, 101), "num_tokens": np.arange(1, 101) * 500, "loss": np.linspace(3, 1, 100)})


def test_the_training_curve_draws_loss_against_thousands_of_tokens_and_the_held_out_loss_at_both_ends():
    panel = lines.training_curve(LOG, {"held_out_before": 3.2, "held_out_after": 1.4})
    raw, smooth, held = panel.lines
    assert raw.get_xdata().max() == 50 and raw.get_ydata().tolist() == LOG["loss"].tolist()
    assert len(smooth.get_xdata()) == 100 and "mean of 3 steps" in smooth.get_label()
    assert [*zip(held.get_xdata(), held.get_ydata(), strict=True)] == [(0, 3.2), (50, 1.4)]
    assert panel.figure.get_suptitle() == "Loss on held-out rows falls from 3.20 to 1.40"
    assert panel.get_xlabel() == "tokens trained, thousands" and panel.get_ylabel() == "loss, nats per token"
    assert panel.get_ylim()[0] == 0 and panel.get_ylim()[1] > 3.2


def test_without_held_out_rows_the_curve_speaks_of_the_training_rows():
    for scores in (None, {"held_out_before": None, "held_out_after": None}):
        panel = lines.training_curve(LOG, scores)
        assert len(panel.lines) == 2 and panel.figure.get_suptitle().startswith(
            "Loss on the training rows falls from 3.00 to 1.0"
        )
    worse = lines.training_curve(LOG, {"held_out_before": 1.0, "held_out_after": 1.4})
    assert worse.figure.get_suptitle() == "Loss on held-out rows rises from 1.00 to 1.40"


def test_summary_lines_of_the_log_are_not_drawn():
    summary = pd.DataFrame({"step": [100], "train_runtime": [9.0]})
    panel = lines.training_curve(pd.concat([LOG, summary]))
    assert len(panel.lines[0].get_xdata()) == 100
    with pytest.raises(InputError, match="no loss"):
        lines.training_curve(summary.assign(loss=np.nan, num_tokens=np.nan))


def table(share, prompts=40, **labels):
    """Scores of two seeds: the given share of prompts follows, half of those are right."""
    place = np.arange(prompts) / prompts
    scores = pd.DataFrame({"index": np.arange(prompts), "follows": place < share, "correct": place < share / 2})
    return pd.concat([scores.assign(seed=seed, **labels) for seed in (0, 1)], ignore_index=True)


def by_size(shares):
    return pd.concat([table(share, size=size) for size, share in shares.items()], ignore_index=True)


def texts(panel):
    return [text.get_text() for text in panel.texts]


def test_a_curve_passes_through_the_shares_and_its_band_holds_them():
    grown = by_size({25: 0.2, 100: 0.6, 400: 0.8})
    left, right = lines.curves({"tokens": {"all": grown}, "passes": {"all": grown, "few": by_size({25: 0.1, 400: 0.3})}},
                                "follows", "Flat", fits={"tokens": curves.fit_curve(grown, "follows"), "passes": None})  # fmt: skip
    drawn, dotted = left.lines
    assert drawn.get_xdata().tolist() == [25, 100, 400] and drawn.get_ydata().tolist() == pytest.approx([20, 60, 80])
    assert dotted.get_ydata()[[0, -1]] == pytest.approx([20, 80], abs=3)
    bands = left.collections[0].get_paths()[0].vertices
    found = 100 * stats.intervals(grown, "follows", "size")
    assert bands[:, 1].min() == pytest.approx(found["low"].min()) and bands[:, 1].max() == pytest.approx(
        found["high"].max()
    )
    assert len(right.lines) == 2 and texts(right) == ["few", "all"], "a fit is drawn where it is given"
    assert [label.get_text() for label in right.get_xticklabels()] == ["25", "100", "400"]


def test_names_of_lines_that_end_together_do_not_lie_on_each_other():
    same = by_size({25: 0.5, 400: 0.5})
    (panel,) = lines.curves({"all": {"one": same, "other": same, "third": same}}, "follows", "Equal")
    heights = sorted(note.xy[1] for note in panel.texts)
    assert np.diff(heights).min() > 5, "percent points"


def test_values_are_dots_for_runs_and_a_line_through_their_means():
    losses = pd.Series([0.1, 0.3, 0.5, 0.7], index=[25, 25, 400, 400])
    panel = lines.values({"tuned": losses}, "Forgets", "loss", base=0)
    dots, means, base = panel.lines
    assert dots.get_ydata().tolist() == losses.tolist()
    assert means.get_xdata().tolist() == [25, 400] and means.get_ydata().tolist() == pytest.approx([0.2, 0.6])
    assert base.get_ydata()[0] == 0 and "base model" in texts(panel)


def preference_run(steps, chosen, rejected):
    """A run whose answers' log-probabilities change evenly, to `chosen` and `rejected` nats at its last step."""
    step = np.arange(1, steps + 1)
    log = pd.DataFrame(
        {"step": step, "rewards/chosen": 0.1 * chosen * step / steps, "rewards/rejected": 0.1 * rejected * step / steps}
    )
    return SimpleNamespace(log=log, spec={"beta": 0.1})


def test_a_mean_of_runs_is_a_mean_of_all_of_them_to_its_end_however_long_each_was():
    runs = [preference_run(10, 1, -3), preference_run(20, 3, -1)]
    (panel,) = lines.likelihoods({"DPO": runs}, "Apart", window=1)
    means = {line.get_label(): line for line in panel.lines}
    assert means["chosen"].get_xdata()[-1] == 100 and means["chosen"].get_ydata()[-1] == pytest.approx(2)
    assert means["rejected"].get_ydata()[-1] == pytest.approx(-2)
    assert means["chosen"].get_ydata()[50] == pytest.approx(1), "half of each training"


def test_likelihoods_are_smoothed_over_the_window_that_the_axis_states():
    noisy = preference_run(100, 0, 0)
    noisy.log["rewards/chosen"] = np.where(noisy.log["step"] % 2, 0.1, -0.1)
    (panel,) = lines.likelihoods({"DPO": [noisy]}, "Flat", window=10)
    mean = next(line for line in panel.lines if line.get_label() == "chosen")
    assert np.abs(mean.get_ydata()[-20:]).max() < 0.05 and "10 steps" in panel.figure.get_supxlabel()
