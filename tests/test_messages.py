"""Facts about turns: roles, contents, weights and tool calls of every common tool are read as they are meant, or refused by place."""

import json

import pytest
from conftest import make_tokenizer

from workbench.data import content, reading, templates
from workbench.errors import InputError

USER = {"role": "user", "content": "How is Rome?"}
ANSWER = {"role": "assistant", "content": "Sunny."}
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"day": {"default": None}}}}]
CALL = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Rome", "day": None}}}
CALLED = {"role": "assistant", "content": "", "tool_calls": [CALL]}
RESULT = {"role": "tool", "content": "blue"}


def load(tmp_path, *rows, **options):
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return reading.load(file, **options)


def turns(tmp_path, *messages, **columns):
    return load(tmp_path, {"messages": list(messages), **columns}).rows[0]["messages"]


def refused(tmp_path, message, *messages, **columns):
    good = {"messages": [USER, ANSWER]}
    bad = {"messages": list(messages), **columns}
    with pytest.raises(InputError, match=message) as raised:
        load(tmp_path, good, bad)
    assert "line 2, field messages" in str(raised.value) and "\n" not in str(raised.value)
    assert len(load(tmp_path, good, bad, drop_bad=True).rows) == 1


@pytest.mark.parametrize(
    "said, role",
    [("developer", "system"), ("human", "user"), ("prompter", "user"), ("gpt", "assistant"), ("model", "assistant"), ("Assistant", "assistant"),
     ("observation", "tool"), ("function", "tool"), ("ipython", "tool"), ("environment", "tool"), ("function-response", "tool")],
)  # fmt: skip
def test_roles_of_other_tools_are_the_five_of_the_templates(tmp_path, said, role):
    turn = {"role": said, "content": "So."}
    talk = {"system": [turn, USER, ANSWER], "user": [turn, ANSWER], "assistant": [USER, turn]}.get(
        role, [USER, CALLED, turn, ANSWER]
    )
    assert turn | {"role": role} in turns(tmp_path, *talk)


def test_an_unknown_role_is_refused_and_can_be_dropped(tmp_path):
    refused(
        tmp_path,
        r"field messages\[0\].role: unknown role 'narrator'; use one of",
        {"role": "narrator", "content": "Once."},
        USER,
        ANSWER,
    )


def test_system_turns_in_front_are_joined_and_later_ones_refused(tmp_path):
    first, second = ({"role": role, "content": role} for role in ("system", "developer"))
    assert turns(tmp_path, first, second, USER, ANSWER)[0] == {"role": "system", "content": "system\n\ndeveloper"}
    refused(tmp_path, "a system turn after the conversation has begun", USER, ANSWER, first, USER, ANSWER)


@pytest.mark.parametrize(
    "turn",
    [
        CALLED,
        CALLED | {"content": None},
        {"role": "assistant", "tool_calls": [CALL["function"]]},
        {"role": "assistant", "tool_calls": CALL},
        {"role": "assistant", "tool_calls": json.dumps([CALL])},
        {"role": "assistant", "tool_calls": [{"function": {"name": "weather", "arguments": '{"city": "Rome", "day": null}'}}]},
        {"role": "assistant", "tool_calls": [{"name": "weather", "parameters": {"city": "Rome", "day": None}}]},
        {"role": "assistant", "content": None, "function_call": CALL["function"]},
        {"role": "function_call", "content": json.dumps(CALL["function"])},
        {"from": "function_call", "value": json.dumps([CALL["function"]])},
        {"role": "assistant", "content": f"<tool_call>{json.dumps(CALL['function'])}</tool_call>"},
    ],
)  # fmt: skip
def test_calls_in_every_shape_are_the_same_call_with_its_nulls(tmp_path, turn):
    row = load(tmp_path, {"messages": [USER, turn, RESULT, ANSWER], "tools": json.dumps(TOOLS)}).rows[0]
    assert row["messages"] == [USER, CALLED, RESULT, ANSWER] and row["tools"] == TOOLS


def test_missing_arguments_are_none(tmp_path):
    for call in ({"name": "weather"}, {"name": "weather", "arguments": None}, {"name": "weather", "arguments": ""}):
        assert turns(tmp_path, USER, CALLED | {"tool_calls": [call]})[1]["tool_calls"][0]["function"]["arguments"] == {}


@pytest.mark.parametrize(
    "call, says",
    [({"arguments": {}}, r"messages\[1\].tool_calls\[0\].name: a call without a name"),
     ({"name": "weather", "arguments": '{"city": Rome'}, r"tool_calls\[0\].arguments: the arguments of weather are not a JSON object"),
     ({"name": "weather", "arguments": [1]}, "are not a JSON object"), ({"name": "news"}, "calls 'news', which the row does not offer; its tools are weather"),
     (3, "not a list of calls"), ({"function": 3}, "a call without a name")],
)  # fmt: skip
def test_calls_that_cannot_be_made_are_refused(tmp_path, call, says):
    refused(tmp_path, says, USER, {"role": "assistant", "content": "", "tool_calls": [call]}, tools=TOOLS)


