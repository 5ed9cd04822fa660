"""Matrices with their numbers, in panels one above the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from lrplan.plots._style import (
    ACCURACY,
    COLUMN_INCHES,
    LONG,
    SEQUENTIAL,
    SMALL,
    new_axes,
    short,
    values_of,
)

if TYPE_CHECKING:
    from lrplan.plots._drawn import Result


def panels(
    ax: Axes | None, titles: Sequence[str], *, height: float, foot: float = 0.5
) -> tuple[Axes, list[Axes]]:
    """Divide `ax`, or a new figure, into panels one above the other.

    Parameters
    ----------
    titles : sequence of str
        One for each panel; a single panel is `ax` itself.
    height : float
        Of one panel, in inches.
    foot : float, default 0.5
        What of it is left for the labels below, in inches.

    Returns
    -------
    Axes
        The whole; its panels are its ``child_axes``.
    list of Axes
        The panels, from above.
    """
    number = len(titles)
    if number == 1:
        ax = new_axes(ax, height)
        ax.set_title(titles[0], fontsize=8)
        return ax, [ax]
    if ax is None:
        figure = plt.figure(figsize=(COLUMN_INCHES, height * number))
        ax = figure.add_axes((0.0, 0.0, 1.0, 1.0))
        inner = (0.27, 0.48)
    else:
        inner = (0.0, 1.0)
    ax.set_axis_off()
    share = 1 / number
    out = []
    for i, title in enumerate(titles):
        low = 1 - (i + 1) * share
        # Room for a title above and labels below, in inches.
        panel = ax.inset_axes(
            (inner[0], low + foot * share / height, inner[1], (1 - (foot + 0.25) / height) * share)
        )
        panel.set_title(title, fontsize=8)
        out.append(panel)
    return ax, out


def heat(
    ax: Axes,
    values: np.ndarray,
    *,
    across: Sequence[str],
    down: Sequence[str],
    low: float,
    high: float,
    label: str,
    origin: Any = "upper",
) -> None:
    """Draw a matrix with its numbers, on a sequential colour map; NaN stays empty."""
    image = ax.imshow(values, vmin=low, vmax=high, cmap=SEQUENTIAL, origin=origin, aspect="auto")
    ax.set_xticks(range(len(across)), across, fontsize=SMALL)
    if max(map(len, across)) > LONG:
        ax.tick_params(axis="x", labelrotation=40)
        for tick in ax.get_xticklabels():
            tick.set(ha="right", rotation_mode="anchor")
    ax.set_yticks(range(len(down)), down, fontsize=SMALL)
    middle = low + 0.55 * (high - low)
    for (i, j), value in np.ndenumerate(values):
        if np.isfinite(value):
            colour = "black" if value > middle else "white"
            ax.text(j, i, f"{value:.2f}", ha="center", va="center", color=colour, fontsize=SMALL)
    bar = ax.figure.colorbar(image, cax=ax.inset_axes((1.04, 0.0, 0.05, 1.0)))
    bar.set_label(label, fontsize=SMALL)
    bar.ax.tick_params(labelsize=6)


def accuracy_range(data: xr.Dataset) -> tuple[float, float]:
    """Return the ends of a scale of accuracy: from chance, to the next tenth above the best."""
    low, best = float(data["chance"]), float(np.nanmax(data["accuracy"].values))
    return low, min(1.0, max(np.ceil(10 * best) / 10, low + 0.2))


def crossed(result: Result, ax: Axes | None, what: str) -> Axes:
    """Draw a heat map of trained against tested for each measure."""
    data = result.dataset
    measures = values_of(data["measure"])
    low, high = accuracy_range(data)
    # Long names are slanted.
    extra = 0.4 if max(map(len, values_of(data["tested"]))) > LONG else 0.0
    ax, parts = panels(ax, measures, height=2.3 + extra, foot=0.5 + extra)
    for panel, m in zip(parts, measures, strict=True):
        heat(
            panel,
            data["accuracy"].sel(measure=m).values,
            across=values_of(data["tested"]),
            down=[short(n) for n in values_of(data["trained"])],
            low=low,
            high=high,
            label=ACCURACY,
        )
        panel.set_xlabel(f"tested on {what}", fontsize=8)
        panel.set_ylabel("trained on", fontsize=8)
    return ax
