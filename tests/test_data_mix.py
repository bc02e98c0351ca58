"""Skill groups, the prompts that show them, answers of a teacher, and tool conversations scored by their last answer."""

import json

import pandas as pd
import pytest
from speaker import Speaker

from workbench.data import content, decontamination, templates
from workbench.errors import InputError
from workbench.experiments import synthetic
from workbench.pocket import data_mix, tasks, tools

COUNTS = {"single turns": 30, "conversations": 20, "tools": 10, "safety and honesty": 20}


def test_rows_of_each_group_are_new_to_a_model_of_the_default_set_and_to_the_evaluation():
    drawn = data_mix.draw(COUNTS)
    assert {group: len(rows) for group, rows in drawn.items()} == COUNTS
    rows = [row for of_group in drawn.values() for row in of_group]
    assert all(data_mix.GROUP_OF[row["skill"]] == group for group, of_group in drawn.items() for row in of_group)
    tuned = {str(row["messages"][:-1]) for row in tasks.read_rows("tuning")}
    assert tuned.isdisjoint(str(row["messages"][:-1]) for row in rows)
    assert decontamination.find_leaks(rows, data_mix.evaluation("test", 90)) == []
    assert data_mix.draw({**COUNTS, "tools": 5})["tools"] == drawn["tools"][:5]


def test_every_skill_of_the_pocket_world_is_in_one_group():
    assert {row["skill"] for row in tasks.pool_rows()} == set(data_mix.GROUP_OF)


@pytest.mark.parametrize("counts, says", [({"tool": 3}, 'skill group "tool" is unknown'), ({"tools": 10**6}, 'skill group "tools": 1,000,000 rows requested')])  # fmt: skip
def test_unknown_groups_and_missing_rows_are_named(counts, says):
    with pytest.raises(InputError, match=says):
        data_mix.draw(counts)


def test_the_prompts_of_a_group_are_those_that_only_its_rows_teach():
    rows = data_mix.evaluation("dev", 20)
    checks = {
        group: {row["check"]["name"] for row in rows if data_mix.GROUP_OF[row["skill"]] == group} for group in COUNTS
    }
    assert checks["tools"] == {"tool_call"} and checks["safety and honesty"] == {"refusal", "unknown"}
    counts = pd.Series([data_mix.GROUP_OF[row["skill"]] for row in rows]).value_counts()
    assert counts.to_dict() == dict.fromkeys(COUNTS, 20)
    assert {row["axis"] for row in rows} == set(tasks.AXES)
    assert len({str(row["messages"][:-1]) for row in rows}) == len(rows)


def test_a_group_is_measured_by_its_own_score():
    table = pd.DataFrame({"skill": ["tools", "converse"], "follows": [True, True], "correct": [False, False]})
    assert data_mix.with_skill_group(table)[["skill_group", "shows_skill"]].values.tolist() == [
        ["tools", True],
        ["conversations", False],
    ]


def answers(*each):
    return pd.DataFrame([{"response": text, "stops": stops, "correct": correct} for text, stops, correct in each])


def test_a_teachers_answers_take_the_place_of_the_rows_own(tokenizer):
    rows = [row for row in data_mix.draw(COUNTS)["tools"] if row["family"] == "calculator"][:1] * 4
    call = rows[0]["messages"][-1]["tool_calls"][0]["function"]
    text = f"<tool_call>{json.dumps({'name': call['name'], 'arguments': call['arguments']})}</tool_call>"
    table = answers((f" {text}\n", True, True), ("Sorry.", True, False), ("  ", True, False), ("So on", False, True))
    assert [row["messages"][-1]["content"] for row in synthetic.distil(rows, table)] == [text, "Sorry."]
    (right,) = synthetic.distil(rows, table, right_only=True)
    assert right["messages"][:-1] == rows[0]["messages"][:-1]
    tokenizer = templates.with_template(tokenizer)
    own, told = (templates.encode(tokenizer, row["messages"], content.row_tools(row)) for row in (rows[0], right))
    assert own == told, "a call as text is the same tokens as a call in tool_calls"


def test_answers_of_other_rows_or_none_that_can_be_trained_on_are_refused():
    rows = data_mix.draw(COUNTS)["safety and honesty"][:2]
    with pytest.raises(InputError, match="1 answer for 2 rows"):
        synthetic.distil(rows, answers(("Sorry.", True, True)))
    with pytest.raises(InputError, match="none of the teacher's answers"):
        synthetic.distil(rows, answers(("Sorry.", True, False), ("a", False, True)), right_only=True)


def wrote(name, **arguments):
    return f"<tool_call>{json.dumps({'name': name, 'arguments': arguments})}</tool_call>"


def test_a_tool_conversation_is_scored_by_what_it_says_at_last(tokenizer):
    rows = [row for row in tasks.read_rows("test") if row["family"] in ("calculator", "look_up")][:4]
    wanted = [row["check"]["args"] for row in rows]
    right = dict(zip((row["messages"][-2]["content"] for row in rows), wanted, strict=True))

    def replies(prompt):
        last = prompt.split("<|im_start|>")[-2].split("\n", 1)[1].split("<|im_end|>")[0]
        if "<tool_response>" in last:
            return [f"It is {last.removeprefix('<tool_response>').removesuffix('</tool_response>')}."]
        call = right[last]
        order = list(right).index(last)
        return [
            (wrote(call["name"], **call["arguments"]), wrote("weather"), "12", wrote("look_up", item="moon"))[order]
        ]

    table = tools.play_tools(Speaker(templates.with_template(tokenizer), replies, 4000), tokenizer, rows, 120)
    assert table["correct"].tolist() == [True, False, False, False]
    assert table["sound"].tolist() == [True, False, False, True], (
        "a thing without a price is no fault of the call's form"
    )
    assert table["failure"].tolist() == ["", "unknown tool", "", "failed"]
    assert table["said"][0].splitlines()[1] == f"tool: {table['expected'][0]}"
    with pytest.raises(InputError, match="the check tool_call"):
        tools.play_tools(None, tokenizer, [tasks.read_rows("test")[0]])
