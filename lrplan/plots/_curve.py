"""Accuracy along one property of a design."""

from __future__ import annotations

import matplotlib.pyplot as plt
import xarray as xr
from matplotlib.axes import Axes

from lrplan.plots._style import LINE


def curve(result: xr.Dataset, dim: str, ax: Axes | None) -> Axes:
    ax = ax or plt.subplots(figsize=(3.5, 2.8))[1]
    line = result.squeeze(drop=True)
    x = line[dim].values
    mean = line["accuracy"].values
    ax.fill_between(
        x,
        line["low"].values,
        line["high"].values,
        color=LINE,
        alpha=0.2,
        lw=0,
        label="95% interval",
    )
    ax.plot(x, mean, "o-", color=LINE, ms=4, label="accuracy")
    ax.axhline(float(line["chance"]), color="0.4", ls="--", lw=1, label="chance")
    ax.set_ylim(0, 1)
    ax.set_ylabel("balanced accuracy")
    ax.legend(fontsize=7, frameon=False, loc="lower right")
    return ax
