"""A number a row, by which rows can be chosen (see curate): higher means choose first. Plain arrays, to be plotted and mixed.

What a model thinks of an answer is asked of the base model, in plain text, on a quiz sheet ("Q: instruction", a new line, "A: answer"). It
never saw the chat template, and the losses under it would say more about that than about the row. The bare instruction will not do
either: a base model goes on with more instructions, so there every answer is a surprise (of 300 rows of the pocket world, half of
them junk, 89% had an IFD above 1, on the quiz sheet 59%). Only gradients are taken in the chat template, since they stand for the
training to come.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
import transformers

from workbench.data import content, templates
from workbench.errors import InputError
from workbench.models import logprobs

if TYPE_CHECKING:
    import peft


def random_scores(rows: Iterable[dict], seed: int = 0) -> np.ndarray:
    """Numbers from 0 to 1 that know nothing of the rows: what every other score has to beat."""
    return np.random.default_rng(seed).random(len(list(rows)))


def answer_lengths(
    rows: Iterable[dict], tokenizer: transformers.PreTrainedTokenizerBase, whole: bool = False
) -> np.ndarray:
    """Tokens of the answers, end tokens too: what is supervised. With `whole`, of the whole conversation.

    As a score, the longest answers first: "Long Is More for Alignment" (Zhao et al. 2024, arXiv 2402.04833). As the `lengths` of
    curate.choose, what a row costs.
    """
    masks = (templates.encode(tokenizer, row["messages"], content.row_tools(row))[1] for row in rows)
    return np.array([len(mask) if whole else sum(mask) for mask in masks])


def perplexity(
    rows: Iterable[dict], model: transformers.PreTrainedModel, tokenizer: transformers.PreTrainedTokenizerBase
) -> np.ndarray:
    """Mean log-probability of the answer's tokens after the instruction, in nats: minus the log of the perplexity.

    The lowest perplexity comes first, what the base model would almost have said itself. Papers disagree about the end to take: on
    pretraining data the middle did best in Marion et al. 2023 (arXiv 2309.04564), for which there is :func:`middle`; for the other
    end, negate.
    """
    return -_means(model, _quiz(rows, model, tokenizer))


def middle(scores: np.ndarray) -> np.ndarray:
    """The same rows, the middle of their order first and both ends last: minus the distance from the median rank, 0 to -0.5."""
    ranks = np.argsort(np.argsort(scores, kind="stable"))
    return -np.abs(2 * ranks + 1 - len(scores)) / (2 * len(scores))


def ifd(
    rows: Iterable[dict], model: transformers.PreTrainedModel, tokenizer: transformers.PreTrainedTokenizerBase
) -> np.ndarray:
    """Instruction-following difficulty: loss of the answer after its instruction over its loss alone, both means over its tokens.

    Cherry LLM (Li et al. 2023, arXiv 2308.12032, with its Alpaca prompt in place of our quiz sheet): near 0 the instruction gives the answer away, near 1 it hardly helps, and
    above 1 it misleads, which the authors take for a mismatch. They choose by :func:`cherry`.
    """
    pairs = _quiz(rows, model, tokenizer)
    sheet = tokenizer("A:", add_special_tokens=False)["input_ids"]
    alone = [([prompt[0], *sheet], answer) for prompt, answer in pairs]
    return _means(model, pairs) / _means(model, alone)


def cherry(difficulty: np.ndarray) -> np.ndarray:
    """Cherry LLM's choice from :func:`ifd`: the most difficult first, and none at 1 or above (-inf)."""
    return np.where(difficulty >= 1, -np.inf, difficulty)


