"""Scores of a model's answers, a row a prompt, and what can be said from them: shares and paired differences with intervals.

Two scores are never mixed: `follows` (the answer has the form that was asked for) and `correct` (its content is true).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd
import torch
import torch.nn.functional as F
import transformers

from workbench import hub
from workbench.data import content, templates
from workbench.errors import InputError
from workbench.graders import grade
from workbench.models import adapters, generation, loading
from workbench.store import Run, Store, digest

# Part of the name of kept scores and replies; raise it when a change here, in aims.py or in generate.py changes what is said or measured.
RECIPE = 2


REPLY_TOKENS = 48  # limit of a reply; the longest right answer of the pocket evaluation has 29


# Of asking, and what ends a reply there: what a base model writes after its answer is not held against it.
MODES = {"chat": None, "plain": ["\n\n"], "few_shot": ["\n\n", "\nQ:"], "cloze": ["\n"]}


# of the table that score() returns
COLUMNS = ("index", "family", "skill", "axis", "split", "prompt", "response", "reference", "follows", "correct", "stops",
           "length")  # fmt: skip


def score(
    model: transformers.PreTrainedModel,
    tokenizer: transformers.PreTrainedTokenizerBase,
    rows: Iterable[dict],
    mode: str = "chat",
    *,
    shots: Iterable[dict] = (),
    k: int = 4,
    max_new_tokens: int = REPLY_TOKENS,
    batch_size: int | None = None,
) -> pd.DataFrame:
    """Let the model answer every row and check the answers.

    A base model has no chat format and no reason to stop, so it is scored in several ways and what follows its answer is left out:

    * ``chat``: in the chat template, as a tuned model is used; the whole reply counts.
    * ``plain``: the text of the prompt and a newline; the first paragraph of the reply counts.
    * ``few_shot``: after up to `k` solved examples; the reply counts up to the next blank line or question.
    * ``cloze``: the text of the prompt as it stands, an unfinished sentence; the first line of the reply counts.

    Args:
        rows: evaluation rows: `messages` whose last one is the reference answer, and a `check`.
        shots: rows that few-shot examples come from: of the row's own family where there are any, else of all.
        max_new_tokens: limit of a reply.

    Returns:
        A row a prompt, in order: index, family, skill, axis, split, prompt, response, reference, follows, correct,
        stops (ended by itself), length (tokens of the reply, up to where it was cut).

    Raises:
        InputError: an unknown mode, a row without a check, few-shot without examples.
    """
    rows, shots = list(rows), list(shots)
    if mode not in MODES:
        raise InputError(f'mode "{mode}" is unknown; use one of {", ".join(MODES)}')
    for index, row in enumerate(rows):
        if not row.get("check"):
            raise InputError(f'evaluation row {index}: "check" is missing; only rows with a check can be scored')
    if mode == "chat":
        prompts = [templates.prompt_ids(tokenizer, row["messages"][:-1], content.row_tools(row)) for row in rows]
    else:
        texts = [
            content.few_shot_prompt(i, row, shots, k) if mode == "few_shot" else content.plain_prompt(row)
            for i, row in enumerate(rows)
        ]
        prompts = [generation.text_ids(tokenizer, text + "\n" * (mode == "plain")) for text in texts]
    references = [content.message_text(row["messages"][-1]) for row in rows]
    expected = [len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in references]
    replies = generation.generate(model, tokenizer, prompts, max_new_tokens, batch_size, MODES[mode], expected=expected)
    records = []
    for index, (row, reference, reply) in enumerate(zip(rows, references, replies, strict=True)):
        response = reply.text if mode == "chat" else reply.text.strip()
        result = grade(row["check"], response)
        records.append(
            {
                "index": index,
                **{key: row.get(key) for key in ("family", "skill", "axis", "split")},
                "prompt": content.plain_prompt(row),
                "response": response,
                "reference": reference,
                "follows": result.follows,
                "correct": result.correct,
                "stops": reply.stopped,
                "length": reply.tokens,
            }
        )
    return pd.DataFrame(records, columns=COLUMNS)


def evaluation_key(rows: Sequence[dict]) -> list[str]:
    """What names evaluation rows in the run store: the prompts and the checks. The same prompts under other checks have other scores."""
    return [content.content_hash(rows), digest([[row.get("check") for row in rows], RECIPE])]


def kl_divergence(
    policy: transformers.PreTrainedModel,
    reference: transformers.PreTrainedModel,
    tokenizer: transformers.PreTrainedTokenizerBase,
    rows: Iterable[dict],
    max_length: int = 512,
    batch_size: int = 16,
) -> float:
    """How far a model has moved from another: KL(policy ‖ reference) of what they would say next, in nats a token.

    The mean over all tokens of the rows' answers, each read behind the tokens before it; 0 for the same model. Which answers
    the rows hold (references, or what one of the models said) is for the caller to say beside the number.
    """
    total, count = 0.0, 0
    policy.eval(), reference.eval()
    for ids, labels in templates.label_batches(tokenizer, rows, max_length, batch_size):
        answers = labels[:, 1:] != -100
        with torch.no_grad():
            logits = (model(input_ids=ids.to(model.device), use_cache=False).logits for model in (policy, reference))
            p, q = (F.log_softmax(each[:, :-1][answers.to(each.device)].float(), dim=-1) for each in logits)
        total += F.kl_div(q, p, reduction="sum", log_target=True).item()  # q comes first there: p is the target
        count += int(answers.sum())
    return total / count


def text_loss(
    model: transformers.PreTrainedModel,
    tokenizer: transformers.PreTrainedTokenizerBase,
    texts: Sequence[str],
    max_length: int = 512,
) -> float:
    """Mean loss over all tokens of plain texts, in nats a token; each text stands alone, as a document, and is cut at `max_length`.

    No chat format comes in: a model that tuning has changed is asked what it still knows of the language that its base read.

    Raises:
        InputError: no text with a token to predict.
    """
    total = count = 0
    for text in texts:
        ids = torch.tensor([generation.text_ids(tokenizer, text)[:max_length]], device=model.device)
        if (predicted := ids.shape[1] - 1) > 0:
            with torch.no_grad():
                total += predicted * model.eval()(input_ids=ids, labels=ids, use_cache=False).loss.item()
            count += predicted
    if not count:
        raise InputError(f"{len(texts)} texts without a token to predict; give texts of a few words or more")
    return total / count


def score_run(run: Run, evaluation: list[dict], store: Store | None = None) -> pd.DataFrame:
    """Table of :func:`workbench.evaluate.scoring.score` for a run in its chat template; kept with the run."""

    def make() -> pd.DataFrame:
        return score(*adapters.load_any(run), evaluation)

    return (store or Store()).cached([run, *evaluation_key(evaluation)], "chat", make)


def score_base(
    base: str, evaluation: list[dict], mode: str, *, shots: Sequence[dict] = (), store: Store | None = None
) -> pd.DataFrame:
    """The same for a base model in one of the modes of :func:`workbench.evaluate.scoring.score`; kept in the store."""

    def make() -> pd.DataFrame:
        return score(*adapters.load_any(base), evaluation, mode, shots=shots)

    key = [
        loading.fingerprint(hub.fetch(base)),
        *evaluation_key(evaluation),
        mode,
        content.content_hash(shots),
    ]
    return (store or Store()).cached(key, f"base-{mode}", make)


def forgetting(run: Run, texts: Sequence[str], store: Store | None = None) -> float:
    """How much worse a run's model predicts plain texts than its base does, in nats a token: loss after minus loss before.

    Texts: of the kind that the base read and the tuning did not show. The base of a QLoRA run is taken in 4 bits, so that what
    rounding costs is not charged to tuning. Both losses are kept in the store.
    """
    store, spec, kept = store or Store(), run.spec, digest(list(texts))

    def before() -> pd.DataFrame:
        model = adapters.unpacked(loading.load_base(spec["base"], spec["method"] == "qlora", revision=spec["revision"]))
        tokenizer = loading.load_tokenizer(spec["base"], spec["revision"])
        return pd.DataFrame({"loss": [text_loss(model, tokenizer, texts)]})

    def after() -> pd.DataFrame:
        return pd.DataFrame({"loss": [text_loss(*adapters.load_any(run), texts)]})

    folder = hub.fetch(spec["base"], spec["revision"])
    base = store.cached([loading.fingerprint(folder), spec["method"] == "qlora", kept], "text-loss", before)
    return store.cached([run, kept], "text-loss", after)["loss"].item() - base["loss"].item()


def drift(run: Run, start: Run, rows: Sequence[dict], store: Store | None = None) -> float:
    """:func:`workbench.evaluate.scoring.kl_divergence` of a run's model from that of another run, on the reference answers of the rows."""

    def make() -> pd.DataFrame:
        (policy, tokenizer), (reference, _) = (adapters.load_any(each) for each in (run, start))
        return pd.DataFrame({"drift": [kl_divergence(policy, reference, tokenizer, rows)]})

    return (store or Store()).cached([run, start, content.content_hash(rows)], "drift", make)["drift"].item()
