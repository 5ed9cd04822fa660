"""Accuracy, or area under the curve, over units and noise, as a heat map."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from lrplan.errors import UsageError
from lrplan.plots._style import SEQUENTIAL
from lrplan.registry import nearest

LABELS = {
    "accuracy": "balanced accuracy (from chance)",
    "family": "balanced accuracy, held-out family (from chance)",
    "auc": "area under the curve (from chance)",
    "family_auc": "area under the curve, held-out family (from chance)",
}


def plot_sweep(result: xr.Dataset, *, figure: str = "accuracy", ax: Axes | None = None) -> Axes:
    """Draw a figure over units (up) and noise (across) as a heat map, from `sweep`.

    Parameters
    ----------
    result : xarray.Dataset
        From `sweep`, over units and noise.
    figure : {"accuracy", "family", "auc", "family_auc"}, default "accuracy"
        Accuracy or area under the curve, within known conditions or on families that were held
        out.
    ax : Axes, optional
        Where to draw; by default a new figure.

    Raises
    ------
    UsageError
        If the sweep has no such figure.
    """
    if figure not in LABELS or figure not in result:
        held = [name for name in LABELS if name in result]
        raise UsageError(f"unknown figure {figure!r} here; {nearest(figure, held)}")
    ax = ax or plt.subplots(figsize=(3.8, 3.0))[1]
    values = result[figure].values
    chance = 0.5 if figure.endswith("auc") else float(result["chance"])
    image = ax.imshow(values, vmin=chance, vmax=1, cmap=SEQUENTIAL, origin="lower", aspect="auto")
    ax.set_xticks(range(values.shape[1]), [f"{n:g}" for n in result["noise"].values])
    ax.set_yticks(range(values.shape[0]), [str(u) for u in result["units"].values])
    ax.set_xlabel("noise / signal (standard deviations)")
    ax.set_ylabel("units per session")
    middle = (1 + chance) / 2
    for (i, j), value in np.ndenumerate(values):
        colour = "black" if value > middle else "white"
        ax.text(j, i, f"{value:.2f}", ha="center", va="center", color=colour, fontsize=8)
    ax.figure.colorbar(image, ax=ax).set_label(LABELS[figure])
    return ax
