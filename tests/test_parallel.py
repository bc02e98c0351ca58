"""The progress bar of a grid, in a terminal and in a notebook that is executed and saved."""

import os
from pathlib import Path

import nbformat
import pandas as pd
from joblib import delayed
from nbconvert.preprocessors import ExecutePreprocessor

from workbench import parallel
from workbench.parallel import progress_bar, run_parallel
from workbench.store import Store

CODE = """
from workbench.parallel import progress_bar
with progress_bar(2, "trained") as bar:
    for _ in range(2):
        bar.update()"""


def test_a_saved_notebook_shows_the_bar_as_it_ended():
    saved = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CODE)])
    ExecutePreprocessor(timeout=120).preprocess(saved, {"metadata": {"path": str(Path(__file__).parents[1])}})
    [output] = saved.cells[0].outputs
    assert output["data"]["text/plain"].startswith("trained: 100%|") and "2/2" in output["data"]["text/plain"]


def where(store, number):
    """The process that made the table of this number."""
    return store.cached(number, "where", lambda: pd.DataFrame({"process": [os.getpid()]}))["process"].item()


def test_calls_go_to_worker_processes_and_what_the_store_holds_starts_none(tmp_path, monkeypatch):
    store = Store(tmp_path)
    calls = [delayed(where)(store, number) for number in range(3)]
    here = where(store, 1)
    made = run_parallel(calls, 2, "made", stored=True)
    assert made[1] == here == os.getpid() and here not in (made[0], made[2])
    monkeypatch.setattr(parallel, "Parallel", lambda *args, **settings: list)  # would give the calls back undone
    assert run_parallel(calls, 2, "made", stored=True) == made


def test_calls_that_ask_no_store_are_not_worked_on_in_this_process():
    processes = run_parallel([delayed(os.getpid)()] * 2, 2, "made")
    assert len(processes) == 2 and os.getpid() not in processes


def test_a_terminal_gets_the_usual_bar_and_the_quiet_nothing(capsys):
    for quiet in (False, True):
        with progress_bar(1, "trained", quiet) as bar:
            bar.update()
        shown = capsys.readouterr().err
        assert shown == "" if quiet else "trained: 100%|" in shown
