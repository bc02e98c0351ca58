"""What README promises about safety, one test or more for each line of its list."""

import ast
import json
import os
import pickle
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from workbench.config import SFTSpec
from workbench.errors import InputError
from workbench.evaluate import tool_use
from workbench.models import loading
from workbench.store import Store
from workbench.train import supervised

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_readme_names_the_tests_of_this_file_and_no_others():
    promised = set(re.findall(r"`(test_\w+)`", README.split("## Promises")[1].split("\n## ")[0]))
    assert promised == {name for name in globals() if name.startswith("test_") and not name.startswith("test_readme")}


@pytest.fixture
def foreign(tiny_base, tmp_path):
    """A model folder with code of its own, which leaves a trace where it runs."""
    folder, trace = tmp_path / "foreign", tmp_path / "code_ran"
    shutil.copytree(tiny_base, folder)
    (folder / "evil.py").write_text(
        f"open({str(trace)!r}, 'w').close()\nfrom transformers import LlamaConfig as Config, LlamaForCausalLM as Model\n"
        "from transformers import PreTrainedTokenizerFast as Tokenizer\n"
    )
    for name, classes in (
        ("config.json", {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}),
        ("tokenizer_config.json", {"AutoTokenizer": ["evil.Tokenizer", "evil.Tokenizer"]}),
    ):
        content = json.loads((folder / name).read_text())
        content |= {"auto_map": classes, "model_type": "foreign", "tokenizer_class": "Tokenizer"}
        (folder / name).write_text(json.dumps(content))
    return folder, trace


def test_code_that_comes_with_a_model_is_never_run(foreign):
    folder, trace = foreign
    # In a process whose terminal says yes to every question.
    calls = f"from workbench.models import loading; loading.load_tokenizer({str(folder)!r}); loading.load_base({str(folder)!r})"
    done = subprocess.run([sys.executable, "-c", calls], cwd=ROOT, input="y\n" * 20, capture_output=True, text=True)
    assert done.returncode and not trace.exists(), done.stdout
    with pytest.raises(InputError, match="code of its own"):
        loading.load_base(folder)
    assert not trace.exists()
    for path in (ROOT / "workbench").rglob("*.py"):
        assert not re.search(r"Auto\w+\.from_pretrained\(", path.read_text(encoding="utf-8")), (
            f"{path}: use loading.read_pretrained"
        )


class _Payload:
    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return (open, (str(self.trace), "w"))


def test_pickled_weights_are_refused_unread(tiny_base, tmp_path):
    folder, trace = tmp_path / "pickled", tmp_path / "pickle_read"
    shutil.copytree(tiny_base, folder)
    for weights in folder.glob("*.safetensors"):
        weights.unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(_Payload(trace)))
    with pytest.raises(InputError, match="safetensors"):
        loading.load_base(folder)
    assert not trace.exists()


@pytest.mark.parametrize("text", ["__import__('os').system('true')", "open('x')", "(1).__class__", "9**9**9", "[1][0]"])
def test_what_a_model_writes_is_never_run(text):
    with pytest.raises(ValueError, match="only numbers"):
        tool_use.calculator(text)
    for path in (ROOT / "workbench").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("eval", "exec"), f"{path}:{node.lineno}"


def test_nothing_is_sent_anywhere(rows, tiny_base, tmp_path, monkeypatch):
    def connect(self, address):
        raise AssertionError(f"a connection to {address}")

    monkeypatch.setattr(socket.socket, "connect", connect)
    run = supervised.sft(
        SFTSpec(base=str(tiny_base), method="lora", max_steps=1), rows, store=Store(tmp_path), quiet=True
    )
    assert run.log["loss"].notna().any()
    asked = "import os, workbench; print(os.environ['HF_HUB_DISABLE_TELEMETRY'], os.environ['RAY_USAGE_STATS_ENABLED'])"
    bare = {key: value for key, value in os.environ.items() if "TELEMETRY" not in key and "RAY" not in key}
    assert (
        subprocess.run([sys.executable, "-c", asked], cwd=ROOT, env=bare, capture_output=True, text=True).stdout
        == "1 0\n"
    )


def test_jupyterlab_listens_on_this_machine_and_asks_for_its_token():
    (line,) = [
        line
        for line in subprocess.run(["make", "-n", "lab"], cwd=ROOT, capture_output=True, text=True).stdout.splitlines()
        if "jupyter lab" in line
    ]
    assert "--ip=127.0.0.1" in line and not re.search("token|password|allow_remote|0\\.0\\.0\\.0", line)
