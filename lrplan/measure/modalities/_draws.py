"""Random numbers of modalities, drawn so that fewer units are the first of more."""

from __future__ import annotations

import numpy as np

from lrplan.randomness import keyed_rng


class Draws:
    """Random numbers for values (..., unit), one stream for each purpose.

    Parameters
    ----------
    key : int
        Keys all of them.
    shape : tuple of int
        Of the values, units last.
    """

    def __init__(self, key: int, shape: tuple[int, ...]) -> None:
        self._key = key
        self._unit_by_unit = (shape[-1], *shape[:-1])
        self._shared = (*shape[:-1], 1)

    @classmethod
    def of(cls, rng: np.random.Generator, shape: tuple[int, ...]) -> Draws:
        """Take one number from a generator as the key."""
        return cls(int(rng.integers(2**63)), shape)

    def normal(self, purpose: str) -> np.ndarray:
        """Return standard normal numbers, one for each value."""
        return _units_last(keyed_rng(self._key, purpose).standard_normal(self._unit_by_unit))

    def shared_normal(self, purpose: str) -> np.ndarray:
        """Return standard normal numbers (..., 1) that all units share."""
        return np.asarray(keyed_rng(self._key, purpose).standard_normal(self._shared))

    def uniform(self, purpose: str) -> np.ndarray:
        """Return numbers from 0 to 1, one for each value."""
        return _units_last(keyed_rng(self._key, purpose).random(self._unit_by_unit))

    def gamma(self, purpose: str, variance: float) -> np.ndarray:
        """Return numbers of a gamma distribution of mean 1; without variance they are 1."""
        return _units_last(self._gamma(purpose, variance, self._unit_by_unit))

    def shared_gamma(self, purpose: str, variance: float) -> np.ndarray:
        """Return such numbers (..., 1) that all units share."""
        return self._gamma(purpose, variance, self._shared)

    def _gamma(self, purpose: str, variance: float, shape: tuple[int, ...]) -> np.ndarray:
        if variance <= 0:
            return np.ones((1,) * len(shape))
        return np.asarray(keyed_rng(self._key, purpose).gamma(1 / variance, variance, shape))

    def poisson(self, purpose: str, expected: np.ndarray) -> np.ndarray:
        """Return Poisson numbers of some means (..., unit)."""
        first = np.broadcast_to(np.moveaxis(expected, -1, 0), self._unit_by_unit)
        return _units_last(keyed_rng(self._key, purpose).poisson(first))


def log_normal(z: np.ndarray, cv: float) -> np.ndarray:
    """Return log-normal numbers of mean 1 and a coefficient of variation, from normal ones."""
    spread = np.sqrt(np.log1p(cv**2))
    return np.asarray(np.exp(spread * z - spread**2 / 2))


def _units_last(drawn: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.moveaxis(drawn, 0, -1))
