"""An output is written whole or not at all, and nothing that was there before is touched."""

import errno
import os
import shutil

import pytest
from safetensors import SafetensorError

from workbench import outputs
from workbench.errors import InputError


@pytest.fixture
def mine(tmp_path):
    """Files of the user's with names that a program might take for its own."""
    for name in ("out.partial", "out.lock", "out.tmp", "out.writing"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "thesis.txt").write_text("years of work")
    return tmp_path


def names(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_folder_gets_its_name_when_it_is_whole_and_nothing_else_changes(mine):
    before = names(mine)
    with outputs.new_folder(mine / "out") as folder:
        (folder / "a").write_text("1")
        assert not (mine / "out").exists()
    assert names(mine) == sorted([*before, "out", "out/a"])
    mask = os.umask(0)
    os.umask(mask)
    assert (mine / "out").stat().st_mode & 0o777 == 0o777 & ~mask
    assert (mine / "out" / "a").stat().st_mode & 0o777 == 0o666 & ~mask


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), InputError),
        (SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"), InputError),
        (RuntimeError("PytorchStreamWriter failed writing file data/1: file write failed"), InputError),
        (ValueError("something else"), ValueError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
)
def test_what_fails_leaves_the_folder_as_it_was(mine, error, shown):
    before = names(mine)

    def fail():
        with outputs.new_folder(mine / "out") as folder:
            (folder / "a").write_text("half")
            raise error

    with pytest.raises(shown) as caught:
        fail()
    assert names(mine) == before
    assert shown is not InputError or ("free some space" in str(caught.value) and "\n" not in str(caught.value))


def test_a_full_disk_leaves_the_old_file_and_no_empty_one(mine, monkeypatch):
    (mine / "README.md").write_text("old")
    before = names(mine)

    class Full:
        def __init__(self, handle, mode):
            self.handle = handle

        def __enter__(self):
            return self

        def __exit__(self, *_):
            os.close(self.handle)

        def write(self, content):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fdopen", Full)
    for path, replace in ((mine / "README.md", True), (mine / "new.jsonl", False)):
        with pytest.raises(InputError, match="No space left on device"):
            outputs.write_file(path, "new", replace=replace)
    assert names(mine) == before and (mine / "README.md").read_text() == "old"


def test_an_existing_target_is_refused_whatever_it_is(mine):
    (mine / "file").write_text("mine")
    (mine / "empty").mkdir()
    (mine / "dangling").symlink_to(mine / "nowhere")
    before = names(mine)
    for name in ("file", "empty", "dangling", "out.partial"):
        for write in (lambda path: outputs.write_file(path, "x"), lambda path: outputs.new_folder(path).__enter__()):
            with pytest.raises(InputError, match="exists already"):
                write(mine / name)
    assert names(mine) == before and (mine / "file").read_text() == "mine"


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("missing/out", "missing is missing; create the folder first"),
        ("file/out", "file is not a folder"),
        ("x" * 300, "File name too long"),
        ("nul\0", "null"),
    ],
)
def test_a_place_that_cannot_be_written_is_refused_before_the_work(tmp_path, path, says):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=says) as caught:
        outputs.require_new(tmp_path / path)
    assert names(tmp_path) == ["file"] and len(str(caught.value)) < 400


def test_proc_is_no_place_to_write():
    with pytest.raises(InputError, match="cannot be written here"):
        outputs.require_new("/proc/out")


def test_too_little_room_is_said_before_the_work(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=10 * 2**20)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(InputError, match="about 20 MiB needed, 10 MiB free"):
        outputs.require_new(tmp_path / "out", 20 * 2**20)


def test_a_name_that_is_taken_while_we_work_is_not_overwritten(tmp_path):
    def race():
        with outputs.new_folder(tmp_path / "out") as folder:
            (folder / "a").write_text("ours")
            (tmp_path / "out").mkdir()
            (tmp_path / "out" / "b").write_text("theirs")

    with pytest.raises(InputError, match="in the meantime"):
        race()
    assert names(tmp_path) == ["out", "out/b"]
