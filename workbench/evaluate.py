"""Scores of a model's answers, a row a prompt, and what can be said from them: shares and paired differences with intervals.

Two scores are never mixed: `follows` (the answer has the form that was asked for) and `correct` (its content is true).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
import transformers

from workbench import chat, data, runs
from workbench.errors import InputError
from workbench.generate import generate, text_ids
from workbench.intervals import Interval, bootstrap, is_share
from workbench.pocket import checks

# Part of the name of kept scores and replies; raise it when a change here, in aims.py or in generate.py changes what is said or measured.
RECIPE = 2
TOKENS = 48  # limit of a reply; the longest right answer of the pocket evaluation has 29
# Of asking, and what ends a reply there: what a base model writes after its answer is not held against it.
MODES = {"chat": None, "plain": ["\n\n"], "few_shot": ["\n\n", "\nQ:"], "cloze": ["\n"]}
# of the table that score() returns
COLUMNS = ("index", "family", "skill", "axis", "split", "prompt", "response", "reference", "follows", "correct", "stops",
           "length")  # fmt: skip


def score(
    model: transformers.PreTrainedModel,
    tokenizer: transformers.PreTrainedTokenizerBase,
    rows: Iterable[dict],
    mode: str = "chat",
    *,
    shots: Iterable[dict] = (),
    k: int = 4,
    max_new_tokens: int = TOKENS,
    batch_size: int | None = None,
) -> pd.DataFrame:
    """Let the model answer every row and check the answers.

    A base model has no chat format and no reason to stop, so it is scored in several ways and what follows its answer is left out:

    * ``chat``: in the chat template, as a tuned model is used; the whole reply counts.
    * ``plain``: the text of the prompt and a newline; the first paragraph of the reply counts.
    * ``few_shot``: after up to `k` solved examples; the reply counts up to the next blank line or question.
    * ``cloze``: the text of the prompt as it stands, an unfinished sentence; the first line of the reply counts.

    Args:
        rows: evaluation rows: `messages` whose last one is the reference answer, and a `check`.
        shots: rows that few-shot examples come from: of the row's own family where there are any, else of all.
        max_new_tokens: limit of a reply.

    Returns:
        A row a prompt, in order: index, family, skill, axis, split, prompt, response, reference, follows, correct,
        stops (ended by itself), length (tokens of the reply, up to where it was cut).

    Raises:
        InputError: an unknown mode, a row without a check, few-shot without examples.
    """
    rows, shots = list(rows), list(shots)
    if mode not in MODES:
        raise InputError(f'mode "{mode}" is unknown; use one of {", ".join(MODES)}')
    for index, row in enumerate(rows):
        if not row.get("check"):
            raise InputError(f'evaluation row {index}: "check" is missing; only rows with a check can be scored')
    if mode == "chat":
        prompts = [chat.prompt_ids(tokenizer, row["messages"][:-1], data.tools(row)) for row in rows]
    else:
        texts = [few_shot(i, row, shots, k) if mode == "few_shot" else plain(row) for i, row in enumerate(rows)]
        prompts = [text_ids(tokenizer, text + "\n" * (mode == "plain")) for text in texts]
    references = [said(row["messages"][-1]) for row in rows]
    expected = [len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in references]
    replies = generate(model, tokenizer, prompts, max_new_tokens, batch_size, MODES[mode], expected=expected)
    records = []
    for index, (row, reference, reply) in enumerate(zip(rows, references, replies, strict=True)):
        response = reply.text if mode == "chat" else reply.text.strip()
        result = checks.run(row["check"], response)
        records.append(
            {
                "index": index,
                **{key: row.get(key) for key in ("family", "skill", "axis", "split")},
                "prompt": plain(row),
                "response": response,
                "reference": reference,
                "follows": result.follows,
                "correct": result.correct,
                "stops": reply.stopped,
                "length": reply.tokens,
            }
        )
    return pd.DataFrame(records, columns=COLUMNS)


def named(rows: Sequence[dict]) -> list[str]:
    """What names evaluation rows in the run store: the prompts and the checks. The same prompts under other checks have other scores."""
    return [data.content_hash(rows), runs.digest([[row.get("check") for row in rows], RECIPE])]


def drift(
    policy: transformers.PreTrainedModel,
    reference: transformers.PreTrainedModel,
    tokenizer: transformers.PreTrainedTokenizerBase,
    rows: Iterable[dict],
    max_length: int = 512,
    batch_size: int = 16,
) -> float:
    """How far a model has moved from another: KL(policy ‖ reference) of what they would say next, in nats a token.

    The mean over all tokens of the rows' answers, each read behind the tokens before it; 0 for the same model. Which answers
    the rows hold (references, or what one of the models said) is for the caller to say beside the number.
    """
    total, count = 0.0, 0
    policy.eval(), reference.eval()
    for ids, labels in chat.batches(tokenizer, rows, max_length, batch_size):
        answers = labels[:, 1:] != -100
        with torch.no_grad():
            logits = (model(input_ids=ids.to(model.device), use_cache=False).logits for model in (policy, reference))
            p, q = (F.log_softmax(each[:, :-1][answers.to(each.device)].float(), dim=-1) for each in logits)
        total += F.kl_div(q, p, reduction="sum", log_target=True).item()  # q comes first there: p is the target
        count += int(answers.sum())
    return total / count


def said(message: dict) -> str:
    """The text of one message, with its tool calls written as the chat template writes them."""
    calls = [call.get("function") or call for call in message.get("tool_calls") or []]
    calls = [json.dumps({"name": call["name"], "arguments": call["arguments"]}) for call in calls]
    return "\n".join(filter(None, [message.get("content"), *(f"<tool_call>{call}</tool_call>" for call in calls)]))


def offered(row: dict) -> list[str]:
    """The tools on offer, a line each."""
    return [json.dumps(tool.get("function") or tool) for tool in data.tools(row) or []]


def plain(row: dict) -> str:
    """The prompt of a row as plain text: the tools on offer and what was said before the reference answer, a line each."""
    return "\n".join([*offered(row), asked(row)])


def asked(row: dict) -> str:
    """What was said before the reference answer, a line each."""
    return "\n".join(said(message) for message in row["messages"][:-1])


def examples(index: int, row: dict, shots: list[dict], k: int = 4) -> list[dict]:
    """Up to `k` solved examples for a row: of its own family where there are any, else of all, and never its own prompt.

    They are drawn by the row's index, so that a second evaluation sees the same ones.

    Raises:
        InputError: no example is left to draw from.
    """
    prompt = asked(row)
    others = [shot for shot in shots if asked(shot) != prompt]
    pool = [shot for shot in others if shot.get("family") == row.get("family")] or others
    if not pool:
        raise InputError(f"few-shot row {index}: there is no solved example; pass training rows as shots")
    drawn = np.random.default_rng(index).choice(len(pool), size=min(k, len(pool)), replace=False)
    return [pool[i] for i in drawn]


def few_shot(index: int, row: dict, shots: list[dict], k: int = 4) -> str:
    """A quiz sheet of the row's :func:`examples` that ends in its own prompt: "Q: …\\nA: …\\n\\nQ: …\\nA:".

    What belongs to no single question stands once, on top: a system prompt, the tools on offer.

    Raises:
        InputError: see :func:`examples`.
    """
    system = [message["content"] for message in row["messages"] if message["role"] == "system"]
    row = {**row, "messages": [message for message in row["messages"] if message["role"] != "system"]}
    solved = [f"Q: {asked(shot)}\nA: {said(shot['messages'][-1])}\n\n" for shot in examples(index, row, shots, k)]
    return "".join([*(f"{line}\n" for line in [*system, *offered(row)]), *solved, f"Q: {asked(row)}\nA:"])


def text_loss(
    model: transformers.PreTrainedModel,
    tokenizer: transformers.PreTrainedTokenizerBase,
    texts: Sequence[str],
    max_length: int = 512,
) -> float:
    """Mean loss over all tokens of plain texts, in nats a token; each text stands alone, as a document, and is cut at `max_length`.

    No chat format comes in: a model that tuning has changed is asked what it still knows of the language that its base read.

    Raises:
        InputError: no text with a token to predict.
    """
    total = count = 0
    for text in texts:
        ids = torch.tensor([text_ids(tokenizer, text)[:max_length]], device=model.device)
        if (predicted := ids.shape[1] - 1) > 0:
            with torch.no_grad():
                total += predicted * model.eval()(input_ids=ids, labels=ids, use_cache=False).loss.item()
            count += predicted
    if not count:
        raise InputError(f"{len(texts)} texts without a token to predict; give texts of a few words or more")
    return total / count


def estimate(table: pd.DataFrame, column: str) -> Interval:
    """Mean of a column over prompts and seeds, with its interval (see :func:`bootstrap`).

    The table is one or more of :func:`score`, stacked, with a column `seed`; without that column it is one seed.
    """
    values = crossed(table, column)
    unit, bounds = ("share", (0, 1)) if is_share(values) else (column, None)
    return bootstrap(values, unit, bounds)


def interval(table: pd.DataFrame, column: str, by: str | list[str] | None = None) -> pd.DataFrame:
    """:func:`estimate` for the table or for each group of it: estimate, low, high, prompts, seeds, with the groups as index."""
    if by is None:
        groups, index = [table], pd.Index([column])
    else:
        grouped = table.groupby(by, sort=False)
        names, groups = zip(*grouped, strict=True)
        index = pd.Index(names, name=by) if isinstance(by, str) else pd.MultiIndex.from_tuples(names, names=by)
    return pd.DataFrame([vars(estimate(group, column)) for group in groups], index=index).drop(columns="unit")


def difference(a: pd.DataFrame, b: pd.DataFrame, column: str) -> Interval:
    """Mean of a minus mean of b, paired: the same prompts are compared, and the same seeds where both sides have several.

    A side with one seed (a base model that was not tuned) is compared with every seed of the other; the interval then covers
    the spread of the other side's seeds alone.

    Raises:
        InputError: the two tables hold other prompts, or several seeds each that are not the same ones.
    """
    left, right = crossed(a, column), crossed(b, column)
    if dict(zip(a["index"], a["prompt"], strict=True)) != dict(zip(b["index"], b["prompt"], strict=True)):
        raise InputError("the two tables hold different prompts; a paired difference needs the same rows in both")
    if len(left) > 1 and len(right) > 1 and not left.index.equals(right.index):
        raise InputError(
            f"seeds {[*left.index]} and {[*right.index]} differ; compare the same seeds, or one with several"
        )
    unit, bounds = ("share", (-1, 1)) if is_share(left) and is_share(right) else (column, None)
    values = left.to_numpy() - right.to_numpy()
    return bootstrap(pd.DataFrame(values), f"difference in {unit}", bounds)


def compare(tables: dict[str, pd.DataFrame], columns: Iterable[str], by: str | None = None) -> pd.DataFrame:
    """Intervals of several models side by side, tidy: model, column, group (or "all"), estimate, low, high, prompts, seeds."""
    parts = []
    for model, table in tables.items():
        for column in columns:
            part = interval(table, column, by).reset_index(names="group")
            parts.append(part.assign(group=part["group"] if by else "all", model=model, column=column))
    return pd.concat(parts, ignore_index=True)[
        ["model", "column", "group", "estimate", "low", "high", "prompts", "seeds"]]  # fmt: skip


def crossed(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """The column as a grid of shape (seeds, prompts), in which every seed has answered every prompt.

    Raises:
        InputError: an answer is missing or stands there twice, or a row is a training that failed (see workbench.ablate.grid).
    """
    if "error" in table and table["error"].notna().any():
        failed = table[table["error"].notna()]
        raise InputError(
            f"{len(failed)} trainings of this table failed, the first (seed {failed['seed'].iloc[0]}): {failed['error'].iloc[0]}; mend "
            'them and call the grid again, or leave them out: table[table["error"].isna()]'
        )
    seeds = table["seed"] if "seed" in table else pd.Series(0, index=table.index)
    counts = pd.crosstab(seeds, table["index"])
    if table.empty or (counts != 1).any(axis=None):
        raise InputError(
            f'column "{column}": each seed needs one answer to each prompt; score all seeds on the same rows'
        )
    return table.assign(seed=seeds).pivot(index="seed", columns="index", values=column).astype(float)
