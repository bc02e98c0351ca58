"""The command line: what a user types, reads, and gets as exit code."""

import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import series
from typer.testing import CliRunner

from workbench import environment
from workbench.cli.app import app
from workbench.experiments import notebooks
from workbench.store import Store

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    monkeypatch.setenv("WORKBENCH_RUNS", str(tmp_path / "runs"))
    series.write(tmp_path)
    return tmp_path


def call(*words: str, code: int = 0):
    """Run the command line; the result has stdout and stderr."""
    result = CliRunner().invoke(app, words)
    assert result.exit_code == code, result.output
    return result


def test_help_names_every_command_and_imports_no_heavy_library():
    text = call("--help").stdout
    for title in ("Run the notebooks", "Train on your own data", "Use what was trained", "Maintain the workbench"):
        assert title in text
    for name in (
        "pretrain",
        "show",
        "select",
        "dpo",
        "reward-model",
        "rl",
        "sft",
        "run",
        "report",
        "fork",
        "diff",
        "runs",
        "results",
        "eval",
        "export",
    ):
        assert f" {name} " in text
    # 0.3 s instead of several; the imports are looked at, since a clock says little on a busy machine
    code = "import sys, workbench.cli.app; print({'torch', 'pandas', 'nbformat'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "set()\n"


def test_bad_input_is_one_line_and_exit_code_2(root):
    for words in (
        ["run", "nine"],
        ["run", "01", "--profile", "pokcet"],
        ["report"],
        ["report", "--readme"],
        ["fork", "01", "mine", "--set", "nosie=1"],
        ["fork", "01", "mine", "--set", "size"],
        ["diff", "01", "nine"],
        ["runs", "show", "nine"],
        ["runs", "remove", "nine"],
        ["eval", "nine"],
        ["export", "nine", "out"],
        ["sft", str(root / "none.json")],
        ["sft", "x.json", "--method", "magic"],
        ["sft", "x.json", "--hold-out", "1"],
    ):
        result = call(*words, code=2)
        assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1, (words, result.stderr)
    assert not (root / "notebooks" / "forks").exists()


def test_a_stop_by_the_keyboard_is_one_line_and_exit_code_130(monkeypatch):
    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(notebooks, "run_notebooks", stopped)
    assert call("run", code=130).stderr == "stopped; run the same command again to continue\n"


def test_a_full_disk_is_one_line_and_exit_code_2(monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device", "out.ipynb")

    monkeypatch.setattr(notebooks, "fork_notebook", full)
    assert call("fork", "01", "mine", code=2).stderr.startswith("error: out.ipynb: No space left on device")


def test_run_says_how_each_notebook_ended_and_fails_where_one_did(root):
    assert "01_first" in call("run", "01").stdout
    result = call("run", code=1)
    assert "ZeroDivisionError" in result.stdout
    assert f"open {root / 'build' / 'report' / 'index.html'}" in call("report").stdout


def test_fork_run_and_diff_from_the_printed_commands(root):
    result = call("fork", "01_first", "mine", "--set", "size=7", "--set", "noise=[0.5]", "--run")
    assert "next: workbench diff 01_first mine" in result.stdout
    mine = nbformat.read(root / "notebooks" / "forks" / "mine.ipynb", as_version=4)
    assert any("pocket [0.5] 7" in str(cell.get("outputs")) for cell in mine.cells)
    # the small notebook always displays the same claims; a changed parameter changes them in a real one
    text = " ".join(call("diff", "01_first", "mine").stdout.split())
    assert "noise" in text and "[0.0, 0.1]" in text and "[0.5]" in text
    assert "flipped verdicts: none" in text
    assert "flipped verdicts: form, truth" in call("diff", "01_first", "02_second").stdout


def test_report_fills_the_readme(root):
    (root / "README.md").write_text("<!-- claims -->\n<!-- /claims -->\n")
    call("report", "--readme")
    assert "| it \\| form |" in (root / "README.md").read_text()


def test_runs_are_listed_shown_measured_and_removed(root):
    def make(folder):
        (folder / "weights").write_bytes(b"0" * 2**20)
        return {"spec": {"base": "small", "seed": 4}, "environment": {}, "scores": {"rows": 12}}

    run = Store().obtain("qlora", {"a": 1}, make)
    assert run.id in call("runs", "list").stdout
    assert '"seed": 4' in call("runs", "show", run.id[:8]).stdout
    assert "1 run, 1.0 MiB" in call("runs", "size").stdout
    call("runs", "remove", run.id)
    assert not run.path.exists()
