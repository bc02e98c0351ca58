"""Store runs and tables: each training is identified by all of its inputs, done once, and found again.

In a notebook, the published results are looked up first (:mod:`workbench.published`), then this store; what neither holds is made.

A run is a folder named by a hash of its inputs. It is written under the name ``ID.partial``, under a file lock, and gets its final name
by one rename when everything is written: a folder without ``.partial`` is complete. Its ``run.json`` lists every file with its hash, so
that damage is noticed.
"""

import hashlib
import json
import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock

from workbench import distributed, outputs, published, runs
from workbench.environment import ROOT, portable_base
from workbench.errors import InputError, first_line
from workbench.runs import RECORD_FILE, Run

RUN_ID = re.compile(r"[a-z_]+-[0-9a-f]{16}")
MIN_ROOM = 2**25  # bytes that must be free before anything is made


class NotStored(Exception):
    """The result is not in the store, and :func:`only_stored` forbids making it."""


class Damaged(UserWarning):
    """A run or table in the store was damaged and has been moved aside."""


RECORDING = "WORKBENCH_RECORDING"
"""Environment variable: a file that lists what was asked for, for `workbench results publish`."""

_making = ContextVar("whether results that are not stored are made", default=True)
_published: dict[Path, Run] = {}  # those that this process has been given


@contextmanager
def only_stored() -> Iterator[None]:
    """Make stores raise :class:`NotStored` instead of making a result, so that a caller finds out what is left to do."""
    before = _making.set(False)
    try:
        yield
    finally:
        _making.reset(before)


class Store:
    """Runs and tables under one folder; several processes can use it at the same time.

    Args:
        root: the folder; None takes the environment variable WORKBENCH_RUNS, else ``.runs`` at the root of the repository.

    Raises:
        InputError: the folder cannot be created or written.
    """

    def __init__(self, root: str | Path | None = None):
        default = ROOT / ".runs"
        self.root = Path(root or os.environ.get("WORKBENCH_RUNS") or default).absolute()
        try:
            self._locks.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{self.root}: cannot keep runs here ({error.strerror}); set WORKBENCH_RUNS") from error

    @property
    def _locks(self) -> Path:
        return self.root / ".locks"

    def obtain(self, name: str, key: Any, make: Callable[[Path], dict], room: int = MIN_ROOM) -> Run:
        """Return the run with this key; make it first if it is not stored.

        A process that asks for a run which another one is making waits for it. After a kill, `make` finds its folder as it was left.
        Processes that train together (see :mod:`workbench.distributed`) all call `make`; the first one does the rest.

        Args:
            name: first word of the run's id, for people.
            key: plain data that identifies everything the result depends on.
            make: gets the folder to work in, and returns the record: spec, environment, scores. The subfolder ``checkpoints`` is
                deleted afterwards.
            room: bytes that must be free before `make` is called, about.

        Raises:
            InputError: the disk is full or not writable. What is already written is kept.
        """
        path = self.root / f"{name}-{digest(key)}"
        record_use(run=path.name)
        train = partial(self._make_run, path, key, make, room)
        if archive := published.find_run(path.name):
            _published[path] = Run(path, archive, train)
            return _published[path]
        if not distributed.on_main_process(lambda: runs.damage(path) is None):
            train()
        return Run(path)

    def _make_run(self, path: Path, key: Any, make: Callable[[Path], dict], room: int) -> None:
        self._may_make(path)
        with self._guarded(path.name) if distributed.is_main_process() else nullcontext():
            if not distributed.on_main_process(lambda: _begin(path, room)):
                try:
                    record = make(_partial(path))
                except InputError:  # refused before anything was computed: nothing of it is worth keeping
                    distributed.on_main_process(lambda: _remove_unless_begun(_partial(path)))
                    raise
                distributed.on_main_process(lambda: _finish(path, {**record, "key": key}))

    def run(self, run_id: str) -> Run:
        """Return a run by its id; a published one as :meth:`obtain` returned it in this process."""
        return _published.get(self.root / run_id, Run(self.root / run_id))

    def cached(self, key: Any, name: str, make: Callable[[], pd.DataFrame]) -> pd.DataFrame:
        """Return the table with this key; make and store it first if it is not stored.

        Args:
            key: plain data, or a :class:`Run`, or a list that begins with one: then the table is stored in, and removed with, that run.
            name: first word of the table's file name, for people.
            make: returns the table, with columns that parquet supports.
        """
        parts = list(key) if isinstance(key, list | tuple) else [key]
        folder = (parts[0].path if isinstance(parts[0], Run) else self.root) / "tables"
        plain = [part.id if isinstance(part, Run) else part for part in parts]
        path = folder / f"{name}-{digest(plain)}.parquet"
        run = parts[0].id if isinstance(parts[0], Run) else ""
        record_use(run=run, table=path.stem)
        if (found := published.find_table(run, path.stem)) is not None:
            return found
        if path.exists() and (table := _read_table(path)) is not None:
            return table
        self._may_make(path)
        with self._guarded(path.stem):
            if path.exists():
                table = _read_table(path)
                if table is not None:
                    return table
                aside = _set_aside(path)
                warnings.warn(
                    f"{path}: unreadable; moved aside to {aside.name}, making it again", Damaged, stacklevel=3
                )
            table = make()
            folder.mkdir(exist_ok=True)  # a run that is published was trained by now
            writing = path.with_name(path.name + ".writing")
            try:
                table.to_parquet(writing, index=False)
                os.replace(writing, path)
            finally:
                writing.unlink(missing_ok=True)
        return _read_table(path)

    def runs(self) -> list[Run]:
        """Return the finished runs, damaged ones included, the newest last."""
        found = [path for path in self.root.iterdir() if RUN_ID.fullmatch(path.name)]
        return [Run(path) for path in sorted(found, key=_time)]

    def unfinished(self) -> list[str]:
        """Return the ids of unfinished runs; the next call with the same spec resumes them."""
        return sorted(path.stem for path in self.root.glob("*.partial"))

    def moved_aside(self) -> list[str]:
        """Return the names of damaged runs that were moved aside; :meth:`remove` deletes them."""
        return sorted(path.name for path in self.root.glob("*.corrupt-*"))

    def repair(self) -> dict[str, str]:
        """Move damaged runs aside, so that they can be trained again; return id → what was wrong and where the run is now."""
        found = {}
        for run in self.runs():
            with self._guarded(run.id):
                if damage := runs.damage(run.path):
                    found[run.id] = f"{damage}; moved aside to {_set_aside(run.path).name}"
        return found

    def remove(self, run_id: str) -> int:
        """Delete a run, finished or not, with its tables, and return the number of bytes freed.

        Raises:
            InputError: there is no such run.
        """
        if run_id not in {*(run.id for run in self.runs()), *self.unfinished(), *self.moved_aside()}:
            raise InputError(f"{run_id}: no such run in {self.root}; `workbench runs list` shows them")
        freed = 0
        with self._guarded(run_id):
            for path in (self.root / run_id, self.root / f"{run_id}.partial"):
                if path.is_dir():
                    freed += Run(path).size
                    # Renamed first: a kill in the middle leaves no incomplete run under a run's name.
                    doomed = Path(tempfile.mkdtemp(prefix=f"{run_id}.removed-", dir=self.root))
                    os.replace(path, doomed)
            for doomed in self.root.glob(f"{run_id}.removed-*"):
                shutil.rmtree(doomed, ignore_errors=True)
        return freed

    @staticmethod
    def _may_make(path: Path) -> None:
        if not _making.get():
            raise NotStored(path)

    @contextmanager
    def _guarded(self, name: str) -> Iterator[None]:
        """Hold the lock of a run or table, and turn a full or read-only disk into an InputError."""
        try:
            with FileLock(self._locks / f"{name}.lock"):
                yield
        except InputError:
            raise
        except Exception as error:
            if outputs.is_full(error) or shutil.disk_usage(self.root).free < 2**20:
                raise InputError(
                    f"{self.root}: no room to write ({first_line(error)}); free some space or set WORKBENCH_RUNS"
                ) from error
            if isinstance(error, PermissionError):
                raise InputError(f"{self.root}: not writable ({error.strerror}); set WORKBENCH_RUNS") from error
            raise


