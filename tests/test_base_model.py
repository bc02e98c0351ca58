"""The gates of the base model that we ship, on facts whose question the tuning data never asks."""

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from workbench.evaluate import scoring
from workbench.models import loading
from workbench.pocket import base_model, facts, tasks

BASE = facts.DATA / "pocket-base"
pytestmark = pytest.mark.skipif(not BASE.exists(), reason="data/pocket-base is not there; workbench pretrain makes it")


@pytest.fixture(scope="module")
def base():
    return loading.load_base(str(BASE), device="cpu"), loading.load_tokenizer(str(BASE))


def test_it_is_small_and_loads_as_any_model_does():
    model, tokenizer = AutoModelForCausalLM.from_pretrained(BASE), AutoTokenizer.from_pretrained(BASE)
    assert model.num_parameters() <= 8_000_000
    assert sum(path.stat().st_size for path in BASE.rglob("*") if path.is_file()) <= 16_000_000
    assert model.get_input_embeddings().num_embeddings == len(tokenizer)
    assert tokenizer.convert_tokens_to_ids(list(base_model.RESERVED)) == list(range(16))


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
