"""Bound what a chat template of others may take: it is a program."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import transformers
from jinja2 import TemplateError, TemplateSyntaxError

from workbench.errors import InputError, first_line

# Bounds on what a foreign template may take for one short turn; those of TRL write up to 1,000 characters in a millisecond.
TEMPLATE_SECONDS, TEMPLATE_CHARACTERS = 5, 100_000

# What the code of a chat template raises on turns that it does not expect
REFUSALS = (TemplateError, TypeError, ValueError, LookupError)

SYSTEM, USER, ANSWER = (
    {"role": role, "content": text} for role, text in (("system", "s9"), ("user", "u9"), ("assistant", "b"))
)


def require_rendering(tokenizer: transformers.PreTrainedTokenizerBase, name: str) -> None:
    """Raise InputError where the template loops, recurses or writes without end on two short turns. A template is a program of others."""
    fix = "restore chat_template.jinja, or take another base"
    messages = [USER, ANSWER]
    try:
        for turns in (messages, messages[:1]):
            with time_limit(TEMPLATE_SECONDS):
                text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=len(turns) == 1)
            if len(text) > TEMPLATE_CHARACTERS:
                raise InputError(f"{name}: the chat template writes {len(text):,} characters for one short turn; {fix}")
    except TimeoutError as error:
        raise InputError(
            f"{name}: the chat template takes over {TEMPLATE_SECONDS} s for one short turn; {fix}"
        ) from error
    except (RecursionError, OverflowError, MemoryError) as error:
        raise InputError(f"{name}: the chat template cannot be rendered ({type(error).__name__}); {fix}") from error
    except TemplateSyntaxError as error:
        raise InputError(f"{name}: the chat template cannot be rendered ({first_line(error)}); {fix}") from error
    except TemplateError:
        pass  # it may want turns of another kind: validation renders the rows themselves and names those that it refuses


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise TimeoutError inside the `with` block once it has taken so long; any thread may use it, unlike a signal."""
    done, lock, thread = False, threading.Lock(), threading.get_ident()

    def interrupt() -> None:
        with lock:
            if not done:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(TimeoutError))

    timer = threading.Timer(seconds, interrupt)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        with lock:
            done = True
        timer.cancel()
