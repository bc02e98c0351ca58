"""Give a base model embedding rows for the tokens that its chat format adds."""

from __future__ import annotations

import torch
import transformers

from workbench import environment
from workbench.data import chat_formats


def rows_needed(tokenizer: transformers.PreTrainedTokenizerBase) -> int:
    """Return the embedding rows that the turn tokens and the pad token of a tokenizer with a chat template need."""
    return 1 + max(*chat_formats.turn_token_ids(tokenizer), tokenizer.pad_token_id, 0)


def with_rows(
    model: transformers.PreTrainedModel, tokenizer: transformers.PreTrainedTokenizerBase
) -> transformers.PreTrainedModel:
    """Give a base model the embedding rows that its tokenizer's turn tokens and pad token need and it lacks; they start at the mean.

    The mean of all rows makes a token that the model expects nowhere and that means nothing. Tied embeddings stay tied.
    """
    old, new = model.get_input_embeddings().weight.shape[0], rows_needed(tokenizer)
    if new <= old:
        return model
    with torch.random.fork_rng(devices=[]), environment.library_errors_only():
        model.resize_token_embeddings(new, mean_resizing=False)
    head = model.get_output_embeddings()
    with torch.no_grad():
        for weight in {id(each.weight): each.weight for each in (model.get_input_embeddings(), head)}.values():
            weight[old:] = weight[:old].float().mean(0)
        if getattr(head, "bias", None) is not None:
            head.bias[old:] = head.bias[:old].float().mean(0)
    return model
