"""Kinds of tuning rows (single turns, conversations, tools, care), and what shows that a model has learned from one.

For ablations of what is in the data: rows by kind, behind those of the default tuning set, and prompts that show the skill of each kind.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from workbench.errors import InputError
from workbench.pocket import tasks


@dataclass(frozen=True)
class SkillGroup:
    """A kind of rows: the skills it is made of, and the sign of having learned it."""

    skills: tuple[str, ...]
    sign: str
    """What a model does that has learned it, in words."""
    score: str
    """The score that says whether it did: follows or correct."""
    checks: tuple[str, ...] | None = None
    """Checks of the prompts that show it; None takes all of these skills."""


SKILL_GROUPS = {
    "single turns": SkillGroup(
        ("knowledge", "lists", "transform", "format", "classify", "compose", "create"),
        "does what it is asked",
        "follows",
    ),
    "conversations": SkillGroup(("converse",), "answers from the turn before", "correct", ("answer", "capitals")),
    "tools": SkillGroup(("tools",), "writes a sound tool call", "follows", ("tool_call",)),
    "care": SkillGroup(("safety", "honesty"), "refuses, or says it doesn't know", "follows", ("refusal", "unknown")),
}


GROUP_OF = {skill: name for name, kind in SKILL_GROUPS.items() for skill in kind.skills}


def draw(counts: Mapping[str, int], start: int = tasks.DEFAULT) -> dict[str, list[dict]]:
    """So many rows of each kind, in the order of the tuning pool and from its row `start` on: a model of the default set saw none of them.

    Raises:
        InputError: an unknown kind, or more rows of it than the pool holds.
    """
    if unknown := sorted(set(counts) - set(SKILL_GROUPS)):
        raise InputError(f'kind "{unknown[0]}" is unknown; known are {", ".join(SKILL_GROUPS)}')
    found: dict[str, list[dict]] = {kind: [] for kind in counts}
    for row in tasks.pool_rows(None)[start:]:
        kind = GROUP_OF[row["skill"]]
        if len(found.get(kind, ())) < counts.get(kind, 0):
            found[kind].append(row)
    for kind, rows in found.items():
        if len(rows) < counts[kind]:
            raise InputError(
                f'kind "{kind}": {counts[kind]:,} rows asked for, the pool holds {len(rows):,}; ask for fewer'
            )
    return found


def evaluation(split: str, most: int) -> list[dict]:
    """Prompts of the pocket evaluation that show the kinds, `most` of each or what there is, drawn evenly from all its axes."""
    found = []
    for name, kind in SKILL_GROUPS.items():
        rows = [row for row in tasks.evaluation(split) if GROUP_OF[row["skill"]] == name]
        rows = [row for row in rows if kind.checks is None or row["check"]["name"] in kind.checks]
        found += [rows[i] for i in np.linspace(0, len(rows) - 1, min(most, len(rows))).round().astype(int)]
    return found


def with_skill_group(table: pd.DataFrame) -> pd.DataFrame:
    """A table of :func:`workbench.evaluate.scoring.score` on those prompts with two more columns: `kind`, and `shows`, whether its sign is there."""
    kind = table["skill"].map(GROUP_OF)
    score = kind.map({name: each.score for name, each in SKILL_GROUPS.items()})
    return table.assign(kind=kind, shows=table["follows"].where(score == "follows", table["correct"]))
