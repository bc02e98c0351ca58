"""Models and data sets of the Hub, as they lie in its cache: read offline in the schemas that they have there, and named where a part is missing."""

import json
import shutil

import datasets
import huggingface_hub
import pytest
from datasets import Dataset, Features, List, Value

from workbench import hub
from workbench.data import reading
from workbench.errors import InputError
from workbench.models import loading

TEXT = Value("string")
TURNS = List({"content": TEXT, "role": TEXT})
SCORES = {"score_chosen": Value("float64"), "score_rejected": Value("float64")}
ASKED = {"role": "user", "content": "Say hello."}
ANSWER = {"role": "assistant", "content": "Hello!"}
WORSE = {"role": "assistant", "content": "No."}
TALK = [ASKED, ANSWER]
WEATHER = {"name": "weather", "description": "…", "parameters": {"city": {"type": "str", "description": "…"}}}
SPOKEN = [
    {"from": "system", "value": f"You are a function calling AI. <tools> [{json.dumps(WEATHER)}] </tools> …"},
    {"from": "human", "value": "How is Rome?"},
    {"from": "gpt", "value": '<tool_call>\n{"name": "weather", "arguments": {"city": "Rome"}}\n</tool_call>\n'},
    {"from": "tool", "value": '<tool_response>\n{"sky": "blue"}\n</tool_response>\n'},
    {"from": "gpt", "value": "It is sunny."},
]
CALL = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Rome"}}}
CALLED = {"role": "assistant", "content": "", "tool_calls": [CALL]}

