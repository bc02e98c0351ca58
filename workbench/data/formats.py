"""Turn a row of any common format into messages or a preference pair, by what :mod:`workbench.data.columns` says that its columns mean.

A row that cannot be used raises BadRow. What the fields of a turn mean is in :mod:`workbench.data.turns`.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from workbench.data import messages, preference_pairs, tool_calls, turns
from workbench.data.columns import COLUMNS, MARKS, NAMES, READ_BY_TRAINERS, ROLE_OF, role_of
from workbench.data.values import check_texts, is_empty, leaves, parse_json, storable, text_of
from workbench.errors import BadRow, InputError, known_names, shortened


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
    answers: bool = True
    """Each row needs an answer; False takes prompts without one as well."""
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
    roles = [role.strip() for role, _, _ in pairs]
    if doubled := next((role for role in roles if roles.count(role) > 1), None):
        raise InputError(f'columns "{text}": {doubled} is named twice; name it once')
    return {role: column.strip() for role, (_, _, column) in zip(roles, pairs, strict=True)}


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


def recognise(rows: list[dict], columns: Mapping[str, str], answers: bool = True) -> Layout | None:
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
    if "rejected" in has and {"chosen", "messages"} & has and not answered:
        repeated = 2 * sum(preference_pairs.repeats_prompt(row, first) for row in rows) > len(rows)
        return Layout(
            "chosen/rejected" if "chosen" in has else "messages/rejected",
            "preference",
            first,
            columns,
            prompt_repeated=repeated,
        )
    if "messages" in has and not answered:
        return Layout(NAMES.get((first["messages"], None), first["messages"]), "messages", first, columns, answers)
    if often("query", "answers", "tools") and "response" not in has:
        return Layout("xLAM", "xLAM", first | {"response": "answers"}, columns)
    if often("instruction", "instances"):
        return Layout("self-instruct", "self-instruct", first, columns)
    if {"prompt", "response"} <= has:
        asked, answered = first["prompt"], first["response"]
        name = NAMES.get((asked, answered), f"{asked}/{answered}")
        if name == "Dolly" and first.get("input", "context") != "context":
            name = f"{asked}/{answered}"
        return Layout(name, "pair", first, columns, answers)
    if "prompt" in has and not answers:
        return Layout("prompts", "pair", first, columns, answers)
    return None


def convert(layout: Layout, row: dict) -> dict | None:
    """Return the row with `messages`, or with `prompt`, `chosen` and `rejected`; None for one that is marked as a bad example.

    Columns that are not read are kept, except those that a trainer would take for training data.

    Raises:
        BadRow: the row cannot be used.
    """
    check_texts(row)
    row = _opened(row)
    _check_refused(layout, row)
    if layout.shape != "preference" and not _desirable(layout, row):
        return None
    if layout.shape == "self-instruct":
        row = _first_instance(layout, row)
    tools = tool_calls.check_schemas(parse_json(_pick(layout, row, "tools")[1], "tools"))
    if layout.shape == "preference":
        data = preference_pairs.convert(row, lambda role: _pick(layout, row, role), layout, tools)
        if data:
            _check_unclear(layout, row, data["prompt"])
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


def _opened(row: dict) -> dict:
    """Return the row with the messages and tools that OpenAI's preference format keeps in one object, `input`."""
    inner = row.get("input")
    if not isinstance(inner, dict) or not isinstance(inner.get("messages"), list):
        return row
    return {**row, "input": inner["messages"], **({"tools": inner["tools"]} if inner.get("tools") else {})}


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
            if layout.answers or not is_empty(value):
                answer = messages.listed(value, answered, "assistant", layout.ignored, tools)
                talk = [*talk, *_reasoned(layout, row, answer)]
        _check_unclear(layout, row, talk)
    talk = messages.with_opening(talk, _pick(layout, row, "history"), _pick(layout, row, "system"))
    return messages.check_conversation(talk, asked, answered, layout.answers)


def _check_unclear(layout: Layout, row: dict, talk: list[dict]) -> None:
    """Raise BadRow for a column that may be half of the task: the turns do not contain its text, nor is it the text of all turns."""
    for name in row if "input" not in layout.columns else ():
        if role_of(name) == "unclear" and name not in layout.columns.values():
            texts = [text for text in leaves(row[name]) if text.strip()]
            written = "\n".join(texts)
            said = all(messages.mentioned(text, talk) for text in texts)
            asked = [part for turn in talk if turn["role"] == "user" for part in turn["content"].split("\n\n")]
            if not said and not all(part.strip() in written for part in asked):
                fix = f"say so: columns, --columns input={name}, or --columns input= to leave it out"
                raise BadRow(name, "may belong to the prompt, which does not contain it", fix)


def _reasoned(layout: Layout, row: dict, answer: list[dict]) -> list[dict]:
    """Return the answer with the reasoning of its own column."""
    column, value = _pick(layout, row, "reasoning")
    if is_empty(value):
        return answer
    if str(value).strip().lower() in ("on", "off", "true", "false"):  # a switch and no reasoning
        layout.ignored[column] += 1
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
    """Return whether a label can be the mark of a good or bad answer: one of MARKS, 0 or 1, or nothing."""
    return is_empty(value) or str(value).strip().lower() in (*MARKS, "0", "1", "0.0", "1.0")


def _desirable(layout: Layout, row: dict) -> bool:
    """Return False for an answer that unpaired preference data (KTO) mark as bad."""
    name, value = _pick(layout, row, "label")
    said = str(value).strip().lower()
    if is_empty(value) or said in MARKS:
        return is_empty(value) or MARKS[said]
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
    name, value = _pick(layout, row, "masking")
    if not is_empty(value) and str(value).lower() not in (
        "false",
        "0",
        "user",
        "human",
    ):  # NeMo: the user's turns are masked
        raise BadRow(
            name,
            f"{value!r} says what is learned",
            "give turns a weight of 0 or 1 instead; remove it, or columns, --columns masking=",
        )


def _first_instance(layout: Layout, row: dict) -> dict:
    instances = parse_json(row.get("instances"), "instances")
    layout.read.add("instances")
    if not isinstance(instances, list) or not instances or not isinstance(instances[0], dict):
        raise BadRow("instances", "no instance", "give at least one {input, output}")
    layout.ignored["instances after the first"] += len(instances) > 1
    rest = {name: value for name, value in row.items() if name != "instances"}
    return rest | {name: instances[0].get(name) for name in ("input", "output")}
