"""Decode in batches, greedily or by sampling: prompts as token ids in, replies out, in the same order.

Decoding one prompt at a time is by far the slowest on any machine (1 thousand tokens per second against 30 thousand with 64
prompts at a time, for a small Llama on 2 cores), and left padding gives the same tokens: a test compares the two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial

import torch
import transformers
from torch.nn.utils.rnn import pad_sequence

from workbench.data import templates
from workbench.errors import InputError
from workbench.models import loading, memory, precision

ROUND_TOKENS = 16  # tokens of the first two rounds of decoding

SHORT_REPLY = 5  # tokens of a short reply: a batch of such is done while another one has just begun


@dataclass(frozen=True)
class Reply:
    """Hold what a model wrote after one prompt."""

    text: str
    """The new text, without the end token or the stop string. Other special tokens stay visible: tool calls need theirs."""
    tokens: int
    """Number of tokens in `text`."""
    stopped: bool
    """The model ended by itself, with an end token. False when a stop string or the token limit ended it."""


def text_ids(tokenizer: transformers.PreTrainedTokenizerBase, text: str) -> list[int]:
    """Return the token ids of plain text as the beginning of a document: after the begin token if the model has one."""
    begin = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    return begin + tokenizer(text, add_special_tokens=False)["input_ids"]


def generate(
    model: transformers.PreTrainedModel,
    tokenizer: transformers.PreTrainedTokenizerBase,
    prompts: list[list[int]],
    max_new_tokens: int = 64,
    batch_size: int | None = None,
    stop: list[str] | None = None,
    *,
    expected: list[int] | None = None,
    temperature: float = 0.0,
    seed: int = 0,
) -> list[Reply]:
    """Continue every prompt, greedily or by sampling.

    Args:
        model: any causal language model of transformers or PEFT; it is put in evaluation mode.
        prompts: token ids, a list for each prompt; lengths may differ.
        max_new_tokens: limit of a reply; higher costs time for models that do not stop by themselves.
        batch_size: prompts decoded together; None takes what is fast, see :func:`rows_at_a_time`.
        stop: texts at which a reply is cut once it has begun (white space before it does not count), for models that have no other end
            (few-shot: the next question).
        expected: tokens that each reply is thought to take, if anybody knows: with it short replies wait for no long ones, and short
            prompts are not padded to long ones. The replies are the same.
        temperature: 0 takes the likeliest token each time; 1 samples from the model's own distribution, all of it; between
            them the likely tokens are preferred.
        seed: of the sampling: the same replies for the same prompts, limits and batch size. No other random draw is touched.

    Returns:
        One reply a prompt, in the order of the prompts.

    Raises:
        InputError: a prompt is empty, or leaves no room for the reply in the model's context.
    """
    ends, stop = end_tokens(tokenizer), stop or []
    written = generate_ids(
        model,
        tokenizer,
        prompts,
        max_new_tokens,
        batch_size,
        stop,
        expected=expected,
        temperature=temperature,
        seed=seed,
    )
    return [read_reply(tokenizer, prompt[-1], new, ends, stop) for prompt, new in zip(prompts, written, strict=True)]


def generate_ids(
    model: transformers.PreTrainedModel,
    tokenizer: transformers.PreTrainedTokenizerBase,
    prompts: list[list[int]],
    max_new_tokens: int,
    batch_size: int | None = None,
    stop: list[str] | None = None,
    *,
    expected: list[int] | None = None,
    temperature: float = 0.0,
    seed: int = 0,
) -> list[list[int]]:
    """Return what :func:`generate` reads: the new token ids of each prompt, with what a batch wrote behind the end token of a row."""
    room = loading.context_length(model) - max_new_tokens
    for index, prompt in enumerate(prompts):
        if not 0 < len(prompt) <= room:
            raise InputError(
                f"prompt {index} has {len(prompt)} tokens; the context of this model leaves 1 to {room} "
                f"beside {max_new_tokens} new ones; shorten the prompt or lower max_new_tokens"
            )
    batch_size = batch_size or rows_at_a_time(model, max(map(len, prompts), default=0) + max_new_tokens)
    ends, stop = end_tokens(tokenizer), stop or []
    written: list[list[int]] = [[] for _ in prompts]
    # Prompts of like length share a batch, so that little is padding; the longest go first, so that a lack of memory shows at once.
    short = [bool(expected) and expected[i] <= SHORT_REPLY for i in range(len(prompts))]
    left = sorted(range(len(prompts)), key=lambda i: (not short[i], len(prompts[i])), reverse=True)

    def alike(a: int, b: int) -> bool:
        return not expected or (short[a] == short[b] and len(prompts[a]) <= 2 * len(prompts[b]))

    model.eval()
    with one_output_matrix(model), torch.random.fork_rng(devices=[model.device] if model.device.type == "cuda" else []):
        torch.manual_seed(seed)
        for limit in decoding_rounds(max_new_tokens):
            decoding = decoding_config(limit, temperature, ends, tokenizer.pad_token_id)
            for batch in similar_batches(left, batch_size, alike):
                ids, attention = pad_left([prompts[i] + written[i] for i in batch], tokenizer.pad_token_id)
                output = model.generate(
                    input_ids=ids.to(model.device),
                    attention_mask=attention.to(model.device),
                    generation_config=decoding,
                    stopping_criteria=[StopStrings(tokenizer, stop, ids.shape[1])] if stop else None,
                )
                for i, new in zip(batch, output[:, ids.shape[1] :].tolist(), strict=True):
                    written[i] += new
            left = [i for i in left if not is_finished(tokenizer, written[i], ends, stop)]
    return written


def one_output_matrix(model: transformers.PreTrainedModel) -> AbstractContextManager:
    """Let the output layer of a large model on a CPU read its input as one matrix, while the context lasts.

    transformers gives it a slice, the last place of each prompt. Where the weights take no gradient, torch multiplies such a slice prompt by
    prompt and copies all weights for each: with Gemma 3 270M 11 GB, and nine times the time.
    """
    if not precision.is_large(model):
        return nullcontext()
    # a copy, since the last place of one prompt alone counts as contiguous and is multiplied in the same way
    one = partial(torch.clone, memory_format=torch.contiguous_format)
    return model.get_output_embeddings().register_forward_pre_hook(lambda layer, given: (one(given[0]),))


def rows_at_a_time(model: transformers.PreTrainedModel, length: int) -> int:
    """Return how many prompts are decoded together: 64 on a GPU; on a CPU 16 with a small model, whose numbers its caches then hold (64 are
    slower), and 48 with a large one, which reads all of its weights for each token; fewer where a quarter of the free memory holds no more.

    Args:
        length: of the longest prompt with its reply, in tokens.
    """
    if not precision.is_large(model):
        return 16 if model.device.type == "cpu" else 64
    config, bytes_each = model.config.get_text_config(), model.dtype.itemsize
    # keys and values of all layers, once more while a token is added, and the logits of one token with their copies in fp32
    row = 4 * config.num_hidden_layers * config.hidden_size * bytes_each * length + config.vocab_size * (bytes_each + 8)
    return max(1, min(48, memory.free_bytes("cpu") // 4 // row))


def complete(
    model: transformers.PreTrainedModel,
    tokenizer: transformers.PreTrainedTokenizerBase,
    texts: Iterable[str],
    max_new_tokens: int = 60,
) -> list[str]:
    """Return what the model writes after each text, read as the beginning of a document."""
    prompts = [text_ids(tokenizer, text) for text in texts]
    return [reply.text for reply in generate(model, tokenizer, prompts, max_new_tokens)]


def answer(
    model: transformers.PreTrainedModel,
    tokenizer: transformers.PreTrainedTokenizerBase,
    instructions: Iterable[str],
    max_new_tokens: int = 64,
) -> list[str]:
    """Return the model's answer to each instruction, asked in its chat template as the only turn."""
    turns = [[{"role": "user", "content": text}] for text in instructions]
    prompts = [templates.prompt_ids(tokenizer, messages) for messages in turns]
    return [reply.text for reply in generate(model, tokenizer, prompts, max_new_tokens)]


