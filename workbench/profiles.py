"""Define profiles: base model, data and settings that a notebook runs with. Its parameters cell names one."""

from dataclasses import dataclass, replace

import psutil
from joblib import cpu_count

from workbench.environment import ROOT
from workbench.errors import InputError, known_names, shortened

DATA = ROOT / "data"

# Bytes of memory for a process that trains or scores a base; the measured maximum with the pocket base is 1.2 GiB.
WORKER_BYTES = 1.5 * 2**30
# With Gemma 3 270M a LoRA training in fp32 took 4.7 GiB at most; full tuning, with gradient and moments of all weights, 7.1 GiB. Notebook 02,
# which trains and answers in its own process as well, took 6.5 GiB.
LAPTOP_WORKER_BYTES = 7 * 2**30
LAPTOP_NOTEBOOK_BYTES = 6.5 * 2**30


def worker_count(each: float = WORKER_BYTES, besides: float = 0.0) -> int:
    """Return the number of worker processes of `each` bytes that this machine has cores and free memory for, with `besides` bytes left over.

    joblib counts the cores that this process may use: in a container or under a batch system fewer than the machine has.
    """
    return max(1, min(cpu_count(), int((psutil.virtual_memory().available - besides) / each)))


def threads_per_worker(parallel: int) -> int:
    """Return the threads of each of `parallel` processes: its share of the cores, at least 1."""
    return max(1, cpu_count() // parallel)


@dataclass(frozen=True)
class Profile:
    """Base model, data and settings of the whole series of notebooks."""

    name: str
    base: str
    """Base model: a folder, a packaged base such as "gemma-3-270m", or a Hub id, "owner/name" or "owner/name@revision"."""
    tuning: str
    """Instruction data: a file or a Hub id, as :func:`workbench.data.load` takes it."""
    preferences: str | None
    """Preference pairs, likewise; None where they are made from a model's own answers."""
    learning_rate: float | None
    """For LoRA and QLoRA; None takes the default of SFTSpec. Too high a rate forgets, too low a rate does not follow instructions."""
    ablation_learning_rate: float | None
    """For LoRA and QLoRA in the trainings of ablations, on fewer rows or tokens than the default training."""
    ablation_full_learning_rate: float | None
    """For ablations that train all weights."""
    dpo_learning_rate: float
    """For preference training; too high a rate destroys the answers."""
    dpo_beta: float
    """Strength of the KL penalty in preference training; a higher one stands a higher rate."""
    rl_learning_rate: float
    """For reinforcement learning; too high a rate finds what the reward overrates, or ends in replies that are all alike."""
    epochs: float
    """Passes over the tuning data; more take longer and, with few rows, memorise them."""
    batch_size: int
    """Rows per optimizer step; fewer make more steps from the same data."""
    max_length: int
    """Tokens per row; longer rows are cut."""
    parallel: int
    """Trainings at a time: on a CPU one per core, with one thread each, where memory allows; one on a GPU."""
    benchmarks: tuple[str, ...]
    """Tasks of lm-eval that a tuned model is scored on besides the pocket evaluation; none for a model with a vocabulary of a few thousand words."""
    worker_bytes: float = WORKER_BYTES
    """Memory of a process that trains or scores the base on a CPU."""

    @property
    def threads(self) -> int:
        """Threads of each process that trains."""
        return threads_per_worker(self.parallel)

    def ablation_settings(self) -> dict[str, object]:
        """Return the fields of an SFTSpec that the trainings of an ablation share; the caller adds the budget."""
        return {
            "base": self.base,
            "batch_size": self.batch_size,
            "max_length": self.max_length,
            "learning_rate": self.ablation_learning_rate,
        }

    def sft_settings(self) -> dict[str, object]:
        """Return the fields of an SFTSpec for the default training: its own learning rate, and the number of passes."""
        return {**self.ablation_settings(), "learning_rate": self.learning_rate, "epochs": self.epochs}


POCKET = Profile(
    name="pocket",
    base=str(DATA / "pocket-base"),
    tuning=str(DATA / "tasks" / "tuning.jsonl"),
    preferences=None,
    learning_rate=1e-3,  # at 2e-3 the tuned model loses its way in poems and spellings that its base knows
    ablation_learning_rate=2e-3,  # of 1e-3, 2e-3 and 5e-3 the best for 25 to 2,000 rows; 5e-3 costs right answers
    ablation_full_learning_rate=2e-4,
    dpo_learning_rate=3e-4,
    rl_learning_rate=3e-4,
    dpo_beta=1.0,  # with less, ordinary answers fall apart at this rate; with less of both, fewer sensitive requests are handled well
    epochs=2.0,
    batch_size=4,
    max_length=512,
    parallel=worker_count(),
    benchmarks=(),
)

# A real pretrained model on a CPU: Gemma 3 270M out of the extra `laptop`. LoRA's rate did best of four on development prompts after
# 40,000 tokens (data/LOG.md, 2026-11-27); that for all weights is the only one tried, and that for DPO is not tuned.
LAPTOP = replace(
    POCKET,
    name="laptop",
    base="gemma-3-270m",
    learning_rate=1e-3,
    ablation_learning_rate=1e-3,
    ablation_full_learning_rate=5e-5,
    dpo_learning_rate=1e-4,
    dpo_beta=0.1,
    rl_learning_rate=1e-4,
    epochs=1.0,
    batch_size=8,
    parallel=worker_count(LAPTOP_WORKER_BYTES, LAPTOP_NOTEBOOK_BYTES),
    worker_bytes=LAPTOP_WORKER_BYTES,
)

# Not run on a GPU yet with these models, and not against the Hub. The commits are those that at least two public repositories each pin for these names.
# Learning rates and batch size are published ones (LoRA Without Regret, 2025: about 10 times that of full tuning, nearly independent of
# the rank), not tuned here.
GPU = Profile(
    name="gpu",
    base="HuggingFaceTB/SmolLM2-1.7B@effd688a12921b4cc83e3312b6feb579f70f9c71",  # Apache-2.0, 3.4 GB
    # Apache-2.0; 460,000 rows, of which 20,000 are sampled
    tuning="HuggingFaceTB/smol-smoltalk@f73fe857d519ff6ac5af2ea67c4d3834da7b8bcc#train:20000",
    preferences="HuggingFaceH4/ultrafeedback_binarized@3949bf5f8c17c394422ccfab0c31ea9c20bdeb85#train_prefs:10000",  # MIT
    learning_rate=2e-4,
    ablation_learning_rate=4e-4,
    ablation_full_learning_rate=2e-5,
    dpo_learning_rate=5e-6,
    dpo_beta=0.1,
    rl_learning_rate=1e-5,
    epochs=1.0,
    batch_size=16,
    max_length=1024,
    parallel=1,
    benchmarks=("ifeval",),
)

GPU_SMALL = replace(
    GPU,
    name="gpu-small",  # for GPUs of 8 GB; full tuning fits too
    base="HuggingFaceTB/SmolLM2-360M@f8027fd0eaeea54caa13c31d31b9fdc459c38b49",  # Apache-2.0, 0.7 GB
    ablation_full_learning_rate=5e-5,  # its authors tune the 360M at three times the rate of the 1.7B
)

PROFILES = {profile.name: profile for profile in (POCKET, LAPTOP, GPU, GPU_SMALL)}


def get(name: str) -> Profile:
    """Return the profile of that name.

    Raises:
        InputError: the profile is unknown; the message has the nearest name.
    """
    if name not in PROFILES:
        raise InputError(f"profile {shortened(name)} is unknown{known_names(name, PROFILES)}")
    return PROFILES[name]
