"""Name rewards for reinforcement learning: functions that give each reply a number, the higher the better.

A reward takes the replies (text) and their rows, and returns one number for each. Besides the names below, any such function is a
reward, and so is a run of :func:`workbench.train.reward_models`. "correct" and "follows" are verifiable: they ask the row's own check
(RLVR: Lambert et al. 2024, arXiv 2411.15124). "length" and "keyword:WORD" can be hacked, on purpose.
"""

import dis
import hashlib
import inspect
import json
import math
import re
from collections.abc import Callable, Iterable, Sequence
from numbers import Real
from types import CodeType

from workbench import graders
from workbench.errors import InputError, first_line, known_names, shortened

Reward = Callable[[Sequence[str], Sequence[dict]], Sequence[float]]

VERIFIABLE = ("correct", "follows")
KEYWORD = "keyword:"
LONGEST = 1_000
"""Characters of a collection that names a run as it is."""


def correct(replies: Sequence[str], rows: Sequence[dict]) -> list[float]:
    """Return 1 for each reply that the check of its row finds correct, else 0."""
    return [float(graders.grade(row["check"], reply).correct) for reply, row in zip(replies, rows, strict=True)]


def follows(replies: Sequence[str], rows: Sequence[dict]) -> list[float]:
    """Return 1 for each reply that has the form that its row asks for, else 0."""
    return [float(graders.grade(row["check"], reply).follows) for reply, row in zip(replies, rows, strict=True)]


def length(replies: Sequence[str], rows: Sequence[dict]) -> list[float]:
    """Return the number of words of each reply."""
    return [float(len(reply.split())) for reply in replies]


NAMED: dict[str, Reward] = {"correct": correct, "follows": follows, "length": length}


def find_reward(name: str) -> Reward:
    """Return the reward of that name. Raises InputError for an unknown one, and for a keyword that is not one word."""
    if name.startswith(KEYWORD) and (asked := _words(name.removeprefix(KEYWORD))):
        word, *others = asked  # without punctuation, as the words of a reply are
        if others or not word:
            raise InputError(
                f"reward {shortened(name)}: replies are searched word by word, so the keyword must be one word; write {KEYWORD}WORD"
            )
        return lambda replies, rows: [float(word in _words(reply)) for reply in replies]
    if name not in NAMED:
        raise InputError(
            f"reward {shortened(name)} is unknown{known_names(name, [*NAMED, KEYWORD + 'WORD'])}; or give the id of a run of a reward model"
        )
    return NAMED[name]


def _words(text: str) -> list[str]:
    return [word.strip(".,:;!?\"'()").lower() for word in text.split()]


def source_of(reward: Reward) -> dict[str, object]:
    """Return name and source text of a function, and what it uses of its module: they name the runs that it rewards.

    Of its module these are numbers, texts, collections of them, patterns, and functions with all that they use in turn; its defaults too.

    Raises:
        InputError: the source is not to be had, or does not say all: values from outside would make another reward of the same name.
    """
    if not inspect.isfunction(reward):
        raise InputError(
            f"the reward {shortened(reward, 60)} is no plain function, so no source could name the run; write def reward(replies, rows): …"
        )
    what = f"the reward {reward.__name__}"
    try:
        return {"name": reward.__name__, **_named_by(reward, what, what, {reward})}
    except RecursionError:
        raise InputError(
            f"{what} uses a collection that holds itself, or too many levels; write it with fewer"
        ) from None


def _named_by(function: Callable, what: str, reward: str, seen: set[Callable]) -> dict[str, object]:
    """Return what names a reward or a function that it uses: "holds" and "defaults" only where there are any.

    Args:
        what, reward: what the function, and the reward that uses it, are called in messages.
        seen: the functions that were named already, to which it is added.
    """
    text = _source(function, what)
    if outside := function.__code__.co_freevars:
        raise InputError(
            f"{what} depends on {', '.join(outside)} from the function around it, which would not name the run; "
            "write the values into its text"
        )
    used = {name: function.__globals__.get(name) for name in sorted(_names(function.__code__))}
    named = {
        "source": text,
        "uses": {name: value for name, value in used.items() if isinstance(value, str | int | float)},
    }
    read = {name: used[name] for name in sorted(_read_globals(function.__code__)) if name not in named["uses"]}
    held = {name: _held(value, function, reward, seen) for name, value in read.items()}
    if held := {name: value for name, value in held.items() if value is not None}:
        named["holds"] = held
    defaults = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).items()]
    if defaults:
        named["defaults"] = _held(defaults, function, reward, seen)
    return named


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


