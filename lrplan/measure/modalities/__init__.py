"""Modalities: what a technique makes of activity or weights. One file is one modality."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
        self,
        signal: np.ndarray,
        *,
        noise_sd: Sequence[float],
        first: np.ndarray,
        rng: np.random.Generator,
    ) -> Iterator[np.ndarray]:
        """Record a population, once for each level of noise.

        Random numbers are common to all levels and are used unit by unit: whoever records fewer
        units, or at another level, meets the same chances. That is what makes designs comparable.

        Parameters
        ----------
        signal : array (session, ..., unit)
            Noiseless values of the recorded units, in the network's own unit.
        noise_sd : sequence of float
            Root mean square of the noise in the first session, in the same unit.
        first : array (..., unit)
            Noiseless values of the whole population in the first session, from which constants
            of the technique (such as its gain) are set.
        rng : numpy.random.Generator
            Source of the noise.

        Yields
        ------
        array (session, ..., unit)
            What is measured at each level, of the same shape and unit.
        """
        ...


modalities: Registry[Modality] = Registry(
    "modality", package="lrplan.measure.modalities", group="lrplan.modalities"
)
