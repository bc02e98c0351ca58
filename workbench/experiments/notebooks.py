"""Notebooks as things to run and to fork: found by name, with parameters that are checked before anything is executed."""

import ast
import contextlib
import difflib
import multiprocessing
import os
import re
import subprocess
import sys
import threading
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

from workbench import profiles
from workbench.environment import ROOT
from workbench.errors import InputError

FORK = "workbench_fork"  # the key of a fork's provenance in the notebook's metadata


@dataclass(frozen=True)
class Outcome:
    """One executed notebook."""

    name: str
    path: Path
    """The notebook with its outputs."""
    seconds: float
    error: str
    """Empty, or one line that says which cell stopped and why."""


def all_notebooks() -> dict[str, Path]:
    """Every notebook by name: the series in notebooks/, then the forks in notebooks/forks/."""
    folder = ROOT / "notebooks"
    return {path.stem: path for path in [*sorted(folder.glob("*.ipynb")), *sorted((folder / "forks").glob("*.ipynb"))]}


def find_notebook(name: str) -> Path:
    """The path of a notebook, given its name, its path, or the beginning of its name where only one begins so ("02").

    Raises InputError with the nearest name and the known ones.
    """
    if Path(name).suffix == ".ipynb" and Path(name).is_file():
        return Path(name).resolve()
    every = all_notebooks()
    beginning = [key for key in every if key.startswith(name)]
    if name in every or len(beginning) == 1:
        return every[name if name in every else beginning[0]]
    raise InputError(f"no notebook {name!r}{_nearest(name, every)}")


def _nearest(word: str, choices: Iterable[str]) -> str:
    choices = list(choices)
    close = difflib.get_close_matches(word, choices, n=1)
    return (f"; did you mean {close[0]!r}?" if close else ";") + f" known: {', '.join(choices) or 'none'}"


def read_notebook(path: Path) -> NotebookNode:
    """The notebook at `path`. Raises InputError where the file is no notebook."""
    try:
        return nbformat.read(path, as_version=4)
    except (OSError, ValueError, nbformat.ValidationError, nbformat.reader.NotJSONError) as error:
        raise InputError(f"{path}: not a notebook that can be read ({str(error).splitlines()[0]})") from None


def _parameters_cell(notebook: NotebookNode) -> NotebookNode | None:
    return next((cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])), None)


def _assignments(source: str) -> dict[str, ast.expr]:
    """Name → expression of each `name = literal` line of a parameters cell."""
    return {
        node.targets[0].id: node.value
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }


def read_parameters(notebook: NotebookNode) -> dict[str, object]:
    """The values that the cell tagged `parameters` gives; {} where there is no such cell.

    Raises InputError where a line of the cell is no plain `name = value`.
    """
    cell = _parameters_cell(notebook)
    try:
        return (
            {} if cell is None else {key: ast.literal_eval(value) for key, value in _assignments(cell.source).items()}
        )
    except (SyntaxError, ValueError) as error:
        raise InputError(f"parameters cell: every line must be a plain `name = value` ({error})") from None


def check_settings(notebook: NotebookNode, name: str, settings: Mapping[str, object]) -> dict[str, object]:
    """`settings` as the notebook's parameters cell wants them.

    A value given as text ("[0, 0.3]") is read as Python where the parameter is not text itself; a whole number may stand
    for a float. Raises InputError for an unknown parameter (with the nearest name) and for a value of another type.
    """
    defaults = read_parameters(notebook)
    for key in settings:
        if key not in defaults:
            raise InputError(f"notebook {name} has no parameter {key!r}{_nearest(key, defaults)}")
    return {key: _like(name, key, value, defaults[key]) for key, value in settings.items()}


def _like(notebook: str, key: str, given: object, default: object) -> object:
    value = given
    if isinstance(given, str) and not isinstance(default, str):
        try:
            value = ast.literal_eval(given.capitalize() if given in ("true", "false", "none") else given)
        except (ValueError, SyntaxError):
            pass  # stays text, which the comparison of types refuses
    if isinstance(default, float) and type(value) is int:
        return float(value)
    if default is None or type(value) is type(default):
        if not (isinstance(default, list | tuple) and default):
            return value
        return type(default)(_like(notebook, key, item, default[0]) for item in value)
    kind = type(default).__name__
    raise InputError(f"notebook {notebook}, parameter {key}: {given!r} is no {kind}; give one like {default!r}")


def run_notebooks(
    names: Iterable[str] = (),
    profile: str | None = None,
    out: Path | str = "build/notebooks",
    settings: Mapping[str, object] | None = None,
) -> Iterator[Outcome]:
    """Execute notebooks top to bottom in fresh kernels; yields them as they end. A failing one stops no other.

    Two at a time where the profile trains several at a time and memory allows: much of a notebook keeps one core busy only.

    names: of notebooks or forks; none means the whole series. profile: None leaves it to the notebook ("pocket" in the
    series). A notebook of the series goes to `out`; a fork is executed in place, since its outputs are the point of it.
    Everything is checked before anything is executed.
    Raises InputError for unknown notebooks, profiles and parameters, and for values of another type.
    """
    wanted = dict(settings or {})
    if profile is not None:
        wanted["profile"] = profiles.get(profile).name
    series = (ROOT / "notebooks").glob("*.ipynb")
    paths = [find_notebook(name) for name in names] or sorted(series)
    if not paths:
        raise InputError(f"{ROOT / 'notebooks'}: no notebooks here to run")
    jobs, on = [], set()
    for path in paths:
        notebook = read_notebook(path)
        given = read_parameters(notebook)
        values = check_settings(notebook, path.stem, wanted)
        jobs.append((path, {k: v for k, v in values.items() if v != given[k]}, ROOT / out))
        on.add((given | values).get("profile", "pocket"))
    together = min(at_once(), len(jobs), *(profiles.get(name).parallel for name in on))
    return _together(jobs, together) if together > 1 else (_execute(*job) for job in jobs)


