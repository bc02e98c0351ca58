"""Share what supervised and preference training with TRL have in common: arguments, corrections of TRL, the end of a training."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import datasets
import pandas as pd
import torch
import transformers
import trl

from workbench import distributed
from workbench.config import DPOSpec, SFTSpec
from workbench.data import content, decontamination
from workbench.errors import InputError
from workbench.models import adapters, memory, precision
from workbench.runs import ROWS_FILE
from workbench.store import Store
from workbench.train import schedule


def require_tracker(name: str) -> None:
    """Raise InputError for a tracker that the Trainer does not know or that is not installed here."""
    if name == "none":
        return
    installed = transformers.integrations.get_available_reporting_integrations()
    if name not in installed:
        raise InputError(
            f'report_to "{name}" is not installed, or nothing that the Trainer can report to; installed here: '
            f'{", ".join(installed) or "none"}; pip install -e ".[tracking]" brings TensorBoard'
        )


def require_no_leaks_once(rows: datasets.Dataset, evaluation: datasets.Dataset | None, store: Store) -> None:
    """Check for leaks once per pair of training and evaluation rows; the result is stored, so a finished run is checked only against new rows."""

    def passed() -> pd.DataFrame:
        decontamination.require_no_leaks(rows, evaluation)
        return pd.DataFrame({"passed": [True]})

    if evaluation is not None:
        store.cached([content.content_hash(rows), content.content_hash(evaluation)], "leak-check", passed)


def trainer_arguments(
    spec: SFTSpec | DPOSpec, model: transformers.PreTrainedModel, rows: int, out: Path, quiet: bool
) -> dict:
    """Return the arguments of SFTConfig and DPOConfig that follow from the fields of both specs and from the device."""
    cpu = model.device.type == "cpu"
    half = None if cpu else precision.compute_dtype("cuda")
    share = distributed.per_process(spec.batch_size)
    micro = min(spec.micro_batch_size or share, share)
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
        warmup_steps=spec.warmup,  # fix_trl_trainer takes it back where the training is too short for one
        weight_decay=spec.weight_decay,
        num_train_epochs=spec.epochs,
        max_steps=spec.max_steps or -1,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=share // micro,
        ddp_find_unused_parameters=False,  # every trained weight is used in every step
        seed=spec.seed,
        save_strategy="no",  # CheckpointCallback saves by the clock
        save_total_limit=2,
        logging_steps=max(1, round(steps / 50)),
        logging_first_step=True,
        logging_nan_inf_filter=False,  # a loss that is not finite stops the training (CheckpointCallback)
        report_to="none",
        disable_tqdm=quiet or not distributed.is_main_process(),
        dataloader_pin_memory=not cpu,
    )


def packing_arguments(spec: SFTSpec, model: transformers.PreTrainedModel, lengths: list[int]) -> dict:
    """Return the arguments of SFTConfig that pack rows which do not see each other, and fit a step (:func:`schedule.packed_step`) into memory.

    Args:
        lengths: of the rows, in tokens.
    """
    sequences, steps = schedule.packed_step(spec, lengths)
    budget = {"max_steps": steps} if steps else {}
    return {
        **budget,
        "packing": True,
        "packing_strategy": "bfd",
        "max_length": spec.max_length,
        **memory_arguments(spec, model, spec.method, spec.rank, spec.max_length, sequences),
    }


def memory_arguments(
    spec: SFTSpec | DPOSpec, model: transformers.PreTrainedModel, method: str, rank: int, length: int, sequences: int
) -> dict:
    """Return the arguments that split a step of `sequences` into what fits into memory: see :func:`workbench.models.memory.fit_step`.

    Neither they nor checkpointing change what is learned. What the spec says goes first.
    """
    share, pieces = distributed.per_process(sequences), distributed.world_size() if distributed.is_sharded() else 1
    room, shape = memory.free_bytes(model.device.type), memory.ModelShape.of(model)
    # The first process decides for all: with other free memory, they would take other numbers of turns and wait for each other.
    found = distributed.on_main_process(
        lambda: memory.fit_step(room, shape, method, rank, length, share, loaded=True, pieces=pieces)
    )
    micro = min(spec.micro_batch_size or found.micro, share)
    return {
        "per_device_train_batch_size": micro,
        "gradient_accumulation_steps": max(1, share // micro),
        "activation_checkpointing": spec.checkpointing or found.checkpointing,
    }


def to_trl(rows: datasets.Dataset) -> datasets.Dataset:
    """Return rows as TRL takes them: ``messages`` (or ``prompt``, ``chosen``, ``rejected``) and ``tools``, with arguments as JSON text.

    Arrow gives all dicts of a column the same keys, and fills in None: as text they stay what they are.
    """
    plain = []
    for row in rows:
        columns = [name for name in ("messages", "prompt", "chosen", "rejected") if row.get(name)]
        tools = content.row_tools(row)
        plain.append({name: _turns(row[name]) for name in columns} | {"tools": _as_text(tools) if tools else None})
    return datasets.Dataset.from_list(plain)


DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def dtype_begun(work: Path) -> torch.dtype | None:
    """Return the type in which a training in ``work`` began to compute, so that it continues in the same one; None where none has begun."""
    path = work / "checkpoints" / "dtype"
    return DTYPES.get(path.read_text()) if path.is_file() else None


def remember_dtype(work: Path, dtype: torch.dtype) -> str:
    """Keep the type in which a training computes for :func:`dtype_begun`, and return its name."""
    name = str(dtype).removeprefix("torch.")
    if distributed.is_main_process() and dtype_begun(work) != dtype:
        (work / "checkpoints").mkdir(exist_ok=True)
        (work / "checkpoints" / "dtype").write_text(name)
    return name


def fix_trl_trainer(trainer: transformers.Trainer) -> None:
    """Correct what TRL's trainers do to a model with trained tokens, to adapters on NF4, to a large model on a CPU and to a notebook's output."""
    from peft import PeftModel
    from peft.utils import TrainableTokensWrapper

    from workbench.train import answer_loss, callbacks

    adapters.with_token_rows(trainer.model)
    if precision.is_large(trainer.model) and isinstance(trainer, trl.SFTTrainer | trl.DPOTrainer | trl.KTOTrainer):
        base = trainer.model.get_base_model() if isinstance(trainer.model, PeftModel) else trainer.model
        references = [] if isinstance(trainer, trl.SFTTrainer) else [trainer.ref_model]
        for model in filter(None, [base, *references]):
            answer_loss.use_answer_logits(model)
    head = trainer.model.get_output_embeddings()
    if isinstance(head, TrainableTokensWrapper):
        # TRL reads weight and bias of the head; PEFT's wrapper answers for the weight (trained rows included) only.
        head.bias = head.original_module.bias
    if isinstance(trainer.model, PeftModel):
        # PEFT would write the whole embedding beside the adapter where tokens were added; the added rows come from the base's mean.
        trainer.model.save_pretrained = partial(trainer.model.save_pretrained, save_embedding_layers=False)
    config = trainer.model.config.get_text_config()
    if "output_router_logits" in config.to_dict():
        # TRL asks for them by an argument as well; in a saved config they break generation.
        config.output_router_logits = False
    trainer.args.warmup_steps = schedule.warmup(trainer.args.warmup_steps, schedule.trainer_steps(trainer))
    trainer.remove_callback(transformers.PrinterCallback)
    if trainer.pop_callback(transformers.trainer.DEFAULT_PROGRESS_CALLBACK):  # another one in a notebook
        trainer.add_callback(callbacks.LossBarCallback)
    if trainer.model.device.type == "cpu":
        # TRL scores prompts as well where there is no Triton, and throws that away: devices that compile for each shape want it so.
        # A CPU does not; three quarters of the tokens are prompts.
        trl.trainer.utils._use_triton = lambda device: True
    # The Trainer counts the model's parameters anew in each step, for a number that nobody reads.
    trainer.floating_point_ops = lambda inputs: 0
    # TRL casts adapters on a quantised base to bf16, in which a CPU is slow, a GPU without bf16 stops (its scaler of gradients wants
    # fp32), and the steps of AdamW get lost: from 0.02, say, bf16 cannot move by less than 0.0001.
    for parameter in trainer.model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()


def rows_trained(dataset: datasets.Dataset) -> int:
    """Return the number of rows in a trainer's data set, packed or not."""
    return sum(map(len, dataset["seq_lengths"])) if "seq_lengths" in dataset.column_names else len(dataset)


