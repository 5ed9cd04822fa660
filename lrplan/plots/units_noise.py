"""Accuracy over units and noise for each measure, as heat maps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.axes import Axes

from lrplan.plots._heat import accuracy_range, heat, panels
from lrplan.plots._style import ACCURACY, values_of

if TYPE_CHECKING:
    from lrplan.plots._drawn import Result


def plot_units_noise(result: Result, *, ax: Axes | None = None) -> Axes:
    """Draw accuracy over units (up) and noise (across) for each measure, from ``units_noise``."""
    data = result.dataset
    measures = values_of(data["measure"])
    titles = [
        f"{m} (every unit, no noise: {float(data['all_units'].sel(measure=m)):.2f})"
        for m in measures
    ]
    low, high = accuracy_range(data)
    ax, parts = panels(ax, titles, height=2.3)
    for panel, m in zip(parts, measures, strict=True):
        heat(
            panel,
            data["accuracy"].sel(measure=m).values,
            across=[f"{n:g}" for n in data["noise"].values],
            down=values_of(data["units"]),
            low=low,
            high=high,
            label=ACCURACY,
            origin="lower",
        )
        panel.set_xlabel("noise / signal (standard deviations)", fontsize=8)
        panel.set_ylabel("units", fontsize=8)
    return ax
