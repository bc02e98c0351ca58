"""Write a supervised run as a YAML file with which TRL's own command line repeats it: ``trl sft --config sft.yaml``."""

from __future__ import annotations

from pathlib import Path

import datasets
import transformers
import trl
import yaml

from workbench import environment, gguf_base, hub, outputs
from workbench.errors import InputError
from workbench.models import adapters, loading
from workbench.runs import Run

# The arguments of SFTConfig that describe a run, which records the values that TRL was given.
ARGUMENTS = (
    "learning_rate", "lr_scheduler_type", "warmup_steps", "weight_decay", "num_train_epochs", "max_steps",
    "per_device_train_batch_size", "gradient_accumulation_steps", "seed", "bf16", "fp16", "use_cpu", "activation_checkpointing",
    "packing", "packing_strategy", "padding_free", "max_length", "assistant_only_loss", "train_sampling_strategy",
    "dataloader_pin_memory", "logging_steps", "logging_first_step", "save_strategy", "report_to",
)  # fmt: skip

NOTE = """\
# Run {id} once more, by TRL alone, from this folder:  trl sft --config {name}
# Base, rows, mask, order, rate and steps are the same.{note}
"""

DIFFERS = """
# TRL's command line cannot train the embedding rows of the chat tokens beside LoRA, as the run did (trainable_token_indices
# {tokens}), and keeps adapters on a 4-bit base in bf16 where the run keeps fp32: losses are near, not equal."""


def plain_arguments(arguments: trl.SFTConfig) -> dict:
    """Return the values of :data:`ARGUMENTS` as plain data."""
    values = {name: getattr(arguments, name) for name in ARGUMENTS}
    return {name: getattr(value, "value", value) for name, value in values.items()}


@environment.few_progress_bars()
def write_trl_yaml(run: Run, folder: str | Path) -> Path:
    """Write ``sft.yaml`` with the rows and the chat template beside it, and return the path of the YAML.

    Raises:
        InputError: no supervised run, or one of an older version, which kept neither rows nor arguments.
    """
    if "sft" in run.spec:
        start = f": give {run.spec['sft']}" if run.spec["sft"] else ""
        raise InputError(f"{run.id}: a training on preferences or rewards; `trl sft` repeats supervised runs{start}")
    if "trl" not in run.record or not run.rows_file.is_file():
        raise InputError(f"{run.id}: its rows were not kept (an older version); remove the run and train it again")
    if added := run.record.get("template", {}).get("added"):
        raise InputError(
            f"{run.id}: its chat template needs tokens that the base lacks ({', '.join(added)}), and `trl sft` adds none; "
            "export the run and start from that model"
        )
    name = "sft.yaml"
    with outputs.new_folder(folder) as working:
        rows = datasets.Dataset.from_parquet(str(run.rows_file))
        rows.to_parquet(working / "rows.parquet")
        tokenizer = loading.read_pretrained(transformers.AutoTokenizer, run.adapter)
        (working / "chat_template.jinja").write_text(tokenizer.chat_template, encoding="utf-8")
        method = run.spec["method"]
        note = "" if method == "full" else DIFFERS.format(tokens=adapters.chat_token_ids(tokenizer))
        text = NOTE.format(id=run.id, name=name, note=note)
        (working / name).write_text(text + yaml.safe_dump(trl_config(run), sort_keys=False), encoding="utf-8")
    return Path(folder).absolute() / name


def trl_config(run: Run) -> dict:
    """Return the fields of the YAML: base, rows, LoRA and quantisation, and all of :data:`ARGUMENTS`."""
    spec, given = run.spec, run.record["trl"]
    base = Path(spec["base"])
    if gguf_base.is_gguf(base):
        base = hub.fetch(base)
    settings = {
        "model_name_or_path": str(base.absolute()) if base.is_dir() else spec["base"].partition("@")[0],
        "model_revision": spec["revision"] or "main",
        "dtype": "bfloat16" if given["bf16"] else "float16" if given["fp16"] else "float32",
        "datasets": [{"path": "parquet", "data_files": "rows.parquet"}],
        "chat_template_path": "chat_template.jinja",
        "output_dir": "out",
    }
    if spec["method"] == "full":
        settings["dtype"] = "float32"
    else:
        settings |= {"use_peft": True, "lora_r": spec["rank"], "lora_alpha": spec["alpha"] or 2 * spec["rank"]}
        settings |= {"lora_dropout": 0.0, "lora_target_modules": ["all-linear"]}
    if spec["method"] == "qlora":
        settings |= {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "use_bnb_nested_quant": True}
    return settings | given
