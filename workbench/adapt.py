"""Other ways to tune the same base with the same budget: a language-model loss on plain texts, and a classifier; and what each is good for.

A tuning is measured on every aim, not only on its own, so that "fine-tuning" is seen to be several things.
"""

import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from itertools import cycle

import datasets
import pandas as pd
import torch
from IPython.display import HTML
from joblib import Parallel, delayed
from peft import LoraConfig, PeftModel, TaskType, get_peft_model
from transformers import (
    AutoModelForSequenceClassification,
    DataCollatorWithPadding,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Trainer,
    TrainingArguments,
    set_seed,
)
from transformers.utils import logging
from trl import SFTConfig, SFTTrainer

from workbench import chat, data, evaluate, loop, models, progress, runs, train
from workbench.errors import InputError
from workbench.generate import text_ids
from workbench.keeper import Keeper
from workbench.pocket import checks
from workbench.quiet import few_bars
from workbench.runs import Run, Store
from workbench.specs import SFTSpec

RECIPE = 1  # part of every run's name, as in train
FORMATS = ("text", "label", "messages")


@dataclass(frozen=True)
class Way:
    """One way to tune: a format of data, which decides the loss."""

    format: str
    """"text": plain texts, loss on all tokens. "label": rows with `text` and `label`, loss on the label of a classifier. "messages": conversations, loss on the answers."""
    rows: Sequence
    """Texts (str) or rows."""

    def __post_init__(self):
        if self.format not in FORMATS or not len(self.rows):
            raise InputError(f'format "{self.format}", {len(self.rows)} rows; give rows in one of {", ".join(FORMATS)}')


@dataclass(frozen=True)
class Aim:
    """Something that a tuning may be good for, and how it is measured."""

    rows: Sequence
    """Evaluation rows with a `check`; texts (str) for "loss"."""
    score: str
    """"follows" or "correct", as :func:`workbench.evaluate.score` has them, or "loss": nats a token on plain texts."""
    modes: tuple[str, ...] = ()
    """Ways of asking, of those of evaluate.score. A classifier is asked for its label as well where the check is a choice."""
    tokens: int = 64
    """Limit of a reply; a model that does not stop by itself uses all of it."""


def within(way: Way, tokenizer: PreTrainedTokenizerBase, budget: int, steps: int) -> tuple[Way, int]:
    """The first rows of a way that have `budget` tokens in all, and the batch size that reads them once in `steps` steps."""
    total, rows = 0, []
    for row in cycle(way.rows):
        rows.append(row)
        total += len(encode(way.format, tokenizer, row)[0])
        if total >= budget:
            return dataclasses.replace(way, rows=rows), -(-len(rows) // steps)


def encode(format: str, tokenizer: PreTrainedTokenizerBase, row: str | dict) -> tuple[list[int], list[int]]:
    """Token ids that a training reads of one row, and a mask of the same length: 1 on every token that is learned.

    A document is learned from begin to end; of a text with a label no token is, the label is; of a conversation the answers are.
    """
    if format == "text":
        ids = [*text_ids(tokenizer, row), tokenizer.eos_token_id]
        return ids, [0] + [1] * (len(ids) - 1)  # nothing stands before the first token that could predict it
    if format == "label":
        ids = text_ids(tokenizer, row["text"])
        return ids, [0] * len(ids)
    return chat.encode(tokenizer, row["messages"], data.tools(row))


def shown(ways: Mapping[str, Way], tokenizer: PreTrainedTokenizerBase) -> HTML:
    """The first row of each way, token by token: what is learned in blue and bold, what is only read in grey; a label behind it."""
    parts = [chat.STYLE]
    for name, way in ways.items():
        row = way.rows[0]
        label = f' → <span class="answer">{escape(row["label"])}</span>' if way.format == "label" else ""
        row_shown = chat.masked(tokenizer, *encode(way.format, tokenizer, row))
        parts.append(f"<p><b>{escape(name)}</b></p>{row_shown.removesuffix('</div>')}{label}</div>")
    return HTML("".join(parts))


def tune(spec: SFTSpec, way: Way, evaluation: Sequence[dict] = (), store: Store | None = None) -> Run:
    """Train one way and return the finished run; at once, if it was done before. Messages go to :func:`workbench.train.sft`.

    Args:
        spec: method, rate, batch size, seed and so on mean the same for every way; `loss_on` is for messages only.
        way: what to train on.
        evaluation: rows that will judge the model; the leakage gate stops a training on rows that has seen them.
        store: where the run is kept; None takes the default store.
    """
    store = store or Store()
    if way.format == "messages":
        return train.sft(spec, data.dataset(list(way.rows)), evaluation=evaluation, store=store, quiet=True)
    folder = models.fetch(spec.base, spec.revision)
    key = {
        "spec": {**dataclasses.asdict(spec), "base": models.fingerprint(folder), "revision": None},
        "rows": [[row["text"], row["label"]] if way.format == "label" else row for row in way.rows],
        "recipe": RECIPE,
        "versions": runs.versions(),
    }
    make = {"text": _on_texts, "label": _on_labels}[way.format]
    return store.obtain(way.format, key, lambda work: _train(make, work, folder, spec, way))


@few_bars()
def _train(make, work, folder, spec, way) -> dict:
    """Train in the folder ``work`` and return the run's record."""
    tokenizer, keeper = models.load_tokenizer(folder), Keeper(20.0)
    set_seed(spec.seed)
    trainer = make(work, folder, spec, way, tokenizer, keeper)
    log = loop.finish(trainer, keeper, work)
    trainer.model.save_pretrained(work / "adapter")
    tokenizer.save_pretrained(work / "adapter")
    read = sum(len(encode(way.format, tokenizer, row)[0]) for row in way.rows)
    return {
        "spec": dataclasses.asdict(spec),
        "labels": list(trainer.model.config.id2label.values()) if way.format == "label" else None,
        "environment": {**runs.environment(), "seconds": trainer.state.log_history[-1]["train_runtime"]},
        "scores": {
            "rows": len(way.rows), "steps": trainer.state.global_step, "tokens": round(read * spec.epochs),
            "loss": float(log["loss"].iloc[-1]),
        },
    }  # fmt: skip


def _on_texts(work, folder, spec, way, tokenizer, keeper) -> SFTTrainer:
    """TRL's trainer on token ids: every token of a text is learned, and where it ends."""
    model = models.load_base(folder, spec.method == "qlora")
    rows = [{"input_ids": encode("text", tokenizer, text)[0][: spec.max_length]} for text in way.rows]
    tied = model.config.get_text_config().tie_word_embeddings
    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(**loop.arguments(spec, model, len(rows), work / "checkpoints", True), padding_free=True, max_length=None),
        train_dataset=datasets.Dataset.from_list(rows), processing_class=tokenizer,
        peft_config=models.lora_config(spec.rank, tokenizer, spec.alpha, tied), callbacks=[keeper],
    )  # fmt: skip
    loop.mend(trainer)
    return trainer


