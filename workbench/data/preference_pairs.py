"""Turn a row of preference data in any common format into prompt, chosen and rejected, each a list of messages."""

import math
from collections.abc import Callable

from workbench.data import messages
from workbench.data.values import is_empty, parse_json
from workbench.errors import BadRow

ANSWERS = ("chosen", "rejected")


def repeats_prompt(row: dict, first: dict[str, str]) -> bool:
    """Return whether chosen and rejected are texts that begin with the prompt and continue after it."""
    texts = [row.get(first.get(role, role)) for role in ("prompt", *ANSWERS)]
    if not all(isinstance(text, str) and text.strip() for text in texts):
        return False
    prompt, *answers = (text.strip() for text in texts)
    return all(_after(prompt, answer) is not None for answer in answers)


def convert(row: dict, pick: Callable[[str], tuple], layout, tools: list[dict] | None) -> dict | None:
    """Return the pair as {"prompt", "chosen", "rejected"}; None where the chosen answer has no higher score.

    The prompt is a column of its own, a conversation, or the turns with which both message lists begin. Without a chosen answer, it is the
    last turn of a conversation.

    Args:
        pick: role → (column, value) of this row.
        layout: the :class:`workbench.data.formats.Layout` of the table.

    Raises:
        BadRow: the row cannot be used.
    """
    columns, values = zip(*(pick(role) for role in ANSWERS), strict=True)
    if is_empty(values[0]) and not is_empty(values[1]):
        columns, values = _beside_messages(pick, columns, values)
    kinds = ["text" if isinstance(value, str) and not value.startswith('[{"') else "messages" for value in values]
    if None not in values and kinds[0] != kinds[1]:
        wrong = f"{columns[0]} is {kinds[0]} and {columns[1]} is {kinds[1]}"
        raise BadRow(columns[0], wrong, "write both the same way")
    chosen, rejected = (
        messages.listed(value, column, "assistant", layout.ignored, tools)
        for column, value in zip(columns, values, strict=True)
    )
    asked, value = pick("prompt")
    addition, history, system = pick("input"), pick("history"), pick("system")
    if any(turn["role"] == "user" for turn in chosen):
        prompt, chosen, rejected = _split_shared(chosen, rejected, columns[0])
        asked_for = value if value is None else messages.listed(value, asked, "user", layout.ignored, tools)
        for column, said, role in ((asked, asked_for, "prompt"), (*addition, "input")):
            if not messages.mentioned(said, prompt):
                fix = f"put it into a turn, or leave it out: columns, --columns {role}="
                raise BadRow(column, f"the turns of {columns[0]} do not contain this {role}", fix)
    else:
        if value is None:
            asked, value = pick("messages")
        if value is None or value == []:
            fix = "give prompt or instruction, or message lists that begin with the same turns"
            raise BadRow("prompt", "missing", fix)
        prompt = messages.listed(value, asked, "user", layout.ignored, tools)
        if prompt and prompt[-1]["role"] == "assistant":
            raise BadRow(
                asked, "ends with an answer", "end it with the user's turn; the answers are chosen and rejected"
            )
        if layout.prompt_repeated:
            chosen, rejected = _without_prompt(prompt, chosen), _without_prompt(prompt, rejected)
        prompt = messages.with_addition(prompt, *addition)
    prompt = messages.with_opening(prompt, history, system)
    for column, answer in zip(columns, (chosen, rejected), strict=True):
        messages.check_conversation(prompt + answer, asked, column)
        _check_answer(answer, column)
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected} if _better(pick) else None


def _beside_messages(pick: Callable[[str], tuple], columns: tuple, values: tuple) -> tuple[tuple, tuple]:
    """Return (columns, values) of a conversation, whose last turn is the chosen answer, and a rejected one beside it (ms-swift)."""
    column, value = pick("messages")
    talk = parse_json(value, column)
    if not isinstance(talk, list) or not talk:
        return columns, values
    answer = {"role": "assistant", "content": values[1]} if isinstance(values[1], str) else values[1]
    rejected = answer if isinstance(answer, list) else [answer]
    return (column, columns[1]), (talk, rejected if rejected[0] == talk[0] else [*talk[:-1], *rejected])


def _split_shared(chosen: list[dict], rejected: list[dict], column: str) -> tuple[list[dict], list[dict], list[dict]]:
    """Return the turns that both begin with, and what follows in each.

    trl.extract_prompt does the same for lists of turns, but importing it takes seconds, and two texts it cuts in mid-sentence.
    """
    shared = 0  # the last message is an answer even where chosen and rejected are the same
    while shared < min(len(chosen), len(rejected)) - 1 and chosen[shared] == rejected[shared]:
        shared += 1
    prompt, chosen, rejected = chosen[:shared], chosen[shared:], rejected[shared:]
    if any(turn["role"] == "user" for turn in chosen + rejected):
        fix = "let both begin with the same turns, and differ in the last answer alone"
        raise BadRow(column, "its prompt differs from that of rejected", fix)
    return prompt, chosen, rejected


def _check_answer(answer: list[dict], column: str) -> None:
    if any(turn.get("weight") == 0 for turn in answer):
        raise BadRow(
            column, "an answer with weight 0", "both answers of a pair are compared; remove the weight or the row"
        )


def _without_prompt(prompt: list[dict], answer: list[dict]) -> list[dict]:
    rest = _after(prompt[-1]["content"].strip(), answer[0]["content"].strip())
    return [answer[0] | {"content": rest}, *answer[1:]] if rest is not None else answer


def _after(prompt: str, text: str) -> str | None:
    """Return what a text says after the prompt; None if it does not begin with it or says nothing more."""
    rest = text[len(prompt) :]
    if not text.startswith(prompt) or not rest.strip() or prompt[-1].isalnum() and rest[0].isalnum():
        return None
    return rest.strip()


def _better(pick: Callable[[str], tuple]) -> bool:
    """Return whether the chosen answer has the higher score, if both have one (UltraFeedback has ties, and some the wrong way round)."""
    scores = [_score(*pick(f"score_{answer}")) for answer in ANSWERS]
    return None in scores or scores[0] > scores[1]


def _score(column: str, value) -> float | None:
    """Return a score as a number; None for an empty cell, null or NaN."""
    if value is None or isinstance(value, str) and not value.strip():
        return None
    try:
        score = float(value)
    except (TypeError, ValueError, OverflowError):
        raise BadRow(
            column, f"{str(value)[:40]!r} where a score is needed", "write it as a number, or leave it empty"
        ) from None
    return None if math.isnan(score) else score
