"""Figures with their intervals, as dots: a row for each name, a colour for each series."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes

from lrplan.plots._style import (
    ACCURACY,
    COLOURS,
    MARKERS,
    SMALL,
    chance_line,
    legend_above,
    measure_colours,
    new_axes,
    spoken,
    values_of,
)

if TYPE_CHECKING:
    from lrplan.plots._drawn import Result


def dots(
    ax: Axes,
    rows: Sequence[str],
    series: Sequence[str],
    mean: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    *,
    colours: Sequence[str] = COLOURS,
) -> None:
    """Draw figures with their intervals: a row for each name, a colour and marker for each series.

    Parameters
    ----------
    rows, series : sequence of str
        Names, from above; series stand in the legend if there are several.
    mean, low, high : array (row, series)
        NaN is left out.
    """
    for j, name in enumerate(series):
        # Series of one row stand one below the other.
        y = np.arange(len(rows)) + 0.7 * ((j + 0.5) / len(series) - 0.5)
        sound = np.isfinite(mean[:, j])
        error = np.stack([mean[:, j] - low[:, j], high[:, j] - mean[:, j]])[:, sound]
        ax.errorbar(
            mean[sound, j],
            y[sound],
            xerr=np.maximum(np.nan_to_num(error), 0),
            fmt=MARKERS[j % len(MARKERS)],
            color=colours[j % len(colours)],
            ms=3.5,
            lw=1,
            label=spoken(name),
        )
    ax.set_yticks(range(len(rows)), rows, fontsize=SMALL)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    for edge in np.arange(len(rows) - 1) + 0.5:
        ax.axhline(edge, color="0.9", lw=0.5, zorder=0)
    ax.tick_params(axis="x", labelsize=SMALL)


def accuracy_dots(result: Result, rows: str, ax: Axes | None) -> Axes:
    """Draw accuracies over one dimension and measure as dots with intervals."""
    data = result.dataset
    found = [data[v].transpose(rows, "measure").values for v in ("accuracy", "low", "high")]
    names, measures = values_of(data[rows]), values_of(data["measure"])
    ax = new_axes(ax, 0.9 + 0.16 * len(names) * (len(measures) + 1))
    dots(ax, [spoken(n) for n in names], measures, *found, colours=measure_colours(measures))
    chance = np.unique(data["chance"].values)
    label_accuracy(ax, float(chance[0]) if len(chance) == 1 else None)
    return ax


def label_accuracy(ax: Axes, chance: float | None, *, least: float = 0.0, columns: int = 2) -> None:
    """Draw chance, if there is one for all rows, and name the axis and the series.

    Parameters
    ----------
    least : float, default 0
        The lower end of the axis.
    columns : int, default 2
        Of the legend.
    """
    if chance is not None:
        chance_line(ax, chance)
    ax.set_xlim(least, 1)
    ax.set_xlabel(f"{ACCURACY} (95% interval)", fontsize=8)
    legend_above(ax, columns)
