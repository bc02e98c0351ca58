"""Tools that really run in the pocket world, and whole conversations with them, scored by their last answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd
import transformers

from workbench.data import content
from workbench.errors import InputError
from workbench.evaluate import scoring, tool_use
from workbench.models import adapters
from workbench.pocket import dialogue_items, graders
from workbench.store import Run, Store

UNSOUND = ("no JSON", "unknown tool", "wrong arguments")


"""Failures of a call's form; a sound call can still ask for a thing that has no price."""


def functions() -> dict[str, Callable[[str], str]]:
    """What runs when a model calls one of the tools of the rows: the calculator, and the price list."""
    prices = {
        call["arguments"]["item"]: said for call, _, _, said, _ in dialogue_items.calls() if call["name"] == "look_up"
    }
    return {"calculator": tool_use.calculator, "look_up": tool_use.look_up(prices)}


def play_tools(
    model: transformers.PreTrainedModel,
    tokenizer: transformers.PreTrainedTokenizerBase,
    rows: Sequence[dict],
    max_new_tokens: int = scoring.REPLY_TOKENS,
) -> pd.DataFrame:
    """Let the model answer rows that ask for a tool call, with tools that run, until it says something to the user.

    Returns:
        A row a prompt: index, family, prompt; said (its turns and those of the tools, a line each), response (the last turn),
        expected (what the right call returns), failure (of its first failed call, or ""), sound (it called, and every call was
        JSON that named a tool and had arguments of the right types), correct (it ended with an answer that says what was expected).

    Raises:
        InputError: no row, or a row whose check is no tool call.
    """
    if not rows or any(row["check"]["name"] != "tool_call" for row in rows):
        raise InputError("tool conversations need one row or more, each with the check tool_call; leave other rows out")
    run = functions()
    asked = [row["messages"][:-1] for row in rows]
    records = []
    played = tool_use.converse(model, tokenizer, asked, content.row_tools(rows[0]), run, max_new_tokens=max_new_tokens)
    for index, (row, done) in enumerate(zip(rows, played, strict=True)):
        wanted = row["check"]["args"]
        expected = run[wanted["name"]](**wanted["arguments"])
        turns = [f"{turn['role']}: {turn['content']}" for turn in done.messages[len(asked[index]) :]]
        failures = [call.failure for call in done.calls if call.failure]
        records.append(
            {
                "index": index,
                "family": row["family"],
                "prompt": content.prompt_text(row),
                "said": "\n".join(turns),
                "response": done.messages[-1]["content"],
                "expected": expected,
                "failure": failures[0] if failures else "",
                "sound": bool(done.calls) and not set(failures) & set(UNSOUND),
                "correct": done.end == "answer" and graders.mentions(done.messages[-1]["content"], expected),
            }
        )
    return pd.DataFrame(records)


def score_tools(run: Run, rows: Sequence[dict], store: Store | None = None) -> pd.DataFrame:
    """Table of :func:`play_tools` for a run; kept with the run."""

    def make() -> pd.DataFrame:
        return play_tools(*adapters.load_any(run), rows)

    return (store or Store()).cached([run, *scoring.evaluation_key(rows)], "tools", make)
