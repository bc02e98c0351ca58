"""`workbench show`, and the fields and the dry run of `sft` and `dpo`: what is typed is what is trained."""

import json
import subprocess
import sys
import time

import pytest
from conftest import make_rows
from typer.testing import CliRunner

from workbench.cli.app import app
from workbench.cli.spec_fields import spec_fields
from workbench.config import DPOSpec, SFTSpec
from workbench.data import chat_templates
from workbench.errors import InputError
from workbench.store import Store

ROWS = [{"question": row["messages"][0]["content"], "answer": row["messages"][1]["content"]} for row in make_rows(24)]


@pytest.fixture
def source(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_RUNS", str(tmp_path / "runs"))
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, ROWS)))
    return str(path)


def call(*words, code=0):
    result = CliRunner().invoke(app, [*map(str, words)])
    assert result.exit_code == code, result.output
    return result.stderr if code else result.stdout


def test_show_marks_the_supervised_part_of_the_row_that_is_asked_for(source, tiny_base):
    text = call("show", source, "--row", 3, "--base", tiny_base)
    assert "<|im_start|>user\n2 say greenred<|im_end|>\n<|im_start|>assistant\n⟦GREENRED<|im_end|>⟧" in text
    assert f"row 3 of 24 ({source}, line 3)" in text
    assert "supervised ones are lost" in call("show", source, "--base", tiny_base, "--max-length", 20)


def test_a_row_that_cannot_be_trained_on_is_named_by_its_line_in_the_file_also_where_others_were_left_out(
    source, tiny_base, tmp_path
):
    """Rows of another split come before it, and --drop-bad leaves out one between it and the next finding."""
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
    call_f = {"type": "function", "function": {"name": "f", "arguments": {"x": 1}}}
    turns = [{"role": "user", "content": "Go."}, {"role": "assistant", "content": "", "tool_calls": [call_f]}]
    picky = tmp_path / "picky.jinja"
    picky.write_text(
        "{%- if messages[0].content == 'No!' %}{{ raise_exception('not so') }}{% endif -%}" + chat_templates.CHATML
    )
    rows = [{"messages": row["messages"], "split": "train"} for row in make_rows(8)]
    rows.insert(0, {**rows[0], "split": "test"})
    rows.insert(
        3,
        {"messages": [{"role": "user", "content": "No!"}, {"role": "assistant", "content": "Yes."}], "split": "train"},
    )
    rows.insert(5, {"messages": turns, "tools": [tool], "split": "train"})
    with open(source, "w", encoding="utf-8") as file:
        file.write("\n".join(map(json.dumps, rows)))
    words = ["sft", source, "--base", tiny_base, "--template", picky, "--split", "train", "--dry-run"]
    assert f"(first {source}, line 4)" in call(*words, code=2)
    text = call(*words, "--drop-bad")
    assert f"dropped 1 of 10 rows: the chat template refuses 1 row (first messages of {source}, line 4: " in text
    assert f"(first messages[1] of {source}, line 6: f has no argument 'x'" in text and "rows[" not in text


def test_show_writes_both_answers_of_a_pair(tmp_path, tiny_base):
    path = tmp_path / "pairs.json"
    path.write_text(json.dumps([{"prompt": "Why?", "chosen": "So.", "rejected": "No."}]))
    text = call("show", path, "--base", tiny_base)
    assert "⟦So.<|im_end|>⟧" in text and "⟦No.<|im_end|>⟧" in text


def test_a_template_that_is_named_is_shown_trained_with_and_kept(source, tiny_base, tmp_path):
    text = call("show", source, "--base", tiny_base, "--template", "gemma3")
    assert "<start_of_turn>model\n⟦REDRED<end_of_turn>⟧\n" in text
    words = ["--method", "lora", "--set", "max_steps=1", "--samples", 0]
    text = call("sft", source, "--base", tiny_base, "--template", "gemma3", *words)
    assert (
        "template    gemma3: as asked; answers end with '<end_of_turn>'; added to the vocabulary: <start_of_turn>, <end_of_turn>"
        in text
    )
    (run,) = Store(tmp_path / "runs").runs()
    assert run.spec["template"] == "gemma3" and run.record["template"]["end"] == "<end_of_turn>"
    refused = call("sft", source, "--base", tiny_base, "--template", "gema", code=2)
    assert 'template "gema" is unknown and no file' in refused


