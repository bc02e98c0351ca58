"""The progress bar of a grid, in a terminal and in a notebook that is executed and saved."""

from pathlib import Path

import nbformat
from nbconvert.preprocessors import ExecutePreprocessor

from workbench import progress

CODE = """
from workbench import progress
with progress.bar(2, "trained") as bar:
    for _ in range(2):
        bar.update()"""


def test_a_saved_notebook_shows_the_bar_as_it_ended():
    saved = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CODE)])
    ExecutePreprocessor(timeout=120).preprocess(saved, {"metadata": {"path": str(Path(__file__).parents[1])}})
    [output] = saved.cells[0].outputs
    assert output["data"]["text/plain"].startswith("trained: 100%|") and "2/2" in output["data"]["text/plain"]


def test_a_terminal_gets_the_usual_bar_and_the_quiet_nothing(capsys):
    for quiet in (False, True):
        with progress.bar(1, "trained", quiet) as bar:
            bar.update()
        shown = capsys.readouterr().err
        assert shown == "" if quiet else "trained: 100%|" in shown
