"""Find what is wrong with training data and tokenizer before any time is spent on training.

An error makes training senseless, and :func:`require_valid` stops on it; a warning costs quality; a note is worth knowing. Leaked
evaluation rows are not looked for here: :mod:`workbench.data.decontamination` does that before every training.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

import datasets
import numpy as np
import pandas as pd
import transformers

from workbench.data import (
    chat_formats,
    content,
    preference_validation,
    rendering,
    templates,
    text_validation,
    tool_validation,
)
from workbench.data.findings import Finding, by_position, finding, placed
from workbench.errors import InputError, counted, first_line

UNUSABLE = (
    "no-pair",
    "prompt-differs",
    "template-refuses",
    "tools-dropped",
    "empty-answer",
    "chosen-is-rejected",
)  # findings about single rows
SAMPLE = 32  # conversations whose prompts in training and in use are compared: the template is the same for all


@dataclass(frozen=True)
class EncodedConversation:
    """One conversation as the model is to see it; a preference pair has two."""

    row: int
    """Position of its row."""
    messages: list[dict]
    ids: list[int]
    mask: list[int]
    """1 for every supervised token."""

    def last(self) -> int | None:
        """Return the last supervised token, None where there is none."""
        return next((token for token, on in zip(reversed(self.ids), reversed(self.mask), strict=True) if on), None)


def validate(
    rows: Iterable[dict],
    tokenizer: transformers.PreTrainedTokenizerBase,
    max_length: int,
    *,
    trainable: Collection[int] | None = None,
) -> list[Finding]:
    """Find what is wrong with the rows as this tokenizer shows them to the model, errors first.

    Args:
        rows: training rows as data.load returns them.
        tokenizer: with the chat template of the training.
        max_length: number of tokens after which the trainer cuts a row.
        trainable: under LoRA the ids of the tokens whose embeddings are trained; None where all are.
    """
    return encode_and_validate(rows, tokenizer, max_length, trainable=trainable)[1]


def encode_and_validate(
    rows: Iterable[dict],
    tokenizer: transformers.PreTrainedTokenizerBase,
    max_length: int,
    *,
    trainable: Collection[int] | None = None,
) -> tuple[list[EncodedConversation], list[Finding]]:
    """Return what :func:`validate` finds behind the tokenized conversations, so that a training need not tokenize them again.

    There are no conversations where one of them cannot be tokenized; then the findings hold an error.
    """
    rows = list(rows)
    if not rows:
        return [], [Finding("error", "no-rows", "there are no rows to train on")]
    if not all(row.get("messages") for row in rows) and (broken := preference_validation.find_unpaired(rows)):
        return [], broken
    if tokenizer.chat_template is None:
        fix = "add one with data.with_template, or take a base whose tokenizer has one"
        return [], [Finding("error", "no-template", f"the tokenizer has no chat template; {fix}")]
    encoded, refused = _encode(rows, tokenizer)
    if not encoded:
        return [], refused
    findings = [
        *refused,
        *_lengths(encoded, max_length),
        *_special_tokens(encoded, tokenizer, trainable),
        *_prompts_in_use(rows, encoded, tokenizer),
        *tool_validation.tools_dropped(rows, {each.row for each in encoded}, tokenizer),
        *tool_validation.check_arguments(rows),
        *text_validation.check_texts(rows, tokenizer),
        *text_validation.check_repeats(rows),
        *preference_validation.same_answers(rows),
        *preference_validation.answer_lengths(encoded),
    ]
    return encoded, sorted(findings, key=lambda each: ("error", "warning", "note").index(each.level))


def _encode(
    rows: list[dict], tokenizer: transformers.PreTrainedTokenizerBase
) -> tuple[list[EncodedConversation], list[Finding]]:
    """Return the conversations of the rows that the chat template accepts, and a finding for those that it refuses."""
    encoded, reasons = [], {}
    for i, row in enumerate(rows):
        fields = ("messages",) if row.get("messages") else ("prompt + chosen", "prompt + rejected")
        for field, each in zip(fields, content.conversations(row), strict=True):
            try:
                ids, mask = templates.encode(tokenizer, each["messages"], content.row_tools(row))
            except rendering.REFUSALS as error:
                reasons.setdefault(i, f"{field} of {by_position(i)}: {first_line(error)}")
            else:
                encoded.append(EncodedConversation(i, each["messages"], ids, mask))
    first = next(iter(reasons.values()), "")
    text = f"the chat template refuses {{n}} rows (first {first}); change their turns, or drop the rows (drop_bad, --drop-bad)"
    return [each for each in encoded if each.row not in reasons], finding("error", "template-refuses", reasons, text)


def validate_and_drop(
    rows: datasets.Dataset,
    tokenizer: transformers.PreTrainedTokenizerBase,
    max_length: int,
    place: Callable[[int], str] = by_position,
) -> tuple[datasets.Dataset, list[Finding]]:
    """Leave out the rows that cannot be trained on, whatever the settings, and return the others with their findings.

    A note among the findings says which rows were left out. Nothing is left out if no row would remain.

    Args:
        place: name of a row, from its position among those that are given.
    """
    findings, dropped, kept = placed(validate(rows, tokenizer, max_length), place), [], [*range(len(rows))]
    while bad := rows_with(findings, *UNUSABLE):
        if len(bad) == len(rows):
            break
        causes = [each.text.split(";")[0] for each in findings if each.code in UNUSABLE]
        dropped += [
            Finding("note", "dropped", f"dropped {len(bad):,} of {counted(len(rows), 'row')}: {'; '.join(causes)}")
        ]
        left = [i for i in range(len(rows)) if i not in bad]
        rows, kept = rows.select(left), [kept[i] for i in left]
        # again: a row that is no pair hides what else is wrong
        findings = placed(validate(rows, tokenizer, max_length), lambda i, kept=kept: place(kept[i]))
    return rows, findings + dropped


def find_refused(rows: Iterable[dict], tokenizer: transformers.PreTrainedTokenizerBase) -> list[Finding]:
    """Find the rows that the chat template refuses, and nothing else."""
    return _encode(list(rows), tokenizer)[1]


def rows_with(findings: list[Finding], *codes: str) -> set[int]:
    """Return the positions of the rows that have a finding of one of these codes."""
    return {i for each in findings if each.code in codes for i in each.rows}


def require_valid(findings: list[Finding]) -> None:
    """Stop where there are errors. Raises InputError with the first, its first row, and the codes of the others."""
    errors = [each for each in findings if each.level == "error"]
    if errors:
        first = errors[0]
        where = f" (first {first.first})" if first.rows else ""
        more = f"; {len(errors) - 1} more: {', '.join(error.code for error in errors[1:])}" if errors[1:] else ""
        raise InputError(f"{first.code}: {first.text}{where}{more}")


def findings_table(findings: list[Finding]) -> pd.DataFrame:
    """Return one row per finding, for a notebook: level, code, number of rows, text."""
    rows = [(each.level, each.code, len(each.rows), each.text) for each in findings]
    return pd.DataFrame(rows, columns=["level", "code", "rows", "finding"])


def _lengths(encoded: list[EncodedConversation], max_length: int) -> list[Finding]:
    """Report the lengths in tokens, and find the rows that the trainer cuts."""
    lengths = np.array([len(each.ids) for each in encoded])
    if lengths.min() > max_length:
        text = f"all rows are longer than {max_length} tokens (the shortest has {lengths.min()}); raise max_length"
        return finding("error", "too-long", (each.row for each in encoded), text)
    cut = {each.row for each in encoded if any(each.mask[max_length:])}
    lost = {each.row for each in encoded if any(each.mask) and not any(each.mask[:max_length])}
    median, most = np.percentile(lengths, [50, 95]).round().astype(int)
    answers = sum(sum(each.mask) for each in encoded) / lengths.sum()
    return [
        *finding(
            "warning",
            "answer-lost",
            sorted(lost),
            f"no answer is left in {{n}} rows after the cut at {max_length} tokens, so that they are not trained on; raise max_length or "
            "remove the rows",
        ),
        *finding(
            "warning",
            "truncated",
            sorted(cut - lost),
            f"the answers of {{n}} rows are cut at {max_length} tokens, so their end is not learned; raise max_length or remove "
            "the rows",
        ),
        Finding(
            "note",
            "lengths",
            f"{counted(len(lengths), 'conversation')}: the median has {median} tokens, 95% have at most {most}, the longest has "
            f"{lengths.max()}; {answers:.0%} of all tokens are answers",
        ),
    ]


def _special_tokens(
    encoded: list[EncodedConversation],
    tokenizer: transformers.PreTrainedTokenizerBase,
    trainable: Collection[int] | None,
) -> list[Finding]:
    """Find answers that are not marked or have no end token, doubled BOS, padding that hides the end, untrained embeddings."""
    special = chat_formats.special_ids(tokenizer)
    ends = [(each.row, each.last()) for each in encoded]
    unweighted = {each.row for each in encoded if not any(map(_weight, each.messages))}
    bos = tokenizer.bos_token_id
    pad = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    findings = [
        *finding(
            "warning" if any(end is not None for _, end in ends) else "error",
            "weight-zero",
            sorted(unweighted),
            "every answer of {n} rows has weight 0, so nothing is learned from them; remove the rows, or the weight",
        ),
        *finding(
            "error",
            "mask-zero",
            (row for row, end in ends if end is None and row not in unweighted),
            "no token of {n} rows is trained on, because the chat template does not mark the answer; put {% generation %} and "
            "{% endgeneration %} around it, or use data.with_template",
        ),
        *finding(
            "error",
            "end-token",
            (row for row, end in ends if end is not None and end not in special),
            "the answers of {n} rows do not end with a special token, so the model never learns to stop; put the end token "
            "before {% endgeneration %} in the chat template",
        ),
        *finding(
            "error",
            "doubled-bos",
            (each.row for each in encoded if bos is not None and each.ids[:2] == [bos, bos]),
            "the first two tokens of {n} rows are BOS tokens; remove one from the chat template or from the text",
        ),
    ]
    if pad is not None and pad in (end for _, end in ends):
        text = (
            f"padding is the end token {tokenizer.decode([pad])!r}, so where padding is masked the end is never learned"
        )
        findings.append(Finding("warning", "pad-is-end", f"{text}; give the tokenizer a pad token of its own"))
    if trainable is not None:
        known = {*trainable, bos, pad, tokenizer.eos_token_id, tokenizer.unk_token_id}
        new = sorted((special - known) & {token for each in encoded for token in each.ids})
        names = ", ".join(tokenizer.convert_ids_to_tokens(new))
        text = f"LoRA does not train the embeddings of {names}, which are random if the base was never trained on them"
        findings += finding(
            "warning",
            "untrained-tokens",
            (each.row for each in encoded if not set(new).isdisjoint(each.ids)),
            f"{text}; add their ids {new} to trainable_token_indices",
        )
    return findings


def _weight(message: dict) -> float:
    """Return the weight of a turn in training: 0 for all but answers, and for answers that are not to be learned."""
    return message.get("weight", 1) if message["role"] == "assistant" else 0


def _prompts_in_use(
    rows: list[dict], encoded: list[EncodedConversation], tokenizer: transformers.PreTrainedTokenizerBase
) -> list[Finding]:
    """Find rows whose prompt, as the model gets it in use, is not what precedes the answer in training."""
    differs = []
    sample = encoded[:SAMPLE]
    for each in sample:
        prompt = templates.prompt_ids(tokenizer, each.messages[:-1], content.row_tools(rows[each.row]))
        n = len(prompt)
        # Two tokens: a space that the tokenizer puts before a first word may be a token of its own, which counts as the template's.
        unmarked = each.last() is not None and _weight(each.messages[-1]) and 1 not in each.mask[n : n + 2]
        if each.ids[:n] != prompt or unmarked:
            differs.append(each.row)
    return finding(
        "error",
        "template-differs",
        differs,
        f"in {{n}} of the first {len({each.row for each in sample})} rows the prompt in use is not the one in training; make the chat "
        "template write the same for add_generation_prompt as before an answer",
    )
