"""The paper's measurement: the value itself plus additive white Gaussian noise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from lrplan.measure.modalities import Course, Modality, modalities


@modalities.register("ideal")
@dataclass(frozen=True, kw_only=True)
class Ideal(Modality):
    """Additive white Gaussian noise, independent for each unit, stimulus, trial and session."""

    summary = "the value plus additive white Gaussian noise"
    measures = ("activity", "paired", "weights")
    cites = "Nayebi et al., NeurIPS 2020, section 6"

    def trials(
        self,
        signal: np.ndarray,
        *,
        trials: int,
        noise_sd: float,
        course: Course,
        rng: np.random.Generator,
    ) -> np.ndarray:
        """Return the signal plus white noise of sqrt(trials) times the asked size."""
        if noise_sd == 0:
            return np.repeat(signal[..., None, :].astype(np.float32), trials, axis=-2)
        measured = np.float32(noise_sd * np.sqrt(trials)) * _white(signal, trials, rng)
        measured += signal[..., None, :]
        return measured

    def means(
        self,
        signal: np.ndarray,
        *,
        noise_sd: Sequence[float],
        course: Course,
        rng: np.random.Generator,
    ) -> Iterator[np.ndarray]:
        """Yield the signal plus noise of each standard deviation, from numbers drawn once."""
        noise = None
        for sd in noise_sd:
            if sd == 0:
                yield signal
                continue
            if noise is None:
                noise = _white(signal, 1, rng)[..., 0, :]
            measured = np.float32(sd) * noise
            measured += signal
            yield measured


def _white(signal: np.ndarray, trials: int, rng: np.random.Generator) -> np.ndarray:
    """Draw standard normal numbers (session, ..., trial, unit), unit by unit."""
    shape = (signal.shape[-1], *signal.shape[:-1], trials)
    return np.ascontiguousarray(np.moveaxis(rng.standard_normal(shape, np.float32), 0, -1))
