"""Texts and labels are tuned on the same base, adapter and budget as instructions, and learn what their format says."""

import pytest
import torch
from conftest import make_rows

from workbench.config import SFTSpec
from workbench.data import templates
from workbench.errors import InputError
from workbench.models import loading
from workbench.store import Store
from workbench.train import objectives

TEXTS = ["a red sun over the sea", "rain", "the moon is up, the moon is bright"]
LABELLED = [{"text": f"{word} {n}", "label": kind} for n in range(6) for word, kind in (("sun", "sky"), ("cat", "pet"))]


@pytest.fixture
def spec(tiny_base):
    return SFTSpec(base=tiny_base, method="lora", rank=4, learning_rate=2e-2, epochs=4, batch_size=3)


def logits(model, tokenizer, text=TEXTS[0]):
    with torch.no_grad():
        return model(torch.tensor([objectives.encode_objective("text", tokenizer, text)[0]])).logits


def test_a_text_is_learned_whole_a_labelled_text_not_at_all_and_a_conversation_in_its_answers(tokenizer):
    ids, mask = objectives.encode_objective("text", templates.with_template(tokenizer), "rain")
    assert tokenizer.decode(ids) == "<|endoftext|>rain<|endoftext|>" and mask == [0, 1, 1, 1, 1, 1]
    ids, mask = objectives.encode_objective("label", tokenizer, LABELLED[0])
    assert tokenizer.decode(ids) == "<|endoftext|>sun 0" and not any(mask)
    row = make_rows(1)[0]
    ids, mask = objectives.encode_objective("messages", tokenizer, row)
    assert tokenizer.decode([i for i, m in zip(ids, mask, strict=True) if m]) == "REDRED<|im_end|>"


@pytest.mark.parametrize("budget", [20, 60, 500])
def test_ways_of_any_row_length_read_the_same_tokens_in_the_same_steps(tokenizer, budget):
    templates.with_template(tokenizer)
    ways = [
        objectives.Objective("text", TEXTS),
        objectives.Objective("label", LABELLED),
        objectives.Objective("messages", list(make_rows(8))),
    ]
    for way in ways:
        cut, size = objectives.within_budget(way, tokenizer, budget, steps=4)
        lengths = [len(objectives.encode_objective(way.format, tokenizer, row)[0]) for row in cut.rows]
        assert sum(lengths[:-1]) < budget <= sum(lengths)
        assert -(-len(cut.rows) // size) <= 4 < -(-len(cut.rows) // (size - 1 or 0.1))
        assert list(cut.rows[: len(way.rows)]) == list(way.rows[: len(cut.rows)])


def test_texts_are_learned_with_their_end_and_counted(spec, store):
    run = objectives.train_objective(spec, objectives.Objective("text", TEXTS), store=store)
    assert run.scores["rows"] == 3 and run.scores["steps"] == 4
    assert run.scores["tokens"] == 4 * sum(len(text) + 2 for text in TEXTS)
    assert run.log["loss"].iloc[-1] < run.log["loss"].iloc[0]
    model, tokenizer = objectives.load_model(run)
    end = tokenizer.eos_token_id
    before, after = (
        logits(m, tokenizer, "rain").log_softmax(-1)[0, -2, end] for m in (loading.load_base(spec.base), model)
    )
    assert after > before


def test_a_classifier_learns_its_labels_and_keeps_them(spec, store):
    run = objectives.train_objective(spec, objectives.Objective("label", LABELLED), store=store)
    assert run.record["labels"] == ["pet", "sky"]
    rows = [
        row | {"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}]}
        for row in LABELLED
    ]
    table = objectives.classify(*objectives.load_classifier(run), rows)
    assert table["response"].tolist() == [row["label"] for row in LABELLED]


def test_a_classifier_speaks_through_the_head_of_the_base(spec, store):
    model, tokenizer = objectives.load_model(
        objectives.train_objective(spec, objectives.Objective("label", LABELLED), store=store)
    )
    base = loading.load_base(spec.base)
    assert torch.equal(model.get_output_embeddings().weight, base.get_output_embeddings().weight)
    assert not torch.allclose(logits(model, tokenizer), logits(base, tokenizer), atol=1e-3)


@pytest.mark.parametrize(
    "way", [objectives.Objective("text", TEXTS), objectives.Objective("label", LABELLED)], ids=["text", "label"]
)
def test_equal_trainings_are_one_and_seeds_differ(spec, way, store, tmp_path):
    first = objectives.train_objective(spec, way, store=store)
    assert objectives.train_objective(spec, way, store=store).path == first.path
    again = objectives.train_objective(spec, way, store=Store(tmp_path / "other"))
    assert again.id == first.id and again.log["loss"].tolist() == first.log["loss"].tolist()
    other = objectives.train_objective(SFTSpec(**{**first.spec, "seed": 1}), way, store=store)
    assert other.log["loss"].tolist() != first.log["loss"].tolist()


def test_what_is_tested_is_not_trained_on(spec, store):
    asked = [
        {
            "messages": [{"role": "user", "content": "On what?"}, {"role": "assistant", "content": "sky"}],
            "text": "sun 3",
        }
    ]
    for way in (objectives.Objective("label", LABELLED), objectives.Objective("text", ["sun 3", *TEXTS])):
        with pytest.raises(InputError, match="1 of 2 evaluation rows found in the training data.*sun 3"):
            objectives.train_objective(spec, way, [*asked, "an unknown text"], store)
    with pytest.raises(InputError, match="evaluation rows? found in the training data"):
        objectives.train_objective(spec, objectives.Objective("messages", list(make_rows(4))), [make_rows(2)[1]], store)


def test_bad_input_is_named(spec, tiny_base):
    with pytest.raises(InputError, match='format "texts", 3 rows; give rows in one of text, label, messages'):
        objectives.Objective("texts", TEXTS)
    with pytest.raises(InputError, match='format "text", 0 rows'):
        objectives.Objective("text", [])
    with pytest.raises(InputError, match='"full" is for messages only'):
        objectives.train_objective(SFTSpec(base=tiny_base, method="full"), objectives.Objective("text", TEXTS))


def test_the_view_shows_what_is_learned(tokenizer):
    templates.with_template(tokenizer)
    ways = {"poems": objectives.Objective("text", ["rain"]), "kinds <3": objectives.Objective("label", LABELLED)}
    html = objectives.show_objectives(ways, tokenizer).data
    assert html.count('"answer') == 5 + 1 and '<span class="answer">sky</span>' in html and "kinds &lt;3" in html
