"""The command bench: measure the speed that data/bench.md and data/bench_gpu.md report."""

from pathlib import Path
from typing import Annotated

import typer

from workbench.errors import InputError


def bench(
    out: Annotated[
        Path | None, typer.Option(help="File to write; default: data/bench.md or data/bench_gpu.md.")
    ] = None,
    gpu: Annotated[
        bool, typer.Option("--gpu", help="Train models of 1 B and 8 B parameters on a GPU instead.")
    ] = False,
    base: Annotated[
        str | None,
        typer.Option(
            help="Train and score this base model on the CPU instead, and write its section of data/bench.md."
        ),
    ] = None,
) -> None:
    """Measure how fast grids, training and scoring are, compared with other ways to run them.

    Takes about 25 minutes on an idle machine on which all notebooks have been run.
    """
    from workbench import hub, outputs, profiles
    from workbench.data import reading
    from workbench.environment import ROOT
    from workbench.experiments import bench_base, bench_gpu
    from workbench.experiments.bench import from_a_full_store, measure, memory, page
    from workbench.models import loading
    from workbench.pocket import tasks

    if out is not None:
        outputs.require_new(out)
    if base and (gpu or loading.default_device() == "cuda"):
        raise InputError("bench --base measures a CPU: leave out --gpu, and hide the GPU (CUDA_VISIBLE_DEVICES=)")
    if gpu:
        if loading.default_device() != "cuda":
            raise InputError("bench --gpu: torch finds no CUDA device here")
        text = bench_gpu.page(bench_gpu.measure())
    else:
        p = profiles.get("pocket")
        given = reading.load(p.tuning).rows, tasks.evaluation("dev")
        if base:
            folder = str(hub.fetch(base))
            text = bench_base.section(folder, bench_base.measure(folder, *given))
        else:
            text = page(measure(str(p.base), *given), memory(str(p.base), *given), from_a_full_store())
    ours = ROOT / "data" / ("bench_gpu.md" if gpu else "bench.md")
    whole = bench_base.with_section(ours.read_text(encoding="utf-8"), text) if base and out is None else text
    out = outputs.write_file(out or ours, whole, replace=out is None)
    typer.echo(f"{text}\n{out}: written")
