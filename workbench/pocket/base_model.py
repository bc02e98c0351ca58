"""Train the pocket base model from nothing: corpus → tokenizer → `LlamaForCausalLM`, in two stretches, on a CPU or a GPU."""

import hashlib
import json
import platform
import shutil
import time
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
import transformers
from joblib import Parallel, cpu_count, delayed
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from workbench.errors import InputError
from workbench.pocket import corpus
from workbench.pocket.facts import facts
from workbench.pocket.tokenizer import CONTEXT, train_tokenizer

CHARACTERS = 2.95
"""Characters written for each token wanted: somewhat more than a token has, so that the text suffices."""
LOSS_BEFORE = 0.8869
"""Nats per token of the base of 2026-11-23 on the held-out text: what a new base must not exceed."""


@dataclass(frozen=True)
class PretrainSpec:
    """What the base model is made from; `data/pocket-base` is `PretrainSpec()`."""

    tokens: int = 60_000_000
    """Training tokens of the first stretch; each is seen once. Fewer and the form is there but the facts are not."""
    last_tokens: int = 20_000_000
    """Tokens of the last stretch, whose mix drills what the first shows too seldom (corpus.THEN)."""
    hidden: int = 256
    layers: int = 6
    heads: int = 8
    intermediate: int = 704
    vocabulary: int = 4096
    words_from: int = 50_000
    """Documents that the tokenizer is learned from; their mix has no made-up words, which would take the place of real ones."""
    batch: int = 16
    """Blocks of 512 tokens per step."""
    learning_rate: float = 2e-3
    decay: float = 0.45
    """The share of the steps, at the end, over which the learning rate falls to 2%."""
    last_learning_rate: float = 1e-3
    """It falls over the last nine tenths of its stretch."""
    initial: float = 0.02
    """Standard deviation of the weights at the start."""
    seed: int = 0

    def stretches(self) -> list["Stretch"]:
        """Return the two stretches of the training. Text of seed + 1 in the mix GENRES is what the loss is measured on."""
        return [
            Stretch(self.tokens, self.seed, corpus.FIRST, self.learning_rate, self.decay, self.batch),
            Stretch(self.last_tokens, self.seed + 2, corpus.THEN, self.last_learning_rate, 0.9, self.batch),
        ]


