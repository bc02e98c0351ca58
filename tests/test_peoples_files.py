"""Files as people have them: each kind is read right, or refused in one line that names file, field and fix."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset

from workbench.data import formats, reading, templates, validation
from workbench.errors import InputError

COUNT = 6
USER, ANSWER = {"role": "user", "content": "Say red."}, {"role": "assistant", "content": "RED"}
PAIR = {"prompt": [USER], "chosen": [ANSWER], "rejected": [{"role": "assistant", "content": "no"}]}
TALK = {"messages": [USER, ANSWER]}
SYSTEM = {"role": "system", "content": "Be brief."}
TWICE = {"messages": [USER, ANSWER, USER, ANSWER]}
MASKED = {"messages": [USER, ANSWER | {"weight": 0}, USER, ANSWER]}


def load(tmp_path, row, **options):
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join([json.dumps(row, ensure_ascii=False)] * COUNT), encoding="utf-8")
    return reading.load(path, **options)


def first(loaded):
    """What is trained on in the first row."""
    row = loaded.rows[0]
    return {name: row[name] for name in ("messages", "prompt", "chosen", "rejected", "tools") if row.get(name)}


READ = {
    "Axolotl's training": ({"messages": [USER, ANSWER | {"training": False}, USER, ANSWER | {"training": True}]}, MASKED),
    "fields in capital letters": ({"messages": [{"Role": "User", "Content": "Say red."}, {"Role": "Assistant", "Content": "RED"}]}, TALK),
    "a weight in capital letters": ({"messages": [USER, ANSWER | {"Weight": 0}, USER, ANSWER]}, MASKED),
    "NeMo, the user's turns masked": ({"mask": "User", "conversations": [{"from": "User", "value": "Say red."}, {"from": "Assistant", "value": "RED"}]}, TALK),
    "Bedrock": (
        {"system": [{"text": "Be brief."}], "messages": [{"role": "user", "content": [{"text": "Say red."}]}, {"role": "assistant", "content": [{"text": "RED"}]}]},
        {"messages": [SYSTEM, USER, ANSWER]},
    ),
    "Gemini": (
        {"systemInstruction": {"parts": [{"text": "Be brief."}]}, "contents": [{"role": "user", "parts": [{"text": "Say red."}]}, {"role": "model", "parts": [{"text": "RED"}]}]},
        {"messages": [SYSTEM, USER, ANSWER]},
    ),
    "Capybara": ({"conversation": [{"input": "Say red.", "output": "RED"}] * 2}, TWICE),
    "one list per field of the turns": ({"conversations": {"from": ["human", "gpt"], "value": ["Say red.", "RED"]}}, TALK),
    "a switch for reasoning": ({"input": [USER], "output": "RED", "reasoning": "on"}, TALK),
    "reasoning by other names": ({"messages": [USER, ANSWER | {"thought": "Red?"}]}, {"messages": [USER, ANSWER | {"content": "<think>\nRed?\n</think>\n\nRED"}]}),
    "a chain of thought": ({"question": "Say red.", "cot": "Red?", "answer": "RED"}, {"messages": [USER, ANSWER | {"content": "<think>\nRed?\n</think>\n\nRED"}]}),
    "options within the prompt": (
        {"question": "Say red.\nA) red B) blue", "options": {"A": "red", "B": "blue"}, "answer": "A"},
        {"messages": [{"role": "user", "content": "Say red.\nA) red B) blue"}, {"role": "assistant", "content": "A"}]},
    ),
    "a copy of prompt and answer as text": (
        {"instruction": "Say", "input": "red.", "output": "RED", "text": "### Instruction:\nSay\n\n### Input:\nred.\n\n### Response:\nRED"},
        {"messages": [{"role": "user", "content": "Say\n\nred."}, ANSWER]},
    ),
    "OpenAI's pairs": ({"input": {"messages": [USER], "tools": []}, "preferred_output": [ANSWER], "non_preferred_output": PAIR["rejected"]}, PAIR),
    "ms-swift's pairs": ({"messages": [USER, ANSWER], "rejected_response": "no"}, PAIR),
    "ms-swift's conversations": ({"messages": [USER, ANSWER], "rejected_messages": [USER, *PAIR["rejected"]]}, PAIR),
    "ms-swift in ShareGPT's form": ({"conversations": [{"from": "human", "value": "Say red."}, {"from": "gpt", "value": "RED"}], "rejected": "no"}, PAIR),
}  # fmt: skip


@pytest.mark.parametrize("name", READ)
def test_what_vendors_and_trainers_write_is_read(tmp_path, name):
    row, expected = READ[name]
    assert first(load(tmp_path, row)) == expected


REFUSED = {
    "NeMo, the answers masked": ({"mask": "Assistant", **TALK}, "field mask: 'Assistant' says what is learned"),
    "train_on_prompt": ({"prompt": "a", "completion": "b", "train_on_prompt": True}, "field train_on_prompt: True says what is learned"),
    "sample_weights": ({"prompt": "a", "completion": "b", "sample_weights": 0.5}, "field sample_weights: 0.5 as the weight of a row"),
    "choices": ({"question": "Which?", "choices": ["red", "blue"], "answer": "red"}, "field choices: may belong to the prompt.* --columns input=choices"),
    "options in columns": ({"question": "Which?", "A": "red", "B": "blue", "answer": "A"}, "field A: may belong to the prompt"),
    "an article": ({"question": "Which?", "article": "Long.", "answer": "red"}, "field article: may belong to the prompt"),
    "a text": ({"prompt": "Which?", "text": "Long.", "chosen": "a", "rejected": "b"}, "field text: may belong to the prompt"),
    "a picture's file": ({"question": "Which?", "image_file": "a.png", "answer": "red"}, "field image_file: a picture, video or sound"),
    "a picture's number": ({"question": "Which?", "image_id": 7, "answer": "red"}, "field image_id: a picture"),
    "a film": ({"question": "Which?", "video_path": "a.mp4", "answer": "red"}, "field video_path: a picture"),
    "reasoning_details": ({"messages": [USER, ANSWER | {"reasoning_details": [{"text": "hm"}]}]}, r"messages\[1\].reasoning_details: .* reasoning_content"),
    "a tool without a name": ({**TALK, "tools": [{"type": "function", "function": {"description": "x"}}]}, r"field tools\[0\].name: a tool without a name"),
    "NaN as an argument": ({"messages": [USER, {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": '{"a": NaN}'}}]}]}, "not a JSON object"),
    "an answer that nobody sees": ({"messages": [USER, {"role": "assistant", "content": "\u200b\ufeff"}]}, r"messages\[1\]: empty response"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_honoured_is_refused_with_its_field(tmp_path, name):
    row, says = REFUSED[name]
    with pytest.raises(InputError, match=says) as caught:
        load(tmp_path, row)
    assert "\n" not in str(caught.value)


def test_a_role_that_is_named_twice_is_refused():
    with pytest.raises(InputError, match="prompt is named twice"):
        formats.parse_columns("prompt=a, prompt=b")


def test_an_unclear_column_is_read_or_left_out_as_the_user_says(tmp_path):
    row = {"question": "Which?", "article": "Long.", "answer": "red"}
    read = load(tmp_path, row, columns={"input": "article"})
    assert read.rows[0]["messages"][0]["content"] == "Which?\n\nLong."
    left = load(tmp_path, row, columns={"input": ""})
    assert left.rows[0]["messages"][0]["content"] == "Which?" and any("article" in note for note in left.notes)


@pytest.mark.parametrize("name", ["label", "is_correct", "correct", "kto_tag"])
@pytest.mark.parametrize("good, bad", [(True, False), ("good", "bad"), ("correct", "incorrect"), ("True", "False")])
def test_answers_that_are_marked_as_bad_are_left_out_however_they_are_marked(tmp_path, name, good, bad):
    rows = [{"prompt": f"{i}?", "completion": "x", name: bad if i % 3 == 0 else good} for i in range(6)]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    loaded = reading.load(tmp_path / "rows.json")
    assert [row["messages"][0]["content"] for row in loaded.rows] == ["1?", "2?", "4?", "5?"]
    assert "left out 2 of 6 rows, whose answers are marked as bad" in loaded.notes[0]


@pytest.mark.parametrize("names", [("chosen_avg_rating", "rejected_avg_rating"), ("score_j", "score_k")])
def test_more_names_of_scores_are_known(tmp_path, names):
    rows = [{"prompt": "a", "chosen": "b", "rejected": "c", names[0]: str(i), names[1]: 3} for i in (2, 10)]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    assert len(reading.load(tmp_path / "rows.json").rows) == 1


ROW = '{"instruction": "Say red.", "output": "RED"}\n'


def folder(tmp_path, **files):
    for name, text in files.items():
        path = tmp_path / "data" / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "data"


def test_a_folder_named_like_a_split_is_that_split(tmp_path):
    source = folder(tmp_path, train__a_dot_jsonl=ROW * 3, test__a_dot_jsonl=ROW, **{"b-val_dot_jsonl": ROW})
    loaded = reading.load(source)
    assert len(loaded.rows) == 3 and "test/a.jsonl" in loaded.notes[0] and "b-val.jsonl" in loaded.notes[0]
    assert len(reading.load(source, split="test").rows) == 1


def test_a_folder_that_is_itself_called_test_is_read(tmp_path):
    source = folder(tmp_path / "test", a_dot_jsonl=ROW)
    assert len(reading.load(source).rows) == 1


def test_what_models_programs_and_unfinished_jobs_leave_in_a_folder_is_left_out_and_listed(tmp_path):
    others = (
        "vocab.json",
        "model.safetensors.index.json",
        "train_results.json",
        "preprocessor_config.json",
        "package.json",
    )
    source = folder(
        tmp_path, a_dot_jsonl=ROW, empty_dot_jsonl="", **{name.replace(".", "_dot_"): "{}" for name in others}
    )
    for path in ("_temporary/0/part.jsonl", "node_modules/x/rows.jsonl", "__pycache__/x.json"):
        (source / path).parent.mkdir(parents=True)
        (source / path).write_text(ROW)
    loaded = reading.load(source)
    assert len(loaded.rows) == 1
    (note,) = loaded.notes
    assert all(
        name in note for name in ("vocab.json (metadata)", "empty.jsonl (empty)", "_temporary/0/part.jsonl (hidden)")
    )


def test_a_part_of_a_saved_data_set_names_its_folder(tmp_path):
    Dataset.from_list([{"instruction": "a", "output": "b"}] * 3).save_to_disk(tmp_path / "saved" / "inner")
    for part in ("state.json", "data-00000-of-00001.arrow"):
        with pytest.raises(
            InputError, match=f"{part}: a part of a data set that was saved to disk; give its folder, .*inner"
        ):
            reading.load(tmp_path / "saved" / "inner" / part)
    with pytest.raises(InputError, match="saved: no data file, but a data set .* give its folder, .*inner"):
        reading.load(tmp_path / "saved")


@pytest.mark.parametrize("sign", [";", "\t", "|"])
def test_the_sign_between_the_cells_of_a_table_is_seen(tmp_path, sign):
    (tmp_path / "rows.csv").write_text(f"instruction{sign}output\nSay red, please.{sign}RED\n")
    assert reading.load(tmp_path / "rows.csv").rows[0]["messages"][0]["content"] == "Say red, please."


@pytest.mark.parametrize(
    "name, data, says",
    [
        ("a.jsonl", b"\x1f\x8b\x08\x00", "this is gzip; let its name end in .gz"),
        ("a.json", b"PAR1....", "this is Parquet"),
        ("a.csv", b"PK\x03\x04", "this is zip; unpack it"),
        (
            "a.jsonl",
            b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n",
            "a Git LFS pointer; .* git lfs pull",
        ),
        ("a.json", b"<!DOCTYPE html><html></html>", "a web page"),
        ("a.tar.gz", b"x", "files ending in .tar.gz are not read"),
        ("a.json", b"[{'instruction': 'a', 'output': 'b'}]", "single quotes, as Python prints objects"),
        (
            "a.jsonl",
            b'{"instruction": "a", "instruction": "b", "output": "c"}',
            "the field 'instruction' is there twice; keep one",
        ),
        ("a.json", b'{"instruction": {"0": "a", "1": "b"}, "output": {"0": "c", "1": "d"}}', "instruction"),
    ],
)
def test_a_file_that_is_something_else_than_its_name_says_is_named(tmp_path, name, data, says):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=says) as caught:
        reading.load(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_field_that_is_null_in_every_turn_does_not_stop_the_reading_of_parquet(tmp_path):
    rows = [{"messages": [{**turn, "tool_calls": None} for turn in (USER, ANSWER)]}] * 4
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    assert first(reading.load(tmp_path / "rows.parquet")) == TALK


def test_parquet_of_maps_alone_is_named(tmp_path):
    maps = pa.array([[[("role", "user"), ("content", "a")]]] * 3, pa.list_(pa.map_(pa.string(), pa.string())))
    pq.write_table(pa.table({"messages": maps}), tmp_path / "rows.parquet")
    with pytest.raises(
        InputError, match="no column of a type that can be read .*messages.*; write maps as structs or as JSON"
    ):
        reading.load(tmp_path / "rows.parquet")


MARKED = ["<extra_id_1>User", "<reserved_106>", "[UNUSED_TOKEN_146]user", "<用户>", "[|user|]", "### Input:\nx", "<human>: x", "[Round 1]", "<image>", "User: a\nAssistant: b"]  # fmt: skip


@pytest.mark.parametrize("marker", MARKED)
def test_markers_of_more_templates_and_places_of_pictures_are_found(tokenizer, marker):
    templates.with_template(tokenizer)
    rows = [{"messages": [{"role": "user", "content": f"{marker} {i}"}, ANSWER]} for i in range(3)]
    (found,) = [each for each in validation.validate(rows, tokenizer, 200) if each.code == "template-in-text"]
    assert len(found.rows) == 3


def test_answers_that_begin_with_their_prompt_are_found_where_they_are_many(tokenizer):
    templates.with_template(tokenizer)
    repeats = {
        "messages": [
            {"role": "user", "content": "Please say red."},
            {"role": "assistant", "content": "Please say red. RED"},
        ]
    }
    others = [{"messages": [{"role": "user", "content": f"Please say {i}."}, ANSWER]} for i in range(99)]
    codes = lambda rows: {each.code: each.rows for each in validation.validate(rows, tokenizer, 200)}  # noqa: E731
    assert codes([*others, repeats, *[repeats] * 4])["prompt-in-answer"] == (99, 100, 101, 102, 103)
    assert "prompt-in-answer" not in codes([*others, repeats])
