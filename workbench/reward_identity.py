"""Name a function that is a reward by its source and by all that it uses, so that a changed function is another training."""

import dis
import hashlib
import inspect
import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import MISSING, dataclass, field
from functools import cached_property
from numbers import Real
from types import CodeType

from workbench.errors import InputError, first_line, shortened

LONGEST = 1_000
"""Characters of a collection that names a run as it is."""


@dataclass
class _Walk:
    """What was met on the way through all that a reward uses."""

    reward: str
    """What it is called in messages."""
    seen: dict[int, object] = field(default_factory=dict)
    """The functions, classes and objects that were named already, by their id."""
    unnamed: set[str] = field(default_factory=set)
    """Types of the objects, and classes, that do not name the reward."""

    def leave(self, value: object) -> None:
        """Note an object that does not name the reward. Modules and code of libraries, which have names, are not meant to."""
        if not hasattr(value, "__name__"):
            self.unnamed.add(_type_name(type(value)))


def source_of(reward: Callable) -> dict[str, object]:
    """Return name and source text of a function, and what it uses of its module: they name the runs that it rewards.

    Of its module these are numbers, texts, collections of them, patterns, classes, their objects with what they hold, and functions with
    all that they use in turn; its defaults too. Code of libraries is not among them, and neither are objects of their classes, which
    :func:`unnamed` lists.

    Raises:
        InputError: the source is not to be had, or does not say all: values from outside would make another reward of the same name.
    """
    return _walked(reward)[0]


def unnamed(reward: Callable) -> list[str]:
    """Return the types of the objects that a function uses and that do not name its runs: with other objects of them it is the same reward."""
    return sorted(_walked(reward)[1].unnamed)


def _walked(reward: Callable) -> tuple[dict[str, object], _Walk]:
    if not inspect.isfunction(reward):
        raise InputError(
            f"the reward {shortened(reward, 60)} is no plain function, so no source could name the run; write def reward(replies, rows): …"
        )
    walk = _Walk(f"the reward {reward.__name__}", {id(reward): reward})
    try:
        return {"name": reward.__name__, **_named_by(reward, walk.reward, walk)}, walk
    except RecursionError:
        raise InputError(
            f"{walk.reward} uses a collection that holds itself, or too many levels; write it with fewer"
        ) from None


def _named_by(function: Callable, what: str, walk: _Walk) -> dict[str, object]:
    """Return what names a reward or a function that it uses: "holds" and "defaults" only where there are any.

    Args:
        what: what the function is called in messages.
    """
    text = _source(function, what)
    if outside := set(function.__code__.co_freevars) - {"__class__"}:  # super() in a method
        raise InputError(
            f"{what} depends on {', '.join(sorted(outside))} from the function around it, which would not name the run; "
            "write the values into its text"
        )
    code = [*_parts(function.__code__)]
    used = {name: function.__globals__.get(name) for name in sorted({name for each in code for name in each.co_names})}
    named = {
        "source": text,
        "uses": {name: value for name, value in used.items() if isinstance(value, str | int | float)},
    }
    # Unlike co_names without attributes of the same name.
    read = {step.argval for each in code for step in dis.get_instructions(each) if step.opname == "LOAD_GLOBAL"}
    held = {name: _used(used[name], function, walk) for name in sorted(read - {*named["uses"]})}
    if held := {name: value for name, value in held.items() if value is not None}:
        named["holds"] = held
    defaults = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).items()]
    if defaults:
        named["defaults"] = _held(defaults, function, walk)
    return named


def _parts(code: CodeType) -> Iterator[CodeType]:
    """Yield the code of a function and of the functions and comprehensions inside it."""
    yield code
    for part in code.co_consts:
        if isinstance(part, CodeType):
            yield from _parts(part)


def _source(function: Callable, what: str) -> str:
    """Return the source text of a function, which keeps it: a worker process that gets the function of a cell cannot look it up."""
    if not isinstance(text := getattr(function, "_source", None), str):
        try:
            text = inspect.cleandoc(inspect.getsource(function))
        except OSError as error:
            raise InputError(
                f"the source of {what} is not to be had, and it names the run ({first_line(error)}); write it in a file or a cell"
            ) from error
        function._source = text
    return text