@dataclass(frozen=True)
class Stretch:
    """A part of the training: what is read, at which rate, and over which share of its steps the rate falls."""

    tokens: int
    seed: int
    mix: dict
    learning_rate: float
    decay: float
    batch: int

    def texts(self, part: int) -> list[str]:
        """Return the documents of one of the corpus.PARTS writers of the stretch."""
        characters = int(self.tokens * CHARACTERS)
        return corpus.texts(characters // corpus.PARTS, f"{self.seed}/{part}", self.mix)


def model_config(spec: PretrainSpec, tokenizer: PreTrainedTokenizerFast) -> LlamaConfig:
    """A small Llama with tied embeddings."""
    return LlamaConfig(
        vocab_size=spec.vocabulary,
        hidden_size=spec.hidden,
        intermediate_size=spec.intermediate,
        num_hidden_layers=spec.layers,
        num_attention_heads=spec.heads,
        num_key_value_heads=spec.heads,
        max_position_embeddings=CONTEXT,
        initializer_range=spec.initial,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def token_ids(texts: list[str], tokenizer: PreTrainedTokenizerFast) -> np.ndarray:
    """Documents as one row of token ids, each behind an <|endoftext|>."""
    ids: list[int] = []
    for start in range(0, len(texts), 10_000):
        for document in tokenizer(texts[start : start + 10_000])["input_ids"]:
            ids.append(tokenizer.bos_token_id)
            ids += document
    return np.array(ids, dtype=np.uint16)


def blocks(ids: np.ndarray, tokens: int) -> torch.Tensor:
    """Cut token ids into blocks: (blocks, CONTEXT), as many as fit into `tokens`."""
    count = min(len(ids), tokens) // CONTEXT
    return torch.from_numpy(ids[: count * CONTEXT].astype(np.int64)).view(count, CONTEXT)


def written(stretch: Stretch, tokenizer: PreTrainedTokenizerFast, jobs: int = 1) -> tuple[torch.Tensor, list[str]]:
    """Write what a stretch reads, its parts in `jobs` processes: the blocks, and the digest of each part's texts."""

    def part(number: int) -> tuple[np.ndarray, str]:
        texts = stretch.texts(number)
        return token_ids(texts, tokenizer), corpus.digest(texts)

    ids, digests = zip(*Parallel(n_jobs=jobs)(delayed(part)(n) for n in range(corpus.PARTS)), strict=True)
    return blocks(np.concatenate(ids), stretch.tokens), list(digests)


def pretrain(out: Path, spec: PretrainSpec = PretrainSpec()) -> Path:
    """Train the base model into the folder `out`; a run that was killed continues from its last checkpoint.

    The work lies in OUT.partial until it is done. Raises InputError when `out` is there already or the work belongs to another spec.
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

    learned_from = (text for _, text in islice(corpus.documents(spec.seed), spec.words_from))
    tokenizer = train_tokenizer(learned_from, spec.vocabulary)
    held_out = blocks(token_ids(corpus.texts(400_000, spec.seed + 1), tokenizer), 100_000)
    before, told = None, []
    for number, stretch in enumerate(spec.stretches(), 1):
        folder = work / f"stretch-{number}"
        if not (folder / "model").exists():
            train(folder, spec, stretch, held_out, tokenizer, before)
        before = folder / "model"
        told.append(json.loads((folder / "told.json").read_text()))

    tokenizer.save_pretrained(before)
    facts_of_run = {"facts": len(facts()), "stretches": told, "spec": asdict(spec)}
    (before / "training.json").write_text(json.dumps(facts_of_run, indent=1) + "\n")
    before.rename(out)
    shutil.rmtree(work)
    return out


def train(
    folder: Path,
    spec: PretrainSpec,
    stretch: Stretch,
    held_out: torch.Tensor,
    tokenizer: PreTrainedTokenizerFast,
    before: Path | None,
) -> None:
    """One stretch, from new weights or from those in the folder `before`: FOLDER/model, and what is told of it in FOLDER/told.json.

    AdamW, warm-up, a stable phase and a linear decay (Hu et al. 2024, MiniCPM). A plain loop and not transformers' Trainer: on a GPU a step of
    so small a model takes 4 ms, of which the Trainer makes 18.
    """
    folder.mkdir(parents=True, exist_ok=True)
    transformers.set_seed(spec.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    config = model_config(spec, tokenizer)
    model = LlamaForCausalLM.from_pretrained(before, dtype=torch.float32) if before else LlamaForCausalLM(config)
    model.to(device).train()
    jobs = min(corpus.PARTS, cpu_count()) if stretch.tokens > 1_000_000 else 1
    data, digests = written(stretch, tokenizer, jobs)
    steps = len(data) // stretch.batch
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(spec.seed))
    rows = data[order].to(device)
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.95), weight_decay=0.05, fused=True)
    half = (
        torch.cuda.is_bf16_supported(False) if device.type == "cuda" else torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )
    compiled = torch.compile(model) if steps > 1000 else model  # compiling takes 20 s and brings a third

    checkpoint, done, spent, losses = folder / "checkpoint.pt", 0, 0.0, []
    if checkpoint.exists():
        kept = torch.load(checkpoint, map_location=device)
        model.load_state_dict(kept["model"])
        optimizer.load_state_dict(kept["optimizer"])
        done, spent, losses = kept["done"], kept["spent"], kept["losses"]
    started = time.time()
    for step in range(done, steps):
        for group in optimizer.param_groups:
            group["lr"] = stretch.learning_rate * factor(step, steps, stretch.decay)
        part = slice(step * stretch.batch, (step + 1) * stretch.batch)
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            loss = compiled(input_ids=rows[part], labels=rows[part], use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses = [*losses[-49:], loss.detach()]
        if (step + 1) % max(1, steps // 40) == 0:
            print(f"step {step + 1:,} of {steps:,}: loss {torch.stack(losses).mean():.3f}", flush=True)
        if (step + 1) % SAVE_EVERY == 0:
            told = {"done": step + 1, "spent": spent + time.time() - started, "losses": losses}
            torch.save(
                {"model": model.state_dict(), "optimizer": optimizer.state_dict(), **told}, f"{checkpoint}.writing"
            )
            Path(f"{checkpoint}.writing").replace(checkpoint)

    told = {
        "tokens": data.numel(),
        "train_loss": round(torch.stack(losses).mean().item(), 4),
        "minutes": round((spent + time.time() - started) / 60, 1),
        "parameters": model.num_parameters(),
        "corpus": hashlib.sha256("".join(digests).encode()).hexdigest(),
        "parts": digests,
        "genres": len(stretch.mix),
        "peak": stretch.learning_rate,
        "decay": stretch.decay,
        "machine": torch.cuda.get_device_name()
        if device.type == "cuda"
        else f"{platform.machine()}, {torch.get_num_threads()} threads",
        "versions": {"torch": torch.__version__.split("+")[0], "transformers": transformers.__version__},
    }
    # Stored in bf16: half the size; what is measured is measured on what is stored.
    model.to(torch.bfloat16).save_pretrained(folder / "model.writing")
    told["held_out_loss"] = round(mean_loss(model.float(), held_out), 4)
    (folder / "told.json").write_text(json.dumps(told, indent=1))
    (folder / "model.writing").rename(folder / "model")


SAVE_EVERY = 500
"""Steps from one checkpoint to the next."""


def factor(step: int, steps: int, decay: float) -> float:
    """Return the share of the peak rate at a step: up over the first 100 steps, stable, and down to 2% over the last `decay`."""
    warm, falling = min(100, max(1, steps // 10)), max(1, int(decay * steps))
    return min((step + 1) / warm, 1.0, max(0.02, (steps - step) / falling))


@torch.no_grad()
def mean_loss(model: LlamaForCausalLM, rows: torch.Tensor) -> float:
    """Return the mean loss over blocks, in nats per token."""
    total = sum(
        model.eval()(input_ids=ids, labels=ids).loss.item() * len(ids) for ids in rows.to(model.device).split(8)
    )
    return total / len(rows)
