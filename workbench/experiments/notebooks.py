"""Find, run and fork notebooks, with parameters that are checked before anything is executed."""

import multiprocessing
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import nbformat
import papermill
import psutil
from joblib import cpu_count
from nbformat import NotebookNode
from papermill.exceptions import PapermillExecutionError
from tqdm.std import tqdm
from traitlets.config import Config

from workbench import environment, outputs, profiles
from workbench.errors import InputError, first_line, known_names
from workbench.experiments import parameters, workload
from workbench.parallel import end_with_parent

FORK = "workbench_fork"  # key of a fork's origin in the notebook's metadata


@dataclass(frozen=True)
class Outcome:
    """One executed notebook."""

    name: str
    path: Path
    """The notebook with its outputs."""
    seconds: float
    error: str
    """Empty, or one line that says which cell failed and why."""


def all_notebooks() -> dict[str, Path]:
    """Return the path of every notebook by name: the series in notebooks/, then the forks in notebooks/forks/."""
    folder = environment.ROOT / "notebooks"
    return {path.stem: path for path in [*sorted(folder.glob("*.ipynb")), *sorted((folder / "forks").glob("*.ipynb"))]}


def find_notebook(name: str) -> Path:
    """Return the path of a notebook, given its name, its path, or an unambiguous beginning of its name ("02").

    Raises:
        InputError: no such notebook; the message has the nearest name and the known ones.
    """
    if Path(name).suffix == ".ipynb" and Path(name).is_file():
        return Path(name).resolve()
    every = all_notebooks()
    beginning = [key for key in every if key.startswith(name)]
    if name in every or len(beginning) == 1:
        return every[name if name in every else beginning[0]]
    raise InputError(f"no notebook {name!r}{known_names(name, every)}")


def read_notebook(path: Path) -> NotebookNode:
    """Return the notebook at `path`.

    Raises:
        InputError: the file cannot be read or is not a notebook.
    """
    try:
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
        return notebook
    except Exception as error:  # nbformat takes the file apart before it validates it: any type can be raised
        raise InputError(f"{path}: not a readable notebook ({first_line(error)})") from None


def run_notebooks(
    names: Iterable[str] = (),
    profile: str | None = None,
    out: Path | str = "build/notebooks",
    settings: Mapping[str, object] | None = None,
) -> Iterator[Outcome]:
    """Execute notebooks top to bottom in fresh kernels, and yield each as it ends; one that fails does not stop the others.

    Before a notebook trains, the terminal says how many trainings it has left to do, and about how long they take.
    Two run at a time where the profile trains several models at a time and memory allows: much of a notebook uses one core only. All
    arguments are checked before anything is executed.

    Args:
        names: notebooks or forks; none means the whole series.
        profile: None leaves it to the notebook ("pocket" in the series).
        out: folder for executed notebooks of the series; a fork is executed in place.
        settings: parameters to override.

    Raises:
        InputError: a notebook, profile or parameter is unknown, or a value has another type.
    """
    wanted = dict(settings or {})
    if profile is not None:
        wanted["profile"] = profiles.get(profile).name
    series = (environment.ROOT / "notebooks").glob("*.ipynb")
    paths = [find_notebook(name) for name in names] or sorted(series)
    if not paths:
        raise InputError(f"{environment.ROOT / 'notebooks'}: no notebooks to run")
    jobs, chosen = [], set()
    for path in paths:
        notebook = read_notebook(path)
        given = parameters.read_parameters(notebook)
        values = parameters.check_settings(notebook, path.stem, wanted)
        jobs.append((path, {k: v for k, v in values.items() if v != given[k]}, environment.ROOT / out))
        chosen.add((given | values).get("profile", "pocket"))
    needs = [profiles.get(name) for name in chosen]
    together = min(at_once(max(p.worker_bytes for p in needs)), len(jobs), *(p.parallel for p in needs))
    return _in_processes(jobs, together)


def at_once(worker_bytes: float = profiles.WORKER_BYTES) -> int:
    """Return how many notebooks to execute at a time: two where memory allows it, with one worker process per core each, else one."""
    return 2 if psutil.virtual_memory().available >= 2 * (cpu_count() + 1) * worker_bytes else 1


