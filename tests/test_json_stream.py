"""JSON is read in pieces of any size to the same values, and to the same errors, as all at once, in the memory of one value."""

import gzip
import json
import random
import tracemalloc

import pytest

from workbench.data import json_stream, reading, table_reader, text_files
from workbench.errors import InputError

VALUES = [
    {"a": 1.5e-7, "b": [None, True, "é \\ \" \n 😀"]}, 12345678901234567890123, -0.0, "", [], {}, "x" * 5000, [[1], {"c": "]"}],
]  # fmt: skip


def pieces(text, seed):
    draw = random.Random(seed)
    while text:
        size = draw.choice([1, 2, 3, 7, 100, 5000])
        yield text[:size]
        text = text[size:]


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("plain", [True, False])
def test_values_are_those_of_the_whole_text_however_it_is_cut(seed, indent, plain):
    text = "\n ".join(json.dumps(value, indent=indent, ensure_ascii=plain) for value in VALUES) + "\n"
    stream = json_stream.JSONStream(pieces(text, seed))
    found = []
    while stream.peek():
        found.append(stream.value())
    assert found == VALUES and stream.line == text.count("\n") + 1


BROKEN = [
    '{"a": 1,}',
    '{"a" 1}',
    '["x\ny"]',
    '{"a": tru}',
    "[1 2]",
    '{"a": "b',
    '{"a": "\\u12"}',
    '{"a": "\\x"}',
    "nul",
    "{",
    '{"a": 01}',
]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("after", ["", ' {"more": "' + "x" * 300 + '"}\n' * 5])
def test_errors_are_those_of_the_whole_text_with_line_and_column(broken, after, seed):
    with pytest.raises(json.JSONDecodeError) as whole:
        json.JSONDecoder().raw_decode("\n \n " + broken + after, 4)
    stream = json_stream.JSONStream(pieces("\n \n " + broken + after, seed))
    with pytest.raises(json.JSONDecodeError) as caught:
        stream.value()
    assert (caught.value.msg, caught.value.lineno, caught.value.colno) == (
        whole.value.msg, whole.value.lineno, whole.value.colno,
    )  # fmt: skip


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("ending", [".json", ".json.gz"])
def test_a_list_larger_than_the_memory_is_read(tmp_path, monkeypatch, indent, ending):
    """Of 8 MB in one list, on one line or on many, no more than a part is held at any time."""
    monkeypatch.setattr(text_files, "PIECE", 2**14)
    monkeypatch.setattr(reading, "IN_MEMORY", 100)
    monkeypatch.setattr(table_reader, "HEAD", 10)
    rows = [{"instruction": f"say {i}", "output": "x" * 2000} for i in range(4000)]
    path = tmp_path / f"list{ending}"
    (gzip.open if ending.endswith("gz") else open)(path, "wb").write(json.dumps(rows, indent=indent).encode())
    del rows
    tracemalloc.start()
    loaded = reading.load(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(loaded.rows) == 4000 and loaded.rows[3999]["messages"][0]["content"] == "say 3999"
    assert peak < 4e6


ROW = '{"instruction": "a", "output": "b"}'


@pytest.mark.parametrize(
    "text, says",
    [
        (f"[{ROW},\n {ROW}", r"line 2, column \d+: broken JSON \(Expecting ',' delimiter\)"),
        (f"[{ROW},\n\n {ROW},]", r"line 3, column 38: broken JSON"),
        (f"[{ROW}, // one\n {ROW}]", "line 1, column 39: a comment, and JSON has none; remove the comments"),
        (f"[\n/* two */ {ROW}]", "line 2, column 1: a comment"),
        (f"[{ROW}]\n[{ROW}]", "line 2, column 1: several JSON values in a row"),
        (f"[{ROW}, {{\"instruction\": \"a\", \"output\": \"\x01\"}}]", r"line 1, column \d+: broken JSON \(Invalid control character"),
    ],
)  # fmt: skip
def test_a_broken_list_is_named_with_line_and_column(tmp_path, text, says):
    (tmp_path / "rows.json").write_text(text)
    with pytest.raises(InputError, match=says) as caught:
        reading.load(tmp_path / "rows.json")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("cut", range(3, 9))
def test_bytes_that_are_no_utf8_are_found_wherever_a_piece_ends(tmp_path, monkeypatch, cut):
    monkeypatch.setattr(text_files, "PIECE", cut)
    text = b"\xef\xbb\xbf[\n" + '{"instruction": "ö€😀", '.encode() + b'"output": "\xff"}]'
    (tmp_path / "rows.json").write_bytes(text)
    with pytest.raises(InputError, match=rf"line 2: not UTF-8 \(byte {text.index(0xFF)}\)"):
        reading.load(tmp_path / "rows.json")
    (tmp_path / "rows.json").write_bytes(text.replace(b"\xff", b"x"))
    assert reading.load(tmp_path / "rows.json").rows[0]["messages"][0]["content"] == "ö€😀"
