"""The commands on finished runs: damaged ones are listed beside the others, and an export needs no account."""

import json

import pytest
from conftest import make_rows
from test_cli import call

from workbench.config import SFTSpec
from workbench.store import Store
from workbench.train import supervised


@pytest.fixture
def runs(tiny_base, tmp_path, monkeypatch):
    """Two trained runs in a store of their own."""
    monkeypatch.setenv("WORKBENCH_RUNS", str(tmp_path / "runs"))
    specs = (SFTSpec(base=tiny_base, method="full", max_steps=1, batch_size=4, seed=seed) for seed in (0, 1))
    return [supervised.sft(spec, make_rows(8), store=Store(), quiet=True) for spec in specs]


def test_a_damaged_run_hides_no_other_and_each_command_names_it(runs):
    broken, whole = runs
    (broken.path / "run.json").write_text('{"spec": {')
    listed = call("runs", "list").stdout
    assert whole.id in listed.replace("\n", "")
    assert f"damaged: {broken.id} (no readable run.json); `workbench runs repair` moves it aside" in listed
    for words in (["runs", "show", broken.id], ["export", broken.id, "out"], ["eval", broken.id],
                  ["dpo", "pairs.jsonl", "--run", broken.id]):  # fmt: skip
        stderr = call(*words, code=2).stderr
        assert stderr.count("\n") == 1 and stderr.startswith("error: ") and "Traceback" not in stderr, words
    assert json.loads(call("runs", "show", whole.id).stdout)["id"] == whole.id


def test_ids_are_whole_in_a_narrow_terminal(runs, monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    listed = call("runs", "list").stdout
    assert all(run.id in listed for run in runs)


def test_a_damaged_run_is_moved_aside_and_removed(runs):
    broken, whole = runs
    (broken.path / "log.csv").write_text("")
    aside = f"{broken.id}.corrupt-1"
    assert f"{broken.id}: log.csv has changed; moved aside to {aside}" in call("runs", "repair").stdout
    assert "no run is damaged" in call("runs", "repair").stdout
    assert f"workbench runs remove {aside}" in call("runs", "list").stdout.replace("\n", "")
    call("runs", "remove", aside)
    assert aside not in call("runs", "list").stdout


def test_an_export_without_push_asks_for_no_token(runs, tmp_path):
    text = call("export", runs[0].id, str(tmp_path / "model")).stdout
    assert "written" in text and "uploaded" not in text
    assert (tmp_path / "model" / "README.md").is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "runs"]
