"""Describe what a result depends on besides its spec (library versions, the machine), and find the repository and its base models."""

import platform
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

import datasets
from transformers.utils import logging

from workbench import distributed

ROOT = Path(__file__).resolve().parents[1]  # of the repository
STACK = ("torch", "transformers", "trl", "peft", "bitsandbytes", "datasets", "accelerate")


def versions() -> dict[str, str]:
    """Return the versions of the libraries that a result depends on."""
    return {name: version(name) for name in STACK}


def describe() -> dict:
    """Return where a run is made: python, platform, cpu, gpu, processes, threads, versions."""
    import torch  # takes longer than listing the runs does

    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": names[0] if names else platform.processor() or platform.machine(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "processes": distributed.world_size(),
        "threads": torch.get_num_threads(),
        "versions": versions(),
    }


def portable_base(base: str) -> str:
    """Return a base model as records store it: a folder or file of this repository by its relative path, another by its absolute path.

    So a run finds its base from any working directory, and after the checkout was moved or its store copied.
    """
    path = Path(base).resolve()
    if not path.exists():  # a Hub id or the name of a packaged base
        return str(base)
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else str(path)


def located_base(base: str) -> str:
    """Return the folder, file or name of a base that :func:`portable_base` stored, loadable from any working directory."""
    return str(ROOT / base) if (ROOT / base).exists() else base


# What PEFT says of its own doings, which no user could change: it asks transformers by a name that is given up, turns its update for the
# layers of GPT-2, and looks for the experts of a mixture, to which no adapter is attached.
WARNINGS = (
    "`is_gradient_checkpointing` is deprecated",
    "fan_in_fan_out is set to False but the target module is `Conv1D`",
    "The following (rank|alpha)_pattern keys did not match any targeted module",
)


def quiet_libraries() -> None:
    """Hide the short bars of tokenising and loading, and what transformers says below an error, until this process ends."""
    datasets.disable_progress_bars()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    for message in WARNINGS:
        warnings.filterwarnings("ignore", message=message)


@lru_cache
def print_once(line: str) -> None:
    """Print a line that this process has not printed yet; of processes that train together only the first one prints."""
    if distributed.is_main_process():
        print(line)


@contextmanager
def few_progress_bars() -> Iterator[None]:
    """Hide the many short progress bars of tokenising, loading and saving, but not that of a training. Also works as a decorator."""
    in_datasets, in_transformers = not datasets.are_progress_bars_disabled(), logging.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            for message in WARNINGS:
                warnings.filterwarnings("ignore", message=message)
            yield
    finally:
        if in_datasets:
            datasets.enable_progress_bars()
        if in_transformers:
            logging.enable_progress_bar()


@contextmanager
def library_errors_only() -> Iterator[None]:
    """Silence all messages of transformers below an error."""
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)
