"""Train the same base with other objectives: language modelling on plain texts, and classification, beside instruction tuning.

One spec says what all of them share (adapter, rate, batch, seed); the format of the data decides the loss. The trainers are TRL's and
transformers' own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import cycle

import datasets
import pandas as pd
import torch
import transformers
import trl
from IPython.display import HTML

from workbench import environment, hub, recipes
from workbench.config import SFTSpec, named_fields
from workbench.data import content, decontamination, reading, templates
from workbench.errors import InputError, counted
from workbench.models import adapters, embedding_rows, generation, loading, logprobs, requirements
from workbench.store import Run, Store, digest
from workbench.train import disk, supervised
from workbench.train.trainer import fix_trl_trainer, run_to_end, trainer_arguments

OBJECTIVES = ("text", "label", "messages")


@dataclass(frozen=True)
class Objective:
    """Describe one objective to train: rows, in a format that decides what is learned."""

    format: str
    """"text": plain texts, every token is learned. "label": rows with `text` and `label`; a classifier reads the one and learns the
    other. "messages": conversations, the answers are learned."""
    rows: Sequence
    """Texts (str) or rows (dict)."""

    def __post_init__(self):
        if self.format not in OBJECTIVES or not len(self.rows):
            raise InputError(
                f'format "{self.format}", {counted(len(self.rows), "row")}; give rows in one of {", ".join(OBJECTIVES)}'
            )


def encode_objective(
    format: str, tokenizer: transformers.PreTrainedTokenizerBase, row: str | dict
) -> tuple[list[int], list[int]]:
    """Return the token ids that a training reads of one row, and a mask of the same length: 1 on every token that is learned."""
    if format == "messages":
        return templates.encode(tokenizer, row["messages"], content.row_tools(row))
    if format == "label":
        ids = generation.text_ids(tokenizer, row["text"])
        return ids, [0] * len(ids)
    ids = [*generation.text_ids(tokenizer, row), tokenizer.eos_token_id]
    return ids, [0] + [1] * (len(ids) - 1)  # nothing stands before the first token that could predict it


def within_budget(
    objective: Objective, tokenizer: transformers.PreTrainedTokenizerBase, budget: int, steps: int
) -> tuple[Objective, int]:
    """Return the objective with its rows up to `budget` tokens, and the batch size that reads them in about `steps` steps.

    An objective with fewer tokens repeats its rows from the first.
    """
    total, rows = 0, []
    for row in cycle(objective.rows):
        rows.append(row)
        total += len(encode_objective(objective.format, tokenizer, row)[0])
        if total >= budget:
            return dataclasses.replace(objective, rows=rows), -(-len(rows) // steps)


def show_objectives(objectives: Mapping[str, Objective], tokenizer: transformers.PreTrainedTokenizerBase) -> HTML:
    """Show the first row of each objective token by token: what is learned in blue and bold, what is only read in grey, a label at the end."""
    parts = [templates.TOKEN_STYLE]
    for name, objective in objectives.items():
        row = objective.rows[0]
        label = f' → <span class="answer">{escape(row["label"])}</span>' if objective.format == "label" else ""
        tokens = templates.mask_html(tokenizer, *encode_objective(objective.format, tokenizer, row)).removesuffix(
            "</div>"
        )
        parts.append(f"<p><b>{escape(name)}</b></p>{tokens}{label}</div>")
    return HTML("".join(parts))


def train_objective(
    spec: SFTSpec, objective: Objective, evaluation: Sequence[str | dict] = (), store: Store | None = None
) -> Run:
    """Train one objective with LoRA and return the finished run; a run that is stored is returned at once.

    Args:
        spec: method, rate, epochs, batch size, seed and so on mean the same for every objective; `loss_on` is for messages only.
        objective: what to train on.
        evaluation: texts and rows that will judge the model; the training stops before it begins if they are among the training rows.
        store: where the run is kept; None takes the default store.

    Raises:
        InputError: evaluation rows are among the rows, the method is "full", or what train.sft refuses.
    """
    store = store or Store()
    if objective.format == "messages":
        rows = [row for row in evaluation if not isinstance(row, str)]
        return supervised.sft(
            spec, reading.to_dataset(list(objective.rows)), evaluation=rows or None, store=store, quiet=True
        )
    if spec.method == "full":
        raise InputError('method "full" is for messages only; tune texts and labels with "lora" or "qlora"')
    read = [[row["text"], row["label"]] if objective.format == "label" else [row, ""] for row in objective.rows]
    asked = [[row if isinstance(row, str) else row.get("text") or content.plain_prompt(row), ""] for row in evaluation]
    store.cached([digest(read), digest(asked)], "leak-check-texts", lambda: _require_no_leaks(read, asked))
    folder = hub.fetch(spec.base, spec.revision)
    key = {
        "spec": {**named_fields(spec), "base": loading.fingerprint(folder), "revision": None},
        "rows": read,
        "recipe": recipes.TRAINING,
    }
    return store.obtain(objective.format, key, lambda work: _train(work, folder, spec, objective))


def _require_no_leaks(read: list, asked: list) -> pd.DataFrame:
    """The leakage gate of conversations, on texts: each stands as a prompt."""
    train_rows, rows = (
        [{"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": said}]} for text, said in pairs]
        for pairs in (read, asked)
    )  # fmt: skip
    decontamination.require_no_leaks(train_rows, rows)
    return pd.DataFrame({"passed": [True]})


@environment.few_progress_bars()
def _train(work, folder, spec, objective) -> dict:
    """Train in the folder ``work`` and return the run's record."""
    from workbench.train import callbacks

    requirements.require_method(folder, spec.method)
    tokenizer, callback = loading.load_tokenizer(folder, template=spec.template), callbacks.CheckpointCallback(20.0)
    encoded = [encode_objective(objective.format, tokenizer, row)[0][: spec.max_length] for row in objective.rows]
    tokens = sum(map(len, encoded))
    disk.require_disk(work, disk.weights_to_train(folder, spec.method, spec.rank), folder, 8 * tokens)
    transformers.set_seed(spec.seed)  # the new parameters are drawn before the trainer is made, which sets it again
    trainer = {"text": _on_texts, "label": _on_labels}[objective.format](
        work, folder, spec, objective, encoded, tokenizer, callback
    )
    fix_trl_trainer(trainer)
    log = run_to_end(trainer, callback, work)
    trainer.model.save_pretrained(work / "adapter")
    tokenizer.save_pretrained(work / "adapter")
    return {
        "spec": named_fields(spec),
        "labels": list(trainer.model.config.id2label.values()) if objective.format == "label" else None,
        "environment": {**environment.describe(), "seconds": trainer.state.log_history[-1]["train_runtime"]},
        "scores": {
            "rows": len(encoded), "steps": trainer.state.global_step, "loss": float(log["loss"].iloc[-1]),
            "tokens": round(tokens * trainer.state.epoch),
        },
    }  # fmt: skip


