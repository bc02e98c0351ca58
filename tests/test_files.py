"""Facts about files: packed, nested, saved or broken, they are read, or named with what is wrong and what was left out."""

import bz2
import gzip
import json
import lzma

import datasets
import pyarrow
import pyarrow.parquet
import pytest

from workbench.data import files, reading, table_reader
from workbench.data.content import content_hash
from workbench.errors import InputError

ROWS = [
    {"messages": [{"role": "user", "content": f"Say {i}."}, {"role": "assistant", "content": f"{i}é"}]}
    for i in range(5)
]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS).encode()


def zst(data):
    return pyarrow.compress(data, codec="zstd", asbytes=True)


@pytest.mark.parametrize(
    "ending, pack", [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress), (".zst", zst), ("", bytes)]
)  # fmt: skip
@pytest.mark.parametrize("name", ["rows.jsonl", "ROWS.JSONL", "rows.ndjson", "rows.json"])
def test_packed_files_and_upper_case_endings_are_read(tmp_path, ending, pack, name):
    file = tmp_path / f"{name}{ending.upper() if name.isupper() else ending}"
    file.write_bytes(pack(LINES))
    assert content_hash(reading.load(file).rows) == content_hash(ROWS)
    assert content_hash(reading.load(tmp_path).rows) == content_hash(ROWS)


def test_a_packed_file_of_several_parts_is_read_to_the_end(tmp_path):
    for name, pack in (
        ("a.jsonl.gz", gzip.compress),
        ("b.jsonl.zst", zst),
        ("c.jsonl.bz2", bz2.compress),
    ):
        (tmp_path / name).write_bytes(pack(LINES) + pack(LINES))
        assert len(reading.load(tmp_path / name).rows) == 10


def test_a_packed_file_that_is_cut_short_or_none_is_one_line(tmp_path):
    for name, pack in (
        ("a.jsonl.gz", gzip.compress),
        ("a.jsonl.zst", zst),
        ("a.jsonl.xz", lzma.compress),
    ):
        for data in (pack(LINES)[:-12], b"no"):
            (tmp_path / name).write_bytes(data)
            with pytest.raises(InputError, match=f"{name}: cannot be read .*; write it again") as raised:
                reading.load(tmp_path / name)
            assert "\n" not in str(raised.value)


