"""Say what a training would do without doing it: two rows as they are trained, steps, and time and memory from a few trial steps."""

import dataclasses
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import torch

from workbench import environment, hub
from workbench.cli import selection
from workbench.cli.masks import data_lines, marked_lines
from workbench.config import DPOSpec, RewardSpec, RLSpec, SFTSpec
from workbench.data import content, reading
from workbench.errors import counted
from workbench.models import adapters, loading, logprobs, memory
from workbench.store import Run, Store
from workbench.train import disk, preference, reinforcement, reward_models, rl_inputs, schedule, supervised

TIMED = 2
"""Steps of each kind that are timed, after a first one that also warms up: in RL some write replies, others only learn from them."""

TRIAL_ROWS = 16
"""Rows that are read to measure a forward pass."""

SHOWN = 2
"""Rows that are shown."""


def sft_lines(spec: SFTSpec, rows) -> Iterator[str]:
    """Yield what `workbench sft` would do with these rows."""
    from workbench.train.trainer import require_context

    folder = hub.fetch(spec.base, spec.revision)
    require_context(loading.context_length(folder), spec.base, spec.max_length)
    tokenizer = loading.load_tokenizer(folder, template=spec.template)
    yield from _rows(rows, tokenizer, spec.max_length)
    steps = schedule.sft_steps(spec, rows, folder, on_gpu=loading.default_device() == "cuda")

    def trainer(work: Path, trial, clock):
        full = spec.method == "full"
        dtype = torch.float32 if full else None
        model = loading.load_base(folder, spec.method == "qlora", dtype=dtype, tokenizer=tokenizer)
        return supervised.make_trainer(
            trial, adapters.unpacked(model), tokenizer, supervised.tokenized(tokenizer, rows), work, [clock], quiet=True
        )

    yield from _trial(dataclasses.replace(spec, max_tokens=None), steps, trainer)


def dpo_lines(spec: DPOSpec, rows, start: Run) -> Iterator[str]:
    """Yield what `workbench dpo` would do with these pairs."""
    model, tokenizer = adapters.load_tuned(start, trainable=True)
    yield from _rows(rows, tokenizer, spec.max_length)

    def trainer(work: Path, trial, clock):
        full = start.spec["method"] == "full"
        reference = adapters.load_tuned(start, trainable=True)[0] if full else None
        return preference.make_trainer(trial, model, tokenizer, preference.to_trl(rows), work, [clock], True, reference)

    yield from _trial(spec, schedule.dpo_steps(spec, rows, start), trainer)


def reward_lines(spec: RewardSpec, rows, start: Run) -> Iterator[str]:
    """Yield what `workbench reward-model` would do with these pairs."""
    model, tokenizer = reward_models.from_sft(start)
    yield from _rows(rows, tokenizer, spec.max_length)

    def trainer(work: Path, trial, clock):
        return reward_models.make_trainer(trial, model, tokenizer, preference.to_trl(rows), work, [clock])

    yield from _trial(spec, schedule.planned_steps(spec, len(rows)), trainer)


def rl_lines(
    spec: RLSpec, rows, lengths: list[int], reward: str | Run, watch: dict, start: Run | None
) -> Iterator[str]:
    """Yield what `workbench rl` would do with these prompts of these lengths in tokens, with a reply of the start to the first of them and its reward."""
    rl_inputs.require_start(spec, start)
    named = rl_inputs.named_rewards(reward, watch)
    asked = rl_inputs.asked_rows(rows, rl_inputs.verifiable(named))
    functions = rl_inputs.functions_of(named)
    model, tokenizer = reinforcement.load_start(spec, start)
    replies, found = rl_inputs.require_spread(spec, model, tokenizer, asked, functions)
    for row, reply, value in list(zip(asked, replies, next(iter(found.values())), strict=False))[:SHOWN]:
        yield f"\nprompt {content.prompt_text(row)}\nreply  {reply}\nreward {value:g}"
    yield ""

    def trainer(work: Path, trial, clock):
        return reinforcement.make_trainer(trial, model, tokenizer, asked, functions, work, [clock], lengths)

    yield from _trial(spec, spec.max_steps, trainer)