def similar_batches(items: Iterable[int], size: int, alike: Callable[[int, int], bool]) -> list[list[int]]:
    """Cut items, in their order, into batches of `size` or fewer, each `alike` the first of its batch."""
    found: list[list[int]] = []
    for item in items:
        if found and len(found[-1]) < size and alike(found[-1][0], item):
            found[-1].append(item)
        else:
            found.append([item])
    return found


def decoding_rounds(max_new_tokens: int) -> list[int]:
    """Return the tokens of each round of decoding, together `max_new_tokens`: 16, 16, 32, 64 and so on.

    A batch lasts as long as its longest reply, and most replies are short. So after each round the unfinished ones move together into
    full batches; reading their prompts again costs little beside decoding.
    """
    sizes = []
    while sum(sizes) < max_new_tokens:
        sizes.append(min(max(ROUND_TOKENS, sum(sizes)), max_new_tokens - sum(sizes)))
    return sizes


def decoding_config(
    max_new_tokens: int, temperature: float, ends: list[int], pad: int
) -> transformers.GenerationConfig:
    """Return greedy decoding for temperature 0, else sampling from the whole distribution.

    All is said: what a Hub model's own generation_config asks for (sampling, a repetition penalty) would be inherited else.
    """
    sampling = {"temperature": temperature, "top_k": 0, "top_p": 1.0} if temperature else {}
    return transformers.GenerationConfig(
        max_new_tokens=max_new_tokens, do_sample=bool(temperature), **sampling, num_beams=1, repetition_penalty=1.0,
        no_repeat_ngram_size=0, eos_token_id=ends, pad_token_id=pad,
    )  # fmt: skip


