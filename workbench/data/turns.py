"""Turn one turn of any common format into a message of the chat templates: role, content, tool_calls, name, tool_call_id, weight."""

import json
from collections import Counter

from workbench.data import tool_calls
from workbench.data.values import text_of
from workbench.errors import BadRow

ROLES = {
    "system": ("system", "developer"),
    "user": ("user", "human", "prompter"),
    "assistant": ("assistant", "gpt", "bot", "model", "ai", "chatgpt", "chatbot", "bing", "bard"),
    "call": (
        "function_call",
        "tool_call",
        "tool_calls",
    ),  # the assistant's turn that calls tools, its content the calls as JSON
    "tool": (
        "tool",
        "function",
        "observation",
        "ipython",
        "environment",
        "function_response",
        "tool_response",
        "tool_result",
        "tool_results",
    ),
}
ROLE_OF = {name: role for role, names in ROLES.items() for name in names}

# What the fields of a turn mean. A field in no list is left out and named once.
ROLE_FIELDS = ("role", "from")
CONTENT_FIELDS = ("content", "value", "parts")
REASONING_FIELDS = ("reasoning_content", "reasoning", "thinking", "thought", "thoughts", "cot")
WEIGHT_FIELDS = (  # 0 or false: not learned
    "weight", "train", "training", "trainable", "trained", "train_on_turn", "train_mask", "loss", "loss_mask", "loss_weight", "loss_scale",
    "compute_loss", "learn", "learnable", "supervised",
)  # fmt: skip
INVERSE_WEIGHT_FIELDS = ("masked", "is_masked", "ignore", "ignore_loss", "no_loss")  # true: not learned
REFUSED_FIELDS = {
    "mask": "mask can mean learned or not learned; name it train (true: learned) or masked (true: not learned)",
    "train_detail": "parts of a turn cannot be weighted; split the turn or remove the field",
    "training_detail": "parts of a turn cannot be weighted; split the turn or remove the field",
    "reasoning_details": "write it as one text in reasoning_content",
    "tools": "tools are offered to a whole row; move them to the row's column tools",
    **dict.fromkeys(
        ("image", "images", "video", "videos", "audio", "audios"), "only text is trained on; leave out rows with media"
    ),
}
TEXT_PARTS = {"text": "text", "input_text": "text", "output_text": "text", "refusal": "refusal"}
REASONING_PARTS = {"thinking": "thinking", "reasoning": "text"}
MEDIA_PARTS = ("image", "image_url", "input_image", "video", "video_url", "audio", "audio_url", "input_audio", "file")


def read_turn(turn, place: str, ignored: Counter) -> dict:
    """Return one turn as a message with the keys role and content, and tool_calls, name, tool_call_id or weight where it has them."""
    if not isinstance(turn, dict):
        raise BadRow(place, f"{type(turn).__name__} where a message is needed", "write role and content")
    turn = {_plain(key): value for key, value in turn.items() if value is not None}
    for name, fix in REFUSED_FIELDS.items():
        if turn.get(name):
            raise BadRow(f"{place}.{name}", "this field cannot be used", fix)
    role_field = next((name for name in ROLE_FIELDS if name in turn), "role")
    spoken = turn.get(role_field)
    role = ROLE_OF.get(spoken.strip().lower().replace("-", "_")) if isinstance(spoken, str) else None
    if role is None:
        known = ", ".join(name for names in ROLES.values() for name in names)
        raise BadRow(
            f"{place}.{role_field}", f"unknown role {spoken!r}" if spoken else "missing", f"use one of {known}"
        )
    # "value" beside "content" belongs to the ShareGPT form, and so does "from"
    fields = ("value", "content", "parts") if role_field == "from" else CONTENT_FIELDS
    content_field = next((name for name in fields if name in turn), fields[0])
    calls = tool_calls.of_turn(turn, place)
    said = turn.get(content_field, turn.get("refusal"))  # OpenAI: what the assistant says when it refuses
    content, reasoning = _content(said, f"{place}.{content_field}", role, bool(calls))
    if role == "call":
        calls, content, role = tool_calls.parse(content, f"{place}.{content_field}"), "", "assistant"
    if calls and role != "assistant":
        raise BadRow(f"{place}.tool_calls", f"calls in a turn of the {role}", "only the assistant calls tools")
    content = _with_reasoning(turn, content, reasoning, role, place, ignored)
    message = {"role": role, "content": content}
    if calls:
        message["tool_calls"] = calls
    message |= _speaker(turn, role, place)
    if (weight := _weight(turn, place)) is not None:
        message["weight"] = weight
    read = {role_field, content_field, "tool_calls", "function_call", "name", "tool_call_id", "refusal"}
    known = {*read, *REASONING_FIELDS, *WEIGHT_FIELDS, *INVERSE_WEIGHT_FIELDS}
    ignored.update(
        f"messages[].{name}" for name, filled in turn.items() if name not in known and filled not in ("", [], {})
    )
    return message


