"""Pictures of analyses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from lrplan.plots._style import (
    COLOURS,
    LONG,
    MARKERS,
    SMALL,
    chance_line,
    dots,
    heat,
    legend_above,
    new_axes,
    panels,
    short,
    spoken,
)

if TYPE_CHECKING:
    from lrplan.analyses import Result

ACCURACY = "balanced accuracy"


def _names(values: xr.DataArray) -> list[str]:
    return [str(v) for v in values.values]


def _range(data: xr.Dataset) -> tuple[float, float]:
    """Return the ends of a scale of accuracy: from chance, to the next tenth above the best."""
    low, best = float(data["chance"]), float(np.nanmax(data["accuracy"].values))
    return low, min(1.0, max(np.ceil(10 * best) / 10, low + 0.2))


def _measure_colours(measures: list[str]) -> list[str]:
    """Return the colour of each measure, the same in every picture."""
    fixed = dict(
        zip(("activity", "weights", "paired", "all", "performance"), COLOURS, strict=False)
    )
    return [fixed.get(m, COLOURS[5]) for m in measures]


def _accuracy_dots(
    result: Result, rows: str, series: str, ax: Axes | None, *, height: float | None = None
) -> Axes:
    """Draw accuracies over two dimensions as dots with intervals."""
    data = result.dataset
    found = [data[v].transpose(rows, series).values for v in ("accuracy", "low", "high")]
    names, each = _names(data[rows]), _names(data[series])
    ax = new_axes(ax, height or 0.9 + 0.16 * len(names) * (len(each) + 1))
    colours = _measure_colours(each) if series == "measure" else COLOURS
    dots(ax, [spoken(n) for n in names], each, *found, colours=colours)
    chance = np.unique(data["chance"].values)
    if len(chance) == 1:
        chance_line(ax, float(chance[0]))
    ax.set_xlim(0, 1)
    ax.set_xlabel(f"{ACCURACY} (95% interval)", fontsize=8)
    legend_above(ax)
    return ax


def plot_separation(result: Result, *, ax: Axes | None = None) -> Axes:
    """Draw accuracy by measure and classifier, from the analysis ``separation``."""
    data = result.dataset
    if data.sizes["split"] == 1:
        flat = data.isel(split=0)
        names = _names(data["measure"])
        found = [
            flat[v].transpose("measure", "classifier").values for v in ("accuracy", "low", "high")
        ]
    else:
        names = [f"{m},\nby {s}" for m in _names(data["measure"]) for s in _names(data["split"])]
        found = [
            data[v].transpose("measure", "split", "classifier").values.reshape(len(names), -1)
            for v in ("accuracy", "low", "high")
        ]
    each = _names(data["classifier"])
    ax = new_axes(ax, 0.9 + 0.16 * len(names) * (len(each) + 1))
    dots(ax, names, each, *found)
    chance_line(ax, float(data["chance"]))
    ax.set_xlim(0, 1)
    ax.set_xlabel(f"{ACCURACY} (95% interval)", fontsize=8)
    legend_above(ax)
    return ax


def plot_confusion_by_measure(result: Result, *, ax: Axes | None = None) -> Axes:
    """Draw a confusion matrix for each measure, from the analysis ``confusion``."""
    data = result.dataset
    kinds = [short(k) for k in _names(data["true"])]
    across = [spoken(k) for k in _names(data["true"])]
    titles = [
        f"{m}: accuracy {float(data['accuracy'].sel(measure=m)):.2f}"
        for m in _names(data["measure"])
    ]
    ax, parts = panels(ax, titles, height=3.1, foot=1.15)
    for panel, m in zip(parts, _names(data["measure"]), strict=True):
        values = data["share"].sel(measure=m).values
        heat(panel, values, across=across, down=kinds, low=0, high=1, label="share of recordings")
        panel.set_xlabel("taken for", fontsize=8)
        panel.set_ylabel("true", fontsize=8)
    return ax


def plot_pairs(result: Result, *, ax: Axes | None = None) -> Axes:
    """Draw the accuracy between each two labels, from the analysis ``pairs``."""
    data = result.dataset
    kinds = _names(data["a"])
    pairs = [(i, j) for i in range(len(kinds)) for j in range(i + 1, len(kinds))]
    measures = _names(data["measure"])
    found = [
        np.array([[data[v].sel(measure=m).values[i, j] for m in measures] for i, j in pairs])
        for v in ("accuracy", "low", "high")
    ]
    ax = new_axes(ax, 0.9 + 0.16 * len(pairs) * (len(measures) + 1))
    names = [f"{spoken(kinds[i])}\nor {spoken(kinds[j])}" for i, j in pairs]
    dots(ax, names, measures, *found, colours=_measure_colours(measures))
    chance_line(ax, 0.5)
    ax.set_xlim(0.2, 1)
    ax.set_xlabel(f"{ACCURACY} (95% interval)", fontsize=8)
    legend_above(ax)
    return ax


def plot_held_out(result: Result, *, ax: Axes | None = None) -> Axes:
    """Draw what each condition costs, and each of its cases, from the analysis ``held_out``.

    Filled markers are whole conditions; an open marker is one case that was held out, a bar the
    accuracy with as many random organisms held out.
    """
    data = result.dataset
    measures, names = _names(data["measure"]), _names(data["condition"])
    found = [data[v].transpose("condition", "measure").values for v in ("accuracy", "low", "high")]
    ax = new_axes(ax, 1.0 + 0.2 * len(names) * (len(measures) + 1))
    colours = _measure_colours(measures)
    dots(ax, [spoken(n) for n in names], measures, *found, colours=colours)
    for j, m in enumerate(measures):
        for i, name in enumerate(names):
            y = i + 0.7 * ((j + 0.5) / len(measures) - 0.5)
            known = float(data["known"].sel(measure=m, condition=name))
            ax.plot([known, known], [y - 0.11, y + 0.11], color=colours[j], lw=2)
            cases = (
                data["case_accuracy"].sel(measure=m).values[data["case_condition"].values == name]
            )
            ax.plot(
                cases, np.full(len(cases), y), MARKERS[j], mfc="none", mec=colours[j], ms=3, mew=0.6
            )
    ax.plot([], [], "|", color="0.3", ms=7, mew=2, label="random held out")
    ax.plot([], [], "o", mfc="none", mec="0.3", ms=3, mew=0.6, label="one case")
    chance_line(ax, float(data["chance"]))
    ax.set_xlim(0, 1)
    ax.set_xlabel(f"{ACCURACY} (95% interval)", fontsize=8)
    legend_above(ax, columns=3)
    return ax


def plot_time_average(result: Result, *, ax: Axes | None = None) -> Axes:
    """Draw whole and averaged trajectories, from the analysis ``time_average``."""
    data = result.dataset
    names = [
        f"{m},\n{spoken(c)}" for m in _names(data["measure"]) for c in _names(data["classifier"])
    ]
    found = [
        data[v].transpose("measure", "classifier", "form").values.reshape(len(names), -1)
        for v in ("accuracy", "low", "high")
    ]
    ax = new_axes(ax, 0.9 + 0.36 * len(names))
    dots(ax, names, ["whole trajectory", "average over time"], *found)
    chance_line(ax, float(data["chance"]))
    ax.set_xlim(0, 1)
    ax.set_xlabel(f"{ACCURACY} (95% interval)", fontsize=8)
    legend_above(ax)
    return ax


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
    measures = _names(data["measure"])
    kinds = sorted(set(measures))
    colours = dict(zip(kinds, _measure_colours(kinds), strict=True))
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
    left.set_yticks(y, _names(data["observable"]), fontsize=6)
    left.legend(
        fontsize=SMALL,
        frameon=False,
        loc="lower center",
        bbox_to_anchor=(0.9 if with_gini else 0.4, 1.0),
        ncols=2,
        handletextpad=0.3,
    )
    return ax


def plot_subsampling(result: Result, *, ax: Axes | None = None) -> Axes:
    """Draw accuracy over samples (up) and period (across), from ``subsampling``."""
    data = result.dataset
    measures = _names(data["measure"])
    low, high = _range(data)
    ax, parts = panels(ax, measures, height=2.3)
    for panel, m in zip(parts, measures, strict=True):
        heat(
            panel,
            data["accuracy"].sel(measure=m).values,
            across=_names(data["period"]),
            down=_names(data["samples"]),
            low=low,
            high=high,
            label=ACCURACY,
            origin="lower",
        )
        panel.set_xlabel("period (checkpoints)", fontsize=8)
        panel.set_ylabel("samples", fontsize=8)
    return ax


def _crossed(result: Result, ax: Axes | None, what: str) -> Axes:
    """Draw a heat map of trained against tested for each measure."""
    data = result.dataset
    measures = _names(data["measure"])
    low, high = _range(data)
    # Long names are slanted.
    extra = 0.4 if max(map(len, _names(data["tested"]))) > LONG else 0.0
    ax, parts = panels(ax, measures, height=2.3 + extra, foot=0.5 + extra)
    for panel, m in zip(parts, measures, strict=True):
        heat(
            panel,
            data["accuracy"].sel(measure=m).values,
            across=_names(data["tested"]),
            down=[short(n) for n in _names(data["trained"])],
            low=low,
            high=high,
            label=ACCURACY,
        )
        panel.set_xlabel(f"tested on {what}", fontsize=8)
        panel.set_ylabel("trained on", fontsize=8)
    return ax


def plot_thirds(result: Result, *, ax: Axes | None = None) -> Axes:
    """Draw accuracy from one third of training to another, from ``thirds``."""
    return _crossed(result, ax, "third")


def plot_pretrained(result: Result, *, ax: Axes | None = None) -> Axes:
    """Draw accuracy from one start of training to another, from ``pretrained``."""
    return _crossed(result, ax, "start")


def plot_equal_performance(result: Result, *, ax: Axes | None = None) -> Axes:
    """Draw accuracy among organisms of equal performance, from ``equal_performance``."""
    ax = _accuracy_dots(result, "match", "measure", ax)
    data = result.dataset
    texts = {
        "none": "as they are",
        "organisms": "final performance\nmatched",
        "checkpoints": "moments of\nequal performance",
        "lowest": "lowest common\nperformance",
    }
    names = [
        f"{texts.get(m, m)}\n({int(n)} organisms)"
        for m, n in zip(_names(data["match"]), data["organisms"].values, strict=True)
    ]
    ax.set_yticks(range(len(names)), names, fontsize=SMALL)
    return ax


def plot_units_noise(result: Result, *, ax: Axes | None = None) -> Axes:
    """Draw accuracy over units (up) and noise (across) for each measure, from ``units_noise``."""
    data = result.dataset
    measures = _names(data["measure"])
    titles = [
        f"{m} (every unit, no noise: {float(data['all_units'].sel(measure=m)):.2f})"
        for m in measures
    ]
    low, high = _range(data)
    ax, parts = panels(ax, titles, height=2.3)
    for panel, m in zip(parts, measures, strict=True):
        heat(
            panel,
            data["accuracy"].sel(measure=m).values,
            across=[f"{n:g}" for n in data["noise"].values],
            down=_names(data["units"]),
            low=low,
            high=high,
            label=ACCURACY,
            origin="lower",
        )
        panel.set_xlabel("noise / signal (standard deviations)", fontsize=8)
        panel.set_ylabel("units", fontsize=8)
    return ax


def plot_clustering(result: Result, *, ax: Axes | None = None) -> Axes:
    """Draw how far clusters are each label's values, from ``clustering``."""
    data = result.dataset
    names, measures = _names(data["label"]), _names(data["measure"])
    found = [data[v].transpose("label", "measure").values for v in ("rand", "low", "high")]
    ax = new_axes(ax, 0.9 + 0.16 * len(names) * (len(measures) + 1))
    dots(ax, names, measures, *found, colours=_measure_colours(measures))
    chance_line(ax, 0)
    ax.set_xlabel("adjusted Rand index (95% interval)", fontsize=8)
    legend_above(ax)
    return ax


def plot_label(result: Result, *, ax: Axes | None = None) -> Axes:
    """Draw how one label is told, from ``objective``, ``credit`` or ``optimizer``."""
    ax = _accuracy_dots(result, "among", "measure", ax)
    data = result.dataset
    several = len(np.unique(data["chance"].values)) > 1
    for i, chance in enumerate(data["chance"].values if several else []):
        label = "chance" if i == 0 else None
        ax.plot([chance, chance], [i - 0.5, i + 0.5], color="0.4", ls="--", lw=1, label=label)
    names = [
        f"among {spoken(n)}".replace("among all", "all organisms") for n in _names(data["among"])
    ]
    ax.set_yticks(range(len(names)), [_wrapped(n) for n in names], fontsize=SMALL)
    legend_above(ax)
    ax.set_title(f"{spoken(result.analysis)} told", fontsize=8, pad=32)
    return ax


def _wrapped(text: str, width: int = 18) -> str:
    from textwrap import fill

    return fill(text, width)
