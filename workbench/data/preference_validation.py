"""Find faults that only preference pairs can have: incomplete pairs, equal answers, answers that length alone tells apart."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from workbench.data.findings import Finding, finding

ANSWERS = ("chosen", "rejected")
LOPSIDED = 0.75  # share of pairs from which on length predicts the chosen answer too well


def find_unpaired(rows: Iterable[dict]) -> list[Finding]:
    """Find rows without a whole pair, and rows whose two answers are to different prompts; such rows cannot be read as pairs."""
    rows = list(rows)
    whole = [all(isinstance(row.get(field), list) and row[field] for field in ("prompt", *ANSWERS)) for row in rows]
    roles = [
        {turn["role"] for answer in ANSWERS for turn in row[answer]} if complete else set()
        for row, complete in zip(rows, whole, strict=True)
    ]
    return [
        *finding(
            "error",
            "no-pair",
            (i for i, complete in enumerate(whole) if not complete),
            "one of prompt, chosen and rejected (each a list of messages) is missing in {n} rows; complete or remove them",
        ),
        *finding(
            "error",
            "prompt-differs",
            (i for i, each in enumerate(roles) if each & {"user", "system"}),
            "in {n} pairs chosen or rejected contain a user or system turn, so they answer different prompts; move the turns "
            "that both share to prompt, and leave one answer in each",
        ),
    ]


def same_answers(rows: Sequence[dict]) -> list[Finding]:
    """Find pairs whose two answers are the same apart from surrounding spaces, which the chat template removes."""

    def trimmed(messages: list[dict]) -> list[dict]:
        return [{**turn, "content": (turn.get("content") or "").strip()} for turn in messages]

    equal = [
        i for i, row in enumerate(rows) if row.get("chosen") and trimmed(row["chosen"]) == trimmed(row["rejected"])
    ]
    return finding(
        "warning" if len(equal) < len(rows) else "error",
        "chosen-is-rejected",
        equal,
        "in {n} pairs the chosen and the rejected answer are the same, so there is nothing to learn; remove them",
    )


def answer_lengths(encoded: Iterable) -> list[Finding]:
    """Report how long chosen and rejected answers are, in tokens, and warn where length alone separates them.

    DPO learns whatever separates the two answers, and length is the easiest to learn (Park et al. 2024, arXiv 2403.19159).

    Args:
        encoded: validation.EncodedConversation of the chosen answer and then of the rejected one, for each pair.
    """
    lengths = defaultdict(list)
    for each in encoded:
        last = "".join(map(str, each.mask)).rstrip("0").rsplit("0", 1)[-1]  # without the answers within the prompt
        lengths[each.row].append(len(last))
    pairs = {row: both for row, both in lengths.items() if len(both) == 2}
    if not pairs:
        return []
    chosen, rejected = np.array(list(pairs.values())).T
    longer, shorter = (chosen > rejected).mean(), (chosen < rejected).mean()
    means = f"chosen answers have {chosen.mean():.0f} tokens on average, rejected ones {rejected.mean():.0f}"
    text = f"{means}; the chosen one is longer in {longer:.0%} of pairs, shorter in {shorter:.0%}"
    found = finding("note", "pair-lengths", pairs, text)
    word, share = ("longer", longer) if longer > shorter else ("shorter", shorter)
    if share >= LOPSIDED:
        text = f"the chosen answer is the {word} one in {share:.0%} of {{n}} pairs, so length alone separates the two"
        found += finding(
            "warning", "lopsided", pairs, f"{text}; balance the lengths, or use a loss that ignores length"
        )
    return found
