"""Spike counts: Poisson noise, whose variance grows with the rate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lrplan.errors import UsageError
from lrplan.measure.modalities import Course, Modality, modalities


@modalities.register("counts")
@dataclass(frozen=True, kw_only=True)
class Counts(Modality):
    """Poisson counting noise, scaled so that its root mean square is what the Design asks.

    The mean over trials is c times a Poisson number with mean x / c: it has mean x and variance
    c x. The constant c (one spike's worth of activation) is set from the population's first
    session and kept, since the windows and trials that average the noise stay the same. One of n
    trials is n c times a Poisson number with mean x / (n c). Values below 0 count as 0.
    """

    summary = "trial-averaged spike counts with Poisson noise"
    measures = ("activity",)
    cites = "Tolhurst, Movshon & Dean, Vision Research 1983 (variance in proportion to the mean)"
    writes = "spikes"
    takes_noise = "positive"

    def trials(
        self,
        signal: np.ndarray,
        *,
        trials: int,
        noise_sd: float,
        course: Course,
        rng: np.random.Generator,
    ) -> np.ndarray:
        """Return rectified responses with counting noise."""
        rates = np.maximum(signal, 0)[..., None, :]
        mean = _mean_rate(course.first)
        if noise_sd == 0 or mean == 0:
            return np.repeat(rates.astype(np.float32), trials, axis=-2)
        spike = np.float32(noise_sd**2 * trials / mean)
        # What is missing stays missing.
        expected = np.nan_to_num(np.moveaxis(rates, -1, 0) / spike)
        counted = rng.poisson(np.broadcast_to(expected, (*expected.shape[:-1], trials)))
        measured = np.ascontiguousarray(np.moveaxis(counted, 0, -1), dtype=np.float32) * spike
        return np.where(np.isnan(rates), np.float32(np.nan), measured)

    def variance(self, measured: np.ndarray, *, noise_sd: float, course: Course) -> np.ndarray:
        """Return c times the measured mean: the variance of a count is its mean."""
        mean = _mean_rate(course.first)
        spike = np.float32(0 if mean == 0 else noise_sd**2 / mean)
        return measured * spike

    def gain(self, signal: np.ndarray, *, trials: int, noise_sd: float, window_s: float) -> float:
        """Return the spikes per second that one unit of activation stands for.

        Raises
        ------
        UsageError
            If there is no noise, or nothing is active: then no finite number of spikes will do.
        """
        mean = _mean_rate(signal[0])
        if noise_sd == 0:
            raise UsageError(
                "noise is 0, but spikes are noisy by nature; use a noise above 0, or kind='dff'"
            )
        if mean == 0:
            raise UsageError(
                "no unit is active in the first session, so spikes have no scale; use kind='dff'"
            )
        return mean / (noise_sd**2 * trials * window_s)


def _mean_rate(first: np.ndarray) -> float:
    return float(np.nanmean(np.maximum(first, 0), dtype=np.float64))