def test_what_is_no_data_is_left_out_of_a_folder_and_listed(tmp_path):
    (tmp_path / "train.jsonl").write_bytes(LINES)
    for name in (
        ".ipynb_checkpoints/train-checkpoint.jsonl",
        "dataset_info.json",
        "checkpoint-5/state.json",
        "notes.txt",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(LINES)
    (tmp_path / "gone.jsonl").symlink_to(tmp_path / "nowhere")
    (tmp_path / "empty.json").mkdir()
    (tmp_path / "part.json").mkdir()
    (tmp_path / "part.json" / "0.jsonl").write_bytes(LINES)
    loaded = reading.load(tmp_path)
    assert len(loaded.rows) == 10
    for left in (
        ".ipynb_checkpoints/train-checkpoint.jsonl (hidden)", "dataset_info.json (metadata)", "checkpoint-5/state.json (metadata)",
        "notes.txt (no data file)", "gone.jsonl (a broken link)", "empty.json (an empty folder)",
    ):  # fmt: skip
        assert left in loaded.notes[0]


@pytest.mark.parametrize(
    "text, says",
    [(json.dumps(ROWS[0], indent=1) + "\n" + json.dumps(ROWS[1], indent=1), "line 1: JSON objects span several lines; write one object per line"),
     (json.dumps(ROWS[0]) + json.dumps(ROWS[1]), "line 1, several JSON values in a row; write one object per line"),
     ("// rows\n" + json.dumps(ROWS[0]), "line 1, a comment, and JSON has none; remove the comments"),
     ("[\n// rows\n" + json.dumps(ROWS[0]) + "]", "line 2, column 1: a comment"), ('{"a": ' + "[" * 200_000, "nested too deeply"),
     ('{"a": ' + "9" * 10_000 + "}", "broken JSON")],
)  # fmt: skip
def test_json_of_other_kinds_gets_the_line_that_says_so(tmp_path, text, says):
    (tmp_path / "rows.jsonl").write_text(text)
    with pytest.raises(InputError, match=says) as raised:
        reading.load(tmp_path / "rows.jsonl")
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 500


def test_one_object_over_several_lines_is_one_row(tmp_path):
    (tmp_path / "row.json").write_text(json.dumps(ROWS[0], indent=1))
    assert content_hash(reading.load(tmp_path / "row.json").rows) == content_hash(ROWS[:1])


def test_a_split_of_a_saved_set_can_be_chosen_and_the_message_says_how(tmp_path):
    table = datasets.Dataset.from_list(ROWS)
    datasets.DatasetDict(train_sft=table, test_sft=table.select([0])).save_to_disk(tmp_path / "saved")
    with pytest.raises(
        InputError, match="no split 'train'; there are train_sft, test_sft: choose one with split, --split"
    ):
        reading.load(tmp_path / "saved")
    assert len(reading.load(tmp_path / "saved", split="train_sft").rows) == 5
    table.to_parquet(tmp_path / "parts" / "train_sft-00000-of-00001.parquet")
    table.to_parquet(tmp_path / "parts" / "more.parquet")
    assert len(reading.load(tmp_path / "parts", split="train_sft").rows) == 5
    (tmp_path / "saved" / "dataset_dict.json").write_text("{")
    with pytest.raises(InputError, match="the saved data set cannot be read"):
        reading.load(tmp_path / "saved", split="train_sft")


def test_odd_arrow_columns_do_not_stop_the_reading(tmp_path):
    table = datasets.Dataset.from_list(ROWS).data.table
    table = table.append_column(
        "pairs", pyarrow.array([[("a", 1)]] * 5, pyarrow.map_(pyarrow.string(), pyarrow.int64()))
    )
    table = table.append_column("when", pyarrow.array([0] * 5, pyarrow.timestamp("s")))
    table = table.append_column("raw", pyarrow.array([b"a"] * 5))
    table = table.append_column("source", pyarrow.array(["web"] * 5).dictionary_encode())
    pyarrow.parquet.write_table(table, tmp_path / "rows.parquet")
    loaded = reading.load(tmp_path / "rows.parquet")
    assert content_hash(loaded.rows) == content_hash(ROWS)
    assert loaded.rows["source"] == ["web"] * 5
    assert "left out pairs, columns of a type that cannot be read (map<string, int64" in loaded.notes[0]
    assert "not trained on: when, raw, source" in loaded.notes[1]


def test_two_csv_columns_of_one_name_are_refused(tmp_path):
    (tmp_path / "rows.csv").write_text("question,answer,answer\na,b,c\n")
    with pytest.raises(InputError, match="two columns are called answer"):
        reading.load(tmp_path / "rows.csv")


def test_a_name_that_is_no_path_is_one_line():
    for name in ("a" * 5_000, "a\0b"):
        with pytest.raises(InputError, match="not a path|no such file"):
            reading.load(name)


def test_more_rows_than_memory_holds_are_read_alike(tmp_path, monkeypatch):
    rows = [row | {"id": i, "source": "web"} for i, row in enumerate(ROWS)]
    bad = {"messages": []}
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*rows[:3], bad, *rows[3:]]))
    held = reading.load(tmp_path / "rows.jsonl", drop_bad=True)
    monkeypatch.setattr(reading, "IN_MEMORY", 2)
    monkeypatch.setattr(table_reader, "HEAD", 2)
    mapped = reading.load(tmp_path / "rows.jsonl", drop_bad=True)
    assert mapped.rows.cache_files and not held.rows.cache_files
    assert list(mapped.rows) == list(held.rows) and mapped.notes == held.notes
    assert mapped.rows.features == held.rows.features
    lines = [f"{tmp_path / 'rows.jsonl'}, line {number}" for number in (1, 2, 3, 5, 6)]
    assert [*map(mapped.place, range(5))] == [*map(held.place, range(5))] == lines


def test_a_row_is_named_by_its_place_in_its_file_whatever_was_left_out_before_it(tmp_path):
    good, bad, other = ROWS[0] | {"split": "train"}, {"messages": []}, ROWS[0] | {"split": "test"}
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, [other, good, bad])) + "\n\n" + json.dumps(good))
    (tmp_path / "b.json").write_text(json.dumps([bad, other, good]))
    loaded = reading.load(tmp_path, split="train", drop_bad=True)
    assert len(loaded.rows) == 3
    assert [*map(loaded.place, range(3))] == [
        f"{tmp_path}/a.jsonl, line 2", f"{tmp_path}/a.jsonl, line 5", f"{tmp_path}/b.json, row 3"
    ]  # fmt: skip


def test_words_of_a_file_name():
    assert files.words("data/train-00000-of-00001.parquet") >= {"train", "of"}
