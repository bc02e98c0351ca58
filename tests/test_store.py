"""A run is there whole or not at all, is made once, and is found again; nothing that happens to the disk or the process changes that."""

import errno
import os
import random
import shutil
import signal

import pandas as pd
import pytest

from workbench import environment
from workbench.errors import InputError
from workbench.runs import damage
from workbench.store import NotStored, Run, Store, only_stored

RECORD = {"spec": {"method": "lora", "base": "owner/name"}, "environment": {}, "scores": {"loss": 1.0}}


def make(folder):
    """A run of several files, with a checkpoint, that goes on from what it finds."""
    (folder / "checkpoints").mkdir(exist_ok=True)
    (folder / "checkpoints" / "state").write_text("half")
    (folder / "adapter").mkdir(exist_ok=True)
    (folder / "adapter" / "weights").write_bytes(b"w" * 1000)
    (folder / "log.csv").write_text("step,loss\n1,2.0\n2,1.0\n")
    with (folder.parent / "made").open("a") as file:
        file.write("x")
    return RECORD


def made(store):
    """How often a run was made from beginning to end."""
    return len((store.root / "made").read_text())


def in_child(act):
    """Run in a forked process; returns its exit code, or minus the signal that ended it."""
    child = os.fork()
    if child == 0:
        try:
            act()
            os._exit(0)
        except BaseException:
            os._exit(77)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def killed_at(store, point, monkeypatch):
    """Obtain a run in a process that is killed before its system call number ``point``; True if it was still alive then."""
    calls = []

    def counting(usual):
        def wrapped(*args, **kwargs):
            calls.append(usual)
            if len(calls) == point:
                os.kill(os.getpid(), signal.SIGKILL)
            return usual(*args, **kwargs)

        return wrapped

    def act():
        for name in ("replace", "mkdir", "rename", "unlink", "rmdir", "open", "fsync", "stat"):
            setattr(os, name, counting(getattr(os, name)))
        import builtins
        import io

        builtins.open = io.open = counting(open)
        store.obtain("lora", {"a": 1}, make)

    return in_child(act) == -signal.SIGKILL


def test_a_run_is_made_once_and_says_what_it_is(tmp_path):
    store = Store(tmp_path)
    run = store.obtain("lora", {"a": 1, "b": 2}, make)
    again = store.obtain("lora", {"b": 2, "a": 1}, make)
    assert run.path == again.path and made(store) == 1
    assert run.spec["method"] == "lora" and run.scores["loss"] == 1.0 and list(run.log["loss"]) == [2.0, 1.0]
    assert not (run.path / "checkpoints").exists()
    assert store.obtain("lora", {"a": 2}, make).id != run.id
    assert [found.id for found in store.runs()][0] == run.id and len(store.runs()) == 2


def test_a_run_finds_its_base_after_the_checkout_and_its_store_were_moved(tmp_path, monkeypatch):
    """One that lies in the repository; of others it keeps the whole path, also where it was given from a working directory."""
    old, new = tmp_path / "old", tmp_path / "new"
    (old / "data" / "base").mkdir(parents=True)
    (tmp_path / "elsewhere" / "base").mkdir(parents=True)
    monkeypatch.setattr(environment, "ROOT", old)
    monkeypatch.chdir(tmp_path / "elsewhere")
    found = {}
    for given in (str(old / "data" / "base"), "base", "owner/name"):
        record = {**RECORD, "spec": {"base": given}}
        found[given] = Store(old / ".runs").obtain("lora", {"base": given}, lambda work, record=record: record)
    old.rename(new)
    monkeypatch.setattr(environment, "ROOT", new)
    monkeypatch.chdir(tmp_path)
    bases = [Run(new / ".runs" / run.id).spec["base"] for run in found.values()]
    assert bases == [str(new / "data" / "base"), str(tmp_path / "elsewhere" / "base"), "owner/name"]


def test_a_run_killed_anywhere_is_whole_or_unfinished_and_ends_the_same(tmp_path, monkeypatch):
    whole = Store(tmp_path / "whole").obtain("lora", {"a": 1}, make)
    contents = {path.name: path.read_bytes() for path in whole.path.rglob("*") if path.is_file()}
    points, alive = 0, True
    while alive:
        points += 1
        store = Store(tmp_path / str(points))
        alive = killed_at(store, points, monkeypatch)
        for run in store.runs():
            assert damage(run.path) is None
        run = store.obtain("lora", {"a": 1}, make)
        assert {path.name: path.read_bytes() for path in run.path.rglob("*") if path.is_file()} == contents
        assert store.unfinished() == []
    assert points > 15  # the kills did fall into the work


