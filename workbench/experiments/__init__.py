"""Run grids of trainings, test claims on them, make synthetic data, run notebooks, export runs."""

from workbench.experiments.claims import (
    Claim,
    Region,
    at_least,
    at_most,
    between,
    check_claim,
    claims_table,
    less_than,
    more_than,
    show_verdicts,
)
from workbench.experiments.export import export_run, push_to_hub
from workbench.experiments.grid import Cell, make_cells, run_grid, runs_of
from workbench.experiments.grid_tables import split_by, training_sizes
from workbench.experiments.replication import beside_published
from workbench.experiments.row_scores import score_rows
from workbench.experiments.synthetic import (
    distil,
    pairs_from_dataset,
    preference_pairs,
    sample_pairs,
)
from workbench.parallel import run_parallel
from workbench.store import Run, Store

__all__ = [
    "Run",
    "Store",
    "run_parallel",
    "runs_of",
    "Cell",
    "Claim",
    "Region",
    "at_least",
    "at_most",
    "beside_published",
    "between",
    "check_claim",
    "claims_table",
    "distil",
    "export_run",
    "less_than",
    "make_cells",
    "more_than",
    "pairs_from_dataset",
    "preference_pairs",
    "push_to_hub",
    "run_grid",
    "sample_pairs",
    "score_rows",
    "show_verdicts",
    "split_by",
    "training_sizes",
]
