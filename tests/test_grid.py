"""A grid is a tidy table of trainings, and nothing in it is run twice."""

import signal

import pytest
from conftest import make_rows

from workbench.config import SFTSpec
from workbench.errors import InputError
from workbench.evaluate import scoring, stats
from workbench.experiments import workers
from workbench.experiments.grid import Cell, make_cells, run_grid
from workbench.experiments.workers import KILLED
from workbench.models import loading
from workbench.store import Damaged, Run, Store
from workbench.train import supervised

EVALUATION = [
    {
        "messages": [{"role": "user", "content": text}, {"role": "assistant", "content": answer}],
        "check": {"name": "answer", "args": {"answer": answer, "kind": "any"}},
        **{"family": "toy", "skill": skill, "axis": "input", "split": "test"},
    }
    for text, answer, skill in (("Name a river in Asia!", "Ob", "a"), ("2 + 2 =", "4", "b"), ("Bye now.", "Bye!", "b"))
]


def spec(base, **fields):
    return SFTSpec(base=base, **{"method": "lora", "rank": 2, "max_steps": 1, "batch_size": 4, **fields})


@pytest.fixture
def grid(tiny_base, tmp_path):
    store = Store(tmp_path)

    def run(*seeds, rows=8, **more):
        cells = [Cell(spec(tiny_base, seed=seed), make_rows(rows)) for seed in seeds]
        return run_grid(cells, EVALUATION, store=store, quiet=True, **more)

    return run


def refuse(*args, **kwargs):
    raise AssertionError("this was to be read from the store")


def test_a_row_for_each_run_and_prompt_and_no_second_training(grid, monkeypatch):
    table = grid(0, 1)
    assert len(table) == 2 * len(EVALUATION) and list(table["prompt"][:3]) == [
        row["messages"][0]["content"] for row in EVALUATION
    ]
    assert table.groupby("seed")["run"].nunique().to_dict() == {0: 1, 1: 1} and table["run"].nunique() == 2
    assert {"response", "follows", "correct", "stops", "length", "method", "rank", "learning_rate"} <= set(table)
    assert stats.intervals(table, "follows", by="skill").loc["b", ["prompts", "seeds"]].tolist() == [2, 2]

    with monkeypatch.context() as patch:
        patch.setattr(workers, "_here", refuse)
        assert grid(0, 1).equals(table)  # no worker process is started either

    with monkeypatch.context() as patch:
        patch.setattr(supervised, "_train_on_rows", refuse)
        patch.setattr(scoring, "score", refuse)
        assert grid(0, 1).equals(table)
        assert grid(1).equals(table[table["seed"] == 1].reset_index(drop=True))
        assert "from the store" in grid(0, 2)["error"].dropna().item()
        with pytest.raises(InputError, match="from the store"):
            grid(0, rows=12)  # other rows are another training


def test_a_grid_of_nothing_is_refused(tiny_base, grid):
    with pytest.raises(InputError, match="0 cells, 3 evaluation rows"):
        grid()
    with pytest.raises(InputError, match="1 cell, 0 evaluation rows"):
        run_grid([Cell(spec(tiny_base), make_rows(8))], [], quiet=True)


def test_equal_cells_are_refused_and_one_training_may_stand_under_two_labels(tiny_base, tmp_path, monkeypatch):
    def cell(**labels):
        return Cell(spec(tiny_base), make_rows(8), labels)

    with monkeypatch.context() as patch:
        patch.setattr(supervised, "_train_on_rows", refuse)
        with pytest.raises(InputError, match="cells 0 and 2 are equal"):
            run_grid([cell(kind="a"), cell(kind="b"), cell(kind="a")], EVALUATION, store=Store(tmp_path), quiet=True)
        with pytest.raises(InputError, match="cell 1: the table already has a column 'method'"):
            run_grid([cell(), cell(method="random")], EVALUATION, store=Store(tmp_path), quiet=True)
    table = run_grid([cell(kind="a"), cell(kind="b")], EVALUATION, store=Store(tmp_path), quiet=True)
    assert table["run"].nunique() == 1 and table["kind"].tolist() == ["a"] * 3 + ["b"] * 3


