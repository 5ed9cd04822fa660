"""How far clusters are each label's values, as dots."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.axes import Axes

from lrplan.plots._dots import dots
from lrplan.plots._style import chance_line, legend_above, measure_colours, new_axes, values_of

if TYPE_CHECKING:
    from lrplan.plots._drawn import Result


def plot_clustering(result: Result, *, ax: Axes | None = None) -> Axes:
    """Draw how far clusters are each label's values, from ``clustering``."""
    data = result.dataset
    names, measures = values_of(data["label"]), values_of(data["measure"])
    found = [data[v].transpose("label", "measure").values for v in ("rand", "low", "high")]
    ax = new_axes(ax, 0.9 + 0.16 * len(names) * (len(measures) + 1))
    dots(ax, names, measures, *found, colours=measure_colours(measures))
    chance_line(ax, 0)
    ax.set_xlabel("adjusted Rand index (95% interval)", fontsize=8)
    legend_above(ax)
    return ax
