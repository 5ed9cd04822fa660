"""Accuracy against noise."""

from __future__ import annotations

import xarray as xr
from matplotlib.axes import Axes

from lrplan.plots._curve import curve


def plot_accuracy_by_noise(result: xr.Dataset, *, ax: Axes | None = None) -> Axes:
    """Draw accuracy against noise, with its 95% interval and chance, from `accuracy_by_noise`."""
    ax = curve(result, "noise", ax)
    noise = result["noise"].values
    positive = noise[noise > 0]
    ax.set_xscale("symlog", linthresh=float(positive.min()), linscale=0.5)
    ax.set_xticks(list(noise), [f"{n:g}" for n in noise])
    ax.minorticks_off()
    ax.set_xlim(-0.3 * float(positive.min()), 1.4 * float(noise.max()))
    ax.set_xlabel("noise / signal (standard deviations)")
    ax.set_title(f"{int(result['units'].values[0])} units", fontsize=9)
    return ax