def record_use(**what: object) -> None:
    """Add a line to the list of what was asked for, where one is kept (RECORDING)."""
    if path := os.environ.get(RECORDING):
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(what, default=float) + "\n")


def digest(key: Any) -> str:
    """Return a hash of plain data as sixteen hex digits, the same in every process."""
    text = json.dumps(key, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _partial(path: Path) -> Path:
    return path.with_name(path.name + ".partial")


def _remove_unless_begun(partial: Path) -> None:
    """Remove a folder to work in that holds no file yet."""
    if not any(each.is_file() for each in partial.rglob("*")):
        shutil.rmtree(partial, ignore_errors=True)


def _begin(path: Path, room: int) -> bool:
    """Make the folder to work in, unless the run was finished while we waited for its lock; return whether it was."""
    damage = runs.damage(path)
    if damage is None:
        return True
    if path.exists():
        aside = _set_aside(path)
        warnings.warn(f"{path}: {damage}; moved aside to {aside.name}, making it again", Damaged, stacklevel=5)
    outputs.require_room(path.parent, room)
    _partial(path).mkdir(exist_ok=True)
    return False


def _finish(path: Path, record: dict) -> None:
    """Write the record of the files in the folder, and give it its final name."""
    partial, spec = _partial(path), record["spec"]
    record = {**record, "spec": {**spec, "base": portable_base(spec["base"])}, "date": date.today().isoformat()}
    shutil.rmtree(partial / "checkpoints", ignore_errors=True)
    text = json.dumps({**record, "files": runs.hashes(partial)}, indent=1)
    (partial / RECORD_FILE).write_text(text, encoding="utf-8")
    os.replace(partial, path)


def _time(path: Path) -> float:
    """Return when a run was finished; of one without a record, when its folder changed."""
    record = path / RECORD_FILE
    return (record if record.is_file() else path).stat().st_mtime


def _set_aside(path: Path) -> Path:
    number = 1
    while (aside := path.with_name(f"{path.name}.corrupt-{number}")).exists():
        number += 1
    os.replace(path, aside)
    return aside


def _read_table(path: Path) -> pd.DataFrame | None:
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError):
        return None
