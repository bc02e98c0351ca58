"""Turn messages into token ids and a loss mask, with one chat template for training and inference, and show the mask.

If the template at inference differs from the one in training, nothing fails and the answers are worse: the commonest reason why a
tuned model babbles. So there is one template here (ChatML with the tool format of Hermes and Qwen). It is saved with the tokenizer,
TRL renders training rows with it, and everything else calls :func:`encode` or :func:`prompt_ids`.
"""

from __future__ import annotations

import ctypes
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape

import transformers
from IPython.display import HTML
from jinja2 import TemplateError

from workbench.errors import InputError

CHAT_TOKENS = ("<|im_start|>", "<|im_end|>")
TOOL_TOKENS = ("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>")


# Bounds on what a foreign template may take for one short turn; those of TRL write up to 1,000 characters in a millisecond.
TEMPLATE_SECONDS, TEMPLATE_CHARACTERS = 5, 100_000

# The text between generation and endgeneration is supervised: the answer and its end token. The newline after the end token is
# not: it belongs to whoever opens the next turn. The answer is trimmed, because an answer that begins with a space would teach
# the model to begin with one.
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

# Beside an exported model: its chat template with the marks that training needs.
TRAINING_TEMPLATE = "training_chat_template.jinja"
MARK = re.compile(r"\{%([-+]?)\s*((?:end)?generation)\s*([-+]?)%\}")


def without_marks(template: str) -> str:
    """Return a chat template that plain Jinja parses: each generation tag becomes a comment, which trims white space as the tag did."""
    return MARK.sub(r"{#\1 \2 \3#}", template)


def with_template(
    tokenizer: transformers.PreTrainedTokenizerBase, template: str = CHATML
) -> transformers.PreTrainedTokenizerBase:
    """Set a chat template that marks the supervised text, and return the tokenizer.

    By default a tokenizer with the ChatML tokens gets :data:`CHATML`, whatever template it came with, so that the pocket base and a
    Hub model are trained in the same format. A tokenizer without them keeps its own template, in the training version that TRL
    ships for it.

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
    from trl.chat_template_utils import get_training_chat_template, has_generation_markers  # takes seconds to import

    if not has_generation_markers(tokenizer.chat_template):
        try:
            tokenizer.chat_template = get_training_chat_template(tokenizer)
        except ValueError as error:
            raise InputError(
                f"{name}: the chat template does not mark the answer; in chat_template.jinja, put {{% generation %}} and "
                "{% endgeneration %} around the assistant's content and end token"
            ) from error
    _require_rendering(tokenizer, name)
    return tokenizer


def _require_rendering(tokenizer: transformers.PreTrainedTokenizerBase, name: str) -> None:
    """Raise InputError where the template loops, recurses or writes without end on two short turns. A template is a program of others."""
    fix = "restore chat_template.jinja, or take another base"
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    try:
        for turns in (messages, messages[:1]):
            with time_limit(TEMPLATE_SECONDS):
                text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=len(turns) == 1)
            if len(text) > TEMPLATE_CHARACTERS:
                raise InputError(f"{name}: the chat template writes {len(text):,} characters for one short turn; {fix}")
    except TimeoutError as error:
        raise InputError(
            f"{name}: the chat template takes over {TEMPLATE_SECONDS} s for one short turn; {fix}"
        ) from error
    except (RecursionError, OverflowError, MemoryError) as error:
        raise InputError(f"{name}: the chat template cannot be rendered ({type(error).__name__}); {fix}") from error
    except TemplateError:
        pass  # it may want turns of another kind: validation renders the rows themselves and names those that it refuses


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise TimeoutError inside the `with` block once it has taken so long; any thread may use it, unlike a signal."""
    done, lock, thread = False, threading.Lock(), threading.get_ident()

    def interrupt() -> None:
        with lock:
            if not done:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(TimeoutError))

    timer = threading.Timer(seconds, interrupt)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        with lock:
            done = True
        timer.cancel()


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
    weights = [message.get("weight", 1) for message in messages if message["role"] == "assistant"]
    return ids, mask if all(weights) else _weighted(mask, weights)


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
