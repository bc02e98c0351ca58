"""Train the embedding rows of a few tokens by themselves: PEFT's adapter, file and numbers, without its copy of the whole embedding.

PEFT 0.21 puts the trained rows into a copy of the embedding in each forward pass, and its gradient is as large as the embedding. With
262,144 tokens of 640 numbers that halves the speed of a training on a CPU. Here the rows replace what the layer makes of these tokens:
the vectors of the input embedding, the columns of the logits.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from peft.tuners.trainable_tokens import TrainableTokensLayer


class TokenRowsLayer(TrainableTokensLayer):
    """PEFT's layer with another forward pass, which gives the same output and the same gradient of the rows."""

    def forward_adapters(self, x: torch.Tensor, active_adapters: list[str], *args, **kwargs) -> torch.Tensor:
        """Return the vectors of token ids, or the logits of hidden states, with the rows of the active adapters in place."""
        if self.disable_adapters or not active_adapters or self.merged:
            return super().forward_adapters(x, active_adapters, *args, **kwargs)
        self._check_overlapping_tokens(active_adapters)
        base, result = self.base_layer, self.base_layer(x, *args, **kwargs)
        for name in active_adapters:
            ids = torch.tensor(self.token_indices[name], device=x.device)
            rows = self.trainable_tokens_delta[name].to(base.weight.dtype)
            if isinstance(base, torch.nn.Embedding):
                scale = self._get_embed_scale()  # Gemma's; the layer itself has multiplied the other rows by it
                rows = rows if scale is None else rows * scale.to(rows.dtype)
                *places, which = (x[..., None] == ids).nonzero(as_tuple=True)
                result = result.index_put(tuple(places), rows[which])
            else:
                bias = None if base.bias is None else base.bias[ids]
                result.index_copy_(-1, ids, F.linear(x, rows, bias))  # in place: a copy of the logits would be large
        return result


def use_token_rows(model: torch.nn.Module) -> None:
    """Let the layers of trained tokens of a PEFT model compute as :class:`TokenRowsLayer` does; what is saved stays PEFT's."""
    for part in model.modules():
        if type(part) is TrainableTokensLayer:
            part.__class__ = TokenRowsLayer  # PEFT makes its layers itself and takes no class of ours
