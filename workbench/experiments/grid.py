"""A grid of trainings, each scored, as one tidy table: in parallel processes here or on a Ray cluster.

What the run store holds is not run again, so a grid that was interrupted goes on where it was, and a failed cell does not cost the
others.
"""

import dataclasses
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import datasets
import pandas as pd
from joblib import Parallel, delayed
from joblib.externals.loky.process_executor import TerminatedWorkerError

from workbench import graders, profiles
from workbench.config import DPOSpec, SFTSpec
from workbench.data import content
from workbench.errors import InputError
from workbench.evaluate import scoring
from workbench.models import loading
from workbench.parallel import progress_bar, stored_results, with_graders
from workbench.store import Damaged, NotStored, Run, Store, digest
from workbench.train import preference, supervised

MEASURED = ("rows", "steps", "tokens", "loss", "held_out_before", "held_out_after")


COLUMNS = (*scoring.COLUMNS, "run", "error", *MEASURED, *(field.name for field in dataclasses.fields(SFTSpec)))


KILLED = "its worker process was killed, perhaps for want of memory; lower parallel, batch_size or max_length"


@dataclass(frozen=True)
class Cell:
    """One training of a grid."""

    spec: SFTSpec | DPOSpec
    rows: datasets.Dataset
    """What it trains on: rows with an answer each, for a DPOSpec pairs."""
    labels: Mapping[str, object] = field(default_factory=dict)
    """Columns of its own in the table, for what the spec does not say: {"noise": 0.3}."""
    sft: Run | None = None
    """The run that a DPOSpec goes on from."""
    evaluation: list[dict] | None = None
    """What it is scored on; None takes the grid's. A long training may deserve more prompts than the short ones beside it."""
    held_out: datasets.Dataset | None = None
    """Rows whose loss is measured before and after an SFT, in nats a token."""

    def columns(self) -> dict[str, object]:
        """What the table says of it: the spec and the labels; of a DPO also base and method, and its run as `sft`."""
        said = dataclasses.asdict(self.spec)
        if self.sft is not None:
            start = {name: self.sft.spec[name] for name in ("base", "revision", "method")}
            said = start | {"sft": self.sft.id, "loss_type": said.pop("loss")} | said  # the table's loss is a number
        return said | dict(self.labels)


def make_cells(
    settings: Mapping[str, object],
    rows: datasets.Dataset,
    trainings: Mapping[str, Mapping[str, object]],
    seeds: Iterable[int],
    evaluation: list[dict] | None = None,
    held_out: datasets.Dataset | None = None,
) -> list[Cell]:
    """Make one cell per training and seed, all on the same rows.

    Args:
        settings: fields of :class:`workbench.config.SFTSpec` that all cells share.
        trainings: name → the fields in which this training differs. The label `training` of its cells holds the name.

    Raises:
        InputError: the spec has no field of that name.
    """
    return [
        Cell(SFTSpec.of(**{**settings, **fields, "seed": seed}), rows, {"training": name}, None, evaluation, held_out)
        for name, fields in trainings.items()
        for seed in seeds
    ]


