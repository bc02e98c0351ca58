"""Standard benchmarks through EleutherAI's lm-evaluation-harness, IFEval first, on the very model that was tuned: adapter on its base.

An extra: ``pip install -e ".[eval]"``. IFEval (Zhou et al. 2023, arXiv 2311.07911) checks instructions by programs, as the pocket evaluation
does. Others to call by name: "hellaswag" and "arc_challenge" (what the base knew), "truthfulqa_mc2", "gsm8k_cot_zeroshot"; ``lm-eval ls tasks``
lists them all.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import datasets
import httpx
import pandas as pd

from workbench import environment, hub
from workbench.errors import InputError, first_line
from workbench.evaluate import stats
from workbench.models import adapters, loading
from workbench.store import Run, Store

ROW = ("task", "index", "prompt", "response", "instructions")  # columns of a table that are no metric


def benchmark(
    run: Run | str,
    tasks: Sequence[str] = ("ifeval",),
    limit: int | None = None,
    *,
    new_tokens: int = 512,
    batch_size: int = 16,
    include: str | Path | None = None,
    store: Store | None = None,
) -> pd.DataFrame:
    """Let a model do benchmark tasks in its chat template, greedily; kept in the store.

    Args:
        run: a finished run, or a base model (a folder or Hub id).
        limit: prompts a task, the first ones; None takes all (IFEval has 541: about 2 points of standard error).
        new_tokens: limit of a reply; IFEval asks for long ones, lower is faster and fails more. At most half the context.
        include: folder with task files (YAML) of your own.

    Returns:
        A row a prompt, as :func:`workbench.evaluate.stats.estimate` and ``difference`` take it for one task: task, index, prompt, response,
        instructions (how many the prompt has, for IFEval), and a column a metric.

    Raises:
        InputError: lm-eval is not installed, a task that it does not know, or data that can be had neither from Hub nor cache.
    """
    tasks = list(tasks)
    source = run if isinstance(run, Run) else loading.fingerprint(hub.fetch(run))
    key = [source, tasks, limit, new_tokens, str(include or "")]

    def make() -> pd.DataFrame:
        return _evaluate(*adapters.load_any(run), tasks, limit, new_tokens, batch_size, include)

    return (store or Store()).cached(key, "lm-eval", make)


def compare_benchmarks(
    asked: Mapping[str, Run | str], tasks: Sequence[str], limit: int | None = None, **settings
) -> pd.DataFrame | None:
    """:func:`benchmark_summary` of several models, a row a task, metric and model; None and a printed line where there are no tasks.

    Args:
        asked: name → run or base model.
        tasks, limit, settings: as in :func:`benchmark`.
    """
    if not tasks:
        print("this profile has no standard benchmarks")
        return None
    parts = [
        benchmark_summary(benchmark(model, tasks, limit, **settings)).assign(model=name)
        for name, model in asked.items()
    ]
    return (
        pd.concat(parts)
        .set_index(["task", "metric", "model"])
        .sort_index(level=[0, 1], sort_remaining=False, kind="stable")
    )


def benchmark_summary(table: pd.DataFrame) -> pd.DataFrame:
    """A row a task and metric: estimate, low, high (95% over prompts), prompts.

    IFEval's metrics of instructions weigh each instruction alike, so that a prompt with three counts three times.
    """
    found = []
    for task, part in table.groupby("task", sort=False):
        for metric in [name for name in part.columns if name not in ROW and part[name].notna().any()]:
            whole = stats.estimate(part, metric)
            if metric.startswith("inst_level") and part[metric].nunique() > 1:  # else weights change nothing
                whole = _weighted(part[metric], part["instructions"])
            found.append({"task": task, "metric": metric, **vars(whole)})
    return pd.DataFrame(found)[["task", "metric", "estimate", "low", "high", "prompts"]]


def _weighted(values: pd.Series, weights: pd.Series) -> stats.Interval:
    """Mean with weights, and its interval: prompts are drawn anew, with their weights."""
    both = pd.concat([values * weights, weights], axis=1).to_numpy().T
    drawn = stats.resampled(both[:, None, :])
    low, high = pd.Series(drawn[:, 0] / drawn[:, 1]).quantile([0.025, 0.975])
    return stats.Interval(both[0].sum() / both[1].sum(), low, high, len(values), 1)


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
    room = model.config.get_text_config().max_position_embeddings // 2
    try:
        result = simple_evaluate(
            # the model object: given a path, lm-eval would load the adapter on a base with other embeddings
            model=HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch_size),
            tasks=tasks,
            task_manager=manager,
            limit=limit,
            apply_chat_template=True,
            gen_kwargs={"max_gen_toks": min(new_tokens, room)},
            bootstrap_iters=0,
        )
    except LookupError as error:
        if "punkt" not in str(error):
            raise
        raise InputError("IFEval needs nltk's sentences: python -m nltk.downloader punkt_tab") from None
    except (OSError, datasets.exceptions.DatasetsError, httpx.HTTPError) as error:
        raise InputError(
            f"the data of {', '.join(tasks)} are neither here nor to be had ({first_line(error)}); check the network"
        ) from None
    return _table(result)


def _table(result: dict) -> pd.DataFrame:
    """lm-eval's samples as a row a task and prompt. Where a task reads a reply in several ways (filters), each is a metric of its own."""
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
                    "response": reply if isinstance(reply, str) else "",  # else likelihoods of given answers
                    "instructions": 1,
                },
            )
            for metric in result["higher_is_better"][task]:
                value = sample[metric]
                if isinstance(value, list):
                    row["instructions"], value = len(value), sum(value) / len(value)
                row[metric if sample["filter"] == "none" else f"{metric} ({sample['filter']})"] = float(value)
    return pd.DataFrame(list(rows.values()))
