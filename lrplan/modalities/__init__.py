"""Modalities: what a technique makes of activity or weights. One file is one modality."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from lrplan.registry import Registry


class Modality(Protocol):
    """A measurement model.

    Attributes
    ----------
    summary : str
        What it is, in one line.
    measures : tuple of str
        What it can be applied to.
    cites : str
        Where it comes from.
    """

    summary: str
    measures: tuple[str, ...]
    cites: str

    def measure(
        self, signal: np.ndarray, *, noise_sd: float, rng: np.random.Generator
    ) -> np.ndarray:
        """Record a population.

        Parameters
        ----------
        signal : array (session, ...)
            Noiseless values of the recorded units, in the network's own unit.
        noise_sd : float
            Root mean square of the noise in the first session, in the same unit.
        rng : numpy.random.Generator
            Source of the noise.

        Returns
        -------
        array (session, ...)
            What is measured, of the same shape and unit.
        """
        ...


modalities: Registry[Modality] = Registry(
    "modality", package="lrplan.modalities", group="lrplan.modalities"
)
