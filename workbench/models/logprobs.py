"""models.logprobs"""

from __future__ import annotations

import datasets
import torch
import torch.nn.functional as F
import transformers

from workbench.data import templates


def supervised_loss(
    model: transformers.PreTrainedModel,
    tokenizer: transformers.PreTrainedTokenizerBase,
    rows: datasets.Dataset,
    max_length: int = 512,
    batch_size: int = 16,
) -> float:
    """Mean loss over all supervised tokens of the rows, in nats.

    Every token weighs the same, so the number does not depend on the batch size, as the Trainer's eval_loss does.
    """
    total, count, training = 0.0, 0, model.training
    model.eval()
    # A large vocabulary makes the logits the largest thing in memory: 4 GB for 8,192 tokens of 49,152, half of them answers.
    for ids, labels in templates.label_batches(
        tokenizer, rows, max_length, max(1, min(batch_size, 8192 // max_length))
    ):
        ids, labels = ids.to(model.device), labels[:, 1:].to(model.device)
        answers = labels != -100
        with torch.no_grad():
            logits = model(input_ids=ids, use_cache=False).logits[:, :-1][answers].float()
        total += F.cross_entropy(logits, labels[answers], reduction="sum").item()
        count += int(answers.sum())
    model.train(training)
    return total / count
