"""The frame of the project: one place for dependencies, notebooks clean, make and CI as documented."""

import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import matplotlib
import nbformat
import pytest
import typer
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from workbench import environment, experiments
from workbench.cli.app import app
from workbench.evaluate import cross_evaluation
from workbench.experiments import notebooks, workers
from workbench.plots import report
from workbench.train import supervised

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PINS = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines())
SERIES = sorted((ROOT / "notebooks").glob("*.ipynb"))
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_conda_environment_points_at_pyproject():
    *bound, rest = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    assert bound == [f"python{PROJECT['requires-python']}", "pip"]
    assert rest == {"pip": ["-c constraints.txt", "-e ."]}


def test_every_dependency_is_bounded_pinned_and_has_its_reason():
    pins = {canonicalize_name(name): version for name, version in PINS.items()}
    lines = (ROOT / "pyproject.toml").read_text().splitlines()
    extras = sum(PROJECT["optional-dependencies"].values(), [])
    for requirement in map(Requirement, PROJECT["dependencies"] + extras):
        assert ">=" in str(requirement.specifier), requirement
        assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), requirement
        line = next(line for line in lines if line.strip().startswith(f'"{requirement.name}>'))
        assert re.search(r"# \w+", line), f"no reason given: {line}"


def test_constraints_are_portable():
    for name, version in PINS.items():
        assert re.fullmatch(r"[\w.-]+", name) and re.fullmatch(r"[\w.]+", version), f"{name}=={version}"


def test_ci_runs_what_the_make_file_offers():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert (ROOT / ".ci" / "run").read_text().split()[-1] == "test"
    for path in (ROOT / ".github" / "workflows").glob("*.yml"):
        called = set(re.findall(r"run: make (\w+)", path.read_text()))
        assert "test" in called and called <= targets, path


def test_make_help_lists_the_commands():
    text = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for command in ("make run", "make test", "make lab"):
        assert command in text


