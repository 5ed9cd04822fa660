"""Accuracy by measure and classifier, as dots."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.axes import Axes

from lrplan.plots._dots import dots, label_accuracy
from lrplan.plots._style import new_axes, values_of

if TYPE_CHECKING:
    from lrplan.plots._drawn import Result


def plot_separation(result: Result, *, ax: Axes | None = None) -> Axes:
    """Draw accuracy by measure and classifier, from the analysis ``separation``."""
    data = result.dataset
    if data.sizes["split"] == 1:
        flat = data.isel(split=0)
        names = values_of(data["measure"])
        found = [
            flat[v].transpose("measure", "classifier").values for v in ("accuracy", "low", "high")
        ]
    else:
        names = [
            f"{m},\nby {s}" for m in values_of(data["measure"]) for s in values_of(data["split"])
        ]
        found = [
            data[v].transpose("measure", "split", "classifier").values.reshape(len(names), -1)
            for v in ("accuracy", "low", "high")
        ]
    each = values_of(data["classifier"])
    ax = new_axes(ax, 0.9 + 0.16 * len(names) * (len(each) + 1))
    dots(ax, names, each, *found)
    label_accuracy(ax, float(data["chance"]))
    return ax
