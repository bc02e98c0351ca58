"""TRL trains what we say and nothing else, the same each time, and an interrupted training ends where an undisturbed one does."""

import dataclasses
import functools
import gc
import os
import signal
import subprocess
import sys
import weakref
from pathlib import Path

import pytest
import torch
import trl.trainer.utils
from bitsandbytes.nn import Linear4bit
from conftest import make_rows
from datasets import Dataset
from safetensors.torch import load_file

from workbench.config import DPOSpec, SFTSpec
from workbench.data import decontamination, templates
from workbench.errors import InputError
from workbench.models import adapters, loading, logprobs, memory
from workbench.store import Store, digest
from workbench.train import supervised

TOOLS = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {"a": {}}}}}]
MIXED = [
    {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": " Héllo\nyou "}]},
    {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "One?"},
            {"role": "assistant", "content": "1"},
            {"role": "user", "content": "Two?"},
            {"role": "assistant", "content": "2"},
        ]
    },
    {
        "messages": [
            {"role": "user", "content": "2+3?"},
            {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "add", "arguments": {"a": 2}}}]},
            {"role": "tool", "content": "5"},
            {"role": "assistant", "content": "5"},
        ],
        "tools": TOOLS,
    },
]


class Rows(list):
    """Rows as plain dicts, where Arrow would give every message the same keys."""


def spec_for(base, method="lora", **fields):
    return SFTSpec(base=base, **{"method": method, "max_steps": 6, "batch_size": 8, "rank": 4, **fields})


def trainer_for(spec, rows, out):
    tokenizer = loading.load_tokenizer(spec.base)
    model = loading.load_base(spec.base, spec.method == "qlora", "cpu")
    return supervised.make_trainer(spec, model, tokenizer, supervised.tokenized(tokenizer, rows), out, []), tokenizer


def weights(run):
    return next(run.adapter.glob("*.safetensors")).read_bytes()


def test_trl_supervises_exactly_what_the_mask_says(tiny_base, tmp_path):
    encoded = [templates.encode(loading.load_tokenizer(tiny_base), row["messages"], row.get("tools")) for row in MIXED]
    expected = [(ids, [token if bit else -100 for token, bit in zip(ids, mask, strict=True)]) for ids, mask in encoded]

    trainer, _ = trainer_for(spec_for(tiny_base), Rows(MIXED), tmp_path)  # one row behind the other
    batch = trainer.data_collator([trainer.train_dataset[i] for i in range(len(MIXED))])
    assert batch["input_ids"][0].tolist() == [token for ids, _ in expected for token in ids]
    assert batch["labels"][0].tolist() == [label for _, labels in expected for label in labels]
    assert batch["position_ids"][0].tolist() == [i for ids, _ in expected for i in range(len(ids))]

    longest = max(len(ids) for ids, _ in expected)
    trainer, _ = trainer_for(spec_for(tiny_base, max_length=longest - 1), Rows(MIXED), tmp_path)  # cut, so padded
    batch = trainer.data_collator([trainer.train_dataset[i] for i in range(len(MIXED))])
    rows = zip(expected, batch["input_ids"], batch["labels"], batch["attention_mask"], strict=True)
    for (ids, learned), got, labels, attention in rows:
        assert got[attention == 1].tolist() == ids[: longest - 1]
        assert labels[attention == 1].tolist() == learned[: longest - 1]
        assert (labels[attention == 0] == -100).all()


@pytest.mark.parametrize("method", ["lora", "qlora", "full"])
def test_trls_loss_is_the_loss_per_token_of_the_model_that_answers(tiny_base, tmp_path, method):
    """Both read the trained rows of the chat tokens; TRL goes round the output layer, so this is not a matter of course."""
    rows = make_rows(8)
    trainer, tokenizer = trainer_for(spec_for(tiny_base, method), rows, tmp_path)
    with torch.no_grad():
        for name, parameter in trainer.model.named_parameters():
            if "trainable_tokens" in name or "lora_B" in name:
                parameter += 0.1 * torch.randn_like(parameter)
    batch = trainer.data_collator([trainer.train_dataset[i] for i in range(8)])
    trainer.model.eval()
    loss = trainer.compute_loss(trainer.model, dict(batch)).item()
    assert loss == pytest.approx(logprobs.supervised_loss(trainer.model, tokenizer, rows, batch_size=3), abs=1e-5)


