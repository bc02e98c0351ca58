"""A model's calls are run, and whatever is wrong with one comes back to it as a short text, within the time limit."""

import json
import threading
import time

import pytest
from speaker import Speaker

from workbench.data import templates
from workbench.errors import InputError
from workbench.evaluate import tool_use
from workbench.pocket import items

PRICES = {"lamp": "12 dollars", "chair": "40 dollars"}
FUNCTIONS = {"calculator": tool_use.calculator, "look_up": tool_use.look_up(PRICES)}


def wrote(name, **arguments):
    return f"<tool_call>{json.dumps({'name': name, 'arguments': arguments})}</tool_call>"


def ask(text):
    return [{"role": "user", "content": text}]


def converse(tokenizer, says, *questions, functions=FUNCTIONS, schemas=items.TOOLS, room=2000, **limits):
    """`says` is asked for the reply to what was said last."""

    def replies(prompt):
        last = prompt.split("<|im_start|>")[-2]
        return [says(last.split("\n", 1)[1].split("<|im_end|>")[0])]

    model = Speaker(templates.with_template(tokenizer), replies, room)
    return tool_use.converse(model, tokenizer, [ask(q) for q in questions], schemas, functions, max_new_tokens=120, **limits)  # fmt: skip


def test_calls_are_run_and_their_results_answered(tokenizer):
    def says(last):
        if last == "3 + 4?":
            return wrote("calculator", expression="3 + 4")
        if last == "Both?":
            return f"Let me see.\n{wrote('look_up', item='Lamp')}\n{wrote('look_up', item='chair')}"
        return (
            "Hello."
            if last == "Hi"
            else f"It is {last.removeprefix('<tool_response>').removesuffix('</tool_response>')}"
        )

    one, two, three = converse(tokenizer, says, "3 + 4?", "Hi", "Both?")
    assert one.messages == [
        *ask("3 + 4?"),
        {"role": "assistant", "content": wrote("calculator", expression="3 + 4")},
        {"role": "tool", "content": "7"},
        {"role": "assistant", "content": "It is 7"},
    ]
    assert [call.failure for call in one.calls] == [None]
    assert two.messages[1:] == [{"role": "assistant", "content": "Hello."}] and two.calls == []
    assert [turn["content"] for turn in three.messages if turn["role"] == "tool"] == ["12 dollars", "40 dollars"]
    assert {each.end for each in (one, two, three)} == {"answer"}


def explode(expression):
    raise RuntimeError(f"no\npower for {expression}")


@pytest.mark.parametrize(
    "reply, failure, says",
    [
        ("<tool_call>calculator(3 + 4)</tool_call>", "no JSON", 'this is no call; write {"name": …, "arguments": {…}}'),
        ('<tool_call>{"name": "calculator"', "no JSON", "this is no call"),
        ('<tool_call>["calculator"]</tool_call>', "no JSON", "this is no call"),
        ('<tool_call>{"name": "calculator"}</tool_call>', "no JSON", "this is no call"),
        ("<tool_call></tool_call>", "no JSON", "this is no call"),
        (wrote("weather", city="Oslo"), "unknown tool", 'there is no tool "weather"; there are calculator, look_up'),
        ('<tool_call>{"name": {}, "arguments": {}}</tool_call>', "unknown tool", "there is no tool {}"),
        (wrote("calculator", expression=7), "wrong arguments", "expression: 7 is not of type 'string'"),
        (wrote("calculator"), "wrong arguments", "'expression' is a required property"),
        ('<tool_call>{"name": "look_up", "arguments": "lamp"}</tool_call>', "wrong arguments", "is not of type 'object'"),
        (wrote("calculator", expression="3 +"), "failed", "'3 +' is no sum"),
        (wrote("look_up", item="moon"), "failed", "there is no price for 'moon'"),
        (wrote("look_up", item="lamp", shop="x"), "failed", "unexpected keyword argument 'shop'"),
    ],
)  # fmt: skip
def test_a_wrong_call_comes_back_as_an_error_that_the_model_can_answer(tokenizer, reply, failure, says):
    (told,) = converse(tokenizer, lambda last: "Sorry." if "error: " in last else reply, "Go.")
    assert [call.failure for call in told.calls] == [failure]
    assert says in told.calls[0].response and told.calls[0].response.startswith("error: ")
    assert told.messages[-2] == {"role": "tool", "content": told.calls[0].response}
    assert told.messages[-1]["content"] == "Sorry." and told.end == "answer"


@pytest.mark.parametrize(
    "function, failure, says",
    [
        (explode, "failed", "error: no power for 1"),
        (lambda expression: exit(), "failed", "error: "),
        (lambda expression: threading.Event().wait(), "timed out", "error: no result within 0.2 seconds"),
        (lambda expression: "long " * 1000, None, "long long"),
        (lambda expression: None, None, "None"),
    ],
)
def test_a_tool_that_fails_or_never_returns_ends_nothing_but_its_call(tokenizer, function, failure, says):
    started = time.monotonic()
    (told,) = converse(
        tokenizer,
        lambda last: "Done." if "<tool_response>" in last else wrote("calculator", expression="1"),
        "Go.",
        functions={**FUNCTIONS, "calculator": function},
        seconds=0.2,
    )
    assert time.monotonic() - started < 20
    assert told.calls[0].failure == failure and told.calls[0].response.startswith(says)
    assert len(told.calls[0].response) < 250 and "\n" not in told.calls[0].response
    assert told.messages[-1]["content"] == "Done."


def test_a_model_that_only_calls_is_stopped(tokenizer):
    (told,) = converse(tokenizer, lambda last: wrote("calculator", expression="1"), "Go.", rounds=4)
    assert told.end == "rounds" and len(told.calls) == 4 and told.messages[-1]["role"] == "tool"
    (told,) = converse(tokenizer, lambda last: wrote("calculator", expression="1"), "Go.", rounds=40, room=900)
    assert told.end == "room" and 1 <= len(told.calls) < 10
    (told,) = converse(tokenizer, lambda last: "so " * 100, "Go.")
    assert told.end == "cut" and told.calls == []


def test_tools_that_cannot_be_offered_are_named(tokenizer):
    with pytest.raises(
        InputError, match=r'tools\[1\], field name: "look_up" has no function to run; there are calculator'
    ):
        converse(tokenizer, str, "Go.", functions={"calculator": tool_use.calculator})
    schemas = [{"name": "calculator", "parameters": {"type": "text"}}]
    with pytest.raises(InputError, match=r'tools\[0\] "calculator", field parameters: not a JSON schema'):
        converse(tokenizer, str, "Go.", schemas=schemas)


@pytest.mark.parametrize(
    "expression, value",
    [("1 + 2", "3"), ("7/2", "3.5"), ("(3 + 4) * -2", "-14"), ("0.1 + 0.2", "0.3"), (" 1e15 ", "1000000000000000")],
)
def test_the_calculator_computes(expression, value):
    assert tool_use.calculator(expression) == value


@pytest.mark.parametrize(
    "expression",
    ["__import__('os').getcwd()", "9**9", "9**9**9**9", "1e999", "9" * 99, "x", "True + 1", "1j", "'a' * 9", "[1]", "1 if 1 else 2",
     "", "3 4", "(" * 99, "1" + "+1" * 99, "1/0", "1 << 9", "abs(1)", "1\x00"],
)  # fmt: skip
def test_the_calculator_computes_nothing_but_arithmetic(expression):
    with pytest.raises(ValueError) as caught:
        tool_use.calculator(expression)
    assert "\n" not in str(caught.value)
