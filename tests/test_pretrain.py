"""A base model is made from nothing into a folder that anybody can load, and a killed training goes on to the same end."""

import json

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from workbench.errors import InputError
from workbench.pocket import base_model, corpus, facts

TINY = base_model.PretrainSpec(
    tokens=12 * 2 * base_model.CONTEXT, last_tokens=6 * 2 * base_model.CONTEXT, hidden=32, layers=1, heads=2, intermediate=48, vocabulary=600,
    batch=2, learning_rate=1e-2, last_learning_rate=5e-3,
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
    assert shape == (32, 1, 48, 600) and config.max_position_embeddings == base_model.CONTEXT
    assert len(tokenizer) == 600 and tokenizer.convert_tokens_to_ids(list(base_model.RESERVED)) == list(range(16))
    assert (config.bos_token_id, config.eos_token_id, config.pad_token_id) == (0, 0, 1)
    ids = tokenizer("The capital of Norway is", return_tensors="pt")
    assert tokenizer.decode(ids["input_ids"][0]) == "The capital of Norway is"
    assert model.generate(**ids, max_new_tokens=3, do_sample=False).shape[1] <= ids["input_ids"].shape[1] + 3


def test_the_folder_says_what_it_was_made_from(made):
    told = json.loads((made / "training.json").read_text())
    first, last = told["stretches"]
    assert first["corpus"] == corpus.digest(corpus.texts(int(TINY.tokens * 3.6), seed=0))
    assert last["corpus"] == corpus.digest(corpus.texts(int(TINY.last_tokens * 3.6), seed=2, mix=corpus.LAST))
    assert (first["genres"], last["genres"]) == (len(corpus.GENRES), len(corpus.LAST))
    assert base_model.PretrainSpec(**told["spec"]) == TINY
    assert told["facts"] == len(facts.facts())
    assert last["parameters"] == AutoModelForCausalLM.from_pretrained(made).num_parameters()
    assert (first["tokens"], last["tokens"]) == (TINY.tokens, TINY.last_tokens)
    assert last["held_out_loss"] < first["held_out_loss"] < 6.4  # ln 600: each stretch has learned something
    assert not made.with_name("base.partial").exists()


def test_blocks_hold_the_documents_one_after_the_other(made):
    tokenizer = AutoTokenizer.from_pretrained(made)
    texts = corpus.texts(8_000)
    blocks = base_model.blocks(texts, tokenizer, 3 * base_model.CONTEXT)
    assert len(blocks) == 3 and all(len(row) == base_model.CONTEXT for row in blocks["input_ids"])
    joined = "<|endoftext|>" + "<|endoftext|>".join(texts)
    assert joined.startswith(tokenizer.decode(torch.cat(list(blocks["input_ids"]))))
    assert all(torch.equal(row["input_ids"], row["labels"]) for row in blocks)


def test_a_folder_that_is_there_is_not_written_over(tmp_path):
    (tmp_path / "base").mkdir()
    with pytest.raises(InputError, match="base is there already; name another folder or remove it"):
        base_model.pretrain(tmp_path / "base", TINY)
    assert list(tmp_path.iterdir()) == [tmp_path / "base"]


@pytest.mark.parametrize(("killed", "kept"), [(7, 4), (12, 8), (17, 16)])  # of 12 steps and 6; saved every 4
def test_a_killed_training_goes_on_from_its_checkpoint_to_the_same_end(made, tmp_path, monkeypatch, killed, kept):
    usual = base_model.arguments

    def often(*args):
        arguments = usual(*args)
        arguments.save_steps = 4
        return arguments

    monkeypatch.setattr(base_model, "arguments", often)
    out = tmp_path / "base"
    with monkeypatch.context() as patch, pytest.raises(Killed):
        count_steps(patch, kill_after=killed)
        base_model.pretrain(out, TINY)
    assert not out.exists()
    with pytest.raises(InputError, match="holds a training with other settings"):
        base_model.pretrain(out, base_model.PretrainSpec(**{**vars(TINY), "seed": 1}))

    taken = count_steps(monkeypatch)
    assert base_model.pretrain(out, TINY) == out
    assert len(taken) == 12 + 6 - kept
    assert (out / "model.safetensors").read_bytes() == (made / "model.safetensors").read_bytes()
    assert list(tmp_path.iterdir()) == [out]
