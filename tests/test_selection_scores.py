"""Facts about scores: they are the numbers that their definitions say, whatever the batch, and do not change the model."""

import numpy as np
import pytest
import torch
from conftest import make_rows
from datasets import Dataset
from peft import get_peft_model

from workbench.data import selection, templates
from workbench.errors import InputError
from workbench.models import adapters, loading, logprobs, selection_scores


def row(prompt, answer, **columns):
    return {"messages": [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}], **columns}


ROWS = [
    row("say red", "RED"),
    row("say a much longer thing about the sun and the moon", "S"),
    row("say blue {x}", "BLUE " * 9),
]


@pytest.fixture(scope="module")
def base(tiny_base):
    return loading.load_base(tiny_base, device="cpu"), loading.load_tokenizer(tiny_base)


@pytest.fixture(scope="module")
def flat(tiny_base):
    """A model to which every token is as likely as any other, whatever stands before it."""
    model = loading.load_base(tiny_base, device="cpu")
    torch.nn.init.zeros_(model.get_output_embeddings().weight)
    return model, loading.load_tokenizer(tiny_base)


@pytest.fixture
def adapted(tiny_base):
    torch.manual_seed(0)
    tokenizer = loading.load_tokenizer(tiny_base)
    base = loading.load_base(tiny_base, device="cpu")
    config = adapters.lora_config(base, tokenizer, 4)
    config.lora_dropout = 0.5
    model = get_peft_model(base, config).train()  # as a training leaves it
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.02)  # as after a few steps
    return model, tokenizer


def loss(model, tokenizer, before, answer):
    """Mean loss of the answer after the text before it, by transformers itself, one text at a time."""
    first = [tokenizer.bos_token_id, *tokenizer(before)["input_ids"]]
    second = tokenizer(answer)["input_ids"]
    labels = torch.tensor([[-100] * len(first) + second])
    with torch.no_grad():
        return model(input_ids=torch.tensor([first + second]), labels=labels).loss.item()


def test_length_counts_the_answer_and_its_end_or_the_whole_conversation(base):
    tokenizer = base[1]
    assert selection_scores.answer_lengths(ROWS, tokenizer).tolist() == [
        4,
        2,
        45,
    ]  # bytes, "BLUE " * 9 trimmed, and the end token
    assert selection_scores.answer_lengths(ROWS, tokenizer, whole=True).tolist() == [
        len(templates.encode(tokenizer, r["messages"])[0]) for r in ROWS
    ]


def test_random_scores_come_back_for_the_same_seed():
    assert (
        selection_scores.random_scores(ROWS, 1).tolist()
        == selection_scores.random_scores(ROWS, 1).tolist()
        != selection_scores.random_scores(ROWS, 2).tolist()
    )


def test_scores_by_loss_are_what_transformers_says_one_row_at_a_time(base):
    model, tokenizer = base
    texts = [(r["messages"][0]["content"], r["messages"][1]["content"]) for r in ROWS]
    given = np.array([loss(model, tokenizer, f"Q: {asked}\nA:", f" {answer}") for asked, answer in texts])
    alone = np.array([loss(model, tokenizer, "A:", f" {answer}") for _, answer in texts])
    asked = np.array([loss(model, tokenizer, "", asked + "\n") * (len(asked) + 1) for asked, _ in texts])
    shot = "Q: say {\nA: }\n\n"
    good = np.array([loss(model, tokenizer, f"{shot}Q: {asked}\nA:", f" {answer}") for asked, answer in texts])
    assert selection_scores.perplexity(ROWS, model, tokenizer) == pytest.approx(-given, rel=1e-4)
    assert selection_scores.ifd(ROWS, model, tokenizer) == pytest.approx(given / alone, rel=1e-4)
    assert selection_scores.complexity(ROWS, model, tokenizer) == pytest.approx(asked, rel=1e-4)
    assert selection_scores.quality(ROWS, model, tokenizer, [row("say {", "}")]) == pytest.approx(
        np.exp(-good), rel=1e-4
    )


def test_to_a_model_that_knows_nothing_an_instruction_is_no_help_and_cherry_takes_no_row(flat):
    model, tokenizer = flat
    vocabulary = len(tokenizer)
    difficulty = selection_scores.ifd(ROWS, model, tokenizer)
    assert (
        difficulty == pytest.approx(np.ones(3)) and np.isneginf(selection_scores.cherry(np.round(difficulty, 6))).all()
    )
    assert selection_scores.perplexity(ROWS, model, tokenizer) == pytest.approx(-np.log([vocabulary] * 3))
    assert selection_scores.quality(ROWS, model, tokenizer, ROWS[:1]) == pytest.approx(np.ones(3) / vocabulary)
    assert selection_scores.complexity(ROWS, model, tokenizer)[0] == pytest.approx(
        len("say red\n") * np.log(vocabulary)
    )


def test_cherry_takes_the_most_difficult_below_one():
    assert selection_scores.cherry(np.array([0.2, 1.3, 0.9, 1.0])).tolist() == [0.2, -np.inf, 0.9, -np.inf]


def test_the_middle_is_first_and_both_ends_are_last():
    assert np.argsort(-selection_scores.middle(np.array([-9.0, 5, 1, 0.5, 2])), kind="stable").tolist() == [
        2,
        3,
        4,
        0,
        1,
    ]


