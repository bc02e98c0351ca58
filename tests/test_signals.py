"""SIGTERM (a batch system, `timeout`, `kill`) stops every command as Ctrl-C does: one line, exit code 130, a checkpoint, nothing half written."""

import json
import signal

import pytest
from conftest import make_rows
from test_preference import make_pairs
from test_supervised import interrupt_at
from typer.testing import CliRunner

from workbench.cli.app import app
from workbench.config import SFTSpec
from workbench.evaluate import benchmarks
from workbench.models import adapters, selection_scores
from workbench.store import Store
from workbench.train import supervised


@pytest.fixture(scope="module")
def world(tiny_base, tmp_path_factory):
    folder = tmp_path_factory.mktemp("signals")
    rows = [
        {"question": row["messages"][0]["content"], "answer": row["messages"][1]["content"]} for row in make_rows(24)
    ]
    (folder / "rows.json").write_text(json.dumps(rows))
    (folder / "pairs.json").write_text(json.dumps(make_pairs(24)))
    spec = SFTSpec(base=tiny_base, method="lora", max_steps=2, batch_size=4)
    run = supervised.sft(spec, make_rows(), store=Store(folder / "runs"), quiet=True)
    return {"root": folder, "base": tiny_base, "run": run.id}


@pytest.fixture(params=["Ctrl-C works", "a job in the background, where Ctrl-C is ignored"])
def usual(request):
    """Both states in which a command can be started, and the handlers as they were afterwards."""
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler if request.param == "Ctrl-C works" else signal.SIG_IGN)
    yield
    signal.signal(signal.SIGTERM, before[0])
    signal.signal(signal.SIGINT, before[1])


def terminate(*_, **__):
    signal.raise_signal(signal.SIGTERM)
    raise AssertionError("the command continued after SIGTERM")


def call(world, line):
    words = line.format(**world).split()
    result = CliRunner().invoke(app, words, env={"WORKBENCH_RUNS": str(world["root"] / "runs")})
    assert result.exit_code == 130 and "Traceback" not in result.output, result.output
    assert result.stderr.strip().splitlines()[-1] == "stopped; run the same command again to continue"


TRAININGS = {
    "sft": "sft {root}/rows.json --base {base} --method lora --set max_steps=9 --samples 0",
    "full": "sft {root}/rows.json --base {base} --method full --set max_steps=9 --samples 0",
    "dpo": "dpo {root}/pairs.json --run {run} --set max_steps=9 --samples 0",
}


@pytest.mark.parametrize("name", TRAININGS)
def test_a_training_keeps_a_checkpoint(world, usual, monkeypatch, name):
    interrupt_at(monkeypatch, 3, lambda: signal.raise_signal(signal.SIGTERM))
    call(world, TRAININGS[name])
    store = Store(world["root"] / "runs")
    (left,) = store.unfinished()
    assert [path.parent.name for path in store.root.glob("*.partial/checkpoints/*/complete")] == ["checkpoint-3"]
    store.remove(left)


@pytest.mark.parametrize(
    "line, place, name",
    [
        ("select {root}/rows.json --by perplexity --size 3 --base {base} --out {root}/out.jsonl", selection_scores, "answer_lengths"),
        ("eval {run} --tasks ifeval --limit 2", benchmarks, "_evaluate"),
        ("export {run} {root}/exported", adapters, "write_merged"),
        ("show {root}/rows.json --base {base}", "workbench.data.templates", "encode"),
        ("sft {root}/rows.json --base {base} --dry-run", "workbench.cli.dry_run", "_trial"),
        ("runs repair", Store, "repair"),
    ],
)  # fmt: skip
def test_other_commands_stop_and_leave_nothing_half_written(world, usual, monkeypatch, line, place, name):
    monkeypatch.setattr(*([place, name] if not isinstance(place, str) else [f"{place}.{name}"]), terminate)
    before = sorted(world["root"].rglob("*"))
    call(world, line)
    after = {path for path in world["root"].rglob("*") if path.suffix != ".lock" and path.name != "tables"}
    assert sorted(after - set(before)) == []
