"""Load a base model and its tokenizer from a local folder or the Hub, in full precision or in 4-bit NF4."""

from __future__ import annotations

import copy
import gc
import hashlib
import json
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import torch
import transformers
from safetensors import SafetensorError

from workbench import distributed, environment, hub
from workbench.data import chat_formats, templates
from workbench.data.chat_formats import ChatFormat
from workbench.errors import InputError, first_line
from workbench.models import embedding_rows, precision

SMALL = 2**27  # bytes of weights of a base that a process may keep a copy of

SIZES = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "max_position_embeddings")
CONTEXT_NAMES = ("max_position_embeddings", "seq_length", "max_seq_len")
NO_LIMIT = 2**31 - 1  # tokens
PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt")
TOKENIZER_SETTINGS = (
    "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja", templates.TRAINING_TEMPLATE, "config.json",
)  # fmt: skip
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")


def read_pretrained(kind: type, folder: str | Path, **settings):
    """Return what one of transformers' Auto classes reads from a folder: no code of the folder runs, no pickle is opened.

    Raises:
        InputError: the folder can only be read with code of its own.
    """
    if kind not in (transformers.AutoConfig, transformers.AutoTokenizer):
        settings["use_safetensors"] = True
    try:
        return kind.from_pretrained(folder, trust_remote_code=False, **settings)
    except ValueError as error:
        if "custom code" not in str(error):
            raise
        raise InputError(
            f"{folder}: this model comes with code of its own, which is never run here; take one of an architecture that transformers has"
        ) from error


