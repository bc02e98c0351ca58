"""Compare a training made here with the published one of the same spec and data.

On the same kind of CPU, with the same versions of the libraries, the same replies are expected: at least 99%. Elsewhere rounding differs,
and a score must lie inside the 99% prediction interval of the published seeds of the same cell; a cell of one seed must not differ from
its published twin at the 1% level (McNemar's exact test on the prompts). Replies that have no score of their own: 90% the same elsewhere.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from scipy import stats

from workbench import environment
from workbench.published import Archive, table_name
from workbench.store import Run, Store

SAME, SAME_ELSEWHERE = 0.99, 0.9  # of the replies, on the same kind of CPU and on another
LEVEL = 0.99  # of prediction intervals
COLUMNS = ("run", "table", "column", "published", "here", "low", "high", "same", "rule", "agrees")


def compare(archive: Archive, drawn: str, store: Store) -> pd.DataFrame:
    """Compare what a store has of a run, or of a table without a run, with what is published.

    Returns:
        One row per table and column of numbers: run, table, column, published (mean), here (mean), low and high (prediction interval of the
        published seeds), same (share of rows with the same reply, or the same number), rule ("replies", "interval" or "prompts"), agrees.
    """
    run = drawn if drawn in set(archive.runs["run"]) else ""
    exactly = _like_here(archive.record(run)["environment"]) if run else _like_here(archive.about["environment"])
    rows = []
    for table in archive.tables_of(run) if run else [drawn]:
        path = (store.root / run if run else store.root) / "tables" / f"{table}.parquet"
        if not path.exists():  # a table that another notebook asks for
            continue
        theirs, ours = archive.table(run, table), pd.read_parquet(path)
        siblings = [archive.table(each, other) for each, other in _siblings(archive, run, table)]
        rows += [[run or "base", table, *row] for row in _columns(theirs, ours, siblings, exactly)]
    if not rows:  # nothing was compared: that is no agreement
        rows = [[run or "base", drawn, "none", *[math.nan] * 5, "none", False]]
    return pd.DataFrame(rows, columns=COLUMNS)


def beside_published(run: Run, table: pd.DataFrame, seeds: pd.DataFrame) -> pd.DataFrame:
    """Set a training made in front of the reader beside the published ones.

    Args:
        run: the run that was trained again; its environment says where the published one was made.
        table: scores of the model that was trained here (:func:`workbench.evaluate.score`).
        seeds: scores of the published runs on the same prompts, with a column `run`.

    Returns:
        One row per score: column, published, here, low, high, same, rule, agrees (see :func:`compare`). In half precision two trainers
        round differently, so that replies are not asked to be the same.
    """
    by_run = {name: part.reset_index(drop=True) for name, part in seeds.groupby("run", sort=False)}
    exactly = _like_here(run.environment) and run.environment.get("dtype", "float32") == "float32"
    rows = _columns(by_run[run.id], table, [*by_run.values()], exactly)
    return pd.DataFrame(rows, columns=COLUMNS[2:])


def _like_here(made: dict) -> bool:
    """Return whether results were made on this kind of CPU with these versions of the libraries."""
    here = environment.describe()
    return all(made.get(name) == here[name] for name in ("cpu", "versions"))


def _siblings(archive: Archive, run: str, table: str) -> list[tuple[str, str]]:
    """Return (run, table) of all seeds of the cell that a run belongs to, with their tables of the same name."""
    cells = archive.cells
    if run not in set(cells.get("run", ())):
        return []
    labels = [name for name in cells if name not in ("run", "seed")]
    own = cells[cells["run"] == run].iloc[0]
    alike = cells[[all(_equal(row[name], own[name]) for name in labels) for _, row in cells.iterrows()]]
    spec = _without_seed(archive, run)
    name, place = table_name(table), [*_named(archive, run, table)].index(table)
    found = []
    for each in alike["run"].unique():
        tables = _named(archive, each, table)
        if _without_seed(archive, each) == spec and len(tables) > place:
            found.append((each, tables[place]))
    return found if name else []


def _named(archive: Archive, run: str, like: str) -> list[str]:
    return [table for table in archive.tables_of(run) if table_name(table) == table_name(like)]


def _without_seed(archive: Archive, run: str) -> dict:
    """Return the spec of a run without its seed, with its number of rows, and with all this of the run that it builds on in place of an id."""
    record, known = archive.record(run), {*archive.runs["run"]}
    left_out = ["seed"] + ["rank"] * bool(record["spec"].get("sft"))  # the start's, which older records do not repeat
    spec = {
        key: _without_seed(archive, value) if isinstance(value, str) and value in known else value
        for key, value in record["spec"].items()
        if key not in left_out
    }
    # pairs that are made from the answers of each seed's model are never equally many
    return spec if "sft" in spec else {**spec, "rows": record["scores"].get("rows")}


def _equal(a, b) -> bool:
    return a == b or (pd.isna(a) and pd.isna(b))


def _columns(theirs: pd.DataFrame, ours: pd.DataFrame, siblings: list[pd.DataFrame], exactly: bool) -> list[list]:
    """Return one row per score of two tables of the same prompts."""
    if len(theirs) != len(ours):
        return [["rows", len(theirs), len(ours), math.nan, math.nan, 0.0, "replies", False]]
    rows = []
    replies = "response" in theirs and theirs["response"].notna().all()
    scores = [
        name for name in ("follows", "correct", "accurate", "value", "loss", "drift") if name in theirs and name in ours
    ]
    if replies and not scores:  # graded when they are read: two tasks that check the same prompts share their replies
        same = float((theirs["response"] == ours["response"]).mean())
        least = SAME if exactly else SAME_ELSEWHERE
        return [["response", math.nan, math.nan, math.nan, math.nan, same, "replies", same >= least]]
    for name in scores:
        published, here = theirs[name].astype(float), ours[name].astype(float)
        same = (theirs["response"] == ours["response"]) if replies else np.isclose(published, here, rtol=1e-4)
        low, high = _prediction([each[name].astype(float).mean() for each in siblings], len(theirs))
        if exactly:
            rule, agrees = "replies", np.mean(same) >= SAME
        elif len(siblings) > 1:
            rule, agrees = "interval", low <= here.mean() <= high
        else:
            rule, agrees = "prompts", _no_difference(published, here)
        rows.append([name, published.mean(), here.mean(), low, high, float(np.mean(same)), rule, bool(agrees)])
    return rows


def _prediction(means: list[float], prompts: int) -> tuple[float, float]:
    """Return the interval in which the mean of one more seed lies; seeds that are all equal still differ by a prompt."""
    if len(means) < 2:
        return math.nan, math.nan
    spread = max(np.std(means, ddof=1), 1 / prompts) * math.sqrt(1 + 1 / len(means))
    half = stats.t.ppf((1 + LEVEL) / 2, len(means) - 1) * spread
    return np.mean(means) - half, np.mean(means) + half


def _no_difference(published: pd.Series, here: pd.Series) -> bool:
    """Return whether two columns agree on the prompts, up to chance: McNemar's exact test for 0 and 1, else a paired t test."""
    if not set(published) | set(here) <= {0.0, 1.0}:
        return bool(np.allclose(published, here, rtol=1e-2) or stats.ttest_rel(published, here).pvalue > 1 - LEVEL)
    better, worse = int((here > published).sum()), int((here < published).sum())
    return better + worse == 0 or stats.binomtest(better, better + worse).pvalue > 1 - LEVEL
