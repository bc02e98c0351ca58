"""Supervised fine-tuning with TRL: a spec, rows, and one call that returns a finished run.

The loop, the loss, the optimizer and the checkpoints are TRL's and the Trainer's. Added are validation before the first step, the
loss on answers alone, a name for the run that says what went into it, and continuing after an interruption.
"""

from __future__ import annotations

import dataclasses
import gc
from collections.abc import Sequence
from pathlib import Path

import datasets
import transformers
import trl

from workbench import distributed, environment, hub, recipes
from workbench.config import SFTSpec, named_fields
from workbench.data import content, validation
from workbench.errors import InputError
from workbench.models import adapters, loading, logprobs, requirements
from workbench.store import Run, Store
from workbench.train import disk, schedule, trl_yaml
from workbench.train.trainer import (
    attach_tracker,
    dtype_begun,
    fix_trl_trainer,
    memory_arguments,
    packing_arguments,
    remember_dtype,
    require_context,
    require_no_leaks_once,
    require_tracker,
    rows_trained,
    run_to_end,
    save_run,
    to_trl,
    trainer_arguments,
)

gc.freeze()  # Accelerate collects garbage before each training, and looks for it in all imported modules for 0.3 s

TOKENS_PER_FORWARD = (
    400  # on a CPU: with fewer its cores wait, with more attention costs more than they gain (data/LOG.md)
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

    The result is the same bit for bit for the same spec, rows, library versions and number of threads on one kind of CPU.

    Args:
        spec: base model, method and settings.
        rows: training rows with ``messages`` (and ``tools``, a list of JSON schemas).
        evaluation: rows that will judge the model; the training stops before it begins if they are among the training rows.
        held_out: rows whose loss is measured before and after.
        store: where the run is kept; None takes the default store.
        quiet: show no progress bar.
        save_every: seconds between checkpoints. A training that was killed continues from the last one in the next call;
            Ctrl-C finishes the step, saves and stops.
        report_to: a tracker that receives the log as well, by the Trainer's name for it ("tensorboard", "trackio", "wandb"); "none"
            keeps it in the run store alone. It is no part of the run's name, and a finished run reports nothing.

    Raises:
        InputError: validation found an error, evaluation rows leaked, the base cannot be read, the tracker is unknown, or the disk is full.
        KeyboardInterrupt: stopped; the same call continues.
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
    chosen, line = loading.describe_format(folder, spec.template)
    if not (chosen.plain or quiet):
        environment.print_once(f"{'template':<12}{line}")
    key = {
        "spec": {
            **named_fields(dataclasses.replace(spec, template=None, revision=None)),
            "base": loading.fingerprint(folder),
        },
        "rows": content.content_hash(rows),
        "held_out": content.content_hash(held_out) if held_out is not None else None,
        "template": chosen.key(),
        "recipe": recipes.TRAINING,
    }
    if loading.default_device() == "cuda":
        # Rows are packed there, so that the same spec is another training; in the first version also where a step fills no sequence.
        key["device"] = "cuda, 2"
    return store.obtain(
        spec.method, key, lambda work: _train_on_rows(work, folder, spec, rows, held_out, quiet, save_every, report_to)
    )


@environment.few_progress_bars()
def _train_on_rows(
    work: Path,
    folder: Path,
    spec: SFTSpec,
    rows: datasets.Dataset,
    held_out: datasets.Dataset | None,
    quiet: bool,
    save_every: float,
    report_to: str,
) -> dict:
    """Train in the folder ``work`` and return the run's record."""
    requirements.require_method(folder, spec.method)
    require_context(loading.context_length(folder), spec.base, spec.max_length)
    tokenizer, chat_format = loading.load_formatted(folder, template=spec.template)
    trained = None if spec.method == "full" else adapters.chat_token_ids(tokenizer)
    encoded, findings = validation.encode_and_validate(rows, tokenizer, spec.max_length, trainable=trained)
    validation.require_valid(findings)
    loading.require_embedding_rows(folder, tokenizer, {token for each in encoded for token in each.ids})
    dataset = to_trl(rows)
    disk.require_disk(work, disk.weights_to_train(folder, spec.method, spec.rank), folder, dataset.data.nbytes)
    from workbench.train.callbacks import CheckpointCallback  # its base class takes seconds to import

    model = adapters.load_to_train(folder, spec.method, tokenizer, chat_format, dtype_begun(work))
    judged = logprobs.encode_rows(tokenizer, held_out, spec.max_length) if held_out is not None else None
    before = logprobs.mean_loss(model, judged) if judged else None
    callback, used = CheckpointCallback(save_every), remember_dtype(work, model.dtype)
    tokens = with_tokens(dataset, [(each.ids, each.mask) for each in encoded])
    trainer = make_trainer(spec, model, tokenizer, tokens, work / "checkpoints", [callback], quiet)
    attach_tracker(trainer, report_to, work)
    log = run_to_end(trainer, callback, work)
    after = logprobs.mean_loss(trainer.model, judged) if judged else None
    save_run(trainer, tokenizer, dataset, work)
    last = log.iloc[-1]
    return {
        # the commit of the default branch now: it may have moved when the run is opened again
        "spec": {**named_fields(spec), "revision": hub.snapshot_commit(folder) or spec.revision},
        "environment": {**environment.describe(), "dtype": used, "seconds": float(last["seconds"])},
        "scores": {
            "rows": rows_trained(trainer.train_dataset),
            "steps": trainer.state.global_step,
            "tokens": int(last["num_tokens"]),
            "loss": float(last["loss"]),
            "held_out_before": before,
            "held_out_after": after,
        },
        "template": dataclasses.asdict(chat_format),
        "trl": trl_yaml.plain_arguments(trainer.args),
        "findings": [dataclasses.asdict(finding) for finding in findings],
    }


def with_tokens(dataset: datasets.Dataset, encoded: Sequence[logprobs.Scored]) -> datasets.Dataset:
    """Add tokens and masks to rows in TRL's form, in the columns in which TRL recognises a tokenized data set."""
    ids, masks = zip(*encoded, strict=True)
    return dataset.add_column("input_ids", list(ids)).add_column("assistant_masks", list(masks))


def tokenized(tokenizer: transformers.PreTrainedTokenizerBase, rows: datasets.Dataset) -> datasets.Dataset:
    """Return rows in TRL's form with their tokens and loss masks, as :func:`make_trainer` takes them."""
    return with_tokens(to_trl(rows), logprobs.encode_rows(tokenizer, rows))


def make_trainer(
    spec: SFTSpec,
    model: transformers.PreTrainedModel,
    tokenizer: transformers.PreTrainedTokenizerBase,
    dataset: datasets.Dataset,
    out: Path,
    callbacks: list[transformers.TrainerCallback],
    quiet: bool = True,
    packed: bool | None = None,
) -> trl.SFTTrainer:
    """Return TRL's trainer for this spec and a loaded base, to which it attaches the adapter.

    Args:
        dataset: tokenized rows as :func:`with_tokens` returns them.
        packed: put rows together into sequences of `max_length` tokens in which none sees another; None does so on a GPU, if the
            model keeps rows apart and a step fills a sequence (:func:`schedule.packs`). On a CPU it is slower than rows concatenated
            without padding (data/LOG.md).
    """
    lengths = [len(ids) for ids in dataset["input_ids"]]
    apart, on_gpu = logprobs.keeps_rows_apart(model), model.device.type == "cuda"
    packed = on_gpu and apart and schedule.packs(spec, lengths) if packed is None else packed
    settings = trainer_arguments(schedule.with_token_budget(spec, lengths), model, len(dataset), out, quiet)
    if packed:
        settings |= packing_arguments(spec, model, lengths)
    else:
        # The rows of a batch are concatenated instead of padded to the longest: the same loss, digit for digit, in half the
        # time on a CPU. TRL does not cut rows then, so a batch with rows to cut is padded.
        fits = max(lengths) <= spec.max_length
        settings["max_length"] = None if fits else spec.max_length
        if on_gpu:
            settings |= memory_arguments(spec, model, spec.method, spec.rank, spec.max_length, spec.batch_size)
        elif not spec.micro_batch_size:
            read = [min(length, spec.max_length) for length in lengths]
            settings |= micro_batches(distributed.per_process(spec.batch_size), sum(read) / len(read))
        settings["padding_free"] = apart and fits and settings["per_device_train_batch_size"] > 1
    on_answers = spec.loss_on == "answers"
    arguments = trl.SFTConfig(**settings, assistant_only_loss=on_answers, train_sampling_strategy=spec.sampling)
    adapter = None
    if spec.method != "full":
        adapter = adapters.lora_config(model, tokenizer, spec.rank, spec.alpha)
    trainer = trl.SFTTrainer(
        model=model,
        args=arguments,
        train_dataset=dataset if on_answers else dataset.remove_columns("assistant_masks"),
        processing_class=tokenizer,
        peft_config=adapter,
        callbacks=callbacks,
    )
    fix_trl_trainer(trainer)
    return trainer


def micro_batches(rows: int, length: float) -> dict:
    """Cut a step into micro-batches of at most :data:`TOKENS_PER_FORWARD` tokens, which leaves its gradient as it is.

    Attention looks at every pair of tokens of a sequence, also of concatenated rows that do not see each other, and padded rows are as
    long as the longest: the more long rows are read at a time, the more work is wasted.

    Args:
        rows: of a step.
        length: of a row on average, in tokens.

    Returns:
        Arguments of SFTConfig.
    """
    most = max(TOKENS_PER_FORWARD, length)
    micro = next(micro for micro in range(rows, 0, -1) if rows % micro == 0 and micro * length <= most)
    return {"per_device_train_batch_size": micro, "gradient_accumulation_steps": rows // micro}
