"""Commands that train: pretrain, sft, dpo."""

from pathlib import Path
from typing import Annotated

import typer

from workbench.cli import runs
from workbench.cli.data import DropBad, Source
from workbench.errors import InputError


def pretrain(
    out: Annotated[Path, typer.Argument(help="Folder for the model.")] = Path("build/pocket-base"),
    tokens: Annotated[int | None, typer.Option(help="Training tokens; default: as many as the shipped model.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the corpus and of the initial weights.")] = 0,
) -> None:
    """Train the pocket base model from scratch, check it and write its model card. After a stop, run it again to continue."""
    from workbench.pocket import base_model, model_card

    size = {} if tokens is None else {"tokens": tokens}
    if not out.exists():
        base_model.pretrain(out, base_model.PretrainSpec(seed=seed, **size))
    typer.echo(f"{out}: trained; checking what it knows")
    for gate in model_card.write_card(out):
        typer.echo(f"{gate.verdict:<18}{gate.text}: {gate.evidence}, required: {gate.region.text}")


def sft(
    source: Source,
    base: Annotated[str | None, typer.Option(help="Model folder or Hub id; default: the pocket base.")] = None,
    method: Annotated[str, typer.Option(help="qlora, lora or full.")] = "qlora",
    epochs: Annotated[float, typer.Option(help="Passes over the data.")] = 3.0,
    max_length: Annotated[int, typer.Option(help="Tokens per row; longer rows are cut. More costs memory.")] = 512,
    learning_rate: Annotated[
        float | None, typer.Option(help="Peak learning rate; default: the best one for the method on small models.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the held-out rows, their order and the new weights.")] = 0,
    hold_out: Annotated[float, typer.Option(help="Share of the rows held out from training, to measure on.")] = 0.1,
    drop_bad: DropBad = False,
    samples: Annotated[int, typer.Option(help="Held-out prompts whose answers are shown.")] = 3,
    report_to: Annotated[
        str, typer.Option(help="Also send the log to a tracker: tensorboard, trackio or wandb.")
    ] = "none",
) -> None:
    """Fine-tune a base model on your own instruction data.

    Shows the format it recognised, problems in the data, the held-out loss before and after, and sample answers.
    """
    from workbench import distributed
    from workbench.cli import training_output

    spec = {"method": method, "epochs": epochs, "max_length": max_length, "learning_rate": learning_rate, "seed": seed}
    for line in training_output.sft_lines(source, base, spec, hold_out, drop_bad, samples, report_to):
        if distributed.is_main_process():
            typer.echo(line)


def dpo(
    source: Source,
    run: Annotated[str | None, typer.Option(help="SFT run to start from: its id, or the beginning of its id.")] = None,
    loss: Annotated[
        str, typer.Option(help="sigmoid (DPO), ipo, sigmoid_norm, or sft: train on the chosen answers only.")
    ] = "sigmoid",
    beta: Annotated[
        float, typer.Option(help="KL penalty: a higher one keeps the model closer to the SFT model.")
    ] = 0.1,
    epochs: Annotated[float, typer.Option(help="Passes over the pairs.")] = 1.0,
    max_steps: Annotated[int | None, typer.Option(help="Stop after this many steps of 16 pairs, for a trial.")] = None,
    max_length: Annotated[int, typer.Option(help="Tokens of prompt and answer; longer ones are cut.")] = 512,
    learning_rate: Annotated[float, typer.Option(help="Peak learning rate; far below that of the SFT.")] = 5e-5,
    hold_out: Annotated[float, typer.Option(help="Share of the pairs held out from training.")] = 0.1,
    drop_bad: DropBad = False,
    samples: Annotated[int, typer.Option(help="Held-out prompts whose answers are shown.")] = 3,
) -> None:
    """Continue training a fine-tuned model on preference pairs.

    Shows problems in the pairs, what the training changed, and sample answers before and after.
    """
    if run is None:
        raise InputError("DPO starts from an SFT run: name one with --run; `workbench runs list` lists them")
    from workbench.cli import training_output

    spec = {"loss": loss, "beta": beta, "epochs": epochs, "max_steps": max_steps, "max_length": max_length}
    spec["learning_rate"] = learning_rate
    for line in training_output.dpo_lines(source, runs.find_run(run), spec, hold_out, drop_bad, samples):
        typer.echo(line)