def _on_labels(work, folder, spec, way, tokenizer, keeper) -> Trainer:
    """transformers' trainer on a classifier: a new head reads the last token, and the loss is that of the label."""
    labels = sorted({row["label"] for row in way.rows})
    model = _classifier(folder, tokenizer, labels)
    adapter = LoraConfig(
        task_type=TaskType.SEQ_CLS, r=spec.rank, lora_alpha=spec.alpha or 2 * spec.rank, target_modules="all-linear"
    )
    rows = [{"input_ids": encode("label", tokenizer, row)[0][-spec.max_length :], "label": labels.index(row["label"])}
            for row in way.rows]  # fmt: skip
    trainer = Trainer(
        model=get_peft_model(model, adapter),
        args=TrainingArguments(**loop.arguments(spec, model, len(rows), work / "checkpoints", True)),
        train_dataset=datasets.Dataset.from_list(rows), data_collator=DataCollatorWithPadding(tokenizer),
        processing_class=tokenizer, callbacks=[keeper],
    )  # fmt: skip
    loop.mend(trainer)
    return trainer


def _classifier(folder, tokenizer, labels: list[str]) -> PreTrainedModel:
    level = logging.get_verbosity()
    logging.set_verbosity_error()  # else it reports that the head is new, as a classifier's always is
    model = AutoModelForSequenceClassification.from_pretrained(
        folder, id2label=dict(enumerate(labels)), label2id={name: i for i, name in enumerate(labels)},
        pad_token_id=tokenizer.pad_token_id, dtype=models.compute_dtype(models.default_device()),
    )  # fmt: skip
    logging.set_verbosity(level)
    return model


@few_bars()
def load(run: Run) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The language model of a run. A classifier's layers are taken under the base's own output head, which it did not train."""
    if run.record.get("labels") is None:
        return models.load_tuned(run, unfolded=True)
    classifier, tokenizer = load_classifier(run)
    model = models.load_base(run.spec["base"], revision=run.spec["revision"])
    setattr(model, model.base_model_prefix, classifier.base_model)
    return model.eval(), tokenizer


@few_bars()
def load_classifier(run: Run) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The classifier of a run on labels, the adapter folded in."""
    tokenizer = models.load_tokenizer(run.adapter)
    model = _classifier(models.fetch(run.spec["base"], run.spec["revision"]), tokenizer, run.record["labels"])
    return PeftModel.from_pretrained(model, run.adapter).merge_and_unload().eval(), tokenizer


def classify(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: Iterable[dict]) -> pd.DataFrame:
    """The classifier's labels as its responses, a row a prompt: index, prompt, response."""
    records = []
    for index, row in enumerate(rows):
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([encode("label", tokenizer, row)[0]], device=model.device)).logits
        said = model.config.id2label[logits.argmax().item()]
        records.append({"index": index, "prompt": evaluate.plain(row), "response": said})
    return pd.DataFrame(records)


