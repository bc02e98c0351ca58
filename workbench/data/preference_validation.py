"""What can be wrong with preference pairs and with nothing else: level, code, rows and text of findings, for the doctor."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

ANSWERS = ("chosen", "rejected")


LOPSIDED = 0.75  # of the pairs


Fault = tuple[str, str, list[int], str]


def broken_pairs(rows: Sequence[dict]) -> Iterator[Fault]:
    """Rows without a whole pair, and rows whose two answers are to different prompts."""
    whole = [all(isinstance(row.get(field), list) and row[field] for field in ("prompt", *ANSWERS)) for row in rows]
    yield (
        "error",
        "no-pair",
        [i for i, each in enumerate(whole) if not each],
        "{n} rows lack one of prompt, chosen and rejected (each a list of messages); give all three or remove them",
    )
    turns = [[turn["role"] for side in ANSWERS for turn in row[side]] if whole[i] else [] for i, row in enumerate(rows)]
    yield (
        "error",
        "prompt-differs",
        [i for i, roles in enumerate(turns) if {"user", "system"} & set(roles)],
        "in {n} pairs chosen or rejected hold a turn of the user, so they answer different prompts; put what both share into "
        "prompt, and one answer into each",
    )


def same_answers(rows: Sequence[dict]) -> Iterator[Fault]:
    """Pairs whose answers are the same, but for the space around them, which the template takes away."""

    def said(messages: list[dict]) -> list[dict]:
        return [{**turn, "content": (turn.get("content") or "").strip()} for turn in messages]

    equal = [i for i, row in enumerate(rows) if row.get("chosen") and said(row["chosen"]) == said(row["rejected"])]
    yield (
        "warning" if len(equal) < len(rows) else "error",
        "chosen-is-rejected",
        equal,
        "in {n} pairs the chosen answer is the rejected one, which teaches nothing; remove them",
    )


def answer_lengths(encoded: Iterable) -> Iterator[Fault]:
    """How long chosen and rejected answers are, in tokens; `encoded` holds both sides of a row one after the other.

    What sets the two sides apart is what DPO learns, and length is the easiest to learn (Park et al. 2024, arXiv 2403.19159).
    """
    sizes = defaultdict(list)
    for tokens in encoded:
        last = "".join(map(str, tokens.mask)).rstrip("0").rsplit("0", 1)[-1]  # not the answers within the prompt
        sizes[tokens.row].append(len(last))
    pairs = {row: both for row, both in sizes.items() if len(both) == 2}
    if not pairs:
        return
    chosen, rejected = np.array(list(pairs.values())).T
    longer, shorter = (chosen > rejected).mean(), (chosen < rejected).mean()
    told = f"chosen answers have {chosen.mean():.0f} tokens on average, rejected ones {rejected.mean():.0f}"
    text = f"{told}; the chosen one is longer in {longer:.0%} of pairs, shorter in {shorter:.0%}"
    yield "note", "pair-lengths", list(pairs), text
    word, share = ("longer", longer) if longer > shorter else ("shorter", shorter)
    if share >= LOPSIDED:
        text = f"the chosen answer is the {word} one in {share:.0%} of {{n}} pairs, so length alone tells the two apart"
        yield "warning", "lopsided", list(pairs), f"{text}; balance them, or compare with a loss without length"
