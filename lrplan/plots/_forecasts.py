"""Pictures of forecasts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lrplan.plots._style import LINE, SEQUENTIAL, short

if TYPE_CHECKING:
    from lrplan.tell.forecast import Forecast


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


def plot_accuracy_by_units(result: xr.Dataset, *, ax: Axes | None = None) -> Axes:
    """Draw accuracy against units, with its 95% interval and chance, from `accuracy_by_units`."""
    ax = _curve(result, "units", ax)
    ax.set_xscale("log")
    units = [int(u) for u in result["units"].values]
    ax.set_xticks(units, [str(u) for u in units], fontsize=8)
    ax.minorticks_off()
    ax.set_xlabel("units per session")
    ax.set_title(f"noise {float(result['noise'].values[0]):g}", fontsize=9)
    return ax


def plot_accuracy_by_noise(result: xr.Dataset, *, ax: Axes | None = None) -> Axes:
    """Draw accuracy against noise, with its 95% interval and chance, from `accuracy_by_noise`."""
    ax = _curve(result, "noise", ax)
    noise = result["noise"].values
    positive = noise[noise > 0]
    ax.set_xscale("symlog", linthresh=float(positive.min()), linscale=0.5)
    ax.set_xticks(list(noise), [f"{n:g}" for n in noise])
    ax.minorticks_off()
    ax.set_xlim(-0.3 * float(positive.min()), 1.4 * float(noise.max()))
    ax.set_xlabel("noise / signal (standard deviations)")
    ax.set_title(f"{int(result['units'].values[0])} units", fontsize=9)
    return ax


def _curve(result: xr.Dataset, dim: str, ax: Axes | None) -> Axes:
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


def plot_forecast(forecast: Forecast, by_units: xr.Dataset, by_noise: xr.Dataset) -> Figure:
    """Draw a forecast on one sheet: confusion, accuracy against units and against noise."""
    figure, axes = plt.subplots(
        1, 3, figsize=(10.5, 3.4), layout="constrained", width_ratios=(1.2, 1, 1)
    )
    plot_confusion(forecast, ax=axes[0])
    plot_accuracy_by_units(by_units, ax=axes[1])
    plot_accuracy_by_noise(by_noise, ax=axes[2])
    held = forecast.held_out.get("architecture")
    title = f"accuracy {forecast.accuracy} within known conditions, chance {forecast.chance:.2f}"
    if held is not None:
        title += f"; held-out architectures {held}"
    figure.suptitle(title, fontsize=9)
    return figure
