"""Rows whose answers another model wrote: a teacher's, taken as they are or only where a check finds them right."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

import datasets
import pandas as pd
import transformers
from joblib import delayed

from workbench import hub
from workbench.data import content, decontamination, preference_validation, reading, templates, validation
from workbench.errors import InputError
from workbench.evaluate import scoring
from workbench.models import adapters, loading
from workbench.parallel import run_parallel
from workbench.store import Run, Store


def distil(rows: Sequence[dict], answers: pd.DataFrame, *, right_only: bool = False) -> datasets.Dataset:
    """The rows with the teacher's answers in place of their own.

    An answer that the teacher did not end itself, or that is empty, is none: its row is left out. A tool call stays the text that
    the teacher wrote, which the chat template renders as the same tokens, whether it is sound or not.

    Args:
        rows: training rows.
        answers: table of :func:`workbench.evaluate.scoring.score` of the teacher on these rows (:func:`workbench.evaluate.scoring.score_run` keeps it with
            the teacher's run).
        right_only: leave out what the checks find wrong: distillation with rejection sampling (Yuan et al. 2023, arXiv 2308.01825).

    Raises:
        InputError: the table is not of these rows, or no answer is left.
    """
    if len(answers) != len(rows):
        raise InputError(
            f"{len(answers):,} answers for {len(rows):,} rows; let the teacher answer the rows that you pass"
        )
    kept = []
    for row, answer in zip(rows, answers.itertuples(), strict=True):
        text = answer.response.strip()
        if text and answer.stops and (answer.correct or not right_only):
            kept.append({**row, "messages": [*row["messages"][:-1], {"role": "assistant", "content": text}]})
    if not kept:
        raise InputError(f"none of the teacher's {len(rows):,} answers can be trained on; take a stronger teacher")
    return reading.to_dataset(kept)


RECIPE = 1  # part of the pairs' key; raise it when they would come out otherwise


OWN, LONG = 32, 256


"""Tokens that a model may take for an answer of its own: of tasks with short answers, and beside given pairs, which teach long ones."""


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
    """Preference pairs for the model of a run: it answers every row `n` times, and the answers are judged; kept with the run.

    Each judge lets the model answer the rows that it can judge and makes pairs of the answers (see
    :mod:`workbench.pocket.preferences`); pairs with a false chosen answer are left out. Two prompts in three give none: their
    answers are all good, or all bad.

    Raises:
        InputError: a row is of another split than the tuning split.
    """

    def make() -> pd.DataFrame:
        model, tokenizer = adapters.load_any(run)
        made = [
            pair
            for judge in judges
            for pair in judge(model, tokenizer, rows, run.spec["seed"], n, max_new_tokens=max_new_tokens)
            # the best of a model's answers can be false, and would be taught
            if pair["right"] and all(_said_so(tokenizer, pair, side) for side in preference_validation.ANSWERS)
        ]
        return pd.DataFrame({"pair": [json.dumps(pair) for pair in made]})

    key = [run, *scoring.evaluation_key(rows), n, max_new_tokens, RECIPE]
    kept = (store or Store()).cached(key, "pairs", make)
    return reading.to_dataset([json.loads(pair) for pair in kept["pair"]])


def _said_so(tokenizer: transformers.PreTrainedTokenizerBase, pair: dict, side: str) -> bool:
    """Whether the template writes the answer with the first token that the model is asked for. A sampled one may begin in mid-word."""
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
    """Preference pairs for the runs of several seeds, by seed: all of the models' own answers, or with those of a data set.

    Without a source they are :func:`sample_pairs` of each run. With one, its pairs (:func:`pairs_from_dataset`, the same for every seed) stand for what
    is helpful, and each model is judged by principle alone: such data seldom teach to refuse or to admit not knowing.

    Args:
        helpful, principled: the two judges of :func:`sample_pairs`.
        source: preference data as data.load takes them: a file, a folder or a Hub id.
        evaluation, max_length: of :func:`pairs_from_dataset`; not used without a source, as training has a gate of its own.
        parallel: runs at a time, each in a process of its own with its share of the cores.

    Raises:
        InputError: as :func:`sample_pairs` and :func:`pairs_from_dataset`.
    """
    store, ready, tokens, judges = store or Store(), [], OWN, [helpful, principled]
    if source:
        ready = pairs_from_dataset(source, next(iter(starts.values())), evaluation, max_length, store)
        tokens, judges = LONG, [principled]
    calls = [delayed(sample_pairs)(run, rows, judges, n, max_new_tokens=tokens, store=store) for run in starts.values()]
    own = run_parallel(calls, parallel, "answered and judged", stored=True)
    made = [reading.to_dataset([*ready, *each]) if source else each for each in own]
    return dict(zip(starts, made, strict=True))


def pairs_from_dataset(
    source: str, run: Run, evaluation: Sequence[dict] = (), max_length: int = 512, store: Store | None = None
) -> list[dict]:
    """The pairs of a data set that a training from this run can use, and a printed line about those it cannot.

    Left out are pairs that ask what the evaluation asks (data.asking), whose two answers are the same, that are longer than
    `max_length` tokens with either answer, or whose answer begins in mid-token after the template; besides, what data.load leaves out
    (ties and reversed scores, empty answers). Their `kind` is "helpful", and the `fault` of the rejected answer is "dispreferred".

    Raises:
        InputError: the source cannot be read, holds no pairs, or none that can be used.
    """
    loaded = reading.load(source, drop_bad=True)
    rows = list(loaded.rows)
    validation.require_valid(validation.find_unpaired(rows))

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

    base = loading.fingerprint(hub.fetch(run.spec["base"], run.spec["revision"]))  # names the tokenizer
    key = [content.content_hash(rows), content.content_hash(evaluation), base, templates.CHATML, max_length, RECIPE]
    faults = (store or Store()).cached(key, "given", judge)["fault"]
    counts = faults[faults != ""].value_counts()
    told = "; ".join([*loaded.notes, *(f"{count:,} {fault} left out" for fault, count in counts.items())])
    kept = [row for row, fault in zip(rows, faults, strict=True) if not fault]
    if not kept:
        raise InputError(
            f"{source}: none of its {len(rows):,} pairs can be used ({told}); raise max_length or take other data"
        )
    print(f"{source}: {len(kept):,} pairs" + (f" ({told})" if told else ""))
    fields = ("prompt", *preference_validation.ANSWERS, "tools")
    labels = {"kind": "helpful", "fault": "dispreferred"}
    return [{key: row[key] for key in fields if row.get(key)} | labels for row in kept]


def _unfit(tokenizer: transformers.PreTrainedTokenizerBase, pair: dict, max_length: int) -> str:
    """Why a pair cannot be trained on; "" where it can."""
    if any(rows for _, _, rows, _ in preference_validation.same_answers([pair])):
        return "with two equal answers"
    sides = (
        templates.encode(tokenizer, pair["prompt"] + pair[side], content.row_tools(pair))[0]
        for side in preference_validation.ANSWERS
    )
    if max(map(len, sides)) > max_length:
        return f"longer than {max_length:,} tokens"
    return (
        ""
        if all(_said_so(tokenizer, pair, side) for side in preference_validation.ANSWERS)
        else "beginning in mid-token"
    )
