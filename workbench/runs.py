"""Read a finished run: its record, log and adapter, after comparing its files with the hashes in the record."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pandas as pd

from workbench.environment import located_base
from workbench.errors import InputError
from workbench.published import Archive

RECORD_FILE = "run.json"
ROWS_FILE = "rows.parquet"  # training rows of a run, as TRL got them
FIELDS = ("spec", "environment", "scores", "files")  # that every record has

_intact: dict[Path, tuple] = {}


@dataclass(frozen=True)
class Run:
    """A finished run: a folder with ``run.json``, ``log.csv``, ``rows.parquet``, ``adapter/`` and, later, ``tables/``.

    Of a published run the record and the log are read from the published results; what needs its weights trains it here first.
    """

    path: Path
    published: Archive | None = field(default=None, compare=False, repr=False)
    """The published results that hold the run, where they are in use."""
    train: Callable[[], object] | None = field(default=None, compare=False, repr=False)
    """Makes the folder of a published run."""

    @property
    def id(self) -> str:
        """Name of the run: its method and a hash of its inputs."""
        return self.path.name

    def verify(self) -> None:
        """Compare the files of the run with the hashes in its record.

        Raises:
            InputError: the run is damaged.
        """
        if wrong := damage(self.path):
            raise InputError(
                f"{self.path}: the run is damaged ({wrong}); `workbench runs repair` moves it aside, then train it again"
            )

    @cached_property
    def record(self) -> dict:
        """Contents of ``run.json``: spec, environment, scores, key, files. Raises InputError where the run is damaged."""
        if self.published:
            return self.published.record(self.id)
        self.verify()
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
        return self.published.table(self.id) if self.published else pd.read_csv(self.folder() / "log.csv")

    @property
    def adapter(self) -> Path:
        """Folder with the adapter (or the whole model, for method "full") and the tokenizer with its chat template."""
        return self.folder() / "adapter"

    @property
    def rows_file(self) -> Path:
        """Parquet file with the training rows, as TRL got them; missing where a run of an earlier version kept none."""
        return self.folder() / ROWS_FILE

    def folder(self) -> Path:
        """Return the folder with the files of the run; a published run is trained here first."""
        if self.published and damage(self.path):
            print(f"{self.id}: published without its weights, so it is trained here")
            self.train()
        self.verify()
        return self.path

    @property
    def size(self) -> int:
        """Size in bytes on disk."""
        return sum(path.stat().st_size for path in self.path.rglob("*") if path.is_file())


def hashes(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file of a run but the record itself and the tables, which are added later."""
    files = (path for path in folder.rglob("*") if path.is_file())
    files = sorted(path for path in files if path.relative_to(folder).parts[0] not in (RECORD_FILE, "tables"))
    return {str(path.relative_to(folder)): file_hash(path) for path in files}


def damage(folder: Path) -> str | None:
    """Return what is wrong with a finished run, or None.

    A process hashes an intact run once, and again only where the size, time or identity of a file has changed.
    """
    try:
        record = json.loads((folder / RECORD_FILE).read_text(encoding="utf-8"))
        if missing := [field for field in FIELDS if not isinstance(record[field], dict)]:
            return f"{RECORD_FILE} has no readable {missing[0]}"
        files = record["files"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return f"no readable {RECORD_FILE}"
    state = []
    for name in (RECORD_FILE, *files):
        try:
            found = (folder / name).stat()
        except OSError:
            return f"{name} is missing"
        state.append((name, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino))
    if _intact.get(folder) == tuple(state):
        return None
    for name, expected in files.items():
        try:
            if file_hash(folder / name) != expected:
                return f"{name} has changed"
        except OSError as error:
            return f"{name} cannot be read ({error.strerror})"
    _intact[folder] = tuple(state)
    return None


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
