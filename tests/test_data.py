"""Facts about reading data: every format gives the same messages, bad input one clear line, no prompt on both sides."""

import json
import os
from pathlib import Path

import datasets
import huggingface_hub
import pytest

from workbench.data import decontamination, duplicates, reading
from workbench.data.content import content_hash, conversations, opening_words, quiz_sheet, task_types
from workbench.errors import InputError

REAL = Path(os.environ.get("WORKBENCH_REAL_DATA", Path(__file__).parents[2] / "shared" / "real"))
real = pytest.mark.skipif(not REAL.is_dir(), reason=f"the real data files are not here ({REAL})")

USER = {"role": "user", "content": "Say hello.\n\nto Ann"}
ANSWER = {"role": "assistant", "content": "Hello, Ann!"}
WORSE = {"role": "assistant", "content": "No."}
ALPACA = "Below is … ### Instruction:\nSay hello.\n\n### Input:\nto Ann\n\n### Response:\nHello, Ann!"
FORMATS = {
    "messages": {"messages": [USER, ANSWER]},
    "Alpaca": {"instruction": "Say hello.", "input": "to Ann", "output": "Hello, Ann!", "text": ALPACA},
    "Dolly": {"instruction": "Say hello.", "context": "to Ann", "response": "Hello, Ann!"},
    "ShareGPT": {
        "conversations": [{"from": "human", "value": USER["content"]}, {"from": "gpt", "value": "Hello, Ann!"}]
    },
    "prompt/completion": {"prompt": USER["content"], "completion": "Hello, Ann!"},
    "self-instruct": {
        "instruction": "Say hello.",
        "instances": [{"input": "to Ann", "output": "Hello, Ann!"}, {"input": "to Bo", "output": "Hello, Bo!"}],
    },
}
PREFERENCES = {
    "strings": {"prompt": USER["content"], "chosen": "Hello, Ann!", "rejected": "No."},
    "instruction": {
        "instruction": "Say hello.",
        "input": "to Ann",
        "output": "…",
        "chosen": "Hello, Ann!",
        "rejected": "No.",
    },
    "explicit": {"prompt": [USER], "chosen": [ANSWER], "rejected": [WORSE]},
    "implicit": {"chosen": [USER, ANSWER], "rejected": [USER, WORSE]},
    "both": {"prompt": USER["content"], "chosen": [USER, ANSWER], "rejected": [USER, WORSE]},
}


