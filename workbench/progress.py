"""A progress bar that a saved notebook shows as it ended, and calls in worker processes under one."""

import io
from collections.abc import Iterator, Mapping, Sequence

from IPython import get_ipython
from IPython.display import display
from joblib import Parallel
from tqdm.std import tqdm

from workbench import profiles, runs


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


def bar(total: int, text: str, quiet: bool = False) -> tqdm:
    """A progress bar with the time left: a line in a notebook, tqdm's usual one elsewhere."""
    shell = get_ipython()
    in_notebook = shell is not None and "IPKernelApp" in shell.config
    return (_Line if in_notebook else tqdm)(total=total, desc=text, disable=quiet, ncols=100)


def kept(calls: Mapping) -> Iterator[tuple]:
    """(key, result) of those of joblib's delayed calls whose result the run store holds, read in this process.

    Worker processes take seconds to start. Each call must ask the store before it works; what it would have to make is not begun.
    """
    for key, (function, args, settings) in calls.items():
        try:
            with runs.kept_only():
                result = function(*args, **settings)
        except runs.NotKept:
            continue
        yield key, result


def parallel(calls: Sequence, workers: int, text: str, *, stored: bool = False) -> list:
    """Results of joblib's delayed calls in their order, so many calls at a time in worker processes, with a bar.

    Args:
        stored: the calls ask the run store first, so that what it holds is read here (see :func:`kept`).
    """
    found = {}
    with bar(len(calls), text) as shown:
        for number, result in kept(dict(enumerate(calls))) if stored else ():
            found[number] = result
            shown.update()
        left = [number for number in range(len(calls)) if number not in found]
        work = Parallel(workers, return_as="generator", inner_max_num_threads=profiles.threads(workers))
        for number, result in zip(left, work(calls[number] for number in left), strict=True):
            found[number] = result
            shown.update()
    return [found[number] for number in range(len(calls))]
