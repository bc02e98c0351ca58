"""The common shapes of instruction data, each turned into one: messages of which the last is the answer.

Every converter takes one row as it stands in the file and returns the columns that training reads: `messages`, or
`prompt`, `chosen` and `rejected` (each a list of messages) for preference data. A row that cannot be used raises BadRow.
"""

import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

ROLES = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "tool": "tool",
}


# Trainers take these columns for training data whatever else is there, so they are not kept beside `messages`.
CALL = re.compile(r"<tool_call>\s*(.*?)\s*</tool_call>", re.DOTALL)


RESULT = re.compile(r"</?tool_response>")


READ_BY_TRAINERS = {"messages", "prompt", "completion", "chosen", "rejected", "text", "input_ids", "labels", "tools"}


class BadRow(Exception):
    """A row that cannot be used: the field, what is wrong with it, and the mend."""

    def __init__(self, field: str, wrong: str, mend: str):
        super().__init__(f"field {field}: {wrong}; {mend}" if field else f"{wrong}; {mend}")
        self.wrong = wrong


@dataclass(frozen=True)
class Format:
    """A shape of data: the columns by which it is recognised, and how one row becomes messages."""

    name: str
    """As users call it: "Alpaca"."""
    columns: tuple[str, ...]
    """The columns that must be there."""
    also: tuple[str, ...]
    """Columns that are read where they are there."""
    convert: Callable[[dict], dict]
    """Row → {"messages"} or {"prompt", "chosen", "rejected"}."""


def recognise(rows: list[dict]) -> Format | None:
    """The format whose columns stand in at least half of the rows (a row that lacks one is bad, not of another format)."""
    counts = Counter(column for row in rows for column in row)
    columns = {column for column, count in counts.items() if 2 * count >= len(rows)}
    return next((form for form in FORMATS if columns.issuperset(form.columns)), None)


def known() -> str:
    """The formats and their columns, in one line for error messages."""
    return "; ".join(f"{form.name} ({', '.join(form.columns + form.also)})" for form in FORMATS)


def to_messages(form: Format, row: dict) -> dict:
    """Convert and check one row. Raises BadRow.

    Columns that the format does not read are kept, except those that a trainer would take for training data.
    """
    for field, value in row.items():
        try:
            json.dumps(value, ensure_ascii=False, default=str).encode()
        except UnicodeEncodeError:
            raise BadRow(field, "half a character (a lone surrogate)", "write this text again") from None
    if "tools" in row:
        row = row | {"tools": _parsed(row["tools"], "tools")}
    data = form.convert(row)
    if "messages" in data:
        first = "messages"
        _check(data["messages"], form.columns[0], form.columns[-1])
    else:
        first = "prompt"
        _check(data["prompt"] + data["chosen"], "prompt", "chosen")
        _check(data["prompt"] + data["rejected"], "prompt", "rejected")
    if row.get("system") and data[first][0]["role"] != "system":
        data[first] = [{"role": "system", "content": _text(row, "system")}, *data[first]]
    if tools := row.get("tools"):
        if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
            raise BadRow("tools", "not a list of JSON schemas", "write each tool as one JSON object")
        data["tools"] = without_nulls(tools)
    read = {*form.columns, *form.also, "system", *READ_BY_TRAINERS}
    plain = (str, bool, int, float, list, dict)
    return data | {name: value for name, value in row.items() if name not in read and isinstance(value, plain)}


def without_nulls(value):
    """`value` without the empty fields that Parquet fills in where rows have different keys."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


def _text(row: dict, field: str, name: str | None = None) -> str:
    value, name = row.get(field), name or field
    if value is None:
        raise BadRow(name, "missing", "write the text or remove the row")
    if not isinstance(value, str):
        raise BadRow(name, f"{type(value).__name__} where text is needed", "write it as one string")
    return value


def _parsed(value, field: str):
    """Lists stand as JSON text in a CSV cell, and on the Hub where rows have different keys."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value or "null")
    except json.JSONDecodeError:
        raise BadRow(field, "text where a list is needed", "write it as JSON") from None


