"""A forecast on one sheet."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import xarray as xr
from matplotlib.figure import Figure

from lrplan.plots.accuracy_by_noise import plot_accuracy_by_noise
from lrplan.plots.accuracy_by_units import plot_accuracy_by_units
from lrplan.plots.confusion import plot_confusion

if TYPE_CHECKING:
    from lrplan.plots._drawn import Forecast


def plot_forecast(
    forecast: Forecast, by_units: xr.Dataset, by_noise: xr.Dataset | None = None
) -> Figure:
    """Draw a forecast on one sheet: confusion, accuracy against units and against noise.

    The last is left out of a technique whose noise follows from its settings.
    """
    ratios = (1.2, 1) if by_noise is None else (1.2, 1, 1)
    figure, axes = plt.subplots(
        1,
        len(ratios),
        figsize=(7.5 if by_noise is None else 10.5, 3.4),
        layout="constrained",
        width_ratios=ratios,
    )
    plot_confusion(forecast, ax=axes[0])
    plot_accuracy_by_units(by_units, ax=axes[1])
    if by_noise is not None:
        plot_accuracy_by_noise(by_noise, ax=axes[2])
    family = forecast.held_out.get("family")
    title = f"{forecast.accuracy} within known conditions; chance {forecast.chance:.2f}"
    if family is None:
        title = f"accuracy {title}; no family of networks was held out"
    else:
        # Two panels are narrower than the line.
        apart = " " if by_noise is not None else "\n"
        title = f"accuracy {family} on held-out families (a brain is one);{apart}{title}"
    figure.suptitle(title, fontsize=9)
    return figure
