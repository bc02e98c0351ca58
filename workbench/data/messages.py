"""Read the turns of a row as a list of messages, add system prompt, history and input from their own columns, and check the whole conversation."""

import re
from collections import Counter
from itertools import takewhile

from workbench.data import tool_calls
from workbench.data.turns import ROLE_FIELDS, plain_text, read_turn
from workbench.data.values import is_empty, parse_json, says_nothing, text_of
from workbench.errors import BadRow

EXCHANGES = (  # fields of an object that is a question with its answer
    ("input", "output"), ("instruction", "output"), ("human", "assistant"), ("user", "assistant"), ("question", "answer"),
    ("prompt", "response"), ("query", "response"),
)  # fmt: skip


def read_turns(value, field: str, tools: list[dict] | None, ignored: Counter) -> list[dict]:
    """Return the messages in `value`, a list of turns or JSON text of one, checked turn by turn.

    Leading system turns are joined, tool results are put in the order of their calls, reasoning is written as <think>…</think> before
    the answer (as Qwen 3 and DeepSeek do), and turns that are not to be learned have weight 0.

    Args:
        value: the turns; plain strings are alternating turns, the user's first (LIMA).
        field: the column, for messages.
        tools: schemas of the row's tools.
        ignored: counts the fields that are left out.
    """
    turns = _by_turn(parse_json(value, field))
    if not isinstance(turns, list) or not turns:
        raise BadRow(field, "not a list of messages" if turns else "empty", "give at least a question and its answer")
    if all(isinstance(turn, str) for turn in turns):
        turns = [{"role": ("user", "assistant")[i % 2], "content": turn} for i, turn in enumerate(turns)]
    turns = [each for turn in turns for each in _exchange(turn)]
    places, messages = [], []
    for i, turn in enumerate(turns):
        message = read_turn(turn, f"{field}[{i}]", ignored)
        if tools and message["role"] == "system" and "<tools>" in message["content"]:
            continue  # Hermes: it lists the tools of the column `tools` and how to call them; the template writes both
        places.append(f"{field}[{i}]")
        messages.append(tool_calls.from_tags(message, places[-1]) if tools else message)
    _check_weights(messages, field)
    tool_calls.check(messages, places, tools)
    messages = [{k: v for k, v in m.items() if k != "weight" or v == 0} for m in messages]
    return join_system(tool_calls.in_call_order(messages), field)


def _by_turn(value):
    """Return one object per turn where datasets stores one list per field: {"from": […], "value": […]}."""
    if isinstance(value, dict) and value and all(isinstance(each, list) for each in value.values()):
        lengths = {len(each) for each in value.values()}
        if len(lengths) == 1:
            return [dict(zip(value, each, strict=True)) for each in zip(*value.values(), strict=True)]
    return value


def _exchange(turn) -> list:
    """Return the two turns of an object that holds a question and its answer (Capybara), else the turn itself."""
    if isinstance(turn, dict) and not any(name in turn for name in ROLE_FIELDS):
        for asked, answered in EXCHANGES:
            if asked in turn and answered in turn:
                return [{"role": "user", "content": turn[asked]}, {"role": "assistant", "content": turn[answered]}]
    return [turn]


def join_system(messages: list[dict], field: str) -> list[dict]:
    """Return the messages with their leading system turns joined by a blank line. Raises BadRow if others follow later."""
    leading = list(takewhile(lambda message: message["role"] == "system", messages))
    if any(message["role"] == "system" for message in messages[len(leading) :]):
        raise BadRow(field, "a system turn after the conversation has begun", "move it to the beginning or remove it")
    if len(leading) < 2:
        return messages
    joined = "\n\n".join(message["content"].strip() for message in leading)
    return [{"role": "system", "content": joined}, *messages[len(leading) :]]


