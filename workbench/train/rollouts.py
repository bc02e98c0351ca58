"""Give TRL's trainers for reinforcement learning our rewards, decoding in compact batches, and forward passes without padding.

On a CPU the trainers spend most of their time on padding: each reply is as long as the longest of the step, in decoding and in three
forward passes. The numbers are the same without it (data/LOG.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache, partial
from typing import TYPE_CHECKING

import datasets
import numpy as np
import torch
import torch.nn.functional as F
import transformers
import trl

from workbench.config import RLSpec
from workbench.data import content, templates
from workbench.models import generation
from workbench.rewards import Reward, checked

AT_A_TIME = 32
"""Prompts that a CPU decodes together: with an adapter that is not merged, more than a merged model wants (data/LOG.md)."""

if TYPE_CHECKING:  # naming them imports what takes seconds
    RLTrainer = trl.GRPOTrainer | trl.RLOOTrainer


def draw_prompts(spec: RLSpec, rows: Sequence[dict]) -> datasets.Dataset:
    """Return the prompts of all steps in the order in which they are asked: pass after pass over the rows, each in an order of its own.

    The trainer reads them once from the first to the last, so a training that continues needs to know its step and nothing else.
    """
    generator = np.random.default_rng(spec.seed)
    count, drawn = -(-spec.max_steps // spec.updates) * spec.prompts, []
    while len(drawn) < count:
        drawn += generator.permutation(len(rows)).tolist()
    turns = [[{"role": turn["role"], "content": turn["content"]} for turn in content.prompt_turns(row)] for row in rows]
    return datasets.Dataset.from_list([{"prompt": turns[i], "row": i} for i in drawn[:count]])


def as_trl(
    name: str, reward: Reward, rows: Sequence[dict], tokenizer: transformers.PreTrainedTokenizerBase, ends: list[int]
):
    """Return a reward as TRL calls it, which names its columns of the log: it reads replies as an evaluation does, and checks what it gets."""

    @cache
    def last(i: int) -> int:
        """Return the last token of a prompt, which is asked again in each pass over the rows."""
        return templates.prompt_ids(tokenizer, content.prompt_turns(rows[i]))[-1]

    def called(prompts, completion_ids, row, **others) -> list[float]:
        asked = [rows[i] for i in row]
        replies = [
            generation.read_reply(tokenizer, last(i), ids, ends, []).text
            for i, ids in zip(row, completion_ids, strict=True)
        ]
        return checked(name, reward, replies, asked)

    called.__name__ = name
    return called


def sample(trainer: RLTrainer, spec: RLSpec, prompt_ids: list[list[int]], *others) -> list[list[int]]:
    """Return a sampled reply to each prompt, as token ids up to its end token; the seed comes from the state that checkpoints keep."""
    model, tokenizer = trainer.model, trainer.processing_class
    seed = int(torch.randint(2**31, ()))
    size = AT_A_TIME if model.device.type == "cpu" else None
    written = generation.generate_ids(
        model, tokenizer, prompt_ids, spec.max_new_tokens, size, temperature=spec.temperature, seed=seed
    )
    model.train()  # TRL tells a training step by it
    ends = generation.end_tokens(tokenizer)
    stops = [next((place for place, token in enumerate(new) if token in ends), len(new)) for new in written]
    return [new[: stop + 1] for new, stop in zip(written, stops, strict=True)]


def read_unpadded(
    trainer: RLTrainer,
    model: torch.nn.Module,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    logits_to_keep: int,
    batch_size: int | None = None,
    compute_entropy: bool = False,
    compute_aux_loss: bool = False,
    **images,
) -> tuple[torch.Tensor, torch.Tensor | None, None]:
    """Return log-probabilities and entropies of the replies' tokens, of shape (replies, logits_to_keep), as TRL's own method does.

    The rows of a batch are read one behind the other instead of side by side; position ids keep them apart.

    Args:
        trainer: not used; this stands in for its method.
        input_ids, attention_mask: of shape (replies, tokens), prompts padded on the left and replies on the right.
        logits_to_keep: the last columns, which hold the replies.
        batch_size: replies at a time.
    """
    found = {"log_probs": [], "entropy": []}
    size = batch_size or len(input_ids)
    for ids, mask in zip(input_ids.split(size), attention_mask.split(size), strict=True):
        kept = mask.bool()
        replies = kept.clone()
        replies[:, :-logits_to_keep] = False
        read = model(
            input_ids=ids[kept][None],
            position_ids=(mask.cumsum(1) - 1)[kept][None],
            labels=ids.masked_fill(~replies, -100)[kept][None],
            fused_lm_head=True,
        )
        for name in ("log_probs", "entropy")[: 1 + compute_entropy]:
            # what stands at a token is of the next one
            flat = F.pad(getattr(read, name)[0], (1, 0))
            found[name].append(flat.new_zeros(ids.shape).masked_scatter(kept, flat)[:, -logits_to_keep:])
    return torch.cat(found["log_probs"]), torch.cat(found["entropy"]) if compute_entropy else None, None


def install(trainer: RLTrainer, spec: RLSpec, packed: bool) -> None:
    """Let a trainer decode with :func:`sample` and, where `packed`, read replies with :func:`read_unpadded`."""
    reply = partial(sample, trainer, spec)
    # GRPO's trainer expects the sampler's log-probabilities beside the replies, for samplers that round otherwise than the trainer.
    trainer._generate_single_turn = (lambda *read: (reply(*read), None)) if spec.loss != "rloo" else reply
    if packed:
        trainer._get_per_token_logps_and_entropies = partial(read_unpadded, trainer)


def describe(rewards: Mapping[str, Reward], rows: Sequence[dict], replies: Sequence[str]) -> dict[str, list[float]]:
    """Return what each reward gives each reply. Raises InputError where one does not give one finite number per reply."""
    return {name: checked(name, reward, replies, rows) for name, reward in rewards.items()}
