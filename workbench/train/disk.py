"""Estimate what a training writes to disk, and refuse one that has no room before anything is computed."""

import shutil
from dataclasses import dataclass
from math import prod
from pathlib import Path

import torch
from safetensors import safe_open

from workbench.errors import InputError
from workbench.models import loading
from workbench.models.memory import ModelShape

CHECKPOINTS = 3
"""At a time: two are kept (save_total_limit of trainer_arguments), and a new one is written before the oldest goes."""

MIB = 2**20


@dataclass(frozen=True)
class DiskUse:
    """Bytes that a training writes."""

    weights: int
    """The trained weights in fp32: an adapter, or all."""
    beside: int
    """Tokenizer, chat template and training rows."""

    @property
    def checkpoint(self) -> int:
        """One checkpoint: weights, two AdamW moments per trained weight, and the tokenizer."""
        return 3 * self.weights + self.beside

    @property
    def total(self) -> int:
        """The most at a time."""
        return self.weights + self.beside + CHECKPOINTS * self.checkpoint

    def __str__(self):
        parts = f"{self.weights / MIB:,.0f} of trained weights and {CHECKPOINTS} checkpoints of {self.checkpoint / MIB:,.0f}"
        return f"about {self.total / MIB:,.0f} MiB of disk ({parts})"


def trained_weights(model: torch.nn.Module) -> int:
    """Return the bytes of the trained weights of a model whose adapter is attached."""
    return sum(4 * weight.numel() for weight in model.parameters() if weight.requires_grad)


def saved_weights(folder: Path) -> int:
    """Return the bytes that the weights in a folder take in fp32; only the heads of its files are read."""
    numbers = 0
    for path in folder.glob("*.safetensors"):
        with safe_open(path, "pt") as file:
            numbers += sum(prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118, it is no dict
    return 4 * numbers


def weights_to_train(base: Path, method: str, rank: int) -> int:
    """Return the bytes of the weights that a training of a base will save, by its config alone: nothing is loaded."""
    shape = ModelShape.of(loading.read_config(base))
    return 4 * (shape.linear + shape.other if method == "full" else rank * shape.sides)


def require_disk(work: Path, weights: int, tokenizer: Path, rows: int) -> None:
    """Raise InputError where the disk has no room for a training in the folder `work`; what an earlier start left there counts as room.

    Args:
        weights: bytes of the trained weights.
        tokenizer: the folder that its files are copied from.
        rows: bytes of the training rows; of token ids 8 each.
    """
    files = [path for path in tokenizer.iterdir() if path.suffix in (".json", ".jinja", ".model", ".txt")]
    use = DiskUse(weights, rows + sum(path.stat().st_size for path in files))
    written = sum(path.stat().st_size for path in work.rglob("*") if path.is_file())
    free = shutil.disk_usage(work).free + written
    if free < use.total:
        raise InputError(
            f"{work.parent}: the training needs {use}, and {free / MIB:,.0f} MiB are free; free some space, or set WORKBENCH_RUNS"
        )
