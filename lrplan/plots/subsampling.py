"""Accuracy over samples and period, as a heat map."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.axes import Axes

from lrplan.plots._heat import accuracy_range, heat, panels
from lrplan.plots._style import ACCURACY, values_of

if TYPE_CHECKING:
    from lrplan.plots._drawn import Result


def plot_subsampling(result: Result, *, ax: Axes | None = None) -> Axes:
    """Draw accuracy over samples (up) and period (across), from ``subsampling``."""
    data = result.dataset
    measures = values_of(data["measure"])
    low, high = accuracy_range(data)
    ax, parts = panels(ax, measures, height=2.3)
    for panel, m in zip(parts, measures, strict=True):
        heat(
            panel,
            data["accuracy"].sel(measure=m).values,
            across=values_of(data["period"]),
            down=values_of(data["samples"]),
            low=low,
            high=high,
            label=ACCURACY,
            origin="lower",
        )
        panel.set_xlabel("period (checkpoints)", fontsize=8)
        panel.set_ylabel("samples", fontsize=8)
    return ax
