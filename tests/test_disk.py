"""What a training needs on the disk is known before it computes anything, and is what it writes."""

import shutil
from types import SimpleNamespace

import pytest
from conftest import make_rows
from test_preference import make_pairs

from workbench.config import DPOSpec, SFTSpec
from workbench.errors import InputError
from workbench.models import adapters, loading
from workbench.store import Store
from workbench.train import disk, objectives, preference, supervised


def size(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def use(monkeypatch):
    """What was asked for last."""
    asked, usual = [], disk.DiskUse
    monkeypatch.setattr(disk, "DiskUse", lambda *parts: asked.append(usual(*parts)) or asked[-1])
    return asked


def with_largest_checkpoint(monkeypatch, train):
    """Return the run, and the size of its largest checkpoint, of which there is one after each step."""
    sizes = []

    def watch(folder, **_):
        if str(folder).endswith("checkpoints"):
            sizes.extend(map(size, folder.glob("checkpoint-*")))
        return usual(folder, **_)

    usual = shutil.rmtree
    monkeypatch.setattr("workbench.store.shutil.rmtree", watch)
    return train(), max(sizes)


@pytest.mark.parametrize("method", ["lora", "qlora", "full"])
def test_the_estimate_is_what_a_training_writes(tiny_base, tmp_path, monkeypatch, use, method):
    spec, store = SFTSpec(base=tiny_base, method=method, max_steps=4, batch_size=4, rank=64), Store(tmp_path)
    run, checkpoint = with_largest_checkpoint(
        monkeypatch, lambda: supervised.sft(spec, make_rows(), store=store, quiet=True, save_every=0)
    )
    assert use[-1].weights + use[-1].beside == pytest.approx(size(run.path), rel=0.25)
    assert use[-1].checkpoint == pytest.approx(checkpoint, rel=0.25)
    pairs = DPOSpec(max_steps=4, batch_size=4)
    after, checkpoint = with_largest_checkpoint(
        monkeypatch, lambda: preference.dpo(pairs, make_pairs(), sft_run=run, store=store, quiet=True, save_every=0)
    )
    assert use[-1].weights + use[-1].beside == pytest.approx(size(after.path), rel=0.25)
    assert use[-1].checkpoint == pytest.approx(checkpoint, rel=0.5)  # that of an adapter holds the reference as well


@pytest.fixture
def little_room(monkeypatch):
    """Return a function after whose call there is more room than the 32 MiB of any run, and less than what a training writes."""

    def call():
        monkeypatch.setattr("workbench.train.disk.CHECKPOINTS", 1_000)
        monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=40 * 2**20))
        monkeypatch.setattr(loading, "load_base", None)  # nothing is loaded
        monkeypatch.setattr(adapters, "load_tuned", None)

    return call


NO_ROOM = r"needs about [\d,]+ MiB of disk \(.* of trained weights .*, and 40 MiB are free"


@pytest.mark.parametrize("method", ["qlora", "full"])
def test_too_little_room_is_one_line_with_numbers_before_anything_is_loaded(tiny_base, tmp_path, little_room, method):
    store, spec = Store(tmp_path), SFTSpec(base=tiny_base, method=method, rank=256, max_steps=2)
    little_room()
    with pytest.raises(InputError, match=NO_ROOM) as e:
        supervised.sft(spec, make_rows(), held_out=make_rows(4), store=store, quiet=True)
    assert "\n" not in str(e.value) and store.runs() == [] and store.unfinished() == []


@pytest.mark.parametrize("method", ["lora", "full"])
def test_so_it_is_for_pairs(tiny_base, tmp_path, little_room, method):
    store, spec = Store(tmp_path), SFTSpec(base=tiny_base, method=method, rank=256, max_steps=1)
    run = supervised.sft(spec, make_rows(), store=store, quiet=True)
    little_room()
    with pytest.raises(InputError, match=NO_ROOM):
        preference.dpo(DPOSpec(max_steps=1), make_pairs(), sft_run=run, store=store, quiet=True)
    assert store.runs() == [run] and store.unfinished() == []


def test_so_it_is_for_other_objectives(tiny_base, tmp_path, little_room):
    store, spec = Store(tmp_path), SFTSpec(base=tiny_base, method="lora", rank=256, max_steps=1)
    little_room()
    with pytest.raises(InputError, match=NO_ROOM):
        objectives.train_objective(spec, objectives.Objective("text", ["It rains."] * 8), [], store=store)
