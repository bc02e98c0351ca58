"""Notebooks are found, checked, run, forked, reported and compared."""

import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import nbformat
import psutil
import pytest
import series

from workbench import environment, profiles
from workbench.errors import InputError
from workbench.experiments import comparison, notebooks, parameters
from workbench.plots import report


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    series.write(tmp_path)
    return tmp_path


def first():
    return notebooks.read_notebook(notebooks.find_notebook("01"))


def test_a_notebook_is_found_by_name_beginning_and_path(root):
    path = root / "notebooks" / "01_first.ipynb"
    assert (
        notebooks.find_notebook("01_first")
        == notebooks.find_notebook("01")
        == notebooks.find_notebook(str(path))
        == path
    )


def test_an_unknown_notebook_is_answered_with_the_nearest_and_the_known():
    with pytest.raises(InputError, match="no notebook '01_frist'; did you mean '01_first'.*02_second"):
        notebooks.find_notebook("01_frist")
    with pytest.raises(InputError, match="no notebook '0'"):  # two begin so
        notebooks.find_notebook("0")


def test_parameters_are_read_from_their_cell():
    assert parameters.read_parameters(first()) == {"profile": "pocket", "name": "é", "noise": [0.0, 0.1], "size": 25}


@pytest.mark.parametrize(
    ("given", "value"),
    [
        ({"noise": "[0, 0.3]"}, {"noise": [0.0, 0.3]}),
        ({"size": "50"}, {"size": 50}),
        ({"name": "50"}, {"name": "50"}),
        ({"size": 50, "noise": [1]}, {"size": 50, "noise": [1.0]}),
    ],
)
def test_settings_take_the_type_of_the_parameter(given, value):
    checked = parameters.check_settings(first(), "01_first", given)
    assert checked == value
    assert all(isinstance(item, float) for item in checked.get("noise", []))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"nosie": 1},
            "01_first has no parameter 'nosie'; did you mean 'noise'.* known are profile, name, noise, size",
        ),
        ({"size": "many"}, "parameter size: 'many' is not of type int; give one like 25"),
        ({"size": "2.5"}, "parameter size: '2.5' is not of type int"),
        ({"size": "True"}, "parameter size: 'True' is not of type int"),
        ({"noise": "0.3"}, "parameter noise: '0.3' is not of type list"),
        ({"noise": "['a']"}, "parameter noise: 'a' is not of type float"),
        ({"name": 3}, "parameter name: 3 is not of type str"),
        ({"size": "-5"}, "parameter size: -5 is out of range; it must be more than 0"),
        ({"size": "0"}, "parameter size: 0 is out of range; it must be more than 0"),
        ({"noise": "[0.1, -0.1]"}, "parameter noise: -0.1 is out of range; it must be 0 or more"),
        ({"noise": "[1e999]"}, "parameter noise: inf is out of range"),
        ({"noise": "[]"}, "parameter noise is empty; give at least one value"),
        ({"profile": "nope"}, "profile 'nope' is unknown; known are pocket"),
        ({"size": "x" * 100_000}, r"parameter size: 'x{59}… is not of type int"),
        ({"size": "9" * 10_000}, "parameter size: .* is not of type int"),
        ({"size": "[" * 10_000}, "parameter size: .* is not of type int"),
    ],
)
def test_settings_that_do_not_fit_are_refused(given, message):
    with pytest.raises(InputError, match=message):
        parameters.check_settings(first(), "01_first", given)


@pytest.mark.parametrize("together", [2, 1])
def test_a_run_says_which_cell_failed_and_goes_on_with_the_others(root, monkeypatch, together):
    monkeypatch.setattr(notebooks, "at_once", lambda _: together)
    write(root, **{"00_broken": "1 / 0"})
    broken, good, bad = sorted(notebooks.run_notebooks(), key=lambda outcome: outcome.name)
    assert broken.error == "cell [1]: ZeroDivisionError: division by zero"
    assert (good.name, good.error) == ("01_first", "")
    assert bad.error == "cell [2]: ZeroDivisionError: division by zero"
    done = notebooks.read_notebook(good.path)
    assert good.path == root / "build" / "notebooks" / "01_first.ipynb"
    assert done.cells[2].outputs[0].text == "pocket [0.0, 0.1] 25\n"
    assert first().cells[2].outputs[0].text == "pocket"  # the committed one is as it was