def test_columns_say_what_is_a_prompt_and_what_an_answer(source, tiny_base):
    text = call("show", source, "--base", tiny_base, "--columns", "prompt=answer,response=question")
    assert "<|im_start|>user\nREDRED<|im_end|>" in text and "⟦0 say redred<|im_end|>⟧" in text


def test_every_field_of_the_spec_reaches_the_training_from_options_set_and_config(source, tiny_base, tmp_path):
    config = tmp_path / "run.yaml"
    config.write_text("rank: 2\nbatch_size: 4\nlearning_rate: 1e-4\nmethod: full\n")
    words = ["sft", source, "--base", tiny_base, "--config", config, "--set", "max_steps=2", "--set", "rank=3"]
    call(*words, "--method", "lora", "--samples", 0)
    (run,) = Store(tmp_path / "runs").runs()
    fields = ("rank", "batch_size", "learning_rate", "method", "max_steps")
    assert [run.spec[name] for name in fields] == [3, 4, 1e-4, "lora", 2]


def test_a_dry_run_shows_rows_and_estimates_and_keeps_nothing(source, tiny_base, tmp_path):
    text = call("sft", source, "--base", tiny_base, "--set", "batch_size=4", "--epochs", 2, "--dry-run")
    assert text.count("⟦") == 2 and "REDRED<|im_end|>⟧" in text
    assert "12 of 4 rows" in text, "22 rows in steps of 4 are 6 steps a pass"
    assert "s per step" in text and "GiB at most" in text
    assert Store(tmp_path / "runs").runs() == [] and not list((tmp_path / "runs").glob("*.partial"))


@pytest.mark.parametrize("spec", [SFTSpec, DPOSpec])
def test_values_are_read_as_the_type_of_their_field(spec):
    found = spec_fields(spec, {"epochs": None}, ["max_steps=7", "checkpointing=true", "micro_batch_size=none"], None)
    assert found == {"max_steps": 7, "checkpointing": True, "micro_batch_size": None}
    for word, says in (
        ("max_steps=7.5", "must be a whole number or none"),
        ("checkpointing=2", "must be true or false"),
        ("epochs=fast", "must be a number"),
        ("seed=" + "9" * 99, "must be a whole number"),
        ("epoch=3", "did you mean 'epochs'"),
        ("epochs", "key=value"),
    ):
        with pytest.raises(InputError, match=says):
            spec_fields(spec, {}, [word], None)
    with pytest.raises(InputError, match="epochs is given twice"):
        spec_fields(spec, {"epochs": 2.0}, ["epochs=3"], None)


def test_sigterm_keeps_a_checkpoint_as_ctrl_c_does_and_says_so(source, tiny_base, tmp_path):
    words = ["sft", source, "--base", tiny_base, "--method", "lora", "--set", "max_steps=100000", "--samples", "0"]
    command = subprocess.Popen([sys.executable, "-m", "workbench", *words], stderr=subprocess.PIPE, text=True)
    checkpoints = tmp_path / "runs"
    for _ in range(600):
        if list(checkpoints.glob("lora-*.partial/checkpoints")):
            break
        time.sleep(0.1)
    time.sleep(2)
    command.terminate()
    _, errors = command.communicate(timeout=60)
    assert command.returncode == 130 and "run the same command again to continue" in errors.splitlines()[-1], errors
    assert "Traceback" not in errors and list(checkpoints.glob("lora-*.partial/checkpoints/checkpoint-*/complete"))
