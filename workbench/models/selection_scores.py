"""Score rows, so that data.select can take the best: one number per row, higher is better, as plain arrays to plot and combine.

The base model judges an answer in plain text, on a quiz sheet ("Q: instruction", new line, "A: answer"). It never saw the chat template,
and losses in the template would say more about the template than about the row. The bare instruction does not work either: a base
model continues it with more instructions, so every answer surprises it (of 300 rows of the pocket world, half of them junk, 89% had an
IFD above 1, on the quiz sheet 59%). Only gradients are taken in the chat template, because they stand for the training to come.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
import transformers

from workbench.data import content, templates
from workbench.errors import InputError
from workbench.models import loading, logprobs

if TYPE_CHECKING:
    import peft


def random_scores(rows: Iterable[dict], seed: int = 0) -> np.ndarray:
    """Return random numbers from 0 to 1: the baseline that every other score has to beat."""
    return np.random.default_rng(seed).random(len(list(rows)))


def answer_lengths(
    rows: Iterable[dict], tokenizer: transformers.PreTrainedTokenizerBase, whole: bool = False
) -> np.ndarray:
    """Return the number of supervised tokens per row: of its answers with their end tokens; of the whole conversation if `whole`.

    As scores they put the longest answers first: "Long Is More for Alignment" (Zhao et al. 2024, arXiv 2402.04833). As `lengths` of
    data.select they are what a row takes from the budget.
    """
    masks = (templates.encode(tokenizer, row["messages"], content.row_tools(row))[1] for row in rows)
    return np.array([len(mask) if whole else sum(mask) for mask in masks])


def perplexity(
    rows: Iterable[dict], model: transformers.PreTrainedModel, tokenizer: transformers.PreTrainedTokenizerBase
) -> np.ndarray:
    """Return the mean log-probability per token of the answer after the instruction, in nats: minus the log of the perplexity.

    The lowest perplexity comes first: what the base model would almost have said itself. Papers disagree on which end is better; negate
    the scores for the other end. On pretraining data the middle did best in Marion et al. 2023 (arXiv 2309.04564): see :func:`middle`.
    """
    return -_mean_losses(model, _quiz_sheets(rows, model, tokenizer))


def middle(scores: np.ndarray) -> np.ndarray:
    """Return scores that put the middle of the given order first and both ends last: minus the distance from the median rank, 0 to -0.5."""
    ranks = np.argsort(np.argsort(scores, kind="stable"))
    return -np.abs(2 * ranks + 1 - len(scores)) / (2 * len(scores))


def ifd(
    rows: Iterable[dict], model: transformers.PreTrainedModel, tokenizer: transformers.PreTrainedTokenizerBase
) -> np.ndarray:
    """Return the instruction-following difficulty: mean loss of the answer after its instruction, over its mean loss without it.

    Cherry LLM (Li et al. 2023, arXiv 2308.12032; there with the Alpaca prompt instead of the quiz sheet): near 0 the instruction gives the
    answer away, near 1 it hardly helps, and above 1 it makes the answer less likely, which the authors read as a mismatch of the two.
    They select by :func:`cherry`.
    """
    pairs = _quiz_sheets(rows, model, tokenizer)
    sheet = tokenizer("A:", add_special_tokens=False)["input_ids"]
    without = [([prompt[0], *sheet], answer) for prompt, answer in pairs]
    return _mean_losses(model, pairs) / _mean_losses(model, without)


def cherry(difficulty: np.ndarray) -> np.ndarray:
    """Return the scores of Cherry LLM from :func:`ifd`: the most difficult rows first, and -inf for those at 1 or above."""
    return np.where(difficulty >= 1, -np.inf, difficulty)


def quality(
    rows: Iterable[dict],
    model: transformers.PreTrainedModel,
    tokenizer: transformers.PreTrainedTokenizerBase,
    shots: Iterable[dict],
) -> np.ndarray:
    """Return the few-shot probability of the answer's tokens, 0 to 1 (geometric mean).

    A substitute: DEITA (Liu et al. 2023, arXiv 2312.15685) asks a model that was trained on ChatGPT's ratings for 1 to 6 points. Without
    such a judge we take the base model's own opinion: few-shot it answers well, so an answer that it finds likely there is, to the
    best of its knowledge, a good one. It cannot judge what it does not know. DEITA's score is quality × complexity, then data.diverse.

    Args:
        shots: about four rows that are known to be good and show what an answer looks like, the same for all rows. No evaluation rows.
    """
    return np.exp(-_mean_losses(model, _quiz_sheets(rows, model, tokenizer, shots)))


def complexity(
    rows: Iterable[dict], model: transformers.PreTrainedModel, tokenizer: transformers.PreTrainedTokenizerBase
) -> np.ndarray:
    """Return the information in the instruction, in nats: the base model's loss summed over all its tokens.

    A substitute for DEITA's trained scorer, which predicts how often an instruction was made harder; each added requirement adds nats.
    Like that scorer's, the value grows with the length of the instruction.
    """
    return _summed_losses(model, [(prompt[:1], prompt[1:]) for prompt, _ in _token_pairs(rows, model, tokenizer)])


def embeddings(
    rows: Iterable[dict], model: transformers.PreTrainedModel, tokenizer: transformers.PreTrainedTokenizerBase
) -> np.ndarray:
    """Return the base model's last hidden states, averaged over instruction and answer: shape (rows, hidden size)."""
    sequences = [prompt + answer for prompt, answer in _token_pairs(rows, model, tokenizer)]
    means = np.empty((len(sequences), model.config.get_text_config().hidden_size), dtype=np.float32)
    for places, ids in logprobs.batches(model, sequences):
        with logprobs.evaluation_mode(model):
            hidden = model(input_ids=ids, use_cache=False, output_hidden_states=True).hidden_states[-1].float()
        for i, states in zip(places, hidden, strict=True):
            means[i] = states[1 : len(sequences[i])].mean(0).cpu()  # without the begin token, the same in all rows
    return means


