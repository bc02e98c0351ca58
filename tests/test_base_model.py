"""The gates of the base model that we ship, on facts whose question the tuning data never asks."""

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from workbench.evaluate import scoring
from workbench.models import loading
from workbench.pocket import base_model, corpus, facts, probes, tasks
from workbench.pocket.tokenizer import RESERVED

BASE = facts.DATA / "pocket-base"


@pytest.fixture(scope="module")
def base():
    return loading.load_base(str(BASE), device="cpu"), loading.load_tokenizer(str(BASE))


def test_it_is_small_and_loads_as_any_model_does():
    model, tokenizer = AutoModelForCausalLM.from_pretrained(BASE), AutoTokenizer.from_pretrained(BASE)
    assert model.num_parameters() <= 10_000_000
    assert sum(path.stat().st_size for path in BASE.rglob("*") if path.is_file()) <= 20_000_000
    assert model.get_input_embeddings().num_embeddings == len(tokenizer)
    assert tokenizer.convert_tokens_to_ids(list(RESERVED)) == list(range(16))


def test_it_knows_the_facts(base):
    """Sentences that end before their answer."""
    assert scoring.score(*base, tasks.cloze("test", 300), "cloze")["correct"].mean() >= 0.95


def test_it_answers_questions_after_solved_examples(base):
    rows = [row for row in tasks.evaluation("test", 300) if row["skill"] == "knowledge"]
    assert len(rows) >= 80
    assert scoring.score(*base, rows, "few_shot", shots=tasks.read_rows("tuning"))["correct"].mean() >= 0.80


@pytest.mark.parametrize(("mode", "at_most"), [("plain", 0.10), ("chat", 0.05)])
def test_it_does_not_follow_instructions(base, mode, at_most):
    assert scoring.score(*base, tasks.evaluation("test", 300), mode)["follows"].mean() <= at_most


@pytest.mark.parametrize(("kind", "at_least"), [("number", 0.95), ("word", 0.75), ("made-up word", 0.85)])
def test_it_copies_what_it_has_just_read(base, kind, at_least):
    """In forms of its corpus, with values that it meets for the first time; 0.95 is wanted of all three, and of new forms: see data/LOG.md."""
    assert scoring.score(*base, probes.copies(kind, "test", 200, "known"), "cloze")["correct"].mean() >= at_least


def test_it_predicts_the_text_that_carries_facts_no_worse_than_the_base_before_it(base):
    """The mix of the base of 2026-11-23, which read nothing else in its first stretch, on documents of a seed that neither has read."""
    model, tokenizer = base
    rows = base_model.blocks(base_model.token_ids(corpus.texts(400_000, 1), tokenizer), 100_000)
    assert base_model.mean_loss(model.float(), rows) <= base_model.LOSS_BEFORE
