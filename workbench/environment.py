"""What a result depends on besides its spec: versions of libraries, and the machine. And where its base model lies."""

import platform
from importlib.metadata import version
from pathlib import Path

from workbench import ranks

ROOT = Path(__file__).resolve().parents[1]
STACK = ("torch", "transformers", "trl", "peft", "bitsandbytes", "datasets", "accelerate")


def versions() -> dict[str, str]:
    """Versions of the libraries that a result depends on."""
    return {name: version(name) for name in STACK}


def here() -> dict:
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
        "processes": ranks.count(),
        "threads": torch.get_num_threads(),
        "versions": versions(),
    }


def portable(base: str) -> str:
    """A base model as a record names it: a folder of this repository by its path in it, any other folder by its whole path.

    So a run finds its base again from another working directory, and after the checkout was moved or its store was copied.
    """
    folder = Path(base).resolve()
    if not folder.is_dir():  # a Hub id
        return str(base)
    return folder.relative_to(ROOT).as_posix() if folder.is_relative_to(ROOT) else str(folder)


def located(base: str) -> str:
    """The other way round: what :func:`portable` made of a base, as a folder or Hub id that can be loaded from anywhere."""
    return str(ROOT / base) if (ROOT / base).is_dir() else base
