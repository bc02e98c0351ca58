"""Read texts with teacher forcing: what a model predicts at each token, for losses, log-probabilities and comparisons of models.

Padding is on the right and the models are causal: no token that counts can attend to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
import transformers

from workbench.data import content, templates
from workbench.models import precision

TOKENS_PER_BATCH = 4_096  # including padding: more is faster until memory is short

LOGITS_PER_BATCH = 2**28  # 1 GiB in fp32: with a vocabulary of 262,144 tokens, 1,024 tokens at a time

Scored = tuple[Sequence[int], Sequence[int]]
"""Token ids of one text, and a mask of the same length: 1 on each token whose prediction counts. The first token has none."""


def encode_rows(
    tokenizer: transformers.PreTrainedTokenizerBase, rows: Iterable[dict], max_length: int | None = None
) -> list[Scored]:
    """Tokenize conversations (of a preference pair the one with the chosen answer), cut at `max_length` tokens; answers count."""
    encoded = (templates.encode(tokenizer, content.conversation(row), content.row_tools(row)) for row in rows)
    return [(ids[:max_length], mask[:max_length]) for ids, mask in encoded]


@contextmanager
def evaluation_mode(*models: transformers.PreTrainedModel) -> Iterator[None]:
    """Switch dropout off, and take no gradients, inside the `with` block."""
    modes = [model.training for model in models]
    for model in models:
        model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for model, mode in zip(models, modes, strict=True):
            model.train(mode)


def keeps_rows_apart(model: transformers.PreTrainedModel) -> bool:
    """Return whether the model reads a row behind another one in the same sequence as if it stood alone, as position ids ask.

    It is tried out on seven tokens. State-space models and those without position ids carry the first row over.
    """
    ids, positions = torch.arange(7, device=model.device)[None] + 5, torch.tensor([[0, 1, 2, 0, 1, 2, 3]])
    with evaluation_mode(model):
        alone = model(input_ids=ids[:, 3:], use_cache=False).logits
        try:
            behind = model(input_ids=ids, position_ids=positions.to(ids.device), use_cache=False).logits[:, 3:]
        except (TypeError, ValueError, NotImplementedError):
            return False  # it knows no position ids, or lacks a kernel for such sequences
    # Rounding makes up to 1e-6 in fp32 (and 0.01 in half precision); a random LFM2 of two layers, whose convolution sees three tokens, 2e-4.
    tolerance = 2e-5 if alone.dtype == torch.float32 else 0.05
    return bool((behind - alone).float().norm() <= tolerance * alone.float().norm())


def batches(
    model: transformers.PreTrainedModel, sequences: Sequence[Sequence[int]], batch_size: int | None = None
) -> Iterator[tuple[list[int], torch.Tensor]]:
    """Batch sequences of similar length, the longest first.

    Args:
        batch_size: sequences per batch; None takes about :data:`TOKENS_PER_BATCH` tokens, fewer for a large vocabulary.

    Yields:
        Positions of the sequences of a batch, and their token ids on the model's device, of shape (sequences, longest).
    """
    tokens = min(TOKENS_PER_BATCH, LOGITS_PER_BATCH // model.config.get_text_config().vocab_size)
    order = sorted(range(len(sequences)), key=lambda i: -len(sequences[i]))
    while order:
        size = batch_size or max(1, tokens // max(1, len(sequences[order[0]])))
        places, order = order[:size], order[size:]
        ids = [torch.tensor(sequences[i]) for i in places]
        yield places, torch.nn.utils.rnn.pad_sequence(ids, batch_first=True).to(model.device)


def predictions(
    models: Sequence[transformers.PreTrainedModel], scored: Sequence[Scored], batch_size: int | None = None
) -> Iterator[tuple[list[int], torch.Tensor, list[torch.Tensor]]]:
    """Read texts with one or several models, and yield what each of them predicts where the mask is 1.

    Args:
        models: causal language models with the same tokenizer.
        scored: texts as token ids with masks.
        batch_size: as for :func:`batches`.

    Yields:
        For each batch the positions of its texts, the tokens that count (one row of the batch after the other), and for each model
        its logits for them in fp32, of shape (tokens, vocabulary), on the model's own device.
    """
    for places, ids in batches(models[0], [ids for ids, _ in scored], batch_size):
        masks = [torch.tensor(scored[i][1]) for i in places]
        counted = torch.nn.utils.rnn.pad_sequence(masks, batch_first=True)[:, 1:].bool()
        with evaluation_mode(*models):
            logits = [logits_before(model, ids.to(model.device), counted.to(model.device)) for model in models]
        yield places, ids[:, 1:][counted.to(ids.device)], logits


def logits_before(model: transformers.PreTrainedModel, ids: torch.Tensor, counted: torch.Tensor) -> torch.Tensor:
    """Return in fp32 the logits that predict the counted of all tokens but the first: shape (tokens, vocabulary)."""
    if precision.is_large(model):  # with 262,144 tokens in the vocabulary, logits of prompts cost more than all layers
        return model(input_ids=ids, use_cache=False, logits_to_keep=F.pad(counted, (0, 1))).logits.float()
    return model(input_ids=ids, use_cache=False).logits[:, :-1][counted].float()


def logprobs(
    model: transformers.PreTrainedModel, scored: Sequence[Scored], batch_size: int | None = None
) -> list[torch.Tensor]:
    """Return the log-probability, in nats, of each token whose mask is 1 given the tokens before it.

    Returns:
        One fp32 tensor on the CPU per text, as long as the text has such tokens.
    """
    found: list[torch.Tensor] = [torch.empty(0)] * len(scored)
    for places, tokens, (logits,) in predictions([model], scored, batch_size):
        losses = F.cross_entropy(logits, tokens, reduction="none").cpu()
        counts = [sum(scored[i][1][1:]) for i in places]
        for i, part in zip(places, losses.split(counts), strict=True):
            found[i] = -part
    return found


def mean_loss(model: transformers.PreTrainedModel, scored: Sequence[Scored], batch_size: int | None = None) -> float:
    """Return the mean loss over all tokens whose mask is 1, in nats per token; NaN where there are none.

    Every token has the same weight, so the number does not depend on the batch size.
    """
    return -torch.cat(logprobs(model, scored, batch_size)).double().mean().item()


def supervised_loss(
    model: transformers.PreTrainedModel,
    tokenizer: transformers.PreTrainedTokenizerBase,
    rows: Iterable[dict],
    max_length: int = 512,
    batch_size: int | None = None,
) -> float:
    """Return the mean loss over all tokens of the rows' answers, in nats per token; unlike the Trainer's eval_loss it does not depend on the batch size."""
    return mean_loss(model, encode_rows(tokenizer, rows, max_length), batch_size)
