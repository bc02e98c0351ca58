"""Run calls in worker processes, with a progress bar that a saved notebook shows in its final state."""

import io
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress

import psutil
from IPython import get_ipython
from IPython.display import display
from joblib import Parallel, delayed
from tqdm.std import tqdm

from workbench import graders, profiles
from workbench.store import NotStored, only_stored


def end_with_parent() -> None:
    """Let this process end, with all its children, when its parent ends, even by SIGKILL; what is stored by then is kept."""
    threading.Thread(target=_watch, args=(os.getppid(),), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:  # an orphan gets another parent
        time.sleep(0.5)
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            child.kill()
    os._exit(1)


def worker_pool(workers: int, **settings) -> Parallel:
    """Return joblib's pool of worker processes that share the cores and end with this process, however it ends."""
    threads = profiles.threads_per_worker(workers)
    if workers == 1:  # joblib makes the calls in this process
        return Parallel(1, inner_max_num_threads=threads, **settings)
    return Parallel(workers, backend="loky", initializer=end_with_parent, inner_max_num_threads=threads, **settings)


class _Line(tqdm):
    """The bar as one line of text that is updated in place. A widget would stay at 0% in a notebook that was executed and saved."""

    def __init__(self, *args, **kwargs):
        self.handle = None
        super().__init__(*args, file=io.StringIO(), **kwargs)  # discards what a terminal would get

    def display(self, msg=None, pos=None):
        """Show the current state; tqdm calls it, for the last time when the bar is closed."""
        line = {"text/plain": str(self) if msg is None else msg}
        if self.handle is None:
            self.handle = display(line, raw=True, display_id=True)
        else:
            self.handle.update(line, raw=True)


def progress_bar(total: int, text: str, quiet: bool = False) -> tqdm:
    """Return a progress bar with the time left: a line of text in a notebook, tqdm's usual bar elsewhere."""
    shell = get_ipython()
    in_notebook = shell is not None and "IPKernelApp" in shell.config
    return (_Line if in_notebook else tqdm)(total=total, desc=text, disable=quiet, ncols=100)


def stored_results(calls: Mapping) -> Iterator[tuple]:
    """Yield (key, result) of those of joblib's delayed calls whose result the run store holds, read in this process.

    This avoids worker processes, which take seconds to start. Each call must ask the store before it works; one whose result is not
    stored is not started.
    """
    for key, (function, args, settings) in calls.items():
        try:
            with only_stored():
                result = function(*args, **settings)
        except NotStored:
            continue
        yield key, result


def run_parallel(calls: Sequence, workers: int, text: str, *, stored: bool = False) -> list:
    """Return the results of joblib's delayed calls, in order, computed in `workers` processes under a progress bar.

    Args:
        text: label of the bar.
        stored: the calls ask the run store first, so that what it holds is read in this process (see :func:`stored_results`).
    """
    found = {}
    with progress_bar(len(calls), text) as shown:
        for number, result in stored_results(dict(enumerate(calls))) if stored else ():
            found[number] = result
            shown.update()
        left = [number for number in range(len(calls)) if number not in found]
        work = worker_pool(workers, return_as="generator")
        sent = (delayed(with_graders)(graders.registered(), *calls[number]) for number in left)
        for number, result in zip(left, work(sent), strict=True):
            found[number] = result
            shown.update()
    return [found[number] for number in range(len(calls))]


def with_graders(registered: Mapping[str, graders.Grader], function: Callable, args: tuple, settings: dict):
    """Call a function in a worker process, after registering the graders of the process that sent it."""
    graders.register_all(registered)
    return function(*args, **settings)
