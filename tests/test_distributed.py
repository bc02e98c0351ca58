"""Two processes that train one run together, as `accelerate launch` starts them, end where one process alone does.

On a CPU, over gloo. Equal up to the order in which floats are added up: a ten-thousandth of the loss.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import make_rows
from datasets import Dataset
from typer.testing import CliRunner

from workbench import distributed
from workbench.cli.app import app
from workbench.config import DPOSpec, SFTSpec
from workbench.errors import InputError
from workbench.store import Run, Store
from workbench.train import preference, supervised

ROOT = Path(__file__).parents[1]
LAUNCH = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch", "--num_processes", "2", "--num_machines", "1",
          "--main_process_port", "0"]  # fmt: skip
DATA_PARALLEL = ["--multi_gpu", "--mixed_precision", "no", "--dynamo_backend", "no"]
FSDP = ["--config_file", str(ROOT / "workbench" / "train" / "fsdp.yaml")]
SAME = 1e-4  # relative


def launch(how: list[str], what: list[str], store: Path) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "WORKBENCH_RUNS": str(store), "CUDA_VISIBLE_DEVICES": "",
                   "OMP_NUM_THREADS": "1"}  # fmt: skip
    return subprocess.run([*LAUNCH, *how, *what], env=environment, capture_output=True, text=True, timeout=300)


def same(found: Run, alone: Run) -> None:
    """Of one name, with the same losses and tokens step by step."""
    assert found.id == alone.id and found.environment["processes"] == 2
    assert found.log["loss"].tolist() == pytest.approx(alone.log["loss"].tolist(), rel=SAME)
    assert found.log["num_tokens"].tolist() == alone.log["num_tokens"].tolist()
    for name, value in alone.scores.items():
        assert found.scores[name] == pytest.approx(value, rel=SAME), name


def test_the_command_line_under_accelerate_makes_the_same_run_and_speaks_once(tiny_base, tmp_path):
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in make_rows(48)))
    command = [
        "-m",
        "workbench",
        "sft",
        str(data),
        "--base",
        tiny_base,
        "--epochs",
        "1",
        "--hold-out",
        "0.334",
        "--samples",
        "1",
    ]
    done = launch(DATA_PARALLEL, command, tmp_path / "two")
    assert done.returncode == 0, done.stderr
    alone = CliRunner().invoke(app, command[2:], env={"WORKBENCH_RUNS": str(tmp_path / "one")})
    assert done.stdout.replace("/two/", "/one/") == alone.stdout
    (two,), (one,) = (Store(tmp_path / name).runs() for name in ("two", "one"))
    same(two, one)


PAIRS = [
    {"prompt": row["messages"][:1], "chosen": row["messages"][1:], "rejected": [{"role": "assistant", "content": f"no {i}"}]}
    for i, row in enumerate(make_rows(16))
]  # fmt: skip


def trainings(store: Store, **fields) -> list[Run]:
    """SFT with a checkpoint after every step, going on after a Ctrl-C, and DPO from it."""
    spec = SFTSpec(max_steps=4, batch_size=8, rank=4, **fields)
    together = {"store": store, "quiet": True, "save_every": 0}
    try:
        sft = supervised.sft(spec, make_rows(24), held_out=make_rows(30).select(range(24, 30)), **together)
    except KeyboardInterrupt:
        assert store.unfinished()
        sft = supervised.sft(spec, make_rows(24), held_out=make_rows(30).select(range(24, 30)), **together)
    settings = DPOSpec(max_steps=3, batch_size=8, learning_rate=1e-4)
    return [sft, preference.dpo(settings, Dataset.from_list(PAIRS), sft_run=sft, **together)]


CHILD = """
import signal, sys
from accelerate import PartialState
from accelerate.utils import DistributedType
from test_distributed import trainings
from test_supervised import interrupt_at
from workbench import distributed
from workbench.store import Store

if distributed.is_sharded():
    # Accelerate shards on accelerators only, and data-parallel elsewhere; torch does it on a CPU as well.
    usual = PartialState.__init__
    def init(self, *args, **kwargs):
        usual(self, *args, **kwargs)
        if self.distributed_type == DistributedType.MULTI_CPU:
            self.distributed_type = DistributedType.MULTI_GPU
    PartialState.__init__ = init
class Patch:
    setattr = staticmethod(setattr)
if distributed.is_main_process():  # the other process hears of the Ctrl-C from this one
    interrupt_at(Patch, 2, lambda: signal.raise_signal(signal.SIGINT))
root, base, method, sampling = sys.argv[1:]
trainings(Store(root), base=base, method=method, sampling=sampling)
if PartialState().distributed_type == DistributedType.FSDP:
    print("in pieces")
"""


@pytest.mark.parametrize(
    "how, method, sampling", [(DATA_PARALLEL, "qlora", "group_by_length"), (FSDP, "full", "random")]
)
def test_sft_that_was_stopped_and_dpo_in_two_processes_equal_those_in_one(tiny_base, tmp_path, how, method, sampling):
    child = tmp_path / "child.py"
    child.write_text(CHILD)
    done = launch(how, [str(child), str(tmp_path / "two"), tiny_base, method, sampling], tmp_path)
    assert done.returncode == 0, done.stderr
    assert ("in pieces" in done.stdout) == (how is FSDP)
    alone = trainings(Store(tmp_path / "one"), base=tiny_base, method=method, sampling=sampling)
    store = Store(tmp_path / "two")
    for two, one in zip(store.runs(), alone, strict=True):
        same(two, one)
    assert store.unfinished() == []


def test_a_batch_that_cannot_be_dealt_out_and_a_method_that_cannot_be_split_are_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(
        InputError, match="a step of 16 rows or packed sequences cannot be dealt out evenly to 3 processes"
    ):
        distributed.per_process(16)
    assert distributed.per_process(48) == 16
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(InputError, match='method "qlora" cannot be split'):
        supervised.sft(SFTSpec("anywhere"), make_rows(2))
