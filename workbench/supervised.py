"""Supervised fine-tuning with TRL's SFTTrainer in a folder of the run store: the work of :func:`workbench.train.sft`."""

import dataclasses
import gc
from collections.abc import Sequence
from pathlib import Path

import datasets
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback
from trl import SFTConfig, SFTTrainer

from workbench import chat, data, doctor, environment, loop, models, ranks, recipe
from workbench.keeper import Keeper
from workbench.quiet import few_bars
from workbench.specs import SFTSpec
from workbench.train import loss_per_token

gc.freeze()  # Accelerate looks for garbage before each training, for 0.3 s in all that was imported; nothing of that is any
TURN = 400  # tokens read at a time on a CPU: fewer leave its cores waiting, more are lost in attention (LOG.md)


@few_bars()
def train_on_rows(work, folder, spec, rows, held_out, quiet, save_every, report_to) -> dict:
    """Train in the folder ``work`` and return the run's record; the work of :func:`workbench.train.sft`."""
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
        "environment": {**environment.here(), "seconds": float(last["seconds"])},
        "scores": {
            "rows": loop.rows_trained(trainer.train_dataset), "steps": trainer.state.global_step, "tokens": int(last["num_tokens"]), "loss": float(last["loss"]),
            "held_out_before": before, "held_out_after": after,
        },
        "trl": recipe.told(trainer.args),
        "findings": [dataclasses.asdict(finding) for finding in findings],
    }  # fmt: skip


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
        settings["max_length"] = None if fits else spec.max_length
        if not spec.micro_batch_size:
            read = [min(length, spec.max_length) for length in lengths]
            settings |= in_turns(ranks.share(spec.batch_size), sum(read) / len(read))
        settings["padding_free"] = fits and settings["per_device_train_batch_size"] > 1
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


def in_turns(rows: int, length: float) -> dict:
    """Arguments of SFTConfig that cut a step of so many rows into turns of TURN tokens or fewer, for rows of this mean length in tokens.

    Attention looks at every pair of tokens in a line, also of rows that do not see each other, and padded rows are as long as the
    longest: the more long rows at a time, the more work for nothing. The gradient of the step stays what it is.
    """
    micro = next(micro for micro in range(rows, 0, -1) if rows % micro == 0 and micro * length <= max(TURN, length))
    return {"per_device_train_batch_size": micro, "gradient_accumulation_steps": rows // micro}


def budgeted(spec: SFTSpec, lengths: Sequence[int]) -> SFTSpec:
    """The spec with its budget in tokens as one in steps, for rows of these lengths in tokens."""
    if spec.max_tokens is None:
        return spec
    cut = [min(length, spec.max_length) for length in lengths]
    a_step = sum(cut) / -(-len(cut) // spec.batch_size)  # the last step of a pass may hold fewer rows than the others
    return dataclasses.replace(spec, max_tokens=None, max_steps=max(1, round(spec.max_tokens / a_step)))
