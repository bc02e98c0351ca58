"""Facts about columns: each name that public sets use is read as what it means, and what would be lost is refused by name."""

import json

import pytest

from workbench.data import formats, reading
from workbench.errors import InputError

USER = {"role": "user", "content": "Say hello.\n\nto Ann"}
ANSWER = {"role": "assistant", "content": "Hello, Ann!"}
SYSTEM = {"role": "system", "content": "Be brief."}


def load(tmp_path, *rows, **options):
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return reading.load(file, **options)


def messages(tmp_path, row, **options):
    return load(tmp_path, row, **options).rows[0]["messages"]


TASK = {
    "instruction": "Say hello.", "prompt": "Say hello.", "question": "Say hello.", "query": "Say hello.", "problem": "Say hello.",
}  # fmt: skip
ANSWERS = ("output", "response", "completion", "answer", "target", "targets", "solution")


@pytest.mark.parametrize("addition", ["input", "context", "inputs"])
@pytest.mark.parametrize("task", TASK)
@pytest.mark.parametrize("answer", ANSWERS)
def test_a_text_beside_any_prompt_is_part_of_the_users_turn(tmp_path, task, answer, addition):
    assert messages(tmp_path, {task: TASK[task], addition: "to Ann", answer: "Hello, Ann!"}) == [USER, ANSWER]


@pytest.mark.parametrize(
    "asked, answered", [("input", "output"), ("inputs", "targets"), ("question", "answer"), ("Question", "Answer")]
)
def test_common_pairs_of_names_are_known(tmp_path, asked, answered):
    loaded = load(tmp_path, {asked: USER["content"], answered: "Hello, Ann!"})
    assert loaded.rows[0]["messages"] == [USER, ANSWER] and loaded.format == f"{asked}/{answered}"


def test_a_system_prompt_has_several_names(tmp_path):
    for name in ("system", "system_prompt", "system_message"):
        row = {"question": USER["content"], "response": "Hello, Ann!", name: "Be brief."}
        assert messages(tmp_path, row) == [SYSTEM, USER, ANSWER]


def test_a_system_column_beside_another_system_turn_is_refused_and_the_line_settles_it(tmp_path):
    row = {"messages": [SYSTEM, USER, ANSWER], "system": "Be long."}
    with pytest.raises(
        InputError, match="line 1, field system: its text differs from the system turn; .*--columns system="
    ):
        load(tmp_path, row)
    assert messages(tmp_path, row, columns={"system": ""}) == [SYSTEM, USER, ANSWER]
    assert messages(tmp_path, row | {"system": "Be brief."}) == [SYSTEM, USER, ANSWER]


def test_two_columns_for_one_role_are_refused_and_the_line_settles_it(tmp_path):
    row = {"question": "Say hello.\n\nto Ann", "answer": "No.", "solution": "Hello, Ann!"}
    with pytest.raises(InputError, match="answer and solution could both be the response; .*--columns response=answer"):
        load(tmp_path, row)
    assert messages(tmp_path, row, columns={"response": "solution"}) == [USER, ANSWER]
    assert messages(tmp_path, row | {"answer": ""}) == [USER, ANSWER], "an empty column is none"
    with pytest.raises(InputError, match="instruction and question could both be the prompt"):
        load(tmp_path, {"instruction": "a", "question": "b", "answer": "c"})


def test_any_column_can_be_named(tmp_path):
    row = {"frage": "Say hello.", "an": "to Ann", "antwort": "Hello, Ann!", "rolle": "Be brief."}
    with pytest.raises(InputError, match="unknown format, columns frage, an, antwort, rolle"):
        load(tmp_path, row)
    named = formats.parse_columns("prompt=frage, input=an,response=antwort,system=rolle")
    assert messages(tmp_path, row, columns=named) == [SYSTEM, USER, ANSWER]
    named = {"instruction": "frage", "context": "an", "output": "antwort", "system": "rolle"}
    assert messages(tmp_path, row, columns=named) == [SYSTEM, USER, ANSWER]