def test_killed_again_and_again_at_random_points(tmp_path, monkeypatch):
    store, chance = Store(tmp_path), random.Random(0)
    kills = sum(killed_at(store, chance.randint(1, 12), monkeypatch) for _ in range(20))
    assert kills > 3
    assert store.obtain("lora", {"a": 1}, make).log["step"].tolist() == [1, 2]


def test_processes_that_ask_for_the_same_run_do_the_work_once(tmp_path):
    store = Store(tmp_path)
    ready, go = os.pipe()
    children = []
    for _ in range(6):
        child = os.fork()
        if child == 0:
            os.close(go)
            os.read(ready, 1)  # all start when the parent closes its end
            os._exit(0 if store.obtain("lora", {"a": 1}, make).scores == RECORD["scores"] else 1)
        children.append(child)
    os.close(go)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * 6
    assert made(store) == 1


@pytest.mark.parametrize(
    "harm, says",
    [
        (lambda path: (path / "adapter/weights").unlink(), "is missing"),
        (lambda path: (path / "adapter/weights").write_bytes(b"w" * 999), "has changed"),
        (lambda path: (path / "run.json").write_text("{"), "no readable run.json"),
        (lambda path: (path / "run.json").unlink(), "no readable run.json"),
    ],
)
def test_a_damaged_run_is_moved_aside_and_said_and_made_again(tmp_path, harm, says):
    store = Store(tmp_path)
    run = store.obtain("lora", {"a": 1}, make)
    harm(run.path)
    with pytest.warns(UserWarning, match=says):
        again = store.obtain("lora", {"a": 1}, make)
    assert damage(again.path) is None and made(store) == 2
    assert [path.name for path in tmp_path.glob("*.corrupt-*")] == [f"{run.id}.corrupt-1"]
    assert len(store.runs()) == 1


def test_tables_are_made_once_and_live_with_their_run(tmp_path):
    store, calls = Store(tmp_path), []
    table = pd.DataFrame({"prompt": ["a", "b"], "correct": [True, False]})

    def evaluate():
        calls.append(1)
        return table

    run = store.obtain("lora", {"a": 1}, make)
    for key in ([run, "rows-hash", "chat"], ["base", "rows-hash"]):
        for _ in range(2):
            pd.testing.assert_frame_equal(store.cached(key, "scores", evaluate), table)
    assert len(calls) == 2
    store.cached([run, "other rows", "chat"], "scores", evaluate)
    assert len(calls) == 3 and len(list((run.path / "tables").iterdir())) == 2
    assert store.obtain("lora", {"a": 1}, make).id == run.id  # the tables are no damage
    store.remove(run.id)
    assert not run.path.exists() and len(list((store.root / "tables").iterdir())) == 1


def test_what_is_not_kept_is_told_and_not_made_where_only_kept_things_are_wanted(tmp_path):
    store = Store(tmp_path)
    run = store.obtain("lora", {"a": 1}, make)
    store.cached("key", "scores", lambda: pd.DataFrame({"x": [1]}))
    with only_stored():
        assert (
            store.obtain("lora", {"a": 1}, make).id == run.id and store.cached("key", "scores", make)["x"].item() == 1
        )
        for ask in (lambda: store.obtain("lora", {"a": 2}, make), lambda: store.cached("other", "scores", make)):
            with pytest.raises(NotStored):
                ask()
    assert made(store) == 1 and store.unfinished() == []
    store.obtain("lora", {"a": 2}, make)
    assert made(store) == 2


def test_a_damaged_table_is_moved_aside_and_made_again(tmp_path):
    store, table = Store(tmp_path), pd.DataFrame({"x": [1]})
    store.cached("key", "scores", lambda: table)
    next((tmp_path / "tables").iterdir()).write_bytes(b"PAR1")
    with pytest.warns(UserWarning, match="unreadable"):
        pd.testing.assert_frame_equal(store.cached("key", "scores", lambda: table), table)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_full_or_read_only_disk_is_one_clear_line_and_loses_nothing(tmp_path, code):
    store = Store(tmp_path)

    def full(folder):
        (folder / "so far").write_text("kept")
        raise OSError(code, os.strerror(code))

    with pytest.raises(InputError, match="no room to write .*WORKBENCH_RUNS") as caught:
        store.obtain("lora", {"a": 1}, full)
    assert "\n" not in str(caught.value)
    assert (tmp_path / f"{store.unfinished()[0]}.partial" / "so far").read_text() == "kept"
    assert store.obtain("lora", {"a": 1}, make).scores["loss"] == 1.0