def _used(value: object, function: Callable, walk: _Walk) -> object:
    """Return what names a global of a function's module; None for modules and code of libraries, and for objects that nothing is known of."""
    held = _held(value, function, walk)
    if held is None and isinstance(value, Real | bytes):
        return {"value": str(value)}
    if held is None and value is not None:
        walk.leave(value)
    return held


def _held(value: object, function: Callable, walk: _Walk) -> object:
    """Return what names a value that a function uses, as JSON: None for what is no collection and no pattern, and is not of its module."""
    if isinstance(value, re.Pattern):
        return {"pattern": str(value.pattern), "flags": value.flags}
    if isinstance(value, dict):
        return _brief([[_item(each, function, walk) for each in pair] for pair in value.items()])
    if isinstance(value, list | tuple):
        return _brief([_item(each, function, walk) for each in value])
    if isinstance(value, set | frozenset):
        return _brief(sorted((_item(each, function, walk) for each in value), key=json.dumps))
    if inspect.isroutine(value) and (owner := _held(getattr(value, "__self__", None), function, walk)) is not None:
        return {"method": value.__name__, "of": owner}
    helper = inspect.unwrap(value) if callable(value) else value
    kind = helper if inspect.isfunction(helper) or isinstance(helper, type) else type(helper)
    if kind.__module__ != function.__module__:
        return None
    if id(helper) in walk.seen:
        return {"name": kind.__name__}
    walk.seen[id(helper)] = helper
    if inspect.isfunction(helper):
        return _named_by(helper, f"the function {helper.__name__}, which {walk.reward} uses,", walk)
    if isinstance(helper, type):
        return _class(helper, function, walk)
    return {"class": _held(kind, function, walk), "state": _item(_state(helper, walk), function, walk)}


def _class(kind: type, function: Callable, walk: _Walk) -> dict[str, object]:
    """Return what names a class of a function's module: its attributes, its methods, and all this of the classes that it extends."""
    members = {}
    for name, member in sorted(vars(kind).items()):
        wrapped = [getattr(member, part, None) for part in ("__func__", "func", "fget", "fset", "fdel")]
        for each in map(inspect.unwrap, [part for part in wrapped if inspect.isfunction(part)] or [member]):
            if inspect.isfunction(each) and each.__code__.co_filename == "<string>":  # the text is a dataclass's
                continue
            if inspect.isfunction(each) or not (name.startswith("__") or name == "_abc_impl"):
                try:
                    members.setdefault(name, []).append(_item(each, function, walk))
                except InputError:  # no source
                    walk.unnamed.add(_type_name(kind))
    defaults = [
        [
            each.name,
            *(_item(value, function, walk) for value in (each.default, each.default_factory) if value is not MISSING),
        ]
        for each in getattr(kind, "__dataclass_fields__", {}).values()
    ]
    bases = [_held(base, function, walk) for base in kind.__bases__]
    return {"name": kind.__name__, "members": members, "fields": defaults, "bases": bases}


def _state(value: object, walk: _Walk) -> object:
    """Return what an object holds, without what its cached properties keep."""
    try:
        state = value.__getstate__()
    except Exception:  # whatever it is, the object does not say what it holds
        walk.leave(value)
        return None
    if not isinstance(state, dict):
        return state
    return {
        name: each for name, each in state.items() if not isinstance(getattr(type(value), name, None), cached_property)
    }


def _item(value: object, function: Callable, walk: _Walk) -> object:
    """Return what names a value in a collection, by its type alone where nothing else is known to be the same in every process."""
    if value is None or isinstance(value, str | int) or isinstance(value, float) and math.isfinite(value):
        return value
    held = _held(value, function, walk)
    if held is not None:
        return held
    if isinstance(value, Real | bytes):
        return {"value": str(value)}
    walk.leave(value)
    return {"value": _type_name(type(value))}


def _type_name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _brief(items: list) -> object:
    """Return a list as it is, or its hash if it is long."""
    text = json.dumps(items)
    return items if len(text) <= LONGEST else {"sha256": hashlib.sha256(text.encode()).hexdigest()}
