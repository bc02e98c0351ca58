"""Base model and tokenizer, 4-bit NF4, LoRA, merge: from a local folder or the Hub to something that trains or answers."""

from __future__ import annotations

import copy
import gc
import hashlib
import os
import shutil
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import transformers
from filelock import FileLock
from safetensors import SafetensorError

from workbench import chat, memory, ranks
from workbench.errors import InputError
from workbench.hub import commit, fetch, first_line
from workbench.quiet import errors_only, few_bars
from workbench.runs import Run

if TYPE_CHECKING:
    import peft  # loads its models in seconds: only where an adapter is made or read

SMALL = 2**27  # bytes of weights of a base that a process may keep a copy of
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")


def fingerprint(folder: Path) -> str:
    """Hash of the weights, config and tokenizer in a model folder; for a Hub snapshot the commit, which says the same."""
    if known := commit(folder):
        return known
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix in (".safetensors", ".bin") or path.name in ("config.json", *TOKENIZER_FILES):
            digest.update(path.name.encode())
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def context(folder: Path) -> int:
    """Tokens that a model was made to read at once."""
    return transformers.AutoConfig.from_pretrained(folder).get_text_config().max_position_embeddings


def load_tokenizer(base: str | Path, revision: str | None = None) -> transformers.PreTrainedTokenizerBase:
    """Tokenizer of ``base`` with the chat template that marks answers, and with a pad token that is not its end token.

    Raises:
        InputError: no tokenizer there, or one that no chat template fits.
    """
    folder = fetch(base, revision)
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        raise InputError(
            f"{base}: no tokenizer in this folder ({' or '.join(TOKENIZER_FILES[:2])}); save it beside the weights"
        )
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{base}: the tokenizer cannot be read ({first_line(error)}); save it again") from error
    # A pad token equal to the end token is masked with the padding, and the model never learns to stop. Padding is never
    # looked at, so any token will do that no text holds: one made for it, or the last special token without a task here.
    if tokenizer.pad_token_id in (None, tokenizer.eos_token_id):
        made = [token for token in ("<|pad|>", "<|finetune_right_pad_id|>", "<pad>") if token in tokenizer.get_vocab()]
        taken = {tokenizer.bos_token, tokenizer.eos_token, tokenizer.unk_token, *chat.TOKENS, *chat.TOOL_TOKENS}
        special = [token.content for _, token in sorted(tokenizer.added_tokens_decoder.items(), reverse=True)]
        spare = [token for token in (*made, *special, "!") if token not in taken]
        tokenizer.pad_token = spare[0]
    return chat.with_template(tokenizer)


@few_bars()
def load_base(
    base: str | Path,
    quantize: bool = False,
    device: str | None = None,
    revision: str | None = None,
    dtype: torch.dtype | None = None,
) -> transformers.PreTrainedModel:
    """Load a causal language model for use or training.

    Args:
        base: folder or Hub id.
        quantize: keep the linear layers in 4-bit NF4 with double quantisation (Dettmers et al. 2023, QLoRA): about 0.6 bytes a
            parameter instead of 2 or 4, at the cost of slower decoding.
        device: "cpu" or "cuda"; None takes CUDA where there is one.
        revision: branch, tag or commit on the Hub.
        dtype: of the weights that are not quantised; None takes :func:`compute_dtype`.

    Raises:
        InputError: the folder has no readable config or weights.
    """
    device = device or default_device()
    dtype = dtype or compute_dtype(device)
    folder = fetch(base, revision)
    if not (folder / "config.json").is_file():
        raise InputError(f"{base}: no config.json in this folder; it is not a model folder")
    weights = [*folder.glob("*.safetensors"), *folder.glob("*.bin")]
    if not weights:
        raise InputError(f"{base}: no weights (*.safetensors) in this folder; copy them there or download again")
    if device == "cuda":
        # Trainers and their models refer to each other in circles: one that nobody uses would keep its place on the GPU.
        gc.collect()
        torch.cuda.empty_cache()
    try:
        if quantize and device == "cpu" and sum(file.stat().st_size for file in weights) < SMALL:
            return copy.deepcopy(_rounded(folder, fingerprint(folder), dtype))
        return _read(folder, quantize, device, dtype)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise InputError(
            f"{base}: the weights cannot be read ({first_line(error)}); copy or download them again"
        ) from error


