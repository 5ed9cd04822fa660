"""Picture of a recording: responses over sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from lrplan.arguments import positive_int
from lrplan.errors import UsageError
from lrplan.plots._style import SEQUENTIAL, SMALL, legend_above, new_axes
from lrplan.terms import UNIT_DIMS, UNIT_NOUNS

if TYPE_CHECKING:
    from lrplan.plots._drawn import Recording

AXIS = {
    "activity": "response, mean over stimuli",
    "weights": "weight",
    "paired": "d post / d pre, mean over stimuli",
}


def plot_recording(
    recording: Recording, *, population: int = 0, units: int = 8, ax: Axes | None = None
) -> Axes:
    """Draw the responses of one population over sessions: of some units, and their mean.

    Units are chosen by how much they respond in the first session, evenly from the least to the
    most. Where units are not tracked, those of each session are its own, and are not joined.

    Parameters
    ----------
    recording : Recording
        Whose responses; synapses or pairs where it holds no activity.
    population : int, default 0
        Which of its populations.
    units : int, default 8
        How many are drawn; fewer where there are fewer.
    ax : Axes, optional
        Where to draw; by default a new figure.

    Raises
    ------
    UsageError
        If there is no such population, `units` is no number of units, or nothing is recorded.
    """
    wanted = positive_int(units, "units")
    data = recording.data
    held = data.sizes["population"]
    if population not in range(held):
        raise UsageError(f"there is no population {population!r}; it has 0 to {held - 1}")
    measure = next((m for m in UNIT_DIMS if m in data), None)
    if measure is None:
        raise UsageError(f"{recording.source} holds none of {', '.join(UNIT_DIMS)} to draw")
    shown = data[measure].isel(population=population).stack(recorded=UNIT_DIMS[measure])
    rest = [d for d in shown.dims if d not in ("session", "recorded")]
    values = shown.mean(rest).transpose("session", "recorded").values
    sessions = np.arange(1, len(values) + 1)
    ax = new_axes(ax, 2.6)
    lines = np.full((len(values), wanted), np.nan)
    rows = [0] * len(values) if recording.tracked else range(len(values))
    for session, ranked in enumerate(rows):
        chosen = _spread(values[ranked], wanted)
        lines[session, : len(chosen)] = values[session, chosen]
    marks = "-" if recording.tracked else "o"
    colours = plt.get_cmap(SEQUENTIAL)(np.linspace(0, 1, wanted))
    for line, colour in zip(lines.T, colours, strict=True):
        ax.plot(sessions, line, marks, color=colour, lw=1, ms=3)
    noun = f"{UNIT_NOUNS[measure]}s"
    ax.plot(sessions, _mean(values), color="black", lw=2, label=f"mean of all {noun}")
    ax.plot([], [], marks, color="0.5", lw=1, ms=3, label=f"single {noun}")
    ax.set_xlabel("session", fontsize=SMALL)
    ax.set_ylabel(AXIS[measure], fontsize=SMALL)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.tick_params(labelsize=SMALL)
    legend_above(ax)
    return ax


def _spread(values: np.ndarray, wanted: int) -> np.ndarray:
    """Return places of what is recorded, evenly from the least to the most."""
    order = np.argsort(values)[: int(np.isfinite(values).sum())]
    if not len(order):
        return order
    return order[np.unique(np.linspace(0, len(order) - 1, wanted).round().astype(int))]


def _mean(values: np.ndarray) -> np.ndarray:
    """Return the mean of what is recorded in each session; NaN where nothing is."""
    found = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.where(found, values, 0).sum(axis=1) / found.sum(axis=1)
