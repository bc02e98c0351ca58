"""Read tool calls in the shapes of OpenAI (old and new), LLaMA-Factory and Hermes, and check them turn by turn."""

import json
import re

from workbench.data.values import parse_text
from workbench.errors import BadRow

CALL = re.compile(r"<tool_call>\s*(.*?)\s*</tool_call>", re.DOTALL)
RESULT = re.compile(r"</?tool_response>")
SHAPE = 'write each call as {"name": …, "arguments": {…}}'


def of_turn(turn: dict, place: str) -> list[dict]:
    """Return the calls in the fields `tool_calls` or `function_call` of a turn, in OpenAI's shape."""
    if turn.get("tool_calls") and turn.get("function_call"):
        raise BadRow(place, "tool_calls and function_call in one turn", "keep one of them")
    for name in ("tool_calls", "function_call"):
        if turn.get(name):
            return parse(turn[name], f"{place}.{name}")
    return []


def parse(value, field: str) -> list[dict]:
    """Return the calls in a list, a single object or JSON text of either, each {"type": "function", "function": {"name", "arguments"}}.

    Arguments become an object: JSON text is parsed, and missing ones are {}. Explicit nulls in them stay.
    """
    calls = parse_text(value) if isinstance(value, str) else value
    calls = [calls] if isinstance(calls, dict) else calls
    if not isinstance(calls, list) or not calls or not all(isinstance(call, dict) for call in calls):
        raise BadRow(field, "not a list of calls", SHAPE)
    return [_call(call, f"{field}[{i}]") for i, call in enumerate(calls)]


def from_tags(message: dict, place: str) -> dict:
    """Return a message with calls and results that are text in tags (Hermes) as tool_calls and plain results."""
    if message["role"] == "assistant" and (found := CALL.findall(message["content"])) and "tool_calls" not in message:
        calls = [call for text in found for call in parse(text, place)]
        return message | {"content": CALL.sub("", message["content"]).strip(), "tool_calls": calls}
    if message["role"] == "tool":
        return message | {"content": RESULT.sub("", message["content"]).strip()}
    return message


def check(messages: list[dict], places: list[str], tools: list[dict] | None) -> None:
    """Raise BadRow for a call of a tool that the row does not offer, and for a result that belongs to no call before it."""
    offered = {name for tool in tools or [] if isinstance(name := _schema(tool).get("name"), str)}
    pending, results, called = [], 0, False
    for message, place in zip(messages, places, strict=True):
        if message["role"] == "tool":
            results += 1
            _check_result(message, place, pending, results, called)
            continue
        pending, results = message.get("tool_calls", []), 0
        called = called or bool(pending)
        ids = [call["id"] for call in pending if "id" in call]
        if len(set(ids)) < len(ids):
            raise BadRow(f"{place}.tool_calls", "two calls with the same id", "give each call its own id")
        for call in pending:
            name = call["function"]["name"]
            if offered and name not in offered:
                known = ", ".join(sorted(offered))
                raise BadRow(
                    f"{place}.tool_calls", f"calls {name!r}, which the row does not offer", f"its tools are {known}"
                )


def in_call_order(messages: list[dict]) -> list[dict]:
    """Return the messages with the results of each turn in the order of its calls, where ids tell which is whose."""
    ordered, i = list(messages), 0
    while i < len(ordered):
        ids = [call.get("id") for call in ordered[i].get("tool_calls", [])]
        end = i + 1
        while end < len(ordered) and ordered[end]["role"] == "tool":
            end += 1
        found = [message.get("tool_call_id") for message in ordered[i + 1 : end]]
        if found and None not in found and set(found) <= set(ids):
            ordered[i + 1 : end] = sorted(ordered[i + 1 : end], key=lambda message: ids.index(message["tool_call_id"]))
        i = end
    return ordered


def check_schemas(tools) -> list[dict] | None:
    """Return the row's tools if they are a list of JSON schemas. Raises BadRow."""
    if not tools:
        return None
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise BadRow(
            "tools",
            "not a list of JSON schemas",
            "write each tool as one JSON object, or leave the column out: columns, --columns tools=",
        )
    for i, tool in enumerate(tools):
        if not isinstance(name := _schema(tool).get("name"), str) or not name.strip():
            raise BadRow(f"tools[{i}].name", "a tool without a name", "write its name, as calls have it")
    return tools


def _check_result(message: dict, place: str, pending: list[dict], results: int, called: bool) -> None:
    ids = {call["id"] for call in pending if "id" in call}
    answered = message.get("tool_call_id")
    if answered and (ids or pending) and answered not in ids:
        raise BadRow(f"{place}.tool_call_id", f"{answered!r} is the id of no call before it", "use the id of its call")
    if called and results > len(pending):
        raise BadRow(place, "a tool result without a call", "put the assistant's call before it or remove the turn")
    names = {call["function"]["name"] for call in pending}
    if pending and message.get("name") and message["name"] not in names:
        raise BadRow(
            f"{place}.name", f"{message['name']!r} was not called", f"the calls before it are of {', '.join(names)}"
        )


def _call(call: dict, field: str) -> dict:
    body = call.get("function") or call
    if isinstance(body, str):
        body = {**call, "name": body}
    name = body.get("name") if isinstance(body, dict) else None
    if not isinstance(name, str) or not name.strip():
        raise BadRow(f"{field}.name", "a call without a name", SHAPE)
    given = next((body[key] for key in ("arguments", "parameters") if body.get(key) is not None), None)
    arguments = parse_text(given or "{}") if isinstance(given, str) or given is None else given
    if not isinstance(arguments, dict) or not _is_json(arguments):
        raise BadRow(f"{field}.arguments", f"the arguments of {name} are not a JSON object", SHAPE)
    head = {"id": str(call["id"])} if call.get("id") not in (None, "") else {}
    return {**head, "type": "function", "function": {"name": name, "arguments": arguments}}


def _is_json(value) -> bool:
    """Return whether a value can be written as JSON: NaN and infinity cannot."""
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True


def _schema(tool: dict) -> dict:
    inner = tool.get("function")
    return inner if isinstance(inner, dict) else tool
