"""Measure what is faster, and by how much: ratios within one run on one machine, both sides measured in turn."""

import dataclasses
import datetime
import math
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import datasets
import pandas as pd
import torch
import torch.nn.functional as F
from joblib import Parallel, delayed
from peft import LoraConfig
from transformers import PreTrainedModel, get_cosine_schedule_with_warmup
from trl import SFTConfig, SFTTrainer

from workbench import environment
from workbench.config import SFTSpec
from workbench.data import reading
from workbench.errors import InputError
from workbench.evaluate import scoring
from workbench.experiments import grid, notebooks
from workbench.models import adapters, loading, logprobs
from workbench.models.memory import GIB, peak_bytes
from workbench.store import Store
from workbench.train import supervised
from workbench.train.trainer import to_trl


@dataclass(frozen=True)
class Size:
    """The size of the benchmark; the defaults take about twenty minutes on 2 cores."""

    cells: int = 45
    """Trainings in the grid."""
    steps: int = 30
    """Optimizer steps of each training, of four rows: a third of those of an ablation."""
    rows: int = 240
    """Training rows."""
    prompts: int = 48
    """Evaluation prompts per training, and for the scoring."""
    repeats: int = 2
    """How often each side is measured."""


# The settings of TRL's examples/notebooks/sft_trl_lora_qlora.ipynb that work on a CPU. Left out, since they need CUDA: fp16, the paged
# 8-bit optimizer, Liger kernels, activations moved to the CPU. Its adapters are in bf16, as TRL makes them on a 4-bit base.
NOTEBOOK = {
    "per_device_train_batch_size": 1,
    "gradient_accumulation_steps": 4,
    "activation_checkpointing": True,
    "logging_steps": 1,
    "warmup_steps": 5,
    "learning_rate": 2e-4,
}


@environment.few_progress_bars()
def measure(
    base: str, rows: datasets.Dataset, evaluation: Sequence[dict], size: Size = Size(), workers: int = 2
) -> pd.DataFrame:
    """Run the benchmark.

    Returns:
        One row per comparison: what, unit, ours and theirs (medians), ratio (median over the turns), least, greatest, wanted, and for
        trainings the held-out loss afterwards, ours and theirs.
    """
    rows, evaluation = rows.select(range(size.rows)), list(evaluation)[: size.prompts]
    with tempfile.TemporaryDirectory() as folder:
        at = Path(folder)
        return pd.DataFrame(
            [
                _grid(base, rows, evaluation, size, workers, at),
                *_training(base, rows, reading.to_dataset(evaluation), size, at),
                *_scoring(base, rows, evaluation, size, at),
            ]
        )


def _grid(base: str, rows: datasets.Dataset, evaluation: list[dict], size: Size, workers: int, at: Path) -> dict:
    spec = {"base": base, "method": "qlora", "max_steps": size.steps, "batch_size": 4}
    cells = grid.make_cells(spec, rows, {"all": {}}, range(size.cells))

    def seconds(parallel: int) -> float:
        with tempfile.TemporaryDirectory(dir=at) as store:
            start = time.monotonic()
            grid.run_grid(cells, evaluation, parallel=parallel, store=Store(store), quiet=True)
            return time.monotonic() - start

    warm = grid.make_cells({**spec, "max_steps": 1}, rows, {"all": {}}, [0])
    grid.run_grid(
        warm, evaluation, store=Store(at / "warm"), quiet=True
    )  # what happens once per process is not measured
    ours, theirs = in_turn([lambda: seconds(workers), lambda: seconds(1)], size.repeats)
    what = f"a grid of {size.cells} runs in {workers} processes with one thread each, against one after another in one process"
    return ratio_row(what, "runs per minute", 60 * size.cells, ours, theirs, "1.7 or more on 2 cores")


