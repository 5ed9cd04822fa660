"""The accuracy between each two labels, as dots."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes

from lrplan.plots._dots import dots, label_accuracy
from lrplan.plots._style import (
    measure_colours,
    new_axes,
    spoken,
    values_of,
)

if TYPE_CHECKING:
    from lrplan.plots._drawn import Result


def plot_pairs(result: Result, *, ax: Axes | None = None) -> Axes:
    """Draw the accuracy between each two labels, from the analysis ``pairs``."""
    data = result.dataset
    kinds = values_of(data["a"])
    pairs = [(i, j) for i in range(len(kinds)) for j in range(i + 1, len(kinds))]
    measures = values_of(data["measure"])
    found = [
        np.array([[data[v].sel(measure=m).values[i, j] for m in measures] for i, j in pairs])
        for v in ("accuracy", "low", "high")
    ]
    ax = new_axes(ax, 0.9 + 0.16 * len(pairs) * (len(measures) + 1))
    names = [f"{spoken(kinds[i])}\nor {spoken(kinds[j])}" for i, j in pairs]
    dots(ax, names, measures, *found, colours=measure_colours(measures))
    label_accuracy(ax, 0.5, least=0.2)
    return ax
