"""Accuracy against units."""

from __future__ import annotations

import xarray as xr
from matplotlib.axes import Axes

from lrplan.plots._curve import curve


def plot_accuracy_by_units(result: xr.Dataset, *, ax: Axes | None = None) -> Axes:
    """Draw accuracy against units, with its 95% interval and chance, from `accuracy_by_units`."""
    ax = curve(result, "units", ax)
    ax.set_xscale("log")
    units = [int(u) for u in result["units"].values]
    ax.set_xticks(units, [str(u) for u in units], fontsize=8)
    ax.minorticks_off()
    ax.set_xlabel("units per session")
    own = result.attrs.get("takes_noise") == "none"
    noise = "of the technique" if own else f"{float(result['noise'].values[0]):g}"
    ax.set_title(f"noise {noise}", fontsize=9)
    return ax