def attach_tracker(trainer: transformers.Trainer, to: str, work: Path) -> None:
    """Send the log to a tracker as well, under the run's id; TensorBoard's files are in ``work / "tensorboard"``."""
    if to == "none":
        return
    (make,) = transformers.integrations.get_reporting_integration_callbacks([to])
    tracker = make()
    if to == "tensorboard":
        tracker.logging_dir = str(work / "tensorboard")  # the Trainer's choice is deleted with the checkpoints
    trainer.args.project, trainer.args.run_name = "workbench", work.name.removesuffix(".partial")
    trainer.add_callback(tracker)


def require_context(context: int, name: str, max_length: int) -> None:
    """Raise InputError where rows may be longer than the context, in tokens, of the model called ``name``."""
    if max_length > context:
        raise InputError(f"max_length {max_length} is more than the {context} tokens that {name} was made for")


def run_to_end(trainer: transformers.Trainer, callback, work: Path) -> pd.DataFrame:
    """Train to the end, from the last checkpoint in ``work`` if there is one, and return the log, one row per logged step.

    Args:
        callback: the :class:`workbench.train.callbacks.CheckpointCallback` among the trainer's callbacks.

    Raises:
        InputError: no weight has changed.
        KeyboardInterrupt: stopped by Ctrl-C; a checkpoint is kept.
    """
    start = _sums(trainer.model)
    with callback.interruptible():
        trainer.train(resume_from_checkpoint=callback.last(work / "checkpoints"))
    if callback.stop and trainer.state.global_step < trainer.state.max_steps:
        raise KeyboardInterrupt(
            f"stopped after step {trainer.state.global_step} of {trainer.state.max_steps}; the same call continues from there"
        )
    if _sums(trainer.model) == start:
        raise InputError(
            f"no weight has changed up to step {trainer.state.global_step} at a learning rate of {trainer.args.learning_rate:g} and less; "
            "raise learning_rate or max_steps, or lower warmup"
        )
    log = pd.DataFrame([entry for entry in trainer.state.log_history if "loss" in entry])
    if distributed.is_main_process():
        log.to_csv(work / "log.csv", index=False)
    return log


