"""Convert a base model out of a GGUF file, once: a file of the user's, or the one that a package brings.

GGUF is the format of llama.cpp: weights in about 4 to 8 bits, with config and tokenizer in one file. Here they are unpacked to fp32,
because what 4 bits stand for is no bf16 number, and written as a model folder in the cache (HF_HOME), under the SHA-256 of the file.
"""

import hashlib
import importlib.util
import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

import transformers
from filelock import FileLock, Timeout
from huggingface_hub import constants

from workbench import distributed, environment, outputs
from workbench.errors import InputError, first_line
from workbench.packaged_base import INSTALL, PACKAGED, TOKENIZER_BYTES, PackagedBase

RECORD_FILE = "conversion.json"
# Settings of config.json that would change the fingerprint of the same model
SETTINGS = ("transformers_version", "_model_name_or_path")


def is_gguf(base: str | Path) -> bool:
    """Return whether a base is named as :func:`fetch` takes it: a packaged base, or a file that ends with .gguf."""
    return str(base) in PACKAGED or Path(base).suffix.lower() == ".gguf"


def fetch(base: str | Path) -> Path:
    """Return the model folder of a packaged base or a GGUF file; convert it first, with a few lines about it, if that was not done yet.

    Processes that ask for the same file at the same time wait for the one that converts it. What a killed conversion leaves is removed
    by the next one.

    Raises:
        InputError: the package or the file is missing, damaged or of an unknown architecture, or the disk has no room.
    """
    packaged = PACKAGED.get(str(base))
    if not packaged and not Path(base).is_file():
        raise InputError(f"{base}: no such file; give the path of a GGUF file, or one of {', '.join(PACKAGED)}")
    sha256 = packaged.sha256 if packaged else _file_hash(Path(base))
    folder = cache_folder() / sha256
    if not is_whole(folder):
        with _locked(folder, base):
            if not is_whole(folder):
                _remove_remains(folder)
                _convert(packaged or Path(base).absolute(), sha256, folder)
    return folder


def cache_folder() -> Path:
    """Return the folder of the converted bases, beside the Hub's files (HF_HOME)."""
    return Path(constants.HF_HOME) / "workbench-bases"