def test_each_cell_trains_on_its_own_rows_for_the_same_number_of_steps(tiny_base, tmp_path):
    held_out = make_rows(32).select(range(24, 32))
    cells = [
        Cell(spec(tiny_base, max_steps=3), make_rows(24).select(range(size)), {"size": size}, held_out=held_out)
        for size in (4, 24)
    ]
    table = run_grid(cells, EVALUATION, store=Store(tmp_path), quiet=True)
    sizes = table.groupby("size").first()
    assert sizes["rows"].tolist() == [4, 24] and sizes["steps"].tolist() == [3, 3]
    assert sizes["held_out_before"].nunique() == 1 and (sizes["held_out_after"] < sizes["held_out_before"]).all()
    for run, after in sizes[["run", "held_out_after"]].values:
        assert Run(tmp_path / run).scores["held_out_after"] == after


def test_a_cell_is_scored_on_prompts_of_its_own(tiny_base, tmp_path):
    one, two = spec(tiny_base, seed=0), spec(tiny_base, seed=1)
    cells = [Cell(one, make_rows(8)), Cell(two, make_rows(8), evaluation=EVALUATION[:1])]
    table = run_grid(cells, EVALUATION, store=Store(tmp_path), quiet=True)
    assert table.groupby("seed")["prompt"].apply(list).to_dict() == {
        seed: [row["messages"][0]["content"] for row in rows] for seed, rows in enumerate((EVALUATION, EVALUATION[:1]))
    }


def test_named_trainings_and_seeds_make_a_cell_each(tiny_base):
    trainings = {"full": {"method": "full"}, "LoRA": {"method": "lora", "rank": 4}}
    cells = make_cells({"base": tiny_base, "rank": 8}, make_rows(4), trainings, (0, 1))
    assert [(cell.labels["training"], cell.spec.method, cell.spec.rank, cell.spec.seed) for cell in cells] == [
        ("full", "full", 8, 0), ("full", "full", 8, 1), ("LoRA", "lora", 4, 0), ("LoRA", "lora", 4, 1)]  # fmt: skip
    assert cells[0].spec == SFTSpec(base=tiny_base, rank=8, method="full"), "its learning rate is that of its method"
    with pytest.raises(InputError, match="parameter 'rnak' is unknown; did you mean 'rank'\\?"):
        make_cells({"base": tiny_base}, make_rows(4), {"a": {"rnak": 2}}, (0,))


def test_a_cell_that_fails_is_a_row_with_its_error_and_no_seed_is_missed_unnoticed(tiny_base, tmp_path):
    leaking = list(make_rows(8)) + [{"messages": EVALUATION[0]["messages"]}]
    cells = [Cell(spec(tiny_base), type(make_rows(1)).from_list(leaking))]
    cells += [Cell(spec(tiny_base, seed=seed), make_rows(8)) for seed in (1, 2)]
    table = run_grid(cells, EVALUATION, store=Store(tmp_path), quiet=True)
    assert table["seed"].tolist() == [0] + [1] * 3 + [2] * 3
    failed = table[table["error"].notna()]
    assert len(failed) == 1 and failed[["run", "follows", "correct", "loss"]].isna().all(axis=None)
    assert "found in the training data, first train[8] 'Name a river in Asia!'" in failed["error"].item()
    for judge in (
        lambda table: stats.estimate(table, "follows"),
        lambda table: stats.difference(table, table[table["seed"] == 1], "follows"),
        lambda table: stats.intervals(table, "follows", by="method"),
    ):
        with pytest.raises(InputError, match=r"1 training .* failed, the first \(seed 0\): 1 of 3 evaluation rows"):
            judge(table)
    assert stats.estimate(table[table["error"].isna()], "follows").seeds == 2


def test_where_all_fail_the_grid_says_why(tiny_base, tmp_path):
    cells = [Cell(spec(tiny_base, seed=seed, max_length=1024), make_rows(8)) for seed in (0, 1)]
    with pytest.raises(InputError, match="all 2 trainings failed, the first: max_length 1024 is more than the 512"):
        run_grid(cells, EVALUATION, store=Store(tmp_path), quiet=True)
    with pytest.raises(InputError, match="^1 of 1 evaluation row found in the training data"):
        run_grid([Cell(spec(tiny_base), make_rows(8))], list(make_rows(8))[:1], store=Store(tmp_path), quiet=True)


