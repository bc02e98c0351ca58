"""Run standard benchmarks, such as IFEval, on a base model or on a run's adapter, with EleutherAI's lm-evaluation-harness.

It is an extra: ``pip install -e ".[eval]"``. IFEval (Zhou et al. 2023, arXiv 2311.07911) checks instructions by programs, as the pocket
evaluation does. Other tasks: "hellaswag" and "arc_challenge" (knowledge of the base), "truthfulqa_mc2", "gsm8k_cot_zeroshot";
``lm-eval ls tasks`` lists them all.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import datasets
import httpx
import numpy as np
import pandas as pd

from workbench import environment, hub
from workbench.errors import InputError, first_line
from workbench.evaluate import stats
from workbench.models import adapters, generation, loading, precision
from workbench.runs import file_hash
from workbench.store import Run, Store, digest

ROW = ("task", "index", "prompt", "response", "instructions")  # columns of a table that are not metrics


def benchmark(
    run: Run | str,
    tasks: Sequence[str] = ("ifeval",),
    limit: int | None = None,
    *,
    new_tokens: int = 512,
    batch_size: int | None = None,
    include: str | Path | None = None,
    store: Store | None = None,
) -> pd.DataFrame:
    """Score a model on benchmark tasks in its chat template, greedily; the table is kept in the store.

    Args:
        run: a finished run, or a base model (a folder or Hub id).
        tasks: names of lm-eval.
        limit: number of prompts per task, from the first; None takes all (IFEval has 541: a standard error of about 2 points).
        new_tokens: maximum length of a reply, at most half the context. IFEval asks for long replies: a lower limit is faster and fails more.
        batch_size: prompts per batch; higher is faster and takes more memory. None takes 16, and with a large model on a CPU what
            :func:`workbench.models.generation.rows_at_a_time` says.
        include: folder with task files (YAML) of your own.

    Returns:
        One row per prompt, which :func:`workbench.evaluate.stats.estimate` and ``difference`` accept for one task: task, index, prompt,
        response, instructions (of the prompt, for IFEval), and one column per metric.

    Raises:
        InputError: lm-eval is not installed or does not know a task, or the data are neither on the Hub nor in its cache.
    """
    tasks = list(tasks)
    source = run if isinstance(run, Run) else loading.fingerprint(hub.fetch(run))
    key = [source, tasks, limit, new_tokens, _task_files(include) if include else ""]

    def make() -> pd.DataFrame:
        return _evaluate(*adapters.load_any(run), tasks, limit, new_tokens, batch_size, include)

    return (store or Store()).cached(key, "lm-eval", make)


def compare_benchmarks(
    models: Mapping[str, Run | str], tasks: Sequence[str], limit: int | None = None, **settings
) -> pd.DataFrame | None:
    """Return :func:`benchmark_summary` of several models, one row per task, metric and model; without tasks print a line and return None.

    Args:
        models: name → run or base model.
        tasks, limit, settings: as in :func:`benchmark`.
    """
    if not tasks:
        print("this profile has no standard benchmarks")
        return None
    parts = [
        benchmark_summary(benchmark(model, tasks, limit, **settings)).assign(model=name)
        for name, model in models.items()
    ]
    return (
        pd.concat(parts)
        .set_index(["task", "metric", "model"])
        .sort_index(level=[0, 1], sort_remaining=False, kind="stable")
    )


def benchmark_summary(table: pd.DataFrame) -> pd.DataFrame:
    """Return one row per task and metric: estimate, low, high (95% over prompts), prompts.

    IFEval's instruction-level metrics weigh all instructions equally, so that a prompt with three of them counts three times.
    """
    found = []
    for task, part in table.groupby("task", sort=False):
        for metric in [name for name in part.columns if name not in ROW and part[name].notna().any()]:
            whole = stats.estimate(part, metric)
            if (
                metric.startswith("inst_level") and part[metric].nunique() > 1
            ):  # weights change nothing where all are equal
                whole = _weighted(part[metric], part["instructions"])
            found.append({"task": task, "metric": metric, **whole.columns()})
    return pd.DataFrame(found)[["task", "metric", "estimate", "low", "high", "prompts"]]


def _weighted(values: pd.Series, weights: pd.Series) -> stats.Interval:
    """Return the weighted mean of shares with its interval over prompts.

    The ratio of two sums is made linear at the estimate (Cochran, "Sampling Techniques", 1977, section 2.11): the mean is that of one
    number per prompt, and its interval is that of any mean.
    """
    mean = np.average(values, weights=weights)
    linear = mean + weights / weights.mean() * (values - mean)
    return stats.mean_interval(linear.to_numpy()[None], "share")


@environment.few_progress_bars()
def _evaluate(model, tokenizer, tasks, limit, new_tokens, batch_size, include) -> pd.DataFrame:
    try:
        from lm_eval import simple_evaluate  # an extra
        from lm_eval.models.huggingface import HFLM
        from lm_eval.tasks import TaskManager
    except ModuleNotFoundError as error:
        raise InputError(f'benchmarks need lm-eval ({error.name} is missing): pip install -e ".[eval]"') from None
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    manager = TaskManager(include_path=str(include) if include else None)
    if unknown := [task for task in tasks if task not in manager.all_tasks]:
        raise InputError(f"task {unknown[0]!r} is unknown to lm-eval; `lm-eval ls tasks` lists what it knows")
    new_tokens = min(new_tokens, loading.context_length(model) // 2)
    if batch_size is None:
        batch_size = generation.rows_at_a_time(model, 2 * new_tokens) if precision.is_large(model) else 16
    try:
        with generation.one_output_matrix(model):
            result = simple_evaluate(
                # The model itself: given a path, lm-eval would load the adapter on a base without the trained embedding rows.
                model=HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch_size),
                tasks=tasks,
                task_manager=manager,
                limit=limit,
                apply_chat_template=True,
                gen_kwargs={"max_gen_toks": new_tokens},
                bootstrap_iters=0,
            )
    except LookupError as error:
        if "punkt" not in str(error):
            raise
        raise InputError("IFEval needs the sentence splitter of nltk: python -m nltk.downloader punkt_tab") from None
    except (OSError, datasets.exceptions.DatasetsError, httpx.HTTPError) as error:
        raise InputError(
            f"the data of {', '.join(tasks)} are not in the cache and cannot be downloaded ({first_line(error)}); check the network"
        ) from None
    return _table(result)


def _task_files(folder: str | Path) -> str:
    """Return a hash of the names and contents of the files in a folder of tasks."""
    files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
    return digest([[str(path.relative_to(folder)), file_hash(path)] for path in files])


def _table(result: dict) -> pd.DataFrame:
    """Return lm-eval's samples as one row per task and prompt; a task with several filters gets one metric for each of them."""
    rows = {}
    for task, samples in result["samples"].items():
        for sample in samples:
            reply = sample["resps"][0][0]
            row = rows.setdefault(
                (task, sample["doc_id"]),
                {
                    "task": task,
                    "index": sample["doc_id"],
                    "prompt": str(sample["arguments"][0][0]),
                    "response": reply
                    if isinstance(reply, str)
                    else "",  # multiple choice has likelihoods of the given answers
                    "instructions": 1,
                },
            )
            for metric in result["higher_is_better"][task]:
                value = sample[metric]
                if isinstance(value, tuple):  # log-likelihood and length of a text, which are no score of one prompt
                    continue
                if isinstance(value, list):
                    row["instructions"], value = len(value), sum(value) / len(value)
                row[metric if sample["filter"] == "none" else f"{metric} ({sample['filter']})"] = float(value)
    table = pd.DataFrame(list(rows.values()))
    if unscored := [task for task, part in table.groupby("task") if part.drop(columns=[*ROW]).isna().all(axis=None)]:
        raise InputError(
            f"task {unscored[0]} scores whole texts and no single prompt; leave it out, or run it with lm-eval"
        )
    return table
