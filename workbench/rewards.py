"""Name rewards for reinforcement learning: functions that give each reply a number, the higher the better.

A reward takes the replies (text) and their rows, and returns one number for each. Besides the names below, any such function is a
reward, and so is a run of :func:`workbench.train.reward_models`. "correct" and "follows" are verifiable: they ask the row's own check
(RLVR: Lambert et al. 2024, arXiv 2411.15124). "length" and "keyword:WORD" can be hacked, on purpose.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from numbers import Real

from workbench import graders
from workbench.errors import InputError, first_line, known_names, shortened

Reward = Callable[[Sequence[str], Sequence[dict]], Sequence[float]]

VERIFIABLE = ("correct", "follows")
KEYWORD = "keyword:"


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
