"""Train on preference pairs with TRL, from a supervised run: direct preference optimisation (Rafailov et al. 2023, arXiv 2305.18290) and its relatives.

The loss compares the policy with a reference, and the reference has to be the very model that the policy starts from. Then the
first loss is known before anything is computed (ln 2 for "sigmoid"), and a training with another first loss is stopped.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from statistics import fmean

import datasets
import torch
import transformers
import trl

from workbench import environment, recipes
from workbench.config import DPOSpec, RewardSpec
from workbench.data import content, preference_validation, templates, validation
from workbench.errors import InputError
from workbench.models import adapters, loading
from workbench.store import Run, Store
from workbench.train import disk
from workbench.train.trainer import (
    attach_tracker,
    dtype_begun,
    fix_trl_trainer,
    memory_arguments,
    remember_dtype,
    require_context,
    require_no_leaks_once,
    require_tracker,
    run_to_end,
    save_run,
    to_trl,
    trainer_arguments,
)


def dpo(
    spec: DPOSpec,
    rows: datasets.Dataset,
    *,
    sft_run: Run | None = None,
    evaluation: datasets.Dataset | None = None,
    store: Store | None = None,
    quiet: bool = False,
    save_every: float = 20.0,
    report_to: str = "none",
) -> Run:
    """Continue a tuned model on preference pairs and return the finished run; a run that is stored is returned at once.

    Args:
        spec: method and settings.
        rows: pairs: ``prompt``, ``chosen`` and ``rejected``, each a list of messages (and ``tools``).
        sft_run: the run whose model is trained on; as it was, it is the reference.
        evaluation: rows that will judge the model; the training stops before it begins if they are among the training rows.
        store: where the run is kept; None takes the default store.
        quiet: show no progress bar.
        save_every, report_to: as in :func:`workbench.train.supervised.sft`.

    Raises:
        InputError: no SFT run, rows that are not pairs, validation found an error, evaluation rows leaked, or the disk is full.
        RuntimeError: the first loss shows that the reference is not the model of the SFT run.
        KeyboardInterrupt: stopped; the same call continues.
    """
    if not isinstance(sft_run, Run):
        raise InputError(
            f"DPO starts from a finished SFT run, which is its reference as well; {sft_run!r} is not one: pass what train.sft "
            "returns as sft_run"
        )
    return run_on_pairs(
        "dpo", recipes.TRAINING, spec, rows, sft_run, evaluation, store, report_to,
        lambda work: _train_on_pairs(work, spec, sft_run, rows, quiet, save_every, report_to),
    )  # fmt: skip


def run_on_pairs(
    kind: str,
    recipe: int,
    spec: DPOSpec | RewardSpec,
    rows: datasets.Dataset,
    sft_run: Run,
    evaluation: datasets.Dataset | None,
    store: Store | None,
    report_to: str,
    train: Callable[[Path], dict],
) -> Run:
    """Check preference pairs and return the run of a training on them from an SFT run; `train` makes it where it is not stored.

    Raises:
        InputError: rows that are not pairs, an unknown tracker, or evaluation rows leaked.
    """
    validation.require_valid(preference_validation.find_unpaired(rows))
    require_tracker(report_to)
    store = store or Store()
    require_no_leaks_once(rows, evaluation, store)
    key = {
        "spec": dataclasses.asdict(spec),
        "sft": sft_run.id,
        "rows": content.content_hash(rows),
        "recipe": recipe,
    }
    return store.obtain(kind, key, train)


TOLERANCE = 1e-3  # of the first loss


def first_loss(spec: DPOSpec) -> float | None:
    """Return the loss of a policy that is its own reference, whatever the pairs; None where it depends on them (a loss with "sft")."""
    known = {"sigmoid": math.log(2), "sigmoid_norm": math.log(2), "ipo": 1 / (2 * spec.beta) ** 2, "kto": 0.5}
    return known.get(spec.loss)


def make_trainer(
    spec: DPOSpec,
    model: torch.nn.Module,
    tokenizer: transformers.PreTrainedTokenizerBase,
    dataset: datasets.Dataset,
    out: Path,
    callbacks: list[transformers.TrainerCallback],
    quiet: bool = True,
    reference: transformers.PreTrainedModel | None = None,
) -> trl.DPOTrainer | trl.KTOTrainer:
    """Return TRL's trainer for this spec and a tuned model; it tokenizes the pairs. For "kto" they are taken apart and mixed.

    Args:
        model: as models.load_tuned(run, trainable=True) gives it. Its adapter is copied and kept as the reference.
        reference: a second copy of a model without an adapter, which has nothing else to be compared with.
    """
    start = {name: value.detach().clone() for name, value in model.named_parameters() if value.requires_grad}
    settings = trainer_arguments(spec, model, len(dataset), out, quiet)
    if model.device.type == "cuda":
        # both answers of a pair are read at a time
        settings |= memory_arguments(spec, model, *method_of(model), 2 * spec.max_length, spec.batch_size)
    settings |= {"beta": spec.beta, "max_length": spec.max_length}
    if spec.loss == "kto":
        # KTO estimates its KL penalty from the answers of neighbours, so TRL reads the rows in their order: all chosen ones first.
        dataset = trl.unpair_preference_dataset(dataset).shuffle(seed=spec.seed)
        settings["per_device_train_batch_size"] *= 2  # answers, not pairs
        kind, arguments = trl.KTOTrainer, trl.KTOConfig(**settings)
    else:
        kind, arguments = trl.DPOTrainer, trl.DPOConfig(**settings, loss_type=spec.loss.split("+"))
    trainer = kind(
        model=model, ref_model=reference, args=arguments, train_dataset=dataset, processing_class=tokenizer,
        callbacks=callbacks,
    )  # fmt: skip
    fix_dpo_trainer(trainer, start if reference is None else {})
    return trainer


def fix_dpo_trainer(trainer: trl.DPOTrainer | trl.KTOTrainer, start: dict[str, torch.Tensor]) -> None:
    """Correct what TRL does to the pairs, to a trainer (:func:`fix_trl_trainer`) and to an adapter that training starts from.

    Args:
        trainer: as made, before it trains.
        start: name → value of every trained parameter before the trainer was made: policy and reference get these values. Empty
            where the reference is a model of its own.
    """
    end = templates.end_of_turn(trainer.processing_class)
    trainer.train_dataset = trainer.train_dataset.map(cut_after_end, fn_kwargs={"end": end})
    fix_trl_trainer(trainer)
    trainer.aux_loss_enabled = False  # of a mixture's router: no part of the loss on pairs
    for model in filter(None, (trainer.model, trainer.ref_model)):
        switch_off_dropout(model)
    restore_reference(trainer.model, start)


def method_of(model: torch.nn.Module) -> tuple[str, int]:
    """Return the method and rank with which a tuned model was trained; the rank is 0 for "full"."""
    from bitsandbytes.nn import Linear4bit
    from peft import PeftModel

    if not isinstance(model, PeftModel):
        return "full", 0
    folded = any(isinstance(part, Linear4bit) for part in model.modules())
    return "qlora" if folded else "lora", model.peft_config["default"].r


def rank_of(model: torch.nn.Module) -> dict[str, int]:
    """Return the rank of a model's adapter as a field of a record; none for a model without: a training that starts from a run trains its rank."""
    rank = method_of(model)[1]
    return {"rank": rank} if rank else {}


