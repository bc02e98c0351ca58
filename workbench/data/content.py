"""What a row says: its conversations, prompt, answer and tools, as messages, as plain text and as one hash.

Rows are as :func:`workbench.data.reading.load` returns them, instruction rows and preference pairs alike.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable

import datasets
import numpy as np

from workbench.data import duplicates
from workbench.errors import InputError


def task_types(rows: datasets.Dataset, by: str = "family") -> list[str]:
    """Return the task type of each row: column `by`, `category` or `source`, the first that has more than one value.

    Without such a column it is the first word of the instruction, in lower case, or "other" for words that fewer than 1% of the rows
    begin with. Instructions mostly begin with the verb that says what to do: Self-Instruct (Wang et al. 2022, arXiv 2212.10560)
    groups its tasks by it.
    """
    for name in (by, "category", "source"):
        found = list(rows[name]) if name in rows.column_names else []
        if all(isinstance(value, str) for value in found) and len(set(found)) > 1:
            return found
    words = opening_words(rows, 1)
    counts = Counter(words)
    return [word if 100 * counts[word] >= len(words) else "other" for word in words]


def opening_words(rows: datasets.Dataset, words: int = 2) -> list[str]:
    """Return the first words of the first user turn of each row, in lower case and without punctuation."""
    asked = (next(turn["content"] for turn in conversation(row) if turn["role"] == "user") for row in rows)
    return [" ".join(duplicates.normalise_words(text[:200]).split()[:words]) for text in asked]


def conversation(row: dict) -> list[dict]:
    """Return the messages of a row up to its answer; for a preference pair up to the chosen answer."""
    return conversations(row)[0]["messages"]


def conversations(row: dict) -> list[dict]:
    """Return the conversations that training on a row reads, each a row with `messages` and `tools`.

    An instruction row is one conversation; a preference pair is two: the prompt with the chosen and with the rejected answer.
    """
    if row.get("messages"):
        return [row]
    return [{"messages": row["prompt"] + row[answer], "tools": row.get("tools")} for answer in ("chosen", "rejected")]


def prompt_turns(row: dict) -> list[dict]:
    """Return the turns of a row that ask: of an instruction row those before its last answer, of a pair or a prompt the prompt."""
    turns = row.get("messages") or row.get("prompt") or []
    turns = [{"role": "user", "content": turns}] if isinstance(turns, str) else turns
    return turns[:-1] if turns and turns[-1]["role"] == "assistant" else turns


def row_tools(row: dict) -> list[dict] | None:
    """Return the tools of a row as a list, parsed where the column holds JSON text; None if there are none."""
    given = row.get("tools")
    return (json.loads(given) if isinstance(given, str) else given) or None


def content_hash(rows: Iterable[dict]) -> str:
    """Return the SHA-256 of what training reads (messages, tools, preference pairs), in order; other columns are ignored.

    A Dataset is hashed once per process: the result is remembered under the fingerprint that the library gives to its content.
    """
    if not isinstance(rows, datasets.Dataset):
        return _hash(rows)
    fingerprint = rows._fingerprint
    if fingerprint not in _hashes:
        _hashes[fingerprint] = _hash(rows)
    return _hashes[fingerprint]


_hashes: dict[str, str] = {}


def _hash(rows: Iterable[dict]) -> str:
    digest = hashlib.sha256()
    for row in rows:
        read = {key: row[key] for key in ("messages", "prompt", "chosen", "rejected") if row.get(key)}
        read |= {"tools": row_tools(row)} if row_tools(row) else {}
        digest.update(json.dumps(_without_nulls(read), sort_keys=True, ensure_ascii=False).encode() + b"\n")
    return digest.hexdigest()


def _without_nulls(value):
    """Return `value` without empty fields, which Arrow fills in; in arguments and parameters, null is a value and stays."""
    if isinstance(value, dict):
        kept = {key: item for key, item in value.items() if item is not None}
        return {key: item if key in ("arguments", "parameters") else _without_nulls(item) for key, item in kept.items()}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def answered_turns(row: dict) -> list[tuple[str, str]]:
    """Return (everything said before, answer) for each answered turn of a row, without system turns."""
    turns = [turn for turn in conversation(row) if turn["role"] != "system"]
    texts = [_bare_text(turn) for turn in turns]
    return [("\n".join(texts[:i]), texts[i]) for i, turn in enumerate(turns) if turn["role"] == "assistant" and i]


def question_and_answer(row: dict) -> tuple[str, str]:
    """Return (everything before the last answer, that answer) as plain text; tools, system prompt and earlier turns one per line."""
    texts = [_bare_text(turn) for turn in row["messages"]]
    return "\n".join([*map(json.dumps, row_tools(row) or []), *texts[:-1]]), texts[-1]


def _bare_text(message: dict) -> str:
    """Return the content of a message; if it has none, its tool calls as JSON."""
    calls = message.get("tool_calls")
    return message.get("content") or (json.dumps(calls) if calls else "")


def message_text(message: dict) -> str:
    """Return the text of a message, with its tool calls as the chat template writes them."""
    calls = [call.get("function") or call for call in message.get("tool_calls") or []]
    calls = [json.dumps({"name": call["name"], "arguments": call["arguments"]}) for call in calls]
    return "\n".join(filter(None, [message.get("content"), *(f"<tool_call>{call}</tool_call>" for call in calls)]))


def offered_tools(row: dict) -> list[str]:
    """Return the schemas of the tools that a row offers, each as one line of JSON."""
    return [json.dumps(tool.get("function") or tool) for tool in row_tools(row) or []]


def plain_prompt(row: dict) -> str:
    """Return the prompt of a row as plain text: the offered tools and the turns before the reference answer, one per line."""
    return "\n".join([*offered_tools(row), prompt_text(row)])


def prompt_text(row: dict) -> str:
    """Return the turns before the reference answer as plain text, one per line."""
    return "\n".join(message_text(message) for message in row["messages"][:-1])


def few_shot_examples(index: int, row: dict, shots: list[dict], k: int = 4) -> list[dict]:
    """Draw up to `k` solved examples for a row, from its own family if `shots` has any, and never with its own prompt.

    The draw is seeded with the row's index, so that a second evaluation sees the same examples.

    Raises:
        InputError: no example is left to draw from.
    """
    prompt = prompt_text(row)
    others = [shot for shot in shots if prompt_text(shot) != prompt]
    pool = [shot for shot in others if shot.get("family") == row.get("family")] or others
    if not pool:
        raise InputError(f"few-shot row {index}: there is no solved example; pass training rows as shots")
    drawn = np.random.default_rng(index).choice(len(pool), size=min(k, len(pool)), replace=False)
    return [pool[i] for i in drawn]


def few_shot_prompt(index: int, row: dict, shots: list[dict], k: int = 4) -> str:
    """Return the prompt of a row as a :func:`quiz_sheet` below its :func:`few_shot_examples`.

    The system prompt and the offered tools belong to no single question and come once, at the top.

    Raises:
        InputError: see :func:`few_shot_examples`.
    """
    system = [message["content"] for message in row["messages"] if message["role"] == "system"]
    row = {**row, "messages": [message for message in row["messages"] if message["role"] != "system"]}
    examples = few_shot_examples(index, row, shots, k)
    solved = [(prompt_text(shot), message_text(shot["messages"][-1])) for shot in examples]
    return quiz_sheet(prompt_text(row), solved, [*system, *offered_tools(row)])


def quiz_sheet(question: str, solved: Iterable[tuple[str, str]] = (), heading: Iterable[str] = ()) -> str:
    """Return a quiz sheet that a base model continues with an answer: "heading\\nQ: …\\nA: …\\n\\nQ: question\\nA:".

    Args:
        question: the open question, the last line but one.
        solved: (question, answer) of the examples above it.
        heading: lines at the top.
    """
    examples = (f"Q: {asked}\nA: {answer}\n\n" for asked, answer in solved)
    return "".join([*(f"{line}\n" for line in heading), *examples, f"Q: {question}\nA:"])
