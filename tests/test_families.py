"""Bases of every family, tiny, with the real classes and special tokens: trained by each method, on pairs, exported, and asked in plain transformers."""

import signal

import pytest
import torch
import transformers
from conftest import make_rows
from families import FAMILIES, write
from safetensors.torch import load_file
from test_chat_formats import EXPECTED
from test_preference import make_pairs
from test_supervised import interrupt_at, weights

from workbench.config import DPOSpec, SFTSpec
from workbench.data import chat_templates, reading, templates
from workbench.errors import InputError
from workbench.experiments import export
from workbench.models import adapters, embedding_rows, generation, loading, logprobs, memory
from workbench.store import Store
from workbench.train import preference, supervised, trl_yaml

ROWS = make_rows(8)
NOT_IN_4_BITS = ("falcon", "olmoe", "mamba")
CASES = [(name, method) for name in FAMILIES for method in ("qlora", "lora", "full") if (name, method) not in {(each, "qlora") for each in NOT_IN_4_BITS}]  # fmt: skip


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    return {name: write(name, tmp_path_factory.mktemp(name)) for name in FAMILIES}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("runs"))


def train(base, store, method="lora", **fields):
    settings = {"rank": 2, "max_steps": 2, "batch_size": 4, "learning_rate": 1e-2, "max_length": 128} | fields
    return supervised.sft(SFTSpec(base=base, method=method, **settings), ROWS, store=store, quiet=True)


@pytest.mark.parametrize("name, method", CASES)
def test_sft_dpo_and_the_export_answers_alike_in_plain_transformers(bases, store, tmp_path, name, method):
    run = train(bases[name], store, method)
    format_name, end, *_ = EXPECTED[name]
    assert (run.record["template"]["name"], run.record["template"]["end"]) == (format_name, end)
    pairs = reading.to_dataset(make_pairs(4))
    tuned = preference.dpo(
        DPOSpec(max_steps=1, batch_size=4, max_length=128), pairs, sft_run=run, store=store, quiet=True
    )
    assert tuned.scores["first_loss"] == pytest.approx(tuned.scores["first_loss_due"], abs=1e-4)
    folder = export.export_run(run, tmp_path / "out")
    ours, tokenizer = adapters.load_tuned(run, merged=True, device="cpu")
    plain = transformers.AutoModelForCausalLM.from_pretrained(folder)
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    ends = plain.generation_config.eos_token_id
    assert set(ends) == {tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids(end)}
    assert plain.generation_config.pad_token_id == theirs.pad_token_id not in ends
    tied = [each.get_input_embeddings().weight is each.get_output_embeddings().weight for each in (loading.load_base(bases[name]), ours, plain)]  # fmt: skip
    assert len(set(tied)) == 1
    for row in ROWS.select(range(3)):
        prompt = theirs.apply_chat_template(row["messages"][:1], add_generation_prompt=True, return_tensors="pt", return_dict=True)  # fmt: skip
        ids = prompt["input_ids"][0].tolist()
        assert ids == templates.prompt_ids(tokenizer, row["messages"][:1])
        written = plain.generate(**prompt, max_new_tokens=8, do_sample=False)[0, len(ids) :].tolist()
        (reply,) = generation.generate(ours, tokenizer, [ids], 8)
        assert reply == generation.read_reply(theirs, ids[-1], written, ends, [])


@pytest.mark.parametrize("name", ["gemma3", "pythia", "mamba", "olmoe"])
def test_it_learns_to_answer_and_to_stop_at_the_end_token(bases, store, name):
    run = train(bases[name], store, max_steps=120, learning_rate=2e-2, rank=8)
    model, tokenizer = adapters.load_any(run)
    prompts = [templates.prompt_ids(tokenizer, row["messages"][:1]) for row in ROWS]
    replies = generation.generate(model, tokenizer, prompts, 16)
    right = [
        reply.stopped and reply.text == row["messages"][1]["content"] for reply, row in zip(replies, ROWS, strict=True)
    ]
    assert sum(right) >= 6, replies


@pytest.mark.parametrize("name", FAMILIES)
def test_an_adapter_changes_the_rows_of_the_turn_tokens_and_no_others(bases, store, name):
    run = train(bases[name], store)
    tuned, tokenizer = adapters.load_tuned(run, merged=True, device="cpu")
    base = loading.load_base(bases[name], device="cpu", tokenizer=tokenizer)
    before, after = (model.get_input_embeddings().weight for model in (base, tuned))
    changed = (before != after).any(dim=1).nonzero().flatten().tolist()
    written = {token for row in ROWS for token in templates.encode(tokenizer, row["messages"])[0]}
    turns = set(adapters.chat_token_ids(tokenizer))
    assert turns & written <= set(changed) <= turns
    assert all(len(value) != len(after) for value in load_file(run.adapter / "adapter_model.safetensors").values())


