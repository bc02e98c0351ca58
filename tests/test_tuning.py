"""The tuning rows and the default training that notebooks share."""

import pytest

from workbench import profiles
from workbench.data import decontamination
from workbench.pocket import tasks, tuning

POCKET = profiles.get("pocket")


@pytest.fixture(autouse=True)
def empty_store(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_RUNS", str(tmp_path))


def test_tuning_rows_ask_nothing_that_an_evaluation_asks():
    rows = tuning.rows(POCKET, 300)
    assert len(rows) == 300
    assert decontamination.leaked_rows(rows, tasks.all_evaluations()) == set()


def test_smaller_sets_of_tuning_rows_are_the_beginning_of_larger_ones():
    assert list(tuning.rows(POCKET, 20)["messages"]) == list(tuning.rows(POCKET, 40)["messages"])[:20]


def test_the_default_training_has_the_settings_of_the_profile_and_one_cell_per_seed():
    cells = tuning.default_cells(POCKET, [3, 4], 50, rank=8)
    assert [(cell.spec.seed, cell.spec.rank, cell.spec.method, len(cell.rows)) for cell in cells] == [
        (3, 8, "qlora", 50),
        (4, 8, "qlora", 50),
    ]
    assert {cell.spec.epochs for cell in cells} == {POCKET.epochs}
