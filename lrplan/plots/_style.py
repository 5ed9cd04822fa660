"""What all pictures share: sizes, colours that the colour-blind can tell apart, words."""

from __future__ import annotations

import matplotlib.pyplot as plt
import xarray as xr
from matplotlib.axes import Axes

SEQUENTIAL = "cividis"
LINE = "#00457c"
COLUMN_INCHES = 3.5
"""Width of a journal's column."""
# Okabe and Ito's set, without the yellow, which is too pale for lines on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
SMALL = 7
ACCURACY = "balanced accuracy"
LONG = 9
"""Characters beyond which names below an axis are slanted."""


def short(rule: str) -> str:
    """Return a rule's name as it fits on an axis."""
    return rule.replace("_", "\n")


def spoken(name: str) -> str:
    """Return a name without underscores."""
    return name.replace("_", " ")


def new_axes(ax: Axes | None, height: float, width: float = COLUMN_INCHES) -> Axes:
    """Return `ax`, or that of a new figure."""
    if ax is not None:
        return ax
    return plt.subplots(figsize=(width, height), layout="constrained")[1]


def chance_line(ax: Axes, chance: float) -> None:
    """Draw what guessing reaches."""
    ax.axvline(chance, color="0.4", ls="--", lw=1, label="chance")


def legend_above(ax: Axes, columns: int = 2) -> None:
    """Put the legend above the frame, where no figure can lie under it."""
    ax.legend(
        fontsize=SMALL,
        frameon=False,
        loc="lower center",
        bbox_to_anchor=(0.5, 1.0),
        ncols=columns,
        handletextpad=0.3,
        columnspacing=1.0,
    )


def values_of(coordinate: xr.DataArray) -> list[str]:
    """Return the names along a dimension."""
    return [str(v) for v in coordinate.values]


def measure_colours(measures: list[str]) -> list[str]:
    """Return the colour of each measure, the same in every picture."""
    fixed = dict(
        zip(("activity", "weights", "paired", "all", "performance"), COLOURS, strict=False)
    )
    return [fixed.get(m, COLOURS[5]) for m in measures]
