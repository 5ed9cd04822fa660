"""Picture of a cohort: what its organisms learned."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes

from lrplan.plots._dots import dots
from lrplan.plots._style import COLOURS, SMALL, legend_above, new_axes, short, spoken

if TYPE_CHECKING:
    from lrplan.plots._drawn import Cohort


def plot_cohort(cohort: Cohort, *, ax: Axes | None = None) -> Axes:
    """Draw the final performance of a cohort's organisms, by rule and task.

    Passive twins, which learn nothing, are left out.

    Dots are medians over organisms, lines reach from the 10th to the 90th percentile. Where no
    performance is recorded, bars are numbers of organisms.

    Parameters
    ----------
    cohort : Cohort
        Whose organisms.
    ax : Axes, optional
        Where to draw; by default a new figure.
    """
    rules = cohort.rules
    task, rule = (cohort.organisms[k].values for k in ("task", "rule"))
    tasks = sorted(set(task))
    final = cohort.final_performance()
    ax = new_axes(ax, 0.8 + 0.12 * len(rules) * (len(tasks) + 1))
    # Rules stand one below the other, the first above.
    names = [short(r) for r in rules]
    members = [[(rule == r) & (task == t) & ~cohort.passive for t in tasks] for r in rules]
    if np.isfinite(final).any():
        low, middle, high = (
            np.array([[_quantile(final[m], q) for m in row] for row in members])
            for q in (0.1, 0.5, 0.9)
        )
        dots(ax, names, tasks, middle, low, high)
        ax.set_xlim(right=1)
        ax.set_xlabel("final performance: share of held-out examples", fontsize=SMALL)
    else:
        before = np.zeros(len(rules))
        for j, t in enumerate(tasks):
            counts = np.array([row[j].sum() for row in members])
            colour = COLOURS[j % len(COLOURS)]
            ax.barh(range(len(rules)), counts, left=before, color=colour, label=spoken(t))
            before += counts
        ax.set_yticks(range(len(rules)), names, fontsize=SMALL)
        ax.invert_yaxis()
        ax.tick_params(axis="x", labelsize=SMALL)
        ax.set_xlabel("organisms; performance is not recorded", fontsize=SMALL)
    legend_above(ax)
    return ax


def _quantile(values: np.ndarray, share: float) -> float:
    """Return a quantile of what is finite; NaN where nothing is."""
    sound = values[np.isfinite(values)]
    return float(np.quantile(sound, share)) if sound.size else float("nan")
