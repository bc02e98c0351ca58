"""Publish what a notebook measured, and train published runs again to see whether they come out the same.

Publishing executes the notebook without the published results, notes what it asks the run store for, and writes all of it but the
weights to `data/results/` (:mod:`workbench.published`). Replicating executes it with some of the runs counted as not published.
"""

import json
import os
import random
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import date
from pathlib import Path

import pandas as pd

from workbench import environment, outputs, published, recipes
from workbench.errors import InputError, counted, known_names
from workbench.experiments import claims, notebooks, parameters, replication
from workbench.published import LOG, RETRAIN, Archive
from workbench.store import RECORDING, Store

RUN_COLUMNS = ["run", "method", "seed", "epochs", "rows", "steps", "tokens", "seconds", "cpu", "date", "record"]


def publish(
    name: str, profile: str | None = None, folder: Path | None = None, settings: Mapping[str, object] | None = None
) -> tuple[Path, Path]:
    """Execute a notebook with runs of this store alone, and publish what it measured and the verdicts on its claims.

    Args:
        name: notebook, as :func:`workbench.experiments.notebooks.find_notebook` takes it.
        profile: None leaves it to the notebook.
        settings: parameters to override; they are kept with the results.

    Returns:
        The file of results, and the executed notebook.

    Raises:
        InputError: the notebook is unknown or a fork, or a cell failed; what was trained is kept, and a second call goes on from there.
    """
    path = notebooks.find_notebook(name)
    if path.parent != environment.ROOT / "notebooks":
        raise InputError(f"{path}: only notebooks of the series are published, and this one is a fork or another file")
    given = parameters.read_parameters(notebooks.read_notebook(path))
    profile, settings = profile or given.get("profile", "pocket"), dict(settings or {})
    with tempfile.TemporaryDirectory() as temporary:
        recording = Path(temporary) / "recording"
        with _variables(WORKBENCH_FRESH="1", **{RECORDING: str(recording)}):
            (outcome,) = notebooks.run_notebooks([str(path)], profile, settings=settings)
        if outcome.error:
            raise InputError(f"{path.stem}: {outcome.error}; what was trained is kept")
        asked = [json.loads(line) for line in recording.read_text(encoding="utf-8").splitlines()]
    folder = folder or published.FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    about = {"notebook": path.stem, "profile": profile, "commit": notebooks.commit(), "date": date.today().isoformat(),
             "recipes": recipes.ALL, "environment": environment.describe(),
             "settings": settings, "claims": claims.read_claims(outcome.path)}  # fmt: skip
    target = folder / f"{path.stem}-{profile}.zip"
    content = published.pack(about, *collect(asked, Store()))
    return outputs.write_file(target, content, replace=True), outcome.path


def collect(asked: Sequence[dict], store: Store) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, list]]:
    """Return runs, cells and tables (see :func:`workbench.published.pack`) of what was asked for, from a run store."""
    used = list(dict.fromkeys(each["run"] for each in asked if each.get("run")))
    runs, tables = [], {}
    for each in used:
        run = store.run(each)
        record = {key: value for key, value in run.record.items() if key not in ("files", "findings")}
        of, spec = record["environment"], record["spec"]
        measured = {name: record["scores"].get(name) for name in ("rows", "steps", "tokens")}
        runs.append({"run": each, "method": each.split("-")[0], "seed": spec["seed"], "epochs": _passes(spec), **measured,
                     "seconds": of["seconds"], "cpu": of["cpu"], "date": record["date"], "record": json.dumps(record)})  # fmt: skip
        tables.setdefault(f"{LOG}-{runs[-1]['method']}", []).append((each, LOG, run.log))
    for run, table in dict.fromkeys((each["run"], each["table"]) for each in asked if "table" in each):
        folder = store.root / run / "tables"  # "" is no folder
        frame = pd.read_parquet(folder / f"{table}.parquet")
        tables.setdefault(published.table_name(table), []).append((run, table, frame))
    cells = {json.dumps(each, sort_keys=True): each for each in asked if "cell" in each}.values()
    cells = [{"run": each["cell"], "seed": each["seed"], **each["labels"]} for each in cells]
    return (
        pd.DataFrame(runs, columns=RUN_COLUMNS),
        _plain(pd.DataFrame(cells, columns=None if cells else ["run", "seed"])),
        tables,
    )


def _passes(spec: dict) -> float | None:
    """Return the passes over the rows that a spec plans; None where a budget of steps or tokens ends the training."""
    return None if spec["max_steps"] or spec.get("max_tokens") else float(spec["epochs"])


