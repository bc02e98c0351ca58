"""Say what a preference training did to the model: the first loss, the answers' lengths, and how likely they are after the last update."""

from __future__ import annotations

import datasets
import pandas as pd
import pyarrow.parquet

from workbench.data import content, preference_validation, templates
from workbench.models import adapters, logprobs
from workbench.store import Run, Store
from workbench.train.preference import TOLERANCE, is_near

PAIRS = 200  # at most, spread over the training pairs
SAME = 5e-4  # of a difference in nats: what is shown as 0.000


def dpo_panel(run: Run, sft_run: Run | None = None) -> pd.DataFrame:
    """Return what a preference training did, one row per question: question, value, unit, verdict.

    Log-probabilities are those of whole answers, of the trained model minus those of the SFT model; both sides usually fall
    (Rafailov et al. 2024, arXiv 2404.12358): the margin grows all the same as long as the rejected ones fall faster.

    Args:
        run: as :func:`workbench.train.preference.dpo` returned it.
        sft_run: the run that it started from; None looks for it in the same store.

    Raises:
        InputError: the SFT run is damaged, or not in the store.
    """
    scores, first, changes = run.scores, run.log.iloc[0], answer_changes(run, sft_run)
    loss, due = scores["first_loss"], scores["first_loss_due"]
    # KTO logs no reward of a label that the first step does not have
    rewards = [first.get(f"rewards/{side}") for side in preference_validation.ANSWERS]
    apart = max((abs(each) for each in rewards if pd.notna(each)), default=0.0) / run.spec["beta"]
    chosen, rejected = (changes[side].mean() for side in preference_validation.ANSWERS)
    margins = changes["chosen"] - changes["rejected"]
    longer = scores["chosen_tokens"] / scores["rejected_tokens"] - 1
    answer = "nats per answer"
    lines = [
        ("first loss", loss, "nats", "of no reference" if due is None else f"as due: {due:.4f}" if is_near(loss, due) else f"WRONG: {due:.4f} is due"),
        ("policy against reference before the first step", apart, answer, "the same model" if apart < TOLERANCE else "ANOTHER model"),
        ("length of chosen answers", scores["chosen_tokens"], "tokens", f"{longer:+.0%} against rejected"),
        ("length of rejected answers", scores["rejected_tokens"], "tokens", ""),
        ("chosen answers against the SFT model", chosen, answer, _verdict(chosen, "likelier", "LESS likely", "as likely")),
        ("rejected answers against the SFT model", rejected, answer, _verdict(rejected, "LIKELIER", "less likely", "as likely")),
        ("margin between them", margins.mean(), answer, _verdict(margins.mean(), "grew", "SHRANK", "did NOT change")),
        ("pairs with a margin above 0", (margins > 0).mean(), "share", ""),
    ]  # fmt: skip
    return pd.DataFrame(lines, columns=["question", "value", "unit", "verdict"])


def _verdict(change: float, more: str, less: str, same: str) -> str:
    return same if abs(change) < SAME else more if change > 0 else less


def answer_changes(run: Run, sft_run: Run | None = None) -> pd.DataFrame:
    """Return by how many nats each answer is likelier to the trained model than to the SFT model: chosen, rejected, one row per pair.

    Measured on up to 200 training pairs, after the last update, and stored with the run. Pairs whose prompt leaves no room for an
    answer were not trained on and are left out.
    """
    store = Store(run.path.parent)
    return store.cached([run, PAIRS], "answer-changes", lambda: _measured(run, sft_run or store.run(run.spec["sft"])))


def _measured(run: Run, sft: Run) -> pd.DataFrame:
    rows = datasets.Dataset(pyarrow.parquet.read_table(run.rows_file))
    rows = rows.select(range(0, len(rows), -(-len(rows) // PAIRS)))
    likelihoods = []
    for each in (run, sft):
        model, tokenizer = adapters.load_any(each)
        scored = [
            _answer(tokenizer, row, side, run.spec["max_length"]) for row in rows for side in ("chosen", "rejected")
        ]
        likelihoods.append([float(logs.sum()) for logs in logprobs.logprobs(model, scored)])
        del model
    change = [after - before for after, before in zip(*likelihoods, strict=True)]
    kept = [i for i in range(len(rows)) if any(scored[2 * i][1])]
    return pd.DataFrame({"chosen": [change[2 * i] for i in kept], "rejected": [change[2 * i + 1] for i in kept]})


def _answer(tokenizer, row: dict, side: str, max_length: int) -> logprobs.Scored:
    """Return the tokens of a pair's prompt and one of its answers, and a mask of what is trained on."""
    tools = content.row_tools(row)
    ids, mask = templates.encode(tokenizer, row["prompt"] + row[side], tools)
    start = len(templates.prompt_ids(tokenizer, row["prompt"], tools))  # earlier answers are part of the prompt
    return ids[:max_length], [bit if i >= start else 0 for i, bit in enumerate(mask[:max_length])]
