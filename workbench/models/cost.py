"""Estimate what a training needs before anybody rents a GPU for it: memory, work and hours, by arithmetic on the model's shape.

Memory is that of :mod:`workbench.models.memory`. Not run on a GPU: the share of its peak that a training reaches is taken, not measured.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from functools import cache

import torch
import transformers

from workbench.models import precision
from workbench.models.memory import GIB, RESERVE, ModelShape, activation_bytes, training_bytes, weight_bytes

PEAK = {"T4": 65e12, "L4": 121e12, "4090": 165e12, "A100": 312e12, "H100": 989e12, "H200": 989e12}
"""Dense half-precision products of a GPU, in floating-point operations per second, from its data sheet; the key is in its name."""

_COMMON = {"num_key_value_heads": 8, "tie_word_embeddings": False, "max_position_embeddings": 8192}


@cache
def known_shapes() -> dict[str, transformers.PretrainedConfig]:
    """Return the shapes of Llama 3.2 1B, Llama 2 7B, Llama 3.1 8B and 70B (their config.json)."""
    llama = transformers.LlamaConfig  # takes a second to import, which most notebooks need not pay
    return {
        "1B": llama(vocab_size=128256, hidden_size=2048, intermediate_size=8192, num_hidden_layers=16, num_attention_heads=32,
                    **{**_COMMON, "tie_word_embeddings": True}),
        "7B": llama(vocab_size=32000, hidden_size=4096, intermediate_size=11008, num_hidden_layers=32, num_attention_heads=32,
                    **{**_COMMON, "num_key_value_heads": 32}),
        "8B": llama(vocab_size=128256, hidden_size=4096, intermediate_size=14336, num_hidden_layers=32, num_attention_heads=32,
                    **_COMMON),
        "70B": llama(vocab_size=128256, hidden_size=8192, intermediate_size=28672, num_hidden_layers=80, num_attention_heads=64,
                     **_COMMON),
    }  # fmt: skip


def training_flops(
    config: transformers.PretrainedConfig,
    method: str,
    tokens: float,
    length: float,
    rank: int = 16,
    *,
    reference: bool = False,
) -> float:
    """Return the floating-point operations that a training on this many tokens needs at least.

    A weight costs 2 per token in the forward pass, 2 for the gradient of what goes in and 2 for its own (6 N D; Kaplan et al. 2020, arXiv
    2001.08361). LoRA leaves the base without a gradient of its own: 4 N, and 6 for each of its own parameters. Attention adds
    2 · length · hidden per layer and token, three times. What is computed twice (checkpointing) or unpacked (NF4) does not count, so a
    share of the peak computed from this is the model's own (MFU; Chowdhery et al. 2022, arXiv 2204.02311).

    Args:
        length: mean length of a row in tokens, not of the packed sequence; a token sees half of it on average.
        reference: of DPO: a second model reads the same tokens, 2 per weight more.
    """
    shape, text = ModelShape.of(config), config.get_text_config()
    weights = shape.linear + text.vocab_size * shape.hidden  # an embedding is looked up, the output is multiplied
    own = 0 if method == "full" else 6 * rank * shape.sides
    once = 2 * weights + 2 * length * shape.hidden * shape.layers
    attention = 6 * length * shape.hidden * shape.layers
    return tokens * ((6 if method == "full" else 4) * weights + attention + own + (once if reference else 0))


@dataclass(frozen=True)
class TrainingCost:
    """Hold the cost of one training; memory in bytes, on each GPU."""

    weights: float
    training: float
    """The adapter, gradients and moments of AdamW."""
    activations: float
    """Of one row at a time, all layers computed twice."""
    flops: float
    gpus: int

    @property
    def total(self) -> float:
        """Return the bytes in all, with what CUDA takes for itself."""
        return self.weights + self.training + self.activations + RESERVE

    def hours(self, mfu: float = 0.4, peak: float = PEAK["H100"]) -> float:
        """Return wall-clock hours on all GPUs at this share of their peak."""
        return self.flops / (mfu * peak * self.gpus) / 3600


def training_cost(
    config: transformers.PretrainedConfig,
    method: str,
    rows: float,
    tokens: float = 400,
    length: int = 2048,
    rank: int = 16,
    gpus: int = 1,
) -> TrainingCost:
    """Estimate one pass over `rows` of `tokens` tokens each, with memory for rows of `length` tokens.

    Several GPUs split a full training among them (FSDP), and hold LoRA's base whole (data-parallel).
    """
    shape = ModelShape.of(config)
    pieces = gpus if method == "full" else 1
    return TrainingCost(
        weights=weight_bytes(shape, method) / pieces,
        training=training_bytes(shape, method, rank) / pieces,
        activations=activation_bytes(shape, method, length, checkpointing=True),
        flops=training_flops(config, method, rows * tokens, tokens, rank),
        gpus=gpus,
    )


def cost_table(rows: float = 1e6, tokens: float = 400, mfu: float = 0.4) -> str:
    """Return the table of data/REFERENCE.md in Markdown: models of 7 B and 70 B, a million pairs.

    All of 70 B is not in it: before FSDP splits a model, models.load_base puts the whole of it on each GPU.
    """
    lines = [
        f"| model, method | GPUs (80 GB) | weights | adapter, gradients, AdamW | activations | total per GPU | FLOPs, {rows:,.0f} pairs | hours |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, method, gpus in (("7B", "qlora", 1), ("7B", "lora", 1), ("7B", "full", 4), ("70B", "qlora", 1), ("70B", "qlora", 8)):  # fmt: skip
        of = training_cost(known_shapes()[name], method, rows, tokens, gpus=gpus)
        parts = (of.weights, of.training, of.activations, of.total)
        sizes = " | ".join(f"{part / GIB:.1f} GiB" for part in parts)
        lines.append(f"| {name} {method} | {gpus} | {sizes} | {of.flops:.1e} | {of.hours(mfu):,.1f} |")
    return "\n".join(lines) + "\n"


def adapter_flops(shape: ModelShape, tokens: float) -> float:
    """Return the operations of training an adapter: 2 per weight and token forward, 2 backward; frozen weights have no gradient (6 in full tuning)."""
    return 4 * (shape.linear + shape.other) * tokens


def matmul_speed(device: str, size: int = 4096, times: int = 10) -> float:
    """Measure the operations per second of matrix products of `size` × `size` in the type that a training computes in; takes about a second."""
    a = torch.randn(size, size, device=device, dtype=precision.compute_dtype(device))
    (a @ a).sum().item()  # waits for the device, and warms it up
    start = time.perf_counter()
    for _ in range(times):
        b = a @ a
    b.sum().item()
    return times * 2 * size**3 / (time.perf_counter() - start)


def peak_flops(device: str) -> tuple[float, str]:
    """Return the peak floating-point operations per second of the device, and the source: its data sheet, or for others a large product, timed."""
    name = torch.cuda.get_device_name() if device == "cuda" else ""
    for known, rate in PEAK.items():
        if re.search(rf"\b{known}\b", name):
            return rate, "data sheet"
    side, times = 8192 if device == "cuda" else 512, 10
    matrix = torch.randn(side, side, device=device, dtype=precision.compute_dtype(device))
    seconds = []
    for _ in range(times):
        start = time.monotonic()
        (matrix @ matrix)[0, 0].item()  # waits for the product
        seconds.append(time.monotonic() - start)
    return 2 * side**3 / min(seconds), f"a product of {side} × {side} matrices"
