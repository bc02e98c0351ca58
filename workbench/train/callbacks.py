"""Protect a training: checkpoints by the clock, a Ctrl-C that saves before it stops, a stop when the first loss is wrong.

Imported where a training begins and not at the top of other modules: the class that callbacks inherit from takes 2.5 seconds to
import, which notebooks and worker processes that read finished runs need not pay.
"""

import json
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from accelerate.data_loader import BatchSamplerShard
from transformers import ProgressCallback, TrainerCallback
from transformers.trainer_pt_utils import LengthGroupedSampler

from workbench import distributed
from workbench.data.preference_validation import ANSWERS
from workbench.errors import InputError
from workbench.parallel import progress_bar


class CheckpointCallback(TrainerCallback):
    """Save a checkpoint every few seconds or when asked to stop, and count time and tokens across interruptions."""

    # A file in each checkpoint, written last, with the sizes of the others: without it, or with others, the checkpoint is not used.
    COMPLETE = "complete"

    def __init__(self, seconds: float, every: int = 1):
        """Save when `seconds` have passed, after a number of steps that is a multiple of `every`."""
        self.seconds, self.every = seconds, every
        self.stop = False

    def on_train_begin(self, args, state, control, **kwargs):
        """Continue the counts of the checkpoint from which the training continues."""
        before = [entry for entry in state.log_history if "num_tokens" in entry]
        # TRL's trainers for RL count in the state, which the checkpoint holds; its other trainers begin anew.
        self.tokens = before[-1]["num_tokens"] if before and not state.num_input_tokens_seen else 0
        self.saved = time.monotonic()
        self.began = self.saved - (before[-1]["seconds"] if before else 0.0)

    def on_epoch_begin(self, args, state, control, train_dataloader=None, **kwargs):
        """Let grouping by length draw from seed and epoch alone, for the whole step.

        From the global state a resumed epoch would have other batches, and from the share of one process several would.
        """
        batches = train_dataloader.batch_sampler
        if isinstance(batches, BatchSamplerShard):  # one process's share of them
            batches = batches.batch_sampler
        sampler = batches.sampler
        if isinstance(sampler, LengthGroupedSampler):
            sampler.batch_size = (
                args.per_device_train_batch_size * args.gradient_accumulation_steps * distributed.world_size()
            )
            sampler.generator = torch.Generator().manual_seed(args.seed + int(state.epoch))

    def on_step_end(self, args, state, control, **kwargs):
        """Ask for a checkpoint when it is time, with a log entry, so that the counts are exact at a checkpoint."""
        # Processes that train together save and stop after the same step, or they would wait for each other for ever.
        due, self.stop = distributed.on_main_process(lambda: (time.monotonic() - self.saved >= self.seconds, self.stop))
        whole = state.global_step % self.every == 0
        # None at the last step: from there the Trainer would take one step more, unless a pass over the rows ends there as well.
        control.should_save = (due or self.stop) and whole and state.global_step < state.max_steps
        control.should_log = control.should_log or control.should_save or state.global_step >= state.max_steps
        control.should_training_stop = control.should_training_stop or (self.stop and whole)

    def on_log(self, args, state, control, **kwargs):
        """Put seconds and tokens since the first start into the log entry."""
        entry = state.log_history[-1]
        if not math.isfinite(entry.get("loss", 0.0)):  # the log comes before a checkpoint, so that none of it is saved
            raise InputError(
                f"the loss is {entry['loss']} at step {state.global_step}: the training has diverged; lower learning_rate, or raise warmup. "
                "The last checkpoint before it is kept"
            )
        entry["seconds"] = time.monotonic() - self.began
        if "num_tokens" in entry:
            entry["num_tokens"] += self.tokens

    def on_save(self, args, state, control, **kwargs):
        """Mark the checkpoint that has just been written as complete."""
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        distributed.on_main_process(lambda: (folder / self.COMPLETE).write_text(json.dumps(self._sizes(folder))))
        self.saved = time.monotonic()

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Let the first Ctrl-C ask for a stop after the step, and a second one stop at once."""
        if threading.current_thread() is not threading.main_thread():
            yield  # only the main thread may take signals
            return
        usual = signal.getsignal(signal.SIGINT)

        def ask(*_):
            self.stop = True
            signal.signal(signal.SIGINT, usual)

        signal.signal(signal.SIGINT, ask)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, usual)

    @classmethod
    def last(cls, folder: Path) -> str | None:
        """Return the newest complete checkpoint in a folder."""
        found = [path.parent for path in folder.glob(f"checkpoint-*/{cls.COMPLETE}") if cls._is_whole(path)]
        return str(max(found, key=lambda path: int(path.name.split("-")[1]))) if found else None

    @classmethod
    def _is_whole(cls, mark: Path) -> bool:
        """Return whether a checkpoint has the files, in the sizes, that it was marked with."""
        try:
            return json.loads(mark.read_text()) == cls._sizes(mark.parent)
        except ValueError:
            return False

    @classmethod
    def _sizes(cls, folder: Path) -> dict[str, int]:
        # without the random states of other processes, which may still be writing them
        files = (path for path in folder.rglob("*") if path.is_file() and not path.match("rng_state_*"))
        return {str(path.relative_to(folder)): path.stat().st_size for path in files if path.name != cls.COMPLETE}


class LossBarCallback(ProgressCallback):
    """Show the workbench's progress bar, which a saved notebook keeps, with the newest loss beside it.

    The Trainer's own bar prints a line per log entry, and its notebook table is empty in a notebook that was executed and saved.
    """

    def on_train_begin(self, args, state, control, **kwargs):
        """Begin the bar at the step from which the training continues."""
        self.training_bar = progress_bar(state.max_steps, "training", quiet=not state.is_world_process_zero)
        self.current_step = 0

    def on_log(self, args, state, control, logs=None, **kwargs):
        """Show the newest loss; in reinforcement learning, where it says nothing, reward and KL."""
        names = ("reward", "kl") if "reward" in logs else ("loss",)
        if shown := {name: f"{float(logs[name]):.3f}" for name in names if name in logs}:
            self.training_bar.set_postfix(shown)


class FirstLossCallback(TrainerCallback):
    """Stop a training whose first loss shows that the reference is not the model that it starts from."""

    def __init__(self, due: float | None, near: Callable[[float, float], bool], most: float):
        """Allow a first loss that is `near` the one that is `due`, where one is known, and implicit rewards of up to `most`, as 0 is due."""
        self.due, self.near, self.most = due, near, most

    def on_log(self, args, state, control, logs=None, **kwargs):
        """Check the first entry of the log."""
        if state.global_step != 1:
            return
        first = state.log_history[0]
        loss, reward = float(first["loss"]), max(abs(first.get(f"rewards/{side}", 0)) for side in ANSWERS)
        wrong = None
        if self.due is not None and not self.near(loss, self.due):
            wrong = f"the first loss is {loss:.4f} and {self.due:.4f} is due"
        elif reward > self.most:
            wrong = f"the first reward is {reward:.4f} and 0 is due"
        if wrong:
            raise RuntimeError(f"{wrong}: the reference is not the model of the SFT run")


class RewardCallback(TrainerCallback):
    """Stop a reinforcement learning that begins far from its reference, or in which no group of replies has any spread of reward."""

    STEPS = 20

    def __init__(self, most: float):
        """Allow a KL divergence of `most` nats per token at the first step."""
        self.most = most

    def on_log(self, args, state, control, logs=None, **kwargs):
        """Check the first entries of the log."""
        first = state.log_history[0].get("kl")
        if state.global_step == 1 and first is not None and not abs(first) <= self.most:
            raise RuntimeError(
                f"the KL divergence at the first step is {first:.2g} and 0 is due: the reference is not the model that is trained"
            )
        spread = [entry["frac_reward_zero_std"] for entry in state.log_history if "frac_reward_zero_std" in entry]
        if len(spread) == self.STEPS and min(spread) == 1:
            raise InputError(
                f"in {self.STEPS} steps all replies to a prompt got the same reward, so there is nothing to learn from; start from a "
                "model that earns some of it (an SFT run), or raise completions or temperature"
            )