def select_lines(loaded: reading.Loaded, base: str, size: int, good: str | None, drop_bad: bool) -> Iterator[str]:
    """Yield what `workbench select` would read, and what a forward pass over it costs. Raises InputError where select would."""
    tokenizer = loading.load_tokenizer(base)
    selection.good_rows(good)
    rows, notes = selection.usable_rows(loaded, tokenizer, size, drop_bad)
    yield from data_lines(loaded)
    yield from (f"{'':<12}{note}" for note in notes)
    model = loading.load_base(base, tokenizer=tokenizer)
    context = loading.context_length(hub.fetch(base))
    yield from _rows(rows, tokenizer, context)
    some = rows.select(range(min(TRIAL_ROWS, len(rows))))
    started = time.monotonic()
    logprobs.supervised_loss(model, tokenizer, some, context)
    seconds = (time.monotonic() - started) / len(some) * len(rows)
    yield f"{'time':<12}about {_duration(seconds)} per forward pass over all rows, measured on {len(some)}"
    yield "dry run: nothing was scored; leave out --dry-run to select"


def _rows(rows, tokenizer, max_length: int) -> Iterator[str]:
    """Yield the first rows as they are trained."""
    for number, row in enumerate(rows.select(range(min(SHOWN, len(rows)))), 1):
        yield f"\nrow {number} of the training rows"
        yield from marked_lines(row, tokenizer, max_length)
    yield ""


def _clock():
    """Return a callback that notes when each step ended."""
    from transformers import TrainerCallback

    class Clock(TrainerCallback):
        ends: list[float]

        def on_train_begin(self, args, state, control, **kwargs):
            self.ends = []

        def on_step_end(self, args, state, control, **kwargs):
            self.ends.append(time.monotonic())

    return Clock()


def _trial(spec, steps: int, make: Callable) -> Iterator[str]:
    """Train a few steps in a temporary folder, throw them away, and yield the time and memory that the whole training would take."""
    clock, device = _clock(), loading.default_device()
    updates = getattr(spec, "updates", 1)
    cycle = min(updates, 2)  # of steps on the same replies; those from the second on take equally long
    count = min(1 + TIMED * cycle, max(1 + cycle, steps))
    trial = dataclasses.replace(spec, max_steps=count, **({"updates": cycle} if cycle > 1 else {}))
    with tempfile.TemporaryDirectory() as work, environment.few_progress_bars():
        trainer = make(Path(work), trial, clock)
        trainer.train()
        written = disk.DiskUse(disk.trained_weights(trainer.model), trainer.train_dataset.data.nbytes)
    seconds = _whole_time(clock.ends, cycle, steps, updates)
    noun = f"{spec.batch_size:,} replies" if isinstance(spec, RLSpec) else counted(spec.batch_size, "row")
    yield f"{'steps':<12}{steps:,} of {noun}"
    yield f"{'time':<12}about {_duration(seconds)}: {seconds / steps:.2g} s per step, measured over {counted(len(clock.ends) - 1, 'step')} on this machine"
    peak, free = memory.peak_bytes(device), memory.free_bytes(device)
    yield f"{'memory':<12}{peak / memory.GIB:.1f} GiB at most in the trial; {free / memory.GIB:.1f} GiB are still free"
    room = shutil.disk_usage(Store().root).free
    yield f"{'disk':<12}{written}; {room / disk.MIB:,.0f} MiB are free"
    yield "dry run: nothing was kept; leave out --dry-run to train"


def _whole_time(ends: list[float], cycle: int, steps: int, updates: int) -> float:
    """Return the seconds that all steps take, by when those of the trial ended; every `cycle`-th of them, the first included, wrote replies."""
    taken = [end - start for start, end in pairwise(ends)]
    writing, learning = taken[cycle - 1 :: cycle], taken[::cycle]  # the first step is not among them
    rounds = -(-steps // updates)
    return rounds * statistics.mean(writing) + (steps - rounds) * statistics.mean(learning)


def _duration(seconds: float) -> str:
    """Return seconds as people say them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