def text_losses(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Iterable[str]) -> pd.DataFrame:
    """Nats a token of each text, a row a text: index, prompt, loss."""
    losses = [evaluate.text_loss(model, tokenizer, [text]) for text in texts]
    return pd.DataFrame({"index": range(len(losses)), "prompt": list(texts), "loss": losses})


def measure(made: Run | str, aims: Mapping[str, Aim], store: Store | None = None) -> pd.DataFrame:
    """A run, or an untuned base, on every aim in every way of asking, a row a prompt. Replies are kept in the store.

    Returns:
        Columns aim, mode, index, prompt, response, value (the aim's score).
    """
    store, tuned = store or Store(), isinstance(made, Run)
    labels = made.record.get("labels") if tuned else None
    language = cache(lambda: load(made) if tuned else (models.load_base(made), models.load_tokenizer(made)))

    def replies(aim: Aim, mode: str) -> pd.DataFrame:
        if mode == "text":
            return text_losses(*language(), aim.rows)
        if mode == "label":
            return classify(*load_classifier(made), aim.rows)
        return evaluate.score(*language(), aim.rows, mode, max_new_tokens=aim.tokens)[["index", "prompt", "response"]]

    parts = []
    for name, aim in aims.items():
        for mode in [*aim.modes, "label"] if labels and is_choice(aim) else aim.modes:
            # Named by the prompts alone: two aims that check the same prompts share their replies.
            asked = list(aim.rows) if mode == "text" else data.content_hash(aim.rows)
            key = [made if tuned else models.fingerprint(models.fetch(made)), asked, aim.tokens, RECIPE]
            table = store.cached(key, f"aim-{mode}", lambda aim=aim, mode=mode: replies(aim, mode))
            if mode != "text":
                results = [
                    checks.run(row["check"], said) for row, said in zip(aim.rows, table["response"], strict=True)
                ]
                table = table.assign(**{aim.score: [getattr(result, aim.score) for result in results]})
            parts.append(table.assign(aim=name, mode=mode, value=table[aim.score].astype(float)))
    return pd.concat(parts, ignore_index=True)[["aim", "mode", "index", "prompt", "response", "value"]]


def is_choice(aim: Aim) -> bool:
    """Whether a classifier can answer: the rows ask for one of some options."""
    return aim.score == "correct" and all(row["check"]["name"] == "choice" for row in aim.rows)


def grid(
    base: str,
    cells: Mapping[str, Sequence[tuple[SFTSpec, Way]]],
    aims: Mapping[str, Aim],
    *,
    parallel: int = 1,
    store: Store | None = None,
) -> pd.DataFrame:
    """Tune every way with every seed, and measure them and the base on every aim.

    Args:
        base: a folder or a Hub id, measured as the way "base".
        cells: way → its specs, one a seed, with what each trains on.
        aims: what to measure; the leakage gate keeps their rows out of every training.
        parallel: trainings at a time, each in a process of its own with its share of the cores.

    Returns:
        The columns of :func:`measure`, `way`, `seed`, and of each training `run`, `rows`, `steps` and `tokens`.
    """
    store = store or Store()
    jobs = [(name, spec, way) for name, made in cells.items() for spec, way in made]
    workers = Parallel(parallel, return_as="generator", inner_max_num_threads=max(1, (os.cpu_count() or 1) // parallel))
    calls = [delayed(measure)(base, aims, store), *(delayed(_one)(spec, way, aims, store) for _, spec, way in jobs)]
    with progress.bar(len(calls), "tuned and measured") as bar:
        tables = []
        for table in workers(calls):
            tables.append(table)
            bar.update()
    first, *others = tables
    named = [table.assign(way=name, seed=spec.seed) for (name, spec, _), table in zip(jobs, others, strict=True)]
    return pd.concat([first.assign(way="base", seed=0), *named], ignore_index=True)


def _one(spec: SFTSpec, way: Way, aims: Mapping[str, Aim], store: Store) -> pd.DataFrame:
    asked = [row for aim in aims.values() if aim.score != "loss" for row in aim.rows]
    run = tune(spec, way, asked, store)
    return measure(run, aims, store).assign(
        run=run.id, **{name: run.scores[name] for name in ("rows", "steps", "tokens")}
    )


def best(table: pd.DataFrame, lower: Sequence[str] = ()) -> pd.DataFrame:
    """Of each way and aim only the mode in which it does best (the mean over seeds), so that none is judged by how it was asked."""
    means = table.groupby(["way", "aim", "mode"])["value"].mean().reset_index()
    means["value"] *= means["aim"].map(lambda aim: -1 if aim in lower else 1)
    taken = means.loc[means.groupby(["way", "aim"])["value"].idxmax(), ["way", "aim", "mode"]]
    return table.merge(taken)
