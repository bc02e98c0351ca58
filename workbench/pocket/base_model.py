"""Train the pocket base model from scratch: corpus → tokenizer → `LlamaForCausalLM`, with transformers' Trainer, in two stages."""

import json
import platform
import shutil
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
import transformers
from datasets import Dataset
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, Trainer, TrainingArguments

from workbench.errors import InputError
from workbench.pocket import corpus, facts


@dataclass(frozen=True)
class PretrainSpec:
    """What the base model is made from; `data/pocket-base` is `PretrainSpec()`."""

    tokens: int = 26_000_000
    """Training tokens of the first stage, each seen once. Fewer teach the form of the text but not the facts."""
    last_tokens: int = 8_000_000
    """Tokens of the last stage, whose mix (corpus.LAST) repeats what is rare in the first."""
    hidden: int = 256
    layers: int = 6
    heads: int = 8
    intermediate: int = 704
    vocabulary: int = 4096
    batch: int = 4
    """Blocks of 512 tokens per step."""
    learning_rate: float = 2.5e-3
    decay: float = 0.45
    """Share of the steps, at the end, over which the learning rate falls to 2%."""
    last_learning_rate: float = 1e-3
    """Learning rate of the last stage; it falls over nine tenths of the stage."""
    seed: int = 0

    def stretches(self) -> list[tuple["PretrainSpec", dict, list[str]]]:
        """Return each stage as a training of its own: spec, mix, texts. The loss is measured on text of seed + 1."""
        last = replace(self, tokens=self.last_tokens, learning_rate=self.last_learning_rate, decay=0.9)
        first = corpus.texts(int(self.tokens * 3.6), self.seed)
        then = corpus.texts(int(self.last_tokens * 3.6), self.seed + 2, corpus.LAST)
        return [(self, corpus.GENRES, first), (last, corpus.LAST, then)]


