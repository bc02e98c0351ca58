import pytest
import torch
from conftest import make_rows
from test_supervised import MIXED, Rows

from workbench.data import templates
from workbench.models import loading, logprobs


@pytest.fixture
def speaking(tiny_base):
    return loading.load_base(tiny_base, device="cpu"), loading.load_tokenizer(tiny_base)


def test_logprobs_are_those_of_reading_each_text_alone(speaking):
    model, tokenizer = speaking
    rows = list(make_rows(5))
    for row, found in zip(
        rows, logprobs.logprobs(model, logprobs.encode_rows(tokenizer, rows, 512), batch_size=3), strict=True
    ):
        ids, mask = (torch.tensor(part) for part in templates.encode(tokenizer, row["messages"]))
        with torch.no_grad():
            expected = model(ids[None]).logits[0].log_softmax(-1)[:-1].gather(1, ids[1:, None])[:, 0]
        assert torch.allclose(found, expected[mask[1:] == 1], atol=1e-5)


def test_the_first_token_and_texts_without_answers_count_nothing(speaking):
    model, _ = speaking
    found = logprobs.logprobs(model, [([20, 21, 22], [1, 1, 0]), ([20, 21], [0, 0]), ([20], [1]), ([], [])])
    assert list(map(len, found)) == [1, 0, 0, 0]


def test_mean_loss_does_not_depend_on_the_batch_size(speaking):
    losses = [logprobs.supervised_loss(*speaking, Rows(MIXED), batch_size=size) for size in (1, 2, 3, None)]
    assert losses == pytest.approx([losses[0]] * 4, abs=1e-6)


def test_a_large_vocabulary_makes_small_batches(speaking, monkeypatch):
    """The logits are what runs out of memory first."""
    model, tokenizer = speaking
    read, vocabulary = [], model.config.vocab_size
    model.register_forward_pre_hook(lambda _, args, given: read.append(given["input_ids"].numel()), with_kwargs=True)
    monkeypatch.setattr(logprobs, "LOGITS_PER_BATCH", 200 * vocabulary)
    logprobs.supervised_loss(model, tokenizer, make_rows(20))
    assert len(read) > 1 and max(read) <= 200


def test_reading_leaves_a_model_in_training_as_it_was(speaking):
    model, tokenizer = speaking
    model.train()
    logprobs.supervised_loss(model, tokenizer, make_rows(2))
    assert model.training