def test_the_export_of_a_mixture_of_experts_answers_a_batch(bases, store, tmp_path):
    folder = export.export_run(train(bases["olmoe"], store, "full"), tmp_path / "out")
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, padding_side="left")
    asked = [[{"role": "user", "content": text}] for text in ("Hi", "How are you?")]
    prompts = tokenizer.apply_chat_template(asked, add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True)  # fmt: skip
    assert model.generate(**prompts, max_new_tokens=3).shape[0] == 2 and not model.config.output_router_logits


@pytest.mark.parametrize("name", ["gpt2", "llama2", "phi", "mamba"])
def test_new_rows_start_at_the_mean_and_the_old_ones_stay(bases, name):
    tokenizer, bare = loading.load_tokenizer(bases[name]), loading.load_base(bases[name], device="cpu")
    grown = loading.load_base(bases[name], device="cpu", tokenizer=tokenizer)
    for side in ("get_input_embeddings", "get_output_embeddings"):
        old, new = (getattr(model, side)().weight for model in (bare, grown))
        assert len(new) == embedding_rows.rows_needed(tokenizer) == len(tokenizer) and torch.equal(new[: len(old)], old)
        assert torch.allclose(new[len(old) :], old.mean(0), atol=1e-6)
    ids = torch.tensor([[5, 6, 7, 8]])
    assert torch.equal(bare(ids).logits, grown(ids).logits[..., : len(old)])


@pytest.mark.parametrize("name, apart", [("llama3", True), ("gpt2", True), ("opt", False), ("falcon", False), ("bloom", False), ("mamba", False)])  # fmt: skip
def test_rows_trained_together_do_not_see_each_other(store, tmp_path, name, apart):
    base = write(name, tmp_path / "base", dropout=0.0, attn_pdrop=0.0, resid_pdrop=0.0, embd_pdrop=0.0)
    assert logprobs.keeps_rows_apart(loading.load_base(base, device="cpu")) == apart
    found = []
    for micro in (4, 1):
        run = train(base, store, max_steps=1, batch_size=4, micro_batch_size=micro)
        found.append(run.scores["loss"])
    assert found[0] == pytest.approx(found[1], abs=1e-5)


@pytest.mark.parametrize("name", NOT_IN_4_BITS)
def test_a_method_that_an_architecture_cannot_take_is_refused_before_anything_is_loaded(
    bases, store, monkeypatch, name
):
    monkeypatch.setattr(loading, "load_base", lambda *_, **__: pytest.fail("the base was loaded"))
    with pytest.raises(
        InputError, match="method qlora does not fit the architecture .*; take method lora or full"
    ) as error:
        train(bases[name], store, "qlora")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_memory_of_a_training_can_be_estimated(bases, name):
    model = loading.load_base(bases[name], device="cpu")
    shape = memory.ModelShape.of(model)
    assert shape.linear + shape.other == model.num_parameters() and shape.intermediate >= shape.hidden


def test_a_training_with_new_tokens_goes_on_from_a_checkpoint_to_the_same_end(bases, tmp_path, monkeypatch):
    whole = train(bases["gpt2"], Store(tmp_path / "whole"), max_steps=4)
    with monkeypatch.context() as patch:
        interrupt_at(patch, 2, lambda: signal.raise_signal(signal.SIGINT))
        with pytest.raises(KeyboardInterrupt, match="after step 2 of 4"):
            train(bases["gpt2"], Store(tmp_path / "cut"), max_steps=4)
    assert weights(train(bases["gpt2"], Store(tmp_path / "cut"), max_steps=4)) == weights(whole)


def test_a_template_that_was_edited_makes_another_run(bases, store, tmp_path):
    path = tmp_path / "mine.jinja"
    found = []
    for text in (chat_templates.CHATML, chat_templates.CHATML.replace("assistant\\n", "helper\\n")):
        path.write_text(text)
        found.append(train(bases["smollm"], store, max_steps=1, template=str(path)))
    assert (
        found[0].id != found[1].id and found[0].id == train(bases["smollm"], store, max_steps=1, template="chatml").id
    )


def test_the_choice_is_printed_once_and_a_named_template_is_another_run(bases, store, capsys):
    spec = SFTSpec(base=bases["gpt2"], method="lora", rank=2, max_steps=1, batch_size=4, max_length=128)
    runs = [supervised.sft(spec, ROWS, store=store), supervised.sft(spec, ROWS, store=store)]
    assert runs[0].id == runs[1].id and runs[0].spec.get("template") is None
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("template")]
    assert len(lines) == 1 and "added to the vocabulary: <|im_start|>, <|im_end|>, <|pad|>" in lines[0]
    assert "the embedding grows from 257 to 260 rows, which start at the mean" in lines[0]
    other = train(bases["gpt2"], store, max_steps=1, template="gemma3")
    assert other.id != runs[0].id and other.record["template"]["end"] == "<end_of_turn>"
    with pytest.raises(InputError, match="tokens that the base lacks .*trl sft` adds none"):
        trl_yaml.write_trl_yaml(other, "anywhere")
