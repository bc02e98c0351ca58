"""Score a model's replies, one row per prompt, and measure how far tuning has moved it: KL divergence and loss on plain text.

Two scores are kept apart: `follows` (the reply has the requested form) and `correct` (its content is true as well).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd
import torch.nn.functional as F
import transformers

from workbench import hub, recipes
from workbench.data import content, templates
from workbench.errors import InputError, known_names, shortened
from workbench.graders import grade
from workbench.models import adapters, generation, loading, logprobs
from workbench.store import Run, Store, digest

REPLY_TOKENS = 48  # maximum length of a reply; the longest correct answer of the pocket evaluation has 29 tokens

# Prompt mode → strings that end the reply: what a base model writes after its answer does not count against it.
MODES = {"chat": None, "plain": ["\n\n"], "few_shot": ["\n\n", "\nQ:"], "cloze": ["\n"]}

# Columns of the table that score() returns.
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
    """Let the model answer every row, greedily, and grade the replies.

    A base model knows no chat format and has no reason to stop, so it is scored in other prompt modes, which cut off what follows its
    answer:

    * ``chat``: in the chat template, as a tuned model is used; the whole reply counts.
    * ``plain``: the text of the prompt and a newline; the first paragraph of the reply counts.
    * ``few_shot``: after up to `k` solved examples; the reply counts up to the next blank line or question.
    * ``cloze``: the bare text of the prompt, an unfinished sentence; the first line of the reply counts.

    Args:
        rows: evaluation rows: `messages` whose last one is the reference answer, and a `check`.
        shots: rows that few-shot examples come from: those of the row's own family where there are any, else all.
        max_new_tokens: maximum length of a reply.
        batch_size: prompts per batch; None chooses it (see :func:`workbench.models.generation.generate`).

    Returns:
        One row per prompt, in order: index, family, skill, axis, split, prompt, response, reference, follows, correct,
        stops (the reply ended by itself), length (tokens of the reply, up to the cut).

    Raises:
        InputError: the mode or a check is unknown, a row has no check, or few-shot has no examples.
    """
    rows = list(rows)
    prompts = encode_prompts(tokenizer, rows, mode, shots, k)
    references = [content.message_text(row["messages"][-1]) for row in rows]
    expected = [len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in references]
    replies = generation.generate(model, tokenizer, prompts, max_new_tokens, batch_size, MODES[mode], expected=expected)
    records = [
        {**graded(index, row, reply, mode), "reference": reference}
        for index, (row, reference, reply) in enumerate(zip(rows, references, replies, strict=True))
    ]
    return pd.DataFrame(records, columns=COLUMNS)


def graded(index: int, row: dict, reply: generation.Reply, mode: str) -> dict[str, object]:
    """Return the columns of :func:`score` that one reply to an evaluation row has; all but the reference."""
    response = reply.text if mode == "chat" else reply.text.strip()
    result = grade(row["check"], response)
    return {
        "index": index,
        **{key: row.get(key) for key in ("family", "skill", "axis", "split")},
        "prompt": content.plain_prompt(row),
        "response": response,
        "follows": result.follows,
        "correct": result.correct,
        "stops": reply.stopped,
        "length": reply.tokens,
    }


def encode_prompts(
    tokenizer: transformers.PreTrainedTokenizerBase,
    rows: Sequence[dict],
    mode: str,
    shots: Iterable[dict] = (),
    k: int = 4,
) -> list[list[int]]:
    """Return the prompt of each evaluation row as token ids, in one of the prompt modes. Raises InputError as :func:`score` does."""
    shots = list(shots)
    if mode not in MODES:
        raise InputError(f"mode {shortened(mode)} is unknown{known_names(mode, MODES)}")
    for index, row in enumerate(rows):
        if not row.get("check"):
            raise InputError(
                f'evaluation row {index}: "check" is missing; give every row the name and arguments of a grader'
            )
    if mode == "chat":
        return [templates.prompt_ids(tokenizer, row["messages"][:-1], content.row_tools(row)) for row in rows]
    texts = [
        content.few_shot_prompt(i, row, shots, k) if mode == "few_shot" else content.plain_prompt(row)
        for i, row in enumerate(rows)
    ]
    return [generation.text_ids(tokenizer, text + "\n" * (mode == "plain")) for text in texts]


def evaluation_key(rows: Sequence[dict]) -> list[str]:
    """Return what identifies evaluation rows in the run store: hashes of the prompts, and of the checks with the recipe."""
    return [content.content_hash(rows), digest([[row.get("check") for row in rows], recipes.SCORING])]


def kl_divergence(
    policy: transformers.PreTrainedModel,
    reference: transformers.PreTrainedModel,
    tokenizer: transformers.PreTrainedTokenizerBase,
    rows: Iterable[dict],
    max_length: int = 512,
    batch_size: int | None = None,
) -> float:
    """Return KL(policy ‖ reference) of the next-token distributions, in nats per token: how far a model has moved from another.

    This is the mean over all tokens of the rows' answers under teacher forcing; 0 for the same model. The caller reports which answers
    the rows hold: references, or replies of one of the models.
    """
    total, count = 0.0, 0
    scored = logprobs.encode_rows(tokenizer, rows, max_length)
    for _, tokens, logits in logprobs.predictions([policy, reference], scored, batch_size):
        p, q = (F.log_softmax(each, dim=-1).to(policy.device) for each in logits)
        total += F.kl_div(q, p, reduction="sum", log_target=True).item()  # PyTorch takes the target, p, second
        count += len(tokens)
    return total / count


def text_loss(
    model: transformers.PreTrainedModel,
    tokenizer: transformers.PreTrainedTokenizerBase,
    texts: Sequence[str],
    max_length: int = 512,
) -> float:
    """Return the mean loss over all tokens of plain texts, in nats per token; each text is a document, cut at `max_length` tokens.

    There is no chat format in it: it measures how much a tuned model has kept of the language that its base was trained on.

    Raises:
        InputError: no text has a token to predict.
    """
    ids = [generation.text_ids(tokenizer, text)[:max_length] for text in texts]
    scored = [(each, [0] + [1] * (len(each) - 1)) for each in ids if len(each) > 1]
    if not scored:
        raise InputError("no text has a token to predict; give texts of a few words or more")
    return logprobs.mean_loss(model, scored)


def score_run(run: Run, evaluation: list[dict], store: Store | None = None) -> pd.DataFrame:
    """Return the table of :func:`score` for a run in its chat template; it is stored with the run."""

    def make() -> pd.DataFrame:
        return score(*adapters.load_any(run), evaluation)

    return (store or Store()).cached([run, *evaluation_key(evaluation)], "chat", make)


def score_base(
    base: str, evaluation: list[dict], mode: str, *, shots: Sequence[dict] = (), store: Store | None = None
) -> pd.DataFrame:
    """Return the table of :func:`score` for a base model in one of the prompt modes; it is kept in the store."""

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
    """Return how much higher the loss of a run's model on plain texts is than that of its base, in nats per token.

    The texts should be like those that the base was trained on and the tuning data do not hold. The base of a QLoRA run is loaded in 4
    bits, so that the cost of rounding is not charged to tuning. Both losses are kept in the store.
    """
    store, spec, texts_hash = store or Store(), run.spec, digest(list(texts))

    def before() -> pd.DataFrame:
        base = loading.load_base(spec["base"], spec["method"] == "qlora", revision=spec["revision"])
        tokenizer = loading.load_tokenizer(spec["base"], spec["revision"])
        return pd.DataFrame({"loss": [text_loss(adapters.unpacked(base), tokenizer, texts)]})

    def after() -> pd.DataFrame:
        return pd.DataFrame({"loss": [text_loss(*adapters.load_any(run), texts)]})

    folder = hub.fetch(spec["base"], spec["revision"])
    base = store.cached([loading.fingerprint(folder), spec["method"] == "qlora", texts_hash], "text-loss", before)
    return store.cached([run, texts_hash], "text-loss", after)["loss"].item() - base["loss"].item()


def drift(run: Run, start: Run, rows: Sequence[dict], store: Store | None = None) -> float:
    """Return :func:`kl_divergence` of a run's model from that of another run, on the reference answers of the rows."""

    def make() -> pd.DataFrame:
        (policy, tokenizer), (reference, _) = (adapters.load_any(each) for each in (run, start))
        return pd.DataFrame({"drift": [kl_divergence(policy, reference, tokenizer, rows)]})

    return (store or Store()).cached([run, start, content.content_hash(rows)], "drift", make)["drift"].item()
