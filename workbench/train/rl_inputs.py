"""Refuse prompts, rewards and starts that reinforcement learning cannot use, before anything is trained."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

import torch
import transformers

from workbench import distributed, reward_identity, rewards
from workbench.config import RLSpec
from workbench.data import content, rendering, templates, values
from workbench.errors import InputError, first_line, shortened
from workbench.models import generation
from workbench.rewards import Reward
from workbench.runs import Run
from workbench.store import digest
from workbench.train import reward_models, rollouts


def named_rewards(reward: str | Run | Reward, watch: Mapping[str, str | Run | Reward]) -> dict[str, str | Run | Reward]:
    """Return name → reward: the one that is trained on first, then those that are watched."""
    name = (
        reward.id if isinstance(reward, Run) else reward if isinstance(reward, str) else getattr(reward, "__name__", "")
    )
    for each in (reward, *watch.values()):
        if isinstance(each, str):
            rewards.find_reward(each)
        elif not isinstance(each, Run) and not callable(each):
            raise InputError(
                f"a reward is a name, a run of a reward model or a function, not {shortened(each)} ({type(each).__name__})"
            )
    if name in watch and watch[name] != reward:
        raise InputError(f"watch names another reward {name!r}, as the one that is trained on is called; rename it")
    return {name: reward, **watch}


def identity(reward: str | Run | Reward) -> str | dict:
    """Return what names a reward in the key of a run."""
    if isinstance(reward, str):
        return reward
    return reward.id if isinstance(reward, Run) else reward_identity.source_of(reward)


def read_by(named: Mapping[str, str | Run | Reward], rows: Iterable[Mapping]) -> str:
    """Return a hash of what rewards read of the rows beside their turns: the checks, or all columns where one is a function."""
    if any(map(callable, named.values())):
        read = [{key: value for key, value in row.items() if value is not None} for row in rows]
    else:
        read = [row.get("check") for row in rows]
    return digest(json.loads(json.dumps(read, default=str)))


def unnamed_lines(named: Mapping[str, str | Run | Reward]) -> list[str]:
    """Return one line per reward function with objects that do not name its runs: after a change of them the old run would come back."""
    functions = {name: each for name, each in named.items() if not isinstance(each, str | Run)}
    used = {name: reward_identity.unnamed(each) for name, each in functions.items()}
    return [
        f"{'warning':<12}the reward {name} uses objects of {', '.join(types)}, which do not name the run; rename the function when they change"
        for name, types in used.items()
        if types
    ]


def require_start(spec: RLSpec, start: Run | None) -> None:
    """Raise InputError where a training has nothing to start from, or two things."""
    if start is not None and not isinstance(start, Run):
        raise InputError(
            f"{shortened(start)} is not a run: pass what train.sft returns as start, or None and a base in the spec"
        )
    if start is None and spec.base is None:
        raise InputError("there is nothing to start from: give an SFT run (start), or a base model in the spec (base)")
    if start is not None and spec.base is not None:
        raise InputError(f"base {shortened(spec.base)} and the run {start.id} are both given to start from; give one")
    if distributed.is_sharded():
        raise InputError(
            "RL cannot be split over processes (FSDP): sampling needs the whole model; launch without FSDP"
        )


def asked_rows(rows: Sequence[dict], verifiable: Sequence[str]) -> list[dict]:
    """Return the rows with their prompts as ``messages`` before an answer, empty where there is none. Raises InputError for unusable ones."""
    rows = [*rows]  # a Dataset makes each row anew whenever it is read
    if not rows:
        raise InputError("there are no prompts to train on")
    for i, row in enumerate(rows):
        if problem := unusable(row, verifiable):
            raise InputError(f"rows[{i}]: {problem}")
    checks = [{"check": _check(row)} if verifiable else {} for row in rows]
    return [
        {**row, **check, "messages": content.prompt_turns(row) + [_answer(row)]}
        for row, check in zip(rows, checks, strict=True)
    ]


def unusable(row: dict, verifiable: Sequence[str]) -> str | None:
    """Return why a row cannot be asked, and what to do about it; None where it can."""
    if not isinstance(row, Mapping):
        return f'{shortened(row)} ({type(row).__name__}) is no row; write it as {{"prompt": …}}'
    name = "messages" if row.get("messages") else "prompt"
    given = row.get(name)
    if given and not _is_turns(given) and not (name == "prompt" and isinstance(given, str)):
        also = "a text or " if name == "prompt" else ""
        return f'"{name}" is {shortened(given)} ({type(given).__name__}); give {also}a list of turns, each with role and content'
    turns = content.prompt_turns(row)
    if not turns or turns[-1]["role"] != "user":
        return "it does not end with a user's turn before its answer; give rows with messages, or with a prompt"
    if content.row_tools(row) or any(turn.get("tool_calls") for turn in turns):
        return "it has tools, which RL does not offer to the model; leave such rows out"
    if verifiable and not row.get("check"):
        return f'"check" is missing, which the reward {verifiable[0]} asks; give every row the name and arguments of a grader'
    check = _check(row) if verifiable else {"name": "", "args": {}}
    if (
        not isinstance(check, Mapping)
        or not isinstance(check.get("name"), str)
        or not isinstance(check.get("args"), Mapping)
    ):
        return f'"check" is no grader with its args: {shortened(row["check"])}; write it as {{"name": GRADER, "args": {{…}}}}'
    return None


def _is_turns(value: object) -> bool:
    """Return whether a value is a list of turns, each with role and content."""
    return isinstance(value, list) and all(
        isinstance(turn, Mapping)
        and isinstance(turn.get("role"), str)
        and (isinstance(turn.get("content"), str) or turn.get("content") is None and bool(turn.get("tool_calls")))
        for turn in value
    )


def _check(row: dict) -> object:
    """Return the check of a row, parsed where a CSV file holds it as JSON text."""
    check = row["check"]
    return values.parse_text(check) if isinstance(check, str) else check


def _answer(row: dict) -> dict:
    """Return the last answer of a row, an empty one where there is none."""
    turns = row.get("messages") or row["prompt"]
    last = {"role": "user"} if isinstance(turns, str) else turns[-1]
    return last if last["role"] == "assistant" else {"role": "assistant", "content": ""}


def prompt_lengths(rows: Sequence[dict], tokenizer, context: int, new: int) -> list[int]:
    """Return the tokens of each prompt. Raises InputError where one cannot be asked, see :func:`prompt_length`."""
    lengths = []
    for i, row in enumerate(rows):
        try:
            lengths.append(prompt_length(row, tokenizer, context, new))
        except InputError as error:
            raise InputError(f"rows[{i}]: {error}") from None
    return lengths


def prompt_length(row: dict, tokenizer, context: int, new: int) -> int:
    """Return the tokens of a prompt. Raises InputError where the chat template refuses it, or it leaves no room for `new` tokens in the context."""
    try:
        length = len(templates.prompt_ids(tokenizer, content.prompt_turns(row)))
    except rendering.REFUSALS as error:
        raise InputError(
            f"the chat template refuses the prompt: {first_line(error)}; change its turns, or leave it out"
        ) from None
    if length + new > context:
        raise InputError(
            f"the prompt is too long: it has {length} tokens, and with max_new_tokens {new} that is more than the context of {context}; "
            "leave it out, or lower max_new_tokens"
        )
    return length


def verifiable(named: Mapping[str, str | Run | Reward]) -> list[str]:
    """Return those of the rewards that ask the check of a row."""
    return [each for each in named.values() if isinstance(each, str) and each in rewards.VERIFIABLE]


def functions_of(named: Mapping[str, str | Run | Reward]) -> dict[str, Reward]:
    """Return name → function of the rewards of :func:`named_rewards`; reward models are read."""
    return {
        name: rewards.find_reward(each)
        if isinstance(each, str)
        else reward_models.as_reward(each)
        if isinstance(each, Run)
        else each
        for name, each in named.items()
    }


def require_spread(
    spec: RLSpec,
    model: torch.nn.Module,
    tokenizer: transformers.PreTrainedTokenizerBase,
    rows: Sequence[dict],
    functions: Mapping[str, Reward],
) -> tuple[list[str], dict[str, list[float]]]:
    """Try the rewards on replies of the start, on reference answers and on none: one that is the same for all cannot teach anything.

    Returns:
        Replies of the start to the first rows, and what each reward gives to them.

    Raises:
        InputError: a reward fails, or the first is the same for all.
    """
    some = rows[: spec.batch_size]
    prompts = [templates.prompt_ids(tokenizer, content.prompt_turns(row)) for row in some]
    written = generation.generate(
        model, tokenizer, prompts, spec.max_new_tokens, temperature=spec.temperature, seed=spec.seed
    )
    replies = [*(reply.text for reply in written), *references(some), *[""] * len(some)]
    found = rollouts.describe(functions, [*some] * 3, replies)
    (name, values), *_ = found.items()
    if len(set(values)) == 1:
        raise InputError(
            f"the reward {name} is {values[0]:g} for {len(set(replies)):,} different replies, so there is nothing to learn from it; take "
            "one that tells replies apart"
        )
    return replies[: len(some)], found


def references(rows: Sequence[dict]) -> list[str]:
    """Return the answers that the rows hold."""
    return [content.message_text(row["messages"][-1]) for row in rows]
