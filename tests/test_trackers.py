"""A tracker gets the log that the run store keeps, and changes nothing about the run."""

import pytest
from conftest import make_rows

from workbench.config import SFTSpec
from workbench.errors import InputError
from workbench.store import Store
from workbench.train import supervised


def trained(base, root, **more):
    spec = SFTSpec(base, method="lora", max_steps=3, batch_size=8, rank=4)
    return supervised.sft(spec, make_rows(24), store=Store(root), quiet=True, **more)


def test_a_tracker_that_is_not_there_is_refused_before_anything_is_done(tiny_base, tmp_path):
    with pytest.raises(InputError, match='report_to "tensorbord" is not installed'):
        trained(tiny_base, tmp_path, report_to="tensorbord")
    assert Store(tmp_path).unfinished() == []


def test_tensorboard_shows_the_losses_of_the_run(tiny_base, tmp_path):
    pytest.importorskip("tensorboard", reason="the extra `tracking` is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = trained(tiny_base, tmp_path / "told", report_to="tensorboard")
    (events,) = (run.path / "tensorboard").iterdir()
    found = [(event.step, event.value) for event in EventAccumulator(str(events)).Reload().Scalars("train/loss")]
    assert found == [(step, pytest.approx(loss)) for step, loss in zip(run.log["step"], run.log["loss"], strict=True)]
    silent = trained(tiny_base, tmp_path / "silent")
    assert silent.id == run.id and silent.log["loss"].tolist() == run.log["loss"].tolist()
    assert not (silent.path / "tensorboard").exists()


def test_trackio_keeps_the_losses_on_this_machine_under_the_runs_id(tiny_base, tmp_path, monkeypatch):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    trackio = pytest.importorskip("trackio", reason="not installed: it wants an older Pillow than the rest")
    run = trained(tiny_base, tmp_path / "runs", report_to="trackio")
    logged = [
        entry["train/loss"] for entry in trackio.SQLiteStorage.get_logs("workbench", run.id) if "train/loss" in entry
    ]
    assert logged == pytest.approx(run.log["loss"].tolist())
