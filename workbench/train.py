"""Training with TRL, supervised or on preferences: a spec, rows, and one call that gives a finished run.

Thin on purpose: the loop, the loss, the optimizer and the checkpoints are TRL's and the Trainer's. What is added is what people
lose days to elsewhere: the checks before the first step, the loss on the answers only, the right reference, a name for the result that says what went
into it, and going on after an interruption.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import datasets
import pandas as pd
import torch
import torch.nn.functional as F
import transformers

from workbench import chat, data, doctor, environment, models, ranks, runs
from workbench.errors import InputError
from workbench.specs import DPOSpec, SFTSpec

RECIPE = (
    2  # part of every run's name; raise it when a change here, in supervised.py or dpo.py changes what a spec means
)


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
    _known_tracker(report_to)
    store = store or runs.Store()
    folder = models.fetch(spec.base, spec.revision)
    _gate(rows, evaluation, store)
    key = {
        "spec": {**dataclasses.asdict(spec), "base": models.fingerprint(folder), "revision": None},
        "rows": data.content_hash(rows),
        "held_out": data.content_hash(held_out) if held_out is not None else None,
        "template": chat.CHATML,
        "recipe": RECIPE,
        "versions": environment.versions(),
    }
    if models.default_device() == "cuda":
        key["device"] = "cuda"  # rows are packed there, so that the same spec is another training

    def make(work: Path) -> dict:
        from workbench import supervised  # loading TRL takes seconds, which a run that is there need not wait

        return supervised.train_on_rows(work, folder, spec, rows, held_out, quiet, save_every, report_to)

    return store.obtain(spec.method, key, make)


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
    _known_tracker(report_to)
    store = store or runs.Store()
    _gate(rows, evaluation, store)
    key = {
        "spec": dataclasses.asdict(spec),
        "sft": sft_run.id,
        "rows": data.content_hash(rows),
        "recipe": RECIPE,
        "versions": environment.versions(),
    }

    def make(work: Path) -> dict:
        from workbench import dpo

        return dpo.train_on_pairs(work, spec, sft_run, rows, quiet, save_every, report_to)

    return store.obtain("dpo", key, make)


def loss_per_token(
    model: transformers.PreTrainedModel,
    tokenizer: transformers.PreTrainedTokenizerBase,
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


def without(rows: datasets.Dataset, evaluation: Sequence[dict], store: runs.Store | None = None) -> datasets.Dataset:
    """The rows that ask nothing that the evaluation asks, in the same words or nearly; a printed line says how many were left out.

    For data that somebody else made, of which the leakage gate would stop each training. What was found is kept in the store.

    Raises:
        InputError: all rows ask what the evaluation asks.
    """

    def found() -> pd.DataFrame:
        leaked = data.asking(rows, evaluation)
        return pd.DataFrame({"row": [n for n in range(len(rows)) if n not in leaked]}, dtype="int64")

    key = [data.content_hash(rows), data.content_hash(evaluation)]
    kept = (store or runs.Store()).cached(key, "without", found)["row"]
    if len(kept) == len(rows):
        return rows
    if kept.empty:
        raise InputError(f"all {len(rows):,} rows ask what the evaluation asks; give other data to train on")
    print(f"left out {len(rows) - len(kept):,} of {len(rows):,} rows, which ask what the evaluation asks")
    return rows.select(kept)


def _known_tracker(name: str) -> None:
    """Raise InputError for a tracker that the Trainer does not know or that is not installed here."""
    if name == "none":
        return
    installed = transformers.integrations.get_available_reporting_integrations()
    if name not in installed:
        raise InputError(
            f'report_to "{name}" is not installed, or nothing that the Trainer can report to; installed here: '
            f'{", ".join(installed) or "none"}; pip install -e ".[tracking]" brings TensorBoard'
        )


def _gate(rows: datasets.Dataset, evaluation: datasets.Dataset | None, store: runs.Store) -> None:
    """Kept, so that a finished run is gated against evaluation rows that it has not met, and only against those."""

    def passed() -> pd.DataFrame:
        data.gate(rows, evaluation)
        return pd.DataFrame({"passed": [True]})

    if evaluation is not None:
        store.cached([data.content_hash(rows), data.content_hash(evaluation)], "gate", passed)
