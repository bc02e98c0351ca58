"""Coordinate several processes that train one model together, as `accelerate launch` and `torchrun` start them.

All of them run the same code on the same rows. The first one (rank 0) holds the locks, writes and prints; the others ask it. All need
the run store under the same path; on several machines that is a shared disk.
"""

import os
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

from workbench.errors import InputError

T = TypeVar("T")

PATIENCE = timedelta(days=1)  # for a lock that another training holds; a process that dies ends the others at once


def world_size() -> int:
    """Return the number of processes that train together; 1 if nobody launched several."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_main_process() -> bool:
    """Return whether this is the process that writes and prints."""
    return os.environ.get("RANK", "0") == "0"


def local_rank() -> int:
    """Return the number of this process on its machine, from 0: its GPU."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def is_sharded() -> bool:
    """Return whether each process holds only a piece of the model (FSDP)."""
    return os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"


def on_main_process(call: Callable[[], T]) -> T:
    """Return in every process what `call` returns in the first one; the others wait for it and call nothing.

    All processes must come by here, or those that do wait for ever.
    """
    if world_size() == 1:
        return call()
    import accelerate  # these two take longer than listing runs, which comes by here as well
    import torch

    accelerate.PartialState(
        cpu=not torch.cuda.is_available(), timeout=PATIENCE
    )  # joins the others, once; the Trainer takes it over
    return accelerate.utils.broadcast_object_list([call() if is_main_process() else None])[0]


def per_process(step: int) -> int:
    """Return how many rows, or packed sequences, of an optimizer step this process takes.

    Raises InputError where they cannot be dealt out evenly.
    """
    if step % world_size():
        raise InputError(
            f"a step of {step} rows or packed sequences cannot be dealt out evenly to {world_size()} processes; take another batch_size "
            "or number of processes"
        )
    return step // world_size()