def at_once() -> int:
    """Notebooks to execute at a time: two where memory takes both, each with a worker process a core, else one."""
    return 2 if psutil.virtual_memory().available >= 2 * (cpu_count() + 1) * profiles.WORKER_BYTES else 1


def _together(jobs: list[tuple], together: int) -> Iterator[Outcome]:
    """Execute jobs in so many processes. Ctrl-C reaches all of them: each ends its kernel, and nothing more is begun."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        together, context, _begin, (context.RLock(), profiles.threads_per_worker(together))
    ) as pool:
        try:
            for done in as_completed([pool.submit(_execute, *job) for job in jobs]):
                yield done.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _begin(lock, threads: int) -> None:
    """Each process draws a line of its own on the terminal, ends with the one that began it, and gives its kernels their share of the cores.

    Two kernels with as many threads as cores each wait for each other: short replies took twice to forty times as long.
    """
    tqdm.set_lock(lock)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Whoever kills `workbench run` is not to find its kernels and their workers at work. What they have saved is gone on with."""
    multiprocessing.parent_process().join()
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
    os._exit(1)


def _execute(path: Path, changed: dict[str, object], out: Path) -> Outcome:
    line = (*multiprocessing.current_process()._identity, 1)[0] - 1  # of the terminal: 0 without processes
    target = path if FORK in read_notebook(path).metadata else out / path.name
    target.parent.mkdir(parents=True, exist_ok=True)
    start, error = time.monotonic(), ""
    try:
        papermill.execute_notebook(
            str(path),
            str(target),
            parameters=changed,
            kernel_name="python3",
            cwd=str(path.parent),  # as in JupyterLab and nbval
            # A kernel warns of local traffic without encryption, and now and then logs the interrupt that ends it as an error.
            extra_arguments=["--log-level=CRITICAL"],
            progress_bar={"desc": path.stem, "position": line, "leave": False} if sys.stderr.isatty() else False,
        )
    except PapermillExecutionError as stop:
        error = f"cell [{stop.exec_count}]: {stop.ename}: {stop.evalue.strip().splitlines()[0] if stop.evalue else ''}"
    return Outcome(path.stem, target, time.monotonic() - start, error)


def fork_notebook(name: str, to: str, settings: Mapping[str, object]) -> Path:
    """Write notebooks/forks/TO.ipynb: the notebook with other parameters, no outputs, and where it came from.

    The values are changed in the parameters cell itself, so that the fork reads and is edited like any notebook; the
    provenance (notebook, commit, settings) stands in its metadata and in its first line.
    """
    path = find_notebook(name)
    notebook = read_notebook(path)
    values = check_settings(notebook, path.stem, settings)
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", to):
        raise InputError(f"fork name {to!r}: use letters, digits, '-', '_' and '.'")
    target = ROOT / "notebooks" / "forks" / f"{to}.ipynb"
    if to in all_notebooks():
        raise InputError(
            f"a notebook {to!r} is there already ({all_notebooks()[to]}); choose another name or delete that file"
        )
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    cell = _parameters_cell(notebook)
    if cell is not None:
        cell.source = _rewritten(cell.source, values)
    commit = _commit()
    notebook.metadata[FORK] = {"from": path.stem, "commit": commit, "settings": values}
    changes = ", ".join(f"`{key} = {value!r}`" for key, value in values.items()) or "nothing changed yet"
    line = nbformat.v4.new_markdown_cell(f"> Forked from **{path.stem}** at commit {commit}: {changes}.")
    notebook.cells.insert(0, line)
    target.parent.mkdir(exist_ok=True)
    nbformat.write(notebook, target)
    return target


def _rewritten(source: str, values: Mapping[str, object]) -> str:
    """A parameters cell with other values; comments and all else stay."""
    lines = source.encode().splitlines(keepends=True)  # ast counts bytes
    found = _assignments(source)
    for key in sorted(values, key=lambda key: -found[key].lineno):  # last first, so that the positions stay true
        node = found[key]
        first, last = node.lineno - 1, node.end_lineno - 1
        new = lines[first][: node.col_offset] + repr(values[key]).encode() + lines[last][node.end_col_offset :]
        lines[first : last + 1] = [new]
    return b"".join(lines).decode()


def _commit() -> str:
    git = ["git", "-C", str(ROOT)]
    try:
        commit = subprocess.run(
            [*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
        ).stdout
        changed = subprocess.run([*git, "status", "--porcelain", "-uno"], capture_output=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return commit.strip() + (" with changes" if changed.strip() else "")
