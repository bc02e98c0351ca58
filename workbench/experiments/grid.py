"""Run a grid of trainings and score each, as one tidy table: in parallel processes of this machine or on a Ray cluster.

What the run store holds is not run again, so an interrupted grid resumes where it stopped, and a failed cell costs no other cell.
"""

import dataclasses
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import datasets
import pandas as pd

from workbench import environment
from workbench.config import DPOSpec, RLSpec, SFTSpec, named_fields
from workbench.data import content
from workbench.errors import InputError, counted
from workbench.evaluate import scoring
from workbench.experiments import workers
from workbench.models import loading
from workbench.parallel import progress_bar
from workbench.rewards import Reward
from workbench.store import Damaged, Run, Store, digest, record_use
from workbench.train import rl_inputs

COLUMNS = (*scoring.COLUMNS, "run", "error", *workers.MEASURED, *(field.name for field in dataclasses.fields(SFTSpec)))


@dataclass(frozen=True)
class Cell:
    """One training of a grid."""

    spec: SFTSpec | DPOSpec | RLSpec
    rows: datasets.Dataset
    """Training data: rows with one answer each, for a DPOSpec preference pairs, for an RLSpec prompts."""
    labels: Mapping[str, object] = field(default_factory=dict)
    """Additional columns of the table, for what the spec does not say: {"noise": 0.3}."""
    sft: Run | None = None
    """The run that a DPOSpec or an RLSpec starts from; an RLSpec with a base takes none."""
    evaluation: list[dict] | None = None
    """Rows that it is scored on; None takes those of the grid."""
    held_out: datasets.Dataset | None = None
    """Rows whose loss is measured before and after an SFT, in nats per token."""
    reward: str | Run | Reward | None = None
    """What an RLSpec is trained on, see :func:`workbench.train.reinforcement.rl`."""
    watch: Mapping[str, str | Run | Reward] = field(default_factory=dict)
    """Rewards that its log shows beside it."""

    def columns(self) -> dict[str, object]:
        """Return its columns of the table: spec and labels; for DPO and RL also the model of their start (base, revision, method, rank), its id
        as `sft`, and the reward. The rank is None where the start is a DPO run of an earlier version, which kept none."""
        columns = named_fields(self.spec)
        if not isinstance(self.spec, SFTSpec):
            columns["loss_type"] = columns.pop("loss")  # the table's column `loss` is a number
        if self.sft is not None:
            start = {name: self.sft.spec.get(name) for name in ("base", "revision", "method", "rank")}
            columns |= start | {"sft": self.sft.id}
        if self.reward is not None:
            columns["reward"] = next(iter(rl_inputs.named_rewards(self.reward, {})))
        return columns | dict(self.labels)

    def what(self) -> tuple:
        """Return what a worker trains: spec, start, reward, and the rewards that are watched."""
        return self.spec, self.sft, self.reward, self.watch


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
        evaluation, held_out: of every cell, see :class:`Cell`.

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

    A cell that fails is one row with its `error` (one line) and no score; the others finish. :mod:`workbench.evaluate.stats` refuses a
    table with such a row, so that no seed is missing unnoticed; leave the failed cells out with ``table[table["error"].isna()]``. A
    second call runs only what failed or was interrupted.

    Returns:
        One row per run and prompt: the columns of :func:`workbench.evaluate.scoring.score`; the id of the `run`; `error`; what the
        training measured (`rows`, `steps`, `tokens`, `loss`, `held_out_before`, `held_out_after`); every field of the spec; the labels.
        DPO and RL cells add `sft`, `loss_type` (the field `loss` of their spec) and `beta`, RL cells `reward`.

    Args:
        parallel: trainings at a time, each in a process of its own with its share of the cores: for small models two processes with
            one thread each are faster than one process with two threads. A GPU takes one training at a time, whatever this says;
            several GPUs need `cluster`.
        cluster: "ray" sends the cells to the Ray cluster that RAY_ADDRESS names, or to a Ray of this machine: one CPU each, or one
            GPU each where the cluster has any. All its machines need this package, the base model and the store (WORKBENCH_RUNS)
            under the same paths, on a shared disk. `parallel` is not used then.
        quiet: no progress bar, and no line about what is left to train.

    Raises:
        InputError: there is no cell or no evaluation row, two cells are equal, a DPO has no SFT run, an RL no reward, a label is already a column, or
            all cells failed.
    """
    store, evaluation = store or Store(), list(evaluation)
    keys = _keys(cells, evaluation, cluster)
    for cell in cells:  # workers print nothing
        for line in rl_inputs.unnamed_lines(_named(cell)):
            environment.print_once(line)
    parallel = 1 if loading.default_device() == "cuda" else parallel
    # Cells that differ only in their labels are one training.
    jobs = {
        key: (cell.what(), cell.rows, cell.evaluation or evaluation, cell.held_out, store)
        for key, cell in zip(keys, cells, strict=True)
    }
    done = _run_jobs(jobs, parallel, cluster, quiet)
    for key, cell in zip(keys, cells, strict=True):
        record_use(cell=done[key]["run"].iloc[0], seed=cell.spec.seed, labels=dict(cell.labels))
    parts = [done[key].assign(**cell.columns()) for key, cell in zip(keys, cells, strict=True)]
    own = [name for cell in cells for name in cell.columns()]
    return pd.concat(parts, ignore_index=True).reindex(columns=list(dict.fromkeys([*COLUMNS, *own])))


def _run_jobs(jobs: dict, parallel: int, cluster: str | None, quiet: bool) -> dict[tuple, pd.DataFrame]:
    """Return the table of each job by its key; raises InputError where all failed."""
    done = {}
    with progress_bar(len(jobs), "trained and scored", quiet) as bar:
        for key, (table, damaged) in workers.results(jobs, parallel, cluster, quiet):
            for text in damaged:
                warnings.warn(text, Damaged, stacklevel=3)
            done[key] = table
            bar.update()
    errors = [table["error"].iloc[0] for table in done.values() if table["error"].notna().any()]
    if len(errors) == len(jobs):
        raise InputError(
            errors[0] if len(errors) == 1 else f"all {len(errors)} trainings failed, the first: {errors[0]}"
        )
    return done


def runs_of(table: pd.DataFrame, store: Store | None = None) -> list[Run]:
    """Return the runs in a table of :func:`run_grid`, in its order."""
    store = store or Store()
    return [store.run(name) for name in table["run"].unique()]


def _named(cell: Cell) -> dict[str, str | Run | Reward]:
    """Return name → reward of a cell, none for one without."""
    return {} if cell.reward is None else rl_inputs.named_rewards(cell.reward, cell.watch)


def _reading(cell: Cell, rewards: Mapping[str, str | Run | Reward]) -> tuple[int, bool]:
    """Return what decides what the rewards of a cell read: its rows, and whether one is a function, which may read all of them."""
    return id(cell.rows), any(map(callable, rewards.values()))


def _keys(cells: Sequence[Cell], evaluation: list[dict], cluster: str | None) -> list[tuple]:
    """Return what identifies the training of each cell; raise InputError where one cannot be started."""
    if not cells or not evaluation:
        raise InputError(
            f"{counted(len(cells), 'cell')}, {counted(len(evaluation), 'evaluation row')}; a grid needs at least one of each"
        )
    if cluster not in (None, "ray"):
        raise InputError(f'cluster "{cluster}" is unknown; give "ray", or None for this machine')
    for number, cell in enumerate(cells):
        if taken := sorted(set(cell.labels) & set(COLUMNS)):
            raise InputError(f"cell {number}: the table already has a column {taken[0]!r}; rename the label")
        rl = isinstance(cell.spec, RLSpec)
        if not rl and isinstance(cell.spec, DPOSpec) != (cell.sft is not None):
            raise InputError(f"cell {number}: a DPOSpec needs an SFT run to start from (sft=…), an SFTSpec takes none")
        if rl != (cell.reward is not None):
            raise InputError(f"cell {number}: an RLSpec needs a reward (reward=…), and no other spec takes one")
        if rl:
            rl_inputs.require_start(cell.spec, cell.sft)
    # Cells share rows: each object is hashed once.
    datasets_used = {id(rows): rows for cell in cells for rows in (cell.rows, cell.held_out)}
    hashes = {key: None if rows is None else content.content_hash(rows) for key, rows in datasets_used.items()}
    evaluations = {id(cell.evaluation): cell.evaluation or evaluation for cell in cells}
    evaluations = {key: digest(scoring.evaluation_key(rows)) for key, rows in evaluations.items()}
    named = [_named(cell) for cell in cells]
    read = {
        _reading(cell, rewards): (rewards, cell.rows) for cell, rewards in zip(cells, named, strict=True) if rewards
    }
    read = {key: rl_inputs.read_by(*each) for key, each in read.items()}
    keys = [
        (cell.spec, cell.sft and cell.sft.id, hashes[id(cell.rows)], hashes[id(cell.held_out)], evaluations[id(cell.evaluation)],
         *(f"{name} {rl_inputs.identity(each)}" for name, each in rewards.items()), read.get(_reading(cell, rewards)))
        for cell, rewards in zip(cells, named, strict=True)
    ]  # fmt: skip
    seen = {}
    for number, cell in enumerate(cells):
        same = seen.setdefault((keys[number], str(sorted(cell.labels.items()))), number)
        if same != number:
            raise InputError(f"cells {same} and {number} are equal (spec, rows and labels); give each once")
    return keys