def write(root, **cells):
    """Notebooks of one cell each, by name."""
    for name, source in cells.items():
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
        nbformat.write(notebook, root / "notebooks" / f"{name}.ipynb")


def test_two_at_once_share_the_cores(root, monkeypatch):
    monkeypatch.setattr(notebooks, "at_once", lambda _: 2)
    monkeypatch.setattr(profiles, "cpu_count", lambda: 6)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    write(root, a="import os; print(os.environ['OMP_NUM_THREADS'])", b="1")
    done = min(notebooks.run_notebooks("ab"), key=lambda outcome: outcome.name)
    assert notebooks.read_notebook(done.path).cells[0].outputs[0].text == "3\n"


@pytest.mark.skipif(os.name != "posix", reason="ZeroMQ's sockets are files on POSIX systems only")
def test_a_kernel_takes_no_port_which_another_could_take_first(root):
    write(
        root,
        a="import ipykernel; info = ipykernel.get_connection_info(unpack=True); print(info['transport'], info['ip'])",
    )
    (done,) = notebooks.run_notebooks("a")
    transport, address = notebooks.read_notebook(done.path).cells[0].outputs[0].text.split()
    assert (done.error, transport) == ("", "ipc")
    assert not Path(address).parent.exists()  # nothing is left behind


@pytest.mark.parametrize("names", ["a", "ab"], ids=["one notebook", "two notebooks"])
def test_killed_it_leaves_no_process_behind(root, names):
    """Not even by a signal that it cannot catch."""
    busy = (
        "import os, pathlib, subprocess, sys, time\n"
        "worker = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(300)'])\n"
        "for pid in (os.getpid(), worker.pid): pathlib.Path(f'{pid}.pid').touch()\n"
        "time.sleep(300)"
    )
    write(root, a=busy, b=busy)
    code = (
        "import pathlib; from workbench import environment; from workbench.experiments import notebooks; "
        f"environment.ROOT = pathlib.Path({str(root)!r}); notebooks.at_once = lambda _: 2; [*notebooks.run_notebooks({names!r})]"
    )
    script = root / "main.py"  # a process that is spawned reads the script of its parent again
    script.write_text(f"if __name__ == '__main__':\n    {code}\n")
    assert_nothing_outlives(script, lambda: [*(root / "notebooks").glob("*.pid")], 2 * len(names))


def test_a_killed_grid_in_a_script_leaves_no_worker_behind(tmp_path):
    script = tmp_path / "main.py"
    script.write_text(
        "import pathlib, sys, time\nfrom joblib import delayed\nfrom workbench.parallel import run_parallel\n"
        "def work(n):\n    pathlib.Path(sys.argv[1], f'{n}.pid').touch()\n    time.sleep(300)\n"
        "if __name__ == '__main__':\n    run_parallel([delayed(work)(n) for n in range(2)], 2, 'work')\n"
    )
    assert_nothing_outlives(script, lambda: [*tmp_path.glob("*.pid")], 2)


def assert_nothing_outlives(script, begun, expected):
    """Kill a script once so many files say that its work has begun, and see all of its descendants end."""
    main = subprocess.Popen([sys.executable, script, str(script.parent)])
    try:
        found = until(begun, lambda found: len(found) == expected)
        family = psutil.Process(main.pid).children(recursive=True)
    finally:
        main.kill()
        main.wait()
    assert len(found) == expected and len(family) >= 2
    assert until(lambda: [each.pid for each in family if at_work(each.pid)], lambda left: not left) == []