@lru_cache(maxsize=1)
def _rounded(folder: Path, fingerprint: str, dtype: torch.dtype) -> transformers.PreTrainedModel:
    """A small base in 4 bits on the CPU, kept: rounding takes longer than all else of loading, and a grid loads its base for each run twice."""
    return _read(folder, True, "cpu", dtype)


def _read(folder: Path, quantize: bool, device: str, dtype: torch.dtype) -> transformers.PreTrainedModel:
    # Accelerate refuses a 4-bit model on a bare "cuda" where several processes train, each on the GPU of its number.
    settings = {"dtype": dtype, "device_map": {"": ranks.local() if device == "cuda" else device}}
    if quantize:
        settings["quantization_config"] = transformers.BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
        )
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, **settings)
    if device == "cpu" and getattr(model, "is_loaded_in_4bit", False):
        # On CPUs with bf16 units the first evaluation would repack the weights for a bf16 kernel that has no backward: a
        # training after it gets no gradient through these layers, silently, and numbers differ from those of other CPUs.
        from bitsandbytes.nn import Linear4bit

        for module in model.modules():
            if isinstance(module, Linear4bit):
                module.support_avx512bf16_for_cpu = False
    return model


def default_device() -> str:
    """Device to train and answer on: "cuda" where there is a usable GPU, else "cpu"."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def compute_dtype(device: str) -> torch.dtype:
    """fp32 on a CPU (bf16 is emulated on most and slower), bf16 on a GPU that has it, else fp16."""
    if device == "cpu":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


def chat_token_ids(tokenizer: transformers.PreTrainedTokenizerBase) -> list[int]:
    """Ids of the chat and tool tokens in this vocabulary: reserved by base models, and often never trained."""
    vocabulary = tokenizer.get_vocab()
    return sorted(vocabulary[token] for token in (*chat.TOKENS, *chat.TOOL_TOKENS) if token in vocabulary)


def lora_config(
    rank: int, tokenizer: transformers.PreTrainedTokenizerBase, alpha: int | None = None, tied: bool = True
) -> peft.LoraConfig:
    """LoRA on every linear layer but the output, plus the embedding rows of the chat tokens themselves.

    LoRA alone leaves a token that the base model never saw at its random start, and the end token is such a token: the model
    would have to learn to stop without being able to tell the end token from noise (Hu et al. 2021 for LoRA; PEFT's
    trainable_token_indices for the rows).

    Args:
        rank: of the update of each layer; a higher one learns more and costs more memory.
        tokenizer: whose chat tokens are trained.
        alpha: the update is scaled by alpha / rank; None takes twice the rank.
        tied: input and output embedding share their rows; if not, both are trained.
    """
    import peft

    tokens = chat_token_ids(tokenizer)
    layers = ["embed_tokens"] if tied else ["embed_tokens", "lm_head"]
    return peft.LoraConfig(
        r=rank,
        lora_alpha=alpha or 2 * rank,
        target_modules="all-linear",
        trainable_token_indices={layer: tokens for layer in layers} if tokens else None,
        task_type="CAUSAL_LM",
    )


@few_bars()
def with_adapter(
    model: transformers.PreTrainedModel, tokenizer: transformers.PreTrainedTokenizerBase, rank: int = 16
) -> peft.PeftModel:
    """The base with a new adapter that changes nothing yet, as a training starts, the same in every process: for gradients (scores.less)."""
    import peft

    tied = model.config.get_text_config().tie_word_embeddings
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return peft.get_peft_model(model, lora_config(rank, tokenizer, tied=tied))


@few_bars()
def load_tuned(
    run: Run, *, merged: bool = False, unfolded: bool = False, trainable: bool = False, device: str | None = None
) -> tuple[transformers.PreTrainedModel | peft.PeftModel, transformers.PreTrainedTokenizerBase]:
    """Model of a finished run and its tokenizer, ready to answer (it stops at its own end token).

    Args:
        run: as :func:`workbench.train.sft` or :func:`workbench.train.dpo` returns it.
        merged: fold the adapter into the full-precision base. Decodes faster; for a run trained on NF4 it is a slightly
            different model, since the rounding of the base, which the adapter was trained on, is gone.
        unfolded: keep the rounding: the 4-bit weights as floats, with the adapter folded in. The same model to the last digits, in
            the memory of a full one, and on a CPU many times faster than unpacking all weights again for every token.
        trainable: to go on training: what was trained stays in fp32 and takes gradients.
        device: "cpu" or "cuda"; None takes CUDA where there is one.
    """
    tokenizer = transformers.AutoTokenizer.from_pretrained(run.adapter)
    method = run.spec["method"]
    if method == "full":
        model = load_base(run.adapter, device=device, dtype=torch.float32 if trainable else None)
    else:
        base = load_base(run.spec["base"], method == "qlora" and not merged, device, run.spec["revision"])
        if unfolded and method == "qlora":
            base = _floats(base)
        elif trainable:
            base = unpacked(base)
        import peft

        # PEFT keeps the adapter in fp32, as it was saved, on a base in half precision too
        model = peft.PeftModel.from_pretrained(base, run.adapter, is_trainable=trainable)
        model = model.merge_and_unload() if merged or unfolded else model
    model.generation_config.eos_token_id = sorted({chat.end_of_turn(tokenizer), tokenizer.eos_token_id})
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model.eval(), tokenizer


def unpacked(model: transformers.PreTrainedModel) -> transformers.PreTrainedModel:
    """A model on a CPU with its 4-bit weights as floats, where they take no more than a quarter of the free memory.

    Each step would unpack them anyway, so the numbers are the same to the last digit; training the pocket base is a sixth faster.
    On a GPU, where memory is what 4 bits are for, the model stays as it is.
    """
    packed = model.device.type == "cpu" and getattr(model, "is_loaded_in_4bit", False)
    if not packed or 4 * model.num_parameters() > memory.free("cpu") / 4:
        return model
    return _floats(model)


def _floats(model: transformers.PreTrainedModel) -> transformers.PreTrainedModel:
    with errors_only():  # it tells the type of the floats, which load_base chose
        return model.dequantize()


def load_any(source: Run | str) -> tuple[transformers.PreTrainedModel, transformers.PreTrainedTokenizerBase]:
    """Model and tokenizer of a run or of a base model, in the form that answers fastest where it stands."""
    if isinstance(source, Run):
        # on a GPU memory is what is short, on a CPU it is time
        return load_tuned(source, unfolded=default_device() == "cpu")
    return load_base(source), load_tokenizer(source)


@few_bars()
def merge(run: Run, out: str | Path) -> Path:
    """Write a run as an ordinary model folder (weights, tokenizer, template) that needs neither PEFT nor bitsandbytes.

    The adapter is folded into the full-precision base, in fp32 on the CPU: merging into 4-bit weights would round the sum again.

    Raises:
        InputError: ``out`` exists.
    """
    out = Path(out)
    if out.exists():
        raise InputError(f"{out}: exists already; give a new folder")
    model, tokenizer = load_tuned(run, merged=True, device="cpu")
    partial = out.with_name(out.name + ".partial")
    with FileLock(out.with_name(out.name + ".lock")):
        shutil.rmtree(partial, ignore_errors=True)
        model.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        os.replace(partial, out)
    out.with_name(out.name + ".lock").unlink(missing_ok=True)
    return out