def _turns(row: dict, field: str) -> list[dict]:
    """The messages in `field`: role and content, or from and value."""
    turns = _parsed(row.get(field), field)
    if not isinstance(turns, list) or not turns:
        raise BadRow(field, "not a list of messages" if turns else "empty", "give at least a question and its answer")
    if all(isinstance(turn, str) for turn in turns):  # LIMA: the turns alone, the user's first
        turns = [{"role": ("user", "assistant")[i % 2], "content": turn} for i, turn in enumerate(turns)]
    messages = []
    for i, turn in enumerate(turns):
        name = f"{field}[{i}]"
        if not isinstance(turn, dict):
            raise BadRow(name, f"{type(turn).__name__} where a message is needed", "write role and content")
        turn = without_nulls(turn)
        role, content = ("from", "value") if "from" in turn else ("role", "content")
        spoken = turn.get(role)
        if not isinstance(spoken, str) or spoken not in ROLES:
            mend = f"use one of {', '.join(ROLES)}"
            raise BadRow(f"{name}.{role}", f"unknown role {spoken!r}" if spoken else "missing", mend)
        message = {"role": ROLES[spoken], "content": ""}
        if content in turn or not turn.get("tool_calls"):
            message["content"] = _text(turn, content, f"{name}.{content}")
        calls = turn.get("tool_calls", [])
        if not isinstance(calls, list) or not all(isinstance(call, dict) for call in calls):
            raise BadRow(f"{name}.tool_calls", "not a list of calls", 'write each as {"name": …, "arguments": {…}}')
        messages.append(message | {key: turn[key] for key in ("tool_calls", "name") if turn.get(key)})
    return messages


def _check(messages: list[dict], asked: str, answered: str) -> None:
    """A conversation that can be trained on: the user begins, nothing is empty, the assistant has the last word."""
    for i, message in enumerate(messages):
        field, what = {"user": (asked, "prompt"), "assistant": (answered, "response")}.get(message["role"], ("", ""))
        if field and not message["content"].strip() and "tool_calls" not in message:
            place = f"{field}[{i}]" if asked == answered else field
            raise BadRow(place, f"empty {what}", "write it or remove the row")
    if messages[-1]["role"] != "assistant":
        raise BadRow(answered, f"ends with the {messages[-1]['role']}", "answer this turn or drop it")
    opening = next(message["role"] for message in messages if message["role"] != "system")
    if opening != "user":
        raise BadRow(asked, f"begins with the {opening}", "drop this turn or put the user's before it")


def _asked(instruction: str, addition: str | None) -> dict:
    """Instruction and its input as one user turn, joined with a blank line."""
    return {"role": "user", "content": f"{instruction}\n\n{addition}" if (addition or "").strip() else instruction}


def _pair(row: dict, addition: str, answer: str) -> dict:
    text = _text(row, addition) if row.get(addition) is not None else None
    user = _asked(_text(row, "instruction"), text)
    return {"messages": [user, {"role": "assistant", "content": _text(row, answer)}]}


def _self_instruct(row: dict) -> dict:
    instances = _parsed(row.get("instances"), "instances")
    if not isinstance(instances, list) or not instances or not isinstance(instances[0], dict):
        raise BadRow("instances", "no instance", "give at least one {input, output}")
    return _pair({"instruction": row.get("instruction")} | instances[0], "input", "output")


def _listed(row: dict, field: str, role: str) -> list[dict]:
    """The field's messages; plain text is one message of `role`, or a conversation as hh-rlhf writes it."""
    value = row.get(field)
    if isinstance(value, str) and value.startswith("\n\nHuman:"):
        _, *parts = re.split(r"\n\n(Human|Assistant): ?", value)
        spoken = zip(parts[::2], parts[1::2], strict=True)
        return [{"role": ROLES[role.lower()], "content": content.strip()} for role, content in spoken]
    if isinstance(value, list) or isinstance(value, str) and value.startswith('[{"'):
        return _turns(row, field)
    return [{"role": role, "content": _text(row, field)}]


