"""Spike counts: Poisson noise, whose variance grows with the rate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from lrplan.measure.modalities import modalities


class Counts:
    """Poisson counting noise, scaled so that its root mean square is what the Design asks.

    A response is c times a Poisson number with mean x / c: it has mean x and variance c x. The
    constant c (one spike's worth of activation) is set from the population's first session and
    kept, since the windows and trials that average the noise stay the same. Values below 0 count
    as 0.
    """

    summary = "trial-averaged spike counts with Poisson noise"
    measures: tuple[str, ...] = ("activity",)
    cites = "Tolhurst, Movshon & Dean, Vision Research 1983 (variance in proportion to the mean)"

    def measure(
        self,
        signal: np.ndarray,
        *,
        noise_sd: Sequence[float],
        first: np.ndarray,
        rng: np.random.Generator,
    ) -> Iterator[np.ndarray]:
        """Yield rectified responses with counting noise of each size."""
        rates = np.maximum(signal, 0)
        mean = float(np.nanmean(np.maximum(first, 0), dtype=np.float64))
        start = rng.bit_generator.state
        for sd in noise_sd:
            if sd == 0 or mean == 0:
                yield rates
                continue
            rng.bit_generator.state = start
            spike = np.float32(sd**2 / mean)
            # What is missing stays missing.
            expected = np.nan_to_num(np.moveaxis(rates, -1, 0) / spike)
            counted = np.moveaxis(rng.poisson(expected), 0, -1)
            measured = np.ascontiguousarray(counted, dtype=np.float32) * spike
            yield np.where(np.isnan(rates), rates, measured)


modalities.add("counts", Counts())