def _training(base: str, rows: datasets.Dataset, held_out: datasets.Dataset, size: Size, at: Path) -> list[dict]:
    tokenizer = loading.load_tokenizer(base)
    spec = SFTSpec(base=base, epochs=1, batch_size=8)
    tokens, losses = 0, {}

    def seconds(name: str, make: Callable[..., SFTTrainer], run: Callable[[SFTTrainer], object]) -> float:
        nonlocal tokens
        trainer = make(loading.load_base(base, quantize=True, tokenizer=tokenizer))
        tokens = sum(len(ids) for ids in trainer.train_dataset["input_ids"])
        start = time.monotonic()
        run(trainer)
        taken = time.monotonic() - start
        losses[name] = logprobs.supervised_loss(trainer.model, tokenizer, held_out)
        return taken

    def of_trl(**settings) -> Callable[..., SFTTrainer]:
        def make(model) -> SFTTrainer:
            cpu = model.device.type == "cpu"
            adapter = LoraConfig(
                r=spec.rank, lora_alpha=2 * spec.rank, target_modules="all-linear", task_type="CAUSAL_LM"
            )
            arguments = SFTConfig(str(at), use_cpu=cpu, bf16=not cpu, num_train_epochs=1, save_strategy="no", report_to="none",
                                  assistant_only_loss=True, disable_tqdm=True, dataloader_pin_memory=not cpu, **settings)  # fmt: skip
            return SFTTrainer(model, arguments, train_dataset=to_trl(rows), processing_class=tokenizer,
                              peft_config=adapter)  # fmt: skip

        return make

    def ours(model) -> SFTTrainer:
        return supervised.make_trainer(
            spec, adapters.unpacked(model), tokenizer, supervised.tokenized(tokenizer, rows), at, []
        )

    names = ("TRL's defaults", "the settings of TRL's QLoRA notebook", "a plain PyTorch loop on our batches")
    others = ((of_trl(), _train), (of_trl(**NOTEBOOK), _train), (ours, plain_loop))
    sides = {"ours": (ours, _train)} | dict(zip(names, others, strict=True))
    own, *taken = in_turn([lambda side=side: seconds(side[0], *side[1]) for side in sides.items()], size.repeats)
    what = f"QLoRA SFT on {size.rows} rows with our settings, against"
    wanted = ("4 or more", "4 or more", "0.8 or more")
    return [
        ratio_row(f"{what} {name}", "tokens per second", tokens, own, other, least)
        | {"loss": losses["ours"], "theirs_loss": losses[name]}
        for name, other, least in zip(names, taken, wanted, strict=True)
    ]


def _train(trainer: SFTTrainer) -> None:
    trainer.train()


def plain_loop(trainer: SFTTrainer) -> None:
    """Train without a trainer: the same batches, AdamW, clipping and learning rates in the fewest lines."""
    model, settings = trainer.model, trainer.args
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    batches = trainer.get_train_dataloader()
    optimizer = torch.optim.AdamW(weights, lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True)
    schedule = get_cosine_schedule_with_warmup(optimizer, math.ceil(settings.warmup_steps * len(batches)), len(batches))
    model.train()
    for batch in batches:
        labels = batch.pop("labels")[:, 1:]
        logits = model(**batch, use_cache=False).logits[:, :-1]
        F.cross_entropy(logits.flatten(0, 1), labels.flatten()).backward()
        torch.nn.utils.clip_grad_norm_(weights, settings.max_grad_norm)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()


def memory(
    base: str, rows: datasets.Dataset, evaluation: Sequence[dict], size: Size = Size(), workers: int = 2
) -> float:
    """Return the peak memory of a grid's worker process that trains and scores, in GiB."""
    spec = SFTSpec(base=base, max_steps=size.steps, batch_size=8)
    jobs = [
        (dataclasses.replace(spec, seed=seed), rows.select(range(size.rows)), list(evaluation)[: size.prompts])
        for seed in range(workers)
    ]
    with tempfile.TemporaryDirectory() as folder:
        return max(Parallel(workers, inner_max_num_threads=1)(delayed(_peak)(*job, folder) for job in jobs))


def _peak(spec: SFTSpec, rows: datasets.Dataset, evaluation: list[dict], folder: str) -> float:
    store = Store(folder)
    scoring.score_run(supervised.sft(spec, rows, store=store, quiet=True), evaluation, store)
    return peak_bytes("cpu") / GIB


def from_a_full_store(names: Iterable[str] = ()) -> dict[str, float]:
    """Return the seconds of each notebook by itself, and of `all` together, when the store holds everything.

    Raises:
        InputError: a notebook fails.
    """
    names = sorted(outcome.name for outcome in _executed(names))
    taken = {name: _executed([name])[0].seconds for name in names}
    start = time.monotonic()
    _executed(names)
    return taken | {"all": time.monotonic() - start}


