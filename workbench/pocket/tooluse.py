"""Tools that really run in the pocket world, and whole conversations with them scored by their last answer."""

from collections.abc import Sequence

import pandas as pd
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from .. import data, evaluate, tools
from . import checks, talk


def functions() -> dict:
    """What runs when a model calls one of the tools of the rows: a calculator, and the price list."""
    prices = {call["arguments"]["item"]: said for call, _, _, said, _ in talk.calls() if call["name"] == "look_up"}
    return {"calculator": tools.calculator, "look_up": tools.look_up(prices)}


def play(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: Sequence[dict]
) -> tuple[pd.DataFrame, list[tools.Transcript]]:
    """Let the model answer rows whose answer is a tool call, with tools that run, until it says something to the user.

    Returns:
        A row a prompt (index, family, prompt, calls, failure: of the first call that came to nothing, response: the last turn,
        end, expected: what the right call returns, sound: it made calls and none failed, correct: the last answer says what was
        expected), and the transcripts.
    """
    run = functions()
    asked = [row["messages"][:-1] for row in rows]
    transcripts = tools.converse(model, tokenizer, asked, data.tools(rows[0]), run)
    records = []
    for index, (row, transcript) in enumerate(zip(rows, transcripts, strict=True)):
        wanted = row["check"]["args"]
        expected = run[wanted["name"]](**wanted["arguments"])
        last = transcript.messages[-1]["content"]
        failures = [call.failure for call in transcript.calls if call.failure]
        records.append(
            {
                "index": index,
                "family": row["family"],
                "prompt": evaluate.asked(row),
                "calls": len(transcript.calls),
                "failure": failures[0] if failures else None,
                "response": last,
                "end": transcript.end,
                "expected": expected,
                "sound": bool(transcript.calls) and not failures,
                "correct": transcript.end == "answer" and checks.mentions(last, expected),
            }
        )
    return pd.DataFrame(records), transcripts
