"""Choose the type of numbers that a model computes in, and whether it is large enough for the paths that speed alone decides on."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import torch
from safetensors import safe_open

from workbench import distributed

LARGE = 2**26
"""Parameters from which on speed decides on a CPU: such a model computes in bf16 where that is faster, trains the embedding rows of its chat
tokens by themselves (:mod:`workbench.models.token_rows`), and predicts only where a prediction counts. Smaller ones, such as the pocket base,
keep to fp32 and the plain paths of TRL and PEFT: published results depend on their last digits."""


def compute_dtype(device: str, size: int = 0) -> torch.dtype:
    """Return the type to compute in: on a GPU bf16 if it has that, else fp16; on a CPU fp32, or bf16 for a large model where it is faster.

    Args:
        size: parameters of the model.
    """
    if device == "cpu":
        return torch.bfloat16 if size >= LARGE and bf16_is_faster() else torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


@lru_cache
def bf16_is_faster() -> bool:
    """Return whether this CPU multiplies matrices clearly faster in bf16 than in fp32, from a measurement of a tenth of a second.

    Units for bf16 make it 1.5 to 8 times faster, and emulation 3 times slower or worse; so the fastest of five tries in turn tell them
    apart on a busy machine as well. Of processes that train together the first one decides for all.
    """

    def seconds(a: torch.Tensor, b: torch.Tensor) -> float:
        start = time.perf_counter()
        a @ b
        return time.perf_counter() - start

    def measure() -> bool:
        a, b = torch.ones(128, 640), torch.ones(640, 2048)
        half = a.bfloat16(), b.bfloat16()
        taken = [(seconds(a, b), seconds(*half)) for _ in range(6)][1:]  # the first try prepares the kernels
        in_fp32, in_bf16 = (min(each) for each in zip(*taken, strict=True))
        return 1.25 * in_bf16 < in_fp32

    return distributed.on_main_process(measure)


def parameters(weights: Iterable[Path]) -> int:
    """Return the number of values in safetensors files, from their headers."""
    total = 0
    for path in weights:
        with safe_open(path, "pt") as file:
            total += sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118
    return total


def is_large(model: torch.nn.Module) -> bool:
    """Return whether a model is on a CPU and has :data:`LARGE` parameters or more."""
    return model.device.type == "cpu" and model.num_parameters() >= LARGE
