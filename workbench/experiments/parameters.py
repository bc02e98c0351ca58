"""Read, check and rewrite the parameters cell of a notebook.

papermill has both jobs in parts, and does not do them here: its inspect_notebook cuts a value at a "#", which every Hub id with a split
has, and its prepare_only leaves the old values in the parameters cell and adds a second cell with the new ones.
"""

import ast
import math
from collections.abc import Mapping

from nbformat import NotebookNode

from workbench import profiles
from workbench.errors import InputError, known_names, shortened


def parameters_cell(notebook: NotebookNode) -> NotebookNode | None:
    """Return the cell tagged `parameters`; None where there is none."""
    return next((cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])), None)


def _assignments(source: str) -> dict[str, ast.expr]:
    """Return name → expression of each `name = literal` statement of a parameters cell."""
    return {
        node.targets[0].id: node.value
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }


def read_parameters(notebook: NotebookNode) -> dict[str, object]:
    """Return the values in the cell tagged `parameters`; {} where there is no such cell.

    Raises:
        InputError: a line of the cell is not a plain `name = value`.
    """
    cell = parameters_cell(notebook)
    try:
        return (
            {} if cell is None else {key: ast.literal_eval(value) for key, value in _assignments(cell.source).items()}
        )
    except (SyntaxError, ValueError) as error:
        raise InputError(
            f"parameters cell: write every line as `name = value` with a literal value ({error})"
        ) from None


def check_settings(notebook: NotebookNode, name: str, settings: Mapping[str, object]) -> dict[str, object]:
    """Return `settings` converted to the types of the notebook's parameters.

    A value given as text ("[0, 0.3]") is parsed as Python unless the parameter is text itself; a whole number is accepted for a float.

    Raises:
        InputError: a parameter is unknown, or a value has another type.
    """
    defaults = read_parameters(notebook)
    for key in settings:
        if key not in defaults:
            raise InputError(f"notebook {name} has no parameter {shortened(key)}{known_names(key, defaults)}")
    checked = {key: _like(name, key, value, defaults[key]) for key, value in settings.items()}
    if "profile" in checked:
        profiles.get(checked["profile"])
    for key, value in checked.items():
        _require_in_range(f"notebook {name}, parameter {key}", value, defaults[key])
    return checked


def _require_in_range(what: str, value: object, default: object) -> None:
    """Refuse what no cell could use: numbers that are not finite, negative, or 0 where the default is not, and empty lists."""
    values, defaults = map(_numbers, (value, default))
    if isinstance(default, list | tuple) and default and not value:
        raise InputError(f"{what} is empty; give at least one value, like {default!r}")
    zero = 0 in defaults or any(isinstance(each, float) for each in defaults) or what.endswith("seeds")
    for each in values:
        if not math.isfinite(each) or each < 0 or (each == 0 and not zero):
            least = "0 or more" if zero else "more than 0"
            raise InputError(f"{what}: {shortened(each)} is out of range; it must be {least}")


def _numbers(value: object) -> list[int | float]:
    """Return the numbers of a value: itself, or those in a list or a dict."""
    values = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else [value]
    return [each for each in values if isinstance(each, int | float) and not isinstance(each, bool)]


def _like(notebook: str, key: str, given: object, default: object) -> object:
    """Return a value converted to the type of the default; items of a list to the type of the default's first item."""
    value = given
    if isinstance(given, str) and not isinstance(default, str):
        try:
            value = ast.literal_eval(given.capitalize() if given in ("true", "false", "none") else given)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            pass  # stays text, which the comparison of types below refuses
    if isinstance(default, float) and type(value) is int:
        return float(value)
    if default is None or type(value) is type(default):
        if not (isinstance(default, list | tuple) and default):
            return value
        return type(default)(_like(notebook, key, item, default[0]) for item in value)
    kind = type(default).__name__
    raise InputError(
        f"notebook {notebook}, parameter {key}: {shortened(given)} is not of type {kind}; give one like {default!r}"
    )


def rewrite(source: str, values: Mapping[str, object]) -> str:
    """Return the source of a parameters cell with other values; comments and everything else are kept."""
    lines = source.encode().splitlines(keepends=True)  # ast counts bytes
    found = _assignments(source)
    for key in sorted(values, key=lambda key: -found[key].lineno):  # last first, so that the positions stay true
        node = found[key]
        first, last = node.lineno - 1, node.end_lineno - 1
        new = lines[first][: node.col_offset] + repr(values[key]).encode() + lines[last][node.end_col_offset :]
        lines[first : last + 1] = [new]
    return b"".join(lines).decode()
