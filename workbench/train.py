"""Supervised fine-tuning with TRL: a spec, rows, and one call that gives a finished run.

Thin on purpose: the loop, the loss, the optimizer and the checkpoints are TRL's and the Trainer's. What is added is what people
lose days to elsewhere: the checks before the first step, the loss on the answers only, a name for the result that says what went
into it, and going on after an interruption.
"""

import dataclasses
import json
from pathlib import Path

import datasets
import pandas as pd
import torch
import torch.nn.functional as F
from peft.utils import TrainableTokensWrapper
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PrinterCallback, ProgressCallback, TrainerCallback
from trl import SFTConfig, SFTTrainer

from workbench import chat, data, doctor, models, runs
from workbench.errors import InputError
from workbench.keeper import Bar, Keeper, interruptible
from workbench.quiet import few_bars
from workbench.specs import SFTSpec

RECIPE = 1  # part of every run's name; raise it when a change in this file changes what a spec means


def sft(
    spec: SFTSpec,
    rows: datasets.Dataset,
    *,
    evaluation: datasets.Dataset | None = None,
    held_out: datasets.Dataset | None = None,
    store: runs.Store | None = None,
    quiet: bool = False,
    save_every: float = 20.0,
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

    Raises:
        InputError: the doctor or the gate found an error, the base cannot be read, or the disk is full.
        KeyboardInterrupt: stopped; the same call goes on.
    """
    store = store or runs.Store()
    folder = models.fetch(spec.base, spec.revision)
    content = data.content_hash(rows)
    if evaluation is not None:
        # Kept, so that a finished run is gated against evaluation rows that it has not met, and only against those.
        store.cached([content, data.content_hash(evaluation)], "gate", lambda: _gate(rows, evaluation))
    key = {
        "spec": {**dataclasses.asdict(spec), "base": models.fingerprint(folder), "revision": None},
        "rows": content,
        "held_out": data.content_hash(held_out) if held_out is not None else None,
        "template": chat.CHATML,
        "recipe": RECIPE,
        "versions": runs.versions(),
    }
    return store.obtain(spec.method, key, lambda work: _train(work, folder, spec, rows, held_out, quiet, save_every))


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
    encoded = [chat.encode(tokenizer, row["messages"], data.tools(row)) for row in rows]
    encoded = sorted(((ids[:max_length], mask[:max_length]) for ids, mask in encoded), key=lambda pair: len(pair[0]))
    total, count, training = 0.0, 0, model.training
    model.eval()
    for start in range(0, len(encoded), batch_size):
        batch = encoded[start : start + batch_size]
        width = len(batch[-1][0])
        # Padding stands on the right and the model is causal: no token of an answer can see it.
        ids = torch.tensor([ids + [0] * (width - len(ids)) for ids, _ in batch], device=model.device)
        mask = torch.tensor([mask + [0] * (width - len(mask)) for _, mask in batch], device=model.device)
        labels = ids.masked_fill(mask == 0, -100)[:, 1:]
        with torch.no_grad():
            logits = model(input_ids=ids, use_cache=False).logits[:, :-1].float()
        total += F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100, reduction="sum").item()
        count += int((labels != -100).sum())
    model.train(training)
    return total / count


def for_trl(rows: datasets.Dataset) -> datasets.Dataset:
    """Rows as TRL takes them: ``messages`` and ``tools`` only, tools and arguments as JSON text.

    Arrow gives all dicts of a column the same keys, and fills in None: as text they stay what they are.
    """
    plain = []
    for row in rows:
        messages = []
        for message in row["messages"]:
            calls = [call.get("function") or call for call in message.get("tool_calls") or []]
            messages.append(
                {
                    "role": message["role"],
                    "content": message["content"] or "",
                    "tool_calls": [{"name": call["name"], "arguments": _as_text(call["arguments"])} for call in calls],
                }
            )
        tools = data.tools(row)
        plain.append({"messages": messages, "tools": _as_text(tools) if tools else None})
    return datasets.Dataset.from_list(plain)


def make_trainer(
    spec: SFTSpec,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: datasets.Dataset,
    out: Path,
    callbacks: list[TrainerCallback],
    quiet: bool = True,
) -> SFTTrainer:
    """TRL's trainer for this spec and a loaded base; it tokenises the rows and attaches the adapter."""
    cpu = model.device.type == "cpu"
    half = None if cpu else models.compute_dtype("cuda")
    micro = spec.micro_batch_size or spec.batch_size
    fits = max(len(chat.encode(tokenizer, row["messages"], data.tools(row))[0]) for row in rows) <= spec.max_length
    steps = spec.max_steps or -(-len(rows) // spec.batch_size) * spec.epochs
    arguments = SFTConfig(
        output_dir=str(out),
        # What TRL would set otherwise cannot be built on a CPU (bf16) or costs a third of the time there (checkpointing).
        use_cpu=cpu,
        bf16=half == torch.bfloat16,
        fp16=half == torch.float16,
        activation_checkpointing=spec.checkpointing,
        assistant_only_loss=spec.loss_on == "answers",
        # Rows of a batch stand one behind the other instead of padded to the longest: the same loss, digit for digit, in half the
        # time on a CPU. TRL does not cut rows then, so a batch with rows to cut is padded.
        padding_free=fits,
        max_length=None if fits else spec.max_length,
        learning_rate=spec.learning_rate,
        lr_scheduler_type=spec.scheduler,
        warmup_steps=spec.warmup,
        weight_decay=spec.weight_decay,
        num_train_epochs=spec.epochs,
        max_steps=spec.max_steps or -1,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=spec.batch_size // micro,
        train_sampling_strategy=spec.sampling,
        seed=spec.seed,
        save_strategy="no",  # Keeper saves by the clock
        save_total_limit=2,
        logging_steps=max(1, round(steps / 50)),
        logging_first_step=True,
        report_to="none",
        disable_tqdm=quiet,
        dataloader_pin_memory=not cpu,
    )
    adapter = None
    if spec.method != "full":
        tied = model.config.get_text_config().tie_word_embeddings
        adapter = models.lora_config(spec.rank, tokenizer, spec.alpha, tied)
    trainer = SFTTrainer(
        model=model, args=arguments, train_dataset=for_trl(rows), processing_class=tokenizer, peft_config=adapter,
        callbacks=callbacks,
    )  # fmt: skip
    head = trainer.model.get_output_embeddings()
    if isinstance(head, TrainableTokensWrapper):
        # TRL reads weight and bias of the head; PEFT's wrapper answers for the weight (trained rows included) only.
        head.bias = head.original_module.bias
    trainer.remove_callback(PrinterCallback)
    if trainer.pop_callback(ProgressCallback):
        trainer.add_callback(Bar)
    if cpu:
        # TRL casts adapters on a quantised base to bf16. A CPU emulates bf16: slower, and a worse loss.
        for parameter in trainer.model.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()
    return trainer


def _gate(rows: datasets.Dataset, evaluation: datasets.Dataset) -> pd.DataFrame:
    data.gate(rows, evaluation)
    return pd.DataFrame({"passed": [True]})


@few_bars()
def _train(work, folder, spec, rows, held_out, quiet, save_every) -> dict:
    """Train in the folder ``work`` and return the run's record."""
    context = models.context(folder)
    if spec.max_length > context:
        raise InputError(
            f"max_length {spec.max_length} is more than the {context} tokens that {spec.base} was made for"
        )
    tokenizer = models.load_tokenizer(folder)
    tokens = None if spec.method == "full" else models.chat_token_ids(tokenizer)
    findings = doctor.examine(rows, tokenizer, spec.max_length, trainable=tokens)
    doctor.require(findings)
    keeper = Keeper(save_every)
    model = models.load_base(folder, spec.method == "qlora", dtype=torch.float32 if spec.method == "full" else None)
    before = loss_per_token(model, tokenizer, held_out, spec.max_length) if held_out is not None else None
    trainer = make_trainer(spec, model, tokenizer, rows, work / "checkpoints", [keeper], quiet)
    with interruptible(keeper):
        trainer.train(resume_from_checkpoint=Keeper.last(work / "checkpoints"))
    step = trainer.state.global_step
    if keeper.stop:
        raise KeyboardInterrupt(
            f"stopped after step {step} of {trainer.state.max_steps}; the same call goes on from there"
        )
    after = loss_per_token(trainer.model, tokenizer, held_out, spec.max_length) if held_out is not None else None
    trainer.model.save_pretrained(work / "adapter")
    tokenizer.save_pretrained(work / "adapter")
    log = pd.DataFrame([entry for entry in trainer.state.log_history if "loss" in entry])
    log.to_csv(work / "log.csv", index=False)
    last = log.iloc[-1]
    return {
        "spec": dataclasses.asdict(spec),
        "environment": {**runs.environment(), "seconds": float(last["seconds"])},
        "scores": {
            "rows": len(trainer.train_dataset), "steps": step, "tokens": int(last["num_tokens"]), "loss": float(last["loss"]),
            "held_out_before": before, "held_out_after": after,
        },
        "findings": [dataclasses.asdict(finding) for finding in findings],
    }  # fmt: skip


def _as_text(value) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
