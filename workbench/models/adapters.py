"""Attach a LoRA adapter to a base model, load the model of a run, and merge an adapter into its base."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
import transformers

from workbench import environment, hub, outputs
from workbench.data import chat_formats, templates
from workbench.errors import InputError
from workbench.models import embedding_rows, loading, memory, precision
from workbench.store import Run

if TYPE_CHECKING:
    import peft


REWARD = "reward"
"""First word of the id of a run that is a reward model (:mod:`workbench.train.reward_models`)."""

# PEFT refuses LoRA on the output projection of these: their kernels read its weight themselves.
STATE_SPACE = ("mamba", "mamba2", "falcon_mamba", "falcon_h1", "nemotron_h")


def chat_token_ids(tokenizer: transformers.PreTrainedTokenizerBase) -> list[int]:
    """Return the ids of the turn and tool tokens that the chat template writes: base models reserve them and often never trained them."""
    return chat_formats.turn_token_ids(tokenizer)


def lora_config(
    model: transformers.PreTrainedModel,
    tokenizer: transformers.PreTrainedTokenizerBase,
    rank: int,
    alpha: int | None = None,
) -> peft.LoraConfig:
    """Return LoRA on every linear layer except the output, with the embedding rows of the chat tokens trained as well.

    LoRA alone leaves a token that the base model never saw at its random start, and the end token is such a token: the model
    would have to learn to stop without being able to tell the end token from noise (Hu et al. 2021 for LoRA; PEFT's
    trainable_token_indices for the rows). Where input and output embedding do not share their rows, both are trained.

    Args:
        model: for which the adapter is.
        tokenizer: whose chat tokens are trained.
        rank: of the update of each layer; a higher one learns more and costs more memory.
        alpha: the update is scaled by alpha / rank; None takes twice the rank.
    """
    import peft

    tokens = chat_token_ids(tokenizer)
    ends = [model.get_input_embeddings()]
    if not model.config.get_text_config().tie_word_embeddings:
        ends.append(model.get_output_embeddings())
    layers = [name.rpartition(".")[2] for end in ends for name, part in model.named_modules() if part is end]
    return peft.LoraConfig(
        r=rank,
        lora_alpha=alpha or 2 * rank,
        target_modules="all-linear",
        exclude_modules=["out_proj"] if model.config.model_type in STATE_SPACE else None,
        trainable_token_indices={layer: tokens for layer in layers} if tokens else None,
        task_type="CAUSAL_LM",
    )


@environment.few_progress_bars()
def with_adapter(
    model: transformers.PreTrainedModel, tokenizer: transformers.PreTrainedTokenizerBase, rank: int = 16
) -> peft.PeftModel:
    """Return the base with a new adapter that changes nothing yet, the same in every process: for gradients (selection_scores.less)."""
    import peft

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return with_token_rows(peft.get_peft_model(model, lora_config(model, tokenizer, rank)))


def load_to_train(
    folder: Path,
    method: str,
    tokenizer: transformers.PreTrainedTokenizerBase,
    chat_format: chat_formats.ChatFormat,
    dtype: torch.dtype | None = None,
) -> transformers.PreTrainedModel:
    """Load a base model that a training starts from, without an adapter; the rows of tokens that its chat format adds start at the mean.

    Args:
        method: "full" trains in fp32, "qlora" rounds the weights to NF4.
        tokenizer, chat_format: as :func:`workbench.models.loading.load_formatted` gives them.
        dtype: of weights that are not trained; None takes :func:`workbench.models.precision.compute_dtype`.
    """
    dtype = torch.float32 if method == "full" else dtype
    model = loading.load_base(folder, method == "qlora", dtype=dtype, tokenizer=tokenizer)
    if chat_format.added:  # some bases have rows to spare that they never trained
        embedding_rows.start_at_mean(model, tokenizer.convert_tokens_to_ids(chat_format.added))
    return unpacked(model)


def with_token_rows(model: peft.PeftModel) -> peft.PeftModel:
    """Return a model whose trained tokens cost no copy of the embedding, if it is large and on a CPU: see :mod:`workbench.models.token_rows`."""
    from workbench.models import token_rows

    if precision.is_large(model):
        token_rows.use_token_rows(model)
    return model


@environment.few_progress_bars()
def load_tuned(
    run: Run,
    *,
    merged: bool = False,
    unfolded: bool = False,
    trainable: bool = False,
    device: str | None = None,
    dtype: torch.dtype | None = None,
) -> tuple[transformers.PreTrainedModel | peft.PeftModel, transformers.PreTrainedTokenizerBase]:
    """Load the model of a finished run and its tokenizer, ready to answer; it stops at its own end token.

    Args:
        run: as :func:`workbench.train.supervised.sft` or :func:`workbench.train.preference.dpo` returns it.
        merged: fold the adapter into the full-precision base. Decodes faster; for a run trained on NF4 it is a slightly
            different model, since the rounding of the base, which the adapter was trained on, is gone.
        unfolded: keep the rounding: the 4-bit weights as floats, with the adapter folded in. The same model to the last digits, in
            the memory of a full one, and on a CPU many times faster than unpacking all weights again for every token.
        trainable: to continue training: what was trained stays in fp32 and takes gradients.
        device: "cpu" or "cuda"; None takes CUDA where there is one.
        dtype: of the weights that are neither quantised nor trained; None takes :func:`workbench.models.precision.compute_dtype`.

    Raises:
        InputError: the run is a reward model, or damaged, or its base is missing.
    """
    if run.id.startswith(f"{REWARD}-"):
        raise InputError(
            f"{run.id} is a reward model, which rates answers and writes none; give a run of sft, dpo or rl"
        )
    tokenizer = loading.read_pretrained(transformers.AutoTokenizer, run.adapter)
    method = run.spec["method"]
    if method == "full":
        model = loading.load_base(run.adapter, device=device, dtype=torch.float32 if trainable else dtype)
    else:
        quantize = method == "qlora" and not merged
        folds, device = merged or unfolded, device or loading.default_device()
        exact = torch.float32 if folds and device == "cpu" else dtype  # the sum of base and adapter is rounded once
        base = loading.load_base(run.spec["base"], quantize, device, run.spec["revision"], exact, tokenizer)
        if unfolded and method == "qlora":
            base = _floats(base)
        elif trainable:
            base = unpacked(base)
        import peft

        # PEFT keeps the adapter in fp32, as it was saved, on a base in half precision too
        model = with_token_rows(peft.PeftModel.from_pretrained(base, run.adapter, is_trainable=trainable))
        model = model.merge_and_unload() if folds else model
        if folds and device == "cpu":
            _round(model, dtype or precision.compute_dtype(device, model.num_parameters()))
    model.generation_config.eos_token_id = sorted({templates.end_of_turn(tokenizer), tokenizer.eos_token_id})
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model.eval(), tokenizer


def unpacked(model: transformers.PreTrainedModel) -> transformers.PreTrainedModel:
    """Return a model on a CPU with its 4-bit weights as floats, if they take no more than a quarter of the free memory.

    Each step would unpack them anyway, so the numbers are the same to the last digit; training the pocket base is a sixth faster.
    On a GPU, where memory is what 4 bits are for, the model stays as it is.
    """
    packed = model.device.type == "cpu" and getattr(model, "is_loaded_in_4bit", False)
    if not packed or 4 * model.num_parameters() > memory.free_bytes("cpu") / 4:
        return model
    return _floats(model)


def _round(model: transformers.PreTrainedModel, dtype: torch.dtype) -> None:
    """Change the type of the weights. `model.to` would round the frequencies of rotary positions as well, which stay in fp32."""
    for value in model.parameters():
        value.data = value.data.to(dtype)


def _floats(model: transformers.PreTrainedModel) -> transformers.PreTrainedModel:
    with environment.library_errors_only():  # it tells the type of the floats, which load_base chose
        return model.dequantize()


def load_any(source: Run | str) -> tuple[transformers.PreTrainedModel, transformers.PreTrainedTokenizerBase]:
    """Load the model and tokenizer of a run or of a base model, in the form that answers fastest on this device."""
    if isinstance(source, Run):
        # on a GPU memory is what is short, on a CPU it is time
        return load_tuned(source, unfolded=loading.default_device() == "cpu")
    tokenizer = loading.load_tokenizer(source)
    return loading.load_base(source, tokenizer=tokenizer), tokenizer


@environment.few_progress_bars()
def merge(run: Run, out: str | Path) -> Path:
    """Write a run as an ordinary model folder (weights, tokenizer, template) that needs neither adapter nor workbench.

    The adapter is folded into the full-precision base, in fp32 on the CPU: merging into 4-bit weights would round the sum again.

    Raises:
        InputError: ``out`` exists.
    """
    with outputs.new_folder(out, merged_bytes(run)) as folder:
        write_merged(run, folder)
    return Path(out)


def merged_bytes(run: Run) -> int:
    """Return about how many bytes the merged model takes: twice the weights of the base, which is usually in half precision."""
    spec = run.spec
    folder = run.adapter if spec["method"] == "full" else hub.fetch(spec["base"], spec["revision"])
    return 2 * sum(path.stat().st_size for path in folder.glob("*.safetensors"))


def write_merged(run: Run, folder: Path) -> None:
    """Write the merged model, its tokenizer and its chat template to an empty folder.

    The chat template marks the supervised text for training; plain Jinja refuses these marks, so the exported template has none, and the
    one with them is kept beside it in :data:`workbench.data.templates.TRAINING_TEMPLATE`.
    """
    model, tokenizer = load_tuned(run, merged=True, device="cpu", dtype=torch.float32)
    template = tokenizer.chat_template
    tokenizer.chat_template = templates.without_marks(template)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / templates.TRAINING_TEMPLATE).write_text(template, encoding="utf-8")
