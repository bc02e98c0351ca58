"""What a profile needs is said before it starts, and what is not there stops it in one line."""

import dataclasses
import importlib.machinery
import importlib.util
import shutil
import sys
import types

import huggingface_hub
import pytest
import torch
from datasets import Dataset
from test_hub import cache, cached, keep  # noqa: F401 (cache is a fixture)
from test_memory import shape

from workbench import hub, profiles
from workbench.data import files, reading
from workbench.errors import InputError
from workbench.models import cost, loading, memory, requirements

GB = 10**9
REPOS = [
    hub.Repo("HuggingFaceTB/SmolLM2-1.7B", "model", "a" * 40, round(3.4 * GB), round(3.4 * GB), "apache-2.0"),
    hub.Repo("HuggingFaceTB/smol-smoltalk", "dataset", "b" * 40, GB, 0, None),
]


def told(disk=100 * GB, free=15 * memory.GIB, name="1.7B"):
    return list(requirements.describe_requirements(profiles.GPU, REPOS, disk, shape(name), "a card", free, 60e12))


def test_the_pocket_profile_needs_nothing_and_says_so_in_a_line(capsys):
    assert requirements.check_profile(profiles.POCKET) is profiles.POCKET
    said = capsys.readouterr().out
    assert said.count("\n") == 1 and "nothing to download" in said


def test_sizes_memory_and_time_are_said():
    said = "\n".join(told())
    assert "HuggingFaceTB/SmolLM2-1.7B at aaaaaaaaaaaa: 3.4 GB, 3.4 GB to download, licence apache-2.0" in said
    assert "smol-smoltalk at bbbbbbbbbbbb: 1.0 GB, in the cache" in said
    assert "3.4 GB to download (5 minutes at 100 Mbit/s)" in said
    assert "qlora    8.1 GiB, 2 sequences of 1,024 tokens" in said
    assert "full     does not fit, and what it would train is left out: method full" in said
    assert "about 5 minutes a QLoRA training of 2,000 rows" in said


@pytest.mark.parametrize(
    "found, says",
    [
        ({"disk": 4 * GB}, "needs 5.4 GB of disk for downloads and runs, and 4.0 GB are free"),
        ({"free": 2 * memory.GIB}, "method qlora with rows of 1024 tokens takes"),
    ],
)
def test_too_little_disk_or_memory_is_one_line(found, says):
    with pytest.raises(InputError, match=says) as e:
        told(**found)
    assert "\n" not in str(e.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_machine_without_a_gpu_is_told_so_before_anything_is_asked_of_the_hub():
    with pytest.raises(
        InputError, match='profile gpu needs a CUDA GPU, and torch finds none here; take profile "pocket"'
    ):
        requirements.check_profile(profiles.get("gpu"))


def test_names_are_pinned_to_the_commit_and_are_still_read(cache):  # noqa: F811
    talk = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    keep(cache, "a/set", {"train-00000-of-00001": Dataset.from_list([{"messages": talk}] * 3)})
    repo = hub.look_up("a/set", None, "dataset")
    name = requirements.pinned_name("a/set#train:2", repo)
    assert name == f"a/set@{'c' * 40}#train:2" and len(reading.load(name).rows) == 2
    for profile in (profiles.GPU, profiles.GPU_SMALL):
        for source in (profile.base, profile.tuning, profile.preferences):
            assert files.HUB_ID.fullmatch(requirements.pinned_name(source, repo))


def test_a_warm_cache_is_enough_and_the_profile_comes_back_pinned(cache, tiny_base, monkeypatch, capsys):  # noqa: F811
    """On a card that is played: what it is called, its type, its free memory and its speed are given."""
    shutil.copytree(tiny_base, cached(cache, "model", "a/model"), dirs_exist_ok=True)
    talk = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    keep(cache, "a/set", {"train-00000-of-00001": Dataset.from_list([{"messages": talk}] * 3)})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a card")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    monkeypatch.setattr(memory, "free_bytes", lambda device: 8 * memory.GIB)
    monkeypatch.setattr(cost, "matmul_speed", lambda device: 60e12)
    monkeypatch.setitem(sys.modules, "lm_eval", types.ModuleType("lm_eval"))
    monkeypatch.setattr(sys.modules["lm_eval"], "__spec__", importlib.machinery.ModuleSpec("lm_eval", None))
    profile = dataclasses.replace(profiles.GPU, base="a/model", tuning="a/set#train:2", preferences=None)
    with pytest.raises(InputError, match="google/IFEval"):
        requirements.check_profile(profile)
    keep(cache, "google/IFEval", {"train-00000-of-00001": Dataset.from_list([{"prompt": "Write."}])})
    pinned = requirements.check_profile(profile)
    said = capsys.readouterr().out
    assert "google/IFEval at cccccccccccc" in said
    assert "a/model at cccccccccccc" in said and "in the cache" in said and "a card with float16, 8.0 GiB free" in said
    assert "qlora    1.2 GiB, 8 sequences of 1,024 tokens" in said
    assert (pinned.base, pinned.tuning) == (f"a/model@{'c' * 40}", f"a/set@{'c' * 40}#train:2")
    assert hub.fetch(pinned.base).is_dir() and len(reading.load(pinned.tuning).rows) == 2


def test_benchmarks_need_lm_eval_and_that_is_said_first(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(InputError, match=r'scores models on ifeval as well, .* pip install -e "\.\[eval\]"'):
        requirements.check_profile(profiles.GPU)


def test_ways_that_do_not_fit_are_left_out_in_a_line_before_anything_is_trained(tiny_base, monkeypatch, capsys):
    """On a card that is played, with room for an adapter and not for all weights."""
    ways = {"full": {"method": "full"}, "LoRA": {"method": "lora", "rank": 2}}
    profile = dataclasses.replace(profiles.POCKET, base=tiny_base, max_length=16)
    assert requirements.methods_that_fit(profile, ways) == ways and not capsys.readouterr().out, (
        "a CPU has no such limit"
    )
    fixed = memory.ModelShape.of(loading.load_base(tiny_base, device="cpu"))
    need = {name: memory.fit_step(2 * memory.GIB, fixed, name, 2, 16, 1).bytes for name in ("full", "lora")}
    assert need["lora"] < need["full"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(memory, "free_bytes", lambda device: sum(need.values()) / 2 / memory.SHARE)
    assert requirements.methods_that_fit(profile, ways) == {"LoRA": ways["LoRA"]}
    said = capsys.readouterr().out
    assert said.startswith("full: left out, with the claims about it: method full") and said.count("\n") == 1


def test_speed_is_that_of_the_device():
    assert 1e8 < cost.matmul_speed("cpu", size=256, times=2) < 1e14


def test_the_laptop_profile_needs_its_package_and_says_the_command_that_brings_it(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HOME", str(tmp_path))
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name.startswith("gemma3") else found(name, *rest)
    )
    with pytest.raises(InputError, match=r'pip install -e "\.\[laptop\]"'):
        requirements.check_profile(profiles.LAPTOP)