def write(path: Path, rows: list) -> Path:
    """The rows as JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def ask(prompt: str, answer: str = "Yes.") -> dict:
    return {"messages": [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_messages_and_keeps_other_columns(tmp_path, name):
    loaded = reading.load(
        write(tmp_path / "rows.jsonl", [FORMATS[name] | {"id": 2**63, "family": "greet", "check": {"name": "x"}}])
    )
    assert loaded.format == name
    assert loaded.rows[0] == {"messages": [USER, ANSWER], "id": 2**63, "family": "greet", "check": {"name": "x"}}


def test_self_instruct_says_that_it_takes_the_first_instance(tmp_path):
    assert "tasks with more: 1 of 1" in reading.load(write(tmp_path / "a.jsonl", [FORMATS["self-instruct"]])).notes[0]


@pytest.mark.parametrize("name", PREFERENCES)
def test_preferences_give_prompt_chosen_and_rejected_messages(tmp_path, name):
    row = reading.load(write(tmp_path / "pairs.jsonl", [PREFERENCES[name]])).rows[0]
    assert [row["prompt"], row["chosen"], row["rejected"]] == [[USER], [ANSWER], [WORSE]]


def test_a_pair_whose_answers_are_the_same_keeps_its_prompt(tmp_path):
    row = reading.load(write(tmp_path / "pairs.jsonl", [{"chosen": [USER, ANSWER], "rejected": [USER, ANSWER]}])).rows[
        0
    ]
    assert [row["prompt"], row["chosen"], row["rejected"]] == [[USER], [ANSWER], [ANSWER]]


@pytest.mark.parametrize("prompt", [{}, {"prompt": USER["content"]}])
@pytest.mark.parametrize("system", [[], [{"role": "system", "content": "Be brief."}]])
def test_a_pair_whose_prompts_differ_is_named(tmp_path, system, prompt):
    other = {"role": "user", "content": "Say goodbye."}
    rows = [
        {"chosen": [*system, USER, ANSWER], "rejected": [*system, asked, WORSE], **prompt} for asked in (USER, other)
    ]
    with pytest.raises(
        InputError, match="line 2, field chosen: its prompt differs from that of rejected; let both begin"
    ):
        reading.load(write(tmp_path / "pairs.jsonl", rows))
    assert len(reading.load(tmp_path / "pairs.jsonl", drop_bad=True).rows) == 1


def test_a_pair_that_lacks_a_side_is_named(tmp_path):
    rows = [{"prompt": "Hi.", "chosen": "Hello!", "rejected": "No."}, {"prompt": "Hi.", "chosen": "Hello!"}]
    with pytest.raises(InputError, match="line 2, field rejected: missing; write the text or remove the row"):
        reading.load(write(tmp_path / "pairs.jsonl", rows))


def test_an_alpaca_row_without_input_is_its_instruction_and_a_system_column_is_a_turn(tmp_path):
    rows = [
        {"instruction": "Say hello.", "output": "Hello!", "system": "Be brief."},
        {"instruction": "Go.", "input": "", "output": "!"},
    ]
    first, second = reading.load(write(tmp_path / "a.jsonl", rows)).rows["messages"]
    assert [turn["content"] for turn in first] == ["Be brief.", "Say hello.", "Hello!"]
    assert second[0]["content"] == "Go."


def test_prompt_and_completion_can_be_messages(tmp_path):
    assert reading.load(write(tmp_path / "a.jsonl", [{"prompt": [USER], "completion": [ANSWER]}])).rows[0][
        "messages"
    ] == [
        USER,
        ANSWER,
    ]


def test_tools_and_calls_keep_their_own_keys_in_every_kind_of_file(tmp_path):
    """Arrow would fill every row up with the keys of all others; a template would then print them as null."""

    def row(tool: str, arguments: dict) -> dict:
        call = {"type": "function", "function": {"name": tool, "arguments": arguments}}
        turns = [
            USER,
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "content": "3"},
            ANSWER,
        ]
        return {"messages": turns, "tools": [{"name": tool, "parameters": dict.fromkeys(arguments, "int")}]}

    rows = [row("add", {"a": "1", "b": "2"}), row("look", {"where": "Rome"}), {"messages": [USER, ANSWER]}]
    loaded = reading.load(write(tmp_path / "tools.jsonl", rows)).rows
    assert loaded["messages"] == [row["messages"] for row in rows]
    assert loaded["tools"] == [rows[0]["tools"], rows[1]["tools"], None]
    for kind in (None, "use_json"):  # filled up with nulls, or kept as JSON
        datasets.Dataset.from_list(rows[:2], on_mixed_types=kind).to_parquet(tmp_path / "tools.parquet")
        assert reading.load(tmp_path / "tools.parquet").rows["messages"] == [row["messages"] for row in rows[:2]]


def test_json_lists_csv_parquet_and_saved_data_sets_are_read_alike(tmp_path):
    rows = [{"instruction": f"Count to {i}.", "input": "", "output": f'1 to {i}, "done"\nend'} for i in range(5)]
    table = datasets.Dataset.from_list(rows)
    (tmp_path / "list.json").write_text("\ufeff" + json.dumps(rows, indent=1))
    write(tmp_path / "lines.json", rows)
    table.to_csv(tmp_path / "a.csv")
    table.to_parquet(tmp_path / "a.parquet")
    table.save_to_disk(tmp_path / "saved")
    datasets.DatasetDict(train=table, test=table.select([0])).save_to_disk(tmp_path / "splits")
    names = ("list.json", "lines.json", "a.csv", "a.parquet", "saved", "splits")
    assert {content_hash(reading.load(tmp_path / name).rows) for name in names} == {
        content_hash([ask(row["instruction"], row["output"]) for row in rows])
    }
    assert len(reading.load(tmp_path / "splits", split="test").rows) == 1


def test_a_folder_gives_all_files_but_those_held_out_by_name(tmp_path):
    write(tmp_path / "train-00000.jsonl", [ask("a")])
    write(tmp_path / "more.jsonl", [FORMATS["Alpaca"]])
    write(tmp_path / "test.jsonl", [ask("b"), ask("c")])
    loaded = reading.load(tmp_path)
    assert (len(loaded.rows), loaded.format) == (2, "Alpaca, messages")
    assert "left out test.jsonl" in loaded.notes[0]
    assert len(reading.load(tmp_path, split="test").rows) == 2


def test_split_can_be_a_column_and_one_that_is_not_there_is_refused(tmp_path):
    file = write(tmp_path / "rows.jsonl", [ask("a") | {"split": "train"}, ask("b") | {"split": "dev"}])
    assert reading.load(file, split="dev").rows["messages"] == [ask("b")["messages"]]
    with pytest.raises(InputError, match="no split 'test'; there are dev, train"):
        reading.load(file, split="test")


def test_rows_that_a_column_holds_out_are_not_read_unless_they_are_asked_for_and_that_is_said(tmp_path):
    said = ["train", "test", None, "validation", "test_sft", "fold 1", "test"]
    file = write(tmp_path / "rows.jsonl", [ask(str(n)) | {"split": split} for n, split in enumerate(said)])
    loaded = reading.load(file)
    assert [row["messages"][0]["content"] for row in loaded.rows] == [ask(n)["messages"][0]["content"] for n in "025"]
    note = "left out 4 of 7 rows, held out by column split (2 test, 1 validation, 1 test_sft); ask for them with split, --split"
    assert f"{file}: {note}" in loaded.notes
    loaded = reading.load(file, split="test")
    assert len(loaded.rows) == 2 and not any("held out" in note for note in loaded.notes)
    only = write(tmp_path / "only.jsonl", [ask("a") | {"split": "dev"}])
    with pytest.raises(
        InputError, match=r"no row is left \(.*left out 1 of 1 row, .* \(1 dev\); ask for them with split, --split\)"
    ):
        reading.load(only)


GOOD = json.dumps(ask("Who?"))
BAD_FILES = {
    "empty file": (b"", "empty"),
    "empty list": (b"[]", "empty"),
    "broken line": (f"{GOOD}\n".encode() * 16 + b'{"messages": [\n' + GOOD.encode(), "line 17, broken JSON"),
    "broken list": (b'[\n{"instruction": "a",\n"output" "b"}]', "line 3, column 10: broken JSON"),
    "not UTF-8": (GOOD.encode() + b'\n{"messages": "caf\xe9"}', "line 2: not UTF-8"),
    "half a character": (GOOD.replace("Who?", "\\ud83d").encode(), "line 1, field messages: half a character"),
    "row is a list": (f"{GOOD}\n[1]".encode(), "line 2, not an object"),
    "missing response": (b'{"instruction": "a", "output": "b"}\n{"instruction": "a"}', "line 2, field output: missing"),
    "empty response": (b'{"instruction": "a", "output": " "}', "line 1, field output: empty response"),
    "empty prompt": (b'{"instruction": "", "output": "b"}', "line 1, field instruction: empty prompt"),
    "number": (b'{"instruction": "a", "output": 42}', "line 1, field output: int where text"),
    "no instance": (b'{"instruction": "a", "instances": []}', "line 1, field instances: no instance"),
    "unknown role": (
        GOOD.replace('"user"', '"narrator"').encode(),
        r"field messages\[0\].role: unknown role 'narrator'; use one of",
    ),
    "no content": (
        GOOD.replace('"content": "Yes."', '"text": "Yes."').encode(),
        r"field messages\[1\].content: missing",
    ),
    "parts": (GOOD.replace('"Yes."', '[{"type": "text"}]').encode(), r"field messages\[1\].content\[0\].text: missing"),
    "empty turn": (GOOD.replace("Yes.", "").encode(), r"field messages\[1\]: empty response"),
    "ends with user": (
        GOOD.replace('"assistant"', '"user"').encode(),
        "field messages: ends with the user; .* drop it",
    ),
    "begins with gpt": (GOOD.replace('"user"', '"assistant"').encode(), "field messages: begins with the assistant"),
    "no turns": (b'{"messages": []}', "line 1, field messages: empty"),
    "tools": (GOOD.replace("{", '{"tools": "add", ', 1).encode(), "line 1, field tools: text where a list is needed"),
    "columns": (
        b'{"turns": ["a"], "id": 1}',
        r"unknown format, columns turns, id; known are .*instruction.*; or name the columns: columns, --columns prompt=",
    ),
    "no prompt": (b'{"chosen": "a", "rejected": "b"}', "line 1, field prompt: missing"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_input_is_one_line_with_file_place_field_and_fix(tmp_path, case):
    content, message = BAD_FILES[case]
    file = tmp_path / "rows.jsonl"
    file.write_bytes(content)
    with pytest.raises(InputError, match=message) as raised:
        reading.load(file)
    assert str(raised.value).startswith(str(file)) and "\n" not in str(raised.value) and ";" in str(raised.value)


def test_what_is_not_there_or_not_data_is_refused(tmp_path):
    (tmp_path / "a.csv").write_text('instruction,output\n"a,b\n')
    (tmp_path / "more.csv").write_text("instruction,output\na,b,c\n")
    (tmp_path / "a.parquet").write_text("no")
    (tmp_path / "a.txt").write_text("no")
    (tmp_path / "folder").mkdir()
    for name, message in {
        "b.json": "no such file",
        "a.csv": "broken CSV",
        "more.csv": "row 1, more cells than columns",
        "a.parquet": "not a sound Parquet",
        "a.txt": "files ending in .txt",
        "folder": "in this folder",
    }.items():
        with pytest.raises(InputError, match=message):
            reading.load(tmp_path / name)


@pytest.mark.parametrize("source", ["nobody/no-such-data", "nobody/no-such-data:config@main"])
def test_the_hub_out_of_reach_is_one_line(monkeypatch, source):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="no such file or folder here, and the Hub did not give it") as raised:
        reading.load(source)
    assert "\n" not in str(raised.value)


def test_bad_rows_can_be_left_out_and_are_counted(tmp_path):
    rows = [
        FORMATS["Alpaca"],
        FORMATS["Alpaca"] | {"output": ""},
        FORMATS["Alpaca"] | {"output": None},
        FORMATS["Alpaca"],
    ]
    file = write(tmp_path / "rows.jsonl", rows)
    with pytest.raises(InputError, match="line 2|row 2.*2 of 4 rows bad; .*--drop-bad"):
        reading.load(file)
    loaded = reading.load(file, drop_bad=True)
    assert len(loaded.rows) == 2
    assert "left out 2 of 4 rows (1 × empty response, 1 × missing" in loaded.notes[-1]
    with pytest.raises(InputError, match="empty response"):
        reading.load(write(file, rows[1:2]), drop_bad=True)


def test_the_hash_is_of_what_is_trained_on_in_its_order():
    rows = [ask("a"), ask("b")]
    assert content_hash(rows) == content_hash([row | {"family": "x", "tools": None} for row in rows])
    tools = [{"name": "f"}]
    assert content_hash([rows[0] | {"tools": tools}]) == content_hash([rows[0] | {"tools": json.dumps(tools)}])
    swapped = [{"messages": [dict(reversed(turn.items())) for turn in row["messages"]]} for row in rows]
    assert content_hash(rows) == content_hash(swapped)
    others = [rows[::-1], rows[:1], [ask("a", "No."), ask("b")], [rows[0] | {"tools": [{"name": "f"}]}, rows[1]]]
    assert len({content_hash(other) for other in [rows, *others]}) == 5


def test_the_hash_of_a_dataset_is_that_of_its_rows_whatever_was_done_to_it():
    rows = [ask(f"Say {word}.", word) for word in ("one", "two", "three")]
    whole = reading.to_dataset(rows)
    changed = whole.map(lambda row: ask(row["messages"][0]["content"], "no"))
    for table in (whole, whole, whole.select([2, 0]), whole.select([0, 2]), changed, whole.shuffle(seed=1)):
        assert content_hash(table) == content_hash(list(table))


COUNTRIES = [
    "France",
    "Spain",
    "Italy",
    "Greece",
    "Peru",
    "Chile",
    "Kenya",
    "Egypt",
    "India",
    "Japan",
    "Cuba",
    "Malta",
    "Qatar",
    "Nepal",
    "Ghana",
    "Oman",
]
QUESTIONS = [
    "What is the capital of {}?",
    "Please tell me in one short sentence and without any other words what is the name of the capital of {}",
    "Is {} a country in Europe?",
]
POCKET = [ask(question.format(country), f"{country}.") for question in QUESTIONS for country in COUNTRIES]


def test_the_same_question_about_another_thing_is_no_leak():
    for half in range(2):
        train, evaluation = POCKET[half::2], POCKET[1 - half :: 2]
        assert decontamination.find_leaks(train, evaluation) == []
    long = "Classify the input string as either a noun or a verb: "
    for a, b in (("What is the capital of France?", "What is the capital of Spain?"), (long + "jump", long + "dance")):
        assert decontamination.find_leaks([ask(a, "The same.")], [ask(b, "The same.")]) == []


def test_the_same_question_in_a_new_phrasing_is_no_leak():
    assert decontamination.find_leaks(POCKET, [ask("Which city is the capital of France?", "France.")]) == []


def test_a_question_that_differs_in_case_spacing_or_marks_is_a_leak_whatever_the_answer():
    assert decontamination.find_leaks(POCKET, [ask(" what is the capital  of “Spain” ", "?")]) == [
        decontamination.Leak(1, 0, 1.0)
    ]


def test_signs_are_part_of_a_question():
    assert decontamination.find_leaks([ask("What is 2 + 3?")], [ask("What is 2 - 3?")]) == []


def test_a_long_prompt_with_few_words_changed_is_a_leak_if_the_answer_is_the_same():
    text = "Summarise: The old mill by the river ground corn for nine villages until a flood took its wheel "
    text += "one wet spring, and since then nobody has come to repair it, so that only owls and bats live there now"
    near = text.replace("took", "carried off") + "."
    answer = "A flood ended the mill."
    [pair] = decontamination.find_leaks([*POCKET, ask(text, answer)], [ask("Hello?"), ask(near, answer)])
    assert (pair.train, pair.evaluation) == (len(POCKET), 1) and 0.8 <= pair.similarity < 1
    assert decontamination.find_leaks([*POCKET, ask(text, answer)], [ask(near, "MILL GONE")]) == []


def test_a_question_from_the_middle_of_a_conversation_leaks_and_system_turns_do_not_hide_it():
    turns = [
        {"role": "system", "content": "Be brief."},
        *ask("Who are you?", "Ann.")["messages"],
        *ask("And he?")["messages"],
    ]
    assert decontamination.find_leaks([{"messages": turns}], [ask("Who are you?")]) == [decontamination.Leak(0, 0, 1.0)]


def test_a_preference_pair_leaks_by_its_prompt_and_by_either_answer():
    def pair(prompt, chosen, rejected):
        return {"prompt": [{"role": "user", "content": prompt}]} | {
            name: [{"role": "assistant", "content": text}]
            for name, text in (("chosen", chosen), ("rejected", rejected))
        }

    long = (
        "Tell the story of the old mill by the river that lost its wheel in a flood one wet spring, in your own words"
    )
    pairs = [pair("Hello?", "Hi.", "No."), pair(long, "A flood took it.", "Nobody came to repair it.")]
    near, same = long.replace("own words", "own way"), "hello"
    assert decontamination.find_leaks(pairs, [ask(same, "?")]) == [decontamination.Leak(0, 0, 1.0)]
    for answer in ("A flood took it.", "Nobody came to repair it."):
        [leak] = decontamination.find_leaks(pairs, [ask(near, answer)])
        assert leak.train == 1 and leak.similarity < 1
    assert [
        leak.evaluation for leak in decontamination.find_leaks([ask(same), ask(near, "A flood took it.")], pairs)
    ] == [0, 1]
    with pytest.raises(InputError, match=r"train\[0\] 'Hello\?' and evaluation\[0\] 'hello'"):
        decontamination.require_no_leaks(pairs, [ask(same)])


def test_without_all_rows_that_ask_the_same_the_gate_lets_the_others_pass():
    rows = [ask("Hello?"), *(ask(f"what is the capital of {place}") for place in ("Spain", "Norway", "SPAIN", "Chad"))]
    asked = [ask("What is the capital of Spain?"), ask("Bye?")]
    leaked = decontamination.leaked_rows(rows, asked)
    assert leaked == {1, 3} and len(decontamination.find_leaks(rows, asked)) == 1
    decontamination.require_no_leaks([row for i, row in enumerate(rows) if i not in leaked], asked)


def test_the_gate_shows_both_rows():
    with pytest.raises(
        InputError, match=r"1 of 2 .* train\[1\] 'What is the capital of Spain\?' .*evaluation\[1\] 'what is"
    ):
        decontamination.require_no_leaks(POCKET, [ask("Hello?"), ask("what is the capital of Spain")])
    decontamination.require_no_leaks(POCKET, [ask("Hello?")])


def test_held_out_prompts_are_not_trained_and_the_seed_decides_which():
    rows = datasets.Dataset.from_list([ask(f"Name thing number {i % 70}", str(i)) for i in range(100)])
    train, held = decontamination.hold_out(rows, 0.2, seed=1)
    assert len(train) + len(held) == 100 and 15 <= len(held) <= 20
    assert decontamination.find_leaks(train, held) == []
    assert content_hash(decontamination.hold_out(rows, 0.2, seed=1)[1]) == content_hash(held)
    assert content_hash(decontamination.hold_out(rows, 0.2, seed=2)[1]) != content_hash(held)


def test_nothing_can_be_held_out_where_all_rows_ask_the_same():
    with pytest.raises(InputError, match="no row of 3 can be held out, because all ask the same"):
        decontamination.hold_out(datasets.Dataset.from_list([ask("Hello?")] * 3))


def test_with_too_few_rows_to_hold_one_out_the_message_says_what_helps():
    with pytest.raises(InputError, match="the data have 1 row.* give at least 2 rows"):
        decontamination.hold_out(datasets.Dataset.from_list([ask("Hello?")]))
    twice = datasets.Dataset.from_list([ask(text) for text in ("Who?", "Where?", "When?") for _ in range(2)])
    with pytest.raises(InputError, match="each prompt has at least 2 rows, .* hold out a share of at least 0.34"):
        decontamination.hold_out(twice, 0.1)
    assert len(decontamination.hold_out(twice, 0.34)[1]) == 2
    assert len(decontamination.hold_out(datasets.Dataset.from_list([ask("Who?"), ask("Where?")]))[1]) == 1


def test_thousands_of_siblings_of_one_long_template_are_told_apart_quickly():
    """A gate that compares each pair takes hours here; this one never makes them candidates."""
    rows = [(f"{QUESTIONS[1].format('')} w{i} x{i * 7}", "yes") for i in range(4_000)]
    assert list(duplicates.near_duplicates(rows[:3_000], rows[3_000:], 0.8)) == []


@real
@pytest.mark.parametrize(
    ("file", "name", "count"),
    [
        ("alpaca_format_1100.json", "Alpaca", 1100),
        ("sharegpt_format_dummy.json", "ShareGPT", 500),
        ("self_instruct_seed_tasks.jsonl", "self-instruct", 175),
        ("preference_1100.json", "chosen/rejected", 1100),
    ],
)
def test_real_files_load_whole_and_split_without_leaks(file, name, count):
    loaded = reading.load(REAL / file)
    assert (loaded.format, len(loaded.rows)) == (name, count)
    train, held = decontamination.hold_out(loaded.rows)
    assert 0.09 * count <= len(held) <= 0.11 * count
    decontamination.require_no_leaks(train, held)


@real
def test_real_alpaca_has_empty_outputs_that_are_refused_or_counted():
    with pytest.raises(InputError, match=r"row 1462, field output: empty response.*\(4 of 9,229"):
        reading.load(REAL / "alpaca_random_9229.json")
    assert len(reading.load(REAL / "alpaca_random_9229.json", drop_bad=True).rows) == 9225


@real
@pytest.mark.parametrize("file", ["mt_bench_questions.jsonl", "ifeval_prompts.jsonl", "xstest_prompts.csv"])
def test_real_files_of_prompts_without_answers_are_refused(file):
    with pytest.raises(InputError, match="unknown format"):
        reading.load(REAL / file)


def test_the_kind_of_a_row_is_what_a_column_says_or_the_first_word_of_the_instruction():
    def rows(*asked, **columns):
        table = [
            {"messages": talk(text)} | {name: values[i] for name, values in columns.items()}
            for i, text in enumerate(asked)
        ]
        return reading.to_dataset(table)

    def talk(text):
        return [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": text},
            {"role": "assistant", "content": "So."},
        ]

    asked = ("Write a haiku.", "What is this?")
    assert task_types(rows(*asked, family=["a", "b"], category=["c", "d"])) == ["a", "b"]
    assert task_types(rows(*asked, family=["a/set", "a/set"], source=["c", "d"])) == ["c", "d"], (
        "one name for all tells nothing apart"
    )
    assert task_types(rows(*asked, category=["c", "d"], skill=["e", "f"]), "skill") == ["e", "f"]
    assert task_types(rows(*asked)) == ["write", "what"] and opening_words(rows(*asked)) == ["write a", "what is"]
    many = task_types(rows(*["Write."] * 150, "Zig!"))
    assert many == ["write"] * 150 + ["other"]


def test_a_quiz_sheet_has_a_heading_solved_examples_and_an_open_question():
    assert quiz_sheet("3?", [("1?", "one"), ("2?", "two")], ["Be brief."]) == (
        "Be brief.\nQ: 1?\nA: one\n\nQ: 2?\nA: two\n\nQ: 3?\nA:"
    )


def test_a_pair_is_two_conversations_with_its_tools():
    pair = {"prompt": [USER], "chosen": [ANSWER], "rejected": [WORSE], "tools": [{"name": "f"}]}
    assert conversations(pair) == [{"messages": [USER, last], "tools": pair["tools"]} for last in (ANSWER, WORSE)]
