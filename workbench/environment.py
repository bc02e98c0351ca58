"""What a result depends on besides its spec: versions of libraries, and the machine."""

import platform
from importlib.metadata import version
from pathlib import Path

from workbench import ranks

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
