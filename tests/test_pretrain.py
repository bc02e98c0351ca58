"""A base model is made from nothing into a folder that anybody can load, and a killed training goes on to the same end."""

import hashlib
import json

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from workbench.errors import InputError
from workbench.pocket import base_model, corpus, facts
from workbench.pocket.base_model import PretrainSpec
from workbench.pocket.tokenizer import CONTEXT, RESERVED

TINY = PretrainSpec(
    tokens=12 * 2 * CONTEXT, last_tokens=6 * 2 * CONTEXT, hidden=32, layers=1, heads=2, intermediate=48, vocabulary=600,
    batch=2, learning_rate=1e-2, last_learning_rate=1e-2, words_from=1_000,
)  # fmt: skip


class Killed(BaseException):
    """Nothing catches it, as nothing catches a kill."""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder of a training that nothing disturbed."""
    return base_model.pretrain(tmp_path_factory.mktemp("pretrained") / "base", TINY)


def count_steps(monkeypatch, kill_after=None) -> list:
    """Count the optimizer's steps; after some of them the training dies."""
    taken, usual = [], torch.optim.AdamW.step

    def counted(self, *args, **kwargs):
        result = usual(self, *args, **kwargs)
        taken.append(1)
        if len(taken) == kill_after:
            raise Killed
        return result

    monkeypatch.setattr(torch.optim.AdamW, "step", counted)
    return taken


def test_the_folder_loads_as_any_model_does(made):
    model, tokenizer = AutoModelForCausalLM.from_pretrained(made), AutoTokenizer.from_pretrained(made)
    assert model.config.model_type == "llama" and model.dtype == torch.bfloat16
    config = model.config
    shape = (config.hidden_size, config.num_hidden_layers, config.intermediate_size, config.vocab_size)
    assert shape == (32, 1, 48, 600) and config.max_position_embeddings == CONTEXT
    assert len(tokenizer) == 600 and tokenizer.convert_tokens_to_ids(list(RESERVED)) == list(range(16))
    assert (config.bos_token_id, config.eos_token_id, config.pad_token_id) == (0, 0, 1)
    ids = tokenizer("The capital of Norway is", return_tensors="pt")
    assert tokenizer.decode(ids["input_ids"][0]) == "The capital of Norway is"
    assert model.generate(**ids, max_new_tokens=3, do_sample=False).shape[1] <= ids["input_ids"].shape[1] + 3


def test_the_folder_says_what_it_was_made_from(made):
    told = json.loads((made / "training.json").read_text())
    first, last = told["stretches"]
    for stretch, part in zip(TINY.stretches(), (first, last), strict=True):
        assert part["parts"] == [corpus.digest(stretch.texts(number)) for number in range(corpus.PARTS)]
        assert part["corpus"] == hashlib.sha256("".join(part["parts"]).encode()).hexdigest()
    genres = [part["genres"] for part in (first, last)]
    assert genres == [len(mix) for mix in (corpus.FIRST, corpus.THEN)]
    assert PretrainSpec(**told["spec"]) == TINY
    assert told["facts"] == len(facts.facts())
    assert last["parameters"] == AutoModelForCausalLM.from_pretrained(made).num_parameters()
    assert [part["tokens"] for part in (first, last)] == [TINY.tokens, TINY.last_tokens]
    assert (
        max(part["held_out_loss"] for part in (first, last)) < 6.0
    )  # ln 600 is 6.4: each stretch has learned something
    assert not made.with_name("base.partial").exists()


def test_blocks_hold_the_documents_one_after_the_other(made):
    tokenizer = AutoTokenizer.from_pretrained(made)
    texts = corpus.texts(8_000)
    blocks = base_model.blocks(base_model.token_ids(texts, tokenizer), 3 * CONTEXT)
    assert blocks.shape == (3, CONTEXT)
    joined = "<|endoftext|>" + "<|endoftext|>".join(texts)
    assert joined.startswith(tokenizer.decode(blocks.flatten()))


def test_a_stretch_is_written_the_same_in_one_process_and_in_several(made):
    tokenizer, stretch = AutoTokenizer.from_pretrained(made), TINY.stretches()[1]
    alone, together = (base_model.written(stretch, tokenizer, jobs) for jobs in (1, 2))
    assert torch.equal(alone[0], together[0]) and alone[1] == together[1]


def test_the_rate_rises_stays_and_falls():
    factors = [base_model.factor(step, 1_000, 0.45) for step in range(1_000)]
    assert factors[0] == 0.01 and factors[99:550] == [1.0] * 451 and max(factors) == 1
    assert factors[:100] == sorted(factors[:100]) and factors[550:] == sorted(factors[550:], reverse=True)
    assert factors[-1] == 0.02


def test_a_folder_that_is_there_is_not_written_over(tmp_path):
    (tmp_path / "base").mkdir()
    with pytest.raises(InputError, match="base is there already; name another folder or remove it"):
        base_model.pretrain(tmp_path / "base", TINY)
    assert list(tmp_path.iterdir()) == [tmp_path / "base"]


@pytest.mark.parametrize(("killed", "kept"), [(7, 4), (12, 8), (17, 16)])  # of 12 steps and 6; saved every 4
def test_a_killed_training_goes_on_from_its_checkpoint_to_the_same_end(made, tmp_path, monkeypatch, killed, kept):
    monkeypatch.setattr(base_model, "SAVE_EVERY", 4)
    out = tmp_path / "base"
    with monkeypatch.context() as patch, pytest.raises(Killed):
        count_steps(patch, kill_after=killed)
        base_model.pretrain(out, TINY)
    assert not out.exists()
    with pytest.raises(InputError, match="holds a training with other settings"):
        base_model.pretrain(out, PretrainSpec(**{**vars(TINY), "seed": 1}))

    taken = count_steps(monkeypatch)
    assert base_model.pretrain(out, TINY) == out
    assert len(taken) == 12 + 6 - kept
    assert (out / "model.safetensors").read_bytes() == (made / "model.safetensors").read_bytes()
    assert list(tmp_path.iterdir()) == [out]
