"""Store runs and tables: each training is identified by all of its inputs, done once, and found again.

A run is a folder named by a hash of its inputs. It is written under the name ``ID.partial``, under a file lock, and gets its final name
by one rename when everything is written: a folder without ``.partial`` is complete. Its ``run.json`` lists every file with its hash, so
that damage is noticed.
"""

import errno
import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock

from workbench import distributed
from workbench.environment import ROOT, located_base, portable_base
from workbench.errors import InputError

RECORD_FILE = "run.json"
ROWS_FILE = "rows.parquet"  # training rows of a run, as TRL got them
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)


class NotStored(Exception):
    """The result is not in the store, and :func:`only_stored` forbids making it."""


class Damaged(UserWarning):
    """A run or table in the store was damaged and has been moved aside."""


_making = ContextVar("whether results that are not stored are made", default=True)


@contextmanager
def only_stored() -> Iterator[None]:
    """Make stores raise :class:`NotStored` instead of making a result, so that a caller finds out what is left to do."""
    before = _making.set(False)
    try:
        yield
    finally:
        _making.reset(before)


@dataclass(frozen=True)
class Run:
    """A finished run: a folder with ``run.json``, ``log.csv``, ``rows.parquet``, ``adapter/`` and, later, ``tables/``."""

    path: Path

    @property
    def id(self) -> str:
        """Name of the run: its method and a hash of its inputs."""
        return self.path.name

    @cached_property
    def record(self) -> dict:
        """Contents of ``run.json``: spec, environment, scores, key, files."""
        return json.loads((self.path / RECORD_FILE).read_text(encoding="utf-8"))

    @property
    def spec(self) -> dict:
        """Fields of its spec; a base in this repository is an absolute path."""
        spec = self.record["spec"]
        return {**spec, "base": located_base(spec["base"])}

    @property
    def environment(self) -> dict:
        """Python, platform, CPU, GPU, threads, library versions, seconds of training."""
        return self.record["environment"]

    @property
    def scores(self) -> dict:
        """Measurements of the training: rows, tokens, final loss, held-out loss before and after (nats per token)."""
        return self.record["scores"]

    @property
    def log(self) -> pd.DataFrame:
        """Training log, one row per logged step: step, epoch, loss (nats per token), learning_rate, grad_norm, seconds, …"""
        return pd.read_csv(self.path / "log.csv")

    @property
    def adapter(self) -> Path:
        """Folder with the adapter (or the whole model, for method "full") and the tokenizer with its chat template."""
        return self.path / "adapter"

    @property
    def size(self) -> int:
        """Size in bytes on disk."""
        return sum(path.stat().st_size for path in self.path.rglob("*") if path.is_file())


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

    def obtain(self, name: str, key: Any, make: Callable[[Path], dict]) -> Run:
        """Return the run with this key; make it first if it is not stored.

        A process that asks for a run which another one is making waits for it. After a kill, `make` finds its folder as it was left.
        Processes that train together (see :mod:`workbench.distributed`) all call `make`; the first one does the rest.

        Args:
            name: first word of the run's id, for people.
            key: plain data that identifies everything the result depends on.
            make: gets the folder to work in, and returns the record: spec, environment, scores. The subfolder ``checkpoints`` is
                deleted afterwards.

        Raises:
            InputError: the disk is full or not writable. What is already written is kept.
        """
        path = self.root / f"{name}-{digest(key)}"
        if distributed.on_main_process(lambda: _damage(path) is None):
            return Run(path)
        self._may_make(path)
        with self._guarded(path.name) if distributed.is_main_process() else nullcontext():
            if not distributed.on_main_process(lambda: _begin(path)):
                record = make(_partial(path))
                distributed.on_main_process(lambda: _finish(path, {**record, "key": key}))
        return Run(path)

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
        if path.exists() and (table := _read_table(path)) is not None:
            return table
        self._may_make(path)
        with self._guarded(path.stem):
            if path.exists():
                table = _read_table(path)
                if table is not None:
                    return table
                _set_aside(path, "unreadable")
            folder.mkdir(exist_ok=True)
            table = make()
            writing = path.with_name(path.name + ".writing")
            table.to_parquet(writing, index=False)
            os.replace(writing, path)
        return _read_table(path)

    def runs(self) -> list[Run]:
        """Return the finished runs, the newest last."""
        found = [path for path in self.root.iterdir() if (path / RECORD_FILE).is_file() and "." not in path.name]
        return [Run(path) for path in sorted(found, key=lambda path: (path / RECORD_FILE).stat().st_mtime)]

    def unfinished(self) -> list[str]:
        """Return the ids of unfinished runs; the next call with the same spec resumes them."""
        return sorted(path.stem for path in self.root.glob("*.partial"))

    def remove(self, run_id: str) -> int:
        """Delete a run, finished or not, with its tables, and return the number of bytes freed.

        Raises:
            InputError: there is no such run.
        """
        if run_id not in {*(run.id for run in self.runs()), *self.unfinished()}:
            raise InputError(f"{run_id}: no such run in {self.root}; `workbench runs list` shows them")
        freed, doomed = 0, self.root / f"{run_id}.removed"
        with self._guarded(run_id):
            for path in (self.root / run_id, self.root / f"{run_id}.partial"):
                shutil.rmtree(doomed, ignore_errors=True)
                if path.is_dir():
                    freed += Run(path).size
                    # Renamed first: a kill in the middle leaves no incomplete run under a run's name.
                    os.replace(path, doomed)
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
            # torch and safetensors raise errors of their own for a full disk, so the free space is checked as well
            full = isinstance(error, OSError) and error.errno in NO_ROOM
            if full or shutil.disk_usage(self.root).free < 2**20:
                raise InputError(
                    f"{self.root}: no room to write ({str(error).splitlines()[0]}); free some space or set WORKBENCH_RUNS"
                ) from error
            if isinstance(error, PermissionError):
                raise InputError(f"{self.root}: not writable ({error.strerror}); set WORKBENCH_RUNS") from error
            raise


