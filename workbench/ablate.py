"""Several trainings at once, each scored, as one tidy table; what the store holds is not run again."""

import dataclasses
import os
from collections.abc import Sequence

import datasets
import pandas as pd
from joblib import Parallel, delayed
from tqdm.auto import tqdm

from workbench import data, evaluate, models, train
from workbench.errors import InputError
from workbench.runs import Run, Store
from workbench.specs import SFTSpec


def grid(
    specs: Sequence[SFTSpec],
    rows: datasets.Dataset,
    evaluation: Sequence[dict],
    *,
    parallel: int = 1,
    store: Store | None = None,
    quiet: bool = False,
) -> pd.DataFrame:
    """Train every spec on the rows, score it on the evaluation, and stack the tables.

    Returns:
        A row per run and prompt: the columns of :func:`workbench.evaluate.score`, the id of the `run`, and every field of
        the specs, so that a table can be split by `seed`, by `method`, by whatever differs.

    Args:
        parallel: trainings at a time, each in a process of its own with its share of the cores: on small models two
            processes with a thread each beat one process with two threads.
        quiet: no progress bar.

    Raises:
        InputError: no spec, two equal ones, or what :func:`workbench.train.sft` raises.
    """
    if not specs or len(set(specs)) < len(specs):
        raise InputError(f"{len(specs)} specs, {len(set(specs))} of them different; give one or more, all different")
    store = store or Store()
    evaluation = list(evaluation)
    workers = Parallel(
        n_jobs=parallel, return_as="generator", inner_max_num_threads=max(1, (os.cpu_count() or 1) // parallel)
    )
    jobs = (delayed(_one)(spec, rows, evaluation, store) for spec in specs)
    tables = list(tqdm(workers(jobs), total=len(specs), desc="trained and scored", disable=quiet))
    return pd.concat(tables, ignore_index=True)


def _one(spec: SFTSpec, rows: datasets.Dataset, evaluation: list[dict], store: Store) -> pd.DataFrame:
    run = train.sft(spec, rows, evaluation=evaluation, store=store, quiet=True)
    return scores(run, evaluation, store).assign(run=run.id, **dataclasses.asdict(spec))


def scores(run: Run, evaluation: list[dict], store: Store | None = None) -> pd.DataFrame:
    """Table of :func:`workbench.evaluate.score` for a run in its chat template; kept with the run."""

    def make() -> pd.DataFrame:
        model, tokenizer = models.load_tuned(run)
        return evaluate.score(model, tokenizer, evaluation)

    return (store or Store()).cached([run, data.content_hash(evaluation)], "chat", make)


def base_scores(
    base: str, evaluation: list[dict], mode: str, *, shots: Sequence[dict] = (), store: Store | None = None
) -> pd.DataFrame:
    """The same for a base model in one of the modes of :func:`workbench.evaluate.score`; kept in the store."""

    def make() -> pd.DataFrame:
        model, tokenizer = models.load_base(base), models.load_tokenizer(base)
        return evaluate.score(model, tokenizer, evaluation, mode, shots=shots)

    key = [models.fingerprint(models.fetch(base)), data.content_hash(evaluation), mode, data.content_hash(shots)]
    return (store or Store()).cached(key, f"base-{mode}", make)
