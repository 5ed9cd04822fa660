"""A gain that all units of a population share in a trial."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lrplan.measure.modalities import Course, Modality, modalities, setting


@modalities.register("shared_gain")
@dataclass(frozen=True, kw_only=True)
class SharedGain(Modality):
    """Each trial multiplies all units by one number; each unit has white noise of its own."""

    summary = "a gain shared by the population, and white noise"
    measures = ("activity",)
    cites = "Goris, Movshon & Simoncelli, Nature Neuroscience 2014"

    shared: float = setting(0.5, unit="1", source="share of the variance", least=0, most=1)

    def trials(
        self,
        signal: np.ndarray,
        *,
        trials: int,
        noise_sd: float,
        course: Course,
        rng: np.random.Generator,
    ) -> np.ndarray:
        """Return responses times a gain around 1, plus white noise."""
        size = np.sqrt(np.nanmean(np.square(course.first, dtype=np.float64)))
        one = noise_sd * np.sqrt(trials)
        # What is shared is drawn first: how many units there are must not move it.
        gain = rng.standard_normal((*signal.shape[:-1], trials, 1), np.float32)
        white = rng.standard_normal((signal.shape[-1], *gain.shape[:-1]), np.float32)
        response = signal[..., None, :].astype(np.float32)
        common = response * gain * (one * np.sqrt(self.shared) / size if size else 0)
        own = one * np.sqrt(1 - self.shared) * np.moveaxis(white, 0, -1)
        return (response + common + own).astype(np.float32)