def test_a_small_batch_gives_the_same_scores(base, monkeypatch):
    rows = make_rows(20)
    together = selection_scores.perplexity(rows, *base), selection_scores.embeddings(rows, *base)
    monkeypatch.setattr(logprobs, "TOKENS_PER_BATCH", 60)
    assert selection_scores.perplexity(rows, *base) == pytest.approx(together[0], abs=1e-4)
    assert selection_scores.embeddings(rows, *base) == pytest.approx(together[1], abs=1e-4)


def test_an_embedding_depends_on_its_row_alone(base):
    found = selection_scores.embeddings([*ROWS, ROWS[0]], *base)
    assert found.shape == (4, 64) and found[3] == pytest.approx(found[0], abs=1e-5)
    assert (np.isfinite(selection.diverse(np.array([4.0, 3, 2, 1]), found, tau=0.9999))).tolist() == [
        True,
        True,
        True,
        False,
    ]


def test_of_texts_longer_than_the_context_the_end_of_the_instruction_and_the_beginning_of_the_answer_count(base):
    same, other = "say red " * 60, "go on " * 60
    rows = [row(f"{start} {same}", f"{same} {end}") for start in (same, other) for end in (same, other)]
    for score in (selection_scores.perplexity, selection_scores.ifd, selection_scores.complexity):
        found = score(rows, *base)
        assert np.isfinite(found).all() and found == pytest.approx(np.full(4, found[0]), rel=1e-5)
    assert np.isfinite(selection_scores.embeddings(rows, *base)).all()


def test_tools_and_calls_are_read_as_text(base):
    call = {"role": "assistant", "content": "", "tool_calls": [{"name": "add", "arguments": {"a": 1}}]}
    messages = [{"role": "user", "content": "sum"}, call]
    plain, offered = {"messages": messages}, {"messages": messages, "tools": [{"name": "add"}]}
    assert np.isfinite(selection_scores.perplexity([plain, offered], *base)).all()
    assert np.diff(selection_scores.complexity([plain, offered], *base))[0] > 0


def test_an_empty_answer_has_no_score_and_select_says_so(base):
    rows = Dataset.from_list([*ROWS, row("say nothing", "")])
    with pytest.raises(InputError, match=r"perplexity: the score of rows\[3\] is not a number"):
        selection.select(rows, selection_scores.perplexity(rows, *base), size=2, selector="perplexity")


def exact(model, tokenizer, rows):
    """Unprojected gradients in the LoRA weights, by backward."""
    found = []
    model.eval()
    for each in rows:
        model.zero_grad()
        ids, mask = (torch.tensor([part]) for part in templates.encode(tokenizer, each["messages"]))
        model(input_ids=ids, labels=ids.masked_fill(mask == 0, -100)).loss.backward()
        found.append(torch.cat([w.grad.flatten() for n, w in model.named_parameters() if "lora_" in n]).numpy())
    return np.stack(found)


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_projected_gradients_keep_the_cosines(adapted):
    rows = make_rows(12)
    small = unit(selection_scores.gradients(rows, *adapted, dimensions=4_096))
    whole = unit(exact(*adapted, rows))
    assert small.shape == (12, 4_096)
    assert np.abs(small @ small.T - whole @ whole.T).max() < 4 * 4_096**-0.5
    assert selection_scores.gradients(rows, *adapted, seed=1)[0] != pytest.approx(
        selection_scores.gradients(rows, *adapted, seed=0)[0]
    )


def test_less_is_the_mean_cosine_of_the_best_group_of_targets(adapted):
    rows, whole = make_rows(12), unit(exact(*adapted, make_rows(12)))
    targets = [{**each, "skill": skill} for each, skill in zip(rows.select([3, 4, 5]), "aab", strict=True)]
    cosines = whole @ whole[[3, 4, 5]].T
    best = np.maximum(cosines[:, :2].mean(1), cosines[:, 2])
    assert selection_scores.less(rows, targets, *adapted) == pytest.approx(best, abs=0.05)
    assert selection_scores.less(rows, targets, *adapted, by="no such column") == pytest.approx(
        cosines.mean(1), abs=0.05
    )
    assert selection_scores.less(rows, targets[2:], *adapted)[5] == pytest.approx(1)  # the row itself


def test_gradients_need_an_adapter(base):
    with pytest.raises(InputError, match="the model has no LoRA adapter"):
        selection_scores.gradients(ROWS, *base)


def test_scoring_leaves_the_model_as_it_was(adapted):
    model, tokenizer = adapted
    frozen = next(weight for name, weight in model.named_parameters() if "lora_A" in name)
    frozen.requires_grad_(False)
    before = {name: (weight.clone(), weight.requires_grad) for name, weight in model.named_parameters()}
    model.train()
    selection_scores.perplexity(ROWS, model, tokenizer)
    selection_scores.embeddings(ROWS, model, tokenizer)
    selection_scores.gradients(ROWS, model, tokenizer)
    assert model.training
    for name, weight in model.named_parameters():
        assert torch.equal(weight, before[name][0]) and weight.requires_grad == before[name][1] and weight.grad is None
