"""Arguments of calls are compared with the schema of the row, and a wrong one is named with its row, turn and tool."""

import pytest

from workbench.data import reading, templates, tool_validation, validation

CITY, DAY = {"type": "string"}, {"type": ["integer", "null"]}
SCHEMA = {"type": "object", "properties": {"city": CITY, "day": DAY}, "required": ["city"]}


def row(arguments, schema=SCHEMA):
    call = {"type": "function", "function": {"name": "weather", "arguments": arguments}}
    turns = [{"role": "user", "content": "How is Rome?"}, {"role": "assistant", "content": "", "tool_calls": [call]},
             {"role": "tool", "content": "blue"}, {"role": "assistant", "content": "Sunny."}]  # fmt: skip
    return {"messages": turns, "tools": [{"type": "function", "function": {"name": "weather", "parameters": schema}}]}


GOOD = row({"city": "Rome", "day": 3})


@pytest.mark.parametrize(
    "arguments, says",
    [
        ({"town": "Rome", "city": "Rome"}, "weather has no argument 'town'; its arguments are city, day"),
        ({"day": 3}, "weather lacks the argument 'city', which it requires"),
        ({"city": ["Rome"]}, r"weather has the argument 'city' as ['Rome']; its type is string"),
        ({"city": "Rome", "day": "Monday"}, "weather has the argument 'day' as 'Monday'; its type is integer or null"),
        ({"city": "Rome", "day": True}, "weather has the argument 'day' as True; its type is integer or null"),
        ({"city": "Rome", "day": 2.5}, "weather has the argument 'day' as 2.5; its type is integer or null"),
    ],
)
def test_a_call_that_does_not_fit_its_schema_is_a_warning_that_says_where(arguments, says):
    (found,) = tool_validation.check_arguments([GOOD, row(arguments), GOOD])
    assert (found.level, found.code, found.rows) == ("warning", "tool-arguments", (1,))
    assert found.text.startswith(
        f"calls in 1 row do not fit the schema of their tool (first messages[1] of rows[1]: {says}); fix"
    )


@pytest.mark.parametrize(
    "arguments, schema",
    [
        ({"city": "Rome", "day": None}, SCHEMA),
        ({"city": "Rome", "day": 3.0}, SCHEMA),
        ({"city": "Rome", "town": None}, SCHEMA),  # Arrow fills rows up with nulls
        ({"city": "Rome", "more": 1}, {**SCHEMA, "additionalProperties": True}),
        ({"city": "Rome"}, None), ({"city": "Rome"}, {}), ({"city": "Rome"}, {"type": "object"}),
        ({"city": "Rome"}, {"city": {"type": "str", "description": "where"}}),  # without "properties", in Python's words
        ({"city": "Rome"}, {"type": "object", "properties": {"city": {"$ref": "#/$defs/city"}, "day": None}, "required": None}),
    ],
)  # fmt: skip
def test_what_fits_or_is_not_described_is_no_finding(arguments, schema):
    assert tool_validation.check_arguments([row(arguments, schema)]) == []


def test_arguments_that_are_described_without_properties_are_known():
    (found,) = tool_validation.check_arguments([row({"town": "Rome"}, {"city": {"type": "str"}})])
    assert "weather has no argument 'town'; its arguments are city" in found.text


def test_a_rejected_answer_may_call_in_a_wrong_way():
    right, wrong = (row(arguments)["messages"] for arguments in ({"city": "Rome"}, {"town": "Rome"}))
    pair = {"prompt": right[:1], "chosen": right[1:], "rejected": wrong[1:], "tools": GOOD["tools"]}
    assert tool_validation.check_arguments([pair]) == []
    (found,) = tool_validation.check_arguments([{**pair, "chosen": wrong[1:]}])
    assert "(first prompt + chosen[1] of rows[0]: weather has no argument 'town'" in found.text


def test_it_is_found_before_a_training_in_rows_as_they_are_read(tokenizer):
    rows = reading.to_dataset([GOOD, row({"town": "Rome"})])
    assert "tool-arguments" in {
        each.code for each in validation.validate(rows, templates.with_template(tokenizer), 512)
    }
