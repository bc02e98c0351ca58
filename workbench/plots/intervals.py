"""Pictures of what ways of asking cost: effects against a reference, and how far the wording decides."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from workbench.evaluate import stats
from workbench.plots.style import FAINT, GRID, INK, model_style

SCORES = {"follows": "follows the instruction", "correct": "is right"}


AXES = {
    "seen": "seen inputs",
    "input": "new inputs",
    "phrasing": "new phrasings",
    "combination": "new combinations",
    "family": "new families",
}


def scorecard(tables: dict[str, pd.DataFrame], title: str | None = None) -> np.ndarray:
    """Models by skill, in two panels: the share of answers that follow the instruction, and the share that are right.

    Args:
        tables: of :func:`workbench.evaluate.scoring.score`, by the model's name, the untuned one first.
        title: the message, a line of up to 65 characters; None states what the last and the first model follow.

    Returns:
        The two Axes.
    """
    last = [*tables.values()][-1].groupby("skill")["follows"].mean()
    skills = last.sort_values(ascending=False, kind="stable").index
    return _panels(tables, "skill", {skill: skill for skill in skills}, title or _overall(tables))


def generalisation(tables: dict[str, pd.DataFrame], title: str | None = None) -> np.ndarray:
    """Models by what was held out from tuning (nothing, inputs, phrasings, combinations, families): panels as in :func:`scorecard`.

    Without a title, the picture states what the last model follows on the nearest and on the farthest kind.
    """
    present = {axis for table in tables.values() for axis in table["axis"]}
    labels = {axis: label for axis, label in AXES.items() if axis in present}
    return _panels(tables, "axis", labels, title or _nearest_and_farthest(tables, labels))


def _panels(tables: dict[str, pd.DataFrame], by: str, labels: dict[str, str], title: str) -> np.ndarray:
    """Two panels that share their rows: one for everything, then one a group."""
    whole, parts = stats.compare(tables, SCORES), stats.compare(tables, SCORES, by=by)
    rows = {"all": "all prompts", **labels}
    tidy = pd.concat([whole, parts], ignore_index=True)
    tidy["row"] = tidy["group"].map({group: position for position, group in enumerate(rows)})
    # In inches: the strip for title and legend, a row, and the first row, which has room for a number beside every dot.
    head, pitch, first = 0.8, max(0.42, 0.17 * len(tables)), 0.24 * (len(tables) + 1)
    height = head + pitch * (len(rows) - 1) + first + 1.1
    figure, panels = plt.subplots(1, 2, sharey=True, figsize=(9, height), layout="constrained")
    figure.get_layout_engine().set(rect=(0, 0, 1, 1 - head / height))
    for panel, (column, label) in zip(panels, SCORES.items(), strict=True):
        _dots(panel, tidy[tidy["column"] == column], model_style(tables), len(rows), first / pitch)
        panel.set_title(label, fontsize=13, fontweight="normal", color=INK, pad=6)
    panels[0].set_yticks([(1 - first / pitch) / 2, *range(1, len(rows))], rows.values())
    panels[0].get_yticklabels()[0].set_fontweight("bold")
    prompts, seeds = whole["prompts"].max(), whole["seeds"].max()
    models = f" × {seeds} seeds" if seeds > 1 else ""
    figure.supxlabel(f"share of {prompts} prompts{models}, with 95% intervals", fontsize=12, color=FAINT)
    figure.suptitle(title, x=0.01, y=1 - 0.05 / height, ha="left", va="top", fontsize=16, fontweight="bold")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="upper left", bbox_to_anchor=(0.006, 1 - 0.42 / height),
                  borderpad=0, borderaxespad=0, ncols=len(tables), handletextpad=0.2, columnspacing=1.4)  # fmt: skip
    return panels


def _dots(panel: Axes, tidy: pd.DataFrame, look: dict[str, dict], rows: int, first: float) -> None:
    """A dot with its interval for each model in each row, the models beside each other; numbers in the first row, `first` high."""
    top = 0.5 - first
    for row in range(0, rows, 2):
        panel.axhspan(row - 0.5 if row else top, row + 0.5, color="#f3f4f6", zorder=0)
    reach = {1: 0, 2: 0.13}.get(len(look), 0.26)
    shifts = np.linspace(-reach, reach, len(look))
    heads = top + first * (np.arange(len(look)) + 1) / (len(look) + 1)
    for shift, head, (name, marks) in zip(shifts, heads, look.items(), strict=True):
        part = tidy[tidy["model"] == name]
        middle, low, high = (100 * part[key] for key in ("estimate", "low", "high"))
        panel.errorbar(middle, (part["row"] + shift).where(part["row"] > 0, head), xerr=[middle - low, high - middle],
                       label=name, linestyle="", markersize=7.5, markeredgewidth=1.6, elinewidth=2.4, **marks)  # fmt: skip
        left = middle.iloc[0] > 50
        panel.annotate(f"{middle.iloc[0]:.0f}%", ((low if left else high).iloc[0], head), (-8 if left else 8, 0),
                       textcoords="offset points", va="center_baseline", ha="right" if left else "left",
                       fontsize=12, fontweight="bold")  # fmt: skip
    panel.set(xlim=(-3, 103), ylim=(rows - 0.5, top))
    panel.set_xticks([0, 25, 50, 75, 100], ["0", "25", "50", "75", "100%"])
    panel.grid(axis="x", color="#dfe2e6", linewidth=0.8)
    panel.set_axisbelow(True)
    panel.tick_params(axis="y", length=0)
    sns.despine(ax=panel, left=True, bottom=True)


def _overall(tables: dict[str, pd.DataFrame]) -> str:
    """What the last and the first model do with instructions, in a line."""
    shares = [(name, table["follows"].mean()) for name, table in tables.items()]
    (first, before), (last, after) = shares[0], shares[-1]
    return f"{last} follows {after:.0%} of the instructions" + f", {first} {before:.0%}" * (len(shares) > 1)


def _nearest_and_farthest(tables: dict[str, pd.DataFrame], labels: dict[str, str]) -> str:
    """What the last model follows where it is nearest to its tuning data and where it is farthest from it, in a line."""
    name, table = [*tables.items()][-1]
    shares = table.groupby("axis")["follows"].mean()
    parts = [f"{shares[axis]:.0%} of {label}" for axis, label in labels.items() if axis in shares]
    return f"{name} follows " + ", ".join(dict.fromkeys([parts[0], parts[-1]]))


def ranking(
    tables: dict[str, pd.DataFrame],
    columns: dict[str, str],
    title: str,
    *,
    reference: str | None = None,
    notes: pd.DataFrame | None = None,
    unit: str = "share of prompts",
) -> np.ndarray:
    """A row for each table, the best on top, a panel for each score; the interval of `reference` runs through as a band.

    Args:
        columns: score → heading of its panel; the first one gives the order.
        notes: text or numbers beside the rows, a column each, such as what a selector's choice consists of.
    """
    first = next(iter(columns))
    order = sorted(tables, key=lambda name: tables[name][first].mean(), reverse=True)
    extra = 0 if notes is None else len(notes.columns)
    figure, axes = plt.subplots(
        1, len(columns) + bool(extra), sharey=True, figsize=(9, 0.42 * len(order) + 1.7), layout="constrained",
        width_ratios=[3] * len(columns) + [1.3 * extra] * bool(extra),
    )  # fmt: skip
    for panel, (column, heading) in zip(axes, columns.items(), strict=False):
        for row, name in enumerate(order):
            found = stats.estimate(tables[name], column)
            colour = INK if name == reference else "#1f77c4"
            low, middle, high = (100 * value for value in (found.low, found.estimate, found.high))
            if name == reference:
                panel.axvspan(low, high, color="#e9ebee", zorder=0)
            panel.errorbar(
                middle, row, xerr=[[middle - low], [high - middle]], marker="o", color=colour, elinewidth=2.4
            )
        panel.set_title(heading, fontsize=13, fontweight="normal", color=INK, pad=6)
        panel.xaxis.set_major_formatter(lambda value, _: f"{value:.0f}%")
        panel.grid(axis="x", **GRID)
        panel.tick_params(axis="y", length=0)
        sns.despine(ax=panel, left=True, bottom=True)
    axes[0].set_yticks(range(len(order)), order)
    axes[0].set_ylim(len(order) - 0.4, -0.6)
    if extra:
        axes[-1].axis("off")
        for place, (heading, texts) in enumerate(notes.items()):
            axes[-1].text((place + 1) / extra, 1.02, heading, transform=axes[-1].transAxes, ha="right", va="bottom",
                          fontsize=11, color=FAINT)  # fmt: skip
            for row, name in enumerate(order):
                axes[-1].text((place + 1) / extra, row, str(texts[name]), ha="right", va="center", fontsize=12,
                              transform=axes[-1].get_yaxis_transform())  # fmt: skip
    figure.supxlabel(f"{unit}, with 95% intervals", fontsize=12, color=FAINT)
    figure.suptitle(title, x=0.01, ha="left", fontsize=16, fontweight="bold")
    return axes


def dots(tidy: pd.DataFrame, row: str, title: str, unit: str = "share of prompts") -> Axes:
    """A row for each value of the column `row`, a dot with its interval for each model in it.

    Args:
        tidy: columns model, estimate, low, high and `row`; models and rows come in the order of the table.
    """
    rows, style = list(dict.fromkeys(tidy[row])), model_style(dict.fromkeys(tidy["model"]))
    pitch = 0.2 + 0.14 * len(style)
    _, panel = plt.subplots(figsize=(9, pitch * len(rows) + 1.7), layout="constrained")
    for place in range(0, len(rows), 2):
        panel.axhspan(place - 0.5, place + 0.5, color="#f3f4f6", zorder=0)
    for shift, (name, marks) in zip(np.linspace(-0.27, 0.27, len(style)), style.items(), strict=True):
        part = tidy[tidy["model"] == name].set_index(row).loc[rows]
        middle, low, high = (100 * part[key] for key in ("estimate", "low", "high"))
        panel.errorbar(middle, np.arange(len(rows)) + shift, xerr=[middle - low, high - middle], label=name, linestyle="",
                       markersize=7.5, markeredgewidth=1.6, elinewidth=2.4, **marks)  # fmt: skip
    panel.set(xlim=(-2, 102), ylim=(len(rows) - 0.5, -0.5), xlabel=f"{unit}, with 95% intervals")
    panel.set_yticks(range(len(rows)), rows)
    panel.xaxis.set_major_formatter(lambda value, _: f"{value:.0f}%")
    panel.grid(axis="x", **GRID)
    panel.tick_params(axis="y", length=0)
    panel.figure.legend(loc="outside lower left", ncols=len(style), handletextpad=0.2, columnspacing=1.4)
    panel.figure.suptitle(title, x=0.01, ha="left", fontsize=16, fontweight="bold")
    sns.despine(ax=panel, left=True, bottom=True)
    return panel


def effects(
    found: pd.DataFrame, title: str, *, reference: dict[str, str], headings: dict[str, str] | None = None
) -> np.ndarray:
    """What each way costs or brings, in points, a panel for each model: a row a way, the dearest for the last model on top.

    Filled marks are the form (follows), hollow ones the content (correct).

    Args:
        found: of :func:`workbench.evaluate.prompt_variants.variant_effects`.
        reference: model → its way of reference, which the zero line stands for and which the panel's heading names.
        headings: model → heading of its panel, where the model's name is not enough.
    """
    shown = list(reference)
    dear = found[(found["model"] == shown[-1]) & (found["column"] == "follows")].set_index("variant")["estimate"]
    rest = found.groupby("variant", sort=False)["estimate"].min().drop(dear.index)
    rows = [*rest.sort_values().index, *dear.sort_values(kind="stable").index]
    figure, axes = plt.subplots(1, len(shown), sharex=True, sharey=True, figsize=(9, 0.46 * len(rows) + 2.1),
                                layout="constrained")  # fmt: skip
    colours = {name: marks["color"] for name, marks in model_style(shown).items()}
    for panel, model in zip(axes, shown, strict=True):
        for column, shift, face in (("follows", -0.16, colours[model]), ("correct", 0.16, "white")):
            part = found[(found["model"] == model) & (found["column"] == column)].set_index("variant")
            middle, low, high = (100 * part[key] for key in ("estimate", "low", "high"))
            panel.errorbar(middle, [rows.index(way) + shift for way in part.index], xerr=[middle - low, high - middle],
                           linestyle="", marker="o" if column == "follows" else "D", markersize=7, color=colours[model],
                           markerfacecolor=face, markeredgewidth=1.6, elinewidth=2.2)  # fmt: skip
        for row in range(0, len(rows), 2):
            panel.axhspan(row - 0.5, row + 0.5, color="#f3f4f6", zorder=0)
        if reference[model] in rows:
            panel.text(-2, rows.index(reference[model]), "reference", ha="right", va="center", fontsize=12, color=FAINT)
        panel.axvline(0, color=INK, linewidth=1.2)
        panel.set_title((headings or {}).get(model, model), fontsize=13, fontweight="normal", color=INK, pad=6)
        panel.xaxis.set_major_formatter(lambda value, _: f"{value:+.0f}".replace("+0", "0"))
        panel.set_xlabel("points, with 95% intervals")
        panel.grid(axis="x", **GRID)
        panel.tick_params(axis="y", length=0)
        sns.despine(ax=panel, left=True, bottom=True)
    axes[0].set_yticks(range(len(rows)), rows)
    axes[0].set_ylim(len(rows) - 0.5, -0.5)
    marks = [axes[0].plot([], [], linestyle="", marker=marker, color=FAINT, markerfacecolor=face, markeredgewidth=1.6)[0]
             for marker, face in (("o", FAINT), ("D", "white"))]  # fmt: skip
    figure.legend(marks, ["follows the instruction", "is right"], loc="outside lower center", ncols=2)
    figure.suptitle(title, x=0.01, ha="left", fontsize=16, fontweight="bold")
    return axes


def outcomes(tables: dict[str, pd.DataFrame], title: str) -> Axes:
    """How many requests come out right in every wording, in some, in none: a bar for each table of :func:`workbench.evaluate.prompt_variants.by_request`."""
    _, panel = plt.subplots(figsize=(9, 0.62 * len(tables) + 1.7), layout="constrained")
    kinds = {
        "right in every wording": lambda right: right == 1,
        "it depends on the wording": lambda right: (right > 0) & (right < 1),
        "in none": lambda right: right == 0,
    }
    for row, (name, table) in enumerate(tables.items()):
        start, colour = 0.0, model_style(tables)[name]["color"]
        for strength, is_kind in zip((1, 0.45, 0.12), kinds.values(), strict=True):
            width = 100 * is_kind(table["correct"]).mean()
            panel.barh(row, width, left=start, height=0.62, color=colour, alpha=strength, edgecolor="white")
            if width > 4:
                panel.text(start + width / 2, row, f"{width:.0f}%", ha="center", va="center", fontweight="bold",
                           color="white" if strength == 1 else INK)  # fmt: skip
            start += width
    panel.set_yticks(range(len(tables)), tables)
    panel.invert_yaxis()
    panel.set(xlim=(0, 100), xlabel="share of requests", title=title)
    panel.xaxis.set_major_formatter(lambda value, _: f"{value:.0f}%")
    panel.tick_params(axis="y", length=0)
    sns.despine(ax=panel, left=True)
    handles = [plt.Rectangle((0, 0), 1, 1, color=FAINT, alpha=strength) for strength in (1, 0.45, 0.12)]
    panel.figure.legend(handles, list(kinds), loc="outside lower center", ncols=3)
    return panel
