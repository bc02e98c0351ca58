"""The run store: a training is named by what went into it, done once, kept whole, and found again at once.

A run is a folder named by a hash of its ingredients. It is worked on under the name ``ID.partial``, under a file lock, and gets
its own name by one rename when all is written: a folder without ``.partial`` is complete. ``run.json`` inside lists every file
with its hash, so that damage is seen when the run is opened.
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


ROWS_FILE = "rows.parquet"  # of a run: what it was trained on, as TRL was given it


NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)


class NotStored(Exception):
    """What was asked for is not in the store, and :func:`only_stored` forbids to make it."""


class Damaged(UserWarning):
    """A run or table in the store was damaged, and was moved aside."""


_making = ContextVar("whether what is not kept is made", default=True)


@contextmanager
def only_stored() -> Iterator[None]:
    """Within it a store makes nothing: what it does not hold raises :class:`NotKept`. So a caller finds out what is left to do."""
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
        """Name of the run: its method and a hash of all that went into it."""
        return self.path.name

    @cached_property
    def record(self) -> dict:
        """All of ``run.json``: spec, environment, scores, files."""
        return json.loads((self.path / RECORD_FILE).read_text(encoding="utf-8"))

    @property
    def spec(self) -> dict:
        """Fields of the spec it was trained with; a base that lies in this repository is found there."""
        spec = self.record["spec"]
        return {**spec, "base": located_base(spec["base"])}

    @property
    def environment(self) -> dict:
        """Python, platform, CPU, library versions, threads, seconds of training, tokens trained."""
        return self.record["environment"]

    @property
    def scores(self) -> dict:
        """What was measured while training: rows, tokens, final loss, held-out loss before and after (nats a token)."""
        return self.record["scores"]

    @property
    def log(self) -> pd.DataFrame:
        """Training log, a row per logged step: step, epoch, loss (nats a token), learning_rate, grad_norm, seconds, …"""
        return pd.read_csv(self.path / "log.csv")

    @property
    def adapter(self) -> Path:
        """Folder with the adapter (or the whole model, for method "full") and the tokenizer with its chat template."""
        return self.path / "adapter"

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return sum(path.stat().st_size for path in self.path.rglob("*") if path.is_file())


class Store:
    """Runs and tables under one folder; safe for several processes at a time.

    Args:
        root: the folder; None takes the environment variable WORKBENCH_RUNS, else ``.runs`` at the root of the repository.

    Raises:
        InputError: the folder cannot be made or written.
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
        """Return the run made of ``key``, making it first where it is not there.

        A process that asks for a run another one is making waits for it. A make that was killed finds its folder as it left it.
        Processes that train together (see :mod:`workbench.distributed`) make it together: each calls `make`, the first one does the rest.

        Args:
            name: first word of the run's id, for people.
            key: plain data that names everything the result depends on.
            make: gets the folder to work in, and returns the record: spec, environment, scores. Its folder ``checkpoints``
                is deleted when it is done.

        Raises:
            InputError: no room on the disk, or not writable. What was done so far is kept.
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
        """Return the table made of ``key``, making and keeping it first where it is not there.

        Args:
            key: plain data, or a :class:`Run`, or a list that begins with one: then the table lives and dies with that run.
            name: of the table, for people.
            make: returns it, with columns that parquet can hold.
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
        """Finished runs, the newest last."""
        found = [path for path in self.root.iterdir() if (path / RECORD_FILE).is_file() and "." not in path.name]
        return [Run(path) for path in sorted(found, key=lambda path: (path / RECORD_FILE).stat().st_mtime)]

    def unfinished(self) -> list[str]:
        """Ids of runs that were begun and neither finished nor removed: the next call with the same spec goes on with them."""
        return sorted(path.stem for path in self.root.glob("*.partial"))

    def remove(self, run_id: str) -> int:
        """Delete a run, finished or not, with its tables; returns the bytes freed.

        Raises:
            InputError: no run of that name.
        """
        if run_id not in {*(run.id for run in self.runs()), *self.unfinished()}:
            raise InputError(f"{run_id}: no such run in {self.root}; `workbench runs` lists them")
        freed, doomed = 0, self.root / f"{run_id}.removed"
        with self._guarded(run_id):
            for path in (self.root / run_id, self.root / f"{run_id}.partial"):
                shutil.rmtree(doomed, ignore_errors=True)
                if path.is_dir():
                    freed += Run(path).size
                    # First out of sight by one rename: a kill in the middle leaves no half run under a run's name.
                    os.replace(path, doomed)
            shutil.rmtree(doomed, ignore_errors=True)
        return freed

    @staticmethod
    def _may_make(path: Path) -> None:
        if not _making.get():
            raise NotStored(path)

    @contextmanager
    def _guarded(self, name: str) -> Iterator[None]:
        """Hold the lock of one name, and turn a full or read-only disk into an InputError."""
        try:
            with FileLock(self._locks / f"{name}.lock"):
                yield
        except InputError:
            raise
        except Exception as error:
            # torch and safetensors report a full disk in errors of their own, so the disk is asked as well
            full = isinstance(error, OSError) and error.errno in NO_ROOM
            if full or shutil.disk_usage(self.root).free < 2**20:
                raise InputError(
                    f"{self.root}: no room to write ({str(error).splitlines()[0]}); free some space or set WORKBENCH_RUNS"
                ) from error
            if isinstance(error, PermissionError):
                raise InputError(f"{self.root}: not writable ({error.strerror}); set WORKBENCH_RUNS") from error
            raise


def digest(key: Any) -> str:
    """Sixteen hex digits that name plain data: equal data, equal name, in every process."""
    text = json.dumps(key, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _partial(path: Path) -> Path:
    return path.with_name(path.name + ".partial")


def _begin(path: Path) -> bool:
    """Make the folder to work in, unless the run has been finished while we waited for its lock; whether it has."""
    damage = _damage(path)
    if damage is None:
        return True
    if path.exists():
        _set_aside(path, damage)
    _partial(path).mkdir(exist_ok=True)
    return False


def _finish(path: Path, record: dict) -> None:
    """Write the record of what is in the folder, and give it its name."""
    partial, spec = _partial(path), record["spec"]
    record = {**record, "spec": {**spec, "base": portable_base(spec["base"])}}
    shutil.rmtree(partial / "checkpoints", ignore_errors=True)
    files = {str(file.relative_to(partial)): _hash(file) for file in _files(partial)}
    (partial / RECORD_FILE).write_text(json.dumps({**record, "files": files}, indent=1), encoding="utf-8")
    os.replace(partial, path)


def _files(folder: Path) -> list[Path]:
    """Files that the record vouches for: all but the record itself and the tables, which come later."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path for path in files if path.relative_to(folder).parts[0] not in (RECORD_FILE, "tables"))


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _damage(path: Path) -> str | None:
    """What is wrong with a finished run, or None."""
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
