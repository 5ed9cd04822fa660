"""Spike counts: Poisson noise, whose variance grows with the rate."""

from __future__ import annotations

import numpy as np

from lrplan.modalities import modalities


class Counts:
    """Poisson counting noise, scaled so that its root mean square is what the Design asks.

    A response is c times a Poisson number with mean x / c: it has mean x and variance c x. The
    constant c (one spike's worth of activation) is set from the first session and kept, since
    the windows and trials that average the noise stay the same. Values below 0 count as 0.
    """

    summary = "trial-averaged spike counts with Poisson noise"
    measures: tuple[str, ...] = ("activity",)
    cites = "Tolhurst, Movshon & Dean, Vision Research 1983 (variance in proportion to the mean)"

    def measure(
        self, signal: np.ndarray, *, noise_sd: float, rng: np.random.Generator
    ) -> np.ndarray:
        """Return rectified responses with counting noise."""
        rates = np.maximum(signal, 0)
        mean = float(rates[0].mean())
        if noise_sd == 0 or mean == 0:
            return rates
        spike = noise_sd**2 / mean
        return (rng.poisson(rates / spike) * spike).astype(np.float32)


modalities.add("counts", Counts())