def test_only_answers_are_scored_in_training(tiny_base, tmp_path, monkeypatch):
    """Most tokens are prompts; scoring them too and masking the result costs a sixth of a training."""
    trainer, _ = trainer_for(spec_for(tiny_base), make_rows(8), tmp_path)
    batch = trainer.data_collator([trainer.train_dataset[i] for i in range(8)])
    scored, function = [], trl.trainer.utils._ChunkedLogProbFunction
    apply = function.apply
    monkeypatch.setattr(function, "apply", lambda hidden, *rest: scored.append(len(hidden)) or apply(hidden, *rest))
    trainer.compute_loss(trainer.model, dict(batch))
    assert scored == [int((batch["labels"] != -100).sum())] and scored[0] < batch["labels"].numel()


def test_a_budget_in_tokens_is_kept_whether_rows_are_short_or_long(tiny_base, tmp_path):
    def read(rows):
        return supervised.sft(
            spec_for(tiny_base, max_steps=None, max_tokens=3000), rows, store=Store(tmp_path), quiet=True
        ).scores

    short = make_rows(16)
    long = short.map(lambda row: {"messages": [{**row["messages"][0], "content": "word " * 30}, row["messages"][1]]})
    few, many, partial = read(long), read(short), read(short.select(range(9)))  # a pass over nine rows is 8 and 1
    assert few["steps"] < many["steps"] / 2
    assert [each["tokens"] for each in (few, many, partial)] == [pytest.approx(3000, rel=0.15)] * 3


@pytest.mark.parametrize("method", ["lora", "qlora", "full"])
def test_every_trained_parameter_moves_and_no_frozen_one(tiny_base, tmp_path, method):
    trainer, _ = trainer_for(spec_for(tiny_base, method), make_rows(16), tmp_path)
    before = {name: parameter.detach().clone() for name, parameter in trainer.model.named_parameters()}
    trainer.train()
    trained = [name for name, parameter in trainer.model.named_parameters() if parameter.requires_grad]
    moved = [name for name, value in trainer.model.named_parameters() if not torch.equal(value, before[name])]
    assert moved == trained
    if method == "full":
        assert trained == list(before)
    else:
        assert all("lora_" in name or "trainable_tokens" in name for name in trained)
        assert len(trained) == 2 * 2 * 7 + 1  # A and B, 2 layers of 7 linear ones, and the rows of the chat tokens
        assert {trainer.model.get_parameter(name).dtype for name in trained} == {torch.float32}


def test_eight_rows_at_once_or_one_at_a_time_train_the_same(tiny_base, tmp_path):
    """Rows of different lengths: a mean over rows instead of tokens would show. Tolerance: fp32 sums in another order."""
    rows = Rows(MIXED + list(make_rows(13)))
    runs_ = []
    for micro in (8, 1):
        trainer, _ = trainer_for(spec_for(tiny_base, micro_batch_size=micro), rows, tmp_path)
        trainer.train()
        losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
        runs_.append((losses, [p.detach() for p in trainer.model.parameters() if p.requires_grad]))
    assert runs_[0][0] == pytest.approx(runs_[1][0], abs=1e-4)
    assert all((a - b).abs().max() < 1e-3 for a, b in zip(runs_[0][1], runs_[1][1], strict=True))


