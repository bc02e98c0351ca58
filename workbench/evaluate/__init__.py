"""Score a model's replies, and say with intervals what the scores mean."""

from workbench.evaluate.benchmarks import benchmark, compare_benchmarks
from workbench.evaluate.cross_evaluation import Task, best_mode, cross_evaluate
from workbench.evaluate.curves import can_fit_curve, exchange_rate, fit_curve, flattens_at
from workbench.evaluate.prompt_variants import (
    TEMPLATES,
    AskedModel,
    PromptVariant,
    by_request,
    few_shot_turns,
    foreign_template,
    score_variants,
    variant_effects,
    with_system_prompt,
)
from workbench.evaluate.samples import pass_at_k, rate_pairs, sample_replies
from workbench.evaluate.scoring import drift, forgetting, kl_divergence, score, score_base, score_run, text_loss
from workbench.evaluate.stats import Interval, compare, crossed, difference, estimate, intervals, range_over_runs
from workbench.evaluate.tool_use import calculator, converse, look_up, run_call

__all__ = [
    "AskedModel",
    "Interval",
    "PromptVariant",
    "TEMPLATES",
    "Task",
    "benchmark",
    "best_mode",
    "by_request",
    "calculator",
    "can_fit_curve",
    "compare",
    "compare_benchmarks",
    "converse",
    "cross_evaluate",
    "crossed",
    "difference",
    "drift",
    "estimate",
    "exchange_rate",
    "few_shot_turns",
    "fit_curve",
    "flattens_at",
    "foreign_template",
    "forgetting",
    "intervals",
    "kl_divergence",
    "look_up",
    "pass_at_k",
    "range_over_runs",
    "rate_pairs",
    "run_call",
    "sample_replies",
    "score",
    "score_base",
    "score_run",
    "score_variants",
    "text_loss",
    "variant_effects",
    "with_system_prompt",
]