def _executed(names: Iterable[str]) -> list[notebooks.Outcome]:
    done = list(notebooks.run_notebooks(names, out="build/bench"))
    for outcome in done:
        if outcome.error:
            raise InputError(f"{outcome.name}: {outcome.error}")
    return done


def _scoring(base: str, rows: datasets.Dataset, evaluation: list[dict], size: Size, at: Path) -> list[dict]:
    spec = SFTSpec(base=base, method="qlora", max_steps=size.steps, batch_size=8)
    run = supervised.sft(spec, rows, store=Store(at / "scoring"), quiet=True)

    def seconds(model: PreTrainedModel, batch_size: int | None) -> float:
        start = time.monotonic()
        scoring.score(model, tokenizer, evaluation, batch_size=batch_size)
        return time.monotonic() - start

    folded, tokenizer = adapters.load_any(run)  # as a grid scores it
    trained, _ = adapters.load_tuned(run)
    ours, same, plain = in_turn(
        [lambda: seconds(folded, None), lambda: seconds(folded, 1), lambda: seconds(trained, 1)], size.repeats
    )
    what = f"scoring {len(evaluation)} prompts in our batches, against one at a time"
    return [
        ratio_row(
            f"{what} with the adapter on its 4-bit base",
            "prompts per second",
            len(evaluation),
            ours,
            plain,
            "10 or more",
        ),
        ratio_row(f"{what} with the same unfolded model", "prompts per second", len(evaluation), ours, same),
    ]


def in_turn(sides: Sequence[Callable[[], float]], repeats: int) -> list[list[float]]:
    """Call each side `repeats` times, and return its results; the order is reversed each time, so that a drift of the machine affects all equally."""
    found = [[] for _ in sides]
    for turn in range(repeats):
        for side in range(len(sides))[:: (-1) ** turn]:
            found[side].append(sides[side]())
    return found


def ratio_row(what: str, unit: str, amount: float, ours: list[float], theirs: list[float], wanted: str = "") -> dict:
    """Return a row of the table, from seconds."""
    ratios = [their / our for our, their in zip(ours, theirs, strict=True)]
    return {
        "what": what,
        "unit": unit,
        "ours": amount / statistics.median(ours),
        "theirs": amount / statistics.median(theirs),
        "ratio": statistics.median(ratios),
        "least": min(ratios),
        "greatest": max(ratios),
        "wanted": wanted,
    }


def page(table: pd.DataFrame, gib: float, reruns: Mapping[str, float], size: Size = Size()) -> str:
    """Return the table in Markdown, with memory (see :func:`memory`), notebooks (:func:`from_a_full_store`) and the machine."""
    machine = environment.describe()
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    lines = [
        "# Benchmark",
        "",
        f"Made by `workbench bench` on {datetime.date.today()}: {machine['gpu'] or machine['cpu']}, {os.cpu_count()} cores, "
        f"{machine['threads']} threads in the main process, Python {machine['python']}, {versions}.",
        f"Medians of {size.repeats} turns, in each of which the sides are measured one after the other; in brackets the lowest and the highest "
        "ratio. Held-out loss, in nats per token, after one pass over the same rows.",
        "",
        "| what | ours | theirs | unit | ratio | wanted | held-out loss, ours and theirs |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in table.itertuples(index=False):
        ratio = f"{row.ratio:.2f} [{row.least:.2f}, {row.greatest:.2f}]"
        losses = "" if pd.isna(row.loss) else f"{row.loss:.3f}, {row.theirs_loss:.3f}"
        lines.append(
            f"| {row.what} | {row.ours:,.4g} | {row.theirs:,.4g} | {row.unit} | {ratio} | {row.wanted} | {losses} |"
        )
    lines += ["", f"Peak memory of one worker process of the grid: {gib:.2f} GiB (wanted: 1.5 or less)."]
    if reruns:
        alone = {name: seconds for name, seconds in reruns.items() if name != "all"}
        each = ", ".join(f"{name.split('_')[0]}: {seconds:.0f} s" for name, seconds in alone.items())
        lines += [
            "",
            f"Notebooks from a full store (wanted: 20 s or less each, 90 s all): {each}; one after the other {sum(alone.values()):.0f} s, "
            f"{notebooks.at_once()} at a time, as `make run` does it, {reruns['all']:.0f} s.",
        ]
    return "\n".join(lines) + "\n"
