"""Training with TRL, supervised or on preferences: a spec, rows, and one call that gives a finished run.

Thin on purpose: the loop, the loss, the optimizer and the checkpoints are TRL's and the Trainer's. What is added is what people
lose days to elsewhere: the checks before the first step, the loss on the answers only, the right reference, a name for the result that says what went
into it, and going on after an interruption.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import datasets
import pandas as pd
import torch
import torch.nn.functional as F
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback
from trl import SFTConfig, SFTTrainer

from workbench import chat, data, doctor, loop, models, ranks, recipe, runs
from workbench.dpo import train_on_pairs
from workbench.errors import InputError
from workbench.keeper import Keeper
from workbench.quiet import few_bars
from workbench.specs import DPOSpec, SFTSpec

RECIPE = 2  # part of every run's name; raise it when a change in this file changes what a spec means


def sft(
    spec: SFTSpec,
    rows: datasets.Dataset,
    *,
    evaluation: datasets.Dataset | None = None,
    held_out: datasets.Dataset | None = None,
    store: runs.Store | None = None,
    quiet: bool = False,
    save_every: float = 20.0,
    report_to: str = "none",
) -> runs.Run:
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
    if ranks.sharded() and spec.method != "full":
        raise InputError(
            f'method "{spec.method}" cannot be split over processes (FSDP cuts the trained rows of the chat tokens off their '
            "embedding); launch without FSDP, which keeps the whole base on each GPU"
        )
    loop.known_tracker(report_to)
    store = store or runs.Store()
    folder = models.fetch(spec.base, spec.revision)
    _gate(rows, evaluation, store)
    key = {
        "spec": {**dataclasses.asdict(spec), "base": models.fingerprint(folder), "revision": None},
        "rows": data.content_hash(rows),
        "held_out": data.content_hash(held_out) if held_out is not None else None,
        "template": chat.CHATML,
        "recipe": RECIPE,
        "versions": runs.versions(),
    }
    if models.default_device() == "cuda":
        key["device"] = "cuda"  # rows are packed there, so that the same spec is another training
    return store.obtain(
        spec.method, key, lambda work: _train(work, folder, spec, rows, held_out, quiet, save_every, report_to)
    )


def dpo(
    spec: DPOSpec,
    rows: datasets.Dataset,
    *,
    sft_run: runs.Run | None = None,
    evaluation: datasets.Dataset | None = None,
    store: runs.Store | None = None,
    quiet: bool = False,
    save_every: float = 20.0,
    report_to: str = "none",
) -> runs.Run:
    """Go on with a tuned model on preference pairs and return the finished run; at once, if it was done before.

    Args:
        spec: what to do.
        rows: pairs: ``prompt``, ``chosen`` and ``rejected``, each a list of messages (and ``tools``).
        sft_run: the run whose model is trained on; as it was, it is the reference.
        evaluation: rows that will judge the model; the leakage gate stops a training that has seen them.
        store: where the run is kept; None takes the default store.
        quiet: no progress bar.
        save_every, report_to: as in :func:`sft`.

    Raises:
        InputError: no SFT run, rows that are no pairs, the doctor or the gate found an error, or the disk is full.
        RuntimeError: the first loss shows that the reference is not the model of the SFT run.
        KeyboardInterrupt: stopped; the same call goes on.
    """
    if not isinstance(sft_run, runs.Run) or not sft_run.adapter.is_dir():
        raise InputError(
            f"DPO goes on from a finished SFT run, which is its reference as well; {sft_run!r} is none: pass what train.sft "
            "returns as sft_run"
        )
    doctor.require(doctor.unpaired(rows))
    loop.known_tracker(report_to)
    store = store or runs.Store()
    _gate(rows, evaluation, store)
    key = {
        "spec": dataclasses.asdict(spec),
        "sft": sft_run.id,
        "rows": data.content_hash(rows),
        "recipe": RECIPE,
        "versions": runs.versions(),
    }
    return store.obtain(
        "dpo", key, lambda work: train_on_pairs(work, spec, sft_run, rows, quiet, save_every, report_to)
    )


def loss_per_token(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: datasets.Dataset,
    max_length: int = 512,
    batch_size: int = 16,
) -> float:
    """Mean loss over all supervised tokens of the rows, in nats.

    Every token weighs the same, so the number does not depend on the batch size, as the Trainer's eval_loss does.
    """
    total, count, training = 0.0, 0, model.training
    model.eval()
    # A large vocabulary makes the logits the largest thing in memory: 4 GB for 8,192 tokens of 49,152, half of them answers.
    for ids, labels in chat.batches(tokenizer, rows, max_length, max(1, min(batch_size, 8192 // max_length))):
        ids, labels = ids.to(model.device), labels[:, 1:].to(model.device)
        answers = labels != -100
        with torch.no_grad():
            logits = model(input_ids=ids, use_cache=False).logits[:, :-1][answers].float()
        total += F.cross_entropy(logits, labels[answers], reduction="sum").item()
        count += int(answers.sum())
    model.train(training)
    return total / count


def make_trainer(
    spec: SFTSpec,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: datasets.Dataset,
    out: Path,
    callbacks: list[TrainerCallback],
    quiet: bool = True,
    packed: bool | None = None,
) -> SFTTrainer:
    """TRL's trainer for this spec and a loaded base; it tokenises the rows and attaches the adapter.

    Args:
        packed: put rows together into sequences of `max_length` tokens in which none sees another; None does so on a GPU. On a CPU it
            is slower than rows one behind the other (LOG.md).
    """
    lengths = [len(chat.encode(tokenizer, row["messages"], data.tools(row))[0]) for row in rows]
    packed = model.device.type == "cuda" if packed is None else packed
    settings = loop.arguments(budgeted(spec, lengths), model, len(rows), out, quiet)
    if packed:
        settings |= loop.packed(spec, model, lengths)
    else:
        # Rows of a batch stand one behind the other instead of padded to the longest: the same loss, digit for digit, in half the
        # time on a CPU. TRL does not cut rows then, so a batch with rows to cut is padded.
        fits = max(lengths) <= spec.max_length
        settings |= {"padding_free": fits, "max_length": None if fits else spec.max_length}
    arguments = SFTConfig(
        **settings, assistant_only_loss=spec.loss_on == "answers", train_sampling_strategy=spec.sampling
    )
    adapter = None
    if spec.method != "full":
        tied = model.config.get_text_config().tie_word_embeddings
        adapter = models.lora_config(spec.rank, tokenizer, spec.alpha, tied)
    trainer = SFTTrainer(
        model=model, args=arguments, train_dataset=loop.for_trl(rows), processing_class=tokenizer, peft_config=adapter,
        callbacks=callbacks,
    )  # fmt: skip
    loop.mend(trainer)
    return trainer


def budgeted(spec: SFTSpec, lengths: Sequence[int]) -> SFTSpec:
    """The spec with its budget in tokens as one in steps, for rows of these lengths in tokens."""
    if spec.max_tokens is None:
        return spec
    cut = [min(length, spec.max_length) for length in lengths]
    a_step = sum(cut) / -(-len(cut) // spec.batch_size)  # the last step of a pass may hold fewer rows than the others
    return dataclasses.replace(spec, max_tokens=None, max_steps=max(1, round(spec.max_tokens / a_step)))


def _gate(rows: datasets.Dataset, evaluation: datasets.Dataset | None, store: runs.Store) -> None:
    """Kept, so that a finished run is gated against evaluation rows that it has not met, and only against those."""

    def passed() -> pd.DataFrame:
        data.gate(rows, evaluation)
        return pd.DataFrame({"passed": [True]})

    if evaluation is not None:
        store.cached([data.content_hash(rows), data.content_hash(evaluation)], "gate", passed)


@few_bars()
def _train(work, folder, spec, rows, held_out, quiet, save_every, report_to) -> dict:
    """Train in the folder ``work`` and return the run's record."""
    loop.fits(models.context(folder), spec.base, spec.max_length)
    tokenizer = models.load_tokenizer(folder)
    tokens = None if spec.method == "full" else models.chat_token_ids(tokenizer)
    findings = doctor.examine(rows, tokenizer, spec.max_length, trainable=tokens)
    doctor.require(findings)
    keeper = Keeper(save_every)
    model = models.load_base(folder, spec.method == "qlora", dtype=torch.float32 if spec.method == "full" else None)
    model = models.unpacked(model)
    before = loss_per_token(model, tokenizer, held_out, spec.max_length) if held_out is not None else None
    trainer = make_trainer(spec, model, tokenizer, rows, work / "checkpoints", [keeper], quiet)
    loop.report(trainer, report_to, work)
    log = loop.finish(trainer, keeper, work)
    after = loss_per_token(trainer.model, tokenizer, held_out, spec.max_length) if held_out is not None else None
    loop.save(trainer, tokenizer, rows, work)
    last = log.iloc[-1]
    return {
        # where the default branch of a Hub model stood: it may move before the run is opened again
        "spec": {**dataclasses.asdict(spec), "revision": models.commit(folder) or spec.revision},
        "environment": {**runs.environment(), "seconds": float(last["seconds"])},
        "scores": {
            "rows": loop.rows_trained(trainer.train_dataset), "steps": trainer.state.global_step, "tokens": int(last["num_tokens"]), "loss": float(last["loss"]),
            "held_out_before": before, "held_out_after": after,
        },
        "trl": recipe.told(trainer.args),
        "findings": [dataclasses.asdict(finding) for finding in findings],
    }  # fmt: skip
