"""Turn messages into token ids and a loss mask, with one chat template for training and inference, and show the mask.

If the template at inference differs from the one in training, nothing fails and the answers are worse: the commonest reason why a
tuned model babbles. So there is one template here (ChatML with the tool format of Hermes and Qwen). It is saved with the tokenizer,
TRL renders training rows with it, and everything else calls :func:`encode` or :func:`prompt_ids`.
"""

from __future__ import annotations

import re
from functools import lru_cache
from html import escape

import transformers
from IPython.display import HTML

from workbench.data import chat_formats
from workbench.errors import InputError

# Beside an exported model: its chat template with the marks that training needs.
TRAINING_TEMPLATE = "training_chat_template.jinja"
COMMENT = re.compile(r"\{#([-+]?).*?([-+]?)#\}", re.DOTALL)
MARK = re.compile(r"\{%([-+]?)\s*((?:end)?generation)\s*([-+]?)%\}")


def without_marks(template: str) -> str:
    """Return a chat template that plain Jinja parses: each generation tag becomes a comment, which trims white space as the tag did.

    Comments lose their text, because those of TRL name the tags.
    """
    return MARK.sub(r"{#\1 \2 \3#}", COMMENT.sub(r"{#\1 \2#}", template))


def with_template(
    tokenizer: transformers.PreTrainedTokenizerBase, template: str | None = None
) -> transformers.PreTrainedTokenizerBase:
    """Give a tokenizer a chat template that marks the supervised text, and return the tokenizer.

    Args:
        tokenizer: is changed; see :func:`workbench.data.chat_formats.fit` for what it gets.
        template: name or file of a template; None takes the first that fits.
    """
    chat_formats.fit(tokenizer, template)
    return tokenizer


def encode(
    tokenizer: transformers.PreTrainedTokenizerBase, messages: list[dict], tools: list[dict] | None = None
) -> tuple[list[int], list[int]]:
    """Return the token ids of a conversation and a mask of the same length, 1 on every answer and its end token.

    Answers with weight 0 are not supervised.
    """
    # Not verbose: the tokenizer would warn that a long row cannot be used, but here rows are cut and validation counts them.
    encoded = tokenizer.apply_chat_template(
        messages, tools=tools, tokenize=True, return_dict=True, return_assistant_tokens_mask=True,
        tokenizer_kwargs={"verbose": False},
    )  # fmt: skip
    ids, mask = encoded["input_ids"], encoded["assistant_masks"]
    if any(mask):
        mask = _cut_after_end(ids, mask, _end_token(tokenizer, tokenizer.chat_template))
    weights = [message.get("weight", 1) for message in messages if message["role"] == "assistant"]
    return ids, mask if all(weights) else _weighted(mask, weights)


@lru_cache(maxsize=4)
def _end_token(tokenizer: transformers.PreTrainedTokenizerBase, template: str) -> int | None:
    """Return the id that ends an answer, looked for once per tokenizer and template."""
    return chat_formats.end_token(tokenizer)


def _cut_after_end(ids: list[int], mask: list[int], end: int | None) -> list[int]:
    """Return the mask without what the template marks behind the end token of an answer, such as Gemma's newline."""
    cut, behind, ended = list(mask), [], False
    for i in reversed(range(len(ids))):
        if not mask[i]:
            behind, ended = [], False
        elif ids[i] == end:
            for place in behind:
                cut[place] = 0
            behind, ended = [], True
        elif not ended:
            behind.append(i)
    return cut


def _weighted(mask: list[int], weights: list[int]) -> list[int]:
    """Return the mask without the answers of weight 0. Each answer is one run of ones: the header of the next turn ends it."""
    starts = [i for i, bit in enumerate(mask) if bit and not (i and mask[i - 1])]
    if len(starts) != len(weights):
        raise InputError(
            f"the chat template marks {len(starts)} of {len(weights)} answers, so answers with weight 0 cannot be masked; "
            "take a template that marks each answer"
        )
    ends = [*starts[1:], len(mask)]
    masked = [range(start, end) for start, end, weight in zip(starts, ends, weights, strict=True) if not weight]
    return [0 if any(i in span for span in masked) else bit for i, bit in enumerate(mask)]


def prompt_ids(
    tokenizer: transformers.PreTrainedTokenizerBase, messages: list[dict], tools: list[dict] | None = None
) -> list[int]:
    """Return the token ids of the messages and the header of the assistant's turn: the prompt that the model continues."""
    encoded = tokenizer.apply_chat_template(
        messages, tools=tools, tokenize=True, return_dict=True, add_generation_prompt=True,
        tokenizer_kwargs={"verbose": False},  # as above
    )  # fmt: skip
    return encoded["input_ids"]


def end_of_turn(tokenizer: transformers.PreTrainedTokenizerBase) -> int:
    """Return the id of the token that ends an answer: the last supervised token of any conversation."""
    ids, mask = encode(tokenizer, [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}])
    return max((position, token) for position, token in enumerate(ids) if mask[position])[1]


TOKEN_STYLE = """<style>
.wb-mask { font-family: monospace; line-height: 1.9; white-space: pre-wrap; color: #222; background: #fff; padding: 6px }
.wb-mask span { border-left: 1px solid #bbb; padding: 2px 1px; background: #eee; color: #555 }
.wb-mask .answer { background: #b9dcf5; color: #000; font-weight: bold }
.wb-mask .special { outline: 1px solid #555; outline-offset: -1px }
</style>"""


def show_mask(
    tokenizer: transformers.PreTrainedTokenizerBase, messages: list[dict], tools: list[dict] | None = None
) -> HTML:
    """Show a conversation token by token: supervised tokens blue and bold, the prompt grey, special tokens outlined.

    A left border marks the beginning of each token; a character that is split over several tokens appears as "�" in each.
    """
    return HTML(TOKEN_STYLE + mask_html(tokenizer, *encode(tokenizer, messages, tools)))


def mask_html(tokenizer: transformers.PreTrainedTokenizerBase, ids: list[int], mask: list[int]) -> str:
    """Return the HTML of any token ids and their mask, to be put after :data:`TOKEN_STYLE`."""
    special = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
    spans = []
    for token, supervised in zip(ids, mask, strict=True):
        classes = " ".join(["answer"] * supervised + ["special"] * (token in special))
        text = escape(tokenizer.decode([token])).replace("\n", "↵\n")
        spans.append(f'<span class="{classes}">{text}</span>')
    return f'<div class="wb-mask">{"".join(spans)}</div>'
