"""A profile is found by its name; the pocket one needs nothing from outside."""

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from workbench import gguf_base, profiles
from workbench.data import files, reading
from workbench.errors import InputError


@pytest.mark.parametrize(
    ("typed", "near"), [("pockt", "pocket"), ("pocket ", "pocket"), ("gpus", "gpu"), ("laptops", "laptop")]
)
def test_an_unknown_profile_is_named_with_the_nearest(typed, near):
    with pytest.raises(InputError, match=f"profile {typed!r} is unknown.*did you mean {near!r}"):
        profiles.get(typed)


def test_a_name_like_none_gets_the_list_alone():
    with pytest.raises(InputError, match="profile 'smoke' is unknown; known are pocket, laptop, gpu, gpu-small$"):
        profiles.get("smoke")


def test_each_profile_is_found_by_its_name():
    assert [profiles.get(name).name for name in profiles.PROFILES] == ["pocket", "laptop", "gpu", "gpu-small"]


def test_the_pocket_profile_needs_no_network():
    """conftest keeps the Hub offline; the data is a file of ours, and the base model a folder beside it."""
    pocket = profiles.get("pocket")
    assert Path(pocket.base).is_absolute() and Path(pocket.base).parent == Path(pocket.tuning).parents[1]
    assert len(reading.load(pocket.tuning).rows) == 2_000


@pytest.mark.parametrize("name", ["gpu", "gpu-small"])
def test_what_a_profile_takes_from_the_hub_is_pinned_to_a_commit(name):
    profile = profiles.get(name)
    for source in (profile.base, profile.tuning, profile.preferences):
        assert re.fullmatch("[0-9a-f]{40}", files.HUB_ID.fullmatch(source)["revision"])


@pytest.mark.parametrize(("cores", "gib", "expected"), [(1, 64, 1), (2, 64, 2), (12, 64, 12), (12, 8, 5), (4, 0.5, 1)])
def test_a_cpu_takes_a_worker_a_core_as_far_as_memory_goes(monkeypatch, cores, gib, expected):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=gib * 2**30))
    monkeypatch.setattr(profiles, "cpu_count", lambda: cores)
    assert profiles.worker_count() == expected


def test_a_bigger_base_gets_fewer_workers(monkeypatch):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=14 * 2**30))
    monkeypatch.setattr(profiles, "cpu_count", lambda: 8)
    assert profiles.worker_count(profiles.get("laptop").worker_bytes) == 2 < profiles.worker_count()
    assert profiles.worker_count(profiles.get("laptop").worker_bytes, profiles.LAPTOP_NOTEBOOK_BYTES) == 1
    assert replace(profiles.get("laptop"), parallel=2).threads == 4


def test_the_laptop_profile_asks_the_same_of_another_base():
    pocket, laptop = profiles.get("pocket"), profiles.get("laptop")
    assert (laptop.tuning, laptop.preferences, laptop.benchmarks) == (
        pocket.tuning,
        pocket.preferences,
        pocket.benchmarks,
    )
    assert laptop.base in gguf_base.PACKAGED
