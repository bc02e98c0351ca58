"""Find faults in the texts of training rows: empty answers, markers of chat templates, turns out of order, duplicates, contradictions."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise

import transformers

from workbench.data import content, duplicates
from workbench.data.findings import Finding, finding
from workbench.data.values import says_nothing

# What common chat templates write around turns. A text that contains it was rendered by such a template before, or quotes one.
MARKERS = {
    "ChatML": ("<|im_start|>", "<|im_end|>", "<|im_sep|>"),
    "Llama 2, Mistral": ("[INST]", "[/INST]", "<<SYS>>", "<</SYS>>", "<s>", "</s>"),
    "Mistral": (
        "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_CALLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]", "[SYSTEM_PROMPT]",
        "[/SYSTEM_PROMPT]",
    ),
    "Llama 3": (
        "<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|eom_id|>",
        "<|python_tag|>",
    ),
    "Llama 4": ("<|header_start|>", "<|header_end|>", "<|eot|>"),
    "Gemma": ("<start_of_turn>", "<end_of_turn>", "<bos>", "<eos>"),
    "Phi, Zephyr": ("<|system|>", "<|user|>", "<|assistant|>", "<|end|>"),
    "GPT": ("<|endoftext|>", "<|endofprompt|>"),
    "gpt-oss": ("<|start|>", "<|channel|>", "<|message|>", "<|return|>", "<|call|>"),
    "DeepSeek": ("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>"),
    "Command R": (
        "<BOS_TOKEN>", "<|START_OF_TURN_TOKEN|>", "<|END_OF_TURN_TOKEN|>", "<|SYSTEM_TOKEN|>", "<|USER_TOKEN|>", "<|CHATBOT_TOKEN|>",
    ),
    "Granite": ("<|start_of_role|>", "<|end_of_role|>"),
    "GLM": ("[gMASK]", "<sop>", "<|observation|>"),
    "InternLM": ("<|User|>", "<|Bot|>", "<eoh>", "<eoa>"),
    "MiniCPM": ("<用户>", "<AI>"),
    "EXAONE": ("[|system|]", "[|user|]", "[|assistant|]", "[|endofturn|]"),
    "RedPajama": ("<human>:", "<bot>:"),
    "ChatGLM": ("[Round 1]", "[Round 2]"),
    "pictures": ("<image>", "<video>", "<audio>"),  # their place in the text; the pictures are elsewhere
    "OpenAssistant": ("<|prompter|>",),
    "Alpaca": ("### Instruction:", "### Input:", "### Response:"),
    "Guanaco": ("### Human:", "### User:", "### Assistant:", "### System:"),
    "Vicuna": ("USER:", "ASSISTANT:"),
    "Anthropic HH": ("Human:", "Assistant:"),
    "dialogue": ("User:", "Assistant:"),
}  # fmt: skip
REPEATED = 0.02  # share of rows; in fewer the task may be to repeat or to continue a text
WORDS = (
    "Vicuna",
    "Anthropic HH",
    "dialogue",
)  # their markers are plain words, which count only together and at the beginning of a line
TEMPLATE_OF = {marker: name for name, markers in MARKERS.items() for marker in markers}


def _pattern(marker: str) -> str:
    return r"(?m:^)\#\#\#[ \t]*" + re.escape(marker[4:]) if marker.startswith("### ") else re.escape(marker)


MARKER = re.compile(
    "|".join(_pattern(marker) for marker, name in TEMPLATE_OF.items() if name not in WORDS)
    + r"|<extra_id_\d+>|<reserved_\d+>|\[UNUSED_TOKEN_\d+\]|\[\|[A-Za-z]{1,20}\|\]"  # Nemotron, Baichuan, InternLM 2, EXAONE
    + r"|<[|｜][^\s|｜<>]{1,40}[|｜]>"  # looks like a marker, though of a template that is not in the table
)
DIALOGUES = {
    name: (re.compile(rf"(?m)^[ \t]*{MARKERS[name][0]}"), re.compile(rf"(?m)(?:^|\s){MARKERS[name][1]}"))
    for name in WORDS
}


def find_markers(text: str) -> set[str]:
    """Return the markers of chat templates in a text: those of MARKERS, and whatever else looks like <|this|>."""
    found = {" ".join(match[0].replace("###", "### ").split()) for match in MARKER.finditer(text)}
    for name, patterns in DIALOGUES.items():
        if all(pattern.search(text) for pattern in patterns):
            found |= set(MARKERS[name])
    return found


def check_texts(rows: Sequence[dict], tokenizer: transformers.PreTrainedTokenizerBase) -> list[Finding]:
    """Find empty and very short answers, markers of chat templates in the text, and turns out of order."""
    answers = [content.conversation(row)[-1] for row in rows]
    turns = [[turn for each in content.conversations(row) for turn in each["messages"]] for row in rows]
    repeated = [i for i, row in enumerate(rows) if any(map(_repeats_prompt, content.conversations(row)))]
    return [
        *finding(
            "error",
            "empty-answer",
            (i for i, turn in enumerate(answers) if says_nothing(turn["content"] or "") and not turn.get("tool_calls")),
            "the answer of {n} rows is empty; write it or remove the row",
        ),
        *_markers([[turn["content"] or "" for turn in each] for each in turns], tokenizer),
        *finding(
            "warning",
            "turns",
            (i for i, each in enumerate(turns) if any(a["role"] == b["role"] != "tool" for a, b in pairwise(each))),
            "in {n} rows two turns in a row have the same role; join them",
        ),
        *finding(
            "warning",
            "prompt-in-answer",
            repeated if len(repeated) > REPEATED * len(rows) else (),
            "the answer of {n} rows begins with the whole prompt, which the model would learn to repeat; remove it from the answer",
        ),
        *finding(
            "note",
            "short-answers",
            (i for i, turn in enumerate(answers) if len((turn["content"] or "").split()) == 1),
            "the answer of {n} rows is a single word, so the model learns to answer as briefly",
        ),
    ]


def _repeats_prompt(row: dict) -> bool:
    """Return whether the last answer begins with the text of the turn before it, of three words or more, and continues."""
    *_, asked, answer = ({"role": ""}, *row["messages"])
    prompt, text = (asked.get("content") or "").strip(), (answer["content"] or "").strip()
    return asked["role"] == "user" and len(prompt.split()) >= 3 and text.startswith(prompt) and len(text) > len(prompt)


def _markers(texts: Sequence[list[str]], tokenizer: transformers.PreTrainedTokenizerBase) -> list[Finding]:
    """Find rows whose texts contain special tokens of the tokenizer, or markers of chat templates that it reads as text.

    Args:
        texts: the contents of all turns, per row.
    """
    added = (token.content for token in tokenizer.added_tokens_decoder.values() if token.special)
    special = {token for token in (*tokenizer.all_special_tokens, *added) if token.strip()}
    pattern = re.compile("|".join(map(re.escape, sorted(special, key=len, reverse=True))) or "(?!)")
    tokens = [{token for text in each for token in pattern.findall(text)} for each in texts]
    markers = [{marker for text in each for marker in find_markers(text)} - special for each in texts]
    templates = [{TEMPLATE_OF.get(marker, "unknown") for marker in each} for each in markers]
    return [
        *finding(
            "warning",
            "special-in-text",
            (i for i, each in enumerate(tokens) if each),
            f"the text of {{n}} rows contains special tokens of the tokenizer ({_most_common(tokens)}), which the model reads as "
            "the beginning or end of a turn; remove them",
        ),
        *finding(
            "warning",
            "template-in-text",
            (i for i, each in enumerate(markers) if each),
            f"the text of {{n}} rows contains markers of a chat template ({_most_common(markers)}; template: "
            f"{_most_common(templates)}), which would be trained as text; remove them, or split the text into messages",
        ),
    ]


def _most_common(found: Iterable[set[str]], most: int = 4) -> str:
    counts = Counter(each for row in found for each in sorted(row))
    return ", ".join(name for name, _ in counts.most_common(most)) + ", …" * (len(counts) > most)


def check_repeats(rows: Sequence[dict]) -> list[Finding]:
    """Find rows that repeat an earlier prompt and answer, and rows that answer the same prompt differently."""
    asked = defaultdict(list)
    for i, row in enumerate(rows):
        system = "".join(turn["content"] for turn in content.conversation(row) if turn["role"] == "system")
        prompt, answer = content.answered_turns(row)[-1]
        asked[system, duplicates.normalise_words(prompt)].append((i, answer.strip()))
    copies, contradictions = [], []
    for same in asked.values():
        first = {}
        for i, answer in same:
            if first.setdefault(answer, i) != i:
                copies.append(i)
        if len(first) > 1:
            contradictions += [i for i, _ in same]
    return [
        *finding(
            "warning",
            "duplicates",
            copies,
            "the prompt and answer of {n} rows are those of an earlier row; remove the later ones",
        ),
        *finding(
            "warning",
            "contradictions",
            sorted(contradictions),
            "the prompt of {n} rows has a different answer in another row; keep one of them if only one can be right",
        ),
    ]
