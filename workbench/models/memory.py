"""Estimate how much memory a training takes on a GPU, and how many rows fit at a time: arithmetic on the model's shape.

The activations are counted from what autograd keeps (a test counts again, on a CPU). Not yet compared with what a GPU takes.
"""

from __future__ import annotations

import gc
import resource
import sys
from dataclasses import dataclass

import psutil
import torch
import transformers
from transformers.pytorch_utils import Conv1D

from workbench.errors import InputError

GIB = 2**30

NF4 = 0.5 + 1 / 64 + 4 / (64 * 256)
"""Bytes per weight: 4 bits, one byte per block of 64 for its scale, and 4 bytes for 256 such scales (Dettmers et al. 2023, double quantisation)."""

MOST_TOKENS = 8192
"""Tokens at a time. Packed rows stand in one line, and plain attention makes a mask of tokens × tokens: beyond this the mask and the
work on its empty part cost more than a larger batch brings."""

RESERVE = 1 * GIB
"""For CUDA itself, the workspaces of its libraries and the pieces of the logits (TRL's loss never holds all of them)."""

SHARE = 0.9
"""Of the free memory; the rest is lost to fragments."""


def linear_layers(model: transformers.PreTrainedModel) -> list[torch.nn.Module]:
    """Return the linear layers of a model but its head; GPT-2 has a class of its own for them."""
    head = model.get_output_embeddings()
    return [part for part in model.modules() if isinstance(part, torch.nn.Linear | Conv1D) and part is not head]


@dataclass(frozen=True)
class ModelShape:
    """Hold what memory depends on."""

    linear: int
    """Weights of the linear layers, without the output: NF4 keeps these in 4 bits."""
    other: int
    """All other parameters: embeddings, norms, the output where it is not tied."""
    sides: int
    """Inputs and outputs of all linear layers together: LoRA has rank × sides parameters."""
    layers: int
    hidden: int
    intermediate: int

    @classmethod
    def of(cls, model: transformers.PreTrainedModel | transformers.PretrainedConfig) -> ModelShape:
        """Read the shape from a model, or from its config alone, without loading anything."""
        config = model if isinstance(model, transformers.PretrainedConfig) else model.config
        with torch.device("meta"):
            model = transformers.AutoModelForCausalLM.from_config(config)
        text, shapes = config.get_text_config(), [layer.weight.shape for layer in linear_layers(model)]
        linear = sum(a * b for a, b in shapes)
        return cls(
            linear=linear,
            other=model.num_parameters() - linear,
            sides=sum(a + b for a, b in shapes),
            layers=text.num_hidden_layers,
            hidden=text.hidden_size,
            intermediate=text.to_dict().get("intermediate_size") or max(map(max, shapes)),
        )


@dataclass(frozen=True)
class StepFit:
    """Hold how a step is split."""

    micro: int
    """Sequences at a time."""
    checkpointing: bool
    """Whether activations are computed twice instead of kept: about a third slower, so only where not even one sequence fits otherwise."""
    bytes: int
    """Of memory it takes, with the weights."""


def weight_bytes(shape: ModelShape, method: str) -> float:
    """Return the bytes of the loaded model: NF4 and 2 bytes for the rest ("qlora"), 2 per parameter ("lora"), 4 ("full")."""
    if method == "qlora":
        return NF4 * shape.linear + 2 * shape.other
    return (4 if method == "full" else 2) * (shape.linear + shape.other)


def training_bytes(shape: ModelShape, method: str, rank: int) -> float:
    """Return the bytes of gradients and two AdamW moments (12 per trained parameter, in fp32), and of the adapter itself (4)."""
    return 12 * (shape.linear + shape.other) if method == "full" else 16 * rank * shape.sides


def activation_bytes(shape: ModelShape, method: str, tokens: int, checkpointing: bool) -> float:
    """Return the bytes that a forward pass keeps for the backward pass, in half precision, for a Llama with a gated MLP of width i and hidden width h.

    A layer keeps 31 h + 8 i bytes per token under LoRA (norms compute in fp32: 20 h; q, k, v, their rotated copies and the attention's
    output; gate, up, their product), 50 h + 6 i in full tuning. With checkpointing 2 h a layer, and one layer in full at a time. The
    mask of packed rows takes 3 bytes per pair of tokens.
    """
    h, i = (50, 6) if method == "full" else (31, 8)
    layer = (h * shape.hidden + i * shape.intermediate) * tokens
    kept = shape.layers * 2 * shape.hidden * tokens + layer if checkpointing else shape.layers * layer
    return kept + 3 * tokens**2


def fit_step(
    room: float,
    shape: ModelShape,
    method: str,
    rank: int,
    length: int,
    sequences: int,
    *,
    loaded: bool = False,
    pieces: int = 1,
) -> StepFit:
    """Find the most sequences of `length` tokens at a time that fit, as a divisor of `sequences`, those of one optimizer step.

    They fit where weights + training + activations + :data:`RESERVE` ≤ :data:`SHARE` × room, and no more than
    :data:`MOST_TOKENS` tokens are taken at a time. For SmolLM2-1.7B (h 2,048, i 8,192, 24 layers), QLoRA with rank 16 and 1,024
    tokens: weights 1.0 GiB, training 0.3 GiB, activations 3.0 GiB per sequence; with 16 GiB free 4 of 4 sequences (14.1 GiB).

    Args:
        room: free bytes on the GPU.
        loaded: the weights, all of them, are on the GPU already, so that they are not free.
        pieces: GPUs that will share weights, gradients and moments among them (FSDP).

    Raises:
        InputError: not even one sequence with checkpointing fits.
    """
    own = (weight_bytes(shape, method) + training_bytes(shape, method, rank)) / pieces + RESERVE
    spare = SHARE * room - own + (weight_bytes(shape, method) if loaded else 0)
    sizes = [n for n in range(sequences, 0, -1) if sequences % n == 0 and (n * length <= MOST_TOKENS or n == 1)]
    for checkpointing in (False, True):
        for micro in sizes:
            taken = activation_bytes(shape, method, micro * length, checkpointing)
            if taken <= spare:
                return StepFit(micro, checkpointing, round(own + taken))
    least = own + activation_bytes(shape, method, length, True)
    raise InputError(
        f"method {method} with rows of {length} tokens takes {least / GIB:.1f} GiB of memory, and of the {room / GIB:.1f} GiB free "
        f"{SHARE:.0%} are used; take profile gpu-small, method qlora, or a lower max_length"
    )


def free_bytes(device: str) -> int:
    """Return the bytes that this process can still take, on its GPU or of main memory."""
    if device == "cuda":
        gc.collect()  # an earlier training of this process hangs in circles of references
        torch.cuda.empty_cache()
        return torch.cuda.mem_get_info()[0] + torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
    return psutil.virtual_memory().available


def peak_bytes(device: str) -> int:
    """Return the most memory that this process has taken so far, in bytes, on its GPU or of main memory."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