ANSWER_IDS = ("chosen_ids", "rejected_ids", "completion_ids", "KL_completion_ids")


def cut_after_end(row: dict, end: int) -> dict:
    """Cut every answer behind its end token: the newline after it is the template's, and no model is asked to write it."""
    sides = {side: row[side] for side in ANSWER_IDS if side in row}
    return {side: ids[: len(ids) - ids[::-1].index(end)] for side, ids in sides.items()}


def switch_off_dropout(model: torch.nn.Module) -> None:
    """Set the rates of dropout that modules keep as numbers to 0: TRL sees to those of nn.Dropout alone, and OPT has others."""
    for part in model.modules():
        for name, value in vars(part).items():
            if "drop" in name and isinstance(value, float):
                setattr(part, name, 0.0)


def restore_reference(model: torch.nn.Module, start: dict[str, torch.Tensor]) -> None:
    """Make policy and reference what the SFT run left: TRL rounds the one, and copies only LoRA's matrices into the other.

    It casts adapters on a quantised base to bf16, and it looks for ".default." in the names, which the rows of the chat tokens
    have at the end. Without this the first loss is 0.691 to 0.693 and the reference a model that nobody trained.
    """
    for name, value in start.items():
        policy = model.get_parameter(name)
        policy.data.copy_(value)
        parts = ["ref" if part == "default" else part for part in name.split(".")]
        model.get_parameter(".".join(parts)).data = policy.data.clone()


