"""Cells of reinforcement learning stand in one table with their start, are named by their reward, and are published with their logs."""

import argparse
import json
from types import SimpleNamespace

import pandas as pd
import pytest
from conftest import make_rows
from test_grid import EVALUATION, refuse, spec

from workbench import environment, published
from workbench.config import RLSpec
from workbench.data import reading
from workbench.errors import InputError
from workbench.evaluate import scoring
from workbench.experiments import grid, results, workload
from workbench.store import RECORDING, NotStored, Store, only_stored
from workbench.train import reinforcement, rl_inputs, supervised


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def start(tiny_base, store):
    return supervised.sft(spec(tiny_base, max_steps=20, rank=4), make_rows(8), store=store, quiet=True)


RL = {"max_steps": 1, "prompts": 2, "completions": 2, "max_new_tokens": 8}


def test_cells_with_other_rewards_are_other_trainings_beside_their_start(
    tiny_base, store, start, monkeypatch, tmp_path
):
    prompts = reading.to_dataset(list(make_rows(8)))
    cells = [
        grid.Cell(RLSpec(**RL), prompts, {"model": "RL"}, start, reward="length"),
        grid.Cell(RLSpec(**RL, seed=1), prompts, {"model": "RL"}, start, reward="length"),
        grid.Cell(RLSpec(**RL), prompts, {"model": "watched"}, start, reward="length", watch={"e": "keyword:e"}),
        grid.Cell(
            RLSpec(**RL, base=tiny_base, method="lora", rank=2), prompts, {"model": "from base"}, reward="length"
        ),
    ]
    monkeypatch.setenv(RECORDING, str(tmp_path / "recording"))
    table = grid.run_grid(cells, EVALUATION, store=store, quiet=True)
    assert table["error"].isna().all() and table["run"].nunique() == 4
    first = table.groupby("model").first()
    assert first.loc["RL", ["sft", "reward", "loss_type", "method"]].tolist() == [start.id, "length", "dapo", "lora"]
    assert first.loc["from base", ["base", "method"]].tolist() == [tiny_base, "lora"]
    trained = {run.id: run.spec["rank"] for run in grid.runs_of(table, store)}
    assert table["rank"].tolist() == table["run"].map(trained).tolist() and first["rank"]["RL"] == 4
    with monkeypatch.context() as patch:
        patch.setattr(scoring, "score", refuse)
        assert grid.run_grid(cells, EVALUATION, store=store, quiet=True).equals(table)
    asked = [json.loads(line) for line in (tmp_path / "recording").read_text().splitlines()]
    runs, _, tables = results.collect([each for each in asked if each.get("run")], store)
    assert set(runs["method"]) == {"rl"} and runs["epochs"].isna().all()
    logs = {run: log for run, _, log in tables["log-rl"]}
    assert {"reward", "kl", "entropy", "frac_reward_zero_std"} <= set(logs[table["run"].iloc[0]])
    packed = tmp_path / "x.zip"
    about = {"notebook": "n", "profile": "p", "recipes": {}, "environment": {}, "date": "", "commit": ""}
    packed.write_bytes(published.pack(about, runs, runs[["run", "seed"]], tables))
    for run, log in logs.items():
        assert published.Archive(packed).table(run).dropna(axis=1, how="all").equals(log.dropna(axis=1, how="all"))


def test_cells_whose_prompts_have_other_checks_are_other_trainings(start):
    checks = ({"name": "answer", "args": {"answer": answer, "kind": "word"}} for answer in ("RED", "BLUE"))
    red, blue = (reading.to_dataset([{**row, "check": check} for row in make_rows(4)]) for check in checks)
    cells = [
        grid.Cell(RLSpec(**RL), rows, {"model": name}, start, reward="correct")
        for name, rows in (("red", red), ("blue", blue))
    ]
    first, second = grid._keys(cells, EVALUATION, None)
    assert first != second and first == grid._keys(cells[:1], EVALUATION, None)[0]


