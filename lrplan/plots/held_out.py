"""What held-out conditions cost, and each of their cases."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes

from lrplan.plots._dots import dots, label_accuracy
from lrplan.plots._style import MARKERS, measure_colours, new_axes, spoken, values_of

if TYPE_CHECKING:
    from lrplan.plots._drawn import Result


NAMES = {"family": "family\n(a brain is one)"}


def plot_held_out(result: Result, *, ax: Axes | None = None) -> Axes:
    """Draw what each condition costs, and each of its cases, from the analysis ``held_out``.

    Filled markers are whole conditions; an open marker is one case that was held out, a bar the
    accuracy with as many random organisms held out.
    """
    data = result.dataset
    measures, names = values_of(data["measure"]), values_of(data["condition"])
    found = [data[v].transpose("condition", "measure").values for v in ("accuracy", "low", "high")]
    ax = new_axes(ax, 1.0 + 0.2 * len(names) * (len(measures) + 1))
    colours = measure_colours(measures)
    dots(ax, [NAMES.get(n, spoken(n)) for n in names], measures, *found, colours=colours)
    for j, m in enumerate(measures):
        for i, name in enumerate(names):
            y = i + 0.7 * ((j + 0.5) / len(measures) - 0.5)
            known = float(data["known"].sel(measure=m, condition=name))
            ax.plot([known, known], [y - 0.11, y + 0.11], color=colours[j], lw=2)
            cases = (
                data["case_accuracy"].sel(measure=m).values[data["case_condition"].values == name]
            )
            ax.plot(
                cases, np.full(len(cases), y), MARKERS[j], mfc="none", mec=colours[j], ms=3, mew=0.6
            )
    ax.plot([], [], "|", color="0.3", ms=7, mew=2, label="random held out")
    ax.plot([], [], "o", mfc="none", mec="0.3", ms=3, mew=0.6, label="one case")
    label_accuracy(ax, float(data["chance"]), columns=3)
    return ax
