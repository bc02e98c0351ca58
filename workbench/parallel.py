"""A progress bar that a saved notebook shows as it ended, and calls in worker processes under one."""

import io
from collections.abc import Callable, Iterator, Mapping, Sequence

from IPython import get_ipython
from IPython.display import display
from joblib import Parallel, delayed
from tqdm.std import tqdm

from workbench import graders, profiles
from workbench.store import NotStored, only_stored


class _Line(tqdm):
    """The bar as one line of text that is replaced in place. A widget stands at 0% for ever in a notebook that was executed and saved."""

    def __init__(self, *args, **kwargs):
        self.handle = None
        super().__init__(*args, file=io.StringIO(), **kwargs)  # what a terminal would get goes nowhere

    def display(self, msg=None, pos=None):
        """Show the newest state; called by tqdm, the last time when the bar is closed."""
        line = {"text/plain": str(self) if msg is None else msg}
        if self.handle is None:
            self.handle = display(line, raw=True, display_id=True)
        else:
            self.handle.update(line, raw=True)


def progress_bar(total: int, text: str, quiet: bool = False) -> tqdm:
    """A progress bar with the time left: a line in a notebook, tqdm's usual one elsewhere."""
    shell = get_ipython()
    in_notebook = shell is not None and "IPKernelApp" in shell.config
    return (_Line if in_notebook else tqdm)(total=total, desc=text, disable=quiet, ncols=100)


def stored_results(calls: Mapping) -> Iterator[tuple]:
    """(key, result) of those of joblib's delayed calls whose result the run store holds, read in this process.

    Worker processes take seconds to start. Each call must ask the store before it works; what it would have to make is not begun.
    """
    for key, (function, args, settings) in calls.items():
        try:
            with only_stored():
                result = function(*args, **settings)
        except NotStored:
            continue
        yield key, result


def run_parallel(calls: Sequence, workers: int, text: str, *, stored: bool = False) -> list:
    """Results of joblib's delayed calls in their order, so many calls at a time in worker processes, with a bar.

    Args:
        stored: the calls ask the run store first, so that what it holds is read here (see :func:`stored_results`).
    """
    found = {}
    with progress_bar(len(calls), text) as shown:
        for number, result in stored_results(dict(enumerate(calls))) if stored else ():
            found[number] = result
            shown.update()
        left = [number for number in range(len(calls)) if number not in found]
        work = Parallel(workers, return_as="generator", inner_max_num_threads=profiles.threads_per_worker(workers))
        sent = (delayed(with_graders)(graders.registered(), *calls[number]) for number in left)
        for number, result in zip(left, work(sent), strict=True):
            found[number] = result
            shown.update()
    return [found[number] for number in range(len(calls))]


def with_graders(registered: Mapping[str, graders.Grader], function: Callable, args: tuple, settings: dict):
    """Call a function in a worker process, which knows the graders of the process that sent it."""
    graders.register_all(registered)
    return function(*args, **settings)
