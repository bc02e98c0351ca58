"""Find, run and fork notebooks, with parameters that are checked before anything is executed.

papermill executes them. Its inspect_notebook and prepare_only are not used: the first cuts a value at a "#", which every Hub id with a
split has, and the second leaves the old values in the parameters cell and adds a cell with the new ones.
"""

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

from workbench import environment, profiles
from workbench.errors import InputError

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
    raise InputError(f"no notebook {name!r}{_nearest(name, every)}")


def _nearest(word: str, choices: Iterable[str]) -> str:
    choices = list(choices)
    close = difflib.get_close_matches(word, choices, n=1)
    return (f"; did you mean {close[0]!r}?" if close else ";") + f" known: {', '.join(choices) or 'none'}"


def read_notebook(path: Path) -> NotebookNode:
    """Return the notebook at `path`.

    Raises:
        InputError: the file cannot be read or is not a notebook.
    """
    try:
        return nbformat.read(path, as_version=4)
    except (OSError, ValueError, nbformat.ValidationError, nbformat.reader.NotJSONError) as error:
        raise InputError(f"{path}: not a readable notebook ({str(error).splitlines()[0]})") from None


def _parameters_cell(notebook: NotebookNode) -> NotebookNode | None:
    return next((cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])), None)


def _assignments(source: str) -> dict[str, ast.expr]:
    """Return name → expression of each `name = literal` statement of a parameters cell."""
    return {
        node.targets[0].id: node.value
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }


def read_parameters(notebook: NotebookNode) -> dict[str, object]:
    """Return the values in the cell tagged `parameters`; {} where there is no such cell.

    Raises:
        InputError: a line of the cell is not a plain `name = value`.
    """
    cell = _parameters_cell(notebook)
    try:
        return (
            {} if cell is None else {key: ast.literal_eval(value) for key, value in _assignments(cell.source).items()}
        )
    except (SyntaxError, ValueError) as error:
        raise InputError(
            f"parameters cell: write every line as `name = value` with a literal value ({error})"
        ) from None


def check_settings(notebook: NotebookNode, name: str, settings: Mapping[str, object]) -> dict[str, object]:
    """Return `settings` converted to the types of the notebook's parameters.

    A value given as text ("[0, 0.3]") is parsed as Python unless the parameter is text itself; a whole number is accepted for a float.

    Raises:
        InputError: a parameter is unknown, or a value has another type.
    """
    defaults = read_parameters(notebook)
    for key in settings:
        if key not in defaults:
            raise InputError(f"notebook {name} has no parameter {key!r}{_nearest(key, defaults)}")
    return {key: _like(name, key, value, defaults[key]) for key, value in settings.items()}


def _like(notebook: str, key: str, given: object, default: object) -> object:
    """Return a value converted to the type of the default; items of a list to the type of the default's first item."""
    value = given
    if isinstance(given, str) and not isinstance(default, str):
        try:
            value = ast.literal_eval(given.capitalize() if given in ("true", "false", "none") else given)
        except (ValueError, SyntaxError):
            pass  # stays text, which the comparison of types below refuses
    if isinstance(default, float) and type(value) is int:
        return float(value)
    if default is None or type(value) is type(default):
        if not (isinstance(default, list | tuple) and default):
            return value
        return type(default)(_like(notebook, key, item, default[0]) for item in value)
    kind = type(default).__name__
    raise InputError(
        f"notebook {notebook}, parameter {key}: {given!r} is not of type {kind}; give one like {default!r}"
    )


def run_notebooks(
    names: Iterable[str] = (),
    profile: str | None = None,
    out: Path | str = "build/notebooks",
    settings: Mapping[str, object] | None = None,
) -> Iterator[Outcome]:
    """Execute notebooks top to bottom in fresh kernels, and yield each as it ends; one that fails does not stop the others.

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
        given = read_parameters(notebook)
        values = check_settings(notebook, path.stem, wanted)
        jobs.append((path, {k: v for k, v in values.items() if v != given[k]}, environment.ROOT / out))
        chosen.add((given | values).get("profile", "pocket"))
    together = min(at_once(), len(jobs), *(profiles.get(name).parallel for name in chosen))
    return _together(jobs, together) if together > 1 else (_execute(*job) for job in jobs)


def at_once() -> int:
    """Return how many notebooks to execute at a time: two where memory allows it, with one worker process per core each, else one."""
    return 2 if psutil.virtual_memory().available >= 2 * (cpu_count() + 1) * profiles.WORKER_BYTES else 1


def _together(jobs: list[tuple], together: int) -> Iterator[Outcome]:
    """Execute jobs in `together` processes. Ctrl-C reaches all of them: each ends its kernel, and no further job starts."""
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
    """Prepare a worker process: a terminal line of its own, an end when its parent ends, and its share of the cores for its kernels.

    Two kernels with as many threads as cores each wait for each other: short replies took two to forty times as long.
    """
    tqdm.set_lock(lock)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Wait for the end of the parent process, even by SIGKILL, and end this one with its kernels and their worker processes."""
    multiprocessing.parent_process().join()
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
    os._exit(1)


def _execute(path: Path, changed: dict[str, object], out: Path) -> Outcome:
    line = (*multiprocessing.current_process()._identity, 1)[0] - 1  # of the terminal; 0 in the main process
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
            # A kernel warns about unencrypted local traffic, and sometimes logs the interrupt that ends it as an error.
            extra_arguments=["--log-level=CRITICAL"],
            progress_bar={"desc": path.stem, "position": line, "leave": False} if sys.stderr.isatty() else False,
        )
    except PapermillExecutionError as stop:
        error = f"cell [{stop.exec_count}]: {stop.ename}: {stop.evalue.strip().splitlines()[0] if stop.evalue else ''}"
    return Outcome(path.stem, target, time.monotonic() - start, error)


def fork_notebook(name: str, to: str, settings: Mapping[str, object]) -> Path:
    """Write notebooks/forks/TO.ipynb: the notebook with other parameters, without outputs.

    The values are changed in the parameters cell itself, so that the fork reads and is edited like any notebook. Its origin (notebook,
    commit, settings) is recorded in its metadata and in its first line.

    Raises:
        InputError: the notebook or a parameter is unknown, a value has another type, or the name is taken or not allowed.
    """
    path = find_notebook(name)
    notebook = read_notebook(path)
    values = check_settings(notebook, path.stem, settings)
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
    """Return the source of a parameters cell with other values; comments and everything else are kept."""
    lines = source.encode().splitlines(keepends=True)  # ast counts bytes
    found = _assignments(source)
    for key in sorted(values, key=lambda key: -found[key].lineno):  # last first, so that the positions stay true
        node = found[key]
        first, last = node.lineno - 1, node.end_lineno - 1
        new = lines[first][: node.col_offset] + repr(values[key]).encode() + lines[last][node.end_col_offset :]
        lines[first : last + 1] = [new]
    return b"".join(lines).decode()


def _commit() -> str:
    """Return the short hash of the checked-out commit, and whether files have changed since; "unknown" without git."""
    git = ["git", "-C", str(environment.ROOT)]
    try:
        commit = subprocess.run(
            [*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
        ).stdout
        changed = subprocess.run([*git, "status", "--porcelain", "-uno"], capture_output=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return commit.strip() + (" with changes" if changed.strip() else "")
