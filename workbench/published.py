"""Read published results: what a notebook measured, without weights, in one zip of Parquet tables per notebook and profile.

`data/results/README.md` describes the tables. An :class:`Archive` gives back what the run store had: the record and log of each run, and
the tables of scores, to the letter.
"""

import json
import os
import zipfile
import zlib
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path

import pandas as pd

from workbench import recipes
from workbench.environment import ROOT
from workbench.errors import InputError, first_line

FOLDER = ROOT / "data" / "results"
USED = (
    "WORKBENCH_RESULTS"  # environment variable with the folder that the stores of this process and of its workers read
)
RETRAIN = "WORKBENCH_RETRAIN"  # ids, separated by commas, that count as not published: `workbench results verify` makes them anew

ABOUT, RUNS, CELLS, LOG = "about.json", "runs", "cells", "log"
# what a file that is cut, altered or something else raises
UNREADABLE = (OSError, ValueError, KeyError, TypeError, EOFError, RuntimeError, zlib.error, zipfile.BadZipFile)
OWN = ("run", "table")  # columns in front of those that a stored table had


@dataclass(frozen=True)
class Archive:
    """One file of published results."""

    path: Path

    @property
    def about(self) -> dict:
        """What the file says of itself: notebook, profile, recipes, commit, date, and `tables`, the (run, table) pairs of each member."""
        return _about(self.path)

    @property
    def runs(self) -> pd.DataFrame:
        """One row per training: run (its id), method, seed, date, seconds, tokens, cpu, record (JSON)."""
        return _member(self.path, RUNS)

    @property
    def cells(self) -> pd.DataFrame:
        """One row per cell of a grid: run, seed, and the labels of the cell."""
        return _member(self.path, CELLS)

    def record(self, run: str) -> dict:
        """Return the record of a run: spec, environment, scores, key."""
        return json.loads(self.runs.set_index("run").at[run, "record"])

    def tables_of(self, run: str) -> list[str]:
        """Return the ids of the tables of a run; of base models and pairs with "" as the run."""
        return [table for found, table in _index(self.path) if found == run and table != LOG]

    def table(self, run: str, table: str = LOG) -> pd.DataFrame:
        """Return a table as the store had it, by default the training log of the run."""
        name = _index(self.path)[run, table]
        return _parts(self.path, name)[run, table].drop(columns=[*OWN]).reset_index(drop=True)


def in_folder(folder: Path | None = None) -> list[Archive]:
    """Return the archives of a folder, by default data/results, by name."""
    return [Archive(path) for path in sorted((folder or FOLDER).glob("*.zip"))]


def in_use() -> list[Archive]:
    """Return the archives that stores of this process read; none unless a notebook was begun by :func:`workbench.start`."""
    folder = os.environ.get(USED)
    return _listed(folder) if folder else []


@cache
def _listed(folder: str) -> list[Archive]:
    """Return the archives of the folder in use, listed once: those that :func:`use` has checked."""
    return in_folder(Path(folder))


def use(folder: Path | None) -> None:
    """Let the stores of this process, and of its worker processes, read the published results of a folder; None: of none.

    Raises:
        InputError: a file is unreadable, or was made by code that gives other results.
    """
    os.environ.pop(USED, None)
    _listed.cache_clear()
    if folder is None:
        return
    for archive in _listed(str(folder)):
        require_current(archive)
    os.environ[USED] = str(folder)


def require_current(archive: Archive) -> None:
    """Raise InputError where published results were made by code that gives other results."""
    if stale := why_stale(archive):
        raise InputError(f"{stale}, or set fresh = True in the notebook")


def why_stale(archive: Archive) -> str:
    """Return which code made published results that is not today's, and the command that makes them anew; "" where they are current."""
    about, now = archive.about, recipes.ALL
    # What it was made with; a recipe that is younger than the archive says nothing of its results.
    made = about["recipes"].items()
    old = [f"{name} {number}, now {now.get(name)}" for name, number in made if now.get(name) != number]
    command = publish_command(about)
    return (
        f"{archive.path}: stale, made by older code (recipe of {'; '.join(old)}); make it anew with `{command}`"
        if old
        else ""
    )


def publish_command(about: dict) -> str:
    """Return the command that makes published results anew, from what they say of themselves."""
    changed = (f" --set {name}='{value}'" for name, value in about.get("settings", {}).items())
    return f"workbench results publish {about['notebook']} --profile {about['profile']}{''.join(changed)}"