def test_jupyterlab_listens_on_this_machine_alone_and_keeps_its_token():
    """Whoever reaches it can run any code."""
    commands = subprocess.run(["make", "-n", "lab"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    (command,) = [line for line in commands.splitlines() if "jupyter lab" in line]
    assert "--ip=127.0.0.1" in shlex.split(command)
    for word in shlex.split(command):
        assert not re.search("token|password|allow_origin|allow_remote|disable_check_xsrf|allow-root", word), word
    advice = (ROOT / "Makefile").read_text() + README
    assert "0.0.0.0" not in advice, "a tunnel is what to recommend"


def test_make_says_in_one_line_that_python_is_too_old(tmp_path):
    old = tmp_path / "python3.9"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.9.1 && exit 0\nexit 1\n')
    old.chmod(0o755)
    command = ["make", "environment", f"PYTHON={old}", f"VENV={tmp_path / 'venv'}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert "error: Python 3.9.1 is too old, 3.11 or newer is needed" in done.stderr
    assert not (tmp_path / "venv").exists()


def test_readme_has_the_claims_of_the_committed_notebooks():
    assert report.fill(ROOT / "README.md") == README, "run: workbench report --readme"
    assert report.claims_page() == (ROOT / "data" / "CLAIMS.md").read_text(encoding="utf-8")


def documented_commands() -> list[str]:
    """The lines of README and data/REFERENCE.md that begin with `workbench`, without their comments."""
    pages = [README, (ROOT / "data" / "REFERENCE.md").read_text(encoding="utf-8")]
    return [line.split("#")[0].strip() for page in pages for line in re.findall("^workbench .+$", page, re.MULTILINE)]


@pytest.mark.parametrize("line", documented_commands())
def test_a_documented_command_has_the_arguments_and_options_that_it_is_shown_with(line):
    _, name, *arguments = shlex.split(line)
    command = typer.main.get_command(app).commands[name]
    command.make_context(name, arguments)  # parses and does not run


@pytest.mark.parametrize("path", SERIES, ids=lambda path: path.stem)
def test_committed_notebook_was_run_top_to_bottom_and_publishes_verdicts(path):
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code" and cell["source"]]
    tags = [cell["metadata"].get("tags", []) for cell in cells]
    assert tags[0] == ["parameters"]
    # nbval compares the verdicts that are printed: the tag on another cell would let them flip unseen
    shown = [number for number, cell in enumerate(cells) if "show_verdicts(" in "".join(cell["source"])]
    assert shown == [number for number, tag in enumerate(tags) if "nbval-check-output" in tag] != []
    assert all("".join(cells[number]["outputs"][0]["text"]).strip() for number in shown)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert not [output for output in outputs if output["output_type"] == "error"]
    text = json.dumps([{k: v for k, v in output.items() if k != "metadata"} for output in outputs])
    assert not re.search(r"site-packages|/home/\w|/root/|/tmp/|/Users/", text), "an output names a path of one machine"
    assert str(ROOT) not in text


def code_cells(path: Path) -> list[str]:
    """Return the source of each code cell of a notebook."""
    return ["".join(cell["source"]) for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]


@pytest.mark.parametrize("path", SERIES, ids=lambda path: path.stem)
def test_committed_notebook_has_short_cells(path):
    for source in code_cells(path):
        lines = source.splitlines()
        assert len(lines) <= 12, f"{len(lines)} lines:\n{source}"
        assert max(map(len, lines)) <= 100, max(lines, key=len)


@pytest.mark.parametrize("path", SERIES, ids=lambda path: path.stem)
def test_committed_notebook_imports_the_workbench_in_one_line_and_starts_with_a_profile(path):
    lines = [line for source in code_cells(path) for line in source.splitlines()]
    (line,) = [line for line in lines if re.match(r"\s*(from|import)\s+workbench\b", line)]
    assert line.startswith("from workbench import ")
    assert "p = start(profile, fresh)" in lines


@pytest.mark.parametrize("path", SERIES, ids=lambda path: path.stem)
def test_committed_notebook_asks_a_question_answers_it_and_ends_with_a_fork_of_itself(path):
    prose = [
        "".join(cell["source"]) for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "markdown"
    ]
    title, answer = prose[0].split("\n\n")
    assert title.startswith("# ") and title.endswith("?")
    assert len(re.findall(r"[.!?](?=\W*(\s|$))", answer)) == 3, "the answer has three sentences"
    assert "## Try it" in prose[-1] and f"workbench fork {path.stem} " in prose[-1]


def test_the_setup_of_a_notebook_leaves_out_what_takes_seconds_and_only_a_training_needs():
    setups = [next(source for source in code_cells(path) if "start(profile, fresh)" in source) for path in SERIES]
    lines = {line for source in setups for line in source.splitlines() if re.match(r"(from|import) ", line)}
    assert any("experiments" in line for line in lines)
    slow = {"transformers.modeling_utils", "transformers.trainer_callback", "trl.trainer.sft_trainer", "peft", "bitsandbytes",
            "torch._inductor", "nbformat.validator", "jsonschema"}  # fmt: skip
    code = "\n".join([*sorted(lines), "import sys", f"print({slow} & set(sys.modules))"])
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def proposed_forks() -> list[str]:
    """The commands that README and the notebooks print: `workbench fork NAME TO --set key=value … --run`."""
    cells = [cell.source for path in SERIES for cell in nbformat.read(path, 4).cells if cell.cell_type == "markdown"]
    return sorted({line.strip() for text in [*cells, README] for line in re.findall("workbench fork [^`#\n]+", text)})


@pytest.mark.parametrize("command", proposed_forks())
def test_a_fork_that_is_proposed_gets_as_far_as_its_first_training(command, tmp_path, monkeypatch):
    """Its cells run up to there in this process: data, sizes and settings fit each other; the trainings are left to the reader."""
    _, _, name, to, *options = shlex.split(command)
    settings = dict(option.split("=", 1) for option in options if "=" in option)
    assert settings and options[-1] == "--run"
    (tmp_path / "notebooks").mkdir()
    shutil.copy(ROOT / "notebooks" / f"{name}.ipynb", tmp_path / "notebooks")
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    monkeypatch.setenv("WORKBENCH_RUNS", str(tmp_path / "runs"))

    class FirstTraining(Exception):
        pass

    def stop(*args, **kwargs):
        raise FirstTraining

    monkeypatch.setattr(supervised, "sft", stop)
    monkeypatch.setattr(workers, "results", stop)
    monkeypatch.setattr(experiments, "run_parallel", stop)
    monkeypatch.setattr(cross_evaluation, "run_parallel", stop)
    cells = notebooks.read_notebook(notebooks.fork_notebook(name, to, settings)).cells
    code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    with matplotlib.rc_context(), pytest.raises(FirstTraining):
        exec(code, {"display": print})
