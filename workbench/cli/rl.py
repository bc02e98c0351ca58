"""Commands that train on rewards: reward-model and rl."""

from typing import Annotated

import typer

from workbench.cli import runs
from workbench.cli.data import Columns, DropBad, Source, Split, load
from workbench.cli.spec_fields import Config, DryRun, Settings, spec_fields
from workbench.cli.training import HoldOut, Samples, print_lines, require_fraction
from workbench.errors import InputError


def reward_model(
    source: Source,
    run: Annotated[str | None, typer.Option(help="SFT run to start from: its id, or the beginning of its id.")] = None,
    epochs: Annotated[float | None, typer.Option(help="Passes over the pairs; default: 1.")] = None,
    max_length: Annotated[
        int | None, typer.Option(help="Tokens of prompt and answer, default 512; pairs with longer ones are left out.")
    ] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Peak learning rate, default 3e-4.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the held-out pairs and of the order of the others.")] = None,
    settings: Settings = None,
    config: Config = None,
    split: Split = None,
    columns: Columns = None,
    hold_out: HoldOut = 0.1,
    drop_bad: DropBad = False,
    dry_run: DryRun = False,
) -> None:
    """Train a reward model on preference pairs, which gives the chosen answers more than the rejected ones.

    Shows problems in the pairs, and the accuracy on held-out ones.
    """
    if run is None:
        raise InputError("a reward model starts from an SFT run: name one with --run; `workbench runs list` lists them")
    from workbench.config import RewardSpec

    options = {"epochs": epochs, "max_length": max_length, "learning_rate": learning_rate, "seed": seed}
    spec = RewardSpec(**spec_fields(RewardSpec, options, settings, config))
    require_fraction(hold_out)
    start = runs.find_run(run)
    from workbench.cli import rl_output

    loaded = load(source, split, columns, drop_bad)
    print_lines(rl_output.reward_lines(spec, loaded, start, hold_out, drop_bad, dry_run))


def rl(
    source: Source,
    reward: Annotated[
        str | None,
        typer.Option(help="correct or follows (the rows' own checks), length, keyword:WORD, or a run of reward-model."),
    ] = None,
    run: Annotated[str | None, typer.Option(help="Run to start from: its id, or the beginning of its id.")] = None,
    base: Annotated[
        str | None, typer.Option(help="Base model to start from: folder, Hub id, GGUF file or gemma-3-270m.")
    ] = None,
    watch: Annotated[
        list[str] | None, typer.Option(help="A reward that is logged beside the one that is trained on. Repeatable.")
    ] = None,
    loss: Annotated[str | None, typer.Option(help="dapo (default), grpo, dr_grpo, bnpo or rloo.")] = None,
    beta: Annotated[
        float | None, typer.Option(help="KL penalty, default 0.02: a higher one keeps the model closer to its start.")
    ] = None,
    max_steps: Annotated[int | None, typer.Option(help="Steps; default: 150.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Peak learning rate, default 1e-4.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the order of the prompts and of the replies.")] = None,
    settings: Settings = None,
    config: Config = None,
    split: Split = None,
    columns: Columns = None,
    drop_bad: DropBad = False,
    samples: Samples = 3,
    dry_run: DryRun = False,
) -> None:
    """Train a model on what a reward thinks of its replies (GRPO), from a run or from a base model.

    Shows reward and KL while it trains, what changed, and sample answers.
    """
    if reward is None:
        raise InputError(
            "RL needs a reward: name one with --reward, such as correct, or a run of `workbench reward-model`"
        )
    from workbench.config import RLSpec

    options = {
        "base": base,
        "loss": loss,
        "beta": beta,
        "max_steps": max_steps,
        "learning_rate": learning_rate,
        "seed": seed,
    }
    spec = RLSpec(**spec_fields(RLSpec, options, settings, config))
    if run is None and spec.base is None:
        raise InputError("RL starts from a run (--run; `workbench runs list` lists them) or from a base model (--base)")
    start = None if run is None else runs.find_run(run)
    chosen = _reward(reward)
    # By its id, whatever abbreviation was given: the names are part of what a training is known by.
    watched = {each if isinstance(each, str) else each.id: each for each in map(_reward, watch or ())}
    from workbench.cli import rl_output

    loaded = load(source, split, columns, drop_bad, answers=False)
    print_lines(rl_output.rl_lines(spec, loaded, chosen, watched, start, samples, drop_bad, dry_run))


def _reward(name: str):
    """Return the reward of that name, or the run that it names. Raises InputError for neither."""
    from workbench import rewards

    try:
        rewards.find_reward(name)
    except InputError as error:
        if not name.startswith("reward-"):
            raise error
        return runs.find_run(name)
    return name
