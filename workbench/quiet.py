"""Keep the libraries' small talk out of a reader's sight."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import datasets
from transformers.utils import logging


@contextmanager
def few_bars() -> Iterator[None]:
    """Hide the many short bars of tokenising, loading and saving, which say nothing; the bar of a training stays.

    Also works as a decorator.
    """
    in_datasets, in_transformers = not datasets.are_progress_bars_disabled(), logging.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            # PEFT asks transformers by a name that transformers has given up: nothing that a user could mend
            warnings.filterwarnings(
                "ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning
            )
            yield
    finally:
        if in_datasets:
            datasets.enable_progress_bars()
        if in_transformers:
            logging.enable_progress_bar()


@contextmanager
def errors_only() -> Iterator[None]:
    """Let transformers say nothing below an error."""
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)