def test_an_interrupted_grid_goes_on_where_it_was(tiny_base, tmp_path, monkeypatch):
    cells = [Cell(spec(tiny_base, seed=seed), make_rows(8)) for seed in range(3)]
    usual, trained = supervised._train_on_rows, []

    def interrupted(work, folder, spec, *rest):
        trained.append(spec.seed)
        if trained == [0, 1]:
            raise KeyboardInterrupt
        return usual(work, folder, spec, *rest)

    monkeypatch.setattr(supervised, "_train_on_rows", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_grid(cells, EVALUATION, store=Store(tmp_path), quiet=True)
    table = run_grid(cells, EVALUATION, store=Store(tmp_path), quiet=True)
    assert trained == [0, 1, 1, 2] and table["error"].isna().all() and table["run"].nunique() == 3


class Deadly(list):
    """Rows on which the worker that gets them dies as it does when memory runs out: without a word."""

    def __reduce__(self):
        return signal.raise_signal, (signal.SIGKILL,)


def test_a_killed_worker_costs_its_own_cell_and_no_other(tiny_base, tmp_path):
    cells = [Cell(spec(tiny_base, seed=seed), make_rows(8)) for seed in range(3)]
    cells[1] = Cell(cells[1].spec, Deadly(make_rows(8)))
    table = run_grid(cells, EVALUATION, parallel=2, store=Store(tmp_path), quiet=True)
    assert table["seed"].tolist() == [0] * 3 + [1] + [2] * 3
    assert table["error"].dropna().tolist() == [KILLED]


def test_a_damaged_run_in_the_store_is_said_and_made_again(tiny_base, tmp_path, grid):
    table = grid(0, 1)
    (tmp_path / table["run"].iloc[0] / "log.csv").write_text("")
    with pytest.warns(Damaged, match="log.csv has changed; moved aside"):
        again = grid(0, 1, parallel=2)
    assert again["run"].tolist() == table["run"].tolist() and again["error"].isna().all()


@pytest.mark.parametrize("method", ["full", "qlora"])
def test_forgetting_is_the_loss_that_tuning_added_on_plain_text(tiny_base, tmp_path, monkeypatch, method):
    store, texts = Store(tmp_path), ["The river Ob flows through Asia.", "7 + 5 = 12"]
    idle = supervised.sft(spec(tiny_base, method=method, learning_rate=1e-12), make_rows(8), store=store, quiet=True)
    assert scoring.forgetting(idle, texts, store) == pytest.approx(0, abs=1e-4)
    wild = supervised.sft(
        spec(tiny_base, method=method, learning_rate=0.1, max_steps=3), make_rows(8), store=store, quiet=True
    )
    forgot = scoring.forgetting(wild, texts, store)
    assert forgot > 0.05
    monkeypatch.setattr(scoring, "text_loss", refuse)
    assert scoring.forgetting(wild, texts, store) == forgot
    with pytest.raises(AssertionError):
        scoring.forgetting(wild, texts[:1], store)


def test_a_base_model_is_scored_once_for_each_mode_and_set_of_prompts(tiny_base, tmp_path, monkeypatch):
    store = Store(tmp_path)
    first = scoring.score_base(tiny_base, EVALUATION, "plain", store=store)
    assert len(first) == len(EVALUATION)
    monkeypatch.setattr(scoring, "score", refuse)
    assert scoring.score_base(tiny_base, EVALUATION, "plain", store=store).equals(first)
    for rows, mode, shots in (
        (EVALUATION[:1], "plain", ()),
        (EVALUATION, "cloze", ()),
        (EVALUATION, "plain", make_rows(4)),
    ):
        with pytest.raises(AssertionError, match="from the store"):
            scoring.score_base(tiny_base, rows, mode, shots=shots, store=store)


def test_a_gpu_takes_one_training_at_a_time_whatever_the_profile_says(tiny_base, tmp_path, monkeypatch):
    taken = []
    monkeypatch.setattr(loading, "default_device", lambda: "cuda")
    monkeypatch.setattr(workers, "_here", lambda jobs, parallel: taken.append(parallel) or iter(()))
    with pytest.raises(KeyError):  # nothing was trained
        run_grid([Cell(spec(tiny_base), make_rows(8))], EVALUATION, parallel=2, store=Store(tmp_path), quiet=True)
    assert taken == [1]
