"""Training with TRL, supervised or on preferences: a spec, rows, and one call that gives a finished run.

Thin on purpose: the loop, the loss, the optimizer and the checkpoints are TRL's and the Trainer's. What is added is what people
lose days to elsewhere: the checks before the first step, the loss on the answers only, the right reference, a name for the result that says what went
into it, and going on after an interruption.
"""

from __future__ import annotations

import dataclasses
import gc
from collections.abc import Sequence
from pathlib import Path

import datasets
import torch
import transformers
import trl

from workbench import distributed, environment, hub
from workbench.config import SFTSpec
from workbench.data import content, templates, validation
from workbench.errors import InputError
from workbench.models import adapters, loading, logprobs
from workbench.store import Run, Store
from workbench.train import trl_yaml
from workbench.train.trainer import (
    RECIPE,
    attach_tracker,
    fix_trl_trainer,
    packing_arguments,
    require_context,
    require_no_leaks_once,
    require_tracker,
    rows_trained,
    run_to_end,
    save_run,
    to_trl,
    trainer_arguments,
)


def sft(
    spec: SFTSpec,
    rows: datasets.Dataset,
    *,
    evaluation: datasets.Dataset | None = None,
    held_out: datasets.Dataset | None = None,
    store: Store | None = None,
    quiet: bool = False,
    save_every: float = 20.0,
    report_to: str = "none",
) -> Run:
    """Fine-tune and return the finished run; at once, if it was done before.

    Bit for bit the same for the same spec, rows, library versions and number of threads on one kind of CPU.

    Args:
        spec: what to do.
        rows: training rows with ``messages`` (and ``tools``, a list of JSON schemas).
        evaluation: rows that will judge the model; the leakage gate stops a training that has seen them.
        held_out: rows whose loss is measured before and after.
        store: where the run is kept; None takes the default store.
        quiet: no progress bar.
        save_every: seconds between checkpoints. A training that was killed goes on from the last one in the next call;
            Ctrl-C finishes the step, saves and stops.
        report_to: a tracker that gets the log as well, by the Trainer's name for it ("tensorboard", "trackio", "wandb"); "none" leaves
            it to the run store. It is no part of the run's name, and a finished run reports nothing.

    Raises:
        InputError: the doctor or the gate found an error, the base cannot be read, the tracker is unknown, or the disk is full.
        KeyboardInterrupt: stopped; the same call goes on.
    """
    if distributed.is_sharded() and spec.method != "full":
        raise InputError(
            f'method "{spec.method}" cannot be split over processes (FSDP cuts the trained rows of the chat tokens off their '
            "embedding); launch without FSDP, which keeps the whole base on each GPU"
        )
    require_tracker(report_to)
    store = store or Store()
    folder = hub.fetch(spec.base, spec.revision)
    require_no_leaks_once(rows, evaluation, store)
    key = {
        "spec": {**dataclasses.asdict(spec), "base": loading.fingerprint(folder), "revision": None},
        "rows": content.content_hash(rows),
        "held_out": content.content_hash(held_out) if held_out is not None else None,
        "template": templates.CHATML,
        "recipe": RECIPE,
        "versions": environment.versions(),
    }
    if loading.default_device() == "cuda":
        key["device"] = "cuda"  # rows are packed there, so that the same spec is another training

    def make(work: Path) -> dict:

        return _train_on_rows(work, folder, spec, rows, held_out, quiet, save_every, report_to)

    return store.obtain(spec.method, key, make)


gc.freeze()  # Accelerate looks for garbage before each training, for 0.3 s in all that was imported; nothing of that is any


TURN_TOKENS = 400  # tokens read at a time on a CPU: fewer leave its cores waiting, more are lost in attention (LOG.md)


