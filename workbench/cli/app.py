"""The command line: `workbench --help`.

Heavy libraries are imported inside the commands, so that help and a typing error cost no seconds.
"""

import errno
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from typer.core import TyperGroup

import workbench
from workbench.cli import runs
from workbench.errors import InputError


class _Group(TyperGroup):
    """Turns what a user can cause into one line and an exit code."""

    def invoke(self, ctx):
        try:
            return super().invoke(ctx)
        except InputError as error:
            _stop(f"error: {error}", 2)
        except KeyboardInterrupt:
            _stop("stopped; call again to go on", 130)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
                raise
            _stop(f"error: {error.filename or 'disk'}: {error.strerror}; free some space or write elsewhere", 2)


def _stop(line: str, code: int) -> None:
    sys.stdout.flush()
    if os.environ.get("LOCAL_RANK", "0") == "0":  # of several processes that train together, one on each machine
        typer.echo(line, err=True)
    raise typer.Exit(code)


os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")


app = typer.Typer(
    cls=_Group,
    help=workbench.__doc__,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


Source = Annotated[str, typer.Argument(metavar="DATA", help="File (.json, .jsonl, .csv, .parquet), folder or Hub id.")]


@app.command()
def pretrain(
    out: Annotated[Path, typer.Argument(help="Folder for the model.")] = Path("build/pocket-base"),
    tokens: Annotated[
        int | None, typer.Option(help="Training tokens; the default is that of the shipped model.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of corpus and weights.")] = 0,
) -> None:
    """Make the pocket base model again from nothing, measure its gates, write its card; called again after a stop, it goes on."""
    from workbench.pocket import base_model, model_card

    size = {} if tokens is None else {"tokens": tokens}
    if not out.exists():
        base_model.pretrain(out, base_model.PretrainSpec(seed=seed, **size))
    typer.echo(f"{out}: trained; measuring the gates")
    for gate in model_card.write_card(out):
        typer.echo(f"{gate.verdict:<18}{gate.text}: {gate.evidence}, wanted {gate.region.text}")


@app.command()
def sft(
    source: Source,
    base: Annotated[str | None, typer.Option(help="Model folder or Hub id; the default is the pocket base.")] = None,
    method: Annotated[str, typer.Option(help="qlora, lora or full.")] = "qlora",
    epochs: Annotated[float, typer.Option(help="Passes over the data.")] = 3.0,
    max_length: Annotated[int, typer.Option(help="Tokens a row; longer ones are cut, and cost memory.")] = 512,
    learning_rate: Annotated[
        float | None, typer.Option(help="The default is the best for the method, small models.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the held-out rows, their order and the adapter's start.")] = 0,
    hold_out: Annotated[float, typer.Option(help="Share of the rows kept from training to measure on.")] = 0.1,
    drop_bad: Annotated[bool, typer.Option("--drop-bad", help="Leave unusable rows out instead of stopping.")] = False,
    samples: Annotated[int, typer.Option(help="Held-out prompts to show answers to.")] = 3,
    report_to: Annotated[
        str,
        typer.Option(help="Tracker that gets the log too: tensorboard, trackio, wandb; none is the run store alone."),
    ] = "none",
) -> None:
    """Tune a base model on your own data: what was recognised, what is wrong with it, loss before and after, answers."""
    from workbench import distributed
    from workbench.cli import training

    spec = {"method": method, "epochs": epochs, "max_length": max_length, "learning_rate": learning_rate, "seed": seed}
    for line in training.tune_lines(source, base, spec, hold_out, drop_bad, samples, report_to):
        if distributed.is_main_process():
            typer.echo(line)


@app.command()
def dpo(
    source: Source,
    run: Annotated[str | None, typer.Option(help="SFT run to go on from: its id, or the beginning of it.")] = None,
    loss: Annotated[str, typer.Option(help="sigmoid, ipo, sigmoid_norm, or sft: chosen answers alone.")] = "sigmoid",
    beta: Annotated[float, typer.Option(help="Higher stays nearer to the SFT model.")] = 0.1,
    epochs: Annotated[float, typer.Option(help="Passes over the pairs.")] = 1.0,
    max_steps: Annotated[int | None, typer.Option(help="Steps of 16 pairs, for a short try.")] = None,
    max_length: Annotated[int, typer.Option(help="Tokens of prompt and answer; longer ones are cut.")] = 512,
    learning_rate: Annotated[float, typer.Option(help="Far below that of the SFT, or answers fall apart.")] = 5e-5,
    hold_out: Annotated[float, typer.Option(help="Share of the pairs kept from training to ask.")] = 0.1,
    drop_bad: Annotated[bool, typer.Option("--drop-bad", help="Leave out unusable and equal pairs.")] = False,
    samples: Annotated[int, typer.Option(help="Held-out prompts to show answers to.")] = 3,
) -> None:
    """Go on with a tuned model on preference pairs: what is wrong with them, what the training did, answers."""
    if run is None:
        raise InputError("DPO goes on from an SFT run: name one with --run; `workbench runs list` shows them")
    from workbench.cli import training

    spec = {"loss": loss, "beta": beta, "epochs": epochs, "max_steps": max_steps, "max_length": max_length}
    spec["learning_rate"] = learning_rate
    for line in training.dpo_lines(source, runs.find_run(run), spec, hold_out, drop_bad, samples):
        typer.echo(line)


@app.command()
def select(
    source: Source,
    by: Annotated[str, typer.Option(help="random, longest, perplexity, ifd, deita, less or distinct.")] = "ifd",
    size: Annotated[int, typer.Option(help="Rows to choose.")] = 100,
    base: Annotated[str | None, typer.Option(help="Model that judges; the default is the pocket base.")] = None,
    good: Annotated[str | None, typer.Option(help="Rows known to be good, for deita and less: a file.")] = None,
    out: Annotated[Path | None, typer.Option(help="File (.jsonl) for the chosen rows.")] = None,
    drop_bad: Annotated[bool, typer.Option("--drop-bad", help="Leave unusable rows out instead of stopping.")] = False,
    show: Annotated[int, typer.Option(help="Rows to show of the picked and of the dropped.")] = 5,
) -> None:
    """Choose rows of your own data by one of the methods of notebook 05, and see what is picked and what is dropped."""
    from workbench.cli import selection

    for line in selection.select_rows(source, by, size, base, good, out, drop_bad, show):
        typer.echo(line)


@app.command()
def run(
    names: Annotated[list[str] | None, typer.Argument(help="Notebooks or forks; none means the whole series.")] = None,
    profile: Annotated[
        str | None,
        typer.Option(help="pocket (CPU, no network), gpu or gpu-small; the default is what the notebook says."),
    ] = None,
) -> None:
    """Execute notebooks top to bottom."""
    from workbench.experiments import notebooks

    if not _ran(notebooks.run_notebooks(names or (), profile)):
        raise typer.Exit(1)


def _ran(outcomes: Iterator) -> bool:
    """Say how each notebook ended, as soon as it has; whether all ran to their end."""
    good = True
    for outcome in outcomes:
        typer.echo(f"{outcome.name:<24}{outcome.seconds:6.0f} s  {outcome.error or 'ok'}  {outcome.path}")
        good = good and not outcome.error
    return good


@app.command()
def report(
    readme: Annotated[bool, typer.Option("--readme", help="Fill the README's table of claims instead.")] = False,
) -> None:
    """Write what was executed as pages to open in a browser."""
    from workbench import environment
    from workbench.plots.report import build, cover, fill

    if readme:
        path = environment.ROOT / "README.md"
        text = fill(path)
        path.write_text(text, encoding="utf-8")
        typer.echo(f"{path}: table of claims written")
        if "scorecard.png" in text:
            typer.echo(f"{cover()}: picture written")
    else:
        typer.echo(f"open {build()}")


@app.command()
def bench(
    out: Annotated[Path | None, typer.Option(help="File to write: data/bench.md or data/bench_gpu.md.")] = None,
    gpu: Annotated[bool, typer.Option("--gpu", help="Trainings of 1 B and 8 B models on a GPU instead.")] = False,
) -> None:
    """Measure how fast grids, training and scoring are against other ways; about twenty-five minutes on a machine that does nothing else, once all
    notebooks have run."""
    from workbench import profiles
    from workbench.data import reading
    from workbench.experiments import bench_gpu
    from workbench.experiments.bench import from_a_full_store, measure, memory, page
    from workbench.models import loading
    from workbench.pocket import tasks

    if gpu:
        if loading.default_device() != "cuda":
            raise InputError("bench --gpu: torch finds no CUDA device here")
        text = bench_gpu.page(bench_gpu.measure())
    else:
        p = profiles.get("pocket")
        given = str(p.base), reading.load(p.tuning).rows, tasks.evaluation("dev")
        text = page(measure(*given), memory(*given), from_a_full_store())
    out = out or Path("data/bench_gpu.md" if gpu else "data/bench.md")
    out.write_text(text, encoding="utf-8")
    typer.echo(f"{text}\n{out}: written")


@app.command()
def fork(
    notebook: Annotated[str, typer.Argument(help="Notebook to start from, e.g. 05_data_quality or 05.")],
    name: Annotated[str, typer.Argument(help="Name of the fork.")],
    settings: Annotated[list[str] | None, typer.Option("--set", help="A parameter, as key=value. Repeatable.")] = None,
    execute: Annotated[bool, typer.Option("--run", help="Run the fork at once.")] = False,
) -> None:
    """Copy a notebook with other parameters."""
    from workbench.experiments import notebooks

    path = notebooks.fork_notebook(notebook, name, dict(map(_pair, settings or [])))
    typer.echo(f"{path}: written")
    if not execute:
        typer.echo(f"next: workbench run {name}")
    elif _ran(notebooks.run_notebooks([name])):
        typer.echo(f"next: workbench diff {notebook} {name}")
    else:
        raise typer.Exit(1)


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not (equals and key.strip()):
        raise InputError(f"--set {text!r}: write it as key=value")
    return key.strip(), value


@app.command()
def diff(
    a: Annotated[str, typer.Argument(help="Notebook or fork, by name or path.")],
    b: Annotated[str, typer.Argument(help="The one to compare with it.")],
) -> None:
    """Show what changed between two runs of a notebook: parameters, effects, verdicts."""
    from workbench.experiments import comparison

    found = comparison.diff(a, b)
    runs.table(f"parameters: {a} (a) against {b} (b)", found.parameters)
    runs.table("claims", found.claims.drop(columns="flipped"))
    flipped = found.claims.loc[found.claims["flipped"], "claim"].tolist()
    typer.echo(f"flipped verdicts: {', '.join(flipped) or 'none'}")


app.add_typer(runs.runs_app, name="runs")


app.command("eval")(runs.evaluate)


app.command()(runs.export)
