"""Read instruction data into one shape and prepare it: templates, decontamination, validation, corruption, selection, graders."""

from workbench.data.content import (
    answered_turns,
    content_hash,
    conversation,
    conversations,
    few_shot_examples,
    few_shot_prompt,
    message_text,
    offered_tools,
    opening_words,
    plain_prompt,
    prompt_text,
    question_and_answer,
    quiz_sheet,
    row_tools,
    task_types,
)
from workbench.data.corruption import CORRUPTIONS, corrupt, few_families, few_phrasings
from workbench.data.decontamination import (
    decontaminate,
    describe_leaks,
    find_leaks,
    hold_out,
    leaked_rows,
    require_no_leaks,
)
from workbench.data.duplicates import near_duplicates
from workbench.data.findings import Finding
from workbench.data.formats import BadRow
from workbench.data.reading import Loaded, load, take_first, to_dataset
from workbench.data.selection import distinct, diverse, oracle, select, selection_precision
from workbench.data.templates import encode, end_of_turn, prompt_ids, show_mask, with_template
from workbench.data.validation import findings_table, require_valid, validate

__all__ = [
    "CORRUPTIONS",
    "BadRow",
    "Finding",
    "Loaded",
    "answered_turns",
    "content_hash",
    "conversation",
    "conversations",
    "corrupt",
    "decontaminate",
    "describe_leaks",
    "distinct",
    "diverse",
    "encode",
    "end_of_turn",
    "few_families",
    "few_phrasings",
    "few_shot_examples",
    "few_shot_prompt",
    "find_leaks",
    "findings_table",
    "hold_out",
    "leaked_rows",
    "load",
    "message_text",
    "near_duplicates",
    "offered_tools",
    "opening_words",
    "oracle",
    "plain_prompt",
    "prompt_ids",
    "prompt_text",
    "question_and_answer",
    "quiz_sheet",
    "require_no_leaks",
    "require_valid",
    "row_tools",
    "select",
    "selection_precision",
    "show_mask",
    "take_first",
    "task_types",
    "to_dataset",
    "validate",
    "with_template",
]
