"""Facts about `workbench select`: rows of a file are ranked, shown and written."""

import json
import re

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from workbench.cli import dry_run, selection
from workbench.cli.app import app
from workbench.data import reading
from workbench.errors import InputError
from workbench.models import loading, selection_scores

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
    return list(selection.select_rows(reading.load(source), by, size, str(tiny_base), good, out, 3))


def call(*words, code=0):
    result = CliRunner().invoke(app, ["select", *map(str, words)])
    assert result.exit_code == code, result.output
    return result.stderr if code else result.stdout


def test_selected_rows_are_written_and_can_be_loaded(source, tiny_base, tmp_path):
    out = tmp_path / "selected.jsonl"
    text = "\n".join(lines(source, tiny_base, "longest", out=out))
    assert text.index(ANSWERS[3][:30]) < text.index("not selected") < text.index("→  yes")
    assert [row["messages"][-1]["content"].strip() for row in reading.load(out).rows] == [
        ANSWERS[3].strip(),
        ANSWERS[1],
    ]


@pytest.mark.parametrize("by", selection.SELECTORS)
def test_every_selector_works_on_plain_rows(source, tiny_base, tmp_path, by):
    out = tmp_path / "out.jsonl"
    said = lines(source, tiny_base, by, size=1, good=source, out=out)
    assert said[0].endswith("4 rows, format Alpaca") and any(f"{by}: " in line for line in said)
    (selected,) = reading.load(out).rows["messages"]
    assert selected in list(reading.load(source).rows["messages"])


def test_impossible_requests_are_errors(source, tiny_base):
    with pytest.raises(InputError, match="'ifdd' is unknown; did you mean 'ifd'.* known are random"):
        lines(source, tiny_base, "ifdd")
    with pytest.raises(InputError, match="--good"):
        lines(source, tiny_base, "less")
    with pytest.raises(InputError, match="size asks for 9 rows"):
        lines(source, tiny_base, "longest", size=9)


def test_the_score_that_ranks_is_shown_with_the_share_that_is_excluded_and_the_reason(source, tiny_base, monkeypatch):
    found = np.array([0.99991, 1.25, 1.5, 0.99987])
    monkeypatch.setattr(selection_scores, "ifd", lambda rows, model, tokenizer: found)
    text = "\n".join(lines(source, tiny_base, "ifd"))
    assert "score       ifd: IFD (loss of the answer after its instruction / loss without it)" in text
    assert "2 of 4 rows (50%): an IFD of 1 or more" in text
    assert "scores 0.99991 to 0.99987" in text and "inf" not in text
    assert re.search(r"0\.99991  Question 0", text) and re.search(r"1\.5  excluded  Question 2", text)


def test_a_judge_that_guesses_is_reported(source, tiny_base, tmp_path):
    flat = loading.load_base(str(tiny_base), device="cpu")
    torch.nn.init.zeros_(flat.get_output_embeddings().weight)
    folder = tmp_path / "flat"
    flat.save_pretrained(folder)
    loading.load_tokenizer(str(tiny_base)).save_pretrained(folder)
    text = "\n".join(lines(source, folder, "perplexity"))
    assert "a uniform guess among its 272 tokens has 5.61" in text and "loss on these answers is 5.61" in text
    assert "warning     the judge knows too little of this text" in text
    assert "judge       " not in "\n".join(lines(source, folder, "longest"))


def test_a_judge_that_knows_the_text_gets_no_warning(source, tiny_base, monkeypatch):
    monkeypatch.setattr(selection_scores, "perplexity", lambda rows, model, tokenizer: np.full(len(rows), -1.5))
    text = "\n".join(lines(source, tiny_base, "perplexity"))
    assert "loss on these answers is 1.50" in text and "warning" not in text


@pytest.mark.parametrize("by", ["ifd", "perplexity", "deita", "less"])
def test_rows_beyond_the_judges_context_are_counted_and_cut_without_a_warning_of_the_tokenizer(
    by, tmp_path, tiny_base, caplog, capfd
):
    texts = [("Why?", "So."), ("Why " * 300, "So."), ("Why?", "So " * 300)]
    path, good = tmp_path / "long.json", tmp_path / "good.json"
    path.write_text(json.dumps([{"instruction": a, "input": "", "output": b} for a, b in texts]))
    good.write_text(json.dumps([{"instruction": "Who?", "input": "", "output": "I."}]))
    text = "\n".join(lines(str(path), tiny_base, by, size=1, good=str(good)))
    assert "too long    longer than the 512 tokens that the judge reads: 2 of 3 rows; of these" in text
    seen = capfd.readouterr()
    assert "longer than" not in caplog.text + seen.err + seen.out
    if by == "less":
        assert "excluded    1 of 3 rows (33%): no answer left within the tokens that the judge reads" in text


