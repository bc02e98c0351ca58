"""Make training data with models: distillation of a teacher's answers, and preference pairs from a model's own answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

import datasets
import pandas as pd
import transformers
from joblib import delayed

from workbench import hub, recipes
from workbench.data import (
    chat_templates,
    content,
    decontamination,
    preference_validation,
    reading,
    templates,
    validation,
)
from workbench.errors import InputError, counted
from workbench.evaluate import scoring
from workbench.models import adapters, loading
from workbench.parallel import run_parallel
from workbench.store import Run, Store


def distil(rows: Sequence[dict], answers: pd.DataFrame, *, right_only: bool = False) -> datasets.Dataset:
    """Return the rows with the teacher's answers in place of their own.

    A row is left out where the teacher's answer is empty or was cut off. A tool call remains the text that the teacher wrote, which the
    chat template renders as the same tokens, whether it is valid or not.

    Args:
        rows: training rows.
        answers: table of :func:`workbench.evaluate.scoring.score` of the teacher on these rows
            (:func:`workbench.evaluate.scoring.score_run` stores it with the teacher's run).
        right_only: leave out answers that the checks find wrong: distillation with rejection sampling (Yuan et al. 2023, arXiv
            2308.01825).

    Raises:
        InputError: the table does not belong to these rows, or no answer is left.
    """
    if len(answers) != len(rows):
        raise InputError(
            f"{counted(len(answers), 'answer')} for {counted(len(rows), 'row')}; let the teacher answer exactly the rows that you pass"
        )
    kept = []
    for row, answer in zip(rows, answers.itertuples(), strict=True):
        text = answer.response.strip()
        if text and answer.stops and (answer.correct or not right_only):
            kept.append({**row, "messages": [*row["messages"][:-1], {"role": "assistant", "content": text}]})
    if not kept:
        raise InputError("none of the teacher's answers can be trained on; use a stronger teacher")
    return reading.to_dataset(kept)


# Maximum length of a model's own answers, in tokens: for tasks with short answers, and beside a data set of pairs, which teaches long ones.
SHORT_ANSWER, LONG_ANSWER = 32, 256

Judge = Callable[..., list[dict]]


def sample_pairs(
    run: Run,
    rows: Sequence[dict],
    judges: Sequence[Judge],
    n: int = 4,
    *,
    max_new_tokens: int = 32,
    store: Store | None = None,
) -> datasets.Dataset:
    """Make preference pairs for the model of a run: it answers every row `n` times, and judges pair the answers; stored with the run.

    Each judge lets the model answer the rows that it can judge and makes pairs of the answers; pairs with a
    false chosen answer are left out. A prompt gives no pair if all its answers are good, or all bad.

    Raises:
        InputError: a row is not of the tuning split.
    """

    def make() -> pd.DataFrame:
        model, tokenizer = adapters.load_any(run)
        made = [
            pair
            for judge in judges
            for pair in judge(model, tokenizer, rows, run.spec["seed"], n, max_new_tokens=max_new_tokens)
            # even the best of a model's answers can be false, and would be learned
            if pair["right"]
            and all(_encodes_like_prompt(tokenizer, pair, side) for side in preference_validation.ANSWERS)
        ]
        return pd.DataFrame({"pair": [json.dumps(pair) for pair in made]})

    key = [run, *scoring.evaluation_key(rows), n, max_new_tokens, recipes.PAIRS]
    kept = (store or Store()).cached(key, "pairs", make)
    return reading.to_dataset([json.loads(pair) for pair in kept["pair"]])


def _encodes_like_prompt(tokenizer: transformers.PreTrainedTokenizerBase, pair: dict, side: str) -> bool:
    """Return whether prompt and answer together encode to the prompt's tokens and then the answer's; a sampled answer may begin mid-word."""
    _, mask = templates.encode(tokenizer, pair["prompt"] + pair[side], pair.get("tools"))
    return mask[len(templates.prompt_ids(tokenizer, pair["prompt"], pair.get("tools")))] == 1


def preference_pairs(
    starts: Mapping[int, Run],
    rows: Sequence[dict],
    helpful: Judge,
    principled: Judge,
    n: int = 4,
    *,
    source: str | None = None,
    evaluation: Sequence[dict] = (),
    max_length: int = 512,
    parallel: int = 1,
    store: Store | None = None,
) -> dict[int, datasets.Dataset]:
    """Make preference pairs for the runs of several seeds, by seed: from the models' own answers, or together with a data set.

    Without a source they are :func:`sample_pairs` of each run. With one, its pairs (:func:`pairs_from_dataset`, the same for every
    seed) teach what is helpful, and the models' own answers are judged by principle alone: such data rarely teach a model to refuse or
    to admit that it does not know.

    Args:
        starts: seed → the SFT run that DPO starts from.
        rows: rows of the tuning split, whose prompts the models answer.
        helpful, principled: the two judges of :func:`sample_pairs`.
        n: answers per row.
        source: preference data, as :func:`workbench.data.load` takes them: a file, a folder or a Hub id.
        evaluation, max_length: of :func:`pairs_from_dataset`; not used without a source, since training checks for leaks itself.
        parallel: runs at a time, each in a process of its own with its share of the cores.

    Raises:
        InputError: as :func:`sample_pairs` and :func:`pairs_from_dataset`.
    """
    store, ready, tokens, judges = store or Store(), [], SHORT_ANSWER, [helpful, principled]
    if source:
        ready = pairs_from_dataset(source, next(iter(starts.values())), evaluation, max_length, store)
        tokens, judges = LONG_ANSWER, [principled]
    calls = [delayed(sample_pairs)(run, rows, judges, n, max_new_tokens=tokens, store=store) for run in starts.values()]
    own = run_parallel(calls, parallel, "answered and judged", stored=True)
    made = [reading.to_dataset([*ready, *each]) if source else each for each in own]
    return dict(zip(starts, made, strict=True))


def pairs_from_dataset(
    source: str, run: Run, evaluation: Sequence[dict] = (), max_length: int = 512, store: Store | None = None
) -> list[dict]:
    """Return the pairs of a data set that a training from this run can use, and print a line about those left out.

    A pair is left out if its prompt is also in the evaluation (:func:`workbench.data.leaked_rows`), its two answers are equal, it has more
    than `max_length` tokens with either answer, or an answer begins mid-token after the template; and whatever
    :func:`workbench.data.load` leaves out (ties, reversed scores, empty answers). The pairs get the `kind` "helpful", and the `fault` of
    the rejected answer is "dispreferred".

    Raises:
        InputError: the source cannot be read, holds no pairs, or no usable ones.
    """
    loaded = reading.load(source, drop_bad=True)
    rows = list(loaded.rows)
    validation.require_valid(preference_validation.find_unpaired(rows))

    def judge() -> pd.DataFrame:
        tokenizer = loading.load_tokenizer(run.adapter)
        leaked = decontamination.leaked_rows(rows, evaluation) if evaluation else set()
        return pd.DataFrame(
            {
                "fault": [
                    "asking what the evaluation asks" if i in leaked else _unfit(tokenizer, row, max_length)
                    for i, row in enumerate(rows)
                ]
            }
        )

    base = loading.fingerprint(hub.fetch(run.spec["base"], run.spec["revision"]))  # identifies the tokenizer
    template = run.record["key"].get("template", chat_templates.CHATML)
    key = [content.content_hash(rows), content.content_hash(evaluation), base, template, max_length, recipes.PAIRS]
    faults = (store or Store()).cached(key, "given-pairs", judge)["fault"]
    counts = faults[faults != ""].value_counts()
    left_out = "; ".join([*loaded.notes, *(f"{count:,} {fault} left out" for fault, count in counts.items())])
    kept = [row for row, fault in zip(rows, faults, strict=True) if not fault]
    if not kept:
        raise InputError(f"{source}: none of its pairs can be used ({left_out}); raise max_length or use other data")
    print(f"{source}: {counted(len(kept), 'pair')}" + (f" ({left_out})" if left_out else ""))
    fields = ("prompt", *preference_validation.ANSWERS, "tools")
    labels = {"kind": "helpful", "fault": "dispreferred"}
    return [{key: row[key] for key in fields if row.get(key)} | labels for row in kept]


def _unfit(tokenizer: transformers.PreTrainedTokenizerBase, pair: dict, max_length: int) -> str:
    """Return why a pair cannot be trained on; "" where it can."""
    if preference_validation.same_answers([pair]):
        return "with two equal answers"
    sides = (
        templates.encode(tokenizer, pair["prompt"] + pair[side], content.row_tools(pair))[0]
        for side in preference_validation.ANSWERS
    )
    if max(map(len, sides)) > max_length:
        return f"longer than {max_length:,} tokens"
    return (
        ""
        if all(_encodes_like_prompt(tokenizer, pair, side) for side in preference_validation.ANSWERS)
        else "beginning in mid-token"
    )
