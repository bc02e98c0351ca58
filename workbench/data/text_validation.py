"""Find faults in the texts of training rows: empty answers, special tokens, turns out of order, duplicates, contradictions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise

import transformers

from workbench.data import content, duplicates, templates
from workbench.data.findings import Finding, finding


def check_texts(rows: Sequence[dict], tokenizer: transformers.PreTrainedTokenizerBase) -> list[Finding]:
    """Find empty and very short answers, the tokenizer's special tokens written as text, and turns out of order."""
    answers = [content.conversation(row)[-1] for row in rows]
    turns = [[turn for each in content.conversations(row) for turn in each["messages"]] for row in rows]
    tokens = {tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token, *templates.CHAT_TOKENS} - {None}
    return [
        *finding(
            "error",
            "empty-answer",
            (i for i, turn in enumerate(answers) if not (turn["content"] or "").strip() and not turn.get("tool_calls")),
            "{n} answers are empty; write them or remove the rows",
        ),
        *finding(
            "warning",
            "special-in-text",
            (
                i
                for i, each in enumerate(turns)
                if any(token in (turn["content"] or "") for turn in each for token in tokens)
            ),
            f"the text of {{n}} rows contains one of {', '.join(sorted(tokens))}, which opens or ends a turn; remove it",
        ),
        *finding(
            "warning",
            "turns",
            (i for i, each in enumerate(turns) if any(a["role"] == b["role"] != "tool" for a, b in pairwise(each))),
            "in {n} rows two turns in a row have the same role; join them",
        ),
        *finding(
            "note",
            "short-answers",
            (i for i, turn in enumerate(answers) if len((turn["content"] or "").split()) == 1),
            "{n} answers are a single word, so the model learns to answer as briefly",
        ),
    ]


def check_repeats(rows: Sequence[dict]) -> list[Finding]:
    """Find rows that repeat an earlier prompt and answer, and rows that answer the same prompt differently."""
    asked = defaultdict(list)
    for i, row in enumerate(rows):
        system = "".join(turn["content"] for turn in content.conversation(row) if turn["role"] == "system")
        prompt, answer = content.answered_turns(row)[-1]
        asked[system, duplicates.normalise_words(prompt)].append((i, answer.strip()))
    copies, contradictions = [], []
    for same in asked.values():
        first = {}
        for i, answer in same:
            if first.setdefault(answer, i) != i:
                copies.append(i)
        if len(first) > 1:
            contradictions += [i for i, _ in same]
    return [
        *finding("warning", "duplicates", copies, "{n} rows repeat an earlier prompt and answer; remove them"),
        *finding(
            "warning",
            "contradictions",
            sorted(contradictions),
            "{n} rows share their prompt with a row that answers differently; keep one answer if only one can be right",
        ),
    ]