def read_config(folder: Path) -> transformers.PretrainedConfig:
    """Return the configuration of a model folder, whose sizes are whole numbers above 0.

    Raises:
        InputError: config.json is missing, is no JSON object, or describes no model that transformers has.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise InputError(f"{folder}: no config.json in this folder; it is not a model folder")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON ({first_line(error)}); copy or download it again") from error
    if not isinstance(values, dict):
        raise InputError(
            f"{path}: a JSON object is needed, this is a {type(values).__name__}; copy or download it again"
        )
    for name in SIZES:
        if name in values and not (type(values[name]) is int and values[name] > 0):
            raise InputError(f"{path}: {name} is {str(values[name])[:40]!r}; it must be a whole number above 0")
    try:
        return read_pretrained(transformers.AutoConfig, folder)
    except InputError:
        raise
    except Exception as error:  # each architecture checks its own fields, with errors of any type
        known = f"model_type {str(values['model_type'])[:40]!r}: " if "model_type" in values else "no model_type: "
        raise InputError(f"{path}: {known}not a model that transformers can read ({first_line(error)})") from error


def fingerprint(folder: Path) -> str:
    """Return a hash of the weights, config and tokenizer in a model folder; for a Hub snapshot the commit, which identifies the same."""
    if known := hub.snapshot_commit(folder):
        return known
    names = ("config.json", *TOKENIZER_FILES)
    files = [path for path in sorted(folder.iterdir()) if path.suffix in (".safetensors", ".bin") or path.name in names]
    return _hash_of_files(tuple((path, *_state(path)) for path in files))


def _state(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_mtime_ns, found.st_size


@lru_cache(maxsize=16)
def _hash_of_files(states: tuple) -> str:
    """Hash the names and contents of files once for each of their states: a grid asks for its base before every run."""
    digest = hashlib.sha256()
    for path, *_ in states:
        digest.update(path.name.encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def context_length(source: Path | torch.nn.Module) -> int:
    """Return the number of tokens that a model, in a folder or loaded, was made to read at once; some architectures have no limit."""
    config = (read_config(source) if isinstance(source, Path) else source.config).get_text_config()
    return next((getattr(config, name) for name in CONTEXT_NAMES if getattr(config, name, None)), NO_LIMIT)


def load_tokenizer(
    base: str | Path, revision: str | None = None, template: str | None = None
) -> transformers.PreTrainedTokenizerBase:
    """Load the tokenizer of ``base``, with a chat template that marks answers and a pad token that ends nothing.

    Args:
        template: name or file of the chat template; None takes the first that fits, see :func:`workbench.data.chat_formats.fit`.

    Raises:
        InputError: no tokenizer there, or one that no chat template fits.
    """
    return load_formatted(base, revision, template)[0]


def load_formatted(
    base: str | Path, revision: str | None = None, template: str | None = None
) -> tuple[transformers.PreTrainedTokenizerBase, ChatFormat]:
    """Load what :func:`load_tokenizer` returns, with the chat format that was chosen.

    The vocabulary may get tokens that the model has no rows for: :func:`load_base` adds these where it is given the tokenizer.
    """
    folder = hub.fetch(base, revision)
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        raise InputError(
            f"{base}: no tokenizer in this folder ({' or '.join(TOKENIZER_FILES[:2])}); save it beside the weights"
        )
    if (folder / "config.json").exists():  # not beside an adapter; a broken one would be reported as a broken tokenizer
        read_config(folder)
    try:
        tokenizer = read_pretrained(transformers.AutoTokenizer, folder)
    except InputError:
        raise
    except Exception as error:  # tokenizers are taken apart before they are checked: any type can be raised
        raise InputError(
            f"{base}: the tokenizer cannot be read ({first_line(error)}); save tokenizer.json and tokenizer_config.json again"
        ) from error
    if (marked := folder / templates.TRAINING_TEMPLATE).is_file():  # a model that was exported from here
        tokenizer.chat_template = marked.read_text(encoding="utf-8")
    if (folder / "config.json").is_file():  # there is none beside an adapter
        used = [token for token in (tokenizer.bos_token_id, tokenizer.eos_token_id) if token is not None]
        require_embedding_rows(folder, tokenizer, used)
    return tokenizer, chat_formats.fit(tokenizer, template)


def describe_format(folder: Path, template: str | None = None) -> tuple[ChatFormat, str]:
    """Return the chat format of a base, without loading its weights, and one line that says why it was chosen and what it changes."""
    files = [folder / name for name in (*TOKENIZER_FILES, *TOKENIZER_SETTINGS)] + [Path(template or "")]
    states = tuple((path, *_state(path)) for path in files if path.is_file())
    return _describe_format(folder, states, template)


@lru_cache(maxsize=16)
def _describe_format(folder: Path, states: tuple, template: str | None) -> tuple[ChatFormat, str]:
    """Describe a format once for each state of the files that it depends on: a grid asks for it before every run."""
    tokenizer, chosen = load_formatted(folder, template=template)
    rows, needed = read_config(folder).get_text_config().vocab_size, embedding_rows.rows_needed(tokenizer)
    grown = f"; the embedding grows from {rows:,} to {needed:,} rows, which start at the mean" if needed > rows else ""
    return chosen, chosen.describe() + grown


def require_embedding_rows(folder: Path, tokenizer: transformers.PreTrainedTokenizerBase, ids: Iterable[int]) -> None:
    """Check that the embedding has a row for each of these token ids; the model would stop with an IndexError.

    The whole vocabulary is no measure: the tokenizer of Gemma 3 has a token for pictures beyond the rows of its models for text.

    Raises:
        InputError: an id without a row.
    """
    rows, highest = read_config(folder).get_text_config().vocab_size, max(ids, default=0)
    if highest >= rows and not (tokenizer.chat_template and highest < embedding_rows.rows_needed(tokenizer)):
        token = tokenizer.convert_ids_to_tokens(highest)
        raise InputError(
            f"{folder}: token {token[:40]!r} has the id {highest}, and the embedding has {rows} rows (vocab_size in config.json); "
            "call model.resize_token_embeddings(len(tokenizer)) and save the model again"
        )


@environment.few_progress_bars()
def load_base(
    base: str | Path,
    quantize: bool = False,
    device: str | None = None,
    revision: str | None = None,
    dtype: torch.dtype | None = None,
    tokenizer: transformers.PreTrainedTokenizerBase | None = None,
) -> transformers.PreTrainedModel:
    """Load a causal language model for use or training.

    Args:
        base: folder or Hub id.
        quantize: keep the linear layers in 4-bit NF4 with double quantisation (Dettmers et al. 2023, QLoRA): about 0.6 bytes a
            parameter instead of 2 or 4, at the cost of slower decoding.
        device: "cpu" or "cuda"; None takes CUDA where there is one.
        revision: branch, tag or commit on the Hub.
        dtype: of the weights that are not quantised; None takes :func:`workbench.models.precision.compute_dtype`.
        tokenizer: as :func:`load_tokenizer` gives it; the embedding gets rows for the tokens that it added (:func:`workbench.models.embedding_rows.with_rows`).

    Raises:
        InputError: the folder has no readable config or weights.
    """
    device = device or default_device()
    folder = hub.fetch(base, revision)
    read_config(folder)
    weights = [*folder.glob("*.safetensors")]
    if not weights and (pickled := [path.name for pattern in PICKLED for path in folder.glob(pattern)]):
        raise InputError(
            f"{base}: the weights are pickled ({pickled[0]}), which can run code, and are never opened here; if you trust their source, load "
            "them with transformers and save_pretrained(new_folder), which writes safetensors"
        )
    if absent := hub.missing_files(folder):
        raise InputError(
            f"{base}: {absent[0]} is missing, which the index of the weights names; copy or download it again"
        )
    if not weights:
        raise InputError(f"{base}: no weights (*.safetensors) in this folder; copy them there or download again")
    if device == "cuda":
        # Trainers and their models refer to each other in circles: one that nobody uses would keep its place on the GPU.
        gc.collect()
        torch.cuda.empty_cache()
    try:
        dtype = dtype or precision.compute_dtype(device, precision.parameters(weights))
        if quantize and device == "cpu" and sum(file.stat().st_size for file in weights) < SMALL:
            model = copy.deepcopy(_rounded(folder, fingerprint(folder), dtype))
        else:
            model = _read(folder, quantize, device, dtype)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise InputError(
            f"{base}: the weights cannot be read ({first_line(error)}); copy or download them again"
        ) from error
    return model if tokenizer is None else embedding_rows.with_rows(model, tokenizer)


@lru_cache(maxsize=1)
def _rounded(folder: Path, fingerprint: str, dtype: torch.dtype) -> transformers.PreTrainedModel:
    """A small base in 4 bits on the CPU, kept: rounding takes longer than all else of loading, and a grid loads its base for each run twice."""
    return _read(folder, True, "cpu", dtype)


def _read(folder: Path, quantize: bool, device: str, dtype: torch.dtype) -> transformers.PreTrainedModel:
    # Accelerate refuses a 4-bit model on a bare "cuda" where several processes train, each on the GPU of its number.
    settings = {"dtype": dtype, "device_map": {"": distributed.local_rank() if device == "cuda" else device}}
    if quantize:
        settings["quantization_config"] = transformers.BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
        )
    model, found = read_pretrained(
        transformers.AutoModelForCausalLM, folder, output_loading_info=True, ignore_mismatched_sizes=True, **settings
    )
    _require_whole(model, found)
    if device == "cpu" and getattr(model, "is_loaded_in_4bit", False):
        # On CPUs with bf16 units the first evaluation would repack the weights for a bf16 kernel that has no backward: a
        # training after it gets no gradient through these layers, silently, and numbers differ from those of other CPUs.
        from bitsandbytes.nn import Linear4bit

        for module in model.modules():
            if isinstance(module, Linear4bit):
                module.support_avx512bf16_for_cpu = False
    return model


def _require_whole(model: transformers.PreTrainedModel, found: dict) -> None:
    """Raise ValueError where the weights do not fill the model that config.json describes, or hold values that are no numbers.

    transformers fills what is missing with random values and only warns.
    """
    for names, wrong in (
        (found["missing_keys"], "are missing"),
        ([key for key, *_ in found["mismatched_keys"]], "have another shape than config.json says"),
        (found["unexpected_keys"], "belong to no layer that config.json describes"),
    ):
        if names:
            raise ValueError(f"{len(names)} tensors {wrong}, such as {sorted(names)[0]}")
    for name, value in model.named_parameters():
        if value.is_floating_point() and not value.isfinite().all():
            raise ValueError(f"{name} holds values that are not finite (NaN or infinity)")


def default_device() -> str:
    """Return the device to train and answer on: "cuda" where there is a usable GPU, else "cpu"."""
    return "cuda" if torch.cuda.is_available() else "cpu"