def _sums(model: torch.nn.Module) -> list[float]:
    """Return the sum of each trained weight: a copy of all of them would take the memory that a large training needs."""
    weights = [weight.detach() for weight in model.parameters() if weight.requires_grad]
    return [weight.sum(dtype=torch.float64).item() for weight in weights]


def save_run(
    trainer: transformers.Trainer,
    tokenizer: transformers.PreTrainedTokenizerBase,
    dataset: datasets.Dataset,
    work: Path,
) -> None:
    """Write the trained weights with their tokenizer, and the rows as :func:`to_trl` returns them; weights split by FSDP are gathered."""
    state = trainer.accelerator.get_state_dict(trainer.model) if trainer.is_fsdp_enabled else None
    if distributed.is_main_process():
        trainer.model.save_pretrained(work / "adapter", state_dict=state)
        tokenizer.save_pretrained(work / "adapter")
        dataset.to_parquet(work / ROWS_FILE)


def _turns(messages: list[dict]) -> list[dict]:
    turns = []
    for message in messages:
        calls = [call.get("function") or call for call in message.get("tool_calls") or []]
        calls = [{"name": call["name"], "arguments": _as_text(call["arguments"])} for call in calls]
        turns.append({"role": message["role"], "content": message["content"] or "", "tool_calls": calls})
    return turns


def _as_text(value) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
