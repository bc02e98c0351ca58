"""A large model computes in bf16 where the CPU is faster in it, says so, and stays what it is through a stop, a merge and an export."""

import math
import signal

import families
import pytest
import torch
from conftest import make_rows
from safetensors.torch import load_file
from test_grid import EVALUATION
from test_preference import make_pairs
from test_supervised import interrupt_at, spec_for, weights

from workbench.config import DPOSpec
from workbench.evaluate import scoring
from workbench.models import adapters, generation, loading, logprobs, memory, precision
from workbench.store import Store
from workbench.train import preference, supervised


@pytest.fixture
def large(monkeypatch):
    """Every model is a large one, and this CPU has units for bf16."""
    monkeypatch.setattr(precision, "LARGE", 0)
    monkeypatch.setattr(precision, "bf16_is_faster", lambda: True)


@pytest.fixture(scope="module")
def gemma(tmp_path_factory):
    return families.write("gemma3", tmp_path_factory.mktemp("gemma"), max_position_embeddings=512)


def test_only_large_models_on_a_cpu_with_fast_bf16_compute_in_it(monkeypatch, gemma):
    monkeypatch.setattr(precision, "bf16_is_faster", lambda: True)
    assert precision.compute_dtype("cpu", precision.LARGE) == torch.bfloat16
    assert precision.compute_dtype("cpu", precision.LARGE - 1) == torch.float32
    assert loading.load_base(gemma, device="cpu").dtype == torch.float32
    monkeypatch.setattr(precision, "bf16_is_faster", lambda: False)
    assert precision.compute_dtype("cpu", precision.LARGE) == torch.float32


def test_parameters_are_counted_without_loading_them(gemma, tiny_base):
    for base in (gemma, tiny_base):
        model = loading.load_base(base, device="cpu")
        assert precision.parameters(loading.hub.fetch(base).glob("*.safetensors")) == model.num_parameters()
        assert not precision.is_large(model)


@pytest.mark.parametrize("method", ["lora", "qlora", "full"])
def test_the_type_is_recorded_and_what_is_trained_stays_fp32(gemma, tmp_path, large, method):
    run = supervised.sft(spec_for(gemma, method), make_rows(16), store=Store(tmp_path), quiet=True)
    assert run.environment["dtype"] == ("float32" if method == "full" else "bfloat16")
    assert {value.dtype for value in load_file(next(run.adapter.glob("*.safetensors"))).values()} == {torch.float32}
    assert {"entropy", "mean_token_accuracy", "loss"} <= set(run.log.columns)
    assert len(scoring.score_run(run, EVALUATION[:2], Store(tmp_path))) == 2


def test_a_small_model_says_fp32(tiny_base, tmp_path):
    run = supervised.sft(spec_for(tiny_base), make_rows(16), store=Store(tmp_path), quiet=True)
    assert run.environment["dtype"] == "float32"


def test_a_training_goes_on_in_the_type_in_which_it_began(gemma, tmp_path, large, monkeypatch):
    spec, rows = spec_for(gemma), make_rows(24)
    whole = supervised.sft(spec, rows, store=Store(tmp_path / "whole"), quiet=True)
    store = Store(tmp_path / "cut")
    with monkeypatch.context() as patch:
        interrupt_at(patch, 3, lambda: signal.raise_signal(signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            supervised.sft(spec, rows, store=store, quiet=True)
    monkeypatch.setattr(precision, "bf16_is_faster", lambda: False)  # measured on a busy machine, or copied to another
    run = supervised.sft(spec, rows, store=store, quiet=True)
    assert run.environment["dtype"] == "bfloat16" and weights(run) == weights(whole)


def test_the_reference_of_dpo_is_the_model_it_starts_from_in_bf16_too(gemma, tmp_path, large):
    start = supervised.sft(spec_for(gemma), make_rows(16), store=Store(tmp_path), quiet=True)
    run = preference.dpo(
        DPOSpec(max_steps=2, batch_size=4), make_pairs(8), sft_run=start, store=Store(tmp_path), quiet=True
    )
    assert run.scores["first_loss"] == pytest.approx(math.log(2), abs=1e-6) and run.environment["dtype"] == "bfloat16"


@pytest.mark.parametrize("method", ["lora", "full"])
def test_the_model_that_answers_is_the_exported_one_rounded_once(gemma, tmp_path, large, method):
    run = supervised.sft(spec_for(gemma, method), make_rows(16), store=Store(tmp_path), quiet=True)
    merged = adapters.merge(run, tmp_path / "merged")
    exported, answering = loading.load_base(merged), adapters.load_any(run)[0]
    assert loading.load_base(merged, dtype=torch.float32).dtype == torch.float32
    assert exported.dtype == answering.dtype == torch.bfloat16
    ours, theirs = dict(answering.named_parameters()), dict(exported.named_parameters())
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
    ids = torch.arange(40)[None]  # the frequencies of rotary positions are not rounded
    with torch.no_grad():
        assert torch.equal(answering(input_ids=ids).logits, exported.eval()(input_ids=ids).logits)


def test_losses_of_a_large_model_are_those_of_the_plain_path(gemma, monkeypatch):
    model, tokenizer = loading.load_base(gemma, device="cpu"), loading.load_tokenizer(gemma)
    plain = logprobs.supervised_loss(model, tokenizer, make_rows(12))
    monkeypatch.setattr(precision, "LARGE", 0)
    monkeypatch.setattr(model, "forward", _without_prompts(model.forward))
    assert logprobs.supervised_loss(model, tokenizer, make_rows(12)) == pytest.approx(plain, abs=1e-5)


def _without_prompts(forward):
    def checked(*args, **kwargs):
        output = forward(*args, **kwargs)
        assert output.logits.ndim == 2, "logits of prompts were computed"
        return output

    return checked


def test_replies_in_fp32_do_not_depend_on_the_batch_and_little_memory_makes_it_small(gemma, monkeypatch):
    model, tokenizer = loading.load_base(gemma, device="cpu"), loading.load_tokenizer(gemma)
    prompts = [tokenizer(text)["input_ids"] for text in ("a", "Write a haiku", "x" * 40, "one two three", "Zebra")] * 10
    sizes, replies = [], []
    for least, free in ((precision.LARGE, 2**40), (0, 2**40), (0, 2**20)):
        monkeypatch.setattr(precision, "LARGE", least)
        monkeypatch.setattr(memory, "free_bytes", lambda device, free=free: free)
        sizes.append(generation.rows_at_a_time(model, 60))
        replies.append(generation.generate(model, tokenizer, prompts, 20))
    assert sizes[:2] == [16, 48] and 1 <= sizes[2] < 16
    assert replies[0] == replies[1] == replies[2]
