"""Read the table of a grid: one table per value of a column, and what the runs were trained on."""

import pandas as pd


def split_by(table: pd.DataFrame, column: str) -> dict:
    """Return one table per value of the column, in the order in which the values first appear."""
    return {value: part for value, part in table.groupby(column, sort=False)}


def training_sizes(table: pd.DataFrame, by: str | list[str]) -> pd.DataFrame:
    """Return the mean number of rows, optimizer steps and tokens of the runs in each group.

    Args:
        table: of :func:`workbench.experiments.grid.run_grid`, or any with the columns run, rows, steps and tokens.
        by: the column or columns that make the groups; they become the index.
    """
    runs = table.dropna(subset="run").drop_duplicates("run")
    return runs.groupby(by, sort=False)[["rows", "steps", "tokens"]].mean().round().astype(int)