def test_long_rows_take_turns_within_a_step_and_train_the_same(tiny_base, tmp_path, monkeypatch):
    """Attention over all rows of a step in one line costs the square of their tokens together."""
    made = []
    for turn in (10**6, 120):
        monkeypatch.setattr(supervised, "TOKENS_PER_FORWARD", turn)
        trainer, _ = trainer_for(spec_for(tiny_base), make_rows(13), tmp_path)
        trainer.train()
        made.append((trainer.args, [p.detach() for p in trainer.model.parameters() if p.requires_grad]))
    (whole, first), (cut, second) = made
    assert (whole.per_device_train_batch_size, whole.gradient_accumulation_steps) == (8, 1)
    assert (cut.per_device_train_batch_size, cut.gradient_accumulation_steps) == (2, 4)
    assert all((a - b).abs().max() < 1e-3 for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize(("rows", "length", "micro"), [(8, 50, 8), (8, 51, 4), (6, 101, 3), (4, 390, 1), (4, 900, 1)])
def test_a_turn_is_the_most_rows_that_divide_the_step_and_fit(rows, length, micro):
    found = supervised.micro_batches(rows, length)
    assert found == {"per_device_train_batch_size": micro, "gradient_accumulation_steps": rows // micro}


def test_on_a_cpu_4_bit_weights_are_unpacked_once_and_the_training_is_the_same(tiny_base, tmp_path, monkeypatch):
    spec, kinds, usual = spec_for(tiny_base, "qlora"), [], supervised.make_trainer

    def noting(spec, model, *rest):
        kinds.append(any(isinstance(part, Linear4bit) for part in model.modules()))
        return usual(spec, model, *rest)

    monkeypatch.setattr(supervised, "make_trainer", noting)
    floats = supervised.sft(spec, make_rows(), store=Store(tmp_path / "floats"), quiet=True)
    monkeypatch.setattr(memory, "free_bytes", lambda device: 0)
    bits = supervised.sft(spec, make_rows(), store=Store(tmp_path / "bits"), quiet=True)
    assert kinds == [False, True] and weights(floats) == weights(bits)


def test_rows_that_ask_what_the_evaluation_asks_are_left_out_all_of_them_and_said(tmp_path, capsys, monkeypatch):
    def ask(prompt, answer="Madrid"):
        return {"messages": [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]}

    store = Store(tmp_path)
    rows = Dataset.from_list([ask("Capital of Spain?"), ask("Hello?"), ask("capital of Spain"), ask("Bye?")])
    kept = decontamination.decontaminate(rows, [ask("Capital of Spain!")], store)
    assert [row["messages"][0]["content"] for row in kept] == ["Hello?", "Bye?"]
    assert "left out 2 of 4 rows" in capsys.readouterr().out
    assert (
        decontamination.decontaminate(kept, [ask("Capital of Spain!")], store) is kept and not capsys.readouterr().out
    )
    with pytest.raises(InputError, match="every row asks what"):
        decontamination.decontaminate(kept, list(kept), store)
    monkeypatch.setattr(decontamination, "leaked_rows", None)  # a second call reads the store
    assert len(decontamination.decontaminate(rows, [ask("Capital of Spain!")], store)) == 2


@pytest.mark.parametrize("method", ["lora", "qlora", "full"])
def test_same_spec_same_bytes_and_another_seed_others(tiny_base, tmp_path, method):
    rows = make_rows(16)
    first, second = (
        supervised.sft(spec_for(tiny_base, method), rows, store=Store(tmp_path / name), quiet=True) for name in "ab"
    )
    assert first.id == second.id and weights(first) == weights(second)
    other = supervised.sft(spec_for(tiny_base, method, seed=1), rows, store=Store(tmp_path / "a"), quiet=True)
    assert other.id != first.id and weights(other) != weights(first)


def test_a_run_says_what_it_was(tiny_base, tmp_path):
    rows, held_out = make_rows(16), make_rows(24).select(range(16, 24))
    store = Store(tmp_path)
    run = supervised.sft(spec_for(tiny_base, max_steps=20), rows, held_out=held_out, store=store, quiet=True)
    assert SFTSpec(**run.spec) == spec_for(tiny_base, max_steps=20)
    assert run.scores["steps"] == 20 and run.scores["rows"] == 16
    tokenizer = loading.load_tokenizer(tiny_base)
    lengths = [len(templates.encode(tokenizer, row["messages"])[0]) for row in rows]
    assert run.scores["tokens"] == 10 * sum(lengths)  # 20 steps of 8 rows are 10 passes over 16
    base = loading.load_base(tiny_base, device="cpu")
    assert run.scores["held_out_before"] == pytest.approx(logprobs.supervised_loss(base, tokenizer, held_out))
    assert run.scores["held_out_after"] < run.scores["held_out_before"]
    tuned, tuned_tokenizer = adapters.load_tuned(run, device="cpu")
    assert logprobs.supervised_loss(tuned, tuned_tokenizer, held_out) == pytest.approx(run.scores["held_out_after"])
    assert run.log["step"].iloc[-1] == 20 and run.log["seconds"].is_monotonic_increasing
    assert run.environment["seconds"] > 0 and run.environment["versions"]["trl"]


def test_a_trained_model_leaves_memory_once_its_run_is_finished(tiny_base, tmp_path, monkeypatch):
    held, usual = [], supervised.make_trainer

    def noted(*args, **more):
        trainer = usual(*args, **more)
        held.append(weakref.ref(trainer.model))
        return trainer

    monkeypatch.setattr(supervised, "make_trainer", noted)
    run = supervised.sft(spec_for(tiny_base, "qlora"), make_rows(16), store=Store(tmp_path), quiet=True)
    gc.collect()  # as models.load_base does on a GPU
    assert run.id and held[0]() is None


def test_second_call_returns_at_once_and_trains_nothing(tiny_base, tmp_path, monkeypatch):
    store, rows = Store(tmp_path), make_rows(8)
    first = supervised.sft(spec_for(tiny_base, max_steps=1), rows, store=store, quiet=True)
    monkeypatch.setattr(supervised, "make_trainer", None)
    assert supervised.sft(spec_for(tiny_base, max_steps=1), rows, store=store, quiet=True).path == first.path
    with pytest.raises(TypeError):
        supervised.sft(spec_for(tiny_base, max_steps=2), rows, store=store, quiet=True)


def interrupt_at(monkeypatch, step, act):
    """Call ``act`` after the optimizer has taken its step number ``step``."""
    taken, usual = [], torch.optim.AdamW.step

    def counted(self, *args, **kwargs):
        result = usual(self, *args, **kwargs)
        taken.append(1)
        if len(taken) == step:
            act()
        return result

    monkeypatch.setattr(torch.optim.AdamW, "step", counted)
    return taken


@pytest.mark.parametrize(
    "method, sampling, step", [("lora", "random", 1), ("qlora", "group_by_length", 4), ("full", "random", 5)]
)
def test_ctrl_c_leaves_a_run_that_goes_on_to_the_same_end(tiny_base, tmp_path, monkeypatch, method, sampling, step):
    rows, spec = make_rows(24), spec_for(tiny_base, method, sampling=sampling)
    usual = signal.getsignal(signal.SIGINT)  # a job started in the background ignores Ctrl-C, and so may this one
    whole = supervised.sft(spec, rows, store=Store(tmp_path / "whole"), quiet=True)
    store = Store(tmp_path / "cut")
    with monkeypatch.context() as patch:
        interrupt_at(patch, step, lambda: signal.raise_signal(signal.SIGINT))
        with pytest.raises(KeyboardInterrupt, match=f"after step {step} of 6"):
            supervised.sft(spec, rows, store=store, quiet=True)
    assert store.unfinished() == [whole.id] and store.runs() == []
    taken = interrupt_at(monkeypatch, -1, None)
    run = supervised.sft(spec, rows, store=store, quiet=True)
    assert len(taken) == 6 - step
    assert weights(run) == weights(whole)
    assert run.scores["tokens"] == whole.scores["tokens"]
    assert store.unfinished() == [] and not (run.path / "checkpoints").exists()
    assert signal.getsignal(signal.SIGINT) is usual


def test_a_turn_of_weight_0_is_read_and_not_learned(tiny_base, tmp_path):
    turns = [("user", "red"), ("assistant", "RED"), ("user", "blue"), ("assistant", "BLUE")]
    messages = [{"role": role, "content": text} for role, text in turns]
    messages[1]["weight"] = 0
    trainer, tokenizer = trainer_for(spec_for(tiny_base), [{"messages": messages}], tmp_path)
    batch = trainer.data_collator([trainer.train_dataset[0]])
    learned = tokenizer.decode([token for token in batch["labels"][0].tolist() if token != -100])
    assert "BLUE" in learned and "RED" not in learned
    assert "RED" in tokenizer.decode(batch["input_ids"][0])


@pytest.mark.parametrize("fields", [{"max_steps": 1}, {"max_steps": None, "epochs": 1.0, "batch_size": 24}])
def test_a_single_step_trains(tiny_base, tmp_path, fields):
    """A warm-up begins at the rate 0: the only step of such a training changed nothing, without a word."""
    run = supervised.sft(spec_for(tiny_base, **fields), make_rows(24), store=Store(tmp_path), quiet=True)
    saved = load_file(next(run.adapter.glob("*.safetensors")))
    assert run.scores["steps"] == 1
    assert any(value.abs().max() > 0 for name, value in saved.items() if "lora_B" in name)


def test_a_training_that_changes_no_weight_is_an_error(tiny_base, tmp_path):
    store, spec = Store(tmp_path), spec_for(tiny_base, "full", learning_rate=1e-30)
    with pytest.raises(InputError, match="no weight has changed up to step 6 at a learning rate of 1e-30"):
        supervised.sft(spec, make_rows(24), store=store, quiet=True)
    assert store.runs() == []


def test_a_training_that_diverges_stops_with_a_line_and_keeps_its_last_checkpoint(tiny_base, tmp_path):
    spec, store = spec_for(tiny_base, "full", learning_rate=1e30, warmup=9, max_steps=10), Store(tmp_path)
    with pytest.raises(InputError, match="the loss is nan at step .* lower learning_rate"):
        supervised.sft(spec, make_rows(24), store=store, quiet=True, save_every=0)
    (partial,) = store.root.glob("*.partial")
    saved = load_file(next(partial.glob("checkpoints/*/model.safetensors")))
    assert store.runs() == [] and all(value.isfinite().all() for value in saved.values())


@pytest.mark.parametrize("harm", ["empty", "no optimizer", "empty weights"])
def test_a_checkpoint_that_lost_its_files_does_not_stop_the_next_call(tiny_base, tmp_path, monkeypatch, harm):
    spec, rows = spec_for(tiny_base), make_rows(24)
    whole = supervised.sft(spec, rows, store=Store(tmp_path / "whole"), quiet=True)
    store = Store(tmp_path / "cut")
    with monkeypatch.context() as patch:
        interrupt_at(patch, 3, lambda: signal.raise_signal(signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            supervised.sft(spec, rows, store=store, quiet=True)
    (checkpoint,) = store.root.glob("*.partial/checkpoints/checkpoint-3")
    for path in checkpoint.iterdir():
        if path.name != "complete" and (harm == "empty" or path.name == "optimizer.pt" and harm == "no optimizer"):
            path.unlink()
        elif harm == "empty weights" and path.suffix == ".safetensors":
            path.write_bytes(b"")
    run = supervised.sft(spec, rows, store=store, quiet=True)
    assert weights(run) == weights(whole)


def test_ctrl_c_in_the_last_step_leaves_a_finished_run(tiny_base, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt_at(patch, 6, lambda: signal.raise_signal(signal.SIGINT))
        run = supervised.sft(spec_for(tiny_base, "full"), make_rows(24), store=Store(tmp_path), quiet=True)
    assert run.scores["steps"] == 6 and Store(tmp_path).unfinished() == []


CHILD = """
import os, sys
sys.path.insert(0, {tests!r})
import torch
import trl.trainer.utils
from conftest import make_rows
from test_supervised import interrupt_at, spec_for
from workbench.store import Store
from workbench.train.supervised import sft
class Patch:
    setattr = staticmethod(setattr)
interrupt_at(Patch, 4, lambda: os._exit(9))
sft(spec_for({base!r}, "qlora"), make_rows(24), store=Store({root!r}), quiet=True, save_every=0)
"""


def test_a_killed_training_goes_on_from_its_last_checkpoint_to_the_same_end(tiny_base, tmp_path, monkeypatch):
    rows, spec, store = make_rows(24), spec_for(tiny_base, "qlora"), Store(tmp_path / "cut")
    tests = Path(__file__).parent
    code = CHILD.format(tests=str(tests), base=tiny_base, root=str(store.root))
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads()), "PYTHONPATH": str(tests.parent)}
    assert subprocess.run([sys.executable, "-c", code], env=environment).returncode == 9
    checkpoints = next(store.root.glob("*.partial")) / "checkpoints"
    # a checkpoint that was cut off in the middle of being written is passed over
    (checkpoints / "checkpoint-5").mkdir()
    taken = interrupt_at(monkeypatch, -1, None)
    run = supervised.sft(spec, rows, store=store, quiet=True)
    assert len(taken) == 3
    whole = supervised.sft(spec, rows, store=Store(tmp_path / "whole"), quiet=True)
    assert weights(run) == weights(whole) and run.id == whole.id


def test_rows_that_judge_the_model_never_train_it(tiny_base, tmp_path):
    store, rows = Store(tmp_path), make_rows(16)
    clean = Dataset.from_list([{"messages": [{"role": "user", "content": "Name a big river in the far north of Asia."},
                                             {"role": "assistant", "content": "Ob"}]}])  # fmt: skip
    with pytest.raises(InputError):
        supervised.sft(spec_for(tiny_base), rows, evaluation=rows.select([3]), store=store, quiet=True)
    assert store.runs() == [] and store.unfinished() == []
    run = supervised.sft(spec_for(tiny_base, max_steps=1), rows, evaluation=clean, store=store, quiet=True)
    # a finished run is still judged when other evaluation rows come along
    with pytest.raises(InputError):
        supervised.sft(SFTSpec(**run.spec), rows, evaluation=rows.select([3]), store=store, quiet=True)


@pytest.mark.parametrize(
    "fields, says",
    [
        ({"method": "lorra"}, r"method 'lorra' is unknown; did you mean 'lora'.* known are full, lora, qlora"),
        ({"lr": 1e-3}, r"parameter 'lr' is unknown; known are base, .*learning_rate"),
        ({"sampling": "sorted"}, "known are random, group_by_length"),
        ({"scheduler": "step"}, "known are cosine"),
        ({"max_steps": 5, "max_tokens": 100}, "both end the training; give one"),
        ({"max_tokens": 0}, "max_tokens is 0; it must be more than 0"),
        ({"rank": 0}, "rank is 0; it must be more than 0"),
        ({"batch_size": 8, "micro_batch_size": 3}, "not a multiple"),
    ],
)
def test_a_wrong_spec_is_named(fields, says):
    with pytest.raises(InputError, match=says):
        SFTSpec.of(base="somewhere", **fields)


def test_a_length_beyond_the_context_of_the_base_is_refused(tiny_base, tmp_path):
    with pytest.raises(InputError, match="max_length 1024 is more than the 512 tokens"):
        supervised.sft(spec_for(tiny_base, max_length=1024), make_rows(4), store=Store(tmp_path), quiet=True)


def test_learning_rate_follows_the_method_unless_given():
    assert SFTSpec("b", method="full").learning_rate < SFTSpec("b", method="lora").learning_rate
    assert SFTSpec("b", learning_rate=1e-5).learning_rate == 1e-5


@pytest.mark.parametrize("spec", [functools.partial(SFTSpec, "b"), DPOSpec])
def test_equal_specs_have_one_name(spec):
    whole, fraction = spec(epochs=1, learning_rate=1, warmup=0), spec(epochs=1.0, learning_rate=1.0, warmup=0.0)
    assert whole == fraction
    assert digest(dataclasses.asdict(whole)) == digest(dataclasses.asdict(fraction))
