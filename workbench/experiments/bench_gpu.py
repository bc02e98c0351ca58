"""Measure how fast a GPU trains, in how much memory and at what share of its peak, against the settings of TRL's QLoRA notebook.

The models have published shapes and random weights (speed does not depend on them), so that nothing is downloaded. Not run on a GPU yet:
a test runs all of it on a CPU, with small models.
"""

import datetime
import gc
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import torch
from peft import LoraConfig
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig, Trainer
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

from workbench import environment, profiles
from workbench.config import DPOSpec, SFTSpec
from workbench.data import reading, templates
from workbench.experiments import bench
from workbench.models import adapters, cost, loading, precision
from workbench.models.memory import GIB, ModelShape
from workbench.store import Store
from workbench.train import preference, supervised
from workbench.train.trainer import to_trl

# What bench.NOTEBOOK leaves out because it needs CUDA, without Liger's kernels: they are another package, and TRL is about to drop the setting.
ON_CUDA = {"optim": "paged_adamw_8bit", "activation_offloading": True}

ADAPTER = {"rank": 32, "alpha": 32}  # as in that notebook, on every linear layer, as ours


@dataclass(frozen=True)
class Size:
    """The size of the benchmark."""

    small: PretrainedConfig = field(default_factory=lambda: cost.known_shapes()["1B"])
    large: PretrainedConfig = field(default_factory=lambda: cost.known_shapes()["8B"])
    rows: int = 512
    """Rows, or pairs, per training of the small model; the large one takes a quarter."""
    tokens: int = 400
    """Mean length of a row; lengths are log-normal, up to `max_length`."""
    max_length: int = 1024
    repeats: int = 3
    """How often each side is measured; the median ignores the first time, in which CUDA warms up."""


@dataclass(frozen=True)
class Trained:
    """The measurements of one training."""

    seconds: float
    gib: float
    """Peak memory allocated on the GPU; NaN on a CPU."""