def test_a_response_that_is_named_counts_for_more_than_messages_beside_it(tmp_path):
    row = {"messages": [USER, WORSE], "prompt": USER["content"], "answer": "Hello, Ann!"}
    assert messages(tmp_path, row) == [USER, WORSE]
    assert messages(tmp_path, row, columns={"response": "answer"}) == [USER, ANSWER]


def test_a_list_of_right_answers_is_not_taken_for_turns(tmp_path):
    with pytest.raises(InputError, match="field answer: a list of texts where one text is needed"):
        load(tmp_path, {"question": "Who?", "answer": ["Ann", "ann"]})


@pytest.mark.parametrize(
    "columns, says",
    [({"promt": "a"}, "role 'promt' is unknown; did you mean 'prompt'"), ({"prompt": "b"}, "no column b; columns are a, c"),
     ({"prompt": "a", "response": "a"}, "'a' is named for two roles")],
)  # fmt: skip
def test_columns_that_cannot_be_meant_are_refused(tmp_path, columns, says):
    with pytest.raises(InputError, match=says):
        load(tmp_path, {"a": "x", "c": "y"}, columns=columns)
    with pytest.raises(InputError, match="write them as prompt=question"):
        formats.parse_columns("prompt")


def test_earlier_turns_in_a_column_of_their_own_are_turns(tmp_path):
    row = {"instruction": USER["content"], "output": "Hello, Ann!", "system": "Be brief."}
    talk = [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "I."}]
    for history in ([["Who?", "I."]], talk, json.dumps([["Who?", "I."]])):
        assert messages(tmp_path, row | {"history": history}) == [SYSTEM, *talk, USER, ANSWER]
    assert messages(tmp_path, row | {"history": []}) == [SYSTEM, USER, ANSWER]


def test_a_text_that_no_turn_contains_is_refused_and_one_that_stands_there_is_not(tmp_path):
    row = {"messages": [USER, ANSWER], "prompt": "Say hello."}
    assert messages(tmp_path, row) == [USER, ANSWER]
    for name in ("context", "instruction"):
        with pytest.raises(InputError, match=f"field {name}: the turns do not contain this .*--columns"):
            load(tmp_path, row | {name: "Ann is the queen."})


@pytest.mark.parametrize("bad, good", [(False, True), ("False", "True")])
def test_answers_that_are_marked_as_bad_are_left_out_and_counted(tmp_path, bad, good):
    rows = [
        {"prompt": "Hi.", "completion": "Hello.", "label": good},
        {"prompt": "Hi.", "completion": "Go.", "label": bad},
    ]
    loaded = load(tmp_path, *rows)
    assert [row["messages"][-1]["content"] for row in loaded.rows] == ["Hello."]
    assert "left out 1 of 2 rows, whose answers are marked as bad" in loaded.notes[0]
    talk = {"messages": [USER, ANSWER], "kto_tag": good}
    assert len(load(tmp_path, talk, talk | {"kto_tag": bad}).rows) == 1
    with pytest.raises(InputError, match="no row is left"):
        load(tmp_path, rows[1])


def test_labels_of_0_and_1_are_ambiguous_and_other_labels_are_classes(tmp_path):
    rows = [{"prompt": "Hi.", "completion": "Hello.", "label": 1}, {"prompt": "Hi.", "completion": "Go.", "label": 0}]
    with pytest.raises(
        InputError, match="field label: 1 may mark good and bad answers; .*--columns label=label if 0 marks"
    ):
        load(tmp_path, *rows)
    assert len(load(tmp_path, *rows, columns={"label": "label"}).rows) == 1
    assert load(tmp_path, *rows, columns={"label": ""}).rows["label"] == [1, 0]
    assert len(load(tmp_path, *rows, rows[0] | {"label": 7}).rows) == 3


@pytest.mark.parametrize("name", ["reasoning_content", "thinking", "Complex_CoT"])
def test_reasoning_in_a_column_is_learned_before_the_answer_and_named(tmp_path, name):
    row = {"Question": USER["content"], name: "It is Ann.", "Response": "Hello, Ann!"}
    loaded = load(tmp_path, row)
    assert loaded.rows[0]["messages"][1]["content"] == "<think>\nIt is Ann.\n</think>\n\nHello, Ann!"
    assert f"{name} of 1 turns is written as <think>…</think>" in loaded.notes[-1]
    assert messages(tmp_path, row, columns={"reasoning": ""}) == [USER, ANSWER]


