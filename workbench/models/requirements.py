"""Check what a profile needs before anything is downloaded or trained: disk, GPU memory, network or cache, time.

``start(profile)`` in the first cell of a notebook calls :func:`check_profile`.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
import transformers
from transformers.pytorch_utils import Conv1D

from workbench import gguf_base, hub, profiles
from workbench.data import files
from workbench.errors import InputError
from workbench.models import cost, loading, memory, precision
from workbench.models.adapters import STATE_SPACE

METHODS = ("qlora", "lora", "full")

RANK, ROWS, TOKENS = 16, 2_000, 300
"""Of the estimates: rank of the adapter, rows of a training, tokens a row (instruction sets: 150 to 600)."""

USED = 0.25
"""Share of the speed of large matrix products that a training reaches: a guess, to be measured (`make gpu-check`)."""

LINE = 100e6 / 8
"""Bytes a second of the line that downloads are reckoned with: 100 Mbit/s."""

FOLDED = 0.5
"""Least share of the weights beside the embeddings that QLoRA keeps in 4 bits."""

ROOM = 2 * 10**9
"""Bytes of disk for runs and prepared data."""

BENCHMARKS = {"ifeval": "google/IFEval"}
"""Data sets of lm-eval's tasks that are looked up on the Hub like those of the profile."""


def require_method(folder: Path, method: str) -> float:
    """Return the share of the weights beside the embeddings that a method trains or adapts, and check that it fits the architecture of a base.

    Nothing of the base is loaded but its config.

    NF4 takes linear layers. The experts of a mixture are one tensor for all, and some architectures compute with linear layers of a
    class of their own: they would stay in full precision, and 4 bits would save nothing.

    Raises:
        InputError: the method cannot work on this architecture.
    """
    if method == "full":
        return 1.0
    config = loading.read_config(folder)
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config)
    head, layers = model.get_output_embeddings(), memory.linear_layers(model)
    where = f"{folder.name}: method {method} does not fit the architecture {type(model).__name__}"
    if not layers:
        raise InputError(f"{where}, which has no linear layers for an adapter; take method full")
    if method == "qlora" and config.model_type in STATE_SPACE:
        raise InputError(f"{where}: its kernels read weights that 4 bits would pack; take method lora or full")
    tables = {id(part.weight) for part in model.modules() if isinstance(part, torch.nn.Embedding) or part is head}
    weights = [weight for weight in model.parameters() if weight.dim() > 1 and id(weight) not in tables]
    linear = [part for part in layers if method == "lora" or isinstance(part, Conv1D) or type(part) is torch.nn.Linear]
    share = sum(part.weight.numel() for part in linear) / sum(weight.numel() for weight in weights)
    if method == "qlora" and share < FOLDED:
        raise InputError(
            f"{where}: 4 bits are for plain linear layers, which hold {share:.0%} of its weights; take method lora or full"
        )
    return share


def check_profile(profile: profiles.Profile) -> profiles.Profile:
    """Print what the profile needs, check that it is there, and return the profile with the commits of its models and data.

    Nothing is downloaded but the config of the base model; a packaged base is converted. Profiles without names of the Hub come back as
    they are.

    Raises:
        InputError: no GPU, a package that is not installed, too little of its memory or of the disk, or a Hub that cannot be reached with a cold cache; one line.
    """
    named = {field: getattr(profile, field) for field in ("base", "tuning", "preferences")}
    named = {field: name for field, name in named.items() if name and not Path(name).exists()}
    if packaged := gguf_base.PACKAGED.get(named.get("base")):
        del named["base"]
    if not named:
        needs = f"no GPU, {profile.worker_bytes / memory.GIB:.3g} GB of memory per process"
        if packaged:
            hub.fetch(profile.base)
            print(f"{profile.name}: {packaged.title}, under {packaged.terms}; {needs}")
        else:
            print(f"{profile.name}: nothing to download, {needs}")
        return profile
    if not torch.cuda.is_available():
        raise InputError(f'profile {profile.name} needs a CUDA GPU, and torch finds none here; take profile "pocket"')
    if profile.benchmarks and importlib.util.find_spec("lm_eval") is None:
        raise InputError(
            f"profile {profile.name} scores models on {', '.join(profile.benchmarks)} as well, with lm-eval, which is not installed: "
            'pip install -e ".[eval]"'
        )
    found = {field: _look_up(name, field) for field, name in named.items()}
    asked = [_look_up(BENCHMARKS[task], "benchmarks") for task in profile.benchmarks if task in BENCHMARKS]
    disk = shutil.disk_usage(_existing(hub.cache_folder())).free
    config = loading.read_pretrained(transformers.AutoConfig, found["base"].name, revision=found["base"].commit)
    gpu = f"{torch.cuda.get_device_name()} with {str(precision.compute_dtype('cuda')).removeprefix('torch.')}"
    lines = describe_requirements(
        profile,
        [*found.values(), *asked],
        disk,
        memory.ModelShape.of(config),
        gpu,
        memory.free_bytes("cuda"),
        cost.matmul_speed("cuda"),
    )
    print("\n".join(lines))
    return dataclasses.replace(
        profile,
        **{field: pinned_name(name, repo) for (field, name), repo in zip(named.items(), found.values(), strict=True)},
    )


