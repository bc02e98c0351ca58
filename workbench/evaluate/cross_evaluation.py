"""Score every model on every evaluation task, and not only on the task that it was trained for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import pandas as pd
from joblib import delayed

from workbench import hub, recipes
from workbench.config import SFTSpec
from workbench.data import content
from workbench.evaluate import scoring
from workbench.graders import grade
from workbench.models import adapters, loading
from workbench.parallel import run_parallel
from workbench.store import Run, Store
from workbench.train import objectives


@dataclass(frozen=True)
class Task:
    """An evaluation task: what a training may be good for, and how it is measured."""

    rows: Sequence
    """Evaluation rows with a `check`; plain texts (str) for the score "loss"."""
    score: str
    """"follows" or "correct" of :func:`workbench.evaluate.scoring.score`, or "loss": nats per token on plain texts."""
    modes: tuple[str, ...] = ("text",)
    """Prompt modes of :func:`workbench.evaluate.scoring.score`; "text" for the loss. A classifier is also scored on its label, in the
    mode "label", where the rows ask for one of several options and have a `text`."""
    tokens: int = scoring.REPLY_TOKENS
    """Maximum length of a reply; a model that does not stop by itself uses all of it."""


def score_on_tasks(source: Run | str, tasks: Mapping[str, Task], store: Store | None = None) -> pd.DataFrame:
    """Score a run, or a base model, on every task in every prompt mode. Replies are kept in the store.

    Returns:
        One row per task, mode and prompt: task, mode, index, prompt, response, value (the score of the task).
    """
    store, is_run = store or Store(), isinstance(source, Run)
    classifies = is_run and source.record.get("labels") is not None
    identity = source if is_run else loading.fingerprint(hub.fetch(source))
    language_model = cache(lambda: objectives.load_model(source) if is_run else adapters.load_any(source))

    def replies(task: Task, mode: str) -> pd.DataFrame:
        if mode == "text":
            return text_losses(*language_model(), task.rows)
        if mode == "label":
            return objectives.classify(*objectives.load_classifier(source), task.rows)
        table = scoring.score(*language_model(), task.rows, mode, max_new_tokens=task.tokens)
        return table[["index", "prompt", "response"]]

    parts = []
    for name, task in tasks.items():
        for mode in [*task.modes, "label"] if classifies and has_labels(task) else task.modes:
            # The key holds the prompts alone: two tasks that check the same prompts share their replies.
            prompts = list(task.rows) if mode == "text" else content.content_hash(task.rows)
            key = [identity, prompts, task.tokens, recipes.SCORING]
            table = store.cached(key, f"task-{mode}", lambda task=task, mode=mode: replies(task, mode))
            if mode != "text":
                graded = zip(task.rows, table["response"], strict=True)
                table["value"] = [float(getattr(grade(row["check"], reply), task.score)) for row, reply in graded]
            parts.append(table.assign(task=name, mode=mode))
    return pd.concat(parts, ignore_index=True)[["task", "mode", "index", "prompt", "response", "value"]]


def has_labels(task: Task) -> bool:
    """Return whether a classifier can answer with its label: rows with a `text` that ask for one of several options."""
    return all(isinstance(row, dict) and "text" in row and row["check"]["name"] == "choice" for row in task.rows)


def text_losses(model, tokenizer, texts: Sequence[str]) -> pd.DataFrame:
    """Return the loss of each text by itself, in nats per token, one row per text: index, prompt, response (None), value."""
    losses = [scoring.text_loss(model, tokenizer, [text]) for text in texts]
    return pd.DataFrame({"index": range(len(texts)), "prompt": texts, "response": None, "value": losses})


def cross_evaluate(
    base: str,
    cells: Mapping[str, Sequence[tuple[SFTSpec, objectives.Objective]]],
    tasks: Mapping[str, Task],
    *,
    parallel: int = 1,
    store: Store | None = None,
) -> pd.DataFrame:
    """Train every model with every seed, and score them and the base on every task; what the store holds is not done again.

    Args:
        base: a folder or a Hub id, scored as the model "base".
        cells: name of a model → its specs, one per seed, each with the objective that it trains on.
        tasks: what to score; the decontamination check keeps their rows out of every training.
        parallel: trainings at a time, each in a process of its own with its share of the cores.

    Returns:
        The columns of :func:`score_on_tasks`, `model`, `seed`, and of each training `run`, `rows`, `steps` and `tokens`.
    """
    store = store or Store()
    trainings = [(name, spec, objective) for name, made in cells.items() for spec, objective in made]
    calls = [
        delayed(score_on_tasks)(base, tasks, store),
        *(delayed(_train_and_score)(spec, objective, tasks, store) for _, spec, objective in trainings),
    ]
    of_base, *tables = run_parallel(calls, parallel, "trained and scored", stored=True)
    named = [table.assign(model=name, seed=spec.seed) for (name, spec, _), table in zip(trainings, tables, strict=True)]
    return pd.concat([of_base.assign(model="base", seed=0), *named], ignore_index=True)


def _train_and_score(
    spec: SFTSpec, objective: objectives.Objective, tasks: Mapping[str, Task], store: Store
) -> pd.DataFrame:
    evaluation = [row for task in tasks.values() for row in task.rows]
    run = objectives.train_objective(spec, objective, evaluation, store)
    measured = {name: run.scores[name] for name in ("rows", "steps", "tokens")}
    return score_on_tasks(run, tasks, store).assign(run=run.id, **measured)


def best_mode(table: pd.DataFrame, lower: Sequence[str] = ()) -> pd.DataFrame:
    """Keep of each model and task only the prompt mode with the best mean over seeds, so that no model is judged by its prompt.

    Args:
        lower: tasks whose value is a loss: lower is better.
    """
    means = table.groupby(["model", "task", "mode"], sort=False)["value"].mean().reset_index()
    means["value"] *= [-1 if task in lower else 1 for task in means["task"]]
    best = means.loc[means.groupby(["model", "task"], sort=False)["value"].idxmax(), ["model", "task", "mode"]]
    return table.merge(best)