def test_rows_inside_an_object_get_the_line_that_says_so(tmp_path):
    with pytest.raises(
        InputError, match="unknown format, columns version, data; .*if the rows are the list in data, write that list"
    ):
        load(tmp_path, {"version": 1, "data": [{"messages": [USER, ANSWER]}]})


@pytest.mark.parametrize("name", ["image", "images", "video", "audios", "image_path"])
def test_rows_with_pictures_video_or_sound_are_refused_by_column(tmp_path, name):
    row = {"messages": [USER, ANSWER], name: ["a.png"]}
    with pytest.raises(InputError, match=f"line 1, field {name}: a picture, video or sound"):
        load(tmp_path, row)
    assert len(load(tmp_path, row, row | {name: []}, drop_bad=True).rows) == 1


def test_a_weight_of_a_whole_row_is_refused(tmp_path):
    row = {"messages": [USER, ANSWER]}
    with pytest.raises(InputError, match="line 1, field weight: 0.5 as the weight of a row"):
        load(tmp_path, row | {"weight": 0.5})
    assert messages(tmp_path, row | {"weight": 1.0}) == [USER, ANSWER]


def test_columns_that_are_not_trained_on_are_named_once_and_kept(tmp_path):
    turn = ANSWER | {"timestamp": 3}
    rows = [{"messages": [USER, turn], "id": i, "source": "web", "empty": None} for i in range(3)]
    loaded = load(tmp_path, *rows)
    assert [note for note in loaded.notes if "not trained on" in note] == [
        f"{tmp_path}/rows.jsonl: not trained on: messages[].timestamp, id, source"
    ]
    assert loaded.rows["id"] == [0, 1, 2]


PAIR = {"prompt": USER["content"], "chosen": "Hello, Ann!", "rejected": "No."}


def pairs(tmp_path, *rows):
    return [[row[name] for name in ("prompt", "chosen", "rejected")] for row in load(tmp_path, *rows).rows]


WORSE = {"role": "assistant", "content": "No."}
WHOLE = [[USER], [ANSWER], [WORSE]]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Say hello.", "input": "to Ann", "chosen": "Hello, Ann!", "rejected": "No."},
        {"question": "Say hello.", "context": "to Ann", "chosen": "Hello, Ann!", "rejected": "No."},
        {"question": USER["content"], "response_j": "Hello, Ann!", "response_k": "No."},
        {"conversations": [{"from": "human", "value": USER["content"]}],
         "chosen": {"from": "gpt", "value": "Hello, Ann!"}, "rejected": {"from": "gpt", "value": "No."}},
        {"prompt": USER["content"], "chosen": f"{USER['content']} Hello, Ann!", "rejected": f"{USER['content']}\nNo."},
        {"prompt": [USER], "chosen": [USER, ANSWER], "rejected": [USER, WORSE]},
        {"prompt": f"\n\nHuman: {USER['content']}\n\nAssistant:",
         "chosen": f"\n\nHuman: {USER['content']}\n\nAssistant: Hello, Ann!",
         "rejected": f"\n\nHuman: {USER['content']}\n\nAssistant: No."},
    ],
)  # fmt: skip
def test_pairs_in_common_shapes_are_prompt_chosen_and_rejected(tmp_path, row):
    assert pairs(tmp_path, row) == [WHOLE]


def test_turns_that_both_answers_begin_with_are_the_prompt(tmp_path):
    talk = [SYSTEM, {"role": "user", "content": "Who?"}, {"role": "assistant", "content": "I."}, USER]
    assert pairs(tmp_path, {"chosen": [*talk, ANSWER], "rejected": [*talk, WORSE]}) == [[talk, [ANSWER], [WORSE]]]


def test_an_answer_that_repeats_its_question_among_others_that_do_not_is_left_alone(tmp_path):
    repeats = {"prompt": "Hi?", "chosen": "Hi? Yes.", "rejected": "Hi? No."}
    assert pairs(tmp_path, PAIR, PAIR, repeats)[2][1] == [{"role": "assistant", "content": "Hi? Yes."}]


