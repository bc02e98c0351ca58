"""Plan the optimizer steps of a training before it begins: how many they are, and whether they begin with a warm-up."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import datasets
import transformers
import trl

from workbench.config import DPOSpec, SFTSpec
from workbench.data import content, templates, validation
from workbench.models import loading, logprobs
from workbench.store import Run

SHORT = 20
"""Steps below which a share of them is no warm-up. Its first step has the rate 0: of 11 steps that is a tenth of the training, and of one
step all of it."""


def warmup(given: float, steps: int) -> float:
    """Return the warm-up of a training of so many steps, as TrainingArguments takes it: below 1 a share of the steps, else their number."""
    return 0.0 if given < 1 and steps < SHORT else given


def planned_steps(spec: SFTSpec | DPOSpec, rows: int) -> int:
    """Return the steps that a spec plans for so many rows, without packing and without a budget in tokens."""
    return spec.max_steps or math.ceil(math.ceil(rows / spec.batch_size) * spec.epochs)


def trainer_steps(trainer: transformers.Trainer) -> int:
    """Return the steps that a trainer will take."""
    args = trainer.args
    per_pass = math.ceil(len(trainer.train_dataset) / trainer.get_total_train_batch_size(args))
    return args.max_steps if args.max_steps > 0 else math.ceil(per_pass * args.num_train_epochs)


def sft_steps(spec: SFTSpec, rows: datasets.Dataset, base: str | Path, on_gpu: bool) -> int:
    """Return the steps that TRL's trainer will take, before it is made: it leaves out rows whose answer is lost altogether to the cut.

    Rows are tokenized only where the number depends on it.

    Args:
        base: folder or Hub id of the base, for its tokenizer.
        on_gpu: several rows stand in one sequence where :func:`packs` says so.
    """
    most = planned_steps(spec, len(rows))
    if spec.max_steps or not len(rows):
        return most
    tokenizer = loading.load_tokenizer(base, template=spec.template)
    try:
        if spec.max_tokens or on_gpu:
            lengths = [len(ids) for ids, _ in logprobs.encode_rows(tokenizer, rows)]
            if on_gpu and packs(spec, lengths):
                return packed_steps(spec, lengths)
            if spec.max_tokens:
                return with_token_budget(spec, lengths).max_steps
        kept, cut = 0, False
        for ids, mask in (templates.encode(tokenizer, row["messages"], content.row_tools(row)) for row in rows):
            cut = cut or len(ids) > spec.max_length
            kept += spec.loss_on == "everything" or any(mask[: spec.max_length])
    except validation.REFUSALS:  # validation says so before the training begins
        return most
    return planned_steps(spec, kept) if cut else most


def dpo_steps(spec: DPOSpec, rows: Iterable[dict], sft: Run) -> int:
    """Return the steps that TRL's trainer will take on pairs: it leaves out those whose prompt fills `max_length`. See :func:`sft_steps`.

    Args:
        sft: the run that the training starts from, for its tokenizer.
    """
    rows = list(rows)
    most, kept = planned_steps(spec, len(rows)), 0
    if spec.max_steps:
        return most
    tokenizer = loading.load_tokenizer(sft.adapter)
    try:
        for row in rows:
            kept += len(templates.prompt_ids(tokenizer, row["prompt"], content.row_tools(row))) < spec.max_length
    except validation.REFUSALS:  # validation says so before the training begins
        return most
    return planned_steps(spec, kept)


def with_token_budget(spec: SFTSpec, lengths: Sequence[int]) -> SFTSpec:
    """Return the spec with its budget in tokens as one in steps, for rows of these lengths in tokens."""
    if spec.max_tokens is None:
        return spec
    cut = [min(length, spec.max_length) for length in lengths]
    per_step = sum(cut) / -(-len(cut) // spec.batch_size)  # the last step of a pass may hold fewer rows than the others
    return dataclasses.replace(spec, max_tokens=None, max_steps=max(1, round(spec.max_tokens / per_step)))


def packs(spec: SFTSpec, lengths: Sequence[int]) -> bool:
    """Return whether rows of these lengths are packed on a GPU: where a step of `batch_size` of them fills a sequence of `max_length` tokens.

    Packed, a smaller step would become one whole sequence, which holds more rows than `batch_size` and makes fewer steps.
    """
    return spec.batch_size * sum(min(length, spec.max_length) for length in lengths) >= spec.max_length * len(lengths)


def packed_step(spec: SFTSpec, lengths: Sequence[int]) -> tuple[int, int | None]:
    """Return the sequences of a packed step, and the steps of a budget in tokens if there is one.

    Where :func:`packs` holds, a step has about as many rows as without packing: batch_size × their mean length ÷ max_length sequences,
    rounded to a power of two. A budget in tokens takes sequences to be full, which they nearly are.

    Args:
        lengths: of the rows, in tokens.
    """
    cut = [min(length, spec.max_length) for length in lengths]
    sequences = 2 ** max(0, round(math.log2(spec.batch_size * sum(cut) / len(cut) / spec.max_length)))
    return sequences, max(1, round(spec.max_tokens / (sequences * spec.max_length))) if spec.max_tokens else None


def packed_steps(spec: SFTSpec, lengths: Sequence[int]) -> int:
    """Return the steps of packed rows of these lengths: TRL packs them here as it will in the trainer."""
    sequences, budget = packed_step(spec, lengths)
    if spec.max_steps or budget:
        return spec.max_steps or budget
    packed = trl.pack_dataset(
        datasets.Dataset.from_dict({"input_ids": [[0] * length for length in lengths]}), spec.max_length, "bfd"
    )
    return math.ceil(math.ceil(len(packed) / sequences) * spec.epochs)