@environment.few_progress_bars()
def _train_on_rows(work, folder, spec, rows, held_out, quiet, save_every, report_to) -> dict:
    """Train in the folder ``work`` and return the run's record; the work of :func:`workbench.train.supervised.sft`."""
    require_context(loading.context_length(folder), spec.base, spec.max_length)
    tokenizer = loading.load_tokenizer(folder)
    tokens = None if spec.method == "full" else adapters.chat_token_ids(tokenizer)
    findings = validation.validate(rows, tokenizer, spec.max_length, trainable=tokens)
    validation.require_valid(findings)
    from workbench.train.callbacks import CheckpointCallback  # its base class takes seconds to import

    keeper = CheckpointCallback(save_every)
    model = loading.load_base(folder, spec.method == "qlora", dtype=torch.float32 if spec.method == "full" else None)
    model = adapters.unpacked(model)
    before = logprobs.supervised_loss(model, tokenizer, held_out, spec.max_length) if held_out is not None else None
    trainer = make_trainer(spec, model, tokenizer, rows, work / "checkpoints", [keeper], quiet)
    attach_tracker(trainer, report_to, work)
    log = run_to_end(trainer, keeper, work)
    after = (
        logprobs.supervised_loss(trainer.model, tokenizer, held_out, spec.max_length) if held_out is not None else None
    )
    save_run(trainer, tokenizer, rows, work)
    last = log.iloc[-1]
    return {
        # where the default branch of a Hub model stood: it may move before the run is opened again
        "spec": {**dataclasses.asdict(spec), "revision": hub.snapshot_commit(folder) or spec.revision},
        "environment": {**environment.describe(), "seconds": float(last["seconds"])},
        "scores": {
            "rows": rows_trained(trainer.train_dataset), "steps": trainer.state.global_step, "tokens": int(last["num_tokens"]), "loss": float(last["loss"]),
            "held_out_before": before, "held_out_after": after,
        },
        "trl": trl_yaml.plain_arguments(trainer.args),
        "findings": [dataclasses.asdict(finding) for finding in findings],
    }  # fmt: skip


def make_trainer(
    spec: SFTSpec,
    model: transformers.PreTrainedModel,
    tokenizer: transformers.PreTrainedTokenizerBase,
    rows: datasets.Dataset,
    out: Path,
    callbacks: list[transformers.TrainerCallback],
    quiet: bool = True,
    packed: bool | None = None,
) -> trl.SFTTrainer:
    """TRL's trainer for this spec and a loaded base; it tokenises the rows and attaches the adapter.

    Args:
        packed: put rows together into sequences of `max_length` tokens in which none sees another; None does so on a GPU. On a CPU it
            is slower than rows one behind the other (LOG.md).
    """
    lengths = [len(templates.encode(tokenizer, row["messages"], content.row_tools(row))[0]) for row in rows]
    packed = model.device.type == "cuda" if packed is None else packed
    settings = trainer_arguments(with_token_budget(spec, lengths), model, len(rows), out, quiet)
    if packed:
        settings |= packing_arguments(spec, model, lengths)
    else:
        # Rows of a batch stand one behind the other instead of padded to the longest: the same loss, digit for digit, in half the
        # time on a CPU. TRL does not cut rows then, so a batch with rows to cut is padded.
        fits = max(lengths) <= spec.max_length
        settings["max_length"] = None if fits else spec.max_length
        if not spec.micro_batch_size:
            read = [min(length, spec.max_length) for length in lengths]
            settings |= in_turns(distributed.per_process(spec.batch_size), sum(read) / len(read))
        settings["padding_free"] = fits and settings["per_device_train_batch_size"] > 1
    arguments = trl.SFTConfig(
        **settings, assistant_only_loss=spec.loss_on == "answers", train_sampling_strategy=spec.sampling
    )
    adapter = None
    if spec.method != "full":
        tied = model.config.get_text_config().tie_word_embeddings
        adapter = adapters.lora_config(spec.rank, tokenizer, spec.alpha, tied)
    trainer = trl.SFTTrainer(
        model=model, args=arguments, train_dataset=to_trl(rows), processing_class=tokenizer, peft_config=adapter,
        callbacks=callbacks,
    )  # fmt: skip
    fix_trl_trainer(trainer)
    return trainer


def in_turns(rows: int, length: float) -> dict:
    """Arguments of SFTConfig that cut a step of so many rows into turns of TURN tokens or fewer, for rows of this mean length in tokens.

    Attention looks at every pair of tokens in a line, also of rows that do not see each other, and padded rows are as long as the
    longest: the more long rows at a time, the more work for nothing. The gradient of the step stays what it is.
    """
    micro = next(
        micro for micro in range(rows, 0, -1) if rows % micro == 0 and micro * length <= max(TURN_TOKENS, length)
    )
    return {"per_device_train_batch_size": micro, "gradient_accumulation_steps": rows // micro}


def with_token_budget(spec: SFTSpec, lengths: Sequence[int]) -> SFTSpec:
    """The spec with its budget in tokens as one in steps, for rows of these lengths in tokens."""
    if spec.max_tokens is None:
        return spec
    cut = [min(length, spec.max_length) for length in lengths]
    a_step = sum(cut) / -(-len(cut) // spec.batch_size)  # the last step of a pass may hold fewer rows than the others
    return dataclasses.replace(spec, max_tokens=None, max_steps=max(1, round(spec.max_tokens / a_step)))
