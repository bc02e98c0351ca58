"""The loss of a large model is TRL's loss: value, gradient and the columns of the log, for every family of models."""

import families
import pytest
import torch
import torch.nn.functional as F
from conftest import make_rows

from workbench.config import SFTSpec
from workbench.models import loading, logprobs, precision
from workbench.train import answer_loss, supervised


def test_log_probabilities_and_their_gradient_are_those_of_autograd():
    torch.manual_seed(0)
    logits, targets, weights = (
        (4 * torch.randn(19, 300)).requires_grad_(),
        torch.randint(0, 300, (19,)),
        torch.randn(19),
    )
    expected = F.log_softmax(logits, -1)
    chosen = expected.gather(-1, targets[:, None]).squeeze(-1)
    (gradient,) = torch.autograd.grad((chosen * weights).sum(), logits)
    found, entropy, mean, top = answer_loss.LogProbs.apply(logits, targets)
    (ours,) = torch.autograd.grad((found * weights).sum(), logits)
    assert torch.allclose(found, chosen, atol=1e-5) and torch.allclose(ours, gradient, atol=1e-6)
    assert torch.allclose(entropy, -(expected.exp() * expected).sum(-1), atol=1e-5)
    assert torch.allclose(mean, logits.mean(-1), atol=1e-6)
    assert torch.equal(top, logits.argmax(-1) == targets)


def test_a_target_that_is_nearly_sure_has_a_gradient_in_half_precision():
    """1 − p is 0 where p is rounded to bf16."""
    logits = torch.zeros(1, 50, dtype=torch.bfloat16)
    logits[0, 3] = 11.0
    logits.requires_grad_()
    found, *_ = answer_loss.LogProbs.apply(logits, torch.tensor([3]))
    found.sum().backward()
    assert logits.grad[0, 3].item() == pytest.approx(49 / (49 + torch.e**11), rel=0.01)


@pytest.mark.parametrize("name", sorted(families.FAMILIES))
def test_a_step_is_the_one_that_trl_takes(name, tmp_path, monkeypatch):
    base, rows = families.write(name, tmp_path / "base"), make_rows(8)
    tokenizer, found = loading.load_tokenizer(base), []
    for least in (precision.LARGE, 0):
        monkeypatch.setattr(precision, "LARGE", least)
        model = loading.load_base(base, device="cpu", dtype=torch.float32, tokenizer=tokenizer)
        spec = SFTSpec(base=base, method="lora", rank=4, batch_size=8)
        data = supervised.tokenized(tokenizer, rows)
        trainer = supervised.make_trainer(spec, model, tokenizer, data, tmp_path / "out", [])
        torch.manual_seed(0)
        for value in trainer.model.parameters():
            value.data += 0.05 * torch.randn_like(value) * value.requires_grad
        batch = trainer.data_collator([trainer.train_dataset[i] for i in range(8)])
        loss = trainer.compute_loss(trainer.model.train(), batch)
        loss.backward()
        gradients = {key: value.grad for key, value in trainer.model.named_parameters() if value.requires_grad}
        found.append((loss.item(), dict(trainer._metrics["train"]), gradients))
    (loss, columns, gradients), (ours, our_columns, our_gradients) = found
    assert ours == pytest.approx(loss, abs=1e-5)
    assert {key: pytest.approx(value, abs=1e-4) for key, value in columns.items()} == our_columns
    assert gradients.keys() == our_gradients.keys()
    for key, value in gradients.items():
        assert value is our_gradients[key] is None or torch.allclose(value, our_gradients[key], atol=1e-5, rtol=1e-3), (
            key
        )


def test_logits_of_prompts_are_not_computed(tmp_path, monkeypatch):
    monkeypatch.setattr(precision, "LARGE", 0)
    base = families.write("gemma3", tmp_path / "base")
    tokenizer, widths = loading.load_tokenizer(base), []
    model = loading.load_base(base, device="cpu", dtype=torch.float32, tokenizer=tokenizer)
    spec = SFTSpec(base=base, method="lora", rank=4, batch_size=8)
    data = supervised.tokenized(tokenizer, make_rows(8))
    trainer = supervised.make_trainer(spec, model, tokenizer, data, tmp_path / "out", [])
    batch = trainer.data_collator([trainer.train_dataset[i] for i in range(8)])
    trainer.model.get_output_embeddings().register_forward_hook(lambda part, given, out: widths.append(out.shape[0]))
    trainer.compute_loss(trainer.model, dict(batch))
    assert widths == [int((batch["labels"] != -100).sum())]
    monkeypatch.setattr(logprobs, "LOGITS_PER_BATCH", 10)  # TRL goes round the layer then, in pieces
    before = trainer.compute_loss(trainer.model, dict(batch)).item()
    assert len(widths) == 1 and before == pytest.approx(
        logprobs.supervised_loss(trainer.model, tokenizer, make_rows(8), batch_size=8), abs=1e-5
    )


def test_rows_without_an_answer_left_change_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(precision, "LARGE", 0)
    base = families.write("llama3", tmp_path / "base")
    tokenizer = loading.load_tokenizer(base)
    model = loading.load_base(base, device="cpu", dtype=torch.float32, tokenizer=tokenizer)
    data = supervised.tokenized(tokenizer, make_rows(2))
    trainer = supervised.make_trainer(SFTSpec(base=base, method="lora", rank=4), model, tokenizer, data, tmp_path, [])
    batch = trainer.data_collator([trainer.train_dataset[i] for i in range(2)])
    batch["labels"][:] = -100
    loss = trainer.compute_loss(trainer.model, batch)
    loss.backward()
    assert loss.item() == 0 and all(
        not value.grad.any() for value in trainer.model.parameters() if value.grad is not None
    )
