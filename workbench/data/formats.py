"""Say which column of a row means what, and turn a row of any common format into messages or a preference pair.

One table, COLUMNS, lists for each role (the prompt, a text that belongs to it, the answer, …) the column names that public data sets
use. A row that cannot be used raises BadRow. What the fields of a turn mean is in :mod:`workbench.data.messages`.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from workbench.data import messages, preference_pairs, tool_calls, turns
from workbench.data.values import check_texts, is_empty, parse_json, storable, text_of
from workbench.errors import BadRow, InputError, known_names, shortened

COLUMNS = {
    "messages": ("messages", "conversations", "conversation", "dialogue", "dialog"),
    "prompt": ("prompt", "instruction", "question", "query", "problem"),
    "input": ("input", "inputs", "context", "passage"),  # belongs to the prompt; input or inputs alone is the prompt
    "system": ("system", "system_prompt", "system_message"),
    "history": ("history",),
    "response": ("output", "outputs", "response", "completion", "answer", "target", "targets", "solution"),
    "reasoning": ("reasoning_content", "reasoning", "thinking", "complex_cot"),  # before the response, as <think>…</think>
    "chosen": ("chosen", "chosen_response", "response_chosen", "preferred", "response_j"),
    "rejected": ("rejected", "rejected_response", "response_rejected", "dispreferred", "response_k"),
    "score_chosen": ("score_chosen", "chosen_score", "rating_chosen", "chosen_rating", "reward_chosen", "chosen_reward"),
    "score_rejected": (
        "score_rejected", "rejected_score", "rating_rejected", "rejected_rating", "reward_rejected", "rejected_reward",
    ),
    "label": ("label", "kto_tag", "desirable", "is_desirable"),  # true or false: a good or a bad answer (KTO)
    "tools": ("tools", "functions"),
    "weight": ("weight", "weights", "sample_weight", "loss_weight", "loss_mask", "loss_scale"),  # of the whole row, refused
}  # fmt: skip
MEDIA = ("image", "images", "image_path", "image_url", "video", "videos", "audio", "audios", "pixel_values")
ROLE_OF = {name: role for role, names in COLUMNS.items() for name in names} | dict.fromkeys(MEDIA, "media")
# Trainers take these for training data whatever else is there, so they are not kept beside messages.
READ_BY_TRAINERS = {"messages", "prompt", "completion", "chosen", "rejected", "text", "input_ids", "labels", "tools"}
NAMES = {
    ("messages", None): "messages", ("conversations", None): "ShareGPT", ("instruction", "output"): "Alpaca",
    ("instruction", "response"): "Dolly",
}  # fmt: skip
KNOWN = (
    "messages or conversations (lists of turns), a prompt (prompt, instruction, question, …) with its answer (output, response, "
    "completion, answer, …), self-instruct (instruction, instances), xLAM (query, answers, tools), pairs (chosen, rejected)"
)


@dataclass
class Layout:
    """How the rows of one table are read."""

    name: str
    """The format as users call it: "Alpaca"."""
    shape: str
    """"pair" (a prompt and its answer), "messages", "preference", "self-instruct" or "xLAM"."""
    first: dict[str, str]
    """Role → the column that most rows have for it, named where a row lacks it."""
    columns: Mapping[str, str]
    """Role → column as the user says; "" for a role that no column has."""
    prompt_repeated: bool = False
    """Chosen and rejected begin with the text of the prompt."""
    read: set[str] = field(default_factory=set)
    """The columns that were read so far."""
    ignored: Counter = field(default_factory=Counter)
    """Columns and fields of turns that were not, with the number of rows."""


def parse_columns(text: str) -> dict[str, str]:
    """Return role → column of "prompt=question,response=answer", as the command line takes it. Raises InputError."""
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    if not all(sign for _, sign, _ in pairs):
        raise InputError(f'columns "{text}": write them as prompt=question,response=answer')
    return {role.strip(): column.strip() for role, _, column in pairs}


def named_roles(columns: Mapping[str, str] | None) -> dict[str, str]:
    """Return `columns` with each role by its own name ("instruction" is a prompt). Raises InputError for an unknown role."""
    roles = {}
    for given, column in (columns or {}).items():
        role = given if given in COLUMNS else ROLE_OF.get(given.lower())
        if role not in COLUMNS:
            raise InputError(f"columns: role {shortened(given)} is unknown{known_names(given, COLUMNS)}")
        if column and column in roles.values():
            raise InputError(f"columns: {column!r} is named for two roles; name it for one")
        roles[role] = column
    return roles


def recognise(rows: list[dict], columns: Mapping[str, str]) -> Layout | None:
    """Return how to read rows like these, by the roles that at least half of them have a column for; None if it is unknown.

    A row that lacks such a column is bad, not of another format.
    """
    counts = {role: Counter(name for row in rows for name in _candidates(row, role, columns)) for role in COLUMNS}
    first = {role: found.most_common(1)[0][0] for role, found in counts.items() if found}
    common = Counter(name for row in rows for name in row)
    has = {
        role for role in COLUMNS if 2 * sum(bool(_candidates(row, role, columns)) for row in rows) >= max(1, len(rows))
    }

    def often(*names: str) -> bool:
        return bool(rows) and all(2 * common[name] >= len(rows) for name in names)

    if "label" not in columns and any(
        not _is_mark(row[name]) for row in rows for name in _candidates(row, "label", columns)
    ):
        columns = {**columns, "label": ""}  # a class or a grade, no mark of good and bad answers
    answered = columns.get("response")  # named by the user, it counts for more than messages or pairs beside it
    if {"chosen", "rejected"} <= has and not answered:
        repeated = 2 * sum(preference_pairs.repeats_prompt(row, first) for row in rows) > len(rows)
        return Layout("chosen/rejected", "preference", first, columns, repeated)
    if "messages" in has and not answered:
        return Layout(NAMES.get((first["messages"], None), first["messages"]), "messages", first, columns)
    if often("query", "answers", "tools") and "response" not in has:
        return Layout("xLAM", "xLAM", first | {"response": "answers"}, columns)
    if often("instruction", "instances"):
        return Layout("self-instruct", "self-instruct", first, columns)
    if {"prompt", "response"} <= has:
        asked, answered = first["prompt"], first["response"]
        name = NAMES.get((asked, answered), f"{asked}/{answered}")
        if name == "Dolly" and first.get("input", "context") != "context":
            name = f"{asked}/{answered}"
        return Layout(name, "pair", first, columns)
    return None


def convert(layout: Layout, row: dict) -> dict | None:
    """Return the row with `messages`, or with `prompt`, `chosen` and `rejected`; None for one that is marked as a bad example.

    Columns that are not read are kept, except those that a trainer would take for training data.

    Raises:
        BadRow: the row cannot be used.
    """
    check_texts(row)
    _check_refused(layout, row)
    if layout.shape != "preference" and not _desirable(layout, row):
        return None
    if layout.shape == "self-instruct":
        row = _first_instance(layout, row)
    tools = tool_calls.check_schemas(parse_json(_pick(layout, row, "tools")[1], "tools"))
    if layout.shape == "preference":
        data = preference_pairs.convert(row, lambda role: _pick(layout, row, role), layout, tools)
    else:
        data = {"messages": _conversation(layout, row, tools)}
    if data is None:
        return None
    if tools:
        data["tools"] = tools
    for name, value in row.items():
        if name in layout.read or name in data:
            continue
        layout.ignored[name] += not is_empty(value)
        if name not in READ_BY_TRAINERS and storable(value):
            data[name] = value
    return data


def _pick(layout: Layout, row: dict, role: str) -> tuple[str, object]:
    """Return the column that plays a role in the row, and its value; the first of those that are filled.

    Raises BadRow where two filled columns say different things.
    """
    found = _candidates(row, role, layout.columns)
    filled = [name for name in found if not is_empty(row[name])]
    if len(filled) > 1 and any(row[name] != row[filled[0]] for name in filled[1:]):
        fix = f"say which one to read: columns, --columns {role}={filled[0]}"
        raise BadRow(filled[1], f"{' and '.join(filled)} could both be the {role}", fix)
    if not found:
        return layout.first.get(role, role), None
    name = (filled or found)[0]
    layout.read.add(name)
    return name, row[name]


def _candidates(row: dict, role: str, columns: Mapping[str, str]) -> list[str]:
    """Return the row's columns that have a role, by the user's word or by their names."""
    if role in columns:
        return [columns[role]] if columns[role] in row else []
    taken = set(columns.values())
    found = [name for name in row if role_of(name) == role and name not in taken]
    if role in ("prompt", "input") and "prompt" not in columns:
        alone = [name for name in row if name.lower() in ("input", "inputs") and name not in taken]
        if alone and not any(role_of(name) == "prompt" for name in row if name not in taken):
            return alone if role == "prompt" else [name for name in found if name not in alone]
    return found


@lru_cache(maxsize=10_000)
def role_of(name: str) -> str | None:
    """Return the role of a column by its name, whatever its case: "Chosen-Rating" is score_chosen."""
    return ROLE_OF.get(name.strip().lower().replace("-", "_").replace(" ", "_"))


def _conversation(layout: Layout, row: dict, tools: list[dict] | None) -> list[dict]:
    """Return the messages of a row with one answer, system turn and history included."""
    if layout.shape == "messages":
        column, value = _pick(layout, row, "messages")
        talk = messages.read_turns(value, column, tools, layout.ignored)
        _check_said(layout, row, talk)
        asked = answered = column
    else:
        asked, value = _pick(layout, row, "prompt")
        talk = messages.listed(value, asked, "user", layout.ignored, tools)
        talk = messages.with_addition(talk, *_pick(layout, row, "input"))
        if layout.shape == "xLAM":
            answered = "answers"
            layout.read.add(answered)
            calls = tool_calls.parse(row.get(answered), answered)
            talk = [*talk, {"role": "assistant", "content": "", "tool_calls": calls}]
            tool_calls.check(talk, [asked, answered], tools)
        else:
            answered, value = _pick(layout, row, "response")
            answer = messages.listed(value, answered, "assistant", layout.ignored, tools)
            talk = [*talk, *_reasoned(layout, row, answer)]
    talk = messages.with_opening(talk, _pick(layout, row, "history"), _pick(layout, row, "system"))
    messages.check_conversation(talk, asked, answered)
    return talk


def _reasoned(layout: Layout, row: dict, answer: list[dict]) -> list[dict]:
    """Return the answer with the reasoning of its own column."""
    column, value = _pick(layout, row, "reasoning")
    if is_empty(value):
        return answer
    content = turns.with_reasoning(answer[-1]["content"], text_of(value, column), column, layout.ignored)
    return [*answer[:-1], answer[-1] | {"content": content}]


def _check_said(layout: Layout, row: dict, talk: list[dict]) -> None:
    """Raise BadRow if messages do not contain the text of a prompt or input column beside them: half of the task would be lost."""
    for role in ("prompt", "input"):
        for name in _candidates(row, role, layout.columns):
            if not messages.mentioned(row[name], talk):
                fix = f"put it into a turn, or leave it out: columns, --columns {role}="
                raise BadRow(name, f"the turns do not contain this {role}", fix)


def _is_mark(value) -> bool:
    """Return whether a label can be the mark of a good or bad answer: true or false, 0 or 1, or nothing."""
    return is_empty(value) or str(value).strip().lower() in ("true", "false", "0", "1", "0.0", "1.0")


def _desirable(layout: Layout, row: dict) -> bool:
    """Return False for an answer that unpaired preference data (KTO) mark as bad."""
    name, value = _pick(layout, row, "label")
    said = str(value).strip().lower()
    if is_empty(value) or said in ("true", "false"):
        return said != "false"
    if "label" not in layout.columns:
        fix = f"say what it is: columns, --columns label={name} if 0 marks a bad answer, --columns label= if not"
        raise BadRow(name, f"{value!r} may mark good and bad answers", fix)
    if said not in ("0", "1", "0.0", "1.0"):
        raise BadRow(name, f"{value!r} where true or false is needed", "mark each answer as good (true) or bad (false)")
    return float(said) == 1


def _check_refused(layout: Layout, row: dict) -> None:
    """Raise BadRow for columns that change what is to be learned and that training cannot honour."""
    for name, value in row.items():
        if role_of(name) == "media" and not is_empty(value) and name not in layout.columns.values():
            raise BadRow(
                name,
                "a picture, video or sound belongs to the row",
                "only text is trained on; leave out rows with media",
            )
    name, value = _pick(layout, row, "weight")
    if not is_empty(value) and str(value) not in ("1", "1.0"):
        raise BadRow(
            name,
            f"{value!r} as the weight of a row",
            "rows cannot be weighted; remove it, or columns, --columns weight=",
        )


def _first_instance(layout: Layout, row: dict) -> dict:
    instances = parse_json(row.get("instances"), "instances")
    layout.read.add("instances")
    if not isinstance(instances, list) or not instances or not isinstance(instances[0], dict):
        raise BadRow("instances", "no instance", "give at least one {input, output}")
    layout.ignored["instances after the first"] += len(instances) > 1
    rest = {name: value for name, value in row.items() if name != "instances"}
    return rest | {name: instances[0].get(name) for name in ("input", "output")}
