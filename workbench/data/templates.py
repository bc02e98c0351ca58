"""The one way from messages to token ids and mask, in training and in use, and a coloured view of the mask.

A training on one template and a use with another is the commonest reason for a tuned model that babbles: nothing fails, the
answers are only worse. So there is one template here (ChatML with the tool format of Hermes and Qwen), it travels with the
tokenizer, TRL renders training rows with it, and everything else calls :func:`encode` or :func:`prompt_ids`.
"""

from __future__ import annotations

from html import escape

import transformers
from IPython.display import HTML

from workbench.errors import InputError

CHAT_TOKENS = ("<|im_start|>", "<|im_end|>")


TOOL_TOKENS = ("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>")


# Supervised is what stands between generation and endgeneration: the answer and the token that ends it. The newline after the
# end token is the template's, not the model's: it is written by whoever opens the next turn. The answer is trimmed, since an
# answer that opens with a space would train the model to open with one.
CHATML = """\
{%- set system = messages[0].content if messages[0].role == 'system' else '' -%}
{%- if system or tools -%}
{{- '<|im_start|>system\\n' + system -}}
{%- if tools -%}
{{- '\\n' if system -}}
{{- 'You can call these tools:' -}}
{%- for tool in tools -%}{{- '\\n' + (tool.function if tool.function else tool) | tojson -}}{%- endfor -%}
{%- endif -%}
{{- '<|im_end|>\\n' -}}
{%- endif -%}
{%- for message in messages -%}
{%- if message.role == 'assistant' -%}
{{- '<|im_start|>assistant\\n' -}}
{%- generation -%}
{{- (message.content or '') | trim -}}
{%- for call in message.tool_calls or [] -%}
{%- set call = call.function if call.function else call -%}
{{- '\\n' if message.content or not loop.first -}}
{{- '<tool_call>{"name": "' + call.name + '", "arguments": ' -}}
{{- call.arguments if call.arguments is string else call.arguments | tojson -}}
{{- '}</tool_call>' -}}
{%- endfor -%}
{{- '<|im_end|>' -}}
{%- endgeneration -%}
{{- '\\n' -}}
{%- elif message.role == 'tool' -%}
{{- '<|im_start|>tool\\n<tool_response>' + (message.content or '') + '</tool_response><|im_end|>\\n' -}}
{%- elif message.role == 'user' -%}
{{- '<|im_start|>user\\n' + message.content + '<|im_end|>\\n' -}}
{%- elif not (message.role == 'system' and loop.first) -%}
{{- raise_exception('role "' + message.role + '" in turn ' + loop.index | string) -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
"""


def with_template(
    tokenizer: transformers.PreTrainedTokenizerBase, template: str = CHATML
) -> transformers.PreTrainedTokenizerBase:
    """Give the tokenizer a chat template that marks what is supervised, and return it.

    With the default, a tokenizer that has the ChatML tokens gets :data:`CHATML`, whatever template it came with, so that the
    pocket base and a Hub model are trained in the same form. A tokenizer without them keeps its own template, in the training
    version that TRL ships for it.

    Raises:
        InputError: the tokenizer has neither the ChatML tokens nor a template that TRL knows.
    """
    vocabulary = tokenizer.get_vocab()
    if template != CHATML or all(token in vocabulary for token in CHAT_TOKENS):
        tokenizer.chat_template = template
        return tokenizer
    name = tokenizer.name_or_path or "tokenizer"
    if tokenizer.chat_template is None:
        raise InputError(
            f"{name}: the tokenizer has no chat template and no {' or '.join(CHAT_TOKENS)} token; "
            "take a base with a chat template, or add the two tokens to its tokenizer"
        )
    from trl.chat_template_utils import (  # loads models' code, in seconds
        get_training_chat_template,
        has_generation_markers,
    )

    if not has_generation_markers(tokenizer.chat_template):
        try:
            tokenizer.chat_template = get_training_chat_template(tokenizer)
        except ValueError as error:
            raise InputError(
                f"{name}: the chat template does not mark the answer; put {{% generation %}} and {{% endgeneration %}} "
                "around the assistant's content and end token in chat_template.jinja"
            ) from error
    return tokenizer


def encode(
    tokenizer: transformers.PreTrainedTokenizerBase, messages: list[dict], tools: list[dict] | None = None
) -> tuple[list[int], list[int]]:
    """Token ids of a whole conversation, and a mask of the same length: 1 on every answer and the token that ends it."""
    # Not verbose: of a long row it would say that it cannot be used. Here rows are cut, and the doctor counts them.
    encoded = tokenizer.apply_chat_template(
        messages, tools=tools, tokenize=True, return_dict=True, return_assistant_tokens_mask=True,
        tokenizer_kwargs={"verbose": False},
    )  # fmt: skip
    return encoded["input_ids"], encoded["assistant_masks"]


def prompt_ids(
    tokenizer: transformers.PreTrainedTokenizerBase, messages: list[dict], tools: list[dict] | None = None
) -> list[int]:
    """Token ids of the messages followed by the opening of the assistant's turn: what the model is to continue."""
    encoded = tokenizer.apply_chat_template(
        messages, tools=tools, tokenize=True, return_dict=True, add_generation_prompt=True
    )
    return encoded["input_ids"]


def end_of_turn(tokenizer: transformers.PreTrainedTokenizerBase) -> int:
    """Id of the token that ends an answer: the last supervised one of any conversation."""
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
    """Show a conversation token by token: what is supervised in blue and bold, the prompt in grey, special tokens outlined.

    A left border marks where each token begins; a character that is split over several tokens shows as "�" in each.
    """
    return HTML(TOKEN_STYLE + mask_html(tokenizer, *encode(tokenizer, messages, tools)))


def mask_html(tokenizer: transformers.PreTrainedTokenizerBase, ids: list[int], mask: list[int]) -> str:
    """The same for any token ids and their mask, as HTML that wants :data:`STYLE` before it."""
    special = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
    spans = []
    for token, supervised in zip(ids, mask, strict=True):
        classes = " ".join(["answer"] * supervised + ["special"] * (token in special))
        text = escape(tokenizer.decode([token])).replace("\n", "↵\n")
        spans.append(f'<span class="{classes}">{text}</span>')
    return f'<div class="wb-mask">{"".join(spans)}</div>'
