"""Random generators, each keyed by what it is for. Nothing else makes a generator from a seed."""

from __future__ import annotations

import hashlib

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
