"""A world to break the command line in: good and bad files, bases, runs and notebooks in a temporary folder, and one way to call it."""

import json
import shutil
import signal
import struct
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import series
import torch
from conftest import make_rows, make_tokenizer
from transformers import LlamaConfig, LlamaForCausalLM
from typer.testing import CliRunner

from workbench.cli.app import app
from workbench.config import SFTSpec
from workbench.store import Run, Store
from workbench.train import supervised

SECONDS = 45
"""A bad input that is not refused by then hangs."""


@dataclass(frozen=True)
class Case:
    """One bad input: what is typed, and the words that the message must hold."""

    words: tuple[str, ...]
    says: tuple[str, ...]
    code: int = 2

    def __str__(self) -> str:
        return " ".join(word if len(word) < 40 else word[:40] + "…" for word in self.words)


def case(line: str, *says: str, code: int = 2) -> Case:
    """A case whose words are separated by spaces; places of the world stand in braces."""
    return Case(tuple(line.split()), says, code)


def rows(count: int = 24) -> list[dict]:
    return [
        {"instruction": f"{i} say {word}", "output": word.upper()}
        for i, word in enumerate(["red", "blue", "sun"] * (count // 3))
    ]


def pairs(count: int = 24) -> list[dict]:
    return [{"prompt": row["instruction"], "chosen": row["output"], "rejected": "no"} for row in rows(count)]


def lines(*each) -> bytes:
    return "\n".join(one if isinstance(one, str) else json.dumps(one) for one in each).encode()


class Timeout(Exception):
    """Nothing came back in time."""


class World:
    """Folders of one process. Everything is made when it is first named."""

    def __init__(self, root: Path):
        self.root = root
        (root / "files").mkdir(parents=True)
        series.write(root)
        self.base = self._base()

    def _base(self) -> Path:
        folder, tokenizer = self.root / "base", make_tokenizer()
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2,
            max_position_embeddings=512, tie_word_embeddings=True, bos_token_id=0, eos_token_id=0, pad_token_id=1,
        )  # fmt: skip
        LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder

    @property
    def store(self) -> Path:
        return self.root / "runs"

    @cached_property
    def run(self) -> Run:
        """A finished SFT run of the tiny base."""
        spec = SFTSpec(base=str(self.base), method="lora", max_steps=2, batch_size=4)
        return supervised.sft(spec, make_rows(), store=Store(self.store), quiet=True)

    def file(self, name: str, content: bytes | Callable[[Path], None]) -> Path:
        path = self.root / "files" / name
        if not path.exists() and not path.is_symlink():
            content(path) if callable(content) else path.write_bytes(content)
        return path

    def broken_base(self, name: str, breaks: Callable[[Path], None]) -> Path:
        """A copy of the base with one thing wrong."""
        path = self.root / "bases" / name
        if not path.exists():
            shutil.copytree(self.base, path)
            breaks(path)
        return path

    def broken_store(self, name: str, breaks: Callable[[Path], None]) -> Path:
        """A store whose only run has one thing wrong."""
        path = self.root / "stores" / name
        if not path.exists():
            shutil.copytree(self.run.path, path / self.run.id)
            breaks(path / self.run.id)
        return path

    def call(self, words: tuple[str, ...], store: Path | None = None):
        """Run the command line in this process; the result has exit code, output, and the exception that came through."""
        env = {"WORKBENCH_RUNS": str(store or self.store), "HF_HUB_OFFLINE": "1", "COLUMNS": "100"}

        def late(*_):
            raise Timeout(f"no answer after {SECONDS} s")

        signal.signal(signal.SIGALRM, late)
        signal.alarm(SECONDS)
        try:
            return CliRunner().invoke(app, words, env=env)
        finally:
            signal.alarm(0)

    def left_over(self, store: Path | None = None) -> list[str]:
        """What an input that was refused must not leave: unfinished runs, and half files in the folder of the files."""
        folder = store or self.store
        found = [*folder.glob("*.partial"), *(self.root / "out").glob("**/*")] if folder.exists() else []
        return [str(path.relative_to(self.root)) for path in found]


def check(world: World, words: tuple[str, ...], says: tuple[str, ...], code: int, store: Path | None = None) -> None:
    """The command ends with this code and one line that holds all words, and leaves nothing behind."""
    (world.root / "out").mkdir(exist_ok=True)
    before = world.left_over(store)
    result = world.call(words, store)
    left = sorted(set(world.left_over(store)) - set(before))
    came = "".join(traceback.format_exception(result.exception)[-4:]) if result.exception else ""
    assert isinstance(result.exception, SystemExit), f"traceback or acceptance\n{came}{result.output[-1500:]}"
    assert result.exit_code == code, result.output[-1500:]
    line = result.stderr.strip().splitlines()[-1]
    assert "Traceback" not in result.output
    errors = [one for one in result.stderr.splitlines() if one.startswith("error: ")]
    assert len(errors) == 1 and errors[0] == line and len(line) < 3_000, result.stderr[-1500:]
    missing = [word for word in says if word.lower() not in line.lower()]
    assert not missing, f"the message lacks {missing}: {line}"
    assert left == [], "left behind"


def edit_json(name: str, **changes) -> Callable[[Path], None]:
    """A change of a JSON file in a folder; None removes a key."""

    def apply(folder: Path) -> None:
        path = folder / name
        found = json.loads(path.read_text())
        for key, value in changes.items():
            found.pop(key, None)
            if value is not None:
                found[key] = value
        path.write_text(json.dumps(found))

    return apply


def edit_tensors(change: Callable[[dict], None], pattern: str = "model.safetensors") -> Callable[[Path], None]:
    """A change of the tensors in a safetensors file of a folder."""

    def apply(folder: Path) -> None:
        from safetensors.torch import load_file, save_file

        (path,) = folder.rglob(pattern)
        tensors = load_file(path)
        change(tensors)
        save_file(tensors, path, metadata={"format": "pt"})

    return apply


def flip(pattern: str, offset: int = -20) -> Callable[[Path], None]:
    """Flip a bit of a file, counted from its end."""

    def apply(folder: Path) -> None:
        (path,) = folder.rglob(pattern)
        data = bytearray(path.read_bytes())
        data[offset] ^= 1
        path.write_bytes(data)

    return apply


def cut(pattern: str, share: float = 0.5) -> Callable[[Path], None]:
    """Cut a file off."""

    def apply(folder: Path) -> None:
        (path,) = folder.rglob(pattern)
        data = path.read_bytes()
        path.write_bytes(data[: int(share * len(data))])

    return apply


def write(name: str, content: bytes | str) -> Callable[[Path], None]:
    """Replace a file of a folder."""
    return lambda folder: (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)


def remove(pattern: str) -> Callable[[Path], None]:
    """Remove files or folders."""

    def apply(folder: Path) -> None:
        for path in list(folder.rglob(pattern)):
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return apply


def header_only(path: Path) -> None:
    """Safetensors whose header promises more than the file holds."""
    text = json.dumps({"x": {"dtype": "F32", "shape": [10**6], "data_offsets": [0, 4 * 10**6]}}).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text)