def digest(key: Any) -> str:
    """Return a hash of plain data as sixteen hex digits, the same in every process."""
    text = json.dumps(key, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _partial(path: Path) -> Path:
    return path.with_name(path.name + ".partial")


def _begin(path: Path) -> bool:
    """Make the folder to work in, unless the run was finished while we waited for its lock; return whether it was."""
    damage = _damage(path)
    if damage is None:
        return True
    if path.exists():
        _set_aside(path, damage)
    _partial(path).mkdir(exist_ok=True)
    return False


def _finish(path: Path, record: dict) -> None:
    """Write the record of the files in the folder, and give it its final name."""
    partial, spec = _partial(path), record["spec"]
    record = {**record, "spec": {**spec, "base": portable_base(spec["base"])}}
    shutil.rmtree(partial / "checkpoints", ignore_errors=True)
    files = {str(file.relative_to(partial)): _hash(file) for file in _files(partial)}
    (partial / RECORD_FILE).write_text(json.dumps({**record, "files": files}, indent=1), encoding="utf-8")
    os.replace(partial, path)


def _files(folder: Path) -> list[Path]:
    """Return the files whose hashes are recorded: all but the record itself and the tables, which are added later."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path for path in files if path.relative_to(folder).parts[0] not in (RECORD_FILE, "tables"))


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _damage(path: Path) -> str | None:
    """Return what is wrong with a finished run, or None."""
    try:
        files = json.loads((path / RECORD_FILE).read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return f"no readable {RECORD_FILE}"
    for name, expected in files.items():
        if not (path / name).is_file():
            return f"{name} is missing"
        if _hash(path / name) != expected:
            return f"{name} has changed"
    return None


def _set_aside(path: Path, damage: str) -> None:
    number = 1
    while (aside := path.with_name(f"{path.name}.corrupt-{number}")).exists():
        number += 1
    os.replace(path, aside)
    warnings.warn(f"{path}: {damage}; moved aside to {aside.name}, making it again", Damaged, stacklevel=4)


def _read_table(path: Path) -> pd.DataFrame | None:
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError):
        return None
