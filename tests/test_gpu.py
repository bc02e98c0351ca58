"""What has to hold on a GPU, and the same on a CPU: each test runs on both, so that none waits for a GPU to be found wrong.

`make gpu-check` runs those on CUDA. Nine of them passed on an NVIDIA H200 on 2026-11-27, the first day; those on reinforcement learning, on
reward models, on losses on pairs other than DPO's own and on the rows of a step have not been run there.
"""

import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import make_rows
from test_preference import make_pairs
from test_supervised import CHILD, interrupt_at, spec_for

from workbench.config import DPOSpec, RewardSpec, RLSpec
from workbench.data import templates
from workbench.evaluate import samples
from workbench.models import adapters, generation, loading, logprobs, memory, precision
from workbench.store import Store
from workbench.train import preference, reinforcement, reward_models, supervised

CUDA = pytest.param("cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason=(
    "no CUDA device that torch can use; make gpu-check runs this on a machine that has one"))])  # fmt: skip


@pytest.fixture(params=["cpu", CUDA])
def device(request, monkeypatch):
    monkeypatch.setattr(loading, "default_device", lambda: request.param)
    return request.param


def near(device: str) -> float:
    """Relative tolerance: fp32 on a CPU, half precision on a GPU."""
    return 1e-4 if device == "cpu" else 2e-2


def sft(base, root, method="qlora", **fields):
    return supervised.sft(spec_for(base, method, **fields), make_rows(24), store=Store(root), quiet=True)


@pytest.mark.parametrize("method", ["qlora", "lora", "full"])
def test_loss_goes_down_what_is_trained_moves_and_the_base_does_not(tiny_base, tmp_path, device, method):
    spec = spec_for(tiny_base, method, max_steps=30, learning_rate=1e-2)
    dtype = torch.float32 if method == "full" else None
    model, tokenizer = loading.load_base(tiny_base, method == "qlora", dtype=dtype), loading.load_tokenizer(tiny_base)
    rows = make_rows(24)
    trainer = supervised.make_trainer(spec, model, tokenizer, supervised.tokenized(tokenizer, rows), tmp_path, [])
    assert {parameter.device.type for parameter in trainer.model.parameters()} == {device}
    before = {name: parameter.detach().clone() for name, parameter in trainer.model.named_parameters()}
    start = logprobs.supervised_loss(trainer.model, tokenizer, rows)
    trainer.train()
    assert logprobs.supervised_loss(trainer.model, tokenizer, rows) < 0.7 * start
    moved = [name for name, value in trainer.model.named_parameters() if not torch.equal(value, before[name])]
    assert moved == [name for name, parameter in trainer.model.named_parameters() if parameter.requires_grad]
    weight = trainer.model.get_parameter(next(name for name in before if "q_proj" in name))
    assert weight.dtype == {"qlora": torch.uint8, "full": torch.float32}.get(method, precision.compute_dtype(device))


def test_packed_rows_have_the_loss_that_they_have_alone(tiny_base, tmp_path, device):
    rows = make_rows(24)
    model, tokenizer = loading.load_base(tiny_base, quantize=True), loading.load_tokenizer(tiny_base)
    trainer = supervised.make_trainer(
        spec_for(tiny_base, "qlora", max_length=128),
        model,
        tokenizer,
        supervised.tokenized(tokenizer, rows),
        tmp_path,
        [],
        packed=True,
    )
    assert len(trainer.train_dataset) < 24
    batch = trainer.data_collator([trainer.train_dataset[i] for i in range(len(trainer.train_dataset))])
    trainer.model.eval()
    with torch.no_grad():
        loss = trainer.compute_loss(trainer.model, trainer._prepare_inputs(batch)).item()
    assert loss == pytest.approx(
        logprobs.supervised_loss(trainer.model, tokenizer, rows, batch_size=1), rel=near(device)
    )


def test_a_step_holds_the_rows_that_were_asked_for(tiny_base, tmp_path, device):
    run = sft(tiny_base, tmp_path, max_steps=None, epochs=1.0)
    assert run.scores["steps"] == 3 and run.scores["rows"] == 24


