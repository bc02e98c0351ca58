"""Commands that train: pretrain, sft, dpo."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from workbench.cli import runs
from workbench.cli.data import Base, Columns, DropBad, Source, Split, Template, base_or_default, load
from workbench.cli.spec_fields import Config, DryRun, Settings, spec_fields
from workbench.errors import InputError

HoldOut = Annotated[float, typer.Option(help="Share of the rows held out from training, to measure on.")]
Samples = Annotated[int, typer.Option(min=0, help="Held-out prompts whose answers are shown.")]
Tracker = Annotated[str, typer.Option(help="Also send the log to a tracker: tensorboard, trackio or wandb.")]


def pretrain(
    out: Annotated[Path, typer.Argument(help="Folder for the model.")] = Path("build/pocket-base"),
    tokens: Annotated[
        int | None, typer.Option(min=1, help="Training tokens; default: as many as the shipped model.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of the corpus and of the initial weights.")] = 0,
) -> None:
    """Train the pocket base model from scratch, check it and write its model card. After a stop, run it again to continue."""
    from workbench.pocket import base_model, model_card

    size = {} if tokens is None else {"tokens": tokens}
    if not out.exists():
        base_model.pretrain(out, base_model.PretrainSpec(seed=seed, **size))
    elif not (out / "training.json").is_file():
        raise InputError(f"{out} exists already and is not a model of this command; name another folder")
    typer.echo(f"{out}: trained; checking what it knows")
    for gate in model_card.write_card(out):
        typer.echo(f"{gate.verdict:<18}{gate.text}: {gate.evidence}, required: {gate.region.text}")


def sft(
    source: Source,
    base: Base = None,
    template: Template = None,
    method: Annotated[str | None, typer.Option(help="qlora, lora or full; default: qlora.")] = None,
    epochs: Annotated[float | None, typer.Option(help="Passes over the data; default: 3.")] = None,
    max_length: Annotated[
        int | None, typer.Option(help="Tokens per row, default 512; longer rows are cut. More costs memory.")
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="Peak learning rate; default: the best one for the method on small models.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed of the held-out rows, their order and the new weights.")
    ] = None,
    settings: Settings = None,
    config: Config = None,
    split: Split = None,
    columns: Columns = None,
    hold_out: HoldOut = 0.1,
    drop_bad: DropBad = False,
    samples: Samples = 3,
    report_to: Tracker = "none",
    dry_run: DryRun = False,
) -> None:
    """Fine-tune a base model on your own instruction data.

    Shows the format it recognised, problems in the data, the held-out loss before and after, and sample answers.
    """
    from workbench.config import SFTSpec

    options = {"base": base, "template": template, "method": method, "epochs": epochs, "max_length": max_length}
    options |= {"learning_rate": learning_rate, "seed": seed}
    fields = spec_fields(SFTSpec, options, settings, config)
    spec = SFTSpec(**{**fields, "base": base_or_default(fields.get("base"))})
    require_fraction(hold_out)
    from workbench.cli import training_output

    loaded = load(source, split, columns, drop_bad)
    print_lines(training_output.sft_lines(spec, loaded, hold_out, drop_bad, samples, report_to, dry_run))


def dpo(
    source: Source,
    run: Annotated[str | None, typer.Option(help="SFT run to start from: its id, or the beginning of its id.")] = None,
    loss: Annotated[
        str | None,
        typer.Option(
            help="sigmoid (DPO, default), sigmoid+sft, ipo, sigmoid_norm, kto, or sft: train on the chosen answers only."
        ),
    ] = None,
    beta: Annotated[
        float | None,
        typer.Option(help="KL penalty, default 0.1: a higher one keeps the model closer to the SFT model."),
    ] = None,
    epochs: Annotated[float | None, typer.Option(help="Passes over the pairs; default: 1.")] = None,
    max_steps: Annotated[int | None, typer.Option(help="Stop after this many steps, for a trial.")] = None,
    max_length: Annotated[
        int | None, typer.Option(help="Tokens of prompt and answer, default 512; longer ones are cut.")
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="Peak learning rate, default 5e-5; far below that of the SFT.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the held-out pairs and of the order of the others.")] = None,
    settings: Settings = None,
    config: Config = None,
    split: Split = None,
    columns: Columns = None,
    hold_out: HoldOut = 0.1,
    drop_bad: DropBad = False,
    samples: Samples = 3,
    dry_run: DryRun = False,
) -> None:
    """Continue training a fine-tuned model on preference pairs.

    Shows problems in the pairs, what the training changed, and sample answers before and after.
    """
    if run is None:
        raise InputError("DPO starts from an SFT run: name one with --run; `workbench runs list` lists them")
    from workbench.config import DPOSpec

    options = {"loss": loss, "beta": beta, "epochs": epochs, "max_steps": max_steps, "max_length": max_length}
    options |= {"learning_rate": learning_rate, "seed": seed}
    spec = DPOSpec(**spec_fields(DPOSpec, options, settings, config))
    require_fraction(hold_out)
    start = runs.find_run(run)
    from workbench.cli import training_output

    loaded = load(source, split, columns, drop_bad)
    print_lines(training_output.dpo_lines(spec, loaded, start, hold_out, drop_bad, samples, dry_run))


def require_fraction(fraction: float) -> None:
    """Raise InputError where --hold-out is no share of the rows."""
    if not 0 < fraction < 1:
        raise InputError(f"--hold-out {fraction} must be between 0 and 1; 0.1 holds out every tenth row")


def print_lines(lines: Iterator[str]) -> None:
    """Print lines as they come; of processes that train together, only the first one prints."""
    from workbench import distributed

    for line in lines:
        if distributed.is_main_process():
            typer.echo(line)
