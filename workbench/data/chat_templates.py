"""The chat templates that are chosen from: ChatML, which is the project's own, and those of families of models, by name."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from workbench.errors import InputError, first_line

CHAT_TOKENS = ("<|im_start|>", "<|im_end|>")
TOOL_TOKENS = ("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>")

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

GRANITE = """\
{%- for message in messages -%}
{{- '<|start_of_role|>' + message.role + '<|end_of_role|>' -}}
{%- if message.role == 'assistant' -%}
{%- generation -%}{{- message.content | trim + '<|end_of_text|>' -}}{%- endgeneration -%}
{%- else -%}
{{- message.content + '<|end_of_text|>' -}}
{%- endif -%}
{{- '\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|start_of_role|>assistant<|end_of_role|>' -}}{%- endif -%}
"""

MISTRAL = """\
{{- bos_token -}}
{%- for message in messages -%}
{%- if message.role == 'assistant' -%}
{%- generation -%}{{- message.content | trim + eos_token -}}{%- endgeneration -%}
{%- elif message.role == 'user' -%}
{{- '[INST]' + message.content + '[/INST]' -}}
{%- else -%}
{{- raise_exception('role "' + message.role + '" in turn ' + loop.index | string) -}}
{%- endif -%}
{%- endfor -%}
"""

# Written before a template that takes system, user and assistant turns with texts alone: tools, calls and what tools return become texts
# in these turns, in ChatML's words. Conversations without tools are handed over as they are.
TOOLS_AS_TEXT = """\
{%- set found = namespace(tools=tools is defined and tools) -%}
{%- for message in messages -%}
{%- if message.role == 'tool' or message.tool_calls -%}{%- set found.tools = true -%}{%- endif -%}
{%- endfor -%}
{%- if found.tools -%}
{%- set found.system = messages[0].content if messages[0].role == 'system' else '' -%}
{%- if tools -%}
{%- set found.system = found.system + ('\\n' if found.system else '') + 'You can call these tools:' -%}
{%- for tool in tools -%}
{%- set found.system = found.system + '\\n' + (tool.function if tool.function else tool) | tojson -%}
{%- endfor -%}
{%- endif -%}
{%- set found.turns = [{'role': 'system', 'content': found.system}] if found.system else [] -%}
{%- for message in messages -%}
{%- set found.text = message.content or '' -%}
{%- for call in message.tool_calls or [] -%}
{%- set call = call.function if call.function else call -%}
{%- set arguments = call.arguments if call.arguments is string else call.arguments | tojson -%}
{%- set found.text = found.text + ('\\n' if found.text else '') -%}
{%- set found.text = found.text + '<tool_call>{"name": "' + call.name + '", "arguments": ' + arguments + '}</tool_call>' -%}
{%- endfor -%}
{%- if message.role == 'tool' and found.after_tool -%}
{%- set found.text = found.turns[-1].content + '\\n<tool_response>' + found.text + '</tool_response>' -%}
{%- set found.turns = found.turns[:-1] + [{'role': 'user', 'content': found.text}] -%}
{%- elif message.role == 'tool' -%}
{%- set found.turns = found.turns + [{'role': 'user', 'content': '<tool_response>' + found.text + '</tool_response>'}] -%}
{%- elif not (message.role == 'system' and loop.first) -%}
{%- set found.turns = found.turns + [{'role': message.role, 'content': found.text}] -%}
{%- endif -%}
{%- set found.after_tool = message.role == 'tool' -%}
{%- endfor -%}
{%- set messages = found.turns -%}
{%- endif -%}
{{- '' }}"""


@dataclass(frozen=True)
class Family:
    """Hold how a family of models writes turns."""

    tokens: tuple[str, ...]
    """Its turn tokens: a vocabulary that has all of them is one of this family."""
    template: str
    """Jinja text that marks answers, or the name of a file that TRL ships."""
    before: str = ""
    """Jinja text that is written before it."""


FAMILIES = {
    "llama3": Family(("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"), "llama3_training.jinja"),
    "gemma3": Family(("<start_of_turn>", "<end_of_turn>"), "gemma3_training.jinja", TOOLS_AS_TEXT),
    "phi3": Family(("<|user|>", "<|assistant|>", "<|system|>", "<|end|>"), "phi3_training.jinja"),
    "cohere": Family(
        ("<|START_OF_TURN_TOKEN|>", "<|END_OF_TURN_TOKEN|>", "<|USER_TOKEN|>", "<|CHATBOT_TOKEN|>", "<|SYSTEM_TOKEN|>"),
        "cohere_training.jinja",
    ),
    "granite": Family(("<|start_of_role|>", "<|end_of_role|>", "<|end_of_text|>"), GRANITE),
    "mistral": Family(("[INST]", "[/INST]"), MISTRAL),
    "chatml": Family(CHAT_TOKENS, CHATML),
}
"""In the order in which they are looked for."""

OWN = "own"
"""Names the template that came with a tokenizer."""

# Written before a template that has no system role; it hands over the turns with the system text in the first user turn.
SYSTEM_FIRST = """\
{%- if messages[0].role == 'system' -%}
{%- set messages = [{'role': 'user', 'content': messages[0].content + '\\n\\n' + messages[1].content}] + messages[2:] -%}
{%- endif -%}
{{- '' }}"""


def read_template(name: str) -> str:
    """Return the Jinja text of a family, or of a file that marks answers. Raises InputError."""
    if name in FAMILIES:
        text = FAMILIES[name].template
        if text.endswith("_training.jinja"):
            text = (_trl_folder() / text).read_text(encoding="utf-8")
        return FAMILIES[name].before + text
    path = Path(name)
    if not path.is_file():
        raise InputError(f'template "{name}" is unknown and no file; known are {", ".join([*FAMILIES, OWN])}')
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise InputError(f"{name}: the template cannot be read ({first_line(error)})") from error
    if "endgeneration" not in text:
        raise InputError(
            f"{name}: the template marks no answers; put {{% generation %}} and {{% endgeneration %}} around the assistant's content and end token"
        )
    return text


def _trl_folder() -> Path:
    """Return the folder of TRL's templates; importing TRL would take seconds."""
    return Path(importlib.util.find_spec("trl").origin).parent / "chat_templates"
