"""Facts about `workbench select`: rows of a file are ranked, shown and written."""

import json

import pytest
from typer.testing import CliRunner

from workbench.cli import selection
from workbench.cli.app import app
from workbench.data import reading

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


def call(source, tiny_base, by, *words, code=0, size=2):
    words = ["select", source, "--by", by, "--size", str(size), "--base", tiny_base, "--show", "3", *words]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == code, result.output
    return result.stderr if code else result.stdout


def test_selected_rows_are_written_and_can_be_loaded(source, tiny_base, tmp_path):
    out = tmp_path / "selected.jsonl"
    text = call(source, tiny_base, "longest", "--out", str(out))
    assert text.index(ANSWERS[3][:30]) < text.index("not selected") < text.index("→  yes")
    assert [row["messages"][-1]["content"].strip() for row in reading.load(out).rows] == [
        ANSWERS[3].strip(),
        ANSWERS[1],
    ]
    assert "exists already; name another file" in call(source, tiny_base, "longest", "--out", str(out), code=2)
    missing = call(source, tiny_base, "longest", "--out", str(tmp_path / "none" / "x.jsonl"), code=2)
    assert "cannot be written (No such file or directory)" in missing
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rows.json", "selected.jsonl"]


@pytest.mark.parametrize("by", selection.SELECTORS)
def test_every_selector_works_on_plain_rows(source, tiny_base, by):
    assert "4 rows, format Alpaca" in call(source, tiny_base, by, "--good", source, size=1)


def test_impossible_requests_are_errors(source, tiny_base):
    assert (
        '"ifdd" is unknown; known are' in (text := call(source, tiny_base, "ifdd", code=2))
        and "did you mean ifd" in text
    )
    assert "--good" in call(source, tiny_base, "less", code=2)
    assert "size asks for 9 rows" in call(source, tiny_base, "longest", code=2, size=9)
    assert "size is 0; it must be 1 or more" in call(source, tiny_base, "longest", code=2, size=0)


def test_every_field_can_be_set_and_a_dry_run_scores_nothing(source, tiny_base, tmp_path):
    config = tmp_path / "run.yaml"
    config.write_text(f"by: longest\nsize: 1\nbase: {tiny_base}\n")
    result = CliRunner().invoke(app, ["select", source, "--config", str(config), "--set", "size=2", "--dry-run"])
    assert result.exit_code == 0, result.output
    assert "nothing was scored" in result.stdout and "⟦Oslo<|im_end|>⟧" in result.stdout
