"""Compute what TRL's trainers need of a large model on a CPU: log-probabilities of the supervised tokens, and the columns of their log.

TRL goes through the vocabulary in pieces, computes each again in the backward pass, and multiplies in fp32 there. That spares memory where
every token is supervised. Here the logits of the supervised tokens alone are kept, as probabilities in the model's own type, and passed
over once. The entropy costs little then.
"""

from __future__ import annotations

import functools
import types

import torch
import torch.nn.functional as F
import transformers
from trl.trainer.utils import FusedCausalLMOutput

from workbench.models import logprobs

ROWS = 8  # of logits at a time: their fp32 copies stay in the cache


class LogProbs(torch.autograd.Function):
    """Log-probabilities of target tokens from logits of shape (tokens, vocabulary), in fp32, with a gradient in the logits' own type."""

    @staticmethod
    def forward(ctx, logits: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return for each token the log-probability of its target, entropy, mean logit, and whether the target is the likeliest."""
        ctx.set_materialize_grads(False)
        count = len(targets)
        found, entropy, mean = (torch.empty(count, device=logits.device) for _ in range(3))
        top = torch.empty(count, dtype=torch.bool, device=logits.device)
        kept = torch.empty_like(logits) if ctx.needs_input_grad[0] else None
        for start in range(0, count, ROWS):
            part = slice(start, start + ROWS)
            z = logits[part].float()
            highest, likeliest = z.max(-1)
            at_target = z.gather(-1, targets[part, None]).squeeze(-1)
            e = torch.exp(z - highest[:, None])
            total = e.sum(-1)
            found[part] = at_target - highest - total.log()
            entropy[part] = highest + total.log() - torch.linalg.vecdot(e, z) / total
            mean[part], top[part] = z.mean(-1), likeliest == targets[part]
            if kept is not None:
                kept[part] = e.div_(total[:, None])
        ctx.save_for_backward(kept, targets, found)
        ctx.mark_non_differentiable(entropy, mean, top)
        return found, entropy, mean, top

    @staticmethod
    def backward(ctx, gradient: torch.Tensor, *_) -> tuple[torch.Tensor, None]:
        """Return gradient × (1 at the target − probability), written over the probabilities that were kept."""
        kept, targets, found = ctx.saved_tensors
        kept.mul_(-gradient[:, None].to(kept.dtype))
        # of a likely target 1 − p is lost to rounding where p is in half precision
        kept[torch.arange(len(targets)), targets] = (gradient * -torch.expm1(found)).to(kept.dtype)
        return kept, None


def use_answer_logits(model: transformers.PreTrainedModel) -> None:
    """Let a model that TRL has prepared (`add_fused_lm_head`) answer TRL's trainers from the logits of the supervised tokens alone.

    Where these would take more than :data:`workbench.models.logprobs.LOGITS_PER_BATCH` numbers, TRL's way remains.
    """
    by_trl, vocabulary = model.forward, model.config.get_text_config().vocab_size

    @functools.wraps(type(model).forward)  # generate() reads the signature
    def forward(self, *args, fused_lm_head: bool = False, labels: torch.Tensor | None = None, **kwargs):
        if not fused_lm_head or int((labels != -100).sum()) * vocabulary > logprobs.LOGITS_PER_BATCH:
            given = {} if labels is None else {"labels": labels}
            return by_trl(*args, fused_lm_head=fused_lm_head, **given, **kwargs)
        mask = labels[:, 1:] != -100
        outputs = by_trl(*args, logits_to_keep=F.pad(mask, (0, 1)), **kwargs)
        per_token = LogProbs.apply(outputs.logits, labels[:, 1:][mask])
        # as TRL does it: connected to the model where no token is supervised, and 0 at all others
        log_probs, entropy, mean, top = (x.new_zeros(mask.shape).masked_scatter(mask, x) for x in per_token)
        return FusedCausalLMOutput(
            loss=-log_probs.sum() / mask.sum().clamp(min=1),
            log_probs=log_probs,
            entropy=entropy,
            mean_logits=mean,
            is_top1=top,
            label_mask=mask,
            aux_loss=outputs.get("aux_loss"),
        )

    model.forward = types.MethodType(forward, model)
