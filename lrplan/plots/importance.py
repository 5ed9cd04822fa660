"""Importance of observables, by Gini and by permutation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes

from lrplan.plots._style import MARKERS, SMALL, measure_colours, new_axes, values_of

if TYPE_CHECKING:
    from lrplan.plots._drawn import Result


def plot_importance(result: Result, *, ax: Axes | None = None, most: int = 30) -> Axes:
    """Draw the importance of observables, most important above, from ``importance``.

    Parameters
    ----------
    result : Result
        Of the analysis.
    ax : Axes, optional
        Divided in two: Gini on the left, permutation on the right.
    most : int, default 30
        How many observables are drawn.
    """
    data = result.dataset
    by = "gini" if np.isfinite(data["gini"].values).all() else "importance"
    order = np.argsort(-data[by].values, kind="stable")
    # The last is worth seeing, whatever lies between.
    order = order if len(order) <= most else np.append(order[: most - 1], order[-1])
    data = data.isel(observable=order)
    measures = values_of(data["measure"])
    kinds = sorted(set(measures))
    colours = dict(zip(kinds, measure_colours(kinds), strict=True))
    y = np.arange(len(order))
    if ax is None:
        ax = new_axes(None, 0.9 + 0.15 * len(order))
    ax.set_axis_off()
    with_gini = bool(np.isfinite(data["gini"].values).all())
    left = ax.inset_axes((0.12, 0.0, 0.40 if with_gini else 0.86, 1.0))
    permuted = "accuracy lost when\npermuted (test)"
    columns = [(left, "importance", "low", "high", permuted)]
    if with_gini:
        right = ax.inset_axes((0.58, 0.0, 0.40, 1.0))
        right.set_yticks(y, [])
        columns = [
            (left, "gini", "gini_low", "gini_high", "Gini\n(training)"),
            (right, "importance", "low", "high", permuted),
        ]
    for panel, variable, low, high, title in columns:
        values = data[variable].values
        error = np.stack([values - data[low].values, data[high].values - values])
        for kind in kinds:
            own = np.array([m == kind for m in measures])
            panel.errorbar(
                values[own],
                y[own],
                xerr=np.maximum(np.nan_to_num(error[:, own]), 0),
                fmt=MARKERS[kinds.index(kind)],
                ms=3,
                lw=0.8,
                color=colours[kind],
                label=kind,
            )
        panel.axvline(0, color="0.4", ls="--", lw=0.8)
        panel.set_ylim(len(order) - 0.5, -0.5)
        panel.set_xlabel(title, fontsize=SMALL)
        panel.tick_params(axis="x", labelsize=6)
        panel.locator_params(axis="x", nbins=4)
    left.set_yticks(y, values_of(data["observable"]), fontsize=6)
    left.legend(
        fontsize=SMALL,
        frameon=False,
        loc="lower center",
        bbox_to_anchor=(0.9 if with_gini else 0.4, 1.0),
        ncols=2,
        handletextpad=0.3,
    )
    return ax
