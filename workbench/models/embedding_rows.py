"""Give a base model embedding rows for the tokens that its chat format adds."""

from __future__ import annotations

from collections.abc import Sequence

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
    return start_at_mean(model, range(old, new))


def start_at_mean(model: transformers.PreTrainedModel, ids: Sequence[int]) -> transformers.PreTrainedModel:
    """Set the embedding rows of these token ids, and their bias if the output has one, to the mean of all other rows."""
    new = torch.zeros(model.get_input_embeddings().weight.shape[0], dtype=torch.bool, device=model.device)
    new[list(ids)] = True
    ends = [end for end in (model.get_input_embeddings(), model.get_output_embeddings()) if end is not None]
    with torch.no_grad():
        for value in {value: None for end in ends for value in end.parameters()}:  # each once, tied ones too
            value[new] = value[~new].float().mean(0).to(value.dtype)
    return model
