"""Hold the graders: functions that say of a response whether it took the form that was asked for, and whether its content is right.

An evaluation row names its grader in `check`: {"name": "answer", "args": {"answer": "Oslo", "kind": "city"}}. Whoever brings rows
registers the graders that they name: the pocket world does so when it is imported, a notebook with its own rows in a cell. Worker
processes get what is registered here (see :mod:`workbench.parallel`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from workbench.errors import InputError


@dataclass(frozen=True)
class Grade:
    """What a grader says of one response."""

    follows: bool
    """The response has the form that was asked for."""
    correct: bool
    """Its content is right as well."""


Grader = Callable[..., Grade]
_registered: dict[str, Grader] = {}


def register(grader: Grader) -> Grader:
    """Make a grader known under its name; usable as a decorator. It takes the response and the args of a row's check."""
    _registered[grader.__name__] = grader
    return grader


def registered() -> dict[str, Grader]:
    """Return the graders by name, for a process that is to grade as this one does."""
    return dict(_registered)


def register_all(graders: Mapping[str, Grader]) -> None:
    """Make the graders of another process known in this one."""
    _registered.update(graders)


def grade(check: dict, response: str) -> Grade:
    """Apply the grader that a row's check names.

    Raises:
        InputError: no grader of that name is registered.
    """
    if check["name"] not in _registered:
        known = ", ".join(sorted(_registered)) or "none; those of the pocket world come with `import workbench.pocket`"
        raise InputError(f"check {check['name']!r} is unknown; registered graders: {known}")
    return _registered[check["name"]](response, **check["args"])