def test_a_killed_training_goes_on_from_its_last_checkpoint_to_the_same_end(tiny_base, tmp_path, device, monkeypatch):
    tests = Path(__file__).parent
    hidden = {"CUDA_VISIBLE_DEVICES": ""} if device == "cpu" else {}
    environment = {
        **os.environ,
        **hidden,
        "OMP_NUM_THREADS": str(torch.get_num_threads()),
        "PYTHONPATH": str(tests.parent),
    }
    code = CHILD.format(tests=str(tests), base=tiny_base, root=str(tmp_path / "cut"))
    assert subprocess.run([sys.executable, "-c", code], env=environment).returncode == 9
    taken = interrupt_at(monkeypatch, -1, None)
    run = sft(tiny_base, tmp_path / "cut")
    assert len(taken) == 3
    whole = sft(tiny_base, tmp_path / "whole")
    assert run.id == whole.id and run.log["loss"].tolist() == pytest.approx(
        whole.log["loss"].tolist(), rel=near(device)
    )


def test_merged_it_is_the_model_that_was_trained(tiny_base, tmp_path, device):
    """A LoRA run to the last digits of the type; a QLoRA run without the rounding of its base nearly so, with it to the digits."""
    ids = torch.tensor(
        [templates.encode(loading.load_tokenizer(tiny_base), make_rows(1)[0]["messages"])[0]], device=device
    )

    def logits(run, **how) -> torch.Tensor:
        with torch.no_grad():
            return adapters.load_tuned(run, **how)[0](input_ids=ids).logits.float()

    lora, qlora = (sft(tiny_base, tmp_path, method) for method in ("lora", "qlora"))
    for run, how in ((lora, "merged"), (qlora, "unfolded")):
        trained, folded = logits(run), logits(run, **{how: True})
        assert (trained - folded).norm() < 2 * near(device) * trained.norm()
    trained, folded = logits(qlora), logits(qlora, merged=True)
    assert near(device) / 10 * trained.norm() < (trained - folded).norm() < 0.4 * trained.norm()


def test_the_first_loss_of_dpo_is_ln_2_and_the_policy_leaves_its_reference(tiny_base, tmp_path, device):
    run = sft(tiny_base, tmp_path)
    spec = DPOSpec(max_steps=4, batch_size=8, learning_rate=1e-3, scheduler="constant", warmup=0.0)
    tuned = preference.dpo(spec, make_pairs(16), sft_run=run, store=Store(tmp_path), quiet=True)
    assert (
        tuned.scores["first_loss"] == pytest.approx(0.693147, rel=preference.TOLERANCE) and tuned.scores["loss"] < 0.69
    )


@pytest.mark.parametrize("method", ["qlora", "full"])
@pytest.mark.parametrize(
    "loss, beta", [("sigmoid", 0.1), ("sigmoid+sft", 0.1), ("ipo", 0.1), ("sigmoid_norm", 2.0), ("kto", 0.1), ("sft", 0.1)]
)  # fmt: skip
def test_each_loss_on_pairs_begins_at_its_reference_and_learns_the_pairs(
    tiny_base, tmp_path, device, loss, beta, method
):
    run = sft(tiny_base, tmp_path, method)
    spec = DPOSpec(loss=loss, beta=beta, max_steps=12, batch_size=8, learning_rate=1e-3)
    log = preference.dpo(spec, make_pairs(16), sft_run=run, store=Store(tmp_path), quiet=True).log
    assert log["loss"].iloc[-1] < log["loss"].iloc[0]
    if loss not in ("kto", "sft"):  # one has answers of one kind in some steps, the other no reference
        assert log["rewards/margins"].iloc[0] == pytest.approx(0, abs=1e-3 * beta)
        assert log["rewards/margins"].iloc[-1] > 0 and log["rewards/accuracies"].iloc[-1] > 0.5


def letters(replies, rows):
    """Varies with every reply."""
    return [float(len(reply)) for reply in replies]


