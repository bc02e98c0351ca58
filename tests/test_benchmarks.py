"""Standard benchmarks run on the tuned model in its chat template, one row per prompt, with intervals; lm-eval does the work."""

import json

import numpy as np
import pandas as pd
import pytest
from conftest import make_rows
from test_cli import call

from workbench.config import SFTSpec
from workbench.errors import InputError
from workbench.evaluate import benchmarks, stats
from workbench.experiments import export
from workbench.store import Store
from workbench.train import supervised

GENERATE = """\
task: shout
dataset_path: json
dataset_kwargs: {data_files: FOLDER/data.json}
output_type: generate_until
test_split: train
doc_to_text: question
doc_to_target: answer
generation_kwargs: {until: [], do_sample: false, max_gen_toks: 1280}
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]
"""
CHOOSE = """\
task: choose
dataset_path: json
dataset_kwargs: {data_files: FOLDER/data.json}
output_type: multiple_choice
test_split: train
doc_to_text: question
doc_to_choice: choices
doc_to_target: 0
metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def run(tiny_base, store):
    return supervised.sft(SFTSpec(base=tiny_base, max_steps=200, batch_size=8), make_rows(8), store=store, quiet=True)


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    """A folder with two tasks and their data: the questions that the run was trained on, 8 of them."""
    folder = tmp_path_factory.mktemp("tasks")
    talks = [row["messages"] for row in make_rows(8)]
    rows = [{"question": q["content"], "answer": a["content"], "choices": [a["content"], "xyz"]} for q, a in talks]
    (folder / "data.json").write_text("\n".join(map(json.dumps, rows)))
    for name, text in (("shout", GENERATE), ("choose", CHOOSE)):
        (folder / f"{name}.yaml").write_text(text.replace("FOLDER", str(folder)))
    return folder


def test_the_run_is_scored_in_its_chat_template_with_its_adapter(run, tasks, store):
    pytest.importorskip("lm_eval")
    table = benchmarks.benchmark(run, ["shout", "choose"], 6, include=tasks, store=store, new_tokens=32)
    shout = table[table["task"] == "shout"]
    assert len(shout) == 6 and shout["prompt"].iloc[0].startswith("<|im_start|>user\n0 say redred<|im_end|>")
    assert (
        shout["exact_match"].mean() >= 0.8 and shout["response"].iloc[0] == "REDRED"
    )  # learned by heart; the base knows none
    assert table.loc[table["task"] == "choose", "acc"].mean() == 1
    base = benchmarks.benchmark(run.spec["base"], ["shout"], 6, include=tasks, store=store, new_tokens=8)
    assert base["exact_match"].sum() == 0
    assert stats.difference(shout.reset_index(), base, "exact_match").estimate >= 0.8  # paired on the prompts


def test_it_is_computed_once_and_is_in_the_card(run, tasks, store, monkeypatch, tmp_path):
    pytest.importorskip("lm_eval")
    first = benchmarks.benchmark(run, ["shout"], 4, include=tasks, store=store, new_tokens=16)
    monkeypatch.setattr(benchmarks, "_evaluate", None)
    again = benchmarks.benchmark(run, ["shout"], 4, include=tasks, store=store, new_tokens=16)
    assert again.equals(first)
    monkeypatch.setenv("WORKBENCH_RUNS", str(store.root))
    words = ["eval", run.id[:10], "--tasks", "shout", "--limit", "4", "--new-tokens", "16", "--include", str(tasks)]
    assert "exact_match" in call(*words).stdout
    row = benchmarks.benchmark_summary(first).iloc[0]
    assert f"| shout: exact_match | {row.estimate:.2f} [{row.low:.2f}, {row.high:.2f}] | 4 |" in export.scores_table(
        run
    )


def test_models_are_compared_task_by_task_and_a_profile_may_have_no_benchmarks(run, tasks, store, capsys):
    assert (
        benchmarks.compare_benchmarks({"SFT": run}, (), 200) is None
        and "no standard benchmarks" in capsys.readouterr().out
    )
    pytest.importorskip("lm_eval")
    how = {"include": tasks, "store": store, "new_tokens": 8}
    both = benchmarks.compare_benchmarks({"base": run.spec["base"], "SFT": run}, ["shout", "choose"], 6, **how)
    assert [*both.index.get_level_values("model")] == ["base", "SFT"] * 2
    alone = (
        benchmarks.benchmark_summary(benchmarks.benchmark(run, ["shout", "choose"], 6, **how))
        .set_index("task")
        .sort_index()
    )
    assert (both.xs("SFT", level="model")["estimate"].droplevel("metric") == alone["estimate"]).all()


@pytest.mark.parametrize(
    "name, says",
    [
        ("ifevall", "task 'ifevall' is unknown to lm-eval"),
        ("ifeval", "the data of ifeval are not in the cache"),
    ],
)
def test_an_unknown_task_and_data_out_of_reach_are_one_line(run, store, name, says):
    pytest.importorskip("lm_eval")
    with pytest.raises(InputError, match=says) as e:
        benchmarks.benchmark(run, [name], 2, store=store)
    assert "\n" not in str(e.value)


def test_without_the_extra_it_says_what_to_install(run, store, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "lm_eval", None)
    with pytest.raises(InputError, match=r'pip install -e ".\[eval\]"'):
        benchmarks.benchmark(run, ["anything"], store=store)


def test_instructions_weigh_the_same_and_intervals_are_over_prompts(run, store):
    """IFEval counts prompts or instructions; here on lm-eval's samples of two prompts: one with three instructions, one with one."""
    lists = [[True, True, False], [False]]
    samples = [
        {"doc_id": i, "resps": [["…"]], "arguments": [("p", {})], "filter": "none",
         "prompt_level_strict_acc": all(kept), "inst_level_strict_acc": kept}
        for i, kept in enumerate(lists)
    ]  # fmt: skip
    metrics = {"prompt_level_strict_acc": True, "inst_level_strict_acc": True}
    table = benchmarks._table({"samples": {"ifeval": samples}, "higher_is_better": {"ifeval": metrics}})
    found = benchmarks.benchmark_summary(table).set_index("metric")
    assert found.loc["prompt_level_strict_acc", "estimate"] == 0
    row = found.loc["inst_level_strict_acc"]
    assert row["estimate"] == 0.5 and row["low"] < 0.05 and row["high"] > 0.95 and row["prompts"] == 2
    none = (
        benchmarks.benchmark_summary(table.assign(inst_level_strict_acc=0.0))
        .set_index("metric")
        .loc["inst_level_strict_acc"]
    )
    assert none["low"] == 0 and none["high"] == pytest.approx(1 - 0.05**0.5)