def _plain(name: str) -> str:
    """Return a field's name in lower case with underscores: "Tool-Calls" is tool_calls."""
    return name.strip().lower().replace("-", "_").replace(" ", "_")


def plain_text(value, field: str) -> str:
    """Return a text that may be written as the content of a turn: a text, its parts, or an object with either (Bedrock, Gemini)."""
    if isinstance(value, dict):
        value = next((value[name] for name in CONTENT_FIELDS if name in value), value)
    return _content(value, field, "system", False)[0]


def _content(value, field: str, role: str, called: bool) -> tuple[str, str]:
    """Return (text, reasoning) of a turn's content: text, a list of parts, or for a tool any JSON value."""
    if isinstance(value, list) and all(
        isinstance(part, str) or isinstance(part, dict) and isinstance(part.get("type", part.get("text")), str)
        for part in value
    ):
        return _parts(value, field)
    if isinstance(value, dict) and role != "call" and isinstance(value.get("text"), str):
        return value["text"], ""
    if isinstance(value, list | dict) and role in ("tool", "call"):
        return json.dumps(value, ensure_ascii=False), ""
    if value is None and (called or role == "tool"):
        return "", ""
    return text_of(value, field), ""


def _parts(parts: list, field: str) -> tuple[str, str]:
    """Return (text, reasoning) of a content in parts; text parts are joined by line ends."""
    texts, reasoning = [], []
    for i, part in enumerate(parts):
        place = f"{field}[{i}]"
        if isinstance(part, str):
            texts.append(part)
        elif "type" not in part:  # Bedrock, Gemini
            texts.append(part["text"])
        elif part["type"] in TEXT_PARTS:
            texts.append(text_of(part.get(TEXT_PARTS[part["type"]]), f"{place}.{TEXT_PARTS[part['type']]}"))
        elif part["type"] in REASONING_PARTS:
            name = REASONING_PARTS[part["type"]]
            reasoning.append(text_of(part.get(name), f"{place}.{name}"))
        elif part["type"] in MEDIA_PARTS:
            raise BadRow(place, f"{part['type']} in the content", "only text is trained on; leave out rows with media")
        else:
            raise BadRow(place, f"unknown part {part['type']!r}", f"write it as one of {', '.join(TEXT_PARTS)}")
    return "\n".join(texts), "\n".join(reasoning)


def _with_reasoning(turn: dict, content: str, reasoning: str, role: str, place: str, ignored: Counter) -> str:
    field = next((name for name in REASONING_FIELDS if turn.get(name)), None)
    if field:
        reasoning = text_of(turn[field], f"{place}.{field}")
    if reasoning.strip() and role != "assistant":
        raise BadRow(f"{place}.{field or 'content'}", f"reasoning of the {role}", "only the assistant reasons")
    return with_reasoning(content, reasoning, field or "thinking", ignored)


def with_reasoning(content: str, reasoning: str, field: str, ignored: Counter) -> str:
    """Return an answer after its reasoning in <think>…</think>, unless it holds the reasoning already; counted by its field."""
    if not reasoning.strip() or reasoning.strip() in content:
        return content
    ignored[f"reasoning: {field}"] += 1
    return f"<think>\n{reasoning.strip()}\n</think>\n\n{content}".rstrip()


def _speaker(turn: dict, role: str, place: str) -> dict:
    """Return the tool's name and the call's id of a tool result. Raises BadRow for a name that no chat template can write."""
    name = turn.get("name")
    if role == "tool":
        return {key: str(turn[key]) for key in ("name", "tool_call_id") if turn.get(key) not in (None, "")}
    if name and str(name).lower() not in (role, str(turn.get("role")).lower()):
        raise BadRow(
            f"{place}.name",
            f"a name ({name!r}) for the {role}",
            "chat templates write no names; write it into the content",
        )
    return {}


def _weight(turn: dict, place: str) -> int | None:
    """Return 1 if a turn says that it is learned, 0 if it says that it is not, None if it says nothing."""
    said = {}
    for name in (*WEIGHT_FIELDS, *INVERSE_WEIGHT_FIELDS):
        if name in turn:
            value = {"true": 1, "false": 0, "1": 1, "0": 0}.get(str(turn[name]).lower(), turn[name])
            if not isinstance(value, int | float) or value not in (0, 1):
                raise BadRow(
                    f"{place}.{name}", f"{turn[name]!r} where 0 or 1 is needed", "other weights cannot be trained with"
                )
            said[name] = 1 - int(value) if name in INVERSE_WEIGHT_FIELDS else int(value)
    if len(set(said.values())) > 1:
        raise BadRow(place, f"{' and '.join(said)} contradict each other", "keep one of them")
    return next(iter(said.values()), None)
