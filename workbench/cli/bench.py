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
) -> None:
    """Measure how fast grids, training and scoring are, compared with other ways to run them.

    Takes about 25 minutes on an idle machine on which all notebooks have been run.
    """
    from workbench import outputs, profiles
    from workbench.data import reading
    from workbench.environment import ROOT
    from workbench.experiments import bench_gpu
    from workbench.experiments.bench import from_a_full_store, measure, memory, page
    from workbench.models import loading
    from workbench.pocket import tasks

    if out is not None:
        outputs.require_new(out)
    if gpu:
        if loading.default_device() != "cuda":
            raise InputError("bench --gpu: torch finds no CUDA device here")
        text = bench_gpu.page(bench_gpu.measure())
    else:
        p = profiles.get("pocket")
        given = str(p.base), reading.load(p.tuning).rows, tasks.evaluation("dev")
        text = page(measure(*given), memory(*given), from_a_full_store())
    ours = ROOT / "data" / ("bench_gpu.md" if gpu else "bench.md")
    out = outputs.write_file(out or ours, text, replace=out is None)
    typer.echo(f"{text}\n{out}: written")
