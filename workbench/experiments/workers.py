"""Train and score the cells of a grid in worker processes of this machine or on a Ray cluster."""

import os
import warnings
from collections.abc import Iterator, Mapping

import datasets
import pandas as pd
from joblib import delayed
from joblib.externals.loky.process_executor import TerminatedWorkerError

from workbench import graders
from workbench.config import DPOSpec, RLSpec, SFTSpec
from workbench.errors import InputError
from workbench.evaluate import scoring
from workbench.experiments import workload
from workbench.parallel import stored_results, with_graders, worker_pool
from workbench.store import Damaged, NotStored, Run, Store
from workbench.train import preference, reinforcement, supervised

MEASURED = ("rows", "steps", "tokens", "loss", "held_out_before", "held_out_after")
KILLED = "its worker process was killed, perhaps for lack of memory; lower parallel, batch_size or max_length"


def results(jobs: dict, parallel: int, cluster: str | None, quiet: bool = False) -> Iterator[tuple]:
    """Yield (key, result) of every job; first those in the store, read in this process, as worker processes take seconds to start.

    Unless `quiet`, print what is left to do before it is begun.
    """
    left = dict(jobs)
    for key, result in stored_results({key: delayed(_train_and_score)(*job) for key, job in jobs.items()}):
        del left[key]
        yield key, result
    if left:
        if not quiet:
            print(
                workload.describe_left(
                    ((job[0][0], len(job[1]), job[0][1]) for job in left.values()), len(jobs), parallel
                )
            )
        yield from _on_ray(left) if cluster else _here(left, parallel)


def _here(jobs: dict, parallel: int) -> Iterator[tuple]:
    """Run the jobs in worker processes of this machine, and yield (key, result) as they finish.

    A worker that is killed takes the whole pool with it, and does not say which job it had. So the jobs that had started are run
    again, each in a pool of its own, where it is clear whose worker dies; then the rest.
    """
    waves = [dict(jobs)]
    while waves:
        left, begun = waves.pop(), []
        alone = len(left) == 1
        workers = worker_pool(parallel, return_as="generator_unordered", pre_dispatch=parallel, batch_size=1)
        try:
            for key, result in workers(_calls(left, begun)):
                del left[key]
                yield key, result
        except TerminatedWorkerError:
            if alone:
                yield from ((key, (_failed(KILLED), [])) for key in left)
            else:
                rest = {key: job for key, job in left.items() if key not in begun}
                waves += [rest] * bool(rest) + [{key: left[key]} for key in begun if key in left]


def _calls(jobs: dict, begun: list) -> Iterator:
    """Yield the jobs as joblib takes them, one whenever a worker is free; `begun` collects the keys of those taken."""
    for key, job in list(jobs.items()):
        begun.append(key)
        yield delayed(_keyed)(graders.registered(), key, *job)


def _keyed(registered, key, *job) -> tuple:
    return key, _graded(registered, *job)


def _graded(registered, *job) -> tuple:
    return with_graders(registered, _train_and_score, job, {})


def _on_ray(jobs: dict) -> Iterator[tuple]:
    """Run the jobs on a Ray cluster, and yield (key, result) as they finish. Ray itself runs the job of a killed worker once more."""
    ray = _ray()
    gpus = int("GPU" in ray.cluster_resources())
    work = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=1)(_graded)
    # Rows are sent once, and not once per cell.
    shared = {id(part): ray.put(part) for job in jobs.values() for part in job[1:4]}
    waiting = {}
    try:
        for key, (what, *parts, store) in jobs.items():
            waiting[work.remote(graders.registered(), what, *(shared[id(part)] for part in parts), store)] = key
        while waiting:
            (done,), _ = ray.wait(list(waiting))
            key = waiting.pop(done)
            try:
                result = ray.get(done)
            except ray.exceptions.RayError as error:
                died = isinstance(error, ray.exceptions.WorkerCrashedError | ray.exceptions.OutOfMemoryError)
                result = _failed(KILLED if died else _line(error)), []
            yield key, result
    finally:
        for task in waiting:  # the grid was interrupted: unfinished tasks would occupy the cluster
            ray.cancel(task, force=True)


def _ray():
    """Return the module ray, connected to a cluster or to a Ray of this machine; raises InputError where it is not installed."""
    try:
        import ray  # an extra: a quarter of a gigabyte that one machine does not need
    except ModuleNotFoundError:
        raise InputError('cluster="ray" needs Ray, which is not installed: pip install -e ".[cluster]"') from None
    if not ray.is_initialized():
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # or it warns about a change in a later Ray
        ray.init(include_dashboard=False, log_to_driver=False)
    return ray


def _train_and_score(
    what: tuple[SFTSpec | DPOSpec | RLSpec, Run | None, object, Mapping],
    rows: datasets.Dataset,
    evaluation: list[dict],
    held_out: datasets.Dataset | None,
    store: Store,
) -> tuple[pd.DataFrame, list[str]]:
    """Return the scores of one training, or its error, and the store's warnings about damaged runs: nobody reads a worker's warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", Damaged)
        try:
            spec, start, reward, watch = what
            if isinstance(spec, RLSpec):
                run = reinforcement.rl(
                    spec, rows, reward=reward, start=start, watch=watch, evaluation=evaluation, store=store, quiet=True
                )
            elif start is None:
                run = supervised.sft(spec, rows, evaluation=evaluation, held_out=held_out, store=store, quiet=True)
            else:
                run = preference.dpo(spec, rows, sft_run=start, evaluation=evaluation, store=store, quiet=True)
            measured = {name: run.scores.get(name) for name in MEASURED}
            table = scoring.score_run(run, evaluation, store).assign(run=run.id, error=None, **measured)
        except NotStored:
            raise
        except Exception as error:  # whatever it is, the other cells must finish
            table = _failed(_line(error))
    return table, [str(warning.message) for warning in caught if warning.category is Damaged]


def _failed(error: str) -> pd.DataFrame:
    return pd.DataFrame([{"error": error}], columns=[*scoring.COLUMNS, "run", "error", *MEASURED])


def _line(error: Exception) -> str:
    text = (str(error).strip().splitlines() or [""])[0]
    return text if isinstance(error, InputError) else f"{type(error).__name__}: {text}"
