"""What a result depends on besides its spec: versions of libraries, and the machine. And where its base model lies."""

import platform
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import datasets
from transformers.utils import logging

from workbench import distributed

ROOT = Path(__file__).resolve().parents[1]


STACK = ("torch", "transformers", "trl", "peft", "bitsandbytes", "datasets", "accelerate")


def versions() -> dict[str, str]:
    """Versions of the libraries that a result depends on."""
    return {name: version(name) for name in STACK}


def describe() -> dict:
    """Where a run was made: python, platform, cpu, gpu, processes, threads, versions."""
    import torch  # takes longer than listing runs

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
    """A base model as a record names it: a folder of this repository by its path in it, any other folder by its whole path.

    So a run finds its base again from another working directory, and after the checkout was moved or its store was copied.
    """
    folder = Path(base).resolve()
    if not folder.is_dir():  # a Hub id
        return str(base)
    return folder.relative_to(ROOT).as_posix() if folder.is_relative_to(ROOT) else str(folder)


def located_base(base: str) -> str:
    """The other way round: what :func:`portable_base` made of a base, as a folder or Hub id that can be loaded from anywhere."""
    return str(ROOT / base) if (ROOT / base).is_dir() else base


# PEFT asks transformers by a name that transformers has given up: nothing that a user could change.
OUTDATED_NAME = "`is_gradient_checkpointing` is deprecated"


def quiet_libraries() -> None:
    """Hide the short bars of tokenising and loading, and what transformers says below an error, until this process ends."""
    datasets.disable_progress_bars()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    warnings.filterwarnings("ignore", message=OUTDATED_NAME, category=FutureWarning)


@contextmanager
def few_progress_bars() -> Iterator[None]:
    """Hide the many short bars of tokenising, loading and saving, which say nothing; the bar of a training stays.

    Also works as a decorator.
    """
    in_datasets, in_transformers = not datasets.are_progress_bars_disabled(), logging.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=OUTDATED_NAME, category=FutureWarning)
            yield
    finally:
        if in_datasets:
            datasets.enable_progress_bars()
        if in_transformers:
            logging.enable_progress_bar()


@contextmanager
def library_errors_only() -> Iterator[None]:
    """Let transformers say nothing below an error."""
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)