def _plain(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table with columns that Parquet takes: one that mixes types becomes text."""
    mixed = [name for name in table if len({type(value) for value in table[name].dropna()}) > 1]
    return table.astype(dict.fromkeys(mixed, "string"))


def summary(folder: Path | None = None) -> pd.DataFrame:
    """Return one row per file of published results, damaged ones included.

    Returns:
        Columns file, state ("current", "stale", "damaged"), date, commit, runs, tables, minutes of training, MB, and problem: what is wrong
        with a file and the fix, "" where nothing is. Of a damaged file all but file, state and problem is missing.
    """
    rows = []
    for archive in published.in_folder(folder):
        try:
            published.require_whole(archive)
            problem = published.why_stale(archive)
            row = {"state": "stale" if problem else "current", **_measures(archive), "problem": problem}
        except InputError as error:
            row = {"state": "damaged", "problem": str(error)}
        rows.append({"file": archive.path.stem, **row})
    return pd.DataFrame(rows, columns=["file", "state", "date", "commit", "runs", "tables", "minutes", "MB", "problem"])


def _measures(archive: Archive) -> dict:
    about, runs = archive.about, archive.runs
    tables = sum(map(len, about["tables"].values())) - len(runs)
    minutes = runs["seconds"].sum() / 60 if len(runs) else 0.0
    sizes = {"runs": len(runs), "tables": tables, "minutes": minutes, "MB": archive.path.stat().st_size / 1e6}
    return {"date": about["date"], "commit": about["commit"], **sizes}


def find_archive(name: str, folder: Path | None = None) -> Archive:
    """Return the archive whose file name begins with `name`. Raises InputError for none or several."""
    known = {archive.path.stem: archive for archive in published.in_folder(folder)}
    found = [known[name]] if name in known else [archive for stem, archive in known.items() if stem.startswith(name)]
    if len(found) != 1 or not name:
        raise InputError(
            f"{name!r} begins the name of {counted(len(found), 'file')} of published results{known_names(name, known)}"
        )
    return found[0]


def draw(
    cells: int, seed: str, names: Iterable[str] = (), folder: Path | None = None, seconds: float | None = None
) -> tuple[dict[Archive, list[str]], int]:
    """Draw published runs to train again: file → ids, and how many runs the limit left out.

    Args:
        cells: how many to draw; tables of base models, which have no run, are drawn like runs.
        seed: of the draw; any text, in CI the commit.
        names: beginnings of file names to draw from; none means all of the profile "pocket", which needs no other base model.
        seconds: the longest training that is drawn, together with the runs that it continues or learns from, as they are recorded; None: any.

    Raises:
        InputError: there are no published results, results are stale, or every run takes longer.
    """
    archives = [find_archive(name, folder) for name in names]
    archives = archives or [each for each in published.in_folder(folder) if each.about["profile"] == "pocket"]
    for archive in archives:
        published.require_current(archive)
    owners, too_long = {}, set()
    for archive in archives:
        known = archive.runs.set_index("run")["seconds"]
        measured = [run for run in known.index if archive.tables_of(run)]
        if seconds is not None:
            too_long |= {run for run in measured if known[[*_with_starts(archive, run)]].sum() > seconds}
        for each in [*measured, *(table for table in archive.tables_of("") if table.startswith("base-"))]:
            if each not in too_long:
                owners.setdefault(each, archive)
    if too_long and not owners:
        raise InputError(
            f"all {counted(len(too_long), 'published training')} took more than {seconds:g} seconds; raise the limit"
        )
    if not owners:
        raise InputError(
            f"{folder or published.FOLDER}: no published results; make them with `workbench results publish NOTEBOOK`"
        )
    drawn = {}
    for each in random.Random(seed).sample(sorted(owners), min(cells, len(owners))):
        drawn.setdefault(owners[each], []).append(each)
    return drawn, len(too_long)


def _with_starts(archive: Archive, run: str) -> set[str]:
    """Return a run and the runs whose weights its training needs: the one that it continues, reward models, and theirs in turn."""
    spec, known = archive.record(run)["spec"], {*archive.runs["run"]}
    used = known & {spec.get("sft"), spec.get("reward"), *spec.get("watch", ())}
    return {run}.union(*(_with_starts(archive, each) for each in used))


def verify(drawn: Mapping[Archive, Sequence[str]]) -> pd.DataFrame:
    """Train drawn runs again, score them, and compare: one row per run and table (see :mod:`workbench.experiments.replication`).

    The notebooks that hold them are executed once more, so that data, training and scoring are those of the reader.

    Raises:
        InputError: a notebook failed.
    """
    with tempfile.TemporaryDirectory() as temporary:
        store = _store_without(Path(temporary) / "runs", {each for chosen in drawn.values() for each in chosen})
        for archive, chosen in drawn.items():
            # one notebook at a time: each has cells of its own to train, which run side by side
            with _variables(WORKBENCH_RUNS=str(store.root), **{RETRAIN: ",".join(chosen)}, WORKBENCH_FRESH=None):
                about = archive.about
                (outcome,) = notebooks.run_notebooks(
                    [about["notebook"]], about["profile"], out=temporary, settings=about.get("settings")
                )
            if outcome.error:
                raise InputError(f"{outcome.name}: {outcome.error}")
        found = [replication.compare(archive, each, store) for archive, chosen in drawn.items() for each in chosen]
    return pd.concat(found, ignore_index=True)


def _store_without(root: Path, left_out: set[str]) -> Store:
    """Return a new store that links the runs of the default one, but those left out."""
    store = Store(root)
    for run in Store().runs():
        if run.id not in left_out:
            with suppress(FileExistsError):
                (root / run.id).symlink_to(run.path)
    return store


@contextmanager
def _variables(**values: str | None) -> Iterator[None]:
    """Set environment variables, which notebooks and workers inherit; None removes one."""
    before = {name: os.environ.get(name) for name in values}
    _set(values)
    try:
        yield
    finally:
        _set(before)


def _set(values: dict[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
