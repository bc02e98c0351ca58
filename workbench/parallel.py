"""Run calls in worker processes, with a progress bar that a saved notebook shows in its final state."""

import io
from collections.abc import Callable, Iterator, Mapping, Sequence

from IPython import get_ipython
from IPython.display import display
from joblib import Parallel, delayed
from tqdm.std import tqdm

from workbench import graders, profiles
from workbench.store import NotStored, only_stored


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
        work = Parallel(workers, return_as="generator", inner_max_num_threads=profiles.threads_per_worker(workers))
        sent = (delayed(with_graders)(graders.registered(), *calls[number]) for number in left)
        for number, result in zip(left, work(sent), strict=True):
            found[number] = result
            shown.update()
    return [found[number] for number in range(len(calls))]


def with_graders(registered: Mapping[str, graders.Grader], function: Callable, args: tuple, settings: dict):
    """Call a function in a worker process, after registering the graders of the process that sent it."""
    graders.register_all(registered)
    return function(*args, **settings)