def quality(
    rows: Iterable[dict],
    model: transformers.PreTrainedModel,
    tokenizer: transformers.PreTrainedTokenizerBase,
    shots: Iterable[dict],
) -> np.ndarray:
    """Probability of the answer's tokens after a few solved examples, 0 to 1 (geometric mean).

    A stand-in: DEITA (Liu et al. 2023, arXiv 2312.15685) asks a model that was trained on ChatGPT's marks for 1 to 6 points. Without
    such a judge we take the base model's own: after examples it answers well, so an answer that it finds likely there is, to the best
    of its knowledge, a good one. What it does not know it cannot judge. DEITA's score is quality × complexity, then curate.diverse.

    Args:
        shots: rows known to be good that show what an answer looks like, four or so; the same for all rows. No evaluation rows.
    """
    return np.exp(-_means(model, _quiz(rows, model, tokenizer, shots)))


def complexity(
    rows: Iterable[dict], model: transformers.PreTrainedModel, tokenizer: transformers.PreTrainedTokenizerBase
) -> np.ndarray:
    """Information in the instruction, in nats: how much the base model is surprised by all its tokens together.

    A stand-in for DEITA's trained scorer, which tells how often an instruction was made harder; each added demand adds nats. It grows
    with the length of the instruction, as that one does.
    """
    return _sums(model, [(prompt[:1], prompt[1:]) for prompt, _ in _pairs(rows, model, tokenizer)])


def embeddings(
    rows: Iterable[dict], model: transformers.PreTrainedModel, tokenizer: transformers.PreTrainedTokenizerBase
) -> np.ndarray:
    """The base model's last hidden states, mean over instruction and answer: shape (rows, hidden size)."""
    sequences = [prompt + answer for prompt, answer in _pairs(rows, model, tokenizer)]
    found = np.empty((len(sequences), model.config.get_text_config().hidden_size), dtype=np.float32)
    for places, ids in logprobs.batches(model, sequences):
        with logprobs.evaluation_mode(model):
            hidden = model(input_ids=ids, use_cache=False, output_hidden_states=True).hidden_states[-1].float()
        for i, states in zip(places, hidden, strict=True):
            found[i] = states[1 : len(sequences[i])].mean(0).cpu()  # without the begin token, the same in all rows
    return found


def gradients(
    rows: Iterable[dict],
    model: peft.PeftModel,
    tokenizer: transformers.PreTrainedTokenizerBase,
    dimensions: int = 8_192,
    seed: int = 0,
) -> np.ndarray:
    """Gradient of each row's loss (mean over its answers' tokens) in the LoRA weights, projected at random.

    Half a million numbers a row become `dimensions`: each is added, with a random sign, to a random one of them (feature hashing,
    Weinberger et al. 2009, arXiv 0902.2206). Like the dense random signs of LESS, this keeps cosines, with an error of about
    sqrt(1 / dimensions), but needs no matrix of half a million × 8,192. Cosines mean something between arrays of the same seed. Rows
    are read one at a time: 40 seconds a thousand short rows on one core.

    Args:
        model: with a LoRA adapter (models.load_tuned or models.with_adapter). LESS takes one that was tuned on a few
            random rows; an untrained one works, though it tells truncated rows from clean ones less well.

    Returns:
        Shape (rows, dimensions).

    Raises:
        InputError: the model has no LoRA weights.
    """
    weights = [weight for name, weight in model.named_parameters() if "lora_" in name]
    if not weights:
        raise InputError(
            "the model has no LoRA adapter; gradients are taken in one: load a run, or use models.with_adapter"
        )
    generator = torch.Generator().manual_seed(seed)
    total = sum(weight.numel() for weight in weights)
    target = torch.randint(dimensions, (total,), generator=generator).to(model.device)
    sign = (2.0 * torch.randint(2, (total,), generator=generator) - 1).to(model.device)
    frozen = [weight for weight in weights if not weight.requires_grad]
    training, context = model.training, _context(model)
    model.eval()
    found = []
    try:
        for weight in frozen:
            weight.requires_grad_(True)
        for row in rows:
            encoded = templates.encode(tokenizer, row["messages"], content.row_tools(row))
            ids, mask = (torch.tensor(part[:context], device=model.device) for part in encoded)
            logits = model(input_ids=ids[None], use_cache=False).logits[0, :-1].float()
            loss = F.cross_entropy(logits, ids.masked_fill(mask == 0, -100)[1:])
            flat = torch.cat([part.flatten().float() for part in torch.autograd.grad(loss, weights)])
            found.append(torch.zeros(dimensions, device=model.device).index_add_(0, target, sign * flat).cpu())
    finally:
        for weight in frozen:
            weight.requires_grad_(False)
        model.train(training)
    return torch.stack(found).numpy()


