"""Let a model use tools: parse its calls, run them within limits, and return the results to it, until it answers.

Nothing that a model writes is trusted. A call that is not JSON, names an unknown tool, has arguments of the wrong type, fails or never
returns gives the model a tool turn that says so, and costs one of a few rounds. What the model reads decides what it writes next, so
the wording of these errors is part of the measurement.
"""

from __future__ import annotations

import ast
import json
import operator
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import transformers

from workbench.data import templates
from workbench.errors import InputError
from workbench.models import generation, loading

CALL = re.compile(r"<tool_call>(.*?)(</tool_call>|$)", re.DOTALL)
MAX_CHARACTERS = 200  # of a tool's result that the model gets to read
OPERATORS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}
MAX_NUMBER = 1e15  # up to here whole numbers are exact, also after a division


@dataclass(frozen=True)
class Call:
    """One tool call as a model wrote it, and the result that it got."""

    text: str
    """The text between <tool_call> and </tool_call>."""
    response: str
    """The result of the tool, or "error: …"."""
    failure: str | None = None
    """None, "no JSON", "unknown tool", "wrong arguments", "failed" or "timed out"."""


@dataclass
class Transcript:
    """A conversation with its tool turns."""

    messages: list[dict]
    """All turns: the given ones, those of the model as it wrote them, and those of the tools."""
    calls: list[Call] = field(default_factory=list)
    """All calls, in order."""
    end: str | None = None
    """"answer": the last turn is an answer without a call; "cut": that answer reached its length limit; "rounds": no round was left for
    an answer; "room": the context was full."""


def converse(
    model: transformers.PreTrainedModel,
    tokenizer: transformers.PreTrainedTokenizerBase,
    conversations: Sequence[list[dict]],
    tools: list[dict],
    functions: Mapping[str, Callable[..., object]],
    *,
    rounds: int = 3,
    seconds: float = 2.0,
    max_new_tokens: int = 64,
) -> list[Transcript]:
    """Let the model answer each conversation, running the tools that it calls.

    Args:
        conversations: lists of messages, the last one of the user. All share the tools.
        tools: JSON schemas, as in the rows.
        functions: tool name → function, which gets the arguments by name.
        rounds: maximum number of replies in each conversation, the answer included.
        seconds: time limit of a call. Python cannot end a thread: a call that takes longer is abandoned, and ends with the process.
        max_new_tokens: maximum length of each reply.

    Returns:
        One transcript per conversation, in order.

    Raises:
        InputError: a tool has no function or no valid schema, or a conversation leaves no room for a reply.
    """
    schemas = _schemas(tools, functions)
    transcripts = [Transcript(list(messages)) for messages in conversations]
    room = loading.context_length(model) - max_new_tokens
    for turn in range(rounds):
        prompts = {
            i: templates.prompt_ids(tokenizer, t.messages, tools) for i, t in enumerate(transcripts) if t.end is None
        }
        if turn:  # one that is too long from the start is the caller's mistake, which generate reports
            for i in [i for i, prompt in prompts.items() if len(prompt) > room]:
                transcripts[i].end = "room"
                del prompts[i]
        replies = generation.generate(model, tokenizer, list(prompts.values()), max_new_tokens)
        for i, reply in zip(prompts, replies, strict=True):
            transcripts[i].messages.append({"role": "assistant", "content": reply.text})
            calls = [run_call(text, schemas, functions, seconds) for text, _ in CALL.findall(reply.text)]
            transcripts[i].calls += calls
            transcripts[i].messages += [{"role": "tool", "content": each.response} for each in calls]
            if not calls:
                transcripts[i].end = "answer" if reply.stopped else "cut"
    for transcript in transcripts:
        transcript.end = transcript.end or "rounds"
    return transcripts


