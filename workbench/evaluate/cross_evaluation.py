"""What each way of tuning is good for: every model measured on every aim, not only on its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import pandas as pd
from joblib import delayed

from workbench import hub
from workbench.config import SFTSpec
from workbench.data import content
from workbench.evaluate import scoring
from workbench.graders import grade
from workbench.models import loading
from workbench.parallel import run_parallel
from workbench.store import Run, Store
from workbench.train import objectives


@dataclass(frozen=True)
class Task:
    """Something that a tuning may be good for, and how it is measured."""

    rows: Sequence
    """Evaluation rows with a `check`; texts (str) for the score "loss"."""
    score: str
    """"follows" or "correct", as :func:`workbench.evaluate.scoring.score` has them, or "loss": nats a token on plain texts."""
    modes: tuple[str, ...] = ("text",)
    """Ways of asking, of those of evaluate.score; "text" for the loss. A classifier is asked for its label as well, where rows ask
    for one of several options and have a `text`."""
    tokens: int = scoring.REPLY_TOKENS
    """Limit of a reply; a model that does not stop by itself uses all of it."""


def score_on_tasks(made: Run | str, aims: Mapping[str, Task], store: Store | None = None) -> pd.DataFrame:
    """A run, or an untuned base, on every aim in every way of asking, a row a prompt. Replies are kept in the store.

    Returns:
        Columns aim, mode, index, prompt, response, value (the aim's score).
    """
    store, tuned = store or Store(), isinstance(made, Run)
    classifies = tuned and made.record.get("labels") is not None
    named = made if tuned else loading.fingerprint(hub.fetch(made))
    language = cache(
        lambda: objectives.load_model(made) if tuned else (loading.load_base(made), loading.load_tokenizer(made))
    )

    def replies(aim: Task, mode: str) -> pd.DataFrame:
        if mode == "text":
            return text_losses(*language(), aim.rows)
        if mode == "label":
            return objectives.classify(*objectives.load_classifier(made), aim.rows)
        return scoring.score(*language(), aim.rows, mode, max_new_tokens=aim.tokens)[["index", "prompt", "response"]]

    parts = []
    for name, aim in aims.items():
        for mode in [*aim.modes, "label"] if classifies and has_labels(aim) else aim.modes:
            # Named by the prompts alone: two aims that check the same prompts share their replies.
            asked = list(aim.rows) if mode == "text" else content.content_hash(aim.rows)
            key = [named, asked, aim.tokens, scoring.RECIPE]
            table = store.cached(key, f"aim-{mode}", lambda aim=aim, mode=mode: replies(aim, mode))
            if mode != "text":
                said = zip(aim.rows, table["response"], strict=True)
                table["value"] = [float(getattr(grade(row["check"], text), aim.score)) for row, text in said]
            parts.append(table.assign(aim=name, mode=mode))
    return pd.concat(parts, ignore_index=True)[["aim", "mode", "index", "prompt", "response", "value"]]


def has_labels(aim: Task) -> bool:
    """Whether a classifier can answer with its label: rows with a `text` that ask for one of several options."""
    return all(isinstance(row, dict) and "text" in row and row["check"]["name"] == "choice" for row in aim.rows)


def text_losses(model, tokenizer, texts: Sequence[str]) -> pd.DataFrame:
    """Nats a token of each text by itself, a row a text: index, prompt, response (none), value."""
    losses = [scoring.text_loss(model, tokenizer, [text]) for text in texts]
    return pd.DataFrame({"index": range(len(texts)), "prompt": texts, "response": None, "value": losses})


def cross_evaluate(
    base: str,
    cells: Mapping[str, Sequence[tuple[SFTSpec, objectives.Objective]]],
    aims: Mapping[str, Task],
    *,
    parallel: int = 1,
    store: Store | None = None,
) -> pd.DataFrame:
    """Tune every way with every seed, and measure them and the base on every aim; what the store holds is not done again.

    Args:
        base: a folder or a Hub id, measured as the way "base".
        cells: way → its specs, one a seed, with what each trains on.
        aims: what to measure; the leakage gate keeps their rows out of every training.
        parallel: trainings at a time, each in a process of its own with its share of the cores.

    Returns:
        The columns of :func:`score_on_tasks`, `way`, `seed`, and of each training `run`, `rows`, `steps` and `tokens`.
    """
    store = store or Store()
    jobs = [(name, spec, way) for name, made in cells.items() for spec, way in made]
    calls = [
        delayed(score_on_tasks)(base, aims, store),
        *(delayed(_one)(spec, way, aims, store) for _, spec, way in jobs),
    ]
    found = run_parallel(calls, parallel, "tuned and measured", stored=True)
    named = [table.assign(way=name, seed=spec.seed) for (name, spec, _), table in zip(jobs, found[1:], strict=True)]
    return pd.concat([found[0].assign(way="base", seed=0), *named], ignore_index=True)


def _one(spec: SFTSpec, way: objectives.Objective, aims: Mapping[str, Task], store: Store) -> pd.DataFrame:
    run = objectives.train_objective(spec, way, [row for aim in aims.values() for row in aim.rows], store)
    return score_on_tasks(run, aims, store).assign(
        run=run.id, **{key: run.scores[key] for key in ("rows", "steps", "tokens")}
    )


def best_mode(table: pd.DataFrame, lower: Sequence[str] = ()) -> pd.DataFrame:
    """Of each way and aim only the mode in which it does best (the mean over seeds), so that none is judged by how it was asked.

    Args:
        lower: aims whose value is a loss: less is better.
    """
    means = table.groupby(["way", "aim", "mode"], sort=False)["value"].mean().reset_index()
    means["value"] *= [-1 if aim in lower else 1 for aim in means["aim"]]
    taken = means.loc[means.groupby(["way", "aim"], sort=False)["value"].idxmax(), ["way", "aim", "mode"]]
    return table.merge(taken)
