"""Register graders: functions that check whether a response has the requested form, and whether its content is correct.

An evaluation row names its grader in `check`: {"name": "answer", "args": {"answer": "Oslo", "kind": "city"}}. Whoever brings rows
registers their graders: the pocket world does so when it is imported, a notebook with rows of its own in a cell. Worker processes get
the registered graders of the process that starts them (see :mod:`workbench.parallel`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from workbench.errors import InputError


@dataclass(frozen=True)
class Grade:
    """The result of grading one response."""

    follows: bool
    """The response has the requested form."""
    correct: bool
    """Its content is correct as well."""


Grader = Callable[..., Grade]
_registered: dict[str, Grader] = {}


def register(grader: Grader) -> Grader:
    """Register a grader under its name; usable as a decorator. It takes the response, and the args of a row's check by name."""
    _registered[grader.__name__] = grader
    return grader


def registered() -> dict[str, Grader]:
    """Return the registered graders by name, for another process."""
    return dict(_registered)


def register_all(graders: Mapping[str, Grader]) -> None:
    """Register the graders of another process in this one."""
    _registered.update(graders)


def grade(check: dict, response: str) -> Grade:
    """Grade a response with the grader that a row's check names.

    Raises:
        InputError: no grader of that name is registered.
    """
    if check["name"] not in _registered:
        known = ", ".join(sorted(_registered)) or "none; those of the pocket world come with `import workbench.pocket`"
        raise InputError(f"check {check['name']!r} is unknown; registered graders: {known}")
    return _registered[check["name"]](response, **check["args"])
