"""What supervised training and preference training on TRL have in common: the Trainer's arguments, its mending, its end."""

import json
from pathlib import Path

import datasets
import pandas as pd
import torch
import trl.trainer.utils
from peft.utils import TrainableTokensWrapper
from transformers import PreTrainedModel, PrinterCallback, ProgressCallback, Trainer

from workbench import data, models
from workbench.errors import InputError
from workbench.keeper import Bar, Keeper, interruptible
from workbench.specs import DPOSpec, SFTSpec


def arguments(spec: SFTSpec | DPOSpec, model: PreTrainedModel, rows: int, out: Path, quiet: bool) -> dict:
    """Arguments of SFTConfig and DPOConfig that follow from the fields both specs have, and from the device."""
    cpu = model.device.type == "cpu"
    half = None if cpu else models.compute_dtype("cuda")
    micro = spec.micro_batch_size or spec.batch_size
    steps = spec.max_steps or -(-rows // spec.batch_size) * spec.epochs
    return dict(
        output_dir=str(out),
        # What TRL would set otherwise cannot be built on a CPU (bf16) or costs a third of the time there (checkpointing).
        use_cpu=cpu,
        bf16=half == torch.bfloat16,
        fp16=half == torch.float16,
        activation_checkpointing=spec.checkpointing,
        learning_rate=spec.learning_rate,
        lr_scheduler_type=spec.scheduler,
        warmup_steps=spec.warmup,
        weight_decay=spec.weight_decay,
        num_train_epochs=spec.epochs,
        max_steps=spec.max_steps or -1,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=spec.batch_size // micro,
        seed=spec.seed,
        save_strategy="no",  # Keeper saves by the clock
        save_total_limit=2,
        logging_steps=max(1, round(steps / 50)),
        logging_first_step=True,
        report_to="none",
        disable_tqdm=quiet,
        dataloader_pin_memory=not cpu,
    )


def for_trl(rows: datasets.Dataset) -> datasets.Dataset:
    """Rows as TRL takes them: ``messages`` (or ``prompt``, ``chosen``, ``rejected``) and ``tools``, arguments as JSON text.

    Arrow gives all dicts of a column the same keys, and fills in None: as text they stay what they are.
    """
    plain = []
    for row in rows:
        columns = [name for name in ("messages", "prompt", "chosen", "rejected") if row.get(name)]
        tools = data.tools(row)
        plain.append({name: _turns(row[name]) for name in columns} | {"tools": _as_text(tools) if tools else None})
    return datasets.Dataset.from_list(plain)


def mend(trainer: Trainer) -> None:
    """Put right what TRL's trainers do to a model with trained tokens, to a CPU's adapters and to a notebook's output."""
    head = trainer.model.get_output_embeddings()
    if isinstance(head, TrainableTokensWrapper):
        # TRL reads weight and bias of the head; PEFT's wrapper answers for the weight (trained rows included) only.
        head.bias = head.original_module.bias
    trainer.remove_callback(PrinterCallback)
    if trainer.pop_callback(ProgressCallback):
        trainer.add_callback(Bar)
    if trainer.model.device.type == "cpu":
        # TRL scores prompts as well where there is no Triton, and throws that away: devices that compile for each shape want it so.
        # A CPU does not; three quarters of the tokens are prompts.
        trl.trainer.utils._use_triton = lambda device: True
        # TRL casts adapters on a quantised base to bf16. A CPU emulates bf16: slower, and a worse loss.
        for parameter in trainer.model.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()


def fits(context: int, name: str, max_length: int) -> None:
    """Raise InputError where rows may be longer than the context, in tokens, of the model called ``name``."""
    if max_length > context:
        raise InputError(f"max_length {max_length} is more than the {context} tokens that {name} was made for")


def finish(trainer: Trainer, keeper: Keeper, work: Path) -> pd.DataFrame:
    """Train to the end, from the last checkpoint in ``work`` where there is one; returns the log, a row a logged step.

    Raises:
        KeyboardInterrupt: stopped by Ctrl-C; a checkpoint is kept.
    """
    with interruptible(keeper):
        trainer.train(resume_from_checkpoint=Keeper.last(work / "checkpoints"))
    if keeper.stop:
        raise KeyboardInterrupt(
            f"stopped after step {trainer.state.global_step} of {trainer.state.max_steps}; the same call goes on from there"
        )
    log = pd.DataFrame([entry for entry in trainer.state.log_history if "loss" in entry])
    log.to_csv(work / "log.csv", index=False)
    return log


def _turns(messages: list[dict]) -> list[dict]:
    turns = []
    for message in messages:
        calls = [call.get("function") or call for call in message.get("tool_calls") or []]
        calls = [{"name": call["name"], "arguments": _as_text(call["arguments"])} for call in calls]
        turns.append({"role": message["role"], "content": message["content"] or "", "tool_calls": calls})
    return turns


def _as_text(value) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