def beyond_context(
    rows: Iterable[dict],
    model: transformers.PreTrainedModel,
    tokenizer: transformers.PreTrainedTokenizerBase,
    shots: Iterable[dict] = (),
) -> np.ndarray:
    """Return for each row whether its quiz sheet is longer than the model's context, so that it is scored in part.

    What counts then is the beginning of the answer, at most half the context long, and the end of the instruction, as much as fits before it.
    """
    room = loading.context_length(model)
    pairs = _tokenised(rows, tokenizer, _sheet(shots), " ")
    return np.array([1 + len(prompt) + len(answer) > room for prompt, answer in pairs], dtype=bool)


def gradients(
    rows: Iterable[dict],
    model: peft.PeftModel,
    tokenizer: transformers.PreTrainedTokenizerBase,
    dimensions: int = 8_192,
    seed: int = 0,
) -> np.ndarray:
    """Return the gradient of each row's loss (mean over its answers' tokens) in the LoRA weights, in a random projection.

    Half a million numbers per row become `dimensions`: each is added, with a random sign, to a random one of them (feature hashing,
    Weinberger et al. 2009, arXiv 0902.2206). Like the dense random signs of LESS, this preserves cosines, with an error of about
    sqrt(1 / dimensions), but needs no matrix of half a million × 8,192. Cosines are meaningful between arrays of the same seed. Rows
    are read one at a time: 40 seconds per thousand short rows on one core.

    Args:
        model: with a LoRA adapter (models.load_tuned or models.with_adapter). LESS takes one that was tuned on a few random rows; an
            untrained one works, though it separates truncated rows from clean ones less well.

    Returns:
        Shape (rows, dimensions); NaN for rows that have no answer left within the model's context.

    Raises:
        InputError: the model has no LoRA weights.
    """
    weights = [weight for name, weight in model.named_parameters() if "lora_" in name]
    if not weights:
        raise InputError(
            "the model has no LoRA adapter, in which gradients are taken; load a run, or use models.with_adapter"
        )
    generator = torch.Generator().manual_seed(seed)
    total = sum(weight.numel() for weight in weights)
    target = torch.randint(dimensions, (total,), generator=generator).to(model.device)
    sign = (2.0 * torch.randint(2, (total,), generator=generator) - 1).to(model.device)
    frozen = [weight for weight in weights if not weight.requires_grad]
    training, context = model.training, loading.context_length(model)
    model.eval()
    projected = []
    try:
        for weight in frozen:
            weight.requires_grad_(True)
        for row in rows:
            encoded = templates.encode(tokenizer, row["messages"], content.row_tools(row))
            ids, mask = (torch.tensor(part[:context], device=model.device) for part in encoded)
            if not mask[1:].any():
                projected.append(torch.full((dimensions,), torch.nan))
                continue
            counted = mask[None, 1:].bool()
            loss = F.cross_entropy(logprobs.logits_before(model, ids[None], counted), ids[1:][counted[0]])
            flat = torch.cat([part.flatten().float() for part in torch.autograd.grad(loss, weights)])
            projected.append(torch.zeros(dimensions, device=model.device).index_add_(0, target, sign * flat).cpu())
    finally:
        for weight in frozen:
            weight.requires_grad_(False)
        model.train(training)
    return torch.stack(projected).numpy()


