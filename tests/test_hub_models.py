"""A base as the Hub has them, with nothing of the pocket one: SmolLM2's tokenizer settings and shape, small and random.

bos = eos = unk = <|endoftext|>, no pad token, ChatML's tokens in the vocabulary but no chat template, no tool tokens, grouped queries.
"""

import pytest
import torch
from conftest import make_rows
from test_preference import make_pairs
from tokenizers import Tokenizer, decoders, pre_tokenizers, trainers
from tokenizers import models as kinds
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from workbench.config import DPOSpec, SFTSpec
from workbench.data import chat_templates, reading, templates, validation
from workbench.evaluate import scoring, stats
from workbench.experiments import export
from workbench.models import adapters, generation, loading
from workbench.pocket import tasks
from workbench.store import Store
from workbench.train import preference, supervised

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<repo_name>", "<reponame>", "<file_sep>", "<filename>", "<gh_stars>",
           "<issue_start>", "<jupyter_code>", "<empty_output>"]  # fmt: skip
TOOL_ROW = next(row for row in tasks.read_rows("tuning") if row.get("tools"))


def make_tokenizer(special: list[str]) -> PreTrainedTokenizerFast:
    """Byte-level BPE with single digits, as SmolLM2's, of 700 tokens."""
    raw = Tokenizer(kinds.BPE())
    raw.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    raw.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    raw.train_from_iterator(
        [turn["content"] for row in tasks.read_rows("tuning")[:300] for turn in row["messages"]], trainer
    )
    end = "<|endoftext|>"
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, bos_token=end, eos_token=end, unk_token=end, extra_special_tokens=special[1:],
        model_max_length=8192,
    )  # fmt: skip


@pytest.fixture(scope="module")
def smol(tmp_path_factory):
    """Folder with such a base."""
    folder = tmp_path_factory.mktemp("smol")
    make_tokenizer(SPECIAL).save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=704, hidden_size=48, intermediate_size=128, num_hidden_layers=2, num_attention_heads=3, num_key_value_heads=1,
        max_position_embeddings=8192, tie_word_embeddings=True, rope_theta=130_000, initializer_range=0.1, bos_token_id=0,
        eos_token_id=0,
    )  # fmt: skip
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def tuned(smol, store):
    spec = SFTSpec(base=smol, max_steps=60, batch_size=8, learning_rate=1e-2)
    return supervised.sft(spec, make_rows(8), store=store, quiet=True)


def test_the_tokenizer_gets_chatml_and_a_pad_token_that_no_text_holds(smol):
    assert AutoTokenizer.from_pretrained(smol).pad_token is AutoTokenizer.from_pretrained(smol).chat_template is None
    tokenizer = loading.load_tokenizer(smol)
    assert tokenizer.chat_template == chat_templates.CHATML and templates.end_of_turn(tokenizer) == 2
    assert tokenizer.pad_token == "<empty_output>" and tokenizer.pad_token_id not in (0, 1, 2)
    assert adapters.chat_token_ids(tokenizer) == [1, 2]
    assert len(tokenizer) <= loading.load_base(smol, device="cpu").config.vocab_size


def test_a_token_with_a_task_is_never_the_pad_token(tmp_path):
    make_tokenizer(SPECIAL[:3]).save_pretrained(tmp_path)
    tokenizer = loading.load_tokenizer(tmp_path)
    assert (tokenizer.pad_token, tokenizer.pad_token_id) == ("<|pad|>", 700)


def test_its_training_trains_the_chat_tokens_and_the_doctor_finds_nothing_wrong(smol, tuned):
    tokenizer = loading.load_tokenizer(smol)
    rows = reading.to_dataset([*make_rows(4), {"messages": TOOL_ROW["messages"], "tools": TOOL_ROW["tools"]}])
    found = validation.validate(rows, tokenizer, 512, trainable=adapters.chat_token_ids(tokenizer))
    assert {finding.level for finding in found} <= {"note"}
    base, (model, _) = loading.load_base(smol, device="cpu"), adapters.load_tuned(tuned)
    before, after = (which.get_input_embeddings()(torch.arange(704)) for which in (base, model))
    assert (before != after).any(dim=1).nonzero().flatten().tolist() == [1, 2]


def test_it_answers_and_stops_at_the_end_of_its_turn(tuned):
    model, tokenizer = adapters.load_tuned(tuned)
    prompts = [templates.prompt_ids(tokenizer, row["messages"][:-1]) for row in make_rows(8)]
    replies = generation.generate(model, tokenizer, prompts, 24)
    assert [reply.text for reply in replies] == [row["messages"][-1]["content"] for row in make_rows(8)]
    assert all(reply.stopped for reply in replies) and set(model.generation_config.eos_token_id) == {0, 2}


def test_the_pocket_evaluation_scores_base_and_tuned_in_every_mode(smol, tuned, store):
    test = [*tasks.evaluation("test", 24), TOOL_ROW]
    table = scoring.score_run(tuned, test, store)
    for mode in scoring.MODES:
        rows = tasks.cloze("test", 4) if mode == "cloze" else test
        base = scoring.score_base(smol, rows, mode, shots=tasks.read_rows("tuning")[:200], store=store)
        assert len(base) == len(rows) and base["follows"].notna().all()
    plain = scoring.score_base(smol, test, "plain", store=store)
    assert stats.difference(table, plain, "stops").prompts == len(test)
    assert scoring.forgetting(tuned, ["Paris is the capital of France."], store) != 0


def test_dpo_starts_from_it_and_it_is_handed_on(tuned, store, tmp_path):
    pairs = reading.to_dataset(make_pairs(8))
    run = preference.dpo(DPOSpec(max_steps=2, batch_size=4), pairs, sft_run=tuned, store=store, quiet=True)
    assert run.scores["first_loss"] == pytest.approx(run.scores["first_loss_due"], abs=1e-4)
    folder = export.export_run(tuned, tmp_path / "model")
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    asked = make_rows(8)[0]["messages"]
    prompt = tokenizer.apply_chat_template(asked[:1], add_generation_prompt=True, return_tensors="pt")["input_ids"]
    written = model.generate(prompt, max_new_tokens=24, do_sample=False)[0, prompt.shape[1] :]
    assert tokenizer.decode(written, skip_special_tokens=True) == asked[1]["content"]