def check_conversation(messages: list[dict], asked: str, answered: str, answers: bool = True) -> list[dict]:
    """Return the messages. Raises BadRow unless the user begins, no turn is empty, and the assistant has the last word.

    Args:
        asked, answered: the columns that hold the user's and the assistant's turns, for messages.
        answers: False lets the user have the last word, and drops a last answer that is empty.
    """
    last = messages[-1]
    if not answers and last["role"] == "assistant" and says_nothing(last["content"]) and "tool_calls" not in last:
        messages = messages[:-1]
    for i, message in enumerate(messages):
        field, what = {"user": (asked, "prompt"), "assistant": (answered, "response")}.get(message["role"], ("", ""))
        if field and says_nothing(message["content"]) and "tool_calls" not in message:
            place = f"{field}[{i}]" if asked == answered else field
            raise BadRow(place, f"empty {what}", "write it or remove the row")
    if not messages or messages[-1]["role"] not in (("assistant",) if answers else ("assistant", "user")):
        ends = f"ends with the {messages[-1]['role']}" if messages else "empty"
        raise BadRow(answered, ends, "answer this turn or drop it" if answers else "end it with a turn of the user")
    opening = next((message["role"] for message in messages if message["role"] != "system"), "system")
    if opening != "user":
        raise BadRow(asked, f"begins with the {opening}", "drop this turn or put the user's before it")
    if answers and all(message.get("weight") == 0 for message in messages if message["role"] == "assistant"):
        raise BadRow(answered, "every answer has weight 0", "let one answer be learned or remove the row")
    return messages


def _check_weights(messages: list[dict], field: str) -> None:
    """Raise BadRow where a turn that is no answer is to be learned; the same weight 1 on every turn says nothing."""
    if all(message.get("weight") == 1 for message in messages):
        return
    for i, message in enumerate(messages):
        if message["role"] != "assistant" and message.pop("weight", 0):
            raise BadRow(
                f"{field}[{i}]",
                f"a turn of the {message['role']} with weight 1",
                "only answers are learned; set it to 0",
            )


def listed(value, field: str, role: str, ignored: Counter, tools: list[dict] | None = None) -> list[dict]:
    """Return the messages in a column: a list of turns, one turn, a conversation as hh-rlhf writes it, or a plain text of `role`."""
    if isinstance(value, str) and value.startswith("\n\nHuman:"):
        _, *parts = re.split(r"\n\n(Human|Assistant): ?", value)
        roles = {"Human": "user", "Assistant": "assistant"}
        turns = [
            {"role": roles[name], "content": text.strip()} for name, text in zip(parts[::2], parts[1::2], strict=True)
        ]
        return turns[:-1] if role == "user" and turns[-1] == {"role": "assistant", "content": ""} else turns
    if isinstance(value, dict):
        value = [value]
    if isinstance(value, list) and any(isinstance(turn, str) for turn in value):
        raise BadRow(
            field, "a list of texts where one text is needed", "write one text, or messages with role and content"
        )
    if isinstance(value, list) or isinstance(value, str) and value.startswith('[{"'):
        return read_turns(value, field, tools, ignored)
    return [{"role": role, "content": text_of(value, field)}]


def with_addition(turns: list[dict], column: str, value) -> list[dict]:
    """Return the turns with a text that belongs to the prompt, joined to the last user turn by a blank line."""
    if is_empty(value):
        return turns
    text = text_of(value, column)
    place = max((i for i, turn in enumerate(turns) if turn["role"] == "user"), default=None)
    if place is None:
        raise BadRow(column, "no turn of the user that it could belong to", "write the prompt")
    joined = turns[place] | {"content": f"{turns[place]['content']}\n\n{text}"}
    return [*turns[:place], joined, *turns[place + 1 :]]


def with_opening(turns: list[dict], history: tuple[str, object], system: tuple[str, object]) -> list[dict]:
    """Return the turns after the system prompt and the earlier turns of columns of their own, each (column, value)."""
    column, value = history
    if not is_empty(value):
        value = parse_json(value, column)
        pairs = isinstance(value, list) and all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in value)
        earlier = [text for pair in value for text in pair] if pairs else value
        earlier = read_turns(earlier, column, None, Counter())
        if turns and turns[0]["role"] == "system":
            turns = [turns[0], *earlier, *turns[1:]]
        else:
            turns = [*earlier, *turns]
    column, value = system
    if is_empty(value):
        return turns
    text = plain_text(value, column)
    if turns[0]["role"] != "system":
        return [{"role": "system", "content": text}, *turns]
    if text.strip() != turns[0]["content"].strip():
        fix = "say which one to read: columns, --columns system= takes the turn"
        raise BadRow(column, "its text differs from the system turn", fix)
    return turns


def mentioned(value, turns: list[dict]) -> bool:
    """Return whether the turns hold a text (or the texts of a list of messages); values that are no text count as held."""
    if isinstance(value, list):
        return all(mentioned(turn.get("content"), turns) for turn in value if isinstance(turn, dict))
    text = value.strip() if isinstance(value, str) else ""
    return any(text in turn["content"] for turn in turns)