def at_work(pid):
    """Whether a process runs; one that has ended and that nobody has asked about yet does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def until(look, enough, seconds=60):
    """What is seen once it is enough, or after so long."""
    end = time.monotonic() + seconds
    while not enough(found := look()) and time.monotonic() < end:
        time.sleep(0.2)
    return found


@pytest.mark.parametrize(("cores", "gib", "expected"), [(2, 8, 1), (2, 10, 2), (8, 10, 1), (8, 64, 2)])
def test_two_run_at_once_where_memory_takes_the_workers_of_both(monkeypatch, cores, gib, expected):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=gib * 2**30))
    monkeypatch.setattr(notebooks, "cpu_count", lambda: cores)
    assert notebooks.at_once() == expected


def test_nothing_runs_where_a_name_a_profile_or_a_setting_is_wrong(root):
    for call in ({"names": ["01", "nine"]}, {"profile": "pokcet"}, {"settings": {"nosie": 1}}):
        with pytest.raises(InputError):
            notebooks.run_notebooks(**call)
    assert not (root / "build").exists()


def test_a_fork_changes_the_parameters_and_says_where_it_came_from(root):
    path = notebooks.fork_notebook("01", "mine", {"noise": "[0.3]", "name": "ü", "size": "7"})
    fork = notebooks.read_notebook(path)
    assert path == root / "notebooks" / "forks" / "mine.ipynb" == notebooks.find_notebook("mine")
    assert parameters.read_parameters(fork) == {"profile": "pocket", "name": "ü", "noise": [0.3], "size": 7}
    cell = next(cell for cell in fork.cells if cell.cell_type == "code")
    assert cell.source == series.PARAMETERS.replace("é", "ü").replace('"ü"', "'ü'").replace("25", "7").replace(
        "[\n    0.0, 0.1]", "[0.3]"
    )
    assert "Forked from **01_first** at commit unknown: `noise = [0.3]`" in fork.cells[0].source
    assert fork.metadata[notebooks.FORK]["from"] == "01_first"
    assert not any(cell.get("outputs") for cell in fork.cells)


def test_a_fork_of_a_fork_keeps_its_settings_and_runs_in_place(root):
    notebooks.fork_notebook("01", "mine", {"size": "7"})
    notebooks.fork_notebook("mine", "ours", {"noise": "[0.5]"})
    (outcome,) = notebooks.run_notebooks(["ours"])
    assert outcome.path == notebooks.find_notebook("ours")
    printed = [output.get("text") for output in report._outputs(notebooks.read_notebook(outcome.path))]
    assert printed[0] == "pocket [0.5] 7\n"


@pytest.mark.parametrize(
    "text", ['{"cells": 5}', "[]", '{"cells": [1], "nbformat": 4, "nbformat_minor": 5}', "[" * 9999, "5", ""]
)
def test_a_file_that_is_not_a_notebook_is_one_line(root, text):
    path = root / "odd.ipynb"
    path.write_text(text)
    with pytest.raises(InputError, match="not a readable notebook") as caught:
        notebooks.read_notebook(path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


def test_a_fork_does_not_write_over_a_notebook():
    notebooks.fork_notebook("01", "mine", {})
    for name in ("mine", "02_second"):
        with pytest.raises(InputError, match="exists already"):
            notebooks.fork_notebook("01", name, {})
    with pytest.raises(InputError, match="use letters"):
        notebooks.fork_notebook("01", "../mine", {})


def test_a_difference_shows_parameters_effects_and_flipped_verdicts(root):
    path = root / "other.ipynb"
    changed = series.notebook(series.claim("form", "fails", 0.2), series.claim("truth", "holds", 0.6))
    changed.cells[1].source = changed.cells[1].source.replace("25", "50")
    nbformat.write(changed, path)
    found = comparison.diff("01", str(path))
    assert found.parameters.values.tolist() == [["size", 25, 50]]
    assert found.claims.values.tolist() == [
        ["form", "holds", "0.90 [0.80, 1.00]", "fails", "0.20 [0.10, 0.30]", True],
        ["truth", "not there", "", "holds", "0.60 [0.50, 0.70]", True],
    ]


def test_a_difference_needs_outputs():
    notebooks.fork_notebook("01", "mine", {})
    with pytest.raises(InputError, match="run it first: workbench run mine"):
        comparison.diff("01", "mine")


LEFT = """
print("reading")
from workbench import experiments
from types import SimpleNamespace
from workbench.config import DPOSpec
from workbench.experiments import workload
start = SimpleNamespace(spec={"base": "data/pocket-base"})
print(workload.describe_left([(DPOSpec(), 100, start)] * 3, 24, 2))
print("2 of 3 answers are right")
"""


def test_the_terminal_says_what_a_notebook_has_left_to_train(root, capfd):
    write(root, a=LEFT)
    (done,) = notebooks.run_notebooks("a")
    assert not done.error
    (line,) = filter(None, capfd.readouterr().out.splitlines())
    assert line.startswith("a: 3 of 24 trainings left to do")  # how long they take, where results are in use
