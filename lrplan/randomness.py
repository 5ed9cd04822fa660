"""Random generators, each keyed by what it is for: no two purposes share numbers."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np


def keyed_rng(*keys: str | int) -> np.random.Generator:
    """Return a generator that depends on nothing but its keys.

    Parameters
    ----------
    *keys : str or int
        A seed and what the numbers are for, such as ``(seed, "folds", repeat)``. Two streams with
        different keys share nothing.
    """
    digest = hashlib.sha256("\x1f".join(str(k) for k in keys).encode()).digest()
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(list(digest))))


@dataclass(frozen=True)
class Streams:
    """Independent random numbers for every purpose of one piece of work.

    Parameters
    ----------
    key : int
        All streams of the work depend on it, and on nothing else but their purpose.

    Examples
    --------
    >>> streams = Streams(7)
    >>> a, b = streams.rng("folds", 0), streams.rng("folds", 1)
    >>> bool(a.random() == b.random()), streams.seed("forest") == streams.seed("forest")
    (False, True)
    """

    key: int

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Streams:
        """Take one number from a generator as the key."""
        return cls(int(rng.integers(2**31)))

    def rng(self, *purpose: str | int) -> np.random.Generator:
        """Return the generator of one purpose, at its beginning."""
        return keyed_rng(self.key, *purpose)

    def seed(self, *purpose: str | int) -> int:
        """Return a seed (31 bits) for what takes no generator, such as a scikit-learn estimator."""
        return int(self.rng(*purpose).integers(2**31))