def _prompt_completion(row: dict) -> dict:
    return {"messages": _listed(row, "prompt", "user") + _listed(row, "completion", "assistant")}


def _sharegpt(row: dict) -> dict:
    """ShareGPT turns. Calls and results that stand as text in tags (Hermes) become calls and results; so our template writes them."""
    turns = _turns(row, "conversations")
    if not row.get("tools"):
        return {"messages": turns}
    messages = []
    for i, turn in enumerate(turns):
        if turn["role"] == "system" and "<tools>" in turn["content"]:
            continue  # it lists the tools of the column `tools`, and says how to call them: the template does both
        if turn["role"] == "assistant" and (calls := CALL.findall(turn["content"])):
            field = f"conversations[{i}].value"
            turn = {
                "role": "assistant",
                "content": CALL.sub("", turn["content"]).strip(),
                "tool_calls": [_call(_parsed(call, field), field) for call in calls],
            }
        if turn["role"] == "tool":
            turn = turn | {"content": RESULT.sub("", turn["content"]).strip()}
        messages.append(turn)
    return {"messages": messages}


def _xlam(row: dict) -> dict:
    """A request and the calls that answer it, both lists as JSON text."""
    calls = _parsed(row.get("answers"), "answers")
    if not isinstance(calls, list) or not calls:
        raise BadRow("answers", "no call", 'write each as {"name": …, "arguments": {…}}')
    answer = {"role": "assistant", "content": "", "tool_calls": [_call(call, "answers") for call in calls]}
    return {"messages": [{"role": "user", "content": _text(row, "query")}, answer]}


def _call(call, field: str) -> dict:
    if not isinstance(call, dict) or not isinstance(call.get("name"), str):
        raise BadRow(field, "a call without a name", 'write each as {"name": …, "arguments": {…}}')
    return {"type": "function", "function": {"name": call["name"], "arguments": call.get("arguments") or {}}}


def better(row: dict) -> bool:
    """Whether the chosen answer of a pair has the higher score, where both have one (UltraFeedback has ties, and some the wrong way round)."""
    scores = [row.get(f"score_{side}") for side in ("chosen", "rejected")]
    return None in scores or scores[0] > scores[1]


def _preference(row: dict) -> dict:
    """The prompt stands in its own column, in an instruction, or is what both message lists begin with."""
    chosen, rejected = _listed(row, "chosen", "assistant"), _listed(row, "rejected", "assistant")
    if any(message["role"] == "user" for message in chosen):
        shared = 0  # the last message is an answer even where chosen and rejected are the same
        while shared < min(len(chosen), len(rejected)) - 1 and chosen[shared] == rejected[shared]:
            shared += 1
        prompt, chosen, rejected = chosen[:shared], chosen[shared:], rejected[shared:]
        if any(message["role"] == "user" for message in chosen + rejected):
            mend = "let both begin with the same turns, and differ in the last answer alone"
            raise BadRow("chosen", "its prompt differs from that of rejected", mend)
    elif row.get("prompt") is not None:
        prompt = _listed(row, "prompt", "user")
    elif row.get("instruction") is not None:
        prompt = [_asked(_text(row, "instruction"), row.get("input"))]
    else:
        prompt = []
    if not prompt:
        raise BadRow("prompt", "missing", "give prompt or instruction, or message lists that begin with the same turns")
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected}


FORMATS = (
    Format("chosen/rejected", ("chosen", "rejected"), ("prompt", "instruction", "input"), _preference),
    Format("messages", ("messages",), (), lambda row: {"messages": _turns(row, "messages")}),
    Format("ShareGPT", ("conversations",), (), _sharegpt),
    Format("xLAM", ("query", "answers", "tools"), (), _xlam),
    Format("prompt/completion", ("prompt", "completion"), (), _prompt_completion),
    Format("self-instruct", ("instruction", "instances"), (), _self_instruct),
    Format("Alpaca", ("instruction", "output"), ("input",), lambda row: _pair(row, "input", "output")),
    Format("Dolly", ("instruction", "response"), ("context",), lambda row: _pair(row, "context", "response")),
)
