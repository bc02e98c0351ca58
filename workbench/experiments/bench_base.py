"""Measure how fast a real base model trains and answers on a CPU: against a plain PyTorch loop, and against fp32 with small batches."""

from __future__ import annotations

import datetime
import gc
import os
import re
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import datasets
import pandas as pd
import peft
import psutil
import torch
import torch.nn.functional as F
from joblib.externals.loky import ProcessPoolExecutor

from workbench import environment, graders
from workbench.config import SFTSpec
from workbench.evaluate import scoring
from workbench.experiments import bench
from workbench.models import adapters, loading, logprobs, precision
from workbench.models.memory import GIB
from workbench.parallel import with_graders
from workbench.train import supervised


@dataclass(frozen=True)
class Size:
    """The size of the benchmark; the defaults take about four minutes on 2 cores with a base of 270 million parameters."""

    rows: int = 96
    """Training rows, in steps of 8."""
    held_out: int = 32
    """Rows whose loss is measured after the training."""
    prompts: int = 48
    """Evaluation prompts, each with a reply of up to 48 tokens."""
    repeats: int = 2
    """How often each side is measured."""


def measure(base: str, rows: datasets.Dataset, evaluation: Sequence[dict], size: Size = Size()) -> pd.DataFrame:
    """Run the benchmark; every measurement has a process of its own.

    Returns:
        One row per comparison, with the columns of :func:`workbench.experiments.bench.measure` and, for trainings, the most memory that
        the process held during the training, in GiB: gib, theirs_gib.
    """
    return pd.DataFrame([*training(base, rows, size), answering(base, evaluation, size)])


def training(base: str, rows: datasets.Dataset, size: Size = Size()) -> list[dict]:
    """Return the rows of :func:`measure` on training."""
    plain = [i for i, row in enumerate(rows) if [turn["role"] for turn in row["messages"]] == ["user", "assistant"]]
    rows = rows.select(plain)  # some templates know no other turns
    parts = rows.select(range(size.rows)), rows.select(range(size.rows, size.rows + size.held_out))
    kinds = (("lora", False), ("lora", True), ("qlora", False))
    ours, loop, rounded = bench.in_turn([_apart(_train, base, *parts, *kind) for kind in kinds], size.repeats)
    return [
        _training_row("LoRA SFT against a plain PyTorch loop on the same batches", ours, loop, "0.8 or more"),
        _training_row("LoRA SFT against QLoRA SFT", ours, rounded),
    ]


def answering(base: str, evaluation: Sequence[dict], size: Size = Size()) -> dict:
    """Return the row of :func:`measure` on scoring."""
    given = base, list(evaluation)[: size.prompts]
    ours, theirs = bench.in_turn([_apart(_score, *given, side) for side in (True, False)], size.repeats)
    what = f"scoring {size.prompts} prompts, against fp32 in batches of 16"
    return bench.ratio_row(what, "tokens per second", 1, ours, theirs, "3 or more")


def _apart(call: Callable, *given) -> Callable:
    """Return a function that calls in a process of its own, with the threads of this one."""

    def run():
        with ProcessPoolExecutor(1, env={"OMP_NUM_THREADS": str(torch.get_num_threads())}) as pool:
            return pool.submit(with_graders, graders.registered(), call, given, {}).result()

    return run


def _training_row(what: str, ours: list[tuple], theirs: list[tuple], wanted: str = "") -> dict:
    row = bench.ratio_row(
        what, "tokens per second", 1, [each[0] for each in ours], [each[0] for each in theirs], wanted
    )
    losses = {"loss": ours[0][1], "theirs_loss": theirs[0][1]}
    return row | losses | {"gib": max(each[2] for each in ours), "theirs_gib": max(each[2] for each in theirs)}