def run_grid(
    cells: Sequence[Cell],
    evaluation: Sequence[dict],
    *,
    parallel: int = 1,
    cluster: str | None = None,
    store: Store | None = None,
    quiet: bool = False,
) -> pd.DataFrame:
    """Train every cell, score it on the evaluation, and stack the tables in the order of the cells.

    A cell that fails is one row with its `error` (a line) and no score; the others finish. :mod:`workbench.evaluate.scoring` refuses a
    table that holds such a row, so that no seed goes missing unnoticed; leave them out by hand with
    ``table[table["error"].isna()]``. Called again, the grid runs what failed or was interrupted, and nothing else.

    Returns:
        A row per run and prompt: the columns of :func:`workbench.evaluate.scoring.score`; the id of the `run`; `error`; what the training
        measured (`rows`, `steps`, `tokens`, `loss`, `held_out_before`, `held_out_after`); every field of the spec; the labels. DPO cells add `sft`, `loss_type`
        (the field `loss` of their spec) and `beta`.

    Args:
        parallel: trainings at a time, each in a process of its own with its share of the cores: on small models two
            processes with a thread each beat one process with two threads. A GPU takes one training at a time, whatever this says;
            several GPUs take `cluster`.
        cluster: "ray" sends the cells to the Ray cluster that RAY_ADDRESS names, or to a Ray of this machine: a CPU each, or a
            GPU each where the cluster has any. All its machines need this package, the base model and the store (WORKBENCH_RUNS)
            under the same paths, on a shared disk. `parallel` is not used then.
        quiet: no progress bar.

    Raises:
        InputError: no cell, no evaluation row, equal cells, a DPO without an SFT run, a label that is a column already, or all
            cells failed.
    """
    store, evaluation = store or Store(), list(evaluation)
    keys = _keys(cells, evaluation, cluster)
    parallel = 1 if loading.default_device() == "cuda" else parallel
    # Cells that differ in their labels alone are one training.
    jobs = {
        key: ((cell.spec, cell.sft), cell.rows, cell.evaluation or evaluation, cell.held_out, store)
        for key, cell in zip(keys, cells, strict=True)
    }
    done = {}
    with progress_bar(len(jobs), "trained and scored", quiet) as bar:
        for key, (table, damaged) in _results(jobs, parallel, cluster):
            for text in damaged:
                warnings.warn(text, Damaged, stacklevel=2)
            done[key] = table
            bar.update()
    errors = [table["error"].iloc[0] for table in done.values() if table["error"].notna().any()]
    if len(errors) == len(jobs):
        raise InputError(
            errors[0] if len(errors) == 1 else f"all {len(errors)} trainings failed, the first: {errors[0]}"
        )
    parts = [done[key].assign(**cell.columns()) for key, cell in zip(keys, cells, strict=True)]
    own = [name for cell in cells for name in cell.columns()]
    return pd.concat(parts, ignore_index=True).reindex(columns=list(dict.fromkeys([*COLUMNS, *own])))


def runs_of(table: pd.DataFrame, store: Store | None = None) -> list[Run]:
    """Return the runs that a table of :func:`run_grid` is about, in its order."""
    root = (store or Store()).root
    return [Run(root / name) for name in table["run"].unique()]


def _keys(cells: Sequence[Cell], evaluation: list[dict], cluster: str | None) -> list[tuple]:
    """What names the training of each cell; refuses what no training can be started on."""
    if not cells or not evaluation:
        raise InputError(f"{len(cells)} cells, {len(evaluation)} evaluation rows; a grid needs one of each or more")
    if cluster not in (None, "ray"):
        raise InputError(f'cluster "{cluster}" is unknown; give "ray", or None for this machine')
    used = {id(rows): rows for cell in cells for rows in (cell.rows, cell.held_out)}
    hashes = {number: None if rows is None else content.content_hash(rows) for number, rows in used.items()}
    asked = {id(cell.evaluation): cell.evaluation or evaluation for cell in cells}
    asked = {number: digest(scoring.evaluation_key(rows)) for number, rows in asked.items()}
    names = [
        (cell.spec, cell.sft and cell.sft.id, *(hashes[id(rows)] for rows in (cell.rows, cell.held_out)), asked[id(cell.evaluation)])
        for cell in cells
    ]  # fmt: skip
    seen = {}
    for number, cell in enumerate(cells):
        if taken := sorted(set(cell.labels) & set(COLUMNS)):
            raise InputError(f"cell {number}: the table has a column {taken[0]!r} already; name the label otherwise")
        if isinstance(cell.spec, DPOSpec) != (cell.sft is not None):
            raise InputError(
                f"cell {number}: a DPOSpec goes on from an SFT run (sft=…), an SFTSpec from its base alone"
            )
        same = seen.setdefault((names[number], str(sorted(cell.labels.items()))), number)
        if same != number:
            raise InputError(f"cells {same} and {number} are equal (spec, rows and labels); give each once")
    return names