def _in_processes(jobs: list[tuple], together: int) -> Iterator[Outcome]:
    """Execute jobs in processes, `together` at a time, which end with this one, however it ends: a kernel outlives whoever is killed.

    Ctrl-C reaches all of them: each ends its kernel, and no further job starts.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        together, context, _begin, (context.RLock(), profiles.threads_per_worker(together) if together > 1 else None)
    ) as pool:
        try:
            for done in as_completed([pool.submit(_execute, *job) for job in jobs]):
                yield done.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _begin(lock, threads: int | None) -> None:
    """Prepare a worker process: a terminal line of its own, an end when its parent ends, and its share of the cores for its kernels.

    Two kernels with as many threads as cores each wait for each other: short replies took two to forty times as long.
    """
    tqdm.set_lock(lock)
    if threads:
        os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    end_with_parent()


class _Terminal:
    """Take what a notebook prints, as papermill passes it on, and show in the terminal what is left to train."""

    def __init__(self, name: str):
        self.name = name

    def write(self, text: str) -> None:
        for line in filter(workload.LEFT.fullmatch, text.splitlines()):
            tqdm.write(f"{self.name}: {line}")  # above the bars

    def flush(self) -> None:
        sys.stdout.flush()


def _execute(path: Path, changed: dict[str, object], out: Path) -> Outcome:
    line = (*multiprocessing.current_process()._identity, 1)[0] - 1  # of the terminal; 0 in the main process
    target = path if FORK in read_notebook(path).metadata else out / path.name
    target.parent.mkdir(parents=True, exist_ok=True)
    start, error = time.monotonic(), ""
    try:
        with tempfile.TemporaryDirectory() as sockets:
            papermill.execute_notebook(
                str(path),
                str(target),
                parameters=changed,
                kernel_name="python3",
                cwd=str(path.parent),  # as in JupyterLab and nbval
                config=_addresses(sockets),
                # A kernel warns about unencrypted local traffic, and sometimes logs the interrupt that ends it as an error.
                extra_arguments=["--log-level=CRITICAL"],
                stdout_file=_Terminal(path.stem),
                progress_bar={"desc": path.stem, "position": line, "leave": False} if sys.stderr.isatty() else False,
            )
    except PapermillExecutionError as stop:
        error = f"cell [{stop.exec_count}]: {stop.ename}: {stop.evalue.strip().splitlines()[0] if stop.evalue else ''}"
    return Outcome(path.stem, target, time.monotonic() - start, error)


def _addresses(folder: str) -> Config:
    """Return the settings of a kernel that listens on files of a folder: a port is chosen first and taken later, by whichever kernel is first."""
    if os.name != "posix":
        return Config()
    return Config(KernelManager={"transport": "ipc", "ip": str(Path(folder) / "kernel")})


def fork_notebook(name: str, to: str, settings: Mapping[str, object]) -> Path:
    """Write notebooks/forks/TO.ipynb: the notebook with other parameters, without outputs.

    The values are changed in the parameters cell itself, so that the fork reads and is edited like any notebook. Its origin (notebook,
    commit, settings) is recorded in its metadata and in its first line.

    Raises:
        InputError: the notebook or a parameter is unknown, a value has another type, or the name is taken or not allowed.
    """
    path = find_notebook(name)
    notebook = read_notebook(path)
    values = parameters.check_settings(notebook, path.stem, settings)
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", to):
        raise InputError(f"fork name {to!r}: use letters, digits, '-', '_' and '.'")
    target = environment.ROOT / "notebooks" / "forks" / f"{to}.ipynb"
    if to in all_notebooks():
        raise InputError(
            f"a notebook {to!r} exists already ({all_notebooks()[to]}); choose another name or delete that file"
        )
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    cell = parameters.parameters_cell(notebook)
    if cell is not None:
        cell.source = parameters.rewrite(cell.source, values)
    commit_now = commit()
    notebook.metadata[FORK] = {"from": path.stem, "commit": commit_now, "settings": values}
    changes = ", ".join(f"`{key} = {value!r}`" for key, value in values.items()) or "nothing changed yet"
    line = nbformat.v4.new_markdown_cell(f"> Forked from **{path.stem}** at commit {commit_now}: {changes}.")
    notebook.cells.insert(0, line)
    target.parent.mkdir(exist_ok=True)
    return outputs.write_file(target, nbformat.writes(notebook) + "\n")


def commit() -> str:
    """Return the short hash of the checked-out commit, and whether files but published results have changed since; "unknown" without git."""
    git = ["git", "-C", str(environment.ROOT)]
    try:
        commit = subprocess.run(
            [*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
        ).stdout
        changed = subprocess.run(
            [*git, "status", "--porcelain", "-uno", "--", ":!data/results"], capture_output=True, text=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return commit.strip() + (" with changes" if changed.strip() else "")