def _on_texts(work, folder, spec, objective, encoded, tokenizer, callback) -> trl.SFTTrainer:
    """TRL's trainer on token ids: every token of a text is learned, and where it ends."""
    model = adapters.unpacked(loading.load_base(folder, spec.method == "qlora", tokenizer=tokenizer))
    arguments = trainer_arguments(spec, model, len(encoded), work / "checkpoints", True)
    apart = logprobs.keeps_rows_apart(model)
    return trl.SFTTrainer(
        model=model, args=trl.SFTConfig(**arguments, padding_free=apart, max_length=None), processing_class=tokenizer,
        train_dataset=datasets.Dataset.from_list([{"input_ids": ids} for ids in encoded]), callbacks=[callback],
        peft_config=adapters.lora_config(model, tokenizer, spec.rank, spec.alpha),
    )  # fmt: skip


def _on_labels(work, folder, spec, objective, encoded, tokenizer, callback) -> transformers.Trainer:
    """transformers' trainer on a classifier: a new head reads the last token, and the loss is that of the label."""
    from peft import LoraConfig, TaskType, get_peft_model

    labels = sorted({row["label"] for row in objective.rows})
    model = _with_head(folder, tokenizer, labels)
    adapter = LoraConfig(
        task_type=TaskType.SEQ_CLS, r=spec.rank, lora_alpha=spec.alpha or 2 * spec.rank, target_modules="all-linear"
    )
    rows = [
        {"input_ids": ids, "label": labels.index(row["label"])}
        for ids, row in zip(encoded, objective.rows, strict=True)
    ]
    arguments = trainer_arguments(spec, model, len(rows), work / "checkpoints", True)
    return transformers.Trainer(
        model=get_peft_model(model, adapter), args=transformers.TrainingArguments(**arguments), processing_class=tokenizer,
        train_dataset=datasets.Dataset.from_list(rows), data_collator=transformers.DataCollatorWithPadding(tokenizer), callbacks=[callback],
    )  # fmt: skip


def _with_head(folder, tokenizer, labels: list[str]) -> transformers.PreTrainedModel:
    with environment.library_errors_only():  # else it reports that the head is new, as a classifier's always is
        model = loading.read_pretrained(
            transformers.AutoModelForSequenceClassification, folder, id2label=dict(enumerate(labels)), label2id={name: i for i, name in enumerate(labels)},
            pad_token_id=tokenizer.pad_token_id, dtype=torch.float32, device_map={"": loading.default_device()},
        )  # fmt: skip
    return embedding_rows.with_rows(model, tokenizer)


@environment.few_progress_bars()
def load_classifier(run: Run) -> tuple[transformers.PreTrainedModel, transformers.PreTrainedTokenizerBase]:
    """Return the classifier of a run on labels, with its adapter merged, and its tokenizer."""
    from peft import PeftModel

    tokenizer = loading.load_tokenizer(run.adapter)
    model = _with_head(hub.fetch(run.spec["base"], run.spec["revision"]), tokenizer, run.record["labels"])
    return PeftModel.from_pretrained(model, run.adapter).merge_and_unload().eval(), tokenizer


@environment.few_progress_bars()
def load_model(run: Run) -> tuple[transformers.PreTrainedModel, transformers.PreTrainedTokenizerBase]:
    """Return the language model of a run; the layers of a classifier get the output head of the base, which it did not train."""
    if run.record.get("labels") is None:
        return adapters.load_tuned(run, unfolded=True)
    classifier, tokenizer = load_classifier(run)
    model = loading.load_base(run.spec["base"], revision=run.spec["revision"], tokenizer=tokenizer)
    setattr(model, model.base_model_prefix, classifier.base_model.to(model.dtype))
    return model.eval(), tokenizer


def classify(
    model: transformers.PreTrainedModel, tokenizer: transformers.PreTrainedTokenizerBase, rows: Iterable[dict]
) -> pd.DataFrame:
    """Return the classifier's labels as responses, one row per text: index, prompt, response."""
    records = []
    for index, row in enumerate(rows):
        ids, _ = encode_objective("label", tokenizer, row)
        with torch.no_grad():
            best = model(input_ids=torch.tensor([ids], device=model.device)).logits.argmax().item()
        records.append({"index": index, "prompt": content.plain_prompt(row), "response": model.config.id2label[best]})
    return pd.DataFrame(records)
