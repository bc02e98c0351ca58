"""Everything that can be wrong with data and tokenizer before training, found before a minute is spent.

An error makes training senseless and :func:`require` stops on it; a warning costs quality; a note is worth knowing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
import transformers
from jinja2 import TemplateError

from workbench.data import content, decontamination, duplicates, preference_validation, templates
from workbench.errors import InputError

SAMPLE = 32  # rows on which training and use are compared: the template is the same for all


@dataclass(frozen=True)
class Finding:
    """One thing that the doctor found."""

    level: str
    """"error", "warning" or "note"."""
    code: str
    """A short name that does not change: "truncated"."""
    text: str
    """What it is, how many rows have it, and the mend; one line."""
    rows: tuple[int, ...] = ()
    """Positions of these rows, from 0."""


@dataclass(frozen=True)
class EncodedRow:
    """One conversation as the model is to see it; a preference pair has two."""

    row: int
    messages: list[dict]
    ids: list[int]
    mask: list[int]

    def last(self) -> int | None:
        """The last supervised token."""
        return next((token for token, on in zip(reversed(self.ids), reversed(self.mask), strict=True) if on), None)


def validate(
    rows: Iterable[dict],
    tokenizer: transformers.PreTrainedTokenizerBase,
    max_length: int,
    evaluation: Iterable[dict] | None = None,
    *,
    trainable: Collection[int] | None = None,
) -> list[Finding]:
    """Look for all that is wrong with the rows as this tokenizer shows them to the model, errors first.

    Args:
        rows: training rows as data.load gives them.
        tokenizer: with the chat template of the training.
        max_length: tokens after which the trainer cuts a row.
        evaluation: rows that must not be trained on.
        trainable: under LoRA the ids of the tokens whose embeddings are trained; None where all are.
    """
    rows = list(rows)
    if not rows:
        return [Finding("error", "no-rows", "there are no rows to train on")]
    if not all(row.get("messages") for row in rows) and (broken := find_unpaired(rows)):
        return broken
    if tokenizer.chat_template is None:
        mend = "give it one with chat.with_template, or take a base whose tokenizer has one"
        return [Finding("error", "no-template", f"the tokenizer has no chat template; {mend}")]
    encoded = []
    for i, row in enumerate(rows):
        for messages in _answers_of(row):
            try:
                encoded.append(EncodedRow(i, messages, *templates.encode(tokenizer, messages, content.row_tools(row))))
            except TemplateError as error:
                text = f"the chat template refuses a conversation ({error}); change its turns or the template"
                return [Finding("error", "template-refuses", text, (i,))]
    findings = [
        *_lengths(encoded, max_length),
        *_special_tokens(encoded, tokenizer, trainable),
        *_prompts_in_use(rows, encoded, tokenizer),
        *_texts(rows, tokenizer),
        *_repeats(rows),
        *_of_pairs([*preference_validation.same_answers(rows), *preference_validation.answer_lengths(encoded)]),
    ]
    if evaluation is not None:
        evaluation = list(evaluation)
        if leaked := decontamination.find_leaks(rows, evaluation):
            text = decontamination.describe_leaks(leaked, rows, evaluation)
            findings.append(Finding("error", "overlap", text, tuple(dict.fromkeys(pair.train for pair in leaked))))
    return sorted(findings, key=lambda finding: ("error", "warning", "note").index(finding.level))


def find_unpaired(rows: Iterable[dict]) -> list[Finding]:
    """Look for rows that are no preference pair, and so cannot even be read as one."""
    return _of_pairs(preference_validation.broken_pairs(list(rows)))


def require_valid(findings: list[Finding]) -> None:
    """Stop where there are errors. Raises InputError with the first, its first row, and how many more there are."""
    errors = [finding for finding in findings if finding.level == "error"]
    if errors:
        first = errors[0]
        where = f" (first rows[{first.rows[0]}])" if first.rows else ""
        more = f"; {len(errors) - 1} more: {', '.join(error.code for error in errors[1:])}" if errors[1:] else ""
        raise InputError(f"{first.code}: {first.text}{where}{more}")


def findings_table(findings: list[Finding]) -> pd.DataFrame:
    """A row a finding, for a notebook: level, code, number of rows, text."""
    rows = [(finding.level, finding.code, len(finding.rows), finding.text) for finding in findings]
    return pd.DataFrame(rows, columns=["level", "code", "rows", "finding"])


def _answers_of(row: dict) -> list[list[dict]]:
    return (
        [row["messages"]] if row.get("messages") else [row["prompt"] + row["chosen"], row["prompt"] + row["rejected"]]
    )


def _found(level: str, code: str, rows: Iterable[int], text: str) -> list[Finding]:
    """A finding where any row has it; "{n}" in the text stands for how many do."""
    rows = tuple(dict.fromkeys(rows))
    return [Finding(level, code, text.replace("{n}", f"{len(rows):,}"), rows)] if rows else []


def _of_pairs(faults: Iterable[preference_validation.Fault]) -> list[Finding]:
    return [finding for fault in faults for finding in _found(*fault)]


def _lengths(encoded: list[EncodedRow], max_length: int) -> list[Finding]:
    lengths = np.array([len(tokens.ids) for tokens in encoded])
    if lengths.min() > max_length:
        text = f"all rows are longer than {max_length} tokens (the shortest has {lengths.min()}); raise max_length"
        return [Finding("error", "too-long", text, tuple(dict.fromkeys(tokens.row for tokens in encoded)))]
    cut = [tokens for tokens in encoded if any(tokens.mask[max_length:])]
    lost = sum(not any(tokens.mask[:max_length]) for tokens in cut)
    middle, most = np.percentile(lengths, [50, 95]).round().astype(int)
    answers = sum(sum(tokens.mask) for tokens in encoded) / lengths.sum()
    said = (
        f"{len(lengths):,} conversations: {middle} tokens at the median, 95% up to {most}, the longest {lengths.max()}"
    )
    return [
        *_found(
            "warning",
            "truncated",
            (tokens.row for tokens in cut),
            f"the answers of {{n}} rows are cut at {max_length} tokens, so their end is not learned ({lost} lose the whole "
            "answer and are not trained on); raise max_length or leave them out",
        ),
        Finding("note", "lengths", f"{said}; {answers:.0%} of all tokens are answers"),
    ]


def _special_tokens(
    encoded: list[EncodedRow], tokenizer: transformers.PreTrainedTokenizerBase, trainable: Collection[int] | None
) -> list[Finding]:
    special = {*tokenizer.all_special_ids, *(i for i, t in tokenizer.added_tokens_decoder.items() if t.special)}
    ends = {tokens.row: tokens.last() for tokens in encoded}
    bos = tokenizer.bos_token_id
    pad = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    findings = [
        *_found(
            "error",
            "mask-zero",
            (row for row, end in ends.items() if end is None),
            "no token of {n} rows is trained on: the chat template does not mark the answer; put {% generation %} and "
            "{% endgeneration %} around it, or use chat.with_template",
        ),
        *_found(
            "error",
            "end-token",
            (row for row, end in ends.items() if end is not None and end not in special),
            "the answers of {n} rows do not end with a special token, so the model never learns to stop; put the end token "
            "before {% endgeneration %} in the chat template",
        ),
        *_found(
            "error",
            "doubled-bos",
            (tokens.row for tokens in encoded if bos is not None and tokens.ids[:2] == [bos, bos]),
            "{n} rows begin with two BOS tokens; take it out of the chat template or out of the text",
        ),
    ]
    if pad is not None and pad in ends.values():
        text = (
            f"padding is the end token {tokenizer.decode([pad])!r}: where padding is masked, the end is never learned"
        )
        findings.append(Finding("warning", "pad-is-end", f"{text}; give the tokenizer a pad token of its own"))
    if trainable is not None:
        known = {*trainable, bos, pad, tokenizer.eos_token_id, tokenizer.unk_token_id}
        new = sorted((special - known) & {token for tokens in encoded for token in tokens.ids})
        names = ", ".join(tokenizer.convert_ids_to_tokens(new))
        text = f"LoRA leaves the embeddings of {names} as the base has them, random where it never saw them"
        findings += _found(
            "warning",
            "untrained-tokens",
            (tokens.row for tokens in encoded if not set(new).isdisjoint(tokens.ids)),
            f"{text}; add their ids {new} to trainable_token_indices",
        )
    return findings


def _prompts_in_use(
    rows: list[dict], encoded: list[EncodedRow], tokenizer: transformers.PreTrainedTokenizerBase
) -> list[Finding]:
    """What the model is asked to continue must be what stood before the answer in training."""
    differs = []
    for tokens in encoded[:SAMPLE]:
        asked = templates.prompt_ids(tokenizer, tokens.messages[:-1], content.row_tools(rows[tokens.row]))
        n = len(asked)
        # Of two: a space that the tokenizer sets before a first word counts as the template's where it is a token of its own.
        if tokens.ids[:n] != asked or tokens.last() is not None and 1 not in tokens.mask[n : n + 2]:
            differs.append(tokens.row)
    return _found(
        "error",
        "template-differs",
        differs,
        f"in {{n}} of the first {min(SAMPLE, len(encoded))} rows the prompt in use is not the one in training; make the chat "
        "template write the same with add_generation_prompt as it writes before an answer",
    )


def _texts(rows: list[dict], tokenizer: transformers.PreTrainedTokenizerBase) -> list[Finding]:
    answers = [content.conversation(row)[-1] for row in rows]
    controls = {tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token, *templates.CHAT_TOKENS} - {None}
    turns = [[turn["role"] for side in _answers_of(row) for turn in side] for row in rows]
    return [
        *_found(
            "error",
            "empty-answer",
            (i for i, turn in enumerate(answers) if not (turn["content"] or "").strip() and not turn.get("tool_calls")),
            "{n} answers are empty; write them or remove the rows",
        ),
        *_found(
            "warning",
            "special-in-text",
            (
                i
                for i, row in enumerate(rows)
                if any(
                    token in (turn["content"] or "") for side in _answers_of(row) for turn in side for token in controls
                )
            ),
            f"{{n}} rows have one of {', '.join(sorted(controls))} in their text, which ends or opens a turn; remove it",
        ),
        *_found(
            "warning",
            "turns",
            (i for i, roles in enumerate(turns) if any(a == b != "tool" for a, b in pairwise(roles))),
            "in {n} rows the same role speaks twice in a row; join these turns",
        ),
        *_found(
            "note",
            "short-answers",
            (i for i, turn in enumerate(answers) if len((turn["content"] or "").split()) == 1),
            "{n} answers are a single word: the model learns to be as brief",
        ),
    ]


def _repeats(rows: list[dict]) -> list[Finding]:
    """Rows that say the same again, and rows that answer the same prompt differently."""
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
        *_found("warning", "duplicates", copies, "{n} rows repeat an earlier prompt and answer; remove them"),
        *_found(
            "warning",
            "contradictions",
            sorted(contradictions),
            "{n} rows share their prompt with a row that answers differently; keep one answer if only one can be right",
        ),
    ]
