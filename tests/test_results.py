"""Published results are read to the letter, refused when stale, and found out when they are wrong."""

import json
import re
import zipfile
from types import SimpleNamespace

import nbformat
import pandas as pd
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from typer.testing import CliRunner

from workbench import environment, published, recipes
from workbench.cli.app import app
from workbench.config import DPOSpec, SFTSpec
from workbench.errors import InputError
from workbench.experiments import replication, results, workload
from workbench.runs import damage
from workbench.store import Store, only_stored

RECORD = {
    "spec": {"base": "somewhere", "seed": 0, "epochs": 1.0, "max_steps": None},
    "environment": {**environment.describe(), "seconds": 3.0},
    "scores": {"rows": 8, "steps": 2, "tokens": 100},
}
ABOUT = {"notebook": "01_first", "profile": "pocket", "recipes": recipes.ALL, "environment": environment.describe(),
         "date": "2026-01-01", "commit": "abc"}  # fmt: skip


def make(folder):
    (folder / "adapter").mkdir()
    (folder / "log.csv").write_text("step,loss\n1,2.0\n2,1.0\n")
    return RECORD


def chat(*replies: str) -> pd.DataFrame:
    right = [reply == "yes" for reply in replies]
    return pd.DataFrame(
        {"index": range(len(replies)), "prompt": "?", "response": replies, "follows": right, "correct": right}
    )


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of published results, which stores of this test read once :func:`publish` has filled it."""
    monkeypatch.delenv(published.USED, raising=False)
    monkeypatch.setenv("WORKBENCH_RUNS", str(tmp_path / "runs"))
    yield tmp_path / "results"
    published.use(None)


def publish(folder, asked, store, **about):
    folder.mkdir(exist_ok=True)
    path = folder / "01_first-pocket.zip"
    path.write_bytes(published.pack({**ABOUT, **about}, *results.collect(asked, store)))
    for each in (published._about, published._index, published._member, published._parts):
        each.cache_clear()
    return path


def made(root):
    """A store with one run and a table of it and one of a base model; and what a recording of their use says."""
    store = Store(root)
    run = store.obtain("lora", {"a": 1}, make)
    store.cached([run, "rows"], "chat", lambda: chat("yes", "no"))
    store.cached(["base", "rows"], "base-plain", lambda: chat("no", "no").drop(columns="correct"))
    (table,) = (path.stem for path in (run.path / "tables").iterdir())
    (base,) = (path.stem for path in (store.root / "tables").iterdir())
    cell = {"cell": run.id, "seed": 0, "labels": {"size": 25}}
    return store, run, [{"run": run.id}, {"run": run.id, "table": table}, {"run": "", "table": base}, cell]


def refuse(*_):
    raise AssertionError("this was to be read from the published results")


def test_a_store_reads_published_runs_and_tables_as_they_were(folder, tmp_path):
    store, run, asked = made(tmp_path / "theirs")
    publish(folder, asked, store)
    published.use(folder)
    here = Store()
    read = here.obtain("lora", {"a": 1}, refuse)
    assert read.id == run.id and read.scores == RECORD["scores"] and read.environment["seconds"] == 3.0
    pd.testing.assert_frame_equal(read.log, run.log)
    pd.testing.assert_frame_equal(here.cached([read, "rows"], "chat", refuse), chat("yes", "no"))
    found = here.cached(["base", "rows"], "base-plain", refuse)
    pd.testing.assert_frame_equal(found, chat("no", "no").drop(columns="correct"))
    assert here.runs() == [] and here.run(run.id).published  # nothing was written here


def test_what_needs_the_weights_of_a_published_run_trains_it_here(folder, tmp_path, capsys):
    store, run, asked = made(tmp_path / "theirs")
    publish(folder, asked, store)
    published.use(folder)
    read = Store().obtain("lora", {"a": 1}, make)
    assert damage(read.path) is not None
    assert read.adapter.is_dir() and damage(read.path) is None
    with only_stored():  # it is there now
        assert Store().run(run.id).adapter == read.adapter
    assert capsys.readouterr().out == f"{run.id}: published without its weights, so it is trained here\n"


def test_a_run_that_is_to_be_made_again_counts_as_not_published(folder, tmp_path, monkeypatch):
    store, run, asked = made(tmp_path / "theirs")
    publish(folder, asked, store)
    published.use(folder)
    monkeypatch.setenv(published.RETRAIN, run.id)
    with pytest.raises(AssertionError, match="to be read"):
        Store().obtain("lora", {"a": 1}, refuse)


def test_a_file_that_is_written_after_the_check_at_the_start_is_not_read(folder, tmp_path):
    store, _, asked = made(tmp_path / "theirs")
    folder.mkdir()
    published.use(folder)
    publish(folder, asked, store, recipes={**recipes.ALL, "training": 0})
    with pytest.raises(AssertionError, match="to be read"):
        Store().obtain("lora", {"a": 1}, refuse)


def test_tables_of_one_name_keep_their_own_columns_and_types(folder, tmp_path):
    store = Store(tmp_path / "theirs")
    frames = [chat("yes"), chat("yes").assign(more=[1]), chat("yes").assign(correct=[0.5])]
    for number, frame in enumerate(frames):
        store.cached([number], "base-plain", lambda frame=frame: frame)
    asked = [{"run": "", "table": path.stem} for path in (store.root / "tables").iterdir()]
    publish(folder, asked, store)
    published.use(folder)
    for number, frame in enumerate(frames):
        pd.testing.assert_frame_equal(Store().cached([number], "base-plain", refuse), frame)


def test_a_notebook_that_trains_nothing_can_be_published(folder, tmp_path):
    store, _, asked = made(tmp_path / "theirs")
    publish(folder, [each for each in asked if not each.get("run") and "cell" not in each], store)
    (archive,) = published.in_folder(folder)
    assert archive.runs.empty and results.summary(folder)["minutes"].tolist() == [0]
    assert results.draw(3, "seed", folder=folder) == ({archive: archive.tables_of("")}, 0)


def test_one_line_of_pandas_reads_a_table(folder, tmp_path):
    store, run, asked = made(tmp_path / "theirs")
    path = publish(folder, asked, store)
    table = pd.read_parquet(f"zip://chat.parquet::{path}")
    assert table["run"].tolist() == [run.id] * 2 and table["response"].tolist() == ["yes", "no"]
    assert pd.read_parquet(f"zip://cells.parquet::{path}")["size"].tolist() == [25]


def test_stale_and_damaged_results_are_refused_with_the_command_that_makes_them(folder, tmp_path):
    store, _, asked = made(tmp_path / "theirs")
    path = publish(folder, asked, store, recipes={**recipes.ALL, "training": 0}, settings={"seeds": [0]})
    with pytest.raises(
        InputError, match=r"training 0, now \d+.*workbench results publish 01_first.*--set seeds='\[0\]'"
    ):
        published.use(folder)
    path.write_bytes(b"PK")
    published._about.cache_clear()
    with pytest.raises(InputError, match="01_first-pocket.zip: not a file of published results"):
        published.use(folder)


CODE = """
import os
from pathlib import Path
import sys
sys.path.insert(0, {tests!r})
from conftest import make_rows
from test_grid import EVALUATION, spec
from workbench import experiments, published
published.use(None if os.environ.get("WORKBENCH_FRESH") == "1" else Path({folder!r}))
cells = [experiments.Cell(spec({base!r}, seed=seed, max_steps=2), make_rows(8), {{"size": size}}) for seed in (0, 1, 2)]
table = experiments.run_grid(cells, EVALUATION, quiet=True)
"""


@pytest.fixture
def series(tiny_base, folder, tmp_path, monkeypatch):
    """A series of one notebook that trains three seeds, with its published results."""
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    monkeypatch.setattr(published, "FOLDER", folder)
    (tmp_path / "notebooks").mkdir()
    tests = str(environment.Path(__file__).parent)
    cells = [
        new_code_cell('profile = "pocket"\nsize = 4', metadata={"tags": ["parameters"]}),
        new_code_cell(CODE.format(tests=tests, folder=str(folder), base=tiny_base)),
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    saved = new_notebook(cells=cells, metadata={"kernelspec": kernel})
    nbformat.write(saved, tmp_path / "notebooks" / "01_first.ipynb")
    results.publish("01", folder=folder, settings={"size": 8})
    return folder


def test_published_runs_come_out_again_and_a_wrong_number_is_found(series, monkeypatch, tmp_path):
    archive = results.find_archive("01", series)
    assert len(archive.runs) == 3 and archive.cells["size"].tolist() == [8] * 3
    assert archive.about["settings"] == {"size": 8} and archive.about["claims"] == []
    monkeypatch.setenv("WORKBENCH_RUNS", str(tmp_path / "other"))
    drawn, _ = results.draw(1, "a", folder=series)
    found = results.verify(drawn)
    assert found["agrees"].all() and set(found["column"]) == {"follows", "correct"} and (found["same"] == 1).all()

    store = Store(tmp_path / "runs")  # with what was published
    asked = [{"run": run.id} for run in store.runs()]
    for run in store.runs():
        (path,) = (run.path / "tables").iterdir()
        pd.read_parquet(path).assign(response="made up", follows=True).to_parquet(path, index=False)
        asked += [
            {"run": run.id, "table": path.stem},
            {"cell": run.id, "seed": run.spec["seed"], "labels": {"size": 8}},
        ]
    publish(series, asked, store)
    result = CliRunner().invoke(app, ["results", "verify", "--cells", "1"], env={"COLUMNS": "300"})
    assert result.exit_code == 1 and "disagree: lora-" in result.output


def test_elsewhere_a_score_must_lie_among_the_published_seeds():
    seeds = [chat(*["yes"] * right, *["no"] * (100 - right)) for right in (70, 72, 74, 71)]
    near, far = (chat(*["yes"] * right, *["no"] * (100 - right)) for right in (76, 30))
    (follows, _) = replication._columns(seeds[0], near, seeds, exactly=False)
    assert follows[6] == "interval" and follows[7]
    assert not replication._columns(seeds[0], far, seeds, exactly=False)[0][7]
    assert not replication._columns(seeds[0], near, seeds, exactly=True)[0][7]  # 6% of the replies differ


def test_what_was_not_made_again_is_not_drawn_and_does_not_agree(folder, tmp_path):
    store, run, asked = made(tmp_path / "theirs")
    publish(folder, [{"run": run.id}], store)
    with pytest.raises(InputError, match="no published results"):
        results.draw(9, "0", folder=folder)
    publish(folder, asked, store)
    (archive,) = published.in_folder(folder)
    drawn, _ = results.draw(9, "0", folder=folder)
    assert run.id in drawn[archive]
    assert replication.compare(archive, run.id, Store(tmp_path / "empty"))["agrees"].tolist() == [False]


def test_a_draw_with_a_limit_counts_what_a_training_starts_from_and_says_how_many_it_left_out(
    folder, tmp_path, monkeypatch
):
    """RL takes 30 s by itself, 110 s with the SFT run and the reward model that verifying it would train as well."""
    store, asked, ids = Store(tmp_path / "theirs"), [], {}
    made = {
        "lora": (40, {}),
        "reward": (40, {"sft": "lora"}),
        "rl": (30, {"sft": "lora", "reward": "reward"}),
        "dpo": (70, {}),
    }
    for name, (seconds, used) in made.items():
        spec = {**RECORD["spec"], **{field: ids[each] for field, each in used.items()}}
        record = {**RECORD, "spec": spec, "environment": {**RECORD["environment"], "seconds": float(seconds)}}
        run = store.obtain(name, {"name": name}, lambda path, record=record: make(path) and record)
        store.cached([run, "rows"], "chat", lambda: chat("yes", "no"))
        (table,) = (path.stem for path in (run.path / "tables").iterdir())
        ids[name] = run.id
        asked += [{"run": run.id}, {"run": run.id, "table": table}]
    publish(folder, asked, store)
    (archive,) = published.in_folder(folder)

    def drawn(seconds):
        found, left_out = results.draw(9, "0", folder=folder, seconds=seconds)
        return {run.split("-")[0] for run in found[archive]}, left_out

    assert drawn(None) == drawn(110) == ({"lora", "reward", "rl", "dpo"}, 0)
    assert drawn(109) == ({"lora", "reward", "dpo"}, 1)
    assert drawn(70) == ({"lora", "dpo"}, 2)
    assert results.draw(2, "a", folder=folder, seconds=109) == results.draw(2, "a", folder=folder, seconds=109)
    with pytest.raises(InputError, match="all 4 published trainings took more than 10 seconds; raise the limit"):
        drawn(10)

    monkeypatch.setattr(published, "FOLDER", folder)
    monkeypatch.setattr(results, "verify", lambda chosen: pd.DataFrame(columns=replication.COLUMNS))
    said = CliRunner().invoke(app, ["results", "verify", "--seconds", "109"], env={"COLUMNS": "200"})
    assert said.exit_code == 0 and "1 training left out of the draw: more than 109 seconds" in said.output


def test_seeds_of_a_training_that_goes_on_from_another_are_siblings_if_their_starts_are():
    records = {}
    for seed, rows in enumerate((2000, 2000, 400)):
        records[f"sft-{seed}"] = {"spec": {"seed": seed, "rank": 4}, "scores": {"rows": rows}}
        rank = {"rank": 4} if seed else {}  # records of an earlier version had none
        records[f"rl-{seed}"] = {"spec": {"seed": seed, "sft": f"sft-{seed}", **rank}, "scores": {"rows": 60 + seed}}
    archive = SimpleNamespace(
        runs=pd.DataFrame({"run": [*records]}),
        cells=pd.DataFrame({"run": ["rl-0", "rl-1", "rl-2"], "seed": [0, 1, 2], "training": "RL"}),
        record=records.get,
        tables_of=lambda run: ["chat-1"],
    )
    assert [run for run, _ in replication._siblings(archive, "rl-0", "chat-1")] == ["rl-0", "rl-1"]


@pytest.mark.parametrize(("dtype", "rule"), [("float32", "replies"), ("bfloat16", "prompts")])
def test_only_in_full_precision_must_another_trainer_give_the_same_replies(dtype, rule):
    published, here = chat(*["yes"] * 50, *["no"] * 50), chat(*["yes"] * 53, *["no"] * 47)
    run = SimpleNamespace(id="a", environment={**environment.describe(), "dtype": dtype})
    found = replication.beside_published(run, here, published.assign(run="a"))
    assert {*found["rule"]} == {rule} and {*found["agrees"]} == {rule == "prompts"}


def test_a_cell_of_one_seed_is_compared_prompt_by_prompt():
    theirs = chat(*["yes"] * 50, *["no"] * 50)
    few, many = (chat(*["yes"] * 50, *["yes"] * count, *["no"] * (50 - count)) for count in (3, 20))
    assert replication._columns(theirs, few, [theirs], exactly=False)[0][6:] == ["prompts", True]
    assert replication._columns(theirs, many, [theirs], exactly=False)[0][6:] == ["prompts", False]


def test_what_is_left_to_train_is_said_with_the_time_that_published_trainings_took(folder, tmp_path):
    left = [(SFTSpec(base="somewhere", method="lora", max_tokens=6_000), 100, None)]
    assert workload.describe_left(left, 3, 2) == "1 of 3 trainings left to do"
    store = Store(tmp_path / "theirs")
    run = store.obtain("lora", {"a": 1}, make)
    publish(folder, [{"run": run.id}], store)
    published.use(folder)
    # 100 tokens took 3 s, and scoring takes about a third more
    assert (
        workload.describe_left(left, 3, 2)
        == "1 of 3 trainings left to do, about 4 min at the speed of those in data/results"
    )
    many = [(SFTSpec(base="somewhere", method="lora", epochs=2), 800, None)] * 4  # 8 rows took 3 s
    assert "4 of 9 trainings left to do, about 26 min" in workload.describe_left(many, 9, 2)
    start = SimpleNamespace(spec={"base": "somewhere"})
    assert workload.describe_left([(DPOSpec(), 8, start)], 1, 1) == "1 of 1 training left to do"
    larger = [(SFTSpec(base="a-larger-one", method="lora", max_tokens=6_000), 100, None)]
    assert workload.describe_left(larger, 3, 2) == "1 of 3 trainings left to do"


def test_an_unknown_file_of_results_is_answered_with_the_known(folder, tmp_path):
    store, _, asked = made(tmp_path / "theirs")
    publish(folder, asked, store)
    with pytest.raises(InputError, match="'05' begins the name of 0 files of published results.*01_first-pocket"):
        results.find_archive("05", folder)
    assert results.summary(folder)[["file", "runs", "tables"]].values.tolist() == [["01_first-pocket", 1, 2]]


@pytest.mark.parametrize("path", sorted(published.FOLDER.glob("*.zip")), ids=lambda path: path.stem)
def test_what_is_shipped_is_current_and_every_column_is_described(path):
    archive, words = published.Archive(path), (published.FOLDER / "README.md").read_text()
    published.require_current(archive)
    for name in [published.RUNS, published.CELLS, *archive.about["tables"]]:
        plain = re.sub(r"-\d+$", "", name)
        title = re.sub(
            "^(log|base|task)-.*",
            lambda kind: {"log": "log-METHOD", "base": "base-MODE", "task": "task-MODE"}[kind[1]],
            plain,
        )
        columns = {re.sub(r"^e\d+$", "e0", column) for column in published._member(path, name)}
        columns = {
            re.sub(r"^rewards/[^/]+/", "rewards/NAME/", column) if "rl" in name else column for column in columns
        }
        missing = [word for word in (title, *columns) if f"`{word}`" not in words]
        assert not missing, f"{name}: not in data/results/README.md: {missing}"


def test_all_published_results_of_the_pocket_profile_take_under_25_mb():
    sizes = [path.stat().st_size for path in published.FOLDER.glob("*-pocket.zip")]
    assert sizes and sum(sizes) < 25e6


def test_a_published_run_that_was_not_trained_here_is_named_with_its_file(folder, tmp_path, monkeypatch):
    store, run, asked = made(tmp_path / "theirs")
    publish(folder, asked, store)
    monkeypatch.setattr(published, "FOLDER", folder)
    result = CliRunner().invoke(app, ["runs", "show", run.id])
    assert result.exit_code == 2 and "published in 01_first-pocket.zip without its weights" in result.stderr


def test_a_file_that_says_too_little_of_itself_is_one_line(folder):
    folder.mkdir()
    about = {**ABOUT, "tables": {}}
    for text in ("{}", "[1]", json.dumps({**about, "tables": []}), json.dumps({**about, "recipes": 3})):
        with zipfile.ZipFile(folder / "01_first-pocket.zip", "w") as file:
            file.writestr(published.ABOUT, text)
        published._about.cache_clear()
        with pytest.raises(InputError, match="01_first-pocket.zip: not a file of published results"):
            published.use(folder)


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def altered(content: bytes) -> bytes:
    place = content.index(b"chat.parquet") + 40
    return content[:place] + b"?" + content[place + 1 :]


def of_another_version(content: bytes) -> bytes:
    place = content.index(b"PK\x01\x02") + 6  # in the list of members: the version of zip that it takes to read them
    return content[:place] + bytes([200]) + content[place + 1 :]


@pytest.mark.parametrize("damaged", [cut, altered, of_another_version])
def test_a_damaged_or_stale_file_is_listed_with_the_fix_beside_the_others(folder, tmp_path, monkeypatch, damaged):
    store, run, asked = made(tmp_path / "theirs")
    path = publish(folder, asked, store)
    (folder / "00_damaged-pocket.zip").write_bytes(damaged(path.read_bytes()))
    path.rename(folder / "03_good-pocket.zip")
    publish(folder, asked, store, recipes={**recipes.ALL, "training": 0})
    monkeypatch.setattr(published, "FOLDER", folder)

    found = results.summary()
    assert found["state"].tolist() == ["damaged", "stale", "current"]
    shown = CliRunner().invoke(app, ["results", "list"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0 and "03_good-pocket" in shown.stdout
    stale = "01_first-pocket.zip: stale, made by older code (recipe of training 0, now"
    assert stale in shown.stdout and "`workbench results publish 01_first --profile pocket`" in shown.stdout
    assert re.search(r"00_damaged-pocket.zip: .*; git restores it", shown.stdout)

    shown = CliRunner().invoke(app, ["results", "show", "01"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0 and run.id in shown.stdout and stale in shown.stdout
    shown = CliRunner().invoke(app, ["results", "show", "00"])
    assert shown.exit_code == 2 and "00_damaged-pocket.zip: " in shown.stderr and "; git restores it" in shown.stderr
    shown = CliRunner().invoke(app, ["runs", "show", run.id])
    assert shown.exit_code == 2 and re.search(r"published in 0\d_\w+-pocket.zip", shown.stderr)