def require_whole(archive: Archive) -> None:
    """Raise InputError where a file of published results is damaged; all of it is read."""
    try:
        members = {f"{name}.parquet" for name in (RUNS, CELLS, *archive.about["tables"])}
        with zipfile.ZipFile(archive.path) as file:
            altered, missing = file.testzip(), members - {*file.namelist()}
    except UNREADABLE as error:
        raise InputError(f"{archive.path}: damaged ({first_line(error)}); git restores it") from error
    if altered or missing:
        wrong = f"{altered} has changed" if altered else f"{min(missing)} is missing"
        raise InputError(f"{archive.path}: damaged ({wrong}); git restores it")


def table_name(table: str) -> str:
    """Return the first word of the id of a stored table, without the key behind it: "base-plain" of "base-plain-0123456789abcdef"."""
    return table.rpartition("-")[0]


def find_run(run: str) -> Archive | None:
    """Return the archive that this process reads a run from, if there is one."""
    return None if run in _retrained() else next((each for each in in_use() if (run, LOG) in _index(each.path)), None)


def find_table(run: str, table: str) -> pd.DataFrame | None:
    """Return a published table of a run, or of no run (""), if there is one."""
    if {run, table} & _retrained():
        return None
    return next((each.table(run, table) for each in in_use() if (run, table) in _index(each.path)), None)


def _retrained() -> set[str]:
    return set(os.environ.get(RETRAIN, "").split(",")) - {""}


@cache
def _about(path: Path) -> dict:
    try:
        with zipfile.ZipFile(path) as file:
            about = json.loads(file.read(ABOUT))
        if missing := {"notebook", "profile", "recipes", "tables", "environment", "date", "commit"} - {*about}:
            raise ValueError(f"{ABOUT} lacks {', '.join(sorted(missing))}")
        if wrong := [name for name in ("recipes", "tables") if not isinstance(about[name], dict)]:
            raise ValueError(f"{wrong[0]} of {ABOUT} is not an object")
        return about
    except UNREADABLE as error:
        raise InputError(f"{path}: not a file of published results ({first_line(error)}); git restores it") from error


@cache
def _index(path: Path) -> dict[tuple[str, str], str]:
    """Return (run, table) → the member that holds it."""
    return {(run, table): name for name, tables in _about(path)["tables"].items() for run, table in tables}


@cache
def _member(path: Path, name: str) -> pd.DataFrame:
    try:
        with zipfile.ZipFile(path) as file:
            return pd.read_parquet(BytesIO(file.read(f"{name}.parquet")))
    except UNREADABLE as error:
        raise InputError(f"{path}: damaged ({name}.parquet: {first_line(error)}); git restores it") from error


@cache
def _parts(path: Path, name: str) -> dict[tuple[str, str], pd.DataFrame]:
    return dict(iter(_member(path, name).groupby([*OWN], sort=False)))


def pack(about: dict, runs: pd.DataFrame, cells: pd.DataFrame, tables: dict[str, list]) -> bytes:
    """Return the content of a file of published results.

    Args:
        tables: name → list of (run, table, data frame); frames of other columns or types than the first get a member of their own.
    """
    members, index = {RUNS: runs, CELLS: cells}, {}
    for name, frames in tables.items():
        like: dict[str, list] = {}
        for each in frames:
            like.setdefault(str(each[2].dtypes.to_dict()), []).append(each)
        for number, alike in enumerate(like.values(), 1):
            member = name if number == 1 else f"{name}-{number}"
            index[member] = [[run, table] for run, table, _ in alike]
            stacked = pd.concat([frame.assign(run=run, table=table) for run, table, frame in alike], ignore_index=True)
            members[member] = stacked[[*OWN, *(column for column in stacked if column not in OWN)]]
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as file:
        _add(file, ABOUT, json.dumps({**about, "tables": index}, indent=1).encode())
        for name, frame in members.items():
            buffer = BytesIO()
            frame.to_parquet(buffer, index=False, compression="zstd", compression_level=19)
            _add(file, f"{name}.parquet", buffer.getvalue())
    return packed.getvalue()


def _add(file: zipfile.ZipFile, name: str, content: bytes) -> None:
    """Add a member with a fixed time, so that equal results are equal files."""
    file.writestr(zipfile.ZipInfo(name, (2000, 1, 1, 0, 0, 0)), content)