# name → columns as the Hub has them, a row, and what is to come of it
SETS = {
    "tatsu-lab/alpaca": (
        dict.fromkeys(("instruction", "input", "output", "text"), TEXT),
        {"instruction": "Say hello.", "input": "", "output": "Hello!", "text": "### Instruction:\nSay hello.\n\n### Response:\nHello!"},
        {"messages": TALK},
    ),
    "yahma/alpaca-cleaned": (
        dict.fromkeys(("output", "input", "instruction"), TEXT),
        {"instruction": "Say hello.", "input": "", "output": "Hello!"},
        {"messages": TALK},
    ),
    "databricks/databricks-dolly-15k": (
        dict.fromkeys(("instruction", "context", "response", "category"), TEXT),
        {"instruction": "Say hello.", "context": "", "response": "Hello!", "category": "open_qa"},
        {"messages": TALK, "family": "open_qa", "skill": "open_qa"},
    ),
    "HuggingFaceH4/no_robots": (
        {"prompt": TEXT, "prompt_id": TEXT, "messages": TURNS, "category": TEXT},
        {"prompt": "Say hello.", "prompt_id": "0f", "messages": TALK, "category": "Chat"},
        {"messages": TALK, "skill": "Chat", "prompt": None},
    ),
    "HuggingFaceTB/smol-smoltalk": (
        {"messages": TURNS, "source": TEXT},
        {"messages": TALK, "source": "everyday-conversations"},
        {"messages": TALK, "family": "everyday-conversations"},
    ),
    "GAIR/lima": (
        {"conversations": List(TEXT), "source": TEXT},
        {"conversations": ["Say hello.", "Hello!"], "source": "stackexchange"},
        {"messages": TALK, "skill": "stackexchange"},
    ),
    "HuggingFaceH4/ultrafeedback_binarized": (
        {"prompt": TEXT, "prompt_id": TEXT, "chosen": TURNS, "rejected": TURNS, "messages": TURNS, **SCORES},
        {"prompt": "Say hello.", "prompt_id": "0f", "chosen": TALK, "rejected": [ASKED, WORSE], "messages": TALK,
         "score_chosen": 8.5, "score_rejected": 3.0},
        {"prompt": [ASKED], "chosen": [ANSWER], "rejected": [WORSE], "messages": None},
    ),
    "Anthropic/hh-rlhf": (
        dict.fromkeys(("chosen", "rejected"), TEXT),
        {"chosen": "\n\nHuman: Hi.\n\nAssistant: Hi!\n\nHuman: Say hello.\n\nAssistant: Hello!",
         "rejected": "\n\nHuman: Hi.\n\nAssistant: Hi!\n\nHuman: Say hello.\n\nAssistant: No."},
        {"prompt": [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Hi!"}, ASKED],
         "chosen": [ANSWER], "rejected": [WORSE]},
    ),
    "Salesforce/xlam-function-calling-60k": (
        {"id": Value("int64"), "query": TEXT, "answers": TEXT, "tools": TEXT},
        {"id": 0, "query": "How is Rome?", "answers": json.dumps([CALL["function"]]), "tools": json.dumps([WEATHER])},
        {"messages": [{"role": "user", "content": "How is Rome?"}, CALLED], "tools": [WEATHER]},
    ),
    "NousResearch/hermes-function-calling-v1": (
        {"id": TEXT, "conversations": List({"from": TEXT, "value": TEXT}), "tools": TEXT, "category": TEXT,
         "subcategory": TEXT, "task": TEXT},
        {"id": "0f", "conversations": SPOKEN, "tools": json.dumps([{"type": "function", "function": WEATHER}]),
         "category": "Weather", "subcategory": "…", "task": "…"},
        {"messages": [{"role": "user", "content": "How is Rome?"}, CALLED,
                      {"role": "tool", "content": '{"sky": "blue"}'}, {"role": "assistant", "content": "It is sunny."}],
         "tools": [{"type": "function", "function": WEATHER}], "skill": "Weather"},
    ),
}  # fmt: skip


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache of the Hub, which cannot be reached."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "datasets"))
    return tmp_path / "hub"


def cached(cache, kind: str, name: str):
    """Folder of a snapshot in the cache, as the Hub's client lays it out."""
    root = cache / f"{kind}s--{name.replace('/', '--')}"
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text("c" * 40)
    folder = root / "snapshots" / ("c" * 40)
    folder.mkdir(parents=True)
    return folder


def keep(cache, name: str, files: dict[str, Dataset]):
    """A data set of parquet files in the cache."""
    folder = cached(cache, "dataset", name)
    (folder / "data").mkdir()
    for file, table in files.items():
        table.to_parquet(folder / "data" / f"{file}.parquet")
    return folder


@pytest.mark.parametrize("name", SETS)
def test_a_set_of_the_hub_is_read_offline_in_the_schema_it_has_there(cache, name):
    columns, row, expected = SETS[name]
    keep(cache, name, {"train-00000-of-00001": Dataset.from_list([row], features=Features(columns))})
    loaded = reading.load(name)
    assert {column: loaded.rows[0].get(column) for column in expected} == expected
    assert loaded.notes[0] == f"{name}: commit {'c' * 40}"


def test_pairs_whose_chosen_answer_scored_no_higher_are_left_out_and_counted(cache):
    name = "HuggingFaceH4/ultrafeedback_binarized"
    columns, row, _ = SETS[name]
    rows = [row, row | {"score_rejected": 8.5}, row | {"score_rejected": 9.0}]
    keep(cache, name, {"train_prefs-00000-of-00001": Dataset.from_list(rows, features=Features(columns))})
    loaded = reading.load(f"{name}#train_prefs")
    assert len(loaded.rows) == 1
    assert loaded.notes[-1].endswith("left out 2 of 3 pairs, whose chosen answer has no higher score")


def test_the_name_can_say_split_and_number_of_rows_and_these_are_drawn_the_same_way_each_time(cache):
    rows = [{"messages": [ASKED | {"content": f"Say {i}."}, ANSWER], "source": "s"} for i in range(50)]
    tables = {f"{split}-00000-of-00001": Dataset.from_list(rows) for split in ("train", "test")}
    keep(cache, "a/set", tables)
    drawn, again, more = (reading.load(f"a/set#test:{n}").rows["messages"] for n in (10, 10, 20))
    assert drawn == again == more[:10] and drawn != [row["messages"] for row in rows[:10]]
    assert len(reading.load("a/set@main#train").rows) == len(reading.load("a/set").rows) == 50
    assert len(reading.load("a/set#train:10", split="test").rows) == 10


def test_a_set_of_which_a_part_is_missing_is_not_taken_for_the_whole(cache):
    table = Dataset.from_list([{"messages": TALK}])
    keep(cache, "a/set", {"train-00000-of-00002": table})
    with pytest.raises(InputError, match="a/set: the download is not complete, data/train-00001-of-00002.parquet") as e:
        reading.load("a/set")
    assert "\n" not in str(e.value)


def test_a_model_in_the_cache_loads_offline_and_is_named_by_its_commit(cache, tiny_base):
    shutil.copytree(tiny_base, cached(cache, "model", "a/model"), dirs_exist_ok=True)
    folder = hub.fetch("a/model")
    assert folder == hub.fetch("a/model@main") == hub.fetch("a/model", "main")
    assert hub.snapshot_commit(folder) == loading.fingerprint(folder) == "c" * 40
    assert loading.load_base("a/model", device="cpu").config.vocab_size == len(loading.load_tokenizer("a/model"))
    found = hub.look_up("a/model", None, "model", hub.MODEL_FILES)
    assert (found.commit, found.missing) == ("c" * 40, 0) and found.size > 10_000


@pytest.mark.parametrize("gone", ["model-00002-of-00002.safetensors", "model.safetensors"])
def test_a_model_of_which_a_part_is_missing_is_one_line(cache, tiny_base, gone):
    folder = shutil.copytree(tiny_base, cached(cache, "model", "a/model"), dirs_exist_ok=True)
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    if gone == "model.safetensors":
        (folder / "model-00001-of-00002.safetensors").unlink()
    else:
        places = {"a": "model-00001-of-00002.safetensors", "b": gone}
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    (folder.parents[1] / "blobs").mkdir()
    (folder.parents[1] / "blobs" / "0f.incomplete").write_bytes(b"half")
    with pytest.raises(InputError, match=f"a/model: the download is not complete, {gone} is missing; run again") as e:
        loading.load_base("a/model")
    assert "\n" not in str(e.value)


def test_a_cold_cache_is_one_line_for_models_and_data(cache):
    for call in (loading.load_base, loading.load_tokenizer, hub.fetch, reading.load):
        with pytest.raises(InputError, match="a/thing: no such file|a/thing: no such folder") as e:
            call("a/thing")
        assert "\n" not in str(e.value)
