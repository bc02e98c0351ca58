"""Do the work of the commands reward-model and rl, and yield what they print, line by line."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import datasets

from workbench import hub, pocket  # noqa: F401  its graders, which rows of the pocket world name
from workbench.cli import dry_run, training_output
from workbench.cli.masks import data_lines
from workbench.config import RewardSpec, RLSpec
from workbench.data import preference_validation, reading, validation
from workbench.data.findings import placed
from workbench.errors import InputError, counted
from workbench.evaluate import samples as sampling
from workbench.evaluate import stats
from workbench.models import loading
from workbench.store import Run
from workbench.train import reinforcement as learning
from workbench.train import reward_models as rating
from workbench.train import rl_inputs


def reward_lines(
    spec: RewardSpec, loaded: reading.Loaded, start: Run, fraction: float, drop_bad: bool, dry: bool = False
) -> Iterator[str]:
    """Train a reward model on the pairs that were read and yield each line to print as soon as it is known.

    Args:
        fraction: share of the pairs held out from training, on which the accuracy is measured.
        drop_bad: leave out pairs that cannot be used.
        dry: only show what would be done, see :mod:`workbench.cli.dry_run`.

    Raises:
        InputError: the pairs cannot be used; raised before anything is trained.
    """
    yield from data_lines(loaded)
    if "chosen" not in loaded.rows.column_names:
        raise InputError(
            f"{loaded.source}: one answer per prompt; a reward model needs preference pairs (chosen, rejected)"
        )
    validation.require_valid(placed(preference_validation.find_unpaired(loaded.rows), loaded.place))
    tokenizer = loading.load_tokenizer(start.adapter)
    rows, findings = training_output.validated(loaded, tokenizer, spec.max_length, drop_bad)
    yield from training_output.finding_lines(findings)
    validation.require_valid(findings)
    rows, held_out = training_output.split(rows, findings, fraction, spec.seed)
    yield f"{'training':<12}reward model from {start.id} on {len(rows):,} pairs, {len(held_out):,} held out"
    if dry:
        yield from dry_run.reward_lines(spec, rows, start)
        return
    run = rating.reward_model(spec, rows, sft_run=start)
    rated = sampling.rate_pairs(run, held_out)
    yield f"{'accuracy':<12}{stats.estimate(rated, 'accurate')} of the held-out pairs (share, 95% interval)"
    longer = (rated["chosen_words"] > rated["rejected_words"]).mean()
    yield f"{'':<12}the chosen answer is the longer one in {longer:.0%} of them"
    yield f"{'run':<12}{run.path}"


def rl_lines(
    spec: RLSpec,
    loaded: reading.Loaded,
    reward: str | Run,
    watch: Mapping[str, str | Run],
    start: Run | None,
    samples: int,
    drop_bad: bool = False,
    dry: bool = False,
) -> Iterator[str]:
    """Train on the prompts that were read and yield each line to print as soon as it is known.

    Args:
        reward, watch, start: as for :func:`workbench.train.reinforcement.rl`.
        samples: how many of the prompts are answered afterwards.
        drop_bad: leave out prompts that cannot be used.
        dry: only show what would be done, see :mod:`workbench.cli.dry_run`.

    Raises:
        InputError: prompts or rewards cannot be used; raised before anything is trained.
    """
    yield from data_lines(loaded)
    rl_inputs.require_start(spec, start)
    verifiable = rl_inputs.verifiable(rl_inputs.named_rewards(reward, watch))
    rows, lengths, notes = _usable(spec, loaded, verifiable, start, drop_bad)
    yield from (f"{'':<12}{note}" for note in notes)
    named = reward.id if isinstance(reward, Run) else reward
    begin = start.id if start else spec.base
    yield f"{'training':<12}{spec.loss} from {begin} on {counted(len(rows), 'prompt')}, reward {named}"
    if dry:
        yield from dry_run.rl_lines(spec, rows, lengths, reward, watch, start)
        return
    run = learning.rl(spec, rows, reward=reward, start=start, watch=watch, lengths=lengths)
    log, found = run.log.dropna(subset=["reward"]), run.scores
    yield f"{'reward':<12}{found['reward_first']:.3f} at the first step, {found['reward']:.3f} in the last tenth"
    for name in run.spec["watch"]:
        values = log[f"rewards/{name}/mean"]
        yield f"{'watched':<12}{name}: {values.iloc[0]:.3f} at the first step, {values.iloc[-1]:.3f} at the last"
    if found["kl"] is not None:
        yield f"{'KL':<12}{found['kl']:.3f} nats per token from the start, in the last tenth"
    yield f"{'replies':<12}{found['generated']:,} tokens; {log['frac_reward_zero_std'].mean():.0%} of the groups without spread"
    yield f"{'run':<12}{run.path}"
    models = {"start": start, "RL": run} if start else {"base": None, "RL": run}
    yield from training_output.answer_lines(models, rl_inputs.asked_rows(rows, verifiable), samples, "data")


def _usable(
    spec: RLSpec, loaded: reading.Loaded, verifiable: Sequence[str], start: Run | None, drop_bad: bool
) -> tuple[datasets.Dataset, list[int], list[str]]:
    """Return the prompts that can be trained on, their lengths in tokens, and a note on the others.

    Raises:
        InputError: others without `drop_bad`, or none is left.
    """
    folder = None if start else hub.fetch(spec.base, spec.revision)
    tokenizer = loading.load_tokenizer(start.adapter) if start else loading.load_formatted(folder)[0]
    context = loading.context_length(folder or hub.fetch(start.spec["base"], start.spec["revision"]))
    problems, lengths = {}, {}
    for i, row in enumerate(loaded.rows):
        try:
            if problem := rl_inputs.unusable(row, verifiable):
                raise InputError(problem)
            lengths[i] = rl_inputs.prompt_length(row, tokenizer, context, spec.max_new_tokens)
        except InputError as error:
            problems[i] = str(error)
    kept = [*lengths]
    if not problems:
        return loaded.rows, [*lengths.values()], []
    kinds = Counter(re.split("[:;] ", problem)[0] for problem in problems.values())
    first, problem = next(iter(problems.items()))
    if not (drop_bad and kept):
        bad = (
            f" ({len(problems):,} of {counted(len(loaded.rows), 'row')} bad; --drop-bad leaves them out)"
            if kept
            else ""
        )
        raise InputError(f"{loaded.place(first)}: {problem}{bad}")
    said = ", ".join(f"{count:,} × {kind}" for kind, count in kinds.most_common(3))
    note = (
        f"left out {len(problems):,} of {counted(len(loaded.rows), 'row')} ({said}; the first is {loaded.place(first)})"
    )
    return loaded.rows.select(kept), [*lengths.values()], [f"{loaded.source}: {note}"]
