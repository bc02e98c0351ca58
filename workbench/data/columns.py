"""Say which column of a row means what: the one table of the names that public data sets use."""

import re
from functools import lru_cache

COLUMNS = {
    "messages": ("messages", "conversations", "conversation", "dialogue", "dialog", "contents"),
    "prompt": ("prompt", "instruction", "question", "query", "problem"),
    "input": ("input", "inputs", "context", "passage"),  # belongs to the prompt; input or inputs alone is the prompt
    "system": ("system", "system_prompt", "system_message", "system_instruction", "systeminstruction"),
    "history": ("history",),
    "response": ("output", "outputs", "response", "completion", "answer", "target", "targets", "solution"),
    "reasoning": (  # before the response, as <think>…</think>
        "reasoning_content", "reasoning", "thinking", "complex_cot", "cot", "chain_of_thought", "thought", "thoughts",
    ),
    "chosen": (
        "chosen", "chosen_response", "chosen_answer", "chosen_message", "chosen_messages", "response_chosen", "preferred",
        "preferred_output", "preferred_response", "response_j",
    ),
    "rejected": (
        "rejected", "rejected_response", "rejected_answer", "rejected_message", "rejected_messages", "response_rejected",
        "dispreferred", "dispreferred_output", "dispreferred_response", "non_preferred", "non_preferred_output", "response_k",
    ),
    "score_chosen": (
        "score_chosen", "chosen_score", "rating_chosen", "chosen_rating", "reward_chosen", "chosen_reward", "chosen_avg_rating",
        "avg_rating_chosen", "score_j",
    ),
    "score_rejected": (
        "score_rejected", "rejected_score", "rating_rejected", "rejected_rating", "reward_rejected", "rejected_reward",
        "rejected_avg_rating", "avg_rating_rejected", "score_k",
    ),
    # true or false: a good or a bad answer (KTO)
    "label": ("label", "kto_tag", "desirable", "is_desirable", "is_correct", "correct", "is_good", "is_chosen", "thumbs_up"),
    "tools": ("tools", "functions"),
    "weight": (  # of the whole row, refused
        "weight", "weights", "sample_weight", "sample_weights", "row_weight", "example_weight", "instance_weight", "loss_weight",
        "loss_mask", "loss_scale",
    ),
    "masking": (  # what of the row is learned, refused unless it says what is done anyway
        "mask", "masks", "train_mask", "mask_history", "mask_prompt", "train_on_prompt", "train_on_input", "train_on_inputs",
    ),
}  # fmt: skip
MEDIA = re.compile(r"(image|picture|photo|video|audio)s?(_?(path|file|file_?name|url|bytes|id|data)s?)?|pixel_values")
UNCLEAR = (  # may hold half of the task, or a copy of it
    "text", "document", "documents", "article", "paragraph", "paragraphs", "story", "choices", "options", "schema", "table",
    "evidence", "facts", "background", "premise",
)  # fmt: skip
OPTIONS = re.compile(r"[a-e]|op[a-e]|(option|choice|ending)_?[a-e0-9]")  # of a question, one column each
ROLE_OF = {name: role for role, names in COLUMNS.items() for name in names} | dict.fromkeys(UNCLEAR, "unclear")
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
PROMPTS = "a prompt alone (prompt, instruction, question, …)"  # where no answers are needed
MARKS = {  # of good and bad answers; 1 and 0 may as well be classes
    "true": True, "good": True, "desirable": True, "chosen": True, "correct": True, "accepted": True,
    "false": False, "bad": False, "undesirable": False, "rejected": False, "incorrect": False, "wrong": False,
}  # fmt: skip


@lru_cache(maxsize=10_000)
def role_of(name: str) -> str | None:
    """Return the role of a column by its name, whatever its case: "Chosen-Rating" is score_chosen."""
    plain = name.strip().lower().replace("-", "_").replace(" ", "_")
    if MEDIA.fullmatch(plain):
        return "media"
    return "unclear" if OPTIONS.fullmatch(plain) else ROLE_OF.get(plain)