def _results(jobs: dict, parallel: int, cluster: str | None) -> Iterator[tuple]:
    """(key, result) of every job: first of those that the store holds, read here, as worker processes take seconds to start."""
    left = dict(jobs)
    for key, result in stored_results({key: delayed(_one)(*job) for key, job in jobs.items()}):
        del left[key]
        yield key, result
    if left:
        yield from _on_ray(left) if cluster else _here(left, parallel)


def _here(jobs: dict, parallel: int) -> Iterator[tuple]:
    """Run the jobs in worker processes of this machine; yields (key, result) as they are done.

    A worker that is killed takes the whole pool with it, and its job cannot be told from those beside it. So the jobs that were
    under way are run again, each in a pool of its own, where it is clear whose worker dies; then the rest.
    """
    threads = profiles.threads_per_worker(parallel)
    waves = [dict(jobs)]
    while waves:
        left, begun = waves.pop(), []
        alone = len(left) == 1
        workers = Parallel(parallel, return_as="generator_unordered", pre_dispatch=parallel, batch_size=1,
                           inner_max_num_threads=threads)  # fmt: skip
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
    """The jobs as joblib takes them, one when a worker is free for it; `begun` keeps the keys of those taken."""
    for key, job in list(jobs.items()):
        begun.append(key)
        yield delayed(_keyed)(graders.registered(), key, *job)


def _keyed(registered, key, *job) -> tuple:
    return key, _graded(registered, *job)


def _graded(registered, *job) -> tuple:
    return with_graders(registered, _one, job, {})


def _on_ray(jobs: dict) -> Iterator[tuple]:
    """The same on a Ray cluster. Ray runs the job of a killed worker once more by itself."""
    try:
        import ray  # an extra: a quarter of a gigabyte that one machine does not need
    except ModuleNotFoundError:
        raise InputError('cluster="ray" needs Ray, which is not installed: pip install -e ".[cluster]"') from None
    if not ray.is_initialized():
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else it warns of what a later Ray will do
        ray.init(include_dashboard=False, log_to_driver=False)
    gpus = int("GPU" in ray.cluster_resources())
    work = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=1)(_graded)
    shared = {
        id(part): ray.put(part) for job in jobs.values() for part in job[1:4]
    }  # rows travel once, not once a cell
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
        for task in waiting:  # the grid was interrupted: what runs on would hold the cluster
            ray.cancel(task, force=True)


def _one(
    what: tuple[SFTSpec | DPOSpec, Run | None],
    rows: datasets.Dataset,
    evaluation: list[dict],
    held_out: datasets.Dataset | None,
    store: Store,
) -> tuple[pd.DataFrame, list[str]]:
    """The scores of one training, or its error, and what the store said of damaged runs: nobody reads a worker's warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", Damaged)
        try:
            spec, start = what
            if start is None:
                run = supervised.sft(spec, rows, evaluation=evaluation, held_out=held_out, store=store, quiet=True)
            else:
                run = preference.dpo(spec, rows, sft_run=start, evaluation=evaluation, store=store, quiet=True)
            measured = {name: run.scores.get(name) for name in MEASURED}
            table = scoring.score_run(run, evaluation, store).assign(run=run.id, error=None, **measured)
        except NotStored:
            raise
        except Exception as error:  # whatever it is, the other cells are to finish
            table = _failed(_line(error))
    return table, [str(warning.message) for warning in caught if warning.category is Damaged]


def _failed(error: str) -> pd.DataFrame:
    return pd.DataFrame([{"error": error}], columns=[*scoring.COLUMNS, "run", "error", *MEASURED])


def _line(error: Exception) -> str:
    text = (str(error).strip().splitlines() or [""])[0]
    return text if isinstance(error, InputError) else f"{type(error).__name__}: {text}"
