"""What all pictures share: sizes, colours that the colour-blind can tell apart, panels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

SEQUENTIAL = "cividis"
LINE = "#00457c"
COLUMN_INCHES = 3.5
"""Width of a journal's column."""
# Okabe and Ito's set, without the yellow, which is too pale for lines on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
SMALL = 7
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


def chance_line(ax: Axes, chance: float, *, vertical: bool = True, label: str = "chance") -> None:
    """Draw what guessing reaches."""
    draw = ax.axvline if vertical else ax.axhline
    draw(chance, color="0.4", ls="--", lw=1, label=label)


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
