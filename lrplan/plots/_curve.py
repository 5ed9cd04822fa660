"""Accuracy along one property of a design."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from lrplan.plots._style import COLOURS, LINE


def curve(result: xr.Dataset, dim: str, ax: Axes | None) -> Axes:
    """Draw accuracy within known conditions and, where there is one, on held-out families."""
    ax = ax or plt.subplots(figsize=(3.5, 2.8))[1]
    line = result.squeeze(drop=True)
    x = line[dim].values
    _band(ax, x, line, ("accuracy", "low", "high"), "known conditions", LINE)
    if "family" in line and line["family"].notnull().any():
        names = ("family", "family_low", "family_high")
        _band(ax, x, line, names, "held-out family", COLOURS[1])
    ax.axhline(float(line["chance"]), color="0.4", ls="--", lw=1, label="chance")
    # Room above for the legend, where no band lies.
    ax.set_ylim(0, 1.32)
    ax.set_yticks(np.linspace(0, 1, 6))
    ax.set_ylabel("balanced accuracy")
    ax.legend(fontsize=7, frameon=False, loc="upper left")
    return ax


def _band(
    ax: Axes, x: np.ndarray, line: xr.Dataset, names: tuple[str, str, str], label: str, colour: str
) -> None:
    mean, low, high = (line[name].values for name in names)
    ax.fill_between(x, low, high, color=colour, alpha=0.2, lw=0)
    ax.plot(x, mean, "o-", color=colour, ms=4, label=f"{label} (95% interval)")