def test_results_belong_to_calls_by_their_ids(tmp_path):
    calls = CALLED | {"tool_calls": [CALL | {"id": "a"}, CALL | {"id": "b"}]}
    first, second = (RESULT | {"tool_call_id": name, "content": name} for name in "ab")
    assert turns(tmp_path, USER, calls, second, first, ANSWER)[2:4] == [first, second], "in the order of the calls"
    refused(
        tmp_path,
        r"\[2\].tool_call_id: 'c' is the id of no call before it",
        USER,
        calls,
        RESULT | {"tool_call_id": "c"},
        ANSWER,
    )
    refused(tmp_path, "a tool result without a call", USER, CALLED, RESULT, RESULT, ANSWER)
    refused(tmp_path, "'news' was not called", USER, CALLED, RESULT | {"name": "news"}, ANSWER)
    refused(
        tmp_path, "two calls with the same id", USER, CALLED | {"tool_calls": [CALL | {"id": "a"}] * 2}, RESULT, ANSWER
    )


def test_ids_may_be_numbers_and_a_result_may_be_empty(tmp_path):
    calls = CALLED | {"tool_calls": [CALL | {"id": 1}, CALL | {"id": 2}]}
    results = [RESULT | {"tool_call_id": number, "content": None} for number in (2, 1)]
    read = turns(tmp_path, USER, calls, *results, ANSWER)
    assert [turn["tool_call_id"] for turn in read[2:4]] == ["1", "2"] and read[2]["content"] == ""


def test_nulls_in_arguments_tell_two_rows_apart(tmp_path):
    other = CALLED | {
        "tool_calls": [{"type": "function", "function": {"name": "weather", "arguments": {"city": "Rome"}}}]
    }
    one, two = ({"messages": [USER, call]} for call in (CALLED, other))
    assert content.content_hash([one]) != content.content_hash([two])


@pytest.mark.parametrize(
    "off, on",
    [({"weight": 0}, {"weight": 1}), ({"train": False}, {"train": True}), ({"loss": False}, {}), ({"masked": True}, {}), ({"loss_mask": 0}, {"loss_mask": 1})],
)  # fmt: skip
def test_turns_with_weight_0_are_not_supervised(tmp_path, off, on):
    draft = {"role": "assistant", "content": "Draft."}
    messages = turns(tmp_path, USER, draft | off, USER, ANSWER | on)
    assert messages == [USER, draft | {"weight": 0}, USER, ANSWER]
    tokenizer = templates.with_template(make_tokenizer())
    ids, mask = templates.encode(tokenizer, messages)
    assert ids == templates.encode(tokenizer, [USER, draft, USER, ANSWER])[0]
    assert tokenizer.decode([i for i, bit in zip(ids, mask, strict=True) if bit]) == "Sunny.<|im_end|>"
    assert content.content_hash([{"messages": messages}]) != content.content_hash(
        [{"messages": [USER, draft, USER, ANSWER]}]
    )


@pytest.mark.parametrize(
    "turn, says",
    [({"weight": 0.5}, "0.5 where 0 or 1"), ({"mask": True}, "mask can mean learned or not"), ({"train_detail": [1]}, "split the turn"),
     ({"weight": 0}, "every answer has weight 0"), ({"weight": 0, "train": True}, "contradict"), ({"name": "Bob"}, "write no names"),
     ({"images": ["a.png"]}, "only text is trained on"), ({"tools": TOOLS}, "offered to a whole row")],
)  # fmt: skip
def test_fields_that_cannot_be_honoured_are_refused(tmp_path, turn, says):
    refused(tmp_path, says, USER, ANSWER | turn)


def test_a_user_turn_that_is_to_be_learned_is_refused(tmp_path):
    refused(tmp_path, "a turn of the user with weight 1", USER | {"weight": 1}, ANSWER)
    assert turns(tmp_path, USER | {"weight": 1}, ANSWER | {"weight": 1}) == [USER, ANSWER]


def test_parts_of_text_are_joined_and_other_parts_refused(tmp_path):
    parts = [{"type": "text", "text": "How is"}, {"type": "input_text", "text": "Rome?"}]
    assert turns(tmp_path, USER | {"content": parts}, ANSWER)[0]["content"] == "How is\nRome?"
    refused(tmp_path, "list where text is needed", USER | {"content": [{"type": ["text"]}]}, ANSWER)
    for kind in ("image_url", "input_audio", "video"):
        refused(tmp_path, rf"content\[0\]: {kind} in the content", USER | {"content": [{"type": kind}]}, ANSWER)


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning", "thinking"])
def test_reasoning_is_learned_before_the_answer_and_named(tmp_path, field):
    loaded = load(tmp_path, {"messages": [USER, ANSWER | {field: "It is May."}]})
    assert loaded.rows[0]["messages"][1]["content"] == "<think>\nIt is May.\n</think>\n\nSunny."
    assert f"{field} of 1 turns is written as <think>…</think>" in loaded.notes[-1]


def test_a_tool_may_answer_with_an_object(tmp_path):
    assert (
        turns(tmp_path, USER, CALLED, RESULT | {"content": {"sky": "blue"}}, ANSWER)[2]["content"] == '{"sky": "blue"}'
    )
