"""A forecast's confusion matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from lrplan.plots._style import SEQUENTIAL, short

if TYPE_CHECKING:
    from lrplan.plots._drawn import Forecast


def plot_confusion(forecast: Forecast, *, ax: Axes | None = None) -> Axes:
    """Draw a forecast's confusion matrix: true rules down, predicted rules across.

    Parameters
    ----------
    forecast : Forecast
        Whose matrix.
    ax : Axes, optional
        Where to draw; by default a new figure.
    """
    ax = ax or plt.subplots(figsize=(3.5, 3.2))[1]
    shares = forecast.confusion.values
    image = ax.imshow(shares, vmin=0, vmax=1, cmap=SEQUENTIAL)
    names = [short(r) for r in forecast.rules]
    ax.set_xticks(range(len(names)), names, fontsize=7)
    ax.set_yticks(range(len(names)), names, fontsize=7)
    ax.set_xlabel("predicted rule")
    ax.set_ylabel("true rule")
    for (i, j), share in np.ndenumerate(shares):
        colour = "black" if share > 0.6 else "white"
        ax.text(j, i, f"{share:.2f}", ha="center", va="center", color=colour, fontsize=8)
    bar = ax.figure.colorbar(image, ax=ax, fraction=0.046, pad=0.04)
    bar.set_label("share of recordings")
    ax.set_title("confusion, known conditions", fontsize=9)
    return ax
