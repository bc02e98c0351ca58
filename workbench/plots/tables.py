"""Show texts in tables: what each model answered, side by side."""

from collections.abc import Collection, Iterable, Sequence
from html import escape

import pandas as pd
from IPython.display import HTML

from workbench.errors import InputError
from workbench.experiments import claims

CELL = "text-align: left; vertical-align: top; padding: 8px 12px; border-bottom: 1px solid rgba(128,128,128,.35)"
ANSWER = "font-family: monospace; font-size: 95%; overflow-wrap: anywhere"
LONGEST = 400  # characters of an answer


def side_by_side(tables: dict[str, pd.DataFrame], n: int = 8) -> HTML:
    """Show prompts with each model's answer under its two scores; an answer that the model did not end itself ends in "…".

    To choose the prompts yourself, pass tables that have only those rows.

    Args:
        tables: of :func:`workbench.evaluate.scoring.score`, by the model's name; of several seeds the first is shown.
        n: number of prompts, taken from the skills in turn.

    Raises:
        InputError: the tables do not have the same prompts.
    """
    shown = {name: first_seed(table).set_index("index") for name, table in tables.items()}
    first = next(iter(shown.values()))
    chosen = first.groupby("skill").cumcount().sort_values(kind="stable").index[:n]
    for name, table in shown.items():
        if not chosen.isin(table.index).all() or (table.loc[chosen, "prompt"] != first.loc[chosen, "prompt"]).any():
            raise InputError(
                f'the table of "{name}" has other prompts than the first table; score all models on the same rows'
            )
    rows = [(first.loc[index, "prompt"], [answer(table.loc[index]) for table in shown.values()]) for index in chosen]
    return prompt_table(shown, rows)


def prompt_table(names: Collection[str], rows: Iterable[tuple[str, Sequence[str]]], style: str = CELL) -> HTML:
    """Show one row per prompt and one column per model.

    Args:
        names: of the models.
        rows: prompt, and the HTML of each model's cell.
        style: of the models' cells.
    """
    # Widths in percent and a fixed layout: long answers wrap in place of pushing the last column out of the page.
    heads = [(26, "prompt"), *((74 // len(names), name) for name in names)]
    head = "".join(f'<th width="{width}%" style="{CELL}">{escape(name)}</th>' for width, name in heads)
    body = "".join(
        f'<tr style="background: none"><td style="{CELL}">{lines(prompt)}</td>'
        + "".join(f'<td style="{style}">{cell}</td>' for cell in cells)
        + "</tr>"
        for prompt, cells in rows
    )
    return HTML(
        f'<table style="table-layout: fixed; width: 100%"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    )


def text_table(frame: pd.DataFrame) -> HTML:
    """Show a table of texts without its index: left-aligned, wrapped, line breaks kept."""
    heads = "".join(f'<th style="{CELL}">{escape(str(name))}</th>' for name in frame.columns)
    rows = ("".join(f'<td style="{CELL}">{lines(str(text))}</td>' for text in row) for row in frame.to_numpy())
    body = "".join(f'<tr style="background: none">{row}</tr>' for row in rows)
    return HTML(f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>")


def first_seed(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the table's first seed; all of them if it has no column `seed`."""
    return table[table["seed"] == table["seed"].iloc[0]] if "seed" in table else table


def answer(row: pd.Series) -> str:
    """Return one answer as HTML, under the verdicts of its checks."""
    marks = [mark("follows" if row["follows"] else "does not follow", row["follows"])]
    marks.append(mark("right" if row["correct"] else "not right", row["correct"]))
    text = row["response"].strip()
    rest = "" if row["stops"] and len(text) <= LONGEST else " …"
    return f'{" &nbsp; ".join(marks)}<br><span style="{ANSWER}">{lines(text[:LONGEST] + rest)}</span>'


def mark(word: str, good: bool) -> str:
    """Return a word with a tick or a cross before it; the colour only repeats it."""
    verdict = claims.HOLDS if good else claims.FAILS
    return f'<small style="color: {claims.COLOURS[verdict]}; white-space: nowrap"><b>{claims.MARKS[verdict]}</b> {word}</small>'


def lines(text: str) -> str:
    """Return text as HTML that keeps line breaks and indents without style sheets, which code hosts remove from notebooks."""
    kept = (
        line[: len(line) - len(line.lstrip())].replace(" ", "&nbsp;") + escape(line.lstrip())
        for line in text.split("\n")
    )
    return "<br>".join(kept)
