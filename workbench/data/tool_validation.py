"""Find tools that the chat template does not write, and calls whose arguments do not fit the schema of their tool."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import transformers

from workbench.data import chat_formats, content
from workbench.data.findings import Finding, by_position, finding
from workbench.errors import shortened


def tools_dropped(
    rows: Sequence[dict], written: Collection[int], tokenizer: transformers.PreTrainedTokenizerBase
) -> list[Finding]:
    """Find rows with tools that the chat template does not write: the model would learn to say nothing in place of a call.

    Args:
        written: numbers of the rows that the template writes; it refuses the others, and says why.
    """
    using = [
        i
        for i, row in enumerate(rows)
        if i in written and (content.row_tools(row) or any(map(_has_tool_turn, content.conversations(row))))
    ]
    if not using or chat_formats.writes_tools(tokenizer):
        return []
    text = "{n} rows have tools, which the chat template does not write; take another template (chatml does), or drop the rows"
    return finding("error", "tools-dropped", using, text)


def _has_tool_turn(row: dict) -> bool:
    return any(turn.get("tool_calls") or turn["role"] == "tool" for turn in row["messages"])


def check_arguments(rows: Sequence[dict]) -> list[Finding]:
    """Find calls with an argument that the schema of their tool does not have, without one that it requires, or with one of another type.

    A warning, as such a call can be written and learned. Of a preference pair the chosen answer is checked: the rejected one may be
    wrong on purpose. What a schema says beyond the names and types of the arguments is not checked.
    """
    wrong = {}
    for i, row in enumerate(rows):
        schemas = {tool["name"]: tool for tool in map(_function, content.row_tools(row) or [])}
        if schemas:
            wrong[i] = next(_faults(content.conversation(row), schemas), None)
    wrong = {i: fault for i, fault in wrong.items() if fault}
    if not wrong:
        return []
    first = min(wrong)
    turn, fault = wrong[first]
    field = "messages" if rows[first].get("messages") else "prompt + chosen"
    text = f"calls in {{n}} rows do not fit the schema of their tool (first {field}[{turn}] of {by_position(first)}: {fault}); fix the call or the schema"
    return finding("warning", "tool-arguments", sorted(wrong), text)


def _function(tool: dict) -> dict:
    return tool.get("function") or tool


def _faults(messages: list[dict], schemas: dict[str, dict]) -> Iterator[tuple[int, str]]:
    """Yield (position of the turn, what is wrong) for each argument that does not fit."""
    for turn, message in enumerate(messages):
        for call in map(_function, message.get("tool_calls") or []):
            schema = schemas.get(call["name"], {}).get("parameters")
            if isinstance(schema, dict):
                yield from ((turn, f"{call['name']} {fault}") for fault in _misfits(call["arguments"], schema))


def _misfits(arguments: dict, schema: dict) -> Iterator[str]:
    """Yield what is wrong with the arguments of a call. Nulls are left out: Arrow fills rows up with them."""
    given = {name: value for name, value in arguments.items() if value is not None}
    properties = _properties(schema)
    if properties is None:
        return
    known = ", ".join(properties) or "none"
    if not schema.get("additionalProperties"):
        yield from (
            f"has no argument {shortened(name)}; its arguments are {known}" for name in given if name not in properties
        )
    required = schema.get("required")
    for name in required if isinstance(required, list) else []:
        if name not in arguments:
            yield f"lacks the argument {shortened(name)}, which it requires"
    for name, value in given.items():
        wanted = properties.get(name)
        types = wanted.get("type") if isinstance(wanted, dict) else None
        types = types if isinstance(types, list) else [types]
        if not any(_is_a(value, each) for each in types):
            yield f"has the argument {shortened(name)} as {shortened(value)}; its type is {' or '.join(types)}"


def _properties(schema: dict) -> dict | None:
    """Return the arguments that a schema describes; None where it does not say. Some sets write them without "properties" around them."""
    if schema.get("type") == "object" or "properties" in schema:
        properties = schema.get("properties")
        return (
            {name: each for name, each in properties.items() if each is not None}
            if isinstance(properties, dict)
            else None
        )
    described = {name: each for name, each in schema.items() if each is not None}
    return described if described and all(isinstance(each, dict) for each in described.values()) else None


def _is_a(value: object, name: object) -> bool:
    """Return whether a value is of a JSON type; names that JSON Schema does not have say nothing."""
    match name:
        case "string":
            return isinstance(value, str)
        case "boolean":
            return isinstance(value, bool)
        case "integer":
            return _is_number(value) and value % 1 == 0
        case "number":
            return _is_number(value)
        case "array":
            return isinstance(value, list)
        case "object":
            return isinstance(value, dict)
    return name != "null"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)  # True is an int in Python