def _held(value: object, function: Callable, reward: str, seen: set[Callable]) -> object:
    """Return what names a value that a function uses, as JSON: None for what is no collection, pattern or function of its module."""
    if isinstance(value, re.Pattern):
        return {"pattern": str(value.pattern), "flags": value.flags}
    if isinstance(value, dict):
        return _brief([[_item(each, function, reward, seen) for each in pair] for pair in value.items()])
    if isinstance(value, list | tuple):
        return _brief([_item(each, function, reward, seen) for each in value])
    if isinstance(value, set | frozenset):
        return _brief(sorted((_item(each, function, reward, seen) for each in value), key=json.dumps))
    helper = inspect.unwrap(value) if callable(value) else value
    if not inspect.isfunction(helper) or helper.__module__ != function.__module__:
        return None
    if helper in seen:
        return {"name": helper.__name__}
    seen.add(helper)
    return _named_by(helper, f"the function {helper.__name__}, which {reward} uses,", reward, seen)


def _item(value: object, function: Callable, reward: str, seen: set[Callable]) -> object:
    """Return what names a value in a collection, by its type alone where nothing else is known to be the same in every process."""
    if value is None or isinstance(value, str | int) or isinstance(value, float) and math.isfinite(value):
        return value
    held = _held(value, function, reward, seen)
    named = str(value) if isinstance(value, Real | bytes) else f"{type(value).__module__}.{type(value).__qualname__}"
    return {"value": named} if held is None else held


def _brief(items: list) -> object:
    """Return a list as it is, or its hash if it is long."""
    text = json.dumps(items)
    return items if len(text) <= LONGEST else {"sha256": hashlib.sha256(text.encode()).hexdigest()}


def _read_globals(code: CodeType) -> set[str]:
    """Return the global names that a function reads, unlike :func:`_names` without its attributes of the same name."""
    inner = (_read_globals(part) for part in code.co_consts if isinstance(part, CodeType))
    return {step.argval for step in dis.get_instructions(code) if step.opname == "LOAD_GLOBAL"}.union(*inner)


def _names(code: CodeType) -> set[str]:
    """Return the names that a function uses, those inside its comprehensions too."""
    inner = (_names(part) for part in code.co_consts if isinstance(part, CodeType))
    return set(code.co_names).union(*inner)


def checked(name: str, reward: Reward, replies: Sequence[str], rows: Sequence[dict]) -> list[float]:
    """Call a reward and return what it gives. Raises InputError where that is not one finite number per reply."""
    try:
        given = reward(replies, rows)
    except InputError:
        raise
    except Exception as error:  # whatever it is, it is the reward's
        raise InputError(f"the reward {name} raises {type(error).__name__}: {first_line(error)}") from error
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise InputError(
            f"the reward {name} gives {shortened(given, 40)} ({type(given).__name__}); it must give a list of numbers, one per reply"
        )
    values = list(given)
    if len(values) != len(replies):
        raise InputError(
            f"the reward {name} gives {len(values)} values for {len(replies)} replies; it must give one each"
        )
    for i, value in enumerate(values):
        if not isinstance(value, Real):
            raise InputError(
                f"the reward {name} gives {shortened(value, 40)} ({type(value).__name__}) for the reply {shortened(replies[i], 60)}; "
                "it must give numbers"
            )
        if not math.isfinite(value):
            raise InputError(
                f"the reward {name} gives {value} for the reply {shortened(replies[i], 60)}; it must give finite numbers"
            )
    return [float(value) for value in values]
