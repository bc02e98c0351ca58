"""Load a base model or a tuned one, in 4 bits or in full, know what it needs, and let it generate or score text."""

from workbench.hub import fetch
from workbench.models.adapters import chat_token_ids, load_any, load_tuned, lora_config, merge, with_adapter
from workbench.models.generation import Reply, answer, complete, end_tokens, generate, text_ids
from workbench.models.loading import (
    context_length,
    default_device,
    fingerprint,
    load_base,
    load_tokenizer,
)
from workbench.models.logprobs import supervised_loss
from workbench.models.precision import compute_dtype
from workbench.models.requirements import check_profile, methods_that_fit
from workbench.models.selection_scores import (
    answer_lengths,
    cherry,
    complexity,
    embeddings,
    ifd,
    less,
    perplexity,
    quality,
    random_scores,
)

__all__ = [
    "fetch",
    "Reply",
    "answer",
    "answer_lengths",
    "chat_token_ids",
    "check_profile",
    "cherry",
    "complexity",
    "complete",
    "compute_dtype",
    "context_length",
    "default_device",
    "embeddings",
    "end_tokens",
    "fingerprint",
    "generate",
    "ifd",
    "less",
    "load_any",
    "load_base",
    "load_tokenizer",
    "load_tuned",
    "lora_config",
    "merge",
    "methods_that_fit",
    "perplexity",
    "quality",
    "random_scores",
    "supervised_loss",
    "text_ids",
    "with_adapter",
]
