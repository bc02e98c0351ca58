"""Show results: pictures with intervals, tables for a notebook, the report, the playground."""

from workbench.plots.heatmaps import heatmap, matrix
from workbench.plots.intervals import dots, effects, generalisation, outcomes, ranking, scorecard
from workbench.plots.lines import curves, likelihoods, training_curve, values
from workbench.plots.playground import playground
from workbench.plots.style import set_style
from workbench.plots.tables import side_by_side, text_table

__all__ = [
    "curves",
    "dots",
    "effects",
    "generalisation",
    "heatmap",
    "likelihoods",
    "matrix",
    "outcomes",
    "playground",
    "ranking",
    "scorecard",
    "set_style",
    "side_by_side",
    "text_table",
    "training_curve",
    "values",
]
