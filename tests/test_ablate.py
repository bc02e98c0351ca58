"""A grid is a tidy table of trainings, and nothing in it is run twice."""

import pytest
from conftest import make_rows

from workbench import ablate, evaluate, train
from workbench.errors import InputError
from workbench.runs import Store
from workbench.specs import SFTSpec

EVALUATION = [
    {
        "messages": [{"role": "user", "content": text}, {"role": "assistant", "content": answer}],
        "check": {"name": "answer", "args": {"answer": answer, "kind": "any"}},
        **{"family": "toy", "skill": skill, "axis": "input", "split": "test"},
    }
    for text, answer, skill in (("Name a river in Asia!", "Ob", "a"), ("2 + 2 =", "4", "b"), ("Bye now.", "Bye!", "b"))
]


def specs(base, *seeds):
    return [SFTSpec(base=base, method="lora", rank=2, max_steps=1, batch_size=4, seed=seed) for seed in seeds]


@pytest.fixture
def grid(tiny_base, tmp_path):
    store = Store(tmp_path)
    return lambda *seeds, rows=8, **more: ablate.grid(
        specs(tiny_base, *seeds), make_rows(rows), EVALUATION, store=store, quiet=True, **more
    )


def refuse(*args, **kwargs):
    raise AssertionError("this was to be read from the store")


def test_a_row_for_each_run_and_prompt_and_no_second_training(grid, monkeypatch):
    table = grid(0, 1)
    assert len(table) == 2 * len(EVALUATION) and list(table["prompt"][:3]) == [
        row["messages"][0]["content"] for row in EVALUATION
    ]
    assert table.groupby("seed")["run"].nunique().to_dict() == {0: 1, 1: 1} and table["run"].nunique() == 2
    assert {"response", "follows", "correct", "stops", "length", "method", "rank", "learning_rate"} <= set(table)
    assert evaluate.interval(table, "follows", by="skill").loc["b", ["prompts", "seeds"]].tolist() == [2, 2]

    with monkeypatch.context() as patch:
        patch.setattr(train, "_train", refuse)
        patch.setattr(evaluate, "score", refuse)
        assert grid(0, 1).equals(table)
        assert grid(1).equals(table[table["seed"] == 1].reset_index(drop=True))
        with pytest.raises(AssertionError, match="from the store"):
            grid(0, 2)
        with pytest.raises(AssertionError, match="from the store"):
            grid(0, rows=12)  # other rows are another training


@pytest.mark.parametrize("seeds", [(), (0, 0), (0, 1, 0)])
def test_no_spec_or_one_twice_is_refused(grid, monkeypatch, seeds):
    monkeypatch.setattr(train, "_train", refuse)
    with pytest.raises(InputError, match=f"{len(seeds)} specs, {len(set(seeds))} of them different"):
        grid(*seeds)


def test_rows_that_judge_do_not_train(tiny_base, tmp_path):
    with pytest.raises(InputError, match="evaluation rows stand in the training data"):
        ablate.grid(specs(tiny_base, 0), make_rows(8), list(make_rows(8))[:1], store=Store(tmp_path), quiet=True)


def test_a_base_model_is_scored_once_for_each_mode_and_set_of_prompts(tiny_base, tmp_path, monkeypatch):
    store = Store(tmp_path)
    first = ablate.base_scores(tiny_base, EVALUATION, "plain", store=store)
    assert len(first) == len(EVALUATION)
    monkeypatch.setattr(evaluate, "score", refuse)
    assert ablate.base_scores(tiny_base, EVALUATION, "plain", store=store).equals(first)
    for rows, mode, shots in (
        (EVALUATION[:1], "plain", ()),
        (EVALUATION, "cloze", ()),
        (EVALUATION, "plain", make_rows(4)),
    ):
        with pytest.raises(AssertionError, match="from the store"):
            ablate.base_scores(tiny_base, rows, mode, shots=shots, store=store)
