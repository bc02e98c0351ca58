"""The layout of the package: nine rooms with a public API each, short modules, imports in one direction."""

import ast
import importlib
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import workbench

PACKAGE = Path(workbench.__file__).parent
ROOMS = ("data", "models", "train", "evaluate", "experiments", "plots", "pocket", "cli")
MODULES = sorted(PACKAGE.rglob("*.py"))


def test_there_are_no_other_rooms():
    assert {path.parent.name for path in PACKAGE.glob("*/__init__.py")} == set(ROOMS)
    (layers, _) = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    listed = {name for line in layers["layers"] for name in line.replace("|", ":").replace(" ", "").split(":")}
    modules = {f"workbench.{path.stem}" for path in PACKAGE.glob("*.py") if not path.stem.startswith("__")}
    assert listed == modules | {f"workbench.{room}" for room in ROOMS}, "every room and root module has its layer"


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_says_in_one_sentence_what_it_is_for(room):
    text = importlib.import_module(f"workbench.{room}").__doc__
    assert "\n" not in text and text.endswith(".") and text[0].isupper() and 30 < len(text) < 160


@pytest.mark.parametrize("room", [room for room in ROOMS if room != "cli"])  # its API is the command line
def test_every_name_that_a_room_exports_is_there_and_has_a_docstring(room):
    module = importlib.import_module(f"workbench.{room}")
    assert len(set(module.__all__)) == len(module.__all__) > 0
    for name in module.__all__:
        value = getattr(module, name)
        assert not callable(value) or value.__doc__, f"workbench.{room}.{name} has no docstring"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_is_short_and_says_what_it_does(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 300
    first = (ast.get_docstring(ast.parse(text)) or "").split("\n\n")[0]
    assert first.endswith((".", ":")) and " " in first, "the docstring is missing or a placeholder"


def test_imports_go_in_one_direction():
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-logo", "--no-cache"]
    done = subprocess.run(command, cwd=PACKAGE.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
