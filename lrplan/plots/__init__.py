"""Pictures of results. Each function draws into `ax` and returns it; none shows a window.

They are readable at the width of a journal's column (3.5 inches), and colours can be told apart
by the colour-blind.
"""

from __future__ import annotations

from lrplan.plots._analyses import (
    plot_clustering,
    plot_confusion_by_measure,
    plot_equal_performance,
    plot_held_out,
    plot_importance,
    plot_label,
    plot_pairs,
    plot_pretrained,
    plot_separation,
    plot_subsampling,
    plot_thirds,
    plot_time_average,
    plot_units_noise,
)
from lrplan.plots._claims import plot_claims
from lrplan.plots._forecasts import (
    plot_accuracy_by_noise,
    plot_accuracy_by_units,
    plot_confusion,
    plot_forecast,
    plot_sweep,
)
from lrplan.plots._style import LINE, SEQUENTIAL, short

__all__ = [
    "LINE",
    "SEQUENTIAL",
    "plot_accuracy_by_noise",
    "plot_accuracy_by_units",
    "plot_claims",
    "plot_clustering",
    "plot_confusion",
    "plot_confusion_by_measure",
    "plot_equal_performance",
    "plot_forecast",
    "plot_held_out",
    "plot_importance",
    "plot_label",
    "plot_pairs",
    "plot_pretrained",
    "plot_separation",
    "plot_subsampling",
    "plot_sweep",
    "plot_thirds",
    "plot_time_average",
    "plot_units_noise",
    "short",
]