def _train(
    base: str, rows: datasets.Dataset, held_out: datasets.Dataset, method: str, plain: bool
) -> tuple[float, float, float]:
    """Train one pass, and return seconds per token, the held-out loss afterwards, and the peak of the memory in GiB."""
    environment.quiet_libraries()
    tokenizer = loading.load_tokenizer(base)
    spec = SFTSpec(base=base, method=method, epochs=1, batch_size=8, learning_rate=2e-4, scheduler="constant")
    data = supervised.tokenized(tokenizer, rows)
    with tempfile.TemporaryDirectory() as out:
        model = adapters.unpacked(loading.load_base(base, method == "qlora", tokenizer=tokenizer))
        trainer = supervised.make_trainer(spec, model, tokenizer, data, Path(out), [])
        if plain:  # its own model, without trained rows of the chat tokens
            model = loading.load_base(base, tokenizer=tokenizer)
            config = adapters.lora_config(model, tokenizer, spec.rank)
            config.trainable_token_indices = None
            model = peft.get_peft_model(model, config)
            batches, settings = trainer.get_train_dataloader(), trainer.args
            del trainer
            gc.collect()  # the model of the trainer, which is not used here
            taken, peak = _observed(lambda: plain_loop(model, batches, settings))
        else:
            model = trainer.model
            taken, peak = _observed(trainer.train)
    tokens = sum(map(len, data["input_ids"]))
    return taken / tokens, logprobs.supervised_loss(model, tokenizer, held_out), peak / GIB


def plain_loop(model: torch.nn.Module, batches, settings) -> None:
    """Train without a trainer: AdamW, clipping, and logits at the supervised tokens alone."""
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=settings.learning_rate, fused=True)
    model.train()
    for batch in batches:
        labels = batch.pop("labels")[:, 1:]
        mask = labels != -100
        logits = model(**batch, use_cache=False, logits_to_keep=F.pad(mask, (0, 1))).logits
        F.cross_entropy(logits.float(), labels[mask]).backward()
        torch.nn.utils.clip_grad_norm_(weights, settings.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()


def _observed(call: Callable[[], object]) -> tuple[float, int]:
    """Call, and return the seconds and the most bytes of memory that this process held meanwhile, looked at every 20 ms."""
    process, done, seen = psutil.Process(), threading.Event(), [0]

    def watch() -> None:
        while not done.wait(0.02):
            seen.append(process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.monotonic()
    try:
        call()
        return time.monotonic() - start, max(seen)
    finally:
        done.set()
        watcher.join()


def _score(base: str, evaluation: list[dict], ours: bool) -> float:
    """Return the seconds per token of the replies: the base has learned no end of a turn, so nearly all are as long as they may be."""
    environment.quiet_libraries()
    tokenizer = loading.load_tokenizer(base)
    model = loading.load_base(base, dtype=None if ours else torch.float32, tokenizer=tokenizer)
    start = time.monotonic()
    table = scoring.score(model, tokenizer, evaluation, batch_size=None if ours else 16)
    return (time.monotonic() - start) / table["length"].sum()


def section(base: str, table: pd.DataFrame, size: Size = Size()) -> str:
    """Return the table in Markdown under a heading of its own, with the machine."""
    machine, folder = environment.describe(), Path(base)
    dtype = str(precision.compute_dtype("cpu", precision.parameters(folder.glob("*.safetensors"))))
    lines = [
        heading(base),
        "",
        f"Made by `workbench bench --base` on {datetime.date.today()}: {machine['cpu']}, {os.cpu_count()} cores, {machine['threads']} "
        f"threads, weights in {dtype.removeprefix('torch.')} where nothing else is said. {size.rows} training rows in steps of 8; medians of "
        f"{size.repeats} turns, in brackets the lowest and the highest ratio. Both loops have the same batches, LoRA of rank 16 in fp32, and "
        "logits at the supervised tokens alone; ours trains the rows of the chat tokens as well. Memory is what a process holds during the training.",
        "",
        "| what | ours | theirs | unit | ratio | wanted | held-out loss, ours and theirs | GiB, ours and theirs |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in table.itertuples(index=False):
        ratio = f"{row.ratio:.2f} [{row.least:.2f}, {row.greatest:.2f}]"
        trained = (
            ("", "")
            if pd.isna(row.loss)
            else (f"{row.loss:.3f}, {row.theirs_loss:.3f}", f"{row.gib:.2f}, {row.theirs_gib:.2f}")
        )
        lines.append(
            f"| {row.what} | {row.ours:,.4g} | {row.theirs:,.4g} | {row.unit} | {ratio} | {row.wanted} | {trained[0]} | {trained[1]} |"
        )
    return "\n".join(lines) + "\n"


def heading(base: str) -> str:
    """Return the heading of a base's section."""
    return f"## {Path(base).resolve().name} on a CPU"


def with_section(page: str, section: str) -> str:
    """Return a page with a section in place of the one of the same heading, or at the end."""
    first = re.escape(section.partition("\n")[0])
    found = re.compile(rf"^{first}\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)
    if found.search(page):
        return found.sub(lambda _: section + "\n", page, count=1).rstrip("\n") + "\n"
    return page.rstrip("\n") + "\n\n" + section