def less(
    rows: Iterable[dict],
    targets: Iterable[dict],
    model: peft.PeftModel,
    tokenizer: transformers.PreTrainedTokenizerBase,
    by: str = "skill",
    dimensions: int = 8_192,
) -> np.ndarray:
    """Cosine of a row's gradient with that of what one wants to be good at: the highest over the groups of targets, -1 to 1.

    LESS (Xia et al. 2024, arXiv 2402.04333), in one of its variants: plain gradients at one checkpoint, where the paper weighs those of
    Adam over the epochs of a warm-up. As there, a group's cosine is the mean over its targets.

    Args:
        targets: a few rows of a development split, never of the evaluation that judges the result.
        by: the column that groups the targets; without it they are one group.
        model, dimensions: as in :func:`gradients`.
    """
    targets = list(targets)
    cosines = (
        _unit(gradients(rows, model, tokenizer, dimensions)) @ _unit(gradients(targets, model, tokenizer, dimensions)).T
    )
    groups = np.array([str(row.get(by)) for row in targets])
    return np.max([cosines[:, groups == group].mean(1) for group in np.unique(groups)], axis=0)


def _pairs(
    rows: Iterable[dict],
    model: transformers.PreTrainedModel,
    tokenizer: transformers.PreTrainedTokenizerBase,
    sheet: Callable[[str], str] = "{}\n".format,
    lead: str = "",
) -> list[tuple[list[int], list[int]]]:
    """Return token ids of each row's prompt (begin token, then the instruction written by `sheet`) and of its answer after `lead`.

    If both together are longer than the model's context, the answer is cut to half of it and the prompt loses its beginning.
    """
    # A document begins with the begin token; for models without one (Qwen) it follows the end token of another document.
    begin = tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
    room, pairs = _context(model), []
    for asked, answer in map(content.question_and_answer, rows):
        texts = [sheet(asked), answer and lead + answer]
        prompt, reply = tokenizer(texts, add_special_tokens=False)["input_ids"]
        reply = reply[: room // 2]
        pairs.append(([begin, *prompt[-(room - 1 - len(reply)) :]], reply))
    return pairs


def _quiz(
    rows: Iterable[dict],
    model: transformers.PreTrainedModel,
    tokenizer: transformers.PreTrainedTokenizerBase,
    shots: Iterable[dict] = (),
) -> list[tuple[list[int], list[int]]]:
    """Return :func:`_pairs` written as quiz sheets, below the solved examples `shots`."""
    solved = [content.question_and_answer(shot) for shot in shots]
    return _pairs(rows, model, tokenizer, lambda asked: content.quiz_sheet(asked, solved), " ")


def _context(model: transformers.PreTrainedModel) -> int:
    return model.config.get_text_config().max_position_embeddings


def _means(model: transformers.PreTrainedModel, pairs: list[tuple[list[int], list[int]]]) -> np.ndarray:
    """Mean loss a token of the second parts; NaN where there is none."""
    with np.errstate(invalid="ignore"):
        return _sums(model, pairs) / np.array([len(answer) for _, answer in pairs])


def _sums(model: transformers.PreTrainedModel, pairs: list[tuple[list[int], list[int]]]) -> np.ndarray:
    """Loss of the second parts, each read after its first, in nats, summed over tokens."""
    scored = [(first + second, [0] * len(first) + [1] * len(second)) for first, second in pairs]
    return np.array([-each.sum().item() for each in logprobs.logprobs(model, scored)])


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
