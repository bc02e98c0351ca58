"""Run the tools of the pocket world, and score whole conversations with them by their last answer."""

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
"""Failures of a call's form; a sound call can still ask for an item that has no price."""


def functions() -> dict[str, Callable[[str], str]]:
    """Return the functions that run when a model calls a tool of the rows: the calculator and the price list."""
    prices = {
        call["arguments"]["item"]: price for call, _, _, price, _ in dialogue_items.calls() if call["name"] == "look_up"
    }
    return {"calculator": tool_use.calculator, "look_up": tool_use.look_up(prices)}


def play_tools(
    model: transformers.PreTrainedModel,
    tokenizer: transformers.PreTrainedTokenizerBase,
    rows: Sequence[dict],
    max_new_tokens: int = scoring.REPLY_TOKENS,
) -> pd.DataFrame:
    """Let the model answer rows that ask for a tool call, with tools that run, until it answers the user.

    Returns:
        One row per prompt: index, family, prompt; said (the turns of the model and of the tools, one per line), response (the last
        turn), expected (what the right call returns), failure (of the first failed call, or ""), sound (there was a call, and every call
        was JSON that named a tool, with arguments of the right types), correct (the last answer contains what was expected).

    Raises:
        InputError: there are no rows, or the check of a row is not tool_call.
    """
    if not rows or any(row["check"]["name"] != "tool_call" for row in rows):
        raise InputError("tool conversations need at least one row, all with the check tool_call; leave other rows out")
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
    """Return the table of :func:`play_tools` for a run; it is stored with the run."""

    def make() -> pd.DataFrame:
        return play_tools(*adapters.load_any(run), rows)

    return (store or Store()).cached([run, *scoring.evaluation_key(rows)], "tools", make)
