"""Accuracy over units and noise, as a heat map."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from lrplan.plots._style import SEQUENTIAL


def plot_sweep(result: xr.Dataset, *, ax: Axes | None = None) -> Axes:
    """Draw accuracy over units (up) and noise (across) as a heat map, from `sweep`."""
    ax = ax or plt.subplots(figsize=(3.8, 3.0))[1]
    values = result["accuracy"].values
    image = ax.imshow(
        values, vmin=float(result["chance"]), vmax=1, cmap=SEQUENTIAL, origin="lower", aspect="auto"
    )
    ax.set_xticks(range(values.shape[1]), [f"{n:g}" for n in result["noise"].values])
    ax.set_yticks(range(values.shape[0]), [str(u) for u in result["units"].values])
    ax.set_xlabel("noise / signal (standard deviations)")
    ax.set_ylabel("units per session")
    middle = (1 + float(result["chance"])) / 2
    for (i, j), value in np.ndenumerate(values):
        colour = "black" if value > middle else "white"
        ax.text(j, i, f"{value:.2f}", ha="center", va="center", color=colour, fontsize=8)
    ax.figure.colorbar(image, ax=ax).set_label("balanced accuracy (from chance)")
    return ax
