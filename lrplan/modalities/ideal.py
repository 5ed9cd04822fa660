"""The paper's measurement: the value itself plus additive white Gaussian noise."""

from __future__ import annotations

import numpy as np

from lrplan.modalities import modalities


class Ideal:
    """Additive white Gaussian noise, independent for each unit, stimulus and session."""

    summary = "the value plus additive white Gaussian noise"
    measures: tuple[str, ...] = ("activity", "paired", "weights")
    cites = "Nayebi et al., NeurIPS 2020, section 6"

    def measure(
        self, signal: np.ndarray, *, noise_sd: float, rng: np.random.Generator
    ) -> np.ndarray:
        """Return the signal plus noise of standard deviation `noise_sd`."""
        if noise_sd == 0:
            return signal
        noise = rng.standard_normal(signal.shape, dtype=np.float32)
        return signal + np.float32(noise_sd) * noise


modalities.add("ideal", Ideal())
