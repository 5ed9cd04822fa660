"""The paper's measurement: the value itself plus additive white Gaussian noise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from lrplan.measure.modalities import modalities


class Ideal:
    """Additive white Gaussian noise, independent for each unit, stimulus and session."""

    summary = "the value plus additive white Gaussian noise"
    measures: tuple[str, ...] = ("activity", "paired", "weights")
    cites = "Nayebi et al., NeurIPS 2020, section 6"

    def measure(
        self,
        signal: np.ndarray,
        *,
        noise_sd: Sequence[float],
        first: np.ndarray,
        rng: np.random.Generator,
    ) -> Iterator[np.ndarray]:
        """Yield the signal plus noise of each standard deviation."""
        noise = None
        for sd in noise_sd:
            if sd == 0:
                yield signal
                continue
            if noise is None:
                drawn = rng.standard_normal((signal.shape[-1], *signal.shape[:-1]), np.float32)
                noise = np.ascontiguousarray(np.moveaxis(drawn, 0, -1))
            measured = np.float32(sd) * noise
            measured += signal
            yield measured


modalities.add("ideal", Ideal())