def test_prompts_with_more_instructions_count_more_in_the_interval_too():
    """Without weights it is the interval of any share; a prompt with weight 3 is not three prompts."""
    kept, ones = pd.Series(np.arange(60) % 3 > 0, dtype=float), pd.Series(np.ones(60))
    same, whole = benchmarks._weighted(kept, ones), stats.mean_interval(kept.to_numpy()[None], "share")
    assert (same.low, same.high) == pytest.approx((whole.low, whole.high))
    heavy = benchmarks._weighted(kept, ones + 2 * (np.arange(60) < 20))
    copies = stats.mean_interval(np.concatenate([kept, kept[:20], kept[:20]])[None], "share")
    assert heavy.estimate == pytest.approx(copies.estimate)
    assert heavy.high - heavy.low > 1.2 * (copies.high - copies.low)


def test_a_changed_task_file_is_another_benchmark(tmp_path):
    (tmp_path / "mine.yaml").write_text("task: mine")
    before = benchmarks._task_files(tmp_path)
    assert before == benchmarks._task_files(str(tmp_path))
    (tmp_path / "mine.yaml").write_text("task: mine\nnum_fewshot: 1")
    assert benchmarks._task_files(tmp_path) != before


def test_a_task_without_a_score_per_prompt_is_named():
    sample = {"resps": [[(-2.0, False)]], "doc_id": 0, "arguments": [["text"]], "filter": "none"}
    result = {
        "samples": {"wikitext": [sample | {"word_perplexity": (-2.0, 3)}]},
        "higher_is_better": {"wikitext": {"word_perplexity": False}},
    }
    with pytest.raises(InputError, match="task wikitext scores whole texts and no single prompt"):
        benchmarks._table(result)