@environment.few_progress_bars()
def _train_on_pairs(
    work: Path,
    spec: DPOSpec,
    sft_run: Run,
    rows: datasets.Dataset,
    quiet: bool,
    save_every: float,
    report_to: str = "none",
) -> dict:
    """Train in the folder ``work`` and return the run's record; the work of :func:`workbench.train.preference.dpo`."""
    from workbench.train.callbacks import CheckpointCallback, FirstLossCallback

    dataset = to_trl(rows)
    disk.require_disk(work, disk.saved_weights(sft_run.adapter), sft_run.adapter, dataset.data.nbytes)
    came_from = {name: sft_run.spec[name] for name in ("base", "revision", "method")}
    full = came_from["method"] == "full"
    dtype = dtype_begun(work)
    model, tokenizer = adapters.load_tuned(sft_run, trainable=True, dtype=dtype)
    require_context(loading.context_length(model), came_from["base"], spec.max_length)
    tokens = None if full else adapters.chat_token_ids(tokenizer)
    findings = validation.validate(rows, tokenizer, spec.max_length, trainable=tokens)
    validation.require_valid(findings)
    callback = CheckpointCallback(save_every)
    reference = adapters.load_tuned(sft_run, trainable=True, dtype=dtype)[0] if full else None
    used = remember_dtype(work, model.dtype)
    trainer = make_trainer(
        spec,
        model,
        tokenizer,
        dataset,
        work / "checkpoints",
        [callback, FirstLossCallback(first_loss(spec), is_near, 10 * TOLERANCE * spec.beta)],
        quiet,
        reference,
    )
    attach_tracker(trainer, report_to, work)
    log = run_to_end(trainer, callback, work)
    if not full:
        trainer.model.delete_adapter("ref")
    save_run(trainer, tokenizer, dataset, work)
    first, last = log.iloc[0], log.iloc[-1]
    chosen, rejected = answer_lengths(trainer.train_dataset)
    return {
        "spec": {**came_from, **rank_of(model), "sft": sft_run.id, **dataclasses.asdict(spec)},
        "environment": {**environment.describe(), "dtype": used, "seconds": float(last["seconds"])},
        "scores": {
            "rows": len(chosen), "steps": trainer.state.global_step, "tokens": int(last["num_tokens"]),
            "loss": float(last["loss"]), "first_loss": float(first["loss"]), "first_loss_due": first_loss(spec),
            "chosen_tokens": fmean(chosen), "rejected_tokens": fmean(rejected),
        },
        "findings": [dataclasses.asdict(finding) for finding in findings],
    }  # fmt: skip


def answer_lengths(dataset: datasets.Dataset) -> tuple[list[int], list[int]]:
    """Return the lengths in tokens of all chosen answers and of all rejected ones, of a trainer's data set, paired or not."""
    if "label" not in dataset.column_names:
        return tuple([len(ids) for ids in dataset[side]] for side in ANSWER_IDS[:2])
    lengths = [(label, len(ids)) for label, ids in zip(dataset["label"], dataset["completion_ids"], strict=True)]
    return tuple([length for label, length in lengths if label == wanted] for wanted in (True, False))


def is_near(loss: float, due: float) -> bool:
    """Return whether a first loss is the one that is due, within :data:`TOLERANCE`."""
    return abs(loss - due) <= TOLERANCE * max(1, due)
