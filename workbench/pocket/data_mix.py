"""Group tuning rows by the skill they teach, and choose the prompts that show whether a model has learned it.

For ablations of the data mix: rows by skill group from behind the default tuning set, and prompts that show the skill of each group.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from workbench.errors import InputError
from workbench.pocket import tasks


@dataclass(frozen=True)
class SkillGroup:
    """A group of skills whose rows are added to or left out of a data mix together."""

    skills: tuple[str, ...]
    sign: str
    """What a model that has learned the skills does, in words."""
    score: str
    """Score that measures it: follows or correct."""
    checks: tuple[str, ...] | None = None
    """Checks of the prompts that show it; None takes all prompts of these skills."""


SKILL_GROUPS = {
    "single turns": SkillGroup(
        ("knowledge", "lists", "transform", "format", "classify", "compose", "create"),
        "follows the instruction",
        "follows",
    ),
    "conversations": SkillGroup(("converse",), "answers from the previous turn", "correct", ("answer", "capitals")),
    "tools": SkillGroup(("tools",), "writes a valid tool call", "follows", ("tool_call",)),
    "safety and honesty": SkillGroup(
        tasks.SAFETY_SKILLS, "refuses, or says it doesn't know", "follows", ("refusal", "unknown")
    ),
}

GROUP_OF = {skill: name for name, group in SKILL_GROUPS.items() for skill in group.skills}
"""Skill → name of its group."""


def draw(counts: Mapping[str, int], start: int = tasks.TUNING_SIZE) -> dict[str, list[dict]]:
    """Return the first rows of each group in the tuning pool, `counts` of each.

    Args:
        counts: group → rows.
        start: first row of the pool that may be taken; with the default, a model of the default tuning set has seen none of them.

    Raises:
        InputError: an unknown group, or more rows of it than the pool holds.
    """
    if unknown := sorted(set(counts) - set(SKILL_GROUPS)):
        raise InputError(f'skill group "{unknown[0]}" is unknown; known are {", ".join(SKILL_GROUPS)}')
    found: dict[str, list[dict]] = {group: [] for group in counts}
    for row in tasks.pool_rows(None)[start:]:
        group = GROUP_OF[row["skill"]]
        if len(found.get(group, ())) < counts.get(group, 0):
            found[group].append(row)
    for group, rows in found.items():
        if len(rows) < counts[group]:
            raise InputError(
                f'skill group "{group}": {counts[group]:,} rows requested, but the pool holds {len(rows):,}; request fewer'
            )
    return found


def evaluation(split: str, most: int) -> list[dict]:
    """Return prompts of a split that show each group's skill, up to `most` per group, spread evenly over axes and families.

    They come from the pocket evaluation and from the sets that hold more of some skills; no prompt is asked twice.
    """
    more = [row for name in ("careful", "dialogues") for row in tasks.read_rows(name) if row["split"] == split]
    known = {str(row["messages"][:-1]): row for row in reversed([*tasks.evaluation(split), *more])}
    found = []
    for name, group in SKILL_GROUPS.items():
        rows = [row for row in reversed(known.values()) if GROUP_OF[row["skill"]] == name]
        rows = [row for row in rows if group.checks is None or row["check"]["name"] in group.checks]
        found += [rows[i] for i in np.linspace(0, len(rows) - 1, min(most, len(rows))).round().astype(int)]
    return found


def with_skill_group(table: pd.DataFrame) -> pd.DataFrame:
    """Add two columns to a table of :func:`workbench.evaluate.scoring.score`: `skill_group`, and `shows_skill`, whether its sign is there."""
    group = table["skill"].map(GROUP_OF)
    score = group.map({name: each.score for name, each in SKILL_GROUPS.items()})
    shows = table["follows"].where(score == "follows", table["correct"])
    return table.assign(skill_group=group, shows_skill=shows)
