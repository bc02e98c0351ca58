"""Let a model use tools: read its calls, run them within limits, tell it what came of them, until it answers.

Nothing that a model writes is trusted. A call that is no JSON, names no tool, has arguments of a wrong type, fails or never
returns gives the model a tool turn that says so, and ends nothing but one of a few rounds.
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
from workbench.models import generation

CALL = re.compile(r"<tool_call>(.*?)(</tool_call>|$)", re.DOTALL)


LONGEST = 200  # characters of a tool's answer that a model gets to read


SIGNS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}


LARGEST = 1e15  # up to here whole numbers are exact, also after a division


@dataclass(frozen=True)
class Call:
    """One tool call as a model wrote it, and what it was told."""

    text: str
    """What stood between <tool_call> and </tool_call>."""
    response: str
    """What the tool said; "error: …" where it did not come to that."""
    failure: str | None = None
    """None, "no JSON", "unknown tool", "wrong arguments", "failed" or "timed out"."""


@dataclass
class Transcript:
    """A conversation with its tool turns."""

    messages: list[dict]
    """All turns: those given, the model's as it wrote them, and the tools'."""
    calls: list[Call] = field(default_factory=list)
    """All calls, in order."""
    end: str | None = None
    """"answer": the last turn is an answer without a call; "cut": it ran into its limit; "rounds": no round was left for one;
    "room": the context was full."""


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
        conversations: messages each, the last of a user. All get the same tools.
        tools: JSON schemas, as in the rows.
        functions: what runs, by the name of the tool; called with the arguments by name.
        rounds: replies of the model in each conversation, the last answer among them.
        seconds: limit of a call. Python cannot end a thread: a call that goes on longer is left behind, and ends with the process.
        max_new_tokens: limit of each reply.

    Raises:
        InputError: a tool without a function or with a schema that is none, or a conversation that leaves no room for a reply.
    """
    schemas = _schemas(tools, functions)
    transcripts = [Transcript(list(messages)) for messages in conversations]
    room = model.config.max_position_embeddings - max_new_tokens
    for turn in range(rounds):
        prompts = {
            i: templates.prompt_ids(tokenizer, t.messages, tools) for i, t in enumerate(transcripts) if t.end is None
        }
        if turn:  # a conversation that is too long from the start is the caller's mistake, and generate says so
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
    """Run one call as a model wrote it: {"name": …, "arguments": {…}}; never raises, never takes longer than `seconds`."""
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
    """Run a call that was found to be sound, in a thread that is waited for so long and no longer."""
    done: list[Call] = []

    def work() -> None:
        try:
            done.append(Call(text, _short(function(**arguments), quote=False)))
        except BaseException as error:  # whatever a tool raises, an exit too, is for the model to read
            done.append(Call(text, f"error: {_short(error, quote=False) or type(error).__name__}", "failed"))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    return done[0] if done else Call(text, f"error: no result within {seconds:g} seconds", "timed out")


def _schemas(tools: list[dict], functions: Mapping[str, Callable[..., object]]) -> dict[str, dict]:
    """Name → JSON schema of the arguments."""
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
            raise InputError(f'tools[{i}] "{name}", field parameters: no JSON schema ({error.message})') from error
        schemas[name] = schema
    return schemas


def _short(value: object, *, quote: bool = True) -> str:
    """One line of text of at most LONGEST characters."""
    text = json.dumps(value, ensure_ascii=False, default=str) if quote else str(value)
    text = " ".join(text.split())
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def calculator(expression: str) -> str:
    """The value of a sum: numbers, + - * / and brackets, with up to ten digits after the point.

    Raises:
        ValueError: anything else stands there, it is longer than 100 characters, or a number is beyond 1e15.
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
    """Value of a part of a sum; each part stays within LARGEST, so that none can take long."""
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            result = value
        case ast.BinOp(left=left, op=op, right=right) if type(op) in SIGNS:
            result = SIGNS[type(op)](_value(left), _value(right))
        case ast.UnaryOp(op=op, operand=operand) if type(op) in SIGNS:
            result = SIGNS[type(op)](_value(operand))
        case _:
            raise ValueError("only numbers, + - * / and brackets can be computed")
    if not abs(result) <= LARGEST:
        raise ValueError("a number is beyond 1e15")
    return result


def look_up(prices: Mapping[str, object]) -> Callable[[str], str]:
    """A tool that finds a thing in a table, whatever the case of its name. The tool raises ValueError for one that is not there."""
    table = {name.casefold(): str(price) for name, price in prices.items()}

    def find(item: str) -> str:
        if item.strip().casefold() not in table:
            raise ValueError(f"there is no price for {item!r}")
        return table[item.strip().casefold()]

    return find