def describe_requirements(
    profile: profiles.Profile,
    repos: list[hub.Repo],
    disk: int,
    shape: memory.ModelShape,
    gpu: str,
    free: int,
    flops: float,
) -> Iterator[str]:
    """Return the lines that :func:`check_profile` prints, from what was found.

    Args:
        disk: free bytes where the Hub's files are kept.
        free: free bytes on the GPU.
        flops: operations per second of large matrix products.

    Raises:
        InputError: the disk or the GPU's memory is too small.
    """
    lacking = sum(repo.missing for repo in repos)
    for repo in repos:
        state = f"{_gb(repo.missing)} to download" if repo.missing else "in the cache"
        licence = f", licence {repo.licence}" if repo.licence else ""
        yield f"{repo.kind:<8} {repo.name} at {repo.commit[:12]}: {_gb(repo.size)}, {state}{licence}"
    if lacking + ROOM > disk:
        raise InputError(
            f"profile {profile.name} needs {_gb(lacking + ROOM)} of disk for downloads and runs, and {_gb(disk)} are free; "
            "free some, or set HF_HOME to another disk"
        )
    yield f"disk     {_gb(lacking)} to download ({lacking / LINE / 60:.0f} minutes at 100 Mbit/s), {_gb(disk)} free"
    yield f"GPU      {gpu}, {free / memory.GIB:.1f} GiB free"
    for method in METHODS:
        try:
            fit = memory.fit_step(free, shape, method, RANK, profile.max_length, 8)
        except InputError as error:
            if method == "qlora":
                raise
            yield f"{method:<8} does not fit, and what it would train is left out: {error}"
            continue
        slower = ", activations computed twice" if fit.checkpointing else ""
        yield (
            f"{method:<8} {fit.bytes / memory.GIB:.1f} GiB, {fit.micro} sequences of {profile.max_length:,} tokens at a time{slower}"
        )
    seconds = cost.adapter_flops(shape, ROWS * TOKENS * profile.epochs) / (USED * flops)
    yield (
        f"time     about {max(1, seconds / 60):.0f} minutes a QLoRA training of {ROWS:,} rows, if rows have {TOKENS} tokens "
        f"({USED:.0%} of the {flops / 1e12:.0f} TFLOP/s measured now: a guess until this has run on such a GPU)"
    )


def methods_that_fit(
    profile: profiles.Profile, trainings: Mapping[str, Mapping[str, object]]
) -> dict[str, Mapping[str, object]]:
    """Return the trainings whose `method` fits into the free memory of the GPU, and print a line about each other one.

    So a comparison loses a side before an hour is spent on it, and not after.

    Args:
        trainings: name → settings of a spec, as experiments.make_cells takes them.
    """
    if not torch.cuda.is_available():
        return dict(trainings)
    shape = memory.ModelShape.of(loading.read_pretrained(transformers.AutoConfig, hub.fetch(profile.base)))
    kept = {}
    for name, training in trainings.items():
        try:
            memory.fit_step(
                memory.free_bytes("cuda"), shape, training["method"], training.get("rank", RANK), profile.max_length, 1
            )
        except InputError as error:
            print(f"{name}: left out, with the claims about it: {error}")
        else:
            kept[name] = training
    return kept


def pinned_name(name: str, repo: hub.Repo) -> str:
    """Return a Hub name with the commit in place of its revision: "owner/name:config@revision#split:rows"."""
    parts = files.HUB_ID.fullmatch(name).groupdict()
    config = f":{parts['name']}" if parts["name"] else ""
    split = f"#{parts['split']}" + (f":{parts['rows']}" if parts["rows"] else "") if parts["split"] else ""
    return f"{repo.name}{config}@{repo.commit}{split}"


def _look_up(name: str, field: str) -> hub.Repo:
    parts = files.HUB_ID.fullmatch(name).groupdict()
    if field == "base":
        return hub.look_up(parts["path"], parts["revision"], "model", hub.MODEL_FILES)
    return hub.look_up(parts["path"], parts["revision"], "dataset")


def _existing(folder: Path) -> Path:
    """The folder, or the nearest above it that there is."""
    return next(path for path in (folder, *folder.absolute().parents) if path.exists())


def _gb(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size > 5e7 else f"{size / 1e6:.0f} MB"