def is_whole(folder: Path) -> bool:
    """Return whether a folder is a finished conversion whose files have the sizes that they were written with."""
    try:
        files = json.loads((folder / RECORD_FILE).read_text(encoding="utf-8"))["files"]
        return all((folder / name).stat().st_size == size for name, size in files.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _file_hash(file: Path) -> str:
    state = file.stat()
    return _hash_of_state(file.absolute(), state.st_mtime_ns, state.st_size)


@lru_cache
def _hash_of_state(file: Path, modified: int, size: int) -> str:
    """Hash a file once for each of its states: a grid asks for it before every run."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


@contextmanager
def _locked(folder: Path, base: str | Path) -> Iterator[None]:
    """Let one process at a time convert a file."""
    lock = FileLock(folder.with_suffix(".lock"))
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0.5)
        except Timeout:
            _say("waiting", f"another process is converting {base}")
            lock.acquire()
    except OSError as error:
        raise InputError(
            f"{folder.parent}: cannot keep converted bases here ({error.strerror}); set HF_HOME to another folder"
        ) from error
    try:
        yield
    finally:
        lock.release()


def _remove_remains(folder: Path) -> None:
    """Delete a damaged conversion and what killed ones left; called under the lock."""
    for path in (folder, *folder.parent.glob(f".{folder.name[:60]}-*.writing")):
        shutil.rmtree(path, ignore_errors=True)


def _convert(source: PackagedBase | Path, sha256: str, folder: Path) -> None:
    """Write the model folder of a packaged base or a GGUF file."""
    if importlib.util.find_spec("gguf") is None:
        raise InputError(f"reading GGUF files takes the package gguf, which is not installed: {INSTALL}")
    began = time.monotonic()
    if isinstance(source, PackagedBase):
        outputs.require_room(folder.parent, source.room)
        _say("base", f"{source.title}; converted once, which takes about a minute")
        _say("terms", f"{source.terms} apply to the weights; whoever uses them accepts that")
    else:
        _say("base", f"{source}; converted once")
    with outputs.new_folder(folder) as working:
        reading = (
            working / "gguf"
        )  # a folder of its own: from_pretrained would read other files beside the user's as well
        reading.mkdir()
        file = reading / "model.gguf"
        if isinstance(source, PackagedBase):
            source.assemble(file)
            source.require_sha256(_file_hash(file))
            _say("file", f"{source.size / 1e6:,.0f} MB, SHA-256 {sha256[:12]}… as expected", began)
        else:
            _require_gguf(source)
            file.symlink_to(source)
        _write_model(source, file, working)
        shutil.rmtree(reading)
        if isinstance(source, PackagedBase):
            (working / "NOTICE.txt").write_text(source.notice + "\n", encoding="utf-8")
            (working / "README.md").write_text(source.card(), encoding="utf-8")
        record = {"source": source.name, "sha256": sha256, "dtype": "float32"}
        record |= {"versions": {name: version(name) for name in ("transformers", "tokenizers", "gguf")}}
        record |= {"files": {path.name: path.stat().st_size for path in sorted(working.iterdir())}}
        (working / RECORD_FILE).write_text(json.dumps(record, indent=1), encoding="utf-8")
    _say("written", f"{sum(record['files'].values()) / 1e6:,.0f} MB to {folder}", began)


def _require_gguf(file: Path) -> None:
    with file.open("rb") as opened:
        if opened.read(4) != b"GGUF":
            raise InputError(f"{file}: not a GGUF file, which begins with the letters GGUF; copy or download it again")


def _write_model(source: PackagedBase | Path, file: Path, working: Path) -> None:
    """Write weights, config, generation config and tokenizer of a GGUF file as transformers reads them."""
    import torch  # takes longer than all else that imports this module needs

    with environment.library_errors_only(), environment.few_progress_bars(), _one_line(source):
        began = time.monotonic()
        config = _read(transformers.AutoConfig, file)
        with torch.device("meta"):
            size = transformers.AutoModelForCausalLM.from_config(config).num_parameters()
        outputs.require_room(working, 4 * size + TOKENIZER_BYTES)
        tokenizer = _read(transformers.AutoTokenizer, file)
        # Without those that transformers adds to the tokenizers of some families, which no text becomes
        tokens, rows = tokenizer.backend_tokenizer.get_vocab_size(False), config.get_text_config().vocab_size
        if tokens > rows:
            raise ValueError(f"its tokenizer has {tokens:,} tokens, and its embedding {rows:,} rows")
        _say("tokenizer", f"{tokens:,} tokens", began)
        began = time.monotonic()
        model, found = _read(
            transformers.AutoModelForCausalLM, file, config=config, dtype="float32", ignore_mismatched_sizes=True,
            output_loading_info=True,
        )  # fmt: skip
        _require_whole(found)
        _say("weights", f"{size / 1e6:,.0f} million parameters, unpacked to fp32", began)
        # transformers takes the model for a packed one, which it does not save
        model.hf_quantizer, model.is_quantized = None, False
        model.config.__dict__.pop("quantization_config", None)
        model.generation_config = transformers.GenerationConfig(
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
        model.save_pretrained(working)
        tokenizer.save_pretrained(working)
    values = json.loads((working / "config.json").read_text(encoding="utf-8"))
    values = {name: value for name, value in values.items() if name not in SETTINGS}
    (working / "config.json").write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def _read(kind: type, file: Path, **settings):
    """Return what one of transformers' Auto classes reads from a GGUF file in a folder of its own; no code comes with one, and none is run."""
    return kind.from_pretrained(
        file.parent, gguf_file=file.name, local_files_only=True, trust_remote_code=False, **settings
    )


def _require_whole(found: dict) -> None:
    """Raise ValueError where the tensors of the file do not fill the model that its header describes; transformers would only warn."""
    if found["missing_keys"]:
        names = sorted(found["missing_keys"])
        raise ValueError(
            f"{len(names)} tensors are missing, such as {names[0]}; of a model in several files, join them first with llama-gguf-split"
        )
    for name, there, needed in found["mismatched_keys"]:
        raise ValueError(f"{name} has the shape {tuple(there)}, and header and tokenizer ask for {tuple(needed)}")


@contextmanager
def _one_line(source: PackagedBase | Path) -> Iterator[None]:
    """Turn what transformers raises about a file, errors of any type, into one line."""
    try:
        yield
    except (InputError, MemoryError):
        raise
    except Exception as error:
        if outputs.is_full(error):
            raise
        name = source.name if isinstance(source, PackagedBase) else source
        raise InputError(
            f"{name}: transformers cannot read a model out of this GGUF file ({first_line(error)}); copy or download it again, or take a "
            "file of another architecture"
        ) from error


def _say(what: str, text: str, began: float | None = None) -> None:
    """Print a line, with the seconds since `began`; of processes that train together only the first one prints."""
    if distributed.is_main_process():
        print(f"{what:<12}{text}" + (f" ({time.monotonic() - began:.0f} s)" if began else ""), flush=True)
