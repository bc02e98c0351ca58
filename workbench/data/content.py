"""data.content"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable

import datasets
import numpy as np

from workbench.data import duplicates, formats
from workbench.errors import InputError


def task_types(rows: datasets.Dataset, by: str = "family") -> list[str]:
    """What kind of task each row is: its column `by`, else `category`, else `source`, the first of them that tells rows apart.

    Where none does, the first word of the instruction stands for it, in lower case, if one row in a hundred begins so, else "other".
    Instructions mostly begin with the verb that says what to do: Self-Instruct (Wang et al. 2022, arXiv 2212.10560) counts its own by it.
    """
    for name in (by, "category", "source"):
        found = list(rows[name]) if name in rows.column_names else []
        if all(isinstance(kind, str) for kind in found) and len(set(found)) > 1:
            return found
    words = opening_words(rows, 1)
    counts = Counter(words)
    return [word if 100 * counts[word] >= len(words) else "other" for word in words]


def opening_words(rows: datasets.Dataset, words: int = 2) -> list[str]:
    """The first words of each conversation, as the user says them: lower case, no punctuation."""
    asked = (next(turn["content"] for turn in conversation(row) if turn["role"] == "user") for row in rows)
    return [" ".join(duplicates.normalise_words(text[:200]).split()[:words]) for text in asked]


def conversation(row: dict) -> list[dict]:
    """The row's messages up to its answer; the chosen answer of a preference pair."""
    return row["messages"] if row.get("messages") else row["prompt"] + row["chosen"]


def conversations(row: dict) -> list[dict]:
    """The conversations that training on the row shows: itself, or one with each answer of a preference pair."""
    if row.get("messages"):
        return [row]
    return [{"messages": row["prompt"] + row[answer]} for answer in ("chosen", "rejected")]


def row_tools(row: dict) -> list[dict] | None:
    """The row's tools as a list, which a table made elsewhere may hold as JSON text; None where there are none."""
    given = row.get("tools")
    return (json.loads(given) if isinstance(given, str) else given) or None


def content_hash(rows: Iterable[dict]) -> str:
    """SHA-256 of what training reads (messages, tools, preference pairs), in order; other columns do not count.

    A Dataset is read once in a process: its fingerprint, which the library makes of its content and of what was done to it, is remembered.
    """
    fingerprint = getattr(rows, "_fingerprint", None)
    if fingerprint is None:
        return _hash(rows)
    if fingerprint not in _hashes:
        _hashes[fingerprint] = _hash(rows)
    return _hashes[fingerprint]


_hashes: dict[str, str] = {}


def _hash(rows: Iterable[dict]) -> str:
    digest = hashlib.sha256()
    for row in rows:
        read = {key: row[key] for key in ("messages", "prompt", "chosen", "rejected") if row.get(key)}
        read |= {"tools": row_tools(row)} if row_tools(row) else {}
        digest.update(json.dumps(formats.without_nulls(read), sort_keys=True, ensure_ascii=False).encode() + b"\n")
    return digest.hexdigest()


def answered_turns(row: dict) -> list[tuple[str, str]]:
    """(all that was said before, answer) of each answered turn of a row, system turns left out."""
    turns = [turn for turn in conversation(row) if turn["role"] != "system"]
    texts = [turn.get("content") or json.dumps(turn.get("tool_calls")) for turn in turns]
    return [("\n".join(texts[:i]), texts[i]) for i, turn in enumerate(turns) if turn["role"] == "assistant" and i]


def message_text(message: dict) -> str:
    """The text of one message, with its tool calls written as the chat template writes them."""
    calls = [call.get("function") or call for call in message.get("tool_calls") or []]
    calls = [json.dumps({"name": call["name"], "arguments": call["arguments"]}) for call in calls]
    return "\n".join(filter(None, [message.get("content"), *(f"<tool_call>{call}</tool_call>" for call in calls)]))


def offered_tools(row: dict) -> list[str]:
    """The tools on offer, a line each."""
    return [json.dumps(tool.get("function") or tool) for tool in row_tools(row) or []]


def plain_prompt(row: dict) -> str:
    """The prompt of a row as plain text: the tools on offer and what was said before the reference answer, a line each."""
    return "\n".join([*offered_tools(row), asked(row)])


def asked(row: dict) -> str:
    """What was said before the reference answer, a line each."""
    return "\n".join(message_text(message) for message in row["messages"][:-1])


def few_shot_examples(index: int, row: dict, shots: list[dict], k: int = 4) -> list[dict]:
    """Up to `k` solved examples for a row: of its own family where there are any, else of all, and never its own prompt.

    They are drawn by the row's index, so that a second evaluation sees the same ones.

    Raises:
        InputError: no example is left to draw from.
    """
    prompt = asked(row)
    others = [shot for shot in shots if asked(shot) != prompt]
    pool = [shot for shot in others if shot.get("family") == row.get("family")] or others
    if not pool:
        raise InputError(f"few-shot row {index}: there is no solved example; pass training rows as shots")
    drawn = np.random.default_rng(index).choice(len(pool), size=min(k, len(pool)), replace=False)
    return [pool[i] for i in drawn]


def few_shot_prompt(index: int, row: dict, shots: list[dict], k: int = 4) -> str:
    """A quiz sheet of the row's :func:`few_shot_examples` that ends in its own prompt: "Q: …\\nA: …\\n\\nQ: …\\nA:".

    What belongs to no single question stands once, on top: a system prompt, the tools on offer.

    Raises:
        InputError: see :func:`few_shot_examples`.
    """
    system = [message["content"] for message in row["messages"] if message["role"] == "system"]
    row = {**row, "messages": [message for message in row["messages"] if message["role"] != "system"]}
    solved = [
        f"Q: {asked(shot)}\nA: {message_text(shot['messages'][-1])}\n\n"
        for shot in few_shot_examples(index, row, shots, k)
    ]
    return "".join([*(f"{line}\n" for line in [*system, *offered_tools(row)]), *solved, f"Q: {asked(row)}\nA:"])