def test_an_output_that_cannot_be_written_and_good_rows_that_are_pairs_are_errors_before_anything_is_scored(
    source, tiny_base, tmp_path, monkeypatch
):
    monkeypatch.setattr(loading, "load_base", None)
    here = tmp_path / "here.jsonl"
    here.touch()
    assert "exists already; choose another name" in call(source, "--base", tiny_base, "--out", here, code=2)
    missing = call(source, "--base", tiny_base, "--out", tmp_path / "missing" / "rows.jsonl", code=2)
    assert "is missing; create the folder first" in missing
    with pytest.raises(InputError, match="size asks for 9 rows"):
        lines(source, tiny_base, "longest", size=9)
    pairs = tmp_path / "pairs.json"
    pairs.write_text(json.dumps([{"prompt": "Why?", "chosen": "So.", "rejected": "No."}]))
    with pytest.raises(InputError, match="pairs.json: preference pairs"):
        lines(source, tiny_base, "deita", good=str(pairs))


def test_rows_that_the_chat_template_refuses_are_an_error_and_are_dropped_on_demand(tiny_base):
    def talk(system):
        return {
            "messages": [
                {"role": "user", "content": "Who?"},
                {"role": system, "content": "Be."},
                {"role": "assistant", "content": "I."},
            ]
        }

    rows = reading.to_dataset([talk("system"), talk("user"), talk("user")])
    loaded = reading.Loaded(rows, "messages", "rows", place="line {}".format)
    with pytest.raises(
        InputError, match=r"template-refuses: the chat template refuses 1 row \(first messages of line 0"
    ):
        list(selection.select_rows(loaded, "longest", 1, str(tiny_base), None, None, 3))
    text = "\n".join(selection.select_rows(loaded, "longest", 2, str(tiny_base), None, None, 3, True))
    assert "dropped 1: the chat template refuses 1 row" in text and "selected    2 rows" in text
    with pytest.raises(InputError, match="size asks for 3 rows; rows has 2"):  # after the bad one is dropped
        list(selection.select_rows(loaded, "longest", 3, str(tiny_base), None, None, 3, True))


@pytest.mark.parametrize("drop_bad", [False, True])
@pytest.mark.parametrize("size", [1, 3])
def test_a_dry_run_refuses_and_drops_what_selecting_would(tiny_base, drop_bad, size):
    bad = [
        {"role": "user", "content": "Who?"},
        {"role": "system", "content": "Be."},
        {"role": "assistant", "content": "I."},
    ]
    good = [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "You."}]
    loaded = reading.Loaded(
        reading.to_dataset([{"messages": bad}, {"messages": good}, {"messages": good}]), "messages", "rows"
    )

    def outcome(work):
        try:
            return [line for line in work() if "dropped" in line]
        except InputError as error:
            return str(error)

    done = outcome(lambda: selection.select_rows(loaded, "longest", size, str(tiny_base), None, None, 3, drop_bad))
    dry = outcome(lambda: dry_run.select_lines(loaded, str(tiny_base), size, None, drop_bad))
    assert dry == done and ("refuses 1 row" in str(dry) or size == 3)


def test_every_field_can_be_set_and_a_dry_run_scores_nothing(source, tiny_base, tmp_path, monkeypatch):
    config = tmp_path / "run.yaml"
    config.write_text(f"by: perplexity\nsize: 1\nbase: {tiny_base}\n")
    text = call(source, "--config", config, "--set", "size=2")
    assert "selected    2 rows" in text and "score       perplexity: " in text and f"judge       {tiny_base}: " in text
    monkeypatch.setattr(selection_scores, "perplexity", None)
    text = call(source, "--config", config, "--set", "size=2", "--dry-run")
    assert "nothing was scored" in text and "⟦Oslo<|im_end|>⟧" in text