@environment.few_progress_bars()
def measure(size: Size = Size()) -> pd.DataFrame:
    """Run the benchmark on the default device. It takes 20 GB of disk for the large model, and as much main memory.

    Returns:
        One row per comparison: what, ours and theirs (tokens per second), ratio (median over the turns), least, greatest, our_gib,
        their_gib, our_mfu, their_mfu (shares of :func:`workbench.models.cost.peak_flops`), wanted.
    """
    rows = made_rows(size.rows, size.tokens, size.max_length)
    few = rows.select(range(size.rows // 4))
    with tempfile.TemporaryDirectory() as folder:
        at = Path(folder)
        small, large = (made_base(config, at / name) for name, config in (("small", size.small), ("large", size.large)))
        return pd.DataFrame(
            [
                _sft(small, "lora", rows, size, at, "our MFU 0.40 or more"),
                _sft(small, "qlora", rows, size, at, "3 times as fast or more, in no more memory"),
                _dpo(small, pairs_of(rows), size, at),
                _sft(large, "qlora", few, size, at, "ours in 16 GiB or less"),
            ]
        )


def made_rows(count: int, tokens: int, max_length: int) -> datasets.Dataset:
    """Make conversations by joining those of the pocket world, with lengths distributed like those of real data."""
    pocket = profiles.get("pocket")
    tokenizer = loading.load_tokenizer(pocket.base)
    turns = [
        [{key: message[key] for key in ("role", "content")} for message in row["messages"]]
        for row in reading.load(pocket.tuning).rows
        if len(row["messages"]) == 2
    ]
    endless = itertools.cycle((turn, len(templates.encode(tokenizer, turn)[0])) for turn in turns)
    drawn = np.random.default_rng(0).lognormal(np.log(tokens) - 0.5**2 / 2, 0.5, count)
    rows = []
    for wanted in np.minimum(drawn, max_length):
        messages, length = next(endless)
        for turn, more in endless:
            if length + more > wanted:
                break
            messages, length = messages + turn, length + more
        rows.append({"messages": messages})
    return datasets.Dataset.from_list(rows)


def pairs_of(rows: datasets.Dataset) -> datasets.Dataset:
    """Make one preference pair per row: its first question, the rest of it as the chosen answer, and that of the next row as the rejected one."""
    answers = [" ".join(message["content"] for message in row["messages"][1:]) for row in rows]
    sides = [[{"role": "assistant", "content": answer}] for answer in answers]
    return datasets.Dataset.from_list(
        [
            {"prompt": row["messages"][:1], "chosen": chosen, "rejected": rejected}
            for row, chosen, rejected in zip(rows, sides, sides[1:] + sides[:1], strict=True)
        ]
    )


def made_base(config: PretrainedConfig, folder: Path) -> str:
    """Write a model of that shape with random weights in bf16, and the pocket tokenizer; return its folder."""
    with torch.device(loading.default_device()):  # a CPU draws 8 billion numbers in minutes
        AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(folder)
    loading.load_tokenizer(profiles.get("pocket").base).save_pretrained(folder)
    return str(folder)


def _sft(base: str, method: str, rows: datasets.Dataset, size: Size, at: Path, wanted: str) -> dict:
    tokenizer = loading.load_tokenizer(base)
    spec = SFTSpec(
        base, method=method, epochs=1, batch_size=16, max_length=size.max_length, learning_rate=2e-4, **ADAPTER
    )

    def ours() -> Trainer:
        return supervised.make_trainer(
            spec,
            loading.load_base(base, method == "qlora", tokenizer=tokenizer),
            tokenizer,
            supervised.tokenized(tokenizer, rows),
            at,
            [],
        )

    def theirs() -> Trainer:
        model = loading.load_base(base, method == "qlora", tokenizer=tokenizer)
        arguments = SFTConfig(str(at), max_length=size.max_length, **_notebook(model.device.type))
        return SFTTrainer(
            model, arguments, train_dataset=to_trl(rows), processing_class=tokenizer, peft_config=_adapter()
        )

    lengths = [len(templates.encode(tokenizer, row["messages"])[0]) for row in rows]
    return _compare(f"{method} SFT", base, method, ours, theirs, lengths, size, wanted)


def _dpo(base: str, pairs: datasets.Dataset, size: Size, at: Path) -> dict:
    start = SFTSpec(base, method="qlora", max_steps=1, max_length=size.max_length, **ADAPTER)
    run = supervised.sft(start, made_rows(16, size.tokens, size.max_length), store=Store(at / "runs"), quiet=True)
    tokenizer = loading.load_tokenizer(base)
    spec = DPOSpec(epochs=1, batch_size=16, max_length=size.max_length)

    def ours() -> Trainer:
        return preference.make_trainer(
            spec, adapters.load_tuned(run, trainable=True)[0], tokenizer, to_trl(pairs), at, []
        )

    def theirs() -> Trainer:
        model = loading.load_base(base, quantize=True, tokenizer=tokenizer)
        arguments = DPOConfig(str(at), max_length=size.max_length, **_notebook(model.device.type))
        return DPOTrainer(model, args=arguments, train_dataset=to_trl(pairs), processing_class=tokenizer,
                          peft_config=_adapter())  # fmt: skip

    sides = [pair["prompt"] + pair[side] for pair in pairs for side in ("chosen", "rejected")]
    lengths = [min(len(templates.encode(tokenizer, side)[0]), size.max_length) for side in sides]
    return _compare("qlora DPO", base, "qlora", ours, theirs, lengths, size, "", reference=True)


def _adapter() -> LoraConfig:
    return LoraConfig(
        r=ADAPTER["rank"], lora_alpha=ADAPTER["alpha"], target_modules="all-linear", task_type="CAUSAL_LM"
    )


def _notebook(device: str) -> dict:
    """Return the arguments of TRL's notebook that the device supports."""
    half = precision.compute_dtype(device)
    return {
        **bench.NOTEBOOK, **(ON_CUDA if device == "cuda" else {}), "use_cpu": device == "cpu", "bf16": half == torch.bfloat16,
        "fp16": half == torch.float16, "dataloader_pin_memory": device != "cpu", "num_train_epochs": 1, "save_strategy": "no",
        "report_to": "none", "disable_tqdm": True,
    }  # fmt: skip


def _compare(
    what: str,
    base: str,
    method: str,
    ours: Callable[[], Trainer],
    theirs: Callable[[], Trainer],
    lengths: list[int],
    size: Size,
    wanted: str,
    *,
    reference: bool = False,
) -> dict:
    """Return a row of the table: both sides train on rows of these lengths, in turn."""
    own, other = bench.in_turn([lambda: _timed(ours), lambda: _timed(theirs)], size.repeats)
    config, tokens = loading.read_pretrained(AutoConfig, base), sum(lengths)
    mean = sum(length**2 for length in lengths) / tokens  # mean length of the row that a token is in
    work = cost.training_flops(config, method, tokens, mean, ADAPTER["rank"], reference=reference)
    seconds = [statistics.median(one.seconds for one in side) for side in (own, other)]
    ratios = [b.seconds / a.seconds for a, b in zip(own, other, strict=True)]
    fastest = cost.peak_flops(loading.default_device())[0]
    parameters = sum(vars(ModelShape.of(config))[part] for part in ("linear", "other"))
    return {
        "what": f"{what}, {parameters / 1e9:.1f} B parameters, {len(lengths)} rows of {tokens / len(lengths):.0f} tokens",
        "ours": tokens / seconds[0],
        "theirs": tokens / seconds[1],
        "ratio": statistics.median(ratios),
        "least": min(ratios),
        "greatest": max(ratios),
        "our_gib": max(one.gib for one in own),
        "their_gib": max(one.gib for one in other),
        "our_mfu": work / seconds[0] / fastest,
        "their_mfu": work / seconds[1] / fastest,
        "wanted": wanted,
    }


def _timed(make: Callable[[], Trainer]) -> Trained:
    """Return the time of a training, without loading and tokenising, and the peak memory including them."""
    cuda = loading.default_device() == "cuda"
    gc.collect()
    if cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    trainer = make()
    start = time.monotonic()
    trainer.train()
    if cuda:
        torch.cuda.synchronize()
    seconds = time.monotonic() - start
    return Trained(seconds, torch.cuda.max_memory_allocated() / GIB if cuda else float("nan"))


def page(table: pd.DataFrame, size: Size = Size()) -> str:
    """Return the table in Markdown, with the machine that it was measured on."""
    machine, (rate, source) = environment.describe(), cost.peak_flops(loading.default_device())
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    memory = f", {torch.cuda.get_device_properties(0).total_memory / GIB:.0f} GiB" if machine["gpu"] else ""
    lines = [
        "# Benchmark on a GPU",
        "",
        f"Made by `workbench bench --gpu` on {datetime.date.today()}: {machine['gpu'] or machine['cpu']}{memory}, Python {machine['python']}, "
        f"{versions}.",
        f"Theirs: the settings of TRL's QLoRA notebook, on the same model and rows. Medians of {size.repeats} turns, in each of which the "
        "sides are measured one after the other; in brackets the lowest and the highest ratio. MFU: the model's own FLOPs "
        "(workbench/models/cost.py) as a share "
        f"of {rate / 1e12:,.3g} TFLOP/s ({source}).",
        "",
        "| what | ours, tokens per second | theirs | ratio | GiB: ours, theirs | MFU: ours, theirs | wanted |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in table.itertuples(index=False):
        lines.append(
            f"| {row.what} | {row.ours:,.0f} | {row.theirs:,.0f} | {row.ratio:.2f} [{row.least:.2f}, {row.greatest:.2f}] | "
            f"{row.our_gib:.1f}, {row.their_gib:.1f} | {row.our_mfu:.2f}, {row.their_mfu:.2f} | {row.wanted} |"
        )
    return "\n".join(lines) + "\n"
