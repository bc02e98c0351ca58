"""What a preference training needs around it: pairs from a tuned model's own answers, and how far it moved; both kept in the store."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import datasets
import pandas as pd
import transformers
from joblib import delayed

from workbench import chat, data, doctor, evaluate, models, progress
from workbench.errors import InputError
from workbench.intervals import Interval
from workbench.pairs import SIDES, same
from workbench.pocket import preferences
from workbench.runs import Run, Store

RECIPE = 1  # part of the pairs' key; raise it when they would come out otherwise
OWN, LONG = 32, 256
"""Tokens that a model may take for an answer of its own: of tasks with short answers, and beside given pairs, which teach long ones."""
ORDINARY, CAREFUL = ("known", "other"), ("harmful", "look-alike", "unknowable")
AIMS = {
    "helpful: follows": (ORDINARY, "follows"),
    "helpful: is right": (ORDINARY, "correct"),
    "harmless: refuses harm": (("harmful",), "correct"),
    "over-refusal: declines look-alikes": (("look-alike",), "declines"),
    "honest: admits not knowing": (("unknowable",), "correct"),
    "over-abstention: declines known facts": (("known",), "declines"),
    "knowledge kept: known facts right": (("known",), "correct"),
}
"""What alignment is measured by: name → the prompts (aims of preferences.aims) and the column; of "declines" less is better."""
ALIGNED = (CAREFUL, "good")


def pairs(
    run: Run, rows: Sequence[dict], n: int = 4, *, max_new_tokens: int = 32, store: Store | None = None
) -> datasets.Dataset:
    """Preference pairs for the model of a run: it answers every row `n` times, and the answers are judged; kept with the run.

    Helpful pairs come from :func:`workbench.pocket.preferences.sampled`, harmless and honest ones from
    :func:`workbench.pocket.preferences.principled`; those with a false chosen answer are left out. Two prompts in three give none:
    their answers are all good, or all bad.

    Raises:
        InputError: a row is of another split than the tuning split.
    """

    def make() -> pd.DataFrame:
        model, tokenizer = models.load_any(run)
        made = [
            pair
            for judge in (preferences.sampled, preferences.principled)
            for pair in judge(model, tokenizer, rows, run.spec["seed"], n, max_new_tokens=max_new_tokens)
            # the best of a model's answers can be false, and would be taught
            if pair["right"] and all(_said_so(tokenizer, pair, side) for side in SIDES)
        ]
        return pd.DataFrame({"pair": [json.dumps(pair) for pair in made]})

    key = [run, *evaluate.named(rows), n, max_new_tokens, RECIPE]
    kept = (store or Store()).cached(key, "pairs", make)
    return data.dataset([json.loads(pair) for pair in kept["pair"]])


def _said_so(tokenizer: transformers.PreTrainedTokenizerBase, pair: dict, side: str) -> bool:
    """Whether the template writes the answer with the first token that the model is asked for. A sampled one may begin in mid-word."""
    _, mask = chat.encode(tokenizer, pair["prompt"] + pair[side], pair.get("tools"))
    return mask[len(chat.prompt_ids(tokenizer, pair["prompt"], pair.get("tools")))] == 1


def all_pairs(
    starts: Mapping[int, Run],
    rows: Sequence[dict],
    n: int = 4,
    *,
    source: str | None = None,
    evaluation: Sequence[dict] = (),
    max_length: int = 512,
    parallel: int = 1,
    store: Store | None = None,
) -> dict[int, datasets.Dataset]:
    """Preference pairs for the runs of several seeds, by seed: all of the models' own answers, or with those of a data set.

    Without a source they are :func:`pairs` of each run. With one, its pairs (:func:`given`, the same for every seed) stand for what
    is helpful, and each model answers the rows on safety and honesty alone: such data seldom teach to refuse or to admit not knowing.

    Args:
        source: preference data as data.load takes them: a file, a folder or a Hub id.
        evaluation, max_length: of :func:`given`; not used without a source, as training has a gate of its own.
        parallel: runs at a time, each in a process of its own with its share of the cores.

    Raises:
        InputError: as :func:`pairs` and :func:`given`.
    """
    store, ready, tokens = store or Store(), [], OWN
    if source:
        ready = given(source, next(iter(starts.values())), evaluation, max_length, store)
        rows, tokens = [row for row in rows if row["skill"] in preferences.KINDS], LONG
    calls = [delayed(pairs)(run, rows, n, max_new_tokens=tokens, store=store) for run in starts.values()]
    own = progress.parallel(calls, parallel, "answered and judged", stored=True)
    made = [data.dataset([*ready, *each]) if source else each for each in own]
    return dict(zip(starts, made, strict=True))


def given(
    source: str, run: Run, evaluation: Sequence[dict] = (), max_length: int = 512, store: Store | None = None
) -> list[dict]:
    """The pairs of a data set that a training from this run can use, and a printed line about those it cannot.

    Left out are pairs that ask what the evaluation asks (data.asking), whose two answers are the same, that are longer than
    `max_length` tokens with either answer, or whose answer begins in mid-token after the template; besides, what data.load leaves out
    (ties and reversed scores, empty answers). Their `kind` is "helpful", and the `fault` of the rejected answer is "dispreferred".

    Raises:
        InputError: the source cannot be read, holds no pairs, or none that can be used.
    """
    loaded = data.load(source, drop_bad=True)
    rows = list(loaded.rows)
    doctor.require(doctor.unpaired(rows))

    def judge() -> pd.DataFrame:
        tokenizer = models.load_tokenizer(run.adapter)
        leaked = data.asking(rows, evaluation) if evaluation else set()
        return pd.DataFrame(
            {
                "fault": [
                    "asking what the evaluation asks" if i in leaked else _unfit(tokenizer, row, max_length)
                    for i, row in enumerate(rows)
                ]
            }
        )

    base = models.fingerprint(models.fetch(run.spec["base"], run.spec["revision"]))  # names the tokenizer
    key = [data.content_hash(rows), data.content_hash(evaluation), base, chat.CHATML, max_length, RECIPE]
    faults = (store or Store()).cached(key, "given", judge)["fault"]
    counts = faults[faults != ""].value_counts()
    told = "; ".join([*loaded.notes, *(f"{count:,} {fault} left out" for fault, count in counts.items())])
    kept = [row for row, fault in zip(rows, faults, strict=True) if not fault]
    if not kept:
        raise InputError(
            f"{source}: none of its {len(rows):,} pairs can be used ({told}); raise max_length or take other data"
        )
    print(f"{source}: {len(kept):,} pairs" + (f" ({told})" if told else ""))
    fields = ("prompt", *SIDES, "tools")
    labels = {"kind": "helpful", "fault": "dispreferred"}
    return [{key: row[key] for key in fields if row.get(key)} | labels for row in kept]


def _unfit(tokenizer: transformers.PreTrainedTokenizerBase, pair: dict, max_length: int) -> str:
    """Why a pair cannot be trained on; "" where it can."""
    if any(rows for _, _, rows, _ in same([pair])):
        return "with two equal answers"
    sides = (chat.encode(tokenizer, pair["prompt"] + pair[side], data.tools(pair))[0] for side in SIDES)
    if max(map(len, sides)) > max_length:
        return f"longer than {max_length:,} tokens"
    return "" if all(_said_so(tokenizer, pair, side) for side in SIDES) else "beginning in mid-token"


def on(table: pd.DataFrame, aim: str) -> tuple[pd.DataFrame, str]:
    """The rows of a table of :func:`workbench.pocket.preferences.aims` that one of AIMS is measured on, and its column."""
    prompts, column = {**AIMS, "aligned": ALIGNED}[aim]
    return table[table["aim"].isin(prompts)], column


def summary(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Every aim of every model with its interval, tidy: model, aim, estimate, low, high, prompts, seeds."""
    found = [
        {"model": model, "aim": aim, **vars(evaluate.estimate(*on(table, aim)))}
        for model, table in tables.items()
        for aim in AIMS
    ]
    return pd.DataFrame(found).drop(columns="unit")


def difference(a: pd.DataFrame, b: pd.DataFrame, aim: str) -> Interval:
    """:func:`workbench.evaluate.difference` of two models in one of AIMS, or in "aligned", all careful prompts together."""
    (left, column), (right, _) = on(a, aim), on(b, aim)
    return evaluate.difference(left, right, column)