def run_call(
    text: str, schemas: Mapping[str, dict], functions: Mapping[str, Callable[..., object]], seconds: float
) -> Call:
    """Run one call as a model wrote it: {"name": …, "arguments": {…}}. It never raises and never takes longer than `seconds`."""
    try:
        asked = json.loads(text)
        name, arguments = asked["name"], asked["arguments"]
    except (ValueError, RecursionError, TypeError, KeyError):
        return Call(text, 'error: this is no call; write {"name": …, "arguments": {…}} as JSON', "no JSON")
    if not isinstance(name, str) or name not in schemas:
        return Call(text, f"error: there is no tool {_short(name)}; there are {', '.join(schemas)}", "unknown tool")
    import jsonschema  # a second of imports, for the formats that a schema may name

    wrong = jsonschema.exceptions.best_match(jsonschema.Draft202012Validator(schemas[name]).iter_errors(arguments))
    if wrong is not None or not isinstance(arguments, dict):
        said = f"{'.'.join(map(str, wrong.path)) or 'arguments'}: {wrong.message}" if wrong else "arguments: no object"
        return Call(text, f"error: {_short(said, quote=False)}", "wrong arguments")
    return _run(text, functions[name], arguments, seconds)


def _run(text: str, function: Callable[..., object], arguments: dict, seconds: float) -> Call:
    """Run a valid call in a thread, and wait for it for at most `seconds`."""
    done: list[Call] = []

    def work() -> None:
        try:
            done.append(Call(text, _short(function(**arguments), quote=False)))
        except BaseException as error:  # whatever a tool raises, even an exit, goes to the model
            done.append(Call(text, f"error: {_short(error, quote=False) or type(error).__name__}", "failed"))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    return done[0] if done else Call(text, f"error: no result within {seconds:g} seconds", "timed out")


def _schemas(tools: list[dict], functions: Mapping[str, Callable[..., object]]) -> dict[str, dict]:
    """Return the JSON schema of each tool's arguments, by name."""
    import jsonschema

    schemas = {}
    for i, tool in enumerate(tools):
        tool = tool.get("function") or tool
        name = tool.get("name")
        if name not in functions:
            raise InputError(
                f'tools[{i}], field name: "{name}" has no function to run; there are {", ".join(functions)}'
            )
        schema = tool.get("parameters") or {}
        try:
            jsonschema.Draft202012Validator.check_schema(schema)
        except jsonschema.SchemaError as error:
            raise InputError(f'tools[{i}] "{name}", field parameters: not a JSON schema ({error.message})') from error
        schemas[name] = schema
    return schemas


def _short(value: object, *, quote: bool = True) -> str:
    """Return a value as one line of text of at most MAX_CHARACTERS characters."""
    text = json.dumps(value, ensure_ascii=False, default=str) if quote else str(value)
    text = " ".join(text.split())
    return text if len(text) <= MAX_CHARACTERS else text[: MAX_CHARACTERS - 1] + "…"


def calculator(expression: str) -> str:
    """Evaluate an arithmetic expression: numbers, + - * / and brackets; the result has up to ten decimals.

    Raises:
        ValueError: the expression holds anything else, has more than 100 characters, or a number is beyond 1e15.
    """
    if len(expression) > 100:
        raise ValueError("the expression is longer than 100 characters")
    try:
        tree = ast.parse(expression.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ValueError(f"{expression!r} is no sum") from None
    try:
        return f"{round(_value(tree.body), 10):.16g}"
    except ZeroDivisionError:
        raise ValueError("division by 0") from None


def _value(node: ast.expr) -> float:
    """Return the value of a subexpression; each stays within MAX_NUMBER, so that none can take long."""
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            result = value
        case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATORS:
            result = OPERATORS[type(op)](_value(left), _value(right))
        case ast.UnaryOp(op=op, operand=operand) if type(op) in OPERATORS:
            result = OPERATORS[type(op)](_value(operand))
        case _:
            raise ValueError("only numbers, + - * / and brackets can be computed")
    if not abs(result) <= MAX_NUMBER:
        raise ValueError("a number is beyond 1e15")
    return result


def look_up(prices: Mapping[str, object]) -> Callable[[str], str]:
    """Return a tool that looks an item up, ignoring case; the tool raises ValueError for an unknown item."""
    table = {name.casefold(): str(price) for name, price in prices.items()}

    def find(item: str) -> str:
        if item.strip().casefold() not in table:
            raise ValueError(f"there is no price for {item!r}")
        return table[item.strip().casefold()]

    return find