@pytest.mark.parametrize(
    "names",
    [("score_chosen", "score_rejected"), ("chosen_score", "rejected_score"), ("chosen-rating", "rejected-rating")],
)
def test_scores_are_compared_as_numbers_and_an_empty_cell_is_none(tmp_path, names):
    file = tmp_path / "pairs.csv"
    lines = [f"prompt,chosen,rejected,{names[0]},{names[1]}", "a,b,c,10,9", "a,b,c,9,10", "a,b,c,,3", "a,b,c,nan,3"]
    file.write_text("\n".join(lines))
    loaded = reading.load(file)
    assert len(loaded.rows) == 3 and "left out 1 of 4 pairs" in loaded.notes[-1]
    file.write_text("\n".join([*lines, "a,b,c,good,3"]))
    with pytest.raises(InputError, match=f"row 5, field {names[0]}: 'good' where a score is needed"):
        reading.load(file)


def test_pairs_of_mixed_types_are_named(tmp_path):
    with pytest.raises(
        InputError, match="field chosen: chosen is text and rejected is messages; write both the same way"
    ):
        load(tmp_path, {"prompt": "Hi.", "chosen": "Hello.", "rejected": [WORSE]})


HELLO = {"role": "user", "content": "Say hello."}
CHECK = {"name": "contains", "args": {"part": "Hello"}}


@pytest.mark.parametrize(
    "row, turns",
    [
        ({"prompt": "Say hello.", "check": CHECK}, [HELLO]),
        ({"prompt": [SYSTEM, HELLO], "check": CHECK}, [SYSTEM, HELLO]),
        ({"messages": [HELLO], "check": CHECK}, [HELLO]),
        ({"messages": [HELLO, ANSWER, HELLO]}, [HELLO, ANSWER, HELLO]),
        ({"messages": [HELLO, {"role": "assistant", "content": ""}]}, [HELLO]),
        ({"messages": [HELLO, ANSWER | {"weight": 0}]}, [HELLO, ANSWER | {"weight": 0}]),
        ({"instruction": "Say hello.", "input": "to Ann"}, [USER]),
        ({"instruction": "Say hello.", "input": "to Ann", "output": ""}, [USER]),
        ({"instruction": "Say hello.", "input": "to Ann", "output": None}, [USER]),
        ({"instruction": "Say hello.", "input": "to Ann", "output": "Hello, Ann!"}, [USER, ANSWER]),
        ({"question": "Say hello.", "system": "Be brief."}, [SYSTEM, HELLO]),
    ],
)
def test_prompts_are_read_without_answers_where_none_are_needed(tmp_path, row, turns):
    loaded = load(tmp_path, row, answers=False)
    assert loaded.rows[0]["messages"] == turns and loaded.notes == []
    assert loaded.rows[0].get("check") == row.get("check")


def test_prompts_of_a_table_are_read(tmp_path):
    (tmp_path / "prompts.csv").write_text('prompt,check\nSay hello.,"{""name"": ""contains""}"\n')
    loaded = reading.load(tmp_path / "prompts.csv", answers=False)
    assert loaded.format == "prompts" and loaded.rows[0]["messages"] == [HELLO]


def test_what_is_no_prompt_is_named(tmp_path):
    tool = {"role": "tool", "content": "5"}
    for row, says in (
        (
            {"messages": [{"role": "assistant", "content": ""}]},
            "line 1, field messages: empty; end it with a turn of the user",
        ),
        ({"messages": [SYSTEM]}, "ends with the system; end it with a turn of the user"),
        ({"messages": [HELLO, tool]}, "field messages"),
        ({"prompt": " "}, "field prompt: empty prompt"),
        ({"prompt": 5}, "field prompt: int where text is needed"),
        ({"messages": 5}, "field messages: not a list of messages"),
        ({"colour": "red"}, r"known are a prompt alone \(prompt, instruction, question, …\), messages"),
    ):
        with pytest.raises(InputError, match=says) as caught:
            load(tmp_path, row, answers=False)
        assert "\n" not in str(caught.value)
