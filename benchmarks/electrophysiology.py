"""What the modality electrophysiology makes of a network, beside what laboratories report.

Prints, for one population of the starter cohort: the Fano factor against the response window, the
correlation of pairs against their mean counts, the share of spikes that the most active tenth of
units fires, and how many units are seen in each session. Draws single trials, their means and the
activity behind them for three units.

    OMP_NUM_THREADS=1 python benchmarks/electrophysiology.py --out electrophysiology.png
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

import lrplan
from lrplan.measure.modalities import Course, Modality, make_modality
from lrplan.plots._style import COLOURS, SMALL

UNITS, TRIALS, POPULATION = 300, 200, 0
WINDOWS_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0)
COUNTS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
"""Edges of mean counts, geometric mean of a pair, between which correlations are averaged."""
QUANTILES = (0.25, 0.6, 0.95)
"""Which units are drawn, by their rank in mean rate."""


def activity() -> np.ndarray:
    """Return noiseless responses (session, stimulus, unit) of one population."""
    design = lrplan.Design(units=UNITS, noise=0)
    made = lrplan.record(lrplan.open_cohort("starter"), design, rng=0, populations=[POPULATION])
    return np.asarray(made.data["activity"].values[0])


def spikes(modality: Modality, signal: np.ndarray, trials: int) -> np.ndarray:
    """Return counts (session, stimulus, trial, unit); NaN where a unit is not seen."""
    rng = np.random.default_rng(1)
    made = modality.trials(signal, trials=trials, noise_sd=0, course=Course(signal[0]), rng=rng)
    window_s = modality.written_window_s
    gain = modality.gain(signal, trials=trials, noise_sd=0, window_s=window_s)
    return np.asarray(np.rint(made * gain * window_s))


def fano(signal: np.ndarray) -> list[str]:
    """Return rows of the Fano factor, sums over units and stimuli, by window."""
    rows = []
    for window_s in WINDOWS_S:
        counts = spikes(make_modality("electrophysiology", {"window_s": window_s}), signal, TRIALS)
        first = counts[0][..., np.isfinite(counts[0]).all(axis=(0, 1))]
        mean, variance = first.mean(axis=1), first.var(axis=1, ddof=1)
        whole, middle = variance.sum() / mean.sum(), np.median(variance[mean > 0] / mean[mean > 0])
        rows.append(
            f"  {window_s:5.2f} s  mean count {mean.mean():6.2f}  Fano factor of all spikes "
            f"{whole:.2f}, median over units and stimuli {middle:.2f}"
        )
    return rows


def correlations(signal: np.ndarray) -> list[str]:
    """Return rows of the mean correlation of pairs of units, by their mean counts."""
    counts = spikes(make_modality("electrophysiology", {"window_s": 1.0}), signal, TRIALS)[0]
    kept = np.isfinite(counts).all(axis=(0, 1)) & (counts.std(axis=1) > 0).all(axis=0)
    counts = counts[..., kept]
    pairs = np.triu_indices(counts.shape[-1], 1)
    found, means = [], []
    for trials in counts:
        found.append(np.corrcoef(trials, rowvar=False)[pairs])
        mean = np.sqrt(trials.mean(axis=0))
        means.append(mean[pairs[0]] * mean[pairs[1]])
    r, m = np.concatenate(found), np.concatenate(means)
    rows = []
    for low, high in zip(COUNTS[:-1], COUNTS[1:], strict=True):
        inside = (m >= low) & (m < high)
        if inside.any():
            rows.append(f"  {low:5.1f} to {high:4.1f} spikes  r_sc {r[inside].mean():.3f}")
    return rows


def seen(signal: np.ndarray) -> list[str]:
    """Return rows of the unevenness of rates, and of the units that are seen."""
    modality = make_modality("electrophysiology")
    counts = spikes(modality, signal, TRIALS)
    rates = counts.mean(axis=(1, 2)) / modality.written_window_s
    first = np.sort(rates[0][np.isfinite(rates[0])])
    top = first[-len(first) // 10 :].sum() / first.sum()
    there = np.isfinite(rates)
    shares = ", ".join(f"{there[s].mean():.2f} on day {s}" for s in (0, 1, 7, 15, 20))
    slow = make_modality("electrophysiology", {"median_hz": 0.3, "spread": 1.28})
    found = np.isfinite(spikes(slow, signal, 2)[0]).all(axis=(0, 1)).mean()
    return [
        f"  median {np.median(first):.2f} Hz, mean {first.mean():.2f} Hz",
        f"  the top tenth fires {top:.0%}",
        f"  units seen: {shares}",
        f"  of units with a median of 0.3 Hz (spread 1.28) are sorted in an hour: {found:.0%}",
    ]


def draw(signal: np.ndarray, axes: np.ndarray) -> None:
    """Draw single trials and their means, and what they are of, for three units."""
    modality = make_modality("electrophysiology")
    trials = modality.written_trials
    counts = spikes(modality, signal, trials)
    gain = modality.gain(signal, trials=1, noise_sd=0, window_s=modality.written_window_s)
    free = gain * modality.expected(signal, Course(signal[0]))
    there = np.flatnonzero(np.isfinite(counts).all(axis=(0, 1, 2)))
    order = there[np.argsort(free[0][:, there].mean(axis=0))]
    units = [order[int(q * len(order))] for q in QUANTILES]
    for column, (unit, colour) in enumerate(zip(units, COLOURS, strict=False)):
        for row, session in enumerate((0, len(signal) - 1)):
            rates = counts[session, ..., unit] / modality.written_window_s
            name = f"unit {unit}, session {session + 1}"
            draw_unit(rates, free[session, :, unit], signal[session, :, unit], axes[row, column])
            axes[row, column].set_title(name, fontsize=SMALL, color=colour)


def draw_unit(rates: np.ndarray, free: np.ndarray, activation: np.ndarray, ax: Axes) -> None:
    """Draw rates (stimulus, trial), the expected ones and the activations behind them."""
    order = np.argsort(activation)
    stimuli = np.arange(len(order))
    shift = np.linspace(-0.25, 0.25, rates.shape[1])
    for place, stimulus in enumerate(order):
        ax.plot(place + shift, rates[stimulus], ".", color="0.7", ms=2.5)
    mean = rates[order].mean(axis=1)
    error = rates[order].std(axis=1, ddof=1) / np.sqrt(rates.shape[1])
    ax.errorbar(stimuli, mean, error, fmt="o", color=COLOURS[0], ms=3, lw=1, label="mean, s.e.m.")
    ax.plot(stimuli, free[order], color="black", lw=1, label="expected rate")
    ax.set_ylim(bottom=-0.5)
    ax.set_xticks(stimuli, [f"{a:.2g}" for a in activation[order]], rotation=90)
    ax.tick_params(labelsize=SMALL - 1)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables and draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="picture to write")
    out = parser.parse_args(arguments).out
    signal = activity()
    print(f"{UNITS} units of a population of the starter cohort, {TRIALS} trials")
    print("Fano factor (above 1, growing with the window: Goris et al. 2014):")
    print("\n".join(fano(signal)))
    print("Correlation of pairs (grows with the mean: Cohen & Kohn 2011; often 0.1 to 0.2):")
    print("\n".join(correlations(signal)))
    print("Rates and units (assumed: the top tenth fires 45%; Utah array: 0.67 on day 15):")
    print("\n".join(seen(signal)))
    figure, axes = plt.subplots(2, 3, figsize=(7, 4.4), layout="constrained")
    draw(signal, axes)
    axes[0, 0].plot([], [], ".", color="0.7", label="single trials")
    figure.legend(
        *axes[0, 0].get_legend_handles_labels(),
        fontsize=SMALL,
        frameon=False,
        ncols=3,
        loc="outside upper center",
    )
    figure.supxlabel("activation, one tick for each stimulus", fontsize=SMALL)
    figure.supylabel("spikes / s", fontsize=SMALL)
    figure.savefig(out, dpi=150)


if __name__ == "__main__":
    main()