def rl(start, root, reward=letters, **fields):
    spec = RLSpec(
        **{"max_steps": 6, "prompts": 4, "completions": 4, "max_new_tokens": 12, "learning_rate": 1e-3, **fields}
    )
    return reinforcement.rl(spec, list(make_rows(12)), reward=reward, start=start, store=Store(root), quiet=True)  # fmt: skip


@pytest.mark.parametrize(
    "method, loss", [("lora", "dapo"), ("qlora", "grpo"), ("full", "dr_grpo"), ("qlora", "bnpo"), ("qlora", "rloo")]
)
def test_rl_begins_at_its_start_and_leaves_it(tiny_base, tmp_path, device, method, loss):
    log = rl(sft(tiny_base, tmp_path, method), tmp_path, loss=loss).log
    exact = reinforcement.EXACT_KL if device == "cpu" else reinforcement.ROUNDED_KL
    assert abs(log["kl"].iloc[0]) <= exact and log["kl"].iloc[-1] > abs(log["kl"].iloc[0])


def test_rl_makes_replies_longer_where_length_is_the_reward(tiny_base, tmp_path, device):
    run = sft(tiny_base, tmp_path, "lora", max_steps=30)
    log = rl(run, tmp_path, max_steps=25, prompts=8, beta=0.0, learning_rate=3e-3).log
    assert log["reward"].tail(5).mean() > log["reward"].iloc[0] + 2


def test_a_stopped_rl_goes_on_to_the_same_end(tiny_base, tmp_path, device, monkeypatch):
    start = sft(tiny_base, tmp_path)
    whole = rl(start, tmp_path / "whole")
    with monkeypatch.context() as patch:
        interrupt_at(patch, 3, lambda: signal.raise_signal(signal.SIGINT))
        with pytest.raises(KeyboardInterrupt, match="after step 3 of 6"):
            rl(start, tmp_path / "cut")
    taken = interrupt_at(monkeypatch, -1, None)
    run = rl(start, tmp_path / "cut")
    assert len(taken) == 3 and run.id == whole.id
    assert run.log["reward"].tolist() == pytest.approx(whole.log["reward"].tolist(), rel=near(device))


@pytest.mark.parametrize("method", ["lora", "qlora", "full"])
def test_a_reward_model_learns_its_pairs_and_a_policy_learns_from_it(tiny_base, tmp_path, device, method):
    run, pairs = sft(tiny_base, tmp_path, method), make_pairs(16)
    spec = RewardSpec(max_steps=25, batch_size=8, learning_rate=1e-3)
    judge = reward_models.reward_model(spec, pairs, sft_run=run, store=Store(tmp_path), quiet=True)
    assert judge.scores["first_loss"] == pytest.approx(math.log(2), rel=preference.TOLERANCE)
    assert samples.rate_pairs(judge, pairs, Store(tmp_path))["accurate"].mean() > 0.9
    learnt = rl(run, tmp_path, judge, max_steps=2)
    assert learnt.spec["reward"] == judge.id and learnt.log[f"rewards/{judge.id}/mean"].notna().all()


def test_batched_answers_are_those_of_one_at_a_time(tiny_base, tmp_path, device):
    model, tokenizer = adapters.load_tuned(sft(tiny_base, tmp_path, max_steps=30, learning_rate=1e-2))
    prompts = [templates.prompt_ids(tokenizer, row["messages"][:-1]) for row in make_rows(8)]
    together, alone = (generation.generate(model, tokenizer, prompts, 12, batch_size=size) for size in (8, 1))
    same = sum(a.text == b.text for a, b in zip(together, alone, strict=True))
    assert same == 8 if device == "cpu" else same >= 6  # in half precision a tie may fall the other way


def test_free_memory_is_that_of_the_device(device):
    before = memory.free_bytes(device)
    kept = torch.ones(2**26, device=device)
    torch.cuda.synchronize() if device == "cuda" else None
    if device == "cuda":
        assert before - memory.free_bytes(device) == pytest.approx(kept.nbytes, rel=0.1)
    assert 0 < memory.free_bytes(device) < 2**45
