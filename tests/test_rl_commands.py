"""`workbench reward-model` and `workbench rl` train from a run, say what changed, and refuse what cannot be in one line."""

import json
import re
import types
from collections import Counter

import pytest
from conftest import make_rows
from test_preference import make_pairs
from test_training_commands import call

from workbench import graders
from workbench.cli import dry_run, rl_output
from workbench.cli import rl as commands
from workbench.config import SFTSpec
from workbench.data import templates
from workbench.evaluate.benchmarks import benchmark  # noqa: F401  a room that the command imports late
from workbench.store import Store
from workbench.train import rl_inputs, supervised


@pytest.fixture
def world(tiny_base, tmp_path, monkeypatch):
    """A store with an SFT run, prompts with checks, and pairs."""
    monkeypatch.setenv("WORKBENCH_RUNS", str(tmp_path / "runs"))
    spec = SFTSpec(base=tiny_base, method="lora", max_steps=20, batch_size=8, rank=4)
    run = supervised.sft(spec, make_rows(16), quiet=True)
    rows = [{**row, "check": {"name": "contains", "args": {"part": "RED"}}} for row in make_rows(12)]
    (tmp_path / "prompts.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, make_pairs(24))))
    return tmp_path, run.id


@pytest.fixture
def planned(monkeypatch):
    """What the command rl would train, instead of training it."""
    found = []
    names = ("spec", "loaded", "reward", "watch", "start")
    monkeypatch.setattr(rl_output, "rl_lines", lambda *given: found.append(dict(zip(names, given, strict=False))) or [])
    return found


def test_a_watched_reward_model_is_named_by_its_id_however_it_was_abbreviated(world, planned, monkeypatch):
    folder, run = world
    rated = Store().run(run)
    monkeypatch.setattr(commands.runs, "find_run", lambda name: rated)
    for short in ("reward-1", "reward-12"):
        call("rl", folder / "prompts.jsonl", "--run", run, "--reward", "length", "--watch", short)
        call("rl", folder / "prompts.jsonl", "--run", run, "--reward", "reward-123", "--watch", short)
    assert [list(each["watch"]) for each in planned] == [[run]] * 4
    assert [len(rl_inputs.named_rewards(each["reward"], each["watch"])) for each in planned] == [2, 1, 2, 1]


def test_the_base_may_be_a_setting_or_in_a_file(world, planned, tiny_base):
    folder, _ = world
    (folder / "rl.yaml").write_text(f"base: {tiny_base}\n")
    words = ["rl", folder / "prompts.jsonl", "--reward", "length"]
    call(*words, "--set", f"base={tiny_base}")
    call(*words, "--config", folder / "rl.yaml")
    assert [(each["spec"].base, each["start"]) for each in planned] == [(str(tiny_base), None)] * 2


SMALL = ["--set", "prompts=2", "--set", "completions=2", "--set", "max_new_tokens=8", "--max-steps", 2]


def test_a_reward_model_is_trained_and_a_policy_on_it_and_exported(world):
    folder, run = world
    words = ["--run", run[:8], "--set", "max_steps=3", "--set", "batch_size=4"]
    assert "3 of 4 rows" in call("reward-model", folder / "pairs.jsonl", *words, "--dry-run")
    assert len(Store().runs()) == 1
    text = call("reward-model", folder / "pairs.jsonl", *words)
    assert "accuracy" in text and "longer one in 0%" in text
    (rated,) = [each for each in Store().runs() if each.id.startswith("reward-")]
    begin = ["rl", folder / "prompts.jsonl", "--run", run, "--reward", rated.id, "--watch", "length", *SMALL]
    dry = call(*begin, "--dry-run")
    assert "2 of 4 replies" in dry and len(re.findall(r"^reward -?\d", dry, re.MULTILINE)) == dry_run.SHOWN
    text = call(*begin, "--samples", 1)
    for name in ("reward      ", "watched     length: ", "KL          ", "replies     ", "run         ", "RL       "):
        assert f"\n{name}" in text
    (learnt,) = [each for each in Store().runs() if each.id.startswith("rl-")]
    assert learnt.spec["reward"] == rated.id and learnt.spec["watch"] == ["length"]
    assert learnt.id in call("runs", "list") and '"reward_first"' in call("runs", "show", learnt.id)
    assert "written" in call("export", learnt.id, folder / "exported")
    assert "rates answers and writes none" in call("export", rated.id, folder / "no", code=2)


@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
def test_each_prompt_is_tokenized_once(world, monkeypatch, dry):
    """All 40 once; some again, as a few prompts are tried before the training, or shown, or asked in its two steps."""
    folder, run = world
    (folder / "prompts.jsonl").write_text("\n".join(map(json.dumps, make_rows(40))))
    counts, tokenize = Counter(), templates.prompt_ids
    text = lambda turns: turns[-1]["content"]  # noqa: E731
    monkeypatch.setattr(
        templates,
        "prompt_ids",
        lambda tokenizer, turns, *rest: counts.update([text(turns)]) or tokenize(tokenizer, turns, *rest),
    )
    call("rl", folder / "prompts.jsonl", "--run", run, "--reward", "length", *SMALL, "--samples", 0, *dry)
    assert len(counts) == 40 and [*counts.values()].count(1) >= 30


def test_the_time_of_a_dry_run_counts_the_steps_that_write_replies(world, monkeypatch):
    folder, run = world
    ticks = iter(
        [0, 1, 11, 12, 22]
    )  # when the steps of the trial end: those that only learn take 1 s, those that write 10 s
    monkeypatch.setattr(dry_run, "time", types.SimpleNamespace(monotonic=lambda: next(ticks)))
    words = ["rl", folder / "prompts.jsonl", "--run", run, "--reward", "length", *SMALL[:-1], 9]
    text = call(*words, "--set", "updates=3", "--dry-run")
    assert "about 36 s: 4 s per step, measured over 4 steps" in text and "9 of 4 replies" in text


@pytest.mark.parametrize(
    "cycle, updates, steps, ends, seconds",
    [(1, 1, 10, [5, 7, 10], 25), (1, 1, 1, [5, 7], 2), (2, 2, 3, [5, 6, 16], 21), (2, 4, 3, [5, 6, 16], 12), (2, 4, 9, [5, 6, 16, 17], 36)],
)  # fmt: skip
def test_the_time_of_all_steps(cycle, updates, steps, ends, seconds):
    assert dry_run._whole_time(ends, cycle, steps, updates) == seconds


def shouted(response: str, part: str) -> graders.Grade:
    return graders.Grade(response.isupper(), len(response) % 2 == 1)


def test_prompts_without_answers_are_trained_on_and_bad_ones_left_out(world, monkeypatch):
    folder, run = world
    monkeypatch.setitem(graders._registered, "shouted", shouted)
    check = {"name": "shouted", "args": {"part": "RED"}}
    good = [{"prompt": row["messages"][0]["content"], "check": check} for row in make_rows(12)]
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
    bad = [
        {"prompt": "word " * 400, "check": check},
        {"prompt": "say red"},
        {**good[0], "tools": [tool]},
        {"prompt": " "},
    ]
    path = folder / "asked.jsonl"
    words = ["rl", path, "--run", run, "--reward", "correct", "--watch", "length", *SMALL, "--dry-run"]
    for each, says in zip(
        bad,
        ("the prompt is too long: it has", '"check" is missing', "it has tools", "field prompt: empty prompt"),
        strict=True,
    ):
        path.write_text("\n".join(map(json.dumps, [*good, each])))
        error = call(*words, code=2)
        assert says in error and "asked.jsonl" in error and "1 of 13 rows bad" in error and "--drop-bad" in error, error
        assert error.count("\n") == 1 and ("row 13" in error or "line 13" in error)
    path.write_text("\n".join(map(json.dumps, [bad[0], *good, *bad[1:]])))
    text = call(*words[:-1], "--drop-bad", "--samples", 1)
    assert "left out 1 of 16 rows (1 × empty prompt; the first is line 16)" in text
    assert 'left out 3 of 15 rows (1 × the prompt is too long, 1 × "check" is missing' in text
    assert f"1 × it has tools, which RL does not offer to the model; the first is {path}, line 1)" in text
    assert "on 12 prompts, reward correct" in text and "not trained on" not in text
    assert "\nprompt   0 say" in text and "\nRL  " in text and "\ndata     " not in text
    # of a split: the line of the file, not the number among the rows that are read
    path.write_text("\n".join(json.dumps({**each, "split": name}) for name, each in
                              [("test", good[0]), ("train", good[1]), ("test", good[2]), ("train", bad[1])]))  # fmt: skip
    assert f'{path}, line 4: "check" is missing' in call(*words, "--split", "train", code=2)
    path.write_text(json.dumps(bad[1]))
    assert '"check" is missing' in call(*words, "--drop-bad", code=2)


def test_what_is_missing_or_unknown_is_one_line(world, tiny_base):
    folder, run = world
    prompts, pairs = folder / "prompts.jsonl", folder / "pairs.jsonl"
    for words, says in (
        (["rl", prompts, "--run", run], "RL needs a reward"),
        (["rl", prompts, "--reward", "length"], "RL starts from a run"),
        (["rl", prompts, "--reward", "lenght", "--run", run], "did you mean 'length'"),
        (["rl", prompts, "--reward", "reward-12", "--run", run], "no such run"),
        (["rl", prompts, "--reward", run, "--run", run], "is unknown"),
        (["rl", prompts, "--reward", "length", "--run", run, "--base", tiny_base], "are both given to start from"),
        (["rl", prompts, "--reward", "length", "--run", run, "--set", "completions=1"], "completions is 1"),
        (["rl", prompts, "--reward", "correct", "--run", run], "check 'contains' is unknown"),
        (["reward-model", pairs], "starts from an SFT run"),
        (["reward-model", prompts, "--run", run], "a reward model needs preference pairs"),
    ):
        error = call(*words, code=2)
        assert says in error and error.count("\n") == 1, error