def is_finished(
    tokenizer: transformers.PreTrainedTokenizerBase, new: list[int], ends: list[int], stop: list[str]
) -> bool:
    """Return whether a reply holds an end token or, if there are any, a stop string."""
    return bool(set(new) & set(ends)) or (bool(stop) and first_stop(tokenizer.decode(new), stop) is not None)


def first_stop(text: str, stop: list[str]) -> int | None:
    """Return where the first of the stop strings begins, after any white space at the beginning of the text; None where there is none."""
    begun = len(text) - len(text.lstrip())
    return min((place for string in stop if (place := text.find(string, begun)) >= 0), default=None)


class StopStrings:
    """End a row once its new text holds one of the strings.

    The `stop_strings` of transformers look at the end of the whole sequence: a string that begins in the prompt and ends in the
    reply stops the row there, though the reply does not hold it.
    """

    def __init__(self, tokenizer: transformers.PreTrainedTokenizerBase, strings: list[str], prompt_width: int):
        self.tokenizer, self.strings, self.prompt_width = tokenizer, strings, prompt_width

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs) -> torch.Tensor:
        """Return which of the replies hold one of the strings."""
        texts = self.tokenizer.batch_decode(input_ids[:, self.prompt_width :])
        return torch.tensor([first_stop(text, self.strings) is not None for text in texts], device=input_ids.device)


def end_tokens(tokenizer: transformers.PreTrainedTokenizerBase) -> list[int]:
    """Return the ids that end a reply: the end of a document and, if the tokenizer has a chat template, the end of a turn."""
    ends = {tokenizer.eos_token_id}
    if tokenizer.chat_template is not None:
        ends.add(templates.end_of_turn(tokenizer))
    return sorted(ends)


def pad_left(prompts: list[list[int]], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return token ids and attention mask of shape (prompts, longest); padding is before the prompt, so that all end together."""
    rows = [torch.tensor(prompt) for prompt in prompts]
    ids = pad_sequence(rows, batch_first=True, padding_value=pad, padding_side="left")
    attention = pad_sequence([torch.ones_like(row) for row in rows], batch_first=True, padding_side="left")
    return ids, attention


def read_reply(
    tokenizer: transformers.PreTrainedTokenizerBase, last: int, new: list[int], ends: list[int], stop: list[str]
) -> Reply:
    """Turn the new ids of one row into a reply: cut at the first end token, then at the first stop string before it."""
    end = next((position for position, token in enumerate(new) if token in ends), None)
    kept = new[:end]
    # Read behind the last token of the prompt: whether a first word shows the space of its token depends on what stands before it.
    text = tokenizer.decode([last, *kept]).removeprefix(tokenizer.decode([last]))
    # Looked for after the cut: a row that ended by a stop string is padded up to its batch, and padding may be an end token.
    place = first_stop(text, stop)
    if place is None:
        return Reply(text, len(kept), end is not None)
    text = text[:place]
    return Reply(text, len(tokenizer(text, add_special_tokens=False)["input_ids"]), False)
