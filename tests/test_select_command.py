"""Facts about `workbench select`: rows of a file are ranked, shown and written."""

import json

import pytest

from workbench.cli import selection
from workbench.data import reading
from workbench.errors import InputError

ANSWERS = [
    "Oslo",
    "Paris is the capital of France, as everybody knows.",
    "yes",
    "word " * 40,
]


@pytest.fixture
def source(tmp_path):
    rows = [{"instruction": f"Question {i}?", "input": "", "output": text} for i, text in enumerate(ANSWERS)]
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(rows))
    return str(path)


def lines(source, tiny_base, by, size=2, good=None, out=None):
    return list(selection.select_rows(source, by, size, str(tiny_base), good, out, False, 3))


def test_selected_rows_are_written_and_can_be_loaded(source, tiny_base, tmp_path):
    out = tmp_path / "selected.jsonl"
    text = "\n".join(lines(source, tiny_base, "longest", out=out))
    assert text.index(ANSWERS[3][:30]) < text.index("not selected") < text.index("→  yes")
    assert [row["messages"][-1]["content"].strip() for row in reading.load(out).rows] == [
        ANSWERS[3].strip(),
        ANSWERS[1],
    ]
    with pytest.raises(InputError, match="exists; name another file"):
        lines(source, tiny_base, "longest", out=out)


@pytest.mark.parametrize("by", selection.SELECTORS)
def test_every_selector_works_on_plain_rows(source, tiny_base, by):
    assert lines(source, tiny_base, by, size=1, good=source)[0].endswith("4 rows, format Alpaca")


def test_impossible_requests_are_errors(source, tiny_base):
    with pytest.raises(InputError, match='"ifdd" is unknown; known are .* did you mean ifd'):
        lines(source, tiny_base, "ifdd")
    with pytest.raises(InputError, match="--good"):
        lines(source, tiny_base, "less")
    with pytest.raises(InputError, match="size asks for 9 rows"):
        lines(source, tiny_base, "longest", size=9)