def test_a_library_that_reports_a_full_disk_in_its_own_words(tmp_path):
    store = Store(tmp_path)

    def full(folder):
        raise RuntimeError("PytorchStreamWriter failed writing file data/1: file write failed")

    with pytest.raises(InputError, match="no room"):
        store.obtain("lora", {"a": 1}, full)


def test_an_error_of_the_work_itself_is_not_taken_for_a_full_disk(tmp_path):
    with pytest.raises(ZeroDivisionError):
        Store(tmp_path).obtain("lora", {"a": 1}, lambda folder: 1 / 0)


def test_a_place_that_cannot_hold_runs_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot keep runs here"):
        Store(tmp_path / "file" / "runs")


def test_root_comes_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_RUNS", str(tmp_path / "there"))
    assert Store().root == tmp_path / "there"


def test_removing_frees_what_it_says(tmp_path):
    store = Store(tmp_path)
    run = store.obtain("lora", {"a": 1}, make)
    size = run.size
    assert size > 1000 and store.remove(run.id) == size
    assert store.runs() == [] and [p.name for p in tmp_path.iterdir() if p.is_dir()] == [".locks"]
    for wrong in (run.id, "..", "", ".locks"):
        with pytest.raises(InputError, match="no such run"):
            store.remove(wrong)
    assert (tmp_path / ".locks").is_dir()


HARMS = [
    (lambda path: flip(path / "adapter/weights"), "adapter/weights has changed"),
    (lambda path: (path / "adapter/weights").write_bytes(b""), "adapter/weights has changed"),
    (lambda path: shutil.rmtree(path / "adapter"), "adapter/weights is missing"),
    (lambda path: (path / "log.csv").unlink(), "log.csv is missing"),
    (lambda path: (path / "run.json").write_text('{"spec": {'), "no readable run.json"),
    (
        lambda path: (path / "run.json").write_text('{"spec": 5, "environment": {}, "scores": {}, "files": {}}'),
        "no readable spec",
    ),
    (lambda path: (path / "run.json").unlink(), "no readable run.json"),
]


def flip(path):
    """Change one bit of a file, and neither its size nor its time."""
    content, times = bytearray(path.read_bytes()), path.stat()
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


@pytest.mark.parametrize(("harm", "says"), HARMS, ids=[says for _, says in HARMS])
def test_damage_is_seen_whatever_of_a_run_is_opened(tmp_path, harm, says):
    store = Store(tmp_path)
    run = store.obtain("lora", {"a": 1}, make)
    assert Run(run.path).spec["method"] == "lora"  # intact, and this process has hashed it
    harm(run.path)
    for opened in (lambda run: run.spec, lambda run: run.scores, lambda run: run.adapter, lambda run: run.log):
        with pytest.raises(InputError, match=f"the run is damaged .*{says}.*workbench runs repair") as caught:
            opened(Run(run.path))
        assert "\n" not in str(caught.value)


def test_a_damaged_run_hides_no_other_and_can_be_repaired_and_removed(tmp_path):
    store = Store(tmp_path)
    broken, whole = (store.obtain("lora", {"a": a}, make) for a in (1, 2))
    (broken.path / "run.json").write_text('{"spec"')
    assert {run.id for run in store.runs()} == {broken.id, whole.id}
    assert store.repair() == {broken.id: f"no readable run.json; moved aside to {broken.id}.corrupt-1"}
    assert [run.id for run in store.runs()] == [whole.id] and store.repair() == {}
    assert store.moved_aside() == [f"{broken.id}.corrupt-1"]
    assert store.remove(f"{broken.id}.corrupt-1") > 1000 and store.moved_aside() == []


def test_nothing_is_made_where_there_is_too_little_room(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=2**20 * 5)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    store = Store(tmp_path)
    with pytest.raises(InputError, match="no room to write .about 32 MiB needed, 5 MiB free"):
        store.obtain("lora", {"a": 1}, lambda folder: pytest.fail("it was begun"))
    assert store.unfinished() == []


def test_a_table_that_does_not_fit_on_the_disk_leaves_no_file(tmp_path):
    class Full(pd.DataFrame):
        def to_parquet(self, path, **_):
            path.write_text("")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(InputError, match="no room"):
        Store(tmp_path).cached("key", "scores", lambda: Full({"x": [1]}))
    assert [*(tmp_path / "tables").iterdir()] == []
