"""Compare models with the one picture of intervals: scorecards, rankings, effects of prompt variants, outcomes over wordings."""

import numpy as np
import pandas as pd

from workbench.evaluate import stats
from workbench.plots.estimates import intervals
from workbench.plots.style import FAINT

SCORES = {"follows": "follows the instruction", "correct": "is right"}
AXES = {
    "seen": "seen inputs",
    "input": "new inputs",
    "phrasing": "new phrasings",
    "combination": "new combinations",
    "family": "new families",
}


def scorecard(tables: dict[str, pd.DataFrame], title: str | None = None) -> np.ndarray:
    """Show every model in each skill, in two panels: the share of answers that follow the instruction, and the share that are right.

    Args:
        tables: of :func:`workbench.evaluate.scoring.score`, by the model's name, the untuned one first.
        title: the message; None states what the last and the first model follow.
    """
    last = [*tables.values()][-1].groupby("skill")["follows"].mean()
    skills = last.sort_values(ascending=False, kind="stable").index
    return _by_group(tables, "skill", {skill: skill for skill in skills}, title or _overall(tables))


def generalisation(tables: dict[str, pd.DataFrame], title: str | None = None) -> np.ndarray:
    """Show every model by what was held out from tuning (nothing, inputs, phrasings, combinations, families), as :func:`scorecard` does.

    Without a title, the picture states what the last model follows nearest to its tuning data and farthest from them.
    """
    present = {axis for table in tables.values() for axis in table["axis"]}
    labels = {axis: label for axis, label in AXES.items() if axis in present}
    return _by_group(tables, "axis", labels, title or _nearest_and_farthest(tables, labels))


def _by_group(tables: dict[str, pd.DataFrame], by: str, labels: dict[str, str], title: str) -> np.ndarray:
    """Draw one row for all prompts and one per group, the groups in the order of `labels`."""
    whole, parts = stats.compare(tables, SCORES), stats.compare(tables, SCORES, by=by)
    parts = parts.set_index("group").loc[[*labels]].rename(index=labels).reset_index()
    found = pd.concat([whole.assign(group="all prompts"), parts], ignore_index=True)
    prompts, seeds = whole["prompts"].max(), whole["seeds"].max()
    unit = f"share of {prompts} prompts" + (f" × {seeds} seeds" if seeds > 1 else "")
    return intervals(
        found, title, row="group", series="model", panel="column", headings=SCORES, unit=unit, numbered=["all prompts"]
    )


def _overall(tables: dict[str, pd.DataFrame]) -> str:
    """Return a title: how many instructions the last and the first model follow."""
    shares = [f"{table['follows'].mean():.0%} ({name})" for name, table in tables.items()]
    return "Instructions followed: " + ", ".join(dict.fromkeys([shares[-1], shares[0]]))


def _nearest_and_farthest(tables: dict[str, pd.DataFrame], labels: dict[str, str]) -> str:
    """Return a title: what the last model follows nearest to its tuning data, and farthest from them."""
    name, table = [*tables.items()][-1]
    shares = table.groupby("axis")["follows"].mean()
    parts = [f"{shares[axis]:.0%} on {label}" for axis, label in labels.items() if axis in shares]
    return f"Instructions followed by {name}: " + ", ".join(dict.fromkeys([parts[0], parts[-1]]))


def ranking(
    tables: dict[str, pd.DataFrame],
    columns: dict[str, str],
    title: str,
    *,
    reference: str | None = None,
    notes: pd.DataFrame | None = None,
    unit: str = "share of prompts",
) -> np.ndarray:
    """Show one row per table, the best at the top, and one panel per score; the interval of `reference` is drawn as a band.

    Args:
        columns: score → heading of its panel; the first one gives the order.
        notes: text or numbers beside the rows, in columns, such as what a selector's choice consists of.
    """
    best = sorted(tables, key=lambda name: tables[name][next(iter(columns))].mean(), reverse=True)
    found = stats.compare({name: tables[name] for name in best}, columns)
    return intervals(
        found,
        title,
        row="model",
        panel="column",
        headings=columns,
        scale="zoom",
        unit=unit,
        reference=reference,
        notes=notes,
    )


def effects(
    found: pd.DataFrame, title: str, *, reference: dict[str, str], headings: dict[str, str] | None = None
) -> np.ndarray:
    """Show what each prompt variant costs or brings, in points, one panel per model; what costs the last model most is at the top.

    Args:
        found: of :func:`workbench.evaluate.prompt_variants.variant_effects`.
        reference: model → the variant that the others are compared with: its zero line.
        headings: model → heading of its panel, where the model's name is not enough.
    """
    last = [*reference][-1]
    cost = found[(found["model"] == last) & (found["column"] == "follows")].set_index("variant")["estimate"]
    others = found.groupby("variant", sort=False)["estimate"].min().drop(cost.index)
    order = [*others.sort_values().index, *cost.sort_values(kind="stable").index]
    shown = found.set_index("variant").loc[order].reset_index().replace({"column": SCORES})
    panels = intervals(shown, title, row="variant", series="column", panel="model", headings=headings or {name: name for name in reference},
                       scale="points", unit="difference in points", models="panel")  # fmt: skip
    for panel, variant in zip(panels, reference.values(), strict=True):
        if variant in order:
            panel.text(
                -2,
                panels[0].get_yticks()[order.index(variant)],
                "reference",
                ha="right",
                va="center",
                fontsize=12,
                color=FAINT,
            )
    return panels


def outcomes(tables: dict[str, pd.DataFrame], title: str) -> np.ndarray:
    """Show how many requests come out right in every wording, in some, and in none.

    Args:
        tables: of :func:`workbench.evaluate.prompt_variants.by_request`, by the model's name.
    """
    found = []
    for model, table in tables.items():
        right = table["correct"]
        kinds = {
            "right in every wording": right == 1,
            "it depends on the wording": (right > 0) & (right < 1),
            "right in none": right == 0,
        }
        for kind, is_so in kinds.items():
            share = stats.estimate(table.assign(is_so=is_so), "is_so")
            found.append({"outcome": kind, "model": model, **share.columns()})
    return intervals(pd.DataFrame(found), title, row="outcome", series="model", unit="share of requests")
