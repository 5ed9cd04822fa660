"""A confusion matrix for each measure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.axes import Axes

from lrplan.plots._heat import heat, panels
from lrplan.plots._style import short, spoken, values_of

if TYPE_CHECKING:
    from lrplan.plots._drawn import Result


def plot_confusion_by_measure(result: Result, *, ax: Axes | None = None) -> Axes:
    """Draw a confusion matrix for each measure, from the analysis ``confusion``."""
    data = result.dataset
    kinds = [short(k) for k in values_of(data["true"])]
    across = [spoken(k) for k in values_of(data["true"])]
    titles = [
        f"{m}: accuracy {float(data['accuracy'].sel(measure=m)):.2f}"
        for m in values_of(data["measure"])
    ]
    ax, parts = panels(ax, titles, height=3.1, foot=1.15)
    for panel, m in zip(parts, values_of(data["measure"]), strict=True):
        values = data["share"].sel(measure=m).values
        heat(panel, values, across=across, down=kinds, low=0, high=1, label="share of recordings")
        panel.set_xlabel("taken for", fontsize=8)
        panel.set_ylabel("true", fontsize=8)
    return ax