def less(
    rows: Iterable[dict],
    targets: Iterable[dict],
    model: peft.PeftModel,
    tokenizer: transformers.PreTrainedTokenizerBase,
    by: str = "skill",
    dimensions: int = 8_192,
) -> np.ndarray:
    """Return the cosine of each row's gradient with that of the targets, the highest over groups of targets: -1 to 1.

    LESS (Xia et al. 2024, arXiv 2402.04333) in one of its variants: plain gradients at one checkpoint, where the paper weights those of
    Adam over the epochs of a warm-up training. As there, the cosine with a group is the mean over its targets. Rows that have no answer
    left within the model's context get -inf.

    Args:
        targets: a few rows of what the model should become good at: of a development split, never of the evaluation that judges the result.
        by: the column that groups the targets; without it they are one group.
        model, dimensions: as in :func:`gradients`.

    Raises:
        InputError: the model has no LoRA weights, or a target has no answer within its context.
    """
    targets = list(targets)
    of_rows, of_targets = (_unit(gradients(each, model, tokenizer, dimensions)) for each in (rows, targets))
    if np.isnan(of_targets).any():
        i = int(np.flatnonzero(np.isnan(of_targets).any(1))[0])
        raise InputError(
            f"targets[{i}] has no answer within the {loading.context_length(model)} tokens that the model reads; remove it"
        )
    cosines = np.nan_to_num(of_rows @ of_targets.T, nan=-np.inf)
    groups = np.array([str(row.get(by)) for row in targets])
    return np.max([cosines[:, groups == group].mean(1) for group in np.unique(groups)], axis=0)


def _tokenised(
    rows: Iterable[dict],
    tokenizer: transformers.PreTrainedTokenizerBase,
    sheet: Callable[[str], str] = "{}\n".format,
    lead: str = "",
) -> Iterator[tuple[list[int], list[int]]]:
    """Yield token ids of each row's instruction, written by `sheet`, and of its answer after `lead`."""
    for asked, answer in map(content.question_and_answer, rows):
        # Not verbose: it would warn of rows longer than the context, which are cut later.
        yield tokenizer([sheet(asked), answer and lead + answer], add_special_tokens=False, verbose=False)["input_ids"]


def _token_pairs(
    rows: Iterable[dict],
    model: transformers.PreTrainedModel,
    tokenizer: transformers.PreTrainedTokenizerBase,
    *text: Callable[[str], str] | str,
) -> list[tuple[list[int], list[int]]]:
    """Return token ids of each row's prompt, a begin token and the instruction, and of its answer; `text` as in :func:`_tokenised`.

    If both together are longer than the model's context, the answer is cut to half of it and the prompt loses its beginning.
    """
    # A document begins with the begin token; for models without one (Qwen) it follows the end token of another document.
    begin = tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
    room, pairs = loading.context_length(model), []
    for prompt, answer in _tokenised(rows, tokenizer, *text):
        answer = answer[: room // 2]
        pairs.append(([begin, *prompt[-(room - 1 - len(answer)) :]], answer))
    return pairs


def _quiz_sheets(
    rows: Iterable[dict],
    model: transformers.PreTrainedModel,
    tokenizer: transformers.PreTrainedTokenizerBase,
    shots: Iterable[dict] = (),
) -> list[tuple[list[int], list[int]]]:
    """Return :func:`_token_pairs` written as quiz sheets, below the solved examples `shots`."""
    return _token_pairs(rows, model, tokenizer, _sheet(shots), " ")


def _sheet(shots: Iterable[dict]) -> Callable[[str], str]:
    solved = [content.question_and_answer(shot) for shot in shots]
    return lambda asked: content.quiz_sheet(asked, solved)


def _mean_losses(model: transformers.PreTrainedModel, pairs: list[tuple[list[int], list[int]]]) -> np.ndarray:
    """Return the mean loss per token of the second parts, in nats; NaN where there is none."""
    with np.errstate(invalid="ignore"):
        return _summed_losses(model, pairs) / np.array([len(answer) for _, answer in pairs])


def _summed_losses(model: transformers.PreTrainedModel, pairs: list[tuple[list[int], list[int]]]) -> np.ndarray:
    """Return the loss of the second parts, each after its first part, summed over its tokens, in nats."""
    scored = [(first + second, [0] * len(first) + [1] * len(second)) for first, second in pairs]
    return np.array([-each.sum().item() for each in logprobs.logprobs(model, scored)])


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
