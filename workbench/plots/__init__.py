"""Show results: pictures with intervals, answers side by side, the report, the playground."""

from workbench.plots.estimates import intervals, verdict_title
from workbench.plots.heatmaps import heatmap, matrix
from workbench.plots.lines import curves, likelihoods, training_curve, values
from workbench.plots.playground import show_playground
from workbench.plots.rl import rl_log
from workbench.plots.scorecards import effects, generalisation, outcomes, ranking, scorecard
from workbench.plots.style import set_style
from workbench.plots.tables import side_by_side, text_table

__all__ = [
    "curves",
    "effects",
    "generalisation",
    "heatmap",
    "intervals",
    "likelihoods",
    "matrix",
    "outcomes",
    "ranking",
    "rl_log",
    "scorecard",
    "set_style",
    "show_playground",
    "side_by_side",
    "text_table",
    "training_curve",
    "values",
    "verdict_title",
]
