"""How one label is told, among all organisms and among those alike in another."""

from __future__ import annotations

from textwrap import fill
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes

from lrplan.plots._dots import accuracy_dots
from lrplan.plots._style import SMALL, legend_above, spoken, values_of

if TYPE_CHECKING:
    from lrplan.plots._drawn import Result

WIDTH = 18
"""Characters after which a name beside the axis is broken."""


def plot_label(result: Result, *, ax: Axes | None = None) -> Axes:
    """Draw how one label is told, from ``objective``, ``credit`` or ``optimizer``."""
    ax = accuracy_dots(result, "among", ax)
    data = result.dataset
    several = len(np.unique(data["chance"].values)) > 1
    for i, chance in enumerate(data["chance"].values if several else []):
        label = "chance" if i == 0 else None
        ax.plot([chance, chance], [i - 0.5, i + 0.5], color="0.4", ls="--", lw=1, label=label)
    names = [
        f"among {spoken(n)}".replace("among all", "all organisms") for n in values_of(data["among"])
    ]
    ax.set_yticks(range(len(names)), [fill(n, WIDTH) for n in names], fontsize=SMALL)
    legend_above(ax)
    ax.set_title(f"{spoken(result.analysis)} told", fontsize=8, pad=32)
    return ax