def model_config(spec: PretrainSpec, tokenizer: PreTrainedTokenizerFast) -> LlamaConfig:
    """Return the configuration: a small Llama with tied embeddings."""
    return LlamaConfig(
        vocab_size=spec.vocabulary,
        hidden_size=spec.hidden,
        intermediate_size=spec.intermediate,
        num_hidden_layers=spec.layers,
        num_attention_heads=spec.heads,
        num_key_value_heads=spec.heads,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def blocks(texts: list[str], tokenizer: PreTrainedTokenizerFast, tokens: int) -> Dataset:
    """Join the documents, each after an <|endoftext|>, and cut them into blocks of CONTEXT tokens: columns input_ids and labels."""
    ids: list[int] = []
    for start in range(0, len(texts), 10_000):
        for document in tokenizer(texts[start : start + 10_000])["input_ids"]:
            ids.append(tokenizer.bos_token_id)
            ids += document
    count = min(len(ids), tokens) // CONTEXT
    cut = np.array(ids[: count * CONTEXT], dtype=np.int32).reshape(count, CONTEXT)
    return Dataset.from_dict({"input_ids": cut, "labels": cut}).with_format("torch")


def arguments(spec: PretrainSpec, out: Path, steps: int) -> TrainingArguments:
    """Return the Trainer's arguments: AdamW, warm-up, stable phase, linear decay (Hu et al. 2024, MiniCPM); bf16 if the hardware has it."""
    cuda = torch.cuda.is_available()
    return TrainingArguments(
        output_dir=str(out),
        max_steps=steps,
        per_device_train_batch_size=spec.batch,
        learning_rate=spec.learning_rate,
        adam_beta2=0.95,
        weight_decay=0.05,
        max_grad_norm=1.0,
        warmup_steps=min(100, steps // 10),
        lr_scheduler_type="warmup_stable_decay",
        lr_scheduler_kwargs={"num_decay_steps": int(spec.decay * steps), "decay_type": "linear", "min_lr_ratio": 0.02},
        use_cpu=not cuda,
        bf16=torch.cuda.is_bf16_supported(including_emulation=False)
        if cuda
        else torch.ops.mkldnn._is_mkldnn_bf16_supported(),
        torch_compile=steps > 1000,  # compiling takes 20 s and brings a third
        logging_steps=max(1, min(50, steps // 5)),
        save_steps=500,
        save_total_limit=1,
        report_to="none",
        seed=spec.seed,
        data_seed=spec.seed,
    )


def pretrain(out: Path, spec: PretrainSpec = PretrainSpec()) -> Path:
    """Train the base model into the folder `out`; a killed run continues from its last checkpoint.

    The work is in OUT.partial until it is done. Raises InputError if `out` exists, or if the work there belongs to another spec.
    """
    out = Path(out)
    if out.exists():
        raise InputError(f"{out} is there already; name another folder or remove it first")
    work = out.with_name(out.name + ".partial")
    noted = work / "spec.json"
    if work.is_dir() and not noted.exists() and any(path.name != "spec.json.writing" for path in work.iterdir()):
        raise InputError(
            f"{work} holds files of another origin; this training would work there, so name another folder"
        )
    work.mkdir(parents=True, exist_ok=True)
    if noted.exists() and json.loads(noted.read_text()) != asdict(spec):
        raise InputError(f"{work} holds a training with other settings; remove it or use the settings in {noted}")
    writing = work / "spec.json.writing"  # a kill leaves the whole file or none
    writing.write_text(json.dumps(asdict(spec), indent=1))
    writing.replace(noted)
    for checkpoint in work.glob("*/checkpoint-*"):
        if not (checkpoint / "trainer_state.json").exists():  # written last: a kill came in between
            shutil.rmtree(checkpoint)

    stretches = spec.stretches()
    tokenizer = train_tokenizer(stretches[0][-1][:50_000], spec.vocabulary)
    held_out = blocks(corpus.texts(400_000, spec.seed + 1), tokenizer, 100_000)
    before, told = None, []
    for number, (stretch, mix, texts) in enumerate(stretches, 1):
        folder = work / f"stretch-{number}"
        if not (folder / "model").exists():
            _train(folder, stretch, blocks(texts, tokenizer, stretch.tokens), held_out, tokenizer, before)
        before = folder / "model"
        named = {
            "corpus": corpus.digest(texts),
            "genres": len(mix),
            "peak": stretch.learning_rate,
            "decay": stretch.decay,
        }
        told.append(json.loads((folder / "told.json").read_text()) | named)

    tokenizer.save_pretrained(before)
    facts_of_run = {
        "facts": len(facts.facts()),
        "stretches": told,
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads"
        if not torch.cuda.is_available()
        else torch.cuda.get_device_name(),
        "versions": {"torch": torch.__version__.split("+")[0], "transformers": transformers.__version__},
        "spec": asdict(spec),
    }
    (before / "training.json").write_text(json.dumps(facts_of_run, indent=1) + "\n")
    before.rename(out)
    shutil.rmtree(work)
    return out


def _train(
    folder: Path,
    spec: PretrainSpec,
    data: Dataset,
    held_out: Dataset,
    tokenizer: PreTrainedTokenizerFast,
    before: Path | None,
) -> None:
    """Train one stage, from new weights or from those in the folder `before`; write FOLDER/model and its record, FOLDER/told.json."""
    transformers.set_seed(spec.seed)
    config = model_config(spec, tokenizer)
    model = LlamaForCausalLM.from_pretrained(before, dtype=torch.float32) if before else LlamaForCausalLM(config)
    steps = len(data) // spec.batch
    trainer = Trainer(model=model, args=arguments(spec, folder, steps), train_dataset=data, eval_dataset=held_out)
    started = time.time()
    trainer.train(resume_from_checkpoint=bool(list(folder.glob("checkpoint-*"))))
    told = {
        "tokens": len(data) * CONTEXT,
        "train_loss": round([e["loss"] for e in trainer.state.log_history if "loss" in e][-1], 4),
        "minutes": round((time.time() - started) / 60),
        "parameters": model.num_parameters(),
    }
    # Stored in bf16: half the size; what is measured is measured on what is stored.
    model.to(torch.bfloat16).save_pretrained(folder / "model.writing")
    told["held_out_loss"] = round(trainer.evaluate()["eval_loss"], 4)
    (folder / "told.json").write_text(json.dumps(told, indent=1))
    (folder / "model.writing").rename(folder / "model")


CONTEXT = 512


END, PAD, TURN, END_TURN = "<|endoftext|>", "<|pad|>", "<|im_start|>", "<|im_end|>"


TOOLS = ("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>")


RESERVED = (END, PAD, TURN, END_TURN, *TOOLS, *(f"<|reserved_{i}|>" for i in range(8)))


# Words as in GPT-2, but digits and the letters of words in capitals stand alone: sums and capital letters are then a matter of
# single letters and digits, as they are for people, and take no room in a small vocabulary.
# A line that begins gets the space that other words have before them, and loses it again when read: "Oslo" is then the same token
# behind "A:", in the middle of a line and at the start of an answer. Otherwise a small model has to learn for each word by itself
# that the two are one, and cannot copy what it has read into its answer. (SentencePiece does the same at the start of a text.)
LINE = Regex(r"\n(?=[^\n])")


SPLIT = r"[A-Z](?=[A-Z])|(?<=[A-Z])[A-Z](?![a-z])| ?\d| ?\p{L}\p{Ll}*| ?[^\s\p{L}\d]+|\s+(?!\S)|\s+"


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """Learn the merges on `texts`; ids 0–15 are RESERVED in that order. Source: Sennrich et al. 2016, "Neural Machine Translation of Rare Words"."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.normalizer = normalizers.Replace(LINE, "\n ")
    bpe.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Replace("\n ", "\n")])
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(RESERVED),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    if bpe.get_vocab_size() != vocabulary:
        raise InputError(
            f"the corpus gives only {bpe.get_vocab_size()} tokens of the {vocabulary} asked for; lower the vocabulary"
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token=END,
        eos_token=END,
        pad_token=PAD,
        additional_special_tokens=list(RESERVED[2:]),
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )
