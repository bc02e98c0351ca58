"""Reinforcement learning with TRL: a model answers prompts, a reward gives each reply a number, and replies above their group get likelier.

GRPO (Shao et al. 2024, arXiv 2402.03300) and its relatives, from a supervised run or from a base model; what the model was at the
start is the reference of the KL penalty. The rewards are those of :mod:`workbench.rewards`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
import transformers
import trl

from workbench import distributed, environment, hub, recipes
from workbench.config import RLSpec
from workbench.data import content, reading
from workbench.models import adapters, embedding_rows, generation, loading, logprobs, requirements
from workbench.rewards import Reward
from workbench.store import Run, Store
from workbench.train import disk, preference, rl_inputs, rollouts, supervised
from workbench.train.trainer import (
    attach_tracker,
    dtype_begun,
    fix_trl_trainer,
    memory_arguments,
    remember_dtype,
    require_no_leaks_once,
    require_tracker,
    run_to_end,
    save_run,
    to_trl,
    trainer_arguments,
)

OF_BASE = ("base", "revision", "method", "rank")
"""Fields of a spec that a start from a run does not use."""

EXACT_KL, ROUNDED_KL = 1e-6, 1e-3
"""KL divergence at the first step, in nats per token, that rounding can make in fp32 on a CPU, and elsewhere."""


def rl(
    spec: RLSpec,
    rows: Iterable[dict],
    *,
    reward: str | Run | Reward,
    start: Run | None = None,
    watch: Mapping[str, str | Run | Reward] | None = None,
    evaluation: Iterable[dict] | None = None,
    lengths: Sequence[int] | None = None,
    store: Store | None = None,
    quiet: bool = False,
    save_every: float = 20.0,
    report_to: str = "none",
) -> Run:
    """Train a model on what a reward thinks of its replies, and return the finished run; a run that is stored is returned at once.

    The run's log has one row per step, or per `updates` steps: reward, reward_std, kl (nats per token), entropy, frac_reward_zero_std (share of
    the groups whose rewards are all equal), clip_ratio/region_mean (share of tokens whose ratio is clipped), completions/mean_length
    (tokens) and clipped_ratio (share of replies without an end), and rewards/NAME/mean for the reward and each of `watch`.

    Args:
        spec: method and settings.
        rows: prompts: rows with ``messages``, whose last answer is not read, or with ``prompt``; a verifiable reward needs their ``check``.
        reward: name of a reward (:data:`workbench.rewards.NAMED`, "keyword:WORD"), a run of a reward model, or a function of replies and rows;
            a function is known by its source and by what it uses (:func:`workbench.reward_identity.source_of`); a line is printed where
            it uses objects of libraries, which are no part of that.
        start: the run to start from, by SFT, DPO or RL; None starts from `spec.base`.
        watch: name → a reward that is logged and has no weight: the true score beside the one that is trained on.
        evaluation: rows that will judge the model; the training stops before it begins if they are among the prompts.
        lengths: of the prompts in tokens, where the caller has measured them (:func:`workbench.train.rl_inputs.prompt_lengths`).
        store: where the run is kept; None takes the default store.
        quiet: show no progress bar.
        save_every, report_to: as in :func:`workbench.train.supervised.sft`.

    Raises:
        InputError: a reward fails, or is the same for all replies; a prompt is missing, too long, leaked, or has no check; the start is unclear.
        RuntimeError: the KL divergence at the first step shows that the reference is not the start.
        KeyboardInterrupt: stopped; the same call continues.
    """
    given, rows = rl_inputs.named_rewards(reward, watch or {}), list(rows)
    evaluation = None if evaluation is None else list(evaluation)
    rl_inputs.require_start(spec, start)
    rows = rl_inputs.asked_rows(rows, rl_inputs.verifiable(given))
    require_tracker(report_to)
    for line in rl_inputs.unnamed_lines(given):
        environment.print_once(line)
    store = store or Store()
    require_no_leaks_once(rows, evaluation, store)
    name, *watched = given
    settings = {key: value for key, value in dataclasses.asdict(spec).items() if not (start and key in OF_BASE)}
    if start is None:
        folder = hub.fetch(spec.base, spec.revision)
        settings |= {
            "base": loading.fingerprint(folder),
            "revision": None,
            "template": loading.describe_format(folder)[0].key(),
        }
    key = {
        "spec": settings,
        "start": start and start.id,
        "rows": content.content_hash(rows),
        "read": rl_inputs.read_by(given, rows),
        "reward": rl_inputs.identity(given[name]),
        "watch": {each: rl_inputs.identity(given[each]) for each in watched},
        "recipe": recipes.RL,
    }
    return store.obtain(
        "rl", key, lambda work: _train(work, spec, start, rows, given, lengths, quiet, save_every, report_to)
    )


@environment.few_progress_bars()
def _train(
    work: Path,
    spec: RLSpec,
    start: Run | None,
    rows: list[dict],
    given: dict,
    lengths: Sequence[int] | None,
    quiet: bool,
    save_every: float,
    report_to: str,
) -> dict:
    """Train in the folder ``work`` and return the run's record."""
    from workbench.train.callbacks import CheckpointCallback, RewardCallback

    # Before a model is read: exact checks on all prompts, for a check may be wrong in any; a function, which may be slow, on those of a step.
    verifiable = rl_inputs.verifiable(given)
    exact = {name: each for name, each in given.items() if each in verifiable}
    quick = {name: each for name, each in given.items() if not isinstance(each, Run) and name not in exact}
    for functions, some in ((exact, rows), (quick, rows[: spec.batch_size])):
        rollouts.describe(rl_inputs.functions_of(functions), some, rl_inputs.references(some))
    functions = rl_inputs.functions_of(given)
    came_from = (
        {name: start.spec[name] for name in OF_BASE[:3]}
        if start
        else {name: getattr(spec, name) for name in OF_BASE[:3]}
    )
    folder = hub.fetch(came_from["base"], came_from["revision"])
    if start is None:  # the commit of the default branch now: it may have moved when the run is opened again
        came_from["revision"] = hub.snapshot_commit(folder) or spec.revision
    dataset = to_trl(reading.to_dataset([{"messages": row["messages"]} for row in rows]))
    weights = disk.saved_weights(start.adapter) if start else disk.weights_to_train(folder, spec.method, spec.rank)
    disk.require_disk(work, weights, folder, dataset.data.nbytes)
    model, tokenizer = load_start(spec, start, dtype_begun(work))
    lengths = lengths or rl_inputs.prompt_lengths(rows, tokenizer, loading.context_length(model), spec.max_new_tokens)
    rl_inputs.require_spread(spec, model, tokenizer, rows, functions)
    callback, used = CheckpointCallback(save_every, spec.updates), remember_dtype(work, model.dtype)
    exactly = model.device.type == "cpu" and model.dtype == torch.float32
    watching = RewardCallback(EXACT_KL if exactly else ROUNDED_KL)
    trainer = make_trainer(
        spec, model, tokenizer, rows, functions, work / "checkpoints", [callback, watching], lengths, quiet
    )
    attach_tracker(trainer, report_to, work)
    log = run_to_end(trainer, callback, work)
    if came_from["method"] != "full" and "ref" in trainer.model.peft_config:
        trainer.model.delete_adapter("ref")
    save_run(trainer, tokenizer, dataset, work)
    sampled = log.dropna(subset=["reward"])
    last = sampled.tail(max(1, len(sampled) // 10))
    return {
        "spec": {**dataclasses.asdict(spec), **came_from, **preference.rank_of(model),
                 "sft": start and start.id, "reward": next(iter(given)), "watch": [*given][1:]},
        "environment": {**environment.describe(), "dtype": used, "seconds": float(log["seconds"].iloc[-1])},
        "scores": {
            "rows": len(rows), "steps": trainer.state.global_step, "tokens": int(log["num_tokens"].iloc[-1]),
            "generated": round(sampled["completions/mean_length"].sum() * spec.batch_size),
            "loss": float(log["loss"].iloc[-1]), "reward_first": float(sampled["reward"].iloc[0]), "reward": float(last["reward"].mean()),
            "kl": float(last["kl"].mean()) if spec.beta else None,
        },
    }  # fmt: skip


def load_start(
    spec: RLSpec, start: Run | None, dtype: torch.dtype | None = None
) -> tuple[torch.nn.Module, transformers.PreTrainedTokenizerBase]:
    """Return the model that a training starts from, to be trained, and its tokenizer; a base gets a new adapter that changes nothing yet.

    Args:
        dtype: as for :func:`workbench.models.adapters.load_tuned`.
    """
    if start:
        return adapters.load_tuned(start, trainable=True, dtype=dtype)
    folder = hub.fetch(spec.base, spec.revision)
    requirements.require_method(folder, spec.method)
    tokenizer, chat_format = loading.load_formatted(folder)
    model = adapters.load_to_train(folder, spec.method, tokenizer, chat_format, dtype)
    if spec.method != "full":
        import peft

        transformers.set_seed(spec.seed)
        model = peft.get_peft_model(model, adapters.lora_config(model, tokenizer, spec.rank))
    model.generation_config.eos_token_id = generation.end_tokens(tokenizer)
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model, tokenizer


def make_trainer(
    spec: RLSpec,
    model: torch.nn.Module,
    tokenizer: transformers.PreTrainedTokenizerBase,
    rows: Sequence[dict],
    functions: Mapping[str, Reward],
    out: Path,
    callbacks: list[transformers.TrainerCallback],
    lengths: Sequence[int],
    quiet: bool = True,
) -> rollouts.RLTrainer:
    """Return TRL's trainer for this spec and a model of :func:`load_start`, which is its own reference.

    Args:
        functions: name → reward; the first is trained on, the others are logged.
        lengths: of the prompts, in tokens.
    """
    adapted = preference.method_of(model)[0] != "full"
    start = {
        name: value.detach().clone() for name, value in model.named_parameters() if adapted and value.requires_grad
    }
    prompts, ends = rollouts.draw_prompts(spec, rows), generation.end_tokens(tokenizer)
    packed = model.device.type == "cpu" and logprobs.keeps_rows_apart(model)
    settings = trainer_arguments(spec, model, len(prompts), out, quiet) | _sizes(spec, model, lengths, packed)
    settings |= {
        "logging_steps": spec.updates,
        "num_iterations": spec.updates,
        "num_generations": spec.completions,
        "max_completion_length": spec.max_new_tokens,
        "temperature": spec.temperature,
        "beta": spec.beta,
        "reward_weights": [1.0] + [0.0] * (len(functions) - 1),
        "shuffle_dataset": False,  # draw_prompts has done it
        "disable_dropout": True,
        "pad_to_multiple_of": None,
    }
    if spec.loss == "rloo":
        kind, arguments = trl.RLOOTrainer, trl.RLOOConfig(**settings)
    else:
        kind, arguments = (
            trl.GRPOTrainer,
            trl.GRPOConfig(**settings, loss_type=spec.loss, scale_rewards=spec.advantages),
        )
    named = [rollouts.as_trl(name, reward, rows, tokenizer, ends) for name, reward in functions.items()]
    trainer = kind(
        model=model,
        reward_funcs=named,
        args=arguments,
        train_dataset=prompts,
        processing_class=tokenizer,
        callbacks=callbacks,
    )
    fix_trl_trainer(trainer)
    trainer.aux_loss_enabled = False  # of a mixture's router: no part of the reward
    preference.switch_off_dropout(trainer.model)
    _restore(trainer, start, tokenizer)
    rollouts.install(trainer, spec, packed)
    return trainer


def _sizes(spec: RLSpec, model, lengths: Sequence[int], packed: bool) -> dict:
    """Return the arguments that split a step into what is fast on a CPU, and into what memory holds on a GPU."""
    if model.device.type == "cuda":
        longest = max(lengths) + spec.max_new_tokens
        return memory_arguments(spec, model, *preference.method_of(model), longest, spec.batch_size)
    if spec.micro_batch_size or not packed:
        return {}
    # Half of the longest reply: most are short, and what is read at a time may as well be a little more or less.
    length = sum(lengths) / len(lengths) + spec.max_new_tokens / 2
    return supervised.micro_batches(distributed.per_process(spec.batch_size), length)


def _restore(trainer: rollouts.RLTrainer, start: dict[str, torch.Tensor], tokenizer) -> None:
    """Make policy and reference the start again: see :func:`workbench.train.preference.restore_reference`.

    TRL reads the reference of a model without an adapter from its folder, without the embedding rows that chat tokens were given.
    """
    if trainer.ref_model is not None:
        preference.switch_off_dropout(trainer.ref_model)
        embedding_rows.with_rows(trainer.ref_model, tokenizer)
        trainer.ref_model.load_state_dict(trainer.model.state_dict())
    elif trainer.beta and start:
        preference.restore_reference(trainer.model, start)
    else:
        for name, value in start.items():
            trainer.model.get_parameter(name).data.copy_(value)