def test_a_cell_and_its_run_are_known_by_the_same_columns(start, store):
    """A function may read any column, "length" reads none: rows that differ in another column are one training on "length"."""
    for reward, other in (("length", False), (measured, True)):
        rows = [reading.to_dataset([{**row, "note": note} for row in make_rows(4)]) for note in ("a", "b")]
        read = [rl_inputs.read_by({"reward": reward}, each) for each in rows]
        assert (read[0] != read[1]) == other
        cells = [grid.Cell(RLSpec(**RL), each, {"n": n}, start, reward=reward) for n, each in enumerate(rows)]
        keys = grid._keys(cells, EVALUATION, None)
        assert (keys[0] != keys[1]) == other and keys[0][-1] == read[0]
    run = reinforcement.rl(RLSpec(**RL), make_rows(4), reward="length", start=start, store=store, quiet=True)
    assert run.record["key"]["read"] == rl_inputs.read_by({"length": "length"}, make_rows(4))


RULER = argparse.Namespace(unit=1.0)


def measured(replies, rows):
    return [len(reply) * RULER.unit for reply in replies]


def test_objects_that_do_not_name_a_reward_are_said_before_anything_is_trained(start, store, monkeypatch, capsys):
    said = "the reward measured uses objects of argparse.Namespace, which do not name the run"
    rows = reading.to_dataset(list(make_rows(4)))
    environment.print_once.cache_clear()
    monkeypatch.setattr(grid, "_run_jobs", refuse)
    with pytest.raises(AssertionError):
        grid.run_grid([grid.Cell(RLSpec(**RL), rows, sft=start, reward=measured)], EVALUATION, store=store, quiet=True)
    assert said in capsys.readouterr().out
    environment.print_once.cache_clear()
    with only_stored(), pytest.raises(NotStored):
        reinforcement.rl(RLSpec(**RL), rows, reward="length", watch={"measured": measured}, start=start, store=store)
    assert said in capsys.readouterr().out
    with only_stored(), pytest.raises(NotStored):
        reinforcement.rl(RLSpec(**RL, seed=7), rows, reward="length", start=start, store=store)
    assert capsys.readouterr().out == ""


def test_a_cell_without_a_reward_or_with_a_strange_one_is_refused(tiny_base, store, start):
    rows = reading.to_dataset(list(make_rows(4)))
    for cell, says in (
        (grid.Cell(RLSpec(**RL), rows, sft=start), "cell 0: an RLSpec needs a reward"),
        (grid.Cell(spec(tiny_base), rows, reward="length"), "no other spec takes one"),
        (grid.Cell(RLSpec(**RL), rows, reward="length"), "there is nothing to start from"),
        (grid.Cell(RLSpec(**RL), rows, sft=start, reward="lenght"), "did you mean 'length'"),
    ):
        with pytest.raises(InputError, match=says):
            grid.run_grid([cell], EVALUATION, store=store, quiet=True)


def test_what_is_left_is_told_in_minutes_where_rl_was_published(monkeypatch):
    runs = pd.DataFrame(
        {
            "method": ["rl"],
            "seconds": [100.0],
            "tokens": [1],
            "rows": [8],
            "epochs": [1.0],
            "steps": [50],
            "record": [json.dumps({"spec": {"base": "data/pocket-base"}})],
        }
    )
    monkeypatch.setattr(workload.published, "in_use", lambda: [SimpleNamespace(runs=runs)])
    pocket, other = (SimpleNamespace(spec={"base": base}) for base in ("data/pocket-base", "gemma-3-270m"))
    told = workload.describe_left([(RLSpec(max_steps=300), 8, pocket)], 1, 1)
    assert workload.describe_left([(RLSpec(max_steps=300), 8, other)], 1, 1) == "1 of 1 training left to do"
    assert told == "1 of 1 training left to do, about 13 min at the speed of those in data/results"
    monkeypatch.setattr(workload.published, "in_use", lambda: [])
    assert workload.describe_left([(RLSpec(), 8, pocket)], 1, 1) == "1 of 1 training left to do"
