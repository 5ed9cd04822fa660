"""Whole and averaged trajectories, as dots."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.axes import Axes

from lrplan.plots._dots import dots, label_accuracy
from lrplan.plots._style import new_axes, spoken, values_of

if TYPE_CHECKING:
    from lrplan.plots._drawn import Result


def plot_time_average(result: Result, *, ax: Axes | None = None) -> Axes:
    """Draw whole and averaged trajectories, from the analysis ``time_average``."""
    data = result.dataset
    names = [
        f"{m},\n{spoken(c)}"
        for m in values_of(data["measure"])
        for c in values_of(data["classifier"])
    ]
    found = [
        data[v].transpose("measure", "classifier", "form").values.reshape(len(names), -1)
        for v in ("accuracy", "low", "high")
    ]
    ax = new_axes(ax, 0.9 + 0.36 * len(names))
    dots(ax, names, ["whole trajectory", "average over time"], *found)
    label_accuracy(ax, float(data["chance"]))
    return ax
