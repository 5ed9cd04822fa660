"""How tracked synapses change over sessions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lrplan.measure.observables import Family, Needs, Observable, families
from lrplan.measure.observables._noise import root_mean_square
from lrplan.measure.observables._path import (
    Path,
    changed,
    changed_noise,
    energy,
    observables,
    of_path,
    path,
    relation,
)

OBSERVABLES = (
    *observables("plasticity", "weights"),
    Observable(
        "plasticity_with_size", 0, "correlation of a synapse's square change with its first square"
    ),
)


class Changes(NamedTuple):
    """The path of all weights, and the relation of their change to their first size.

    Parameters
    ----------
    path : Path
        Of weights.
    with_size : array (..., session)
        Of each session and the first.
    """

    path: Path
    with_size: np.ndarray


def summarise(values: np.ndarray, noise: np.ndarray) -> Changes:
    """Return what `of_summary` needs of weights (..., session, synapse)."""
    f, v = values.astype(np.float64), noise.astype(np.float64)
    t, w = changed(f, 1), changed_noise(v, f.shape[-2], 1)
    rows = (Ellipsis, None, slice(None))
    size = relation(energy(t[rows], w[rows]), t[rows], f[..., :1, :][rows], v[..., :1, :][rows])
    return Changes(path(f[..., :1, :], t, v), size)


def of_summary(found: Changes, places: Sequence[int]) -> np.ndarray:
    """Return (..., session, 12) for sessions at some places.

    Notes
    -----
    The first eleven are those of `_path.of_path`: ``kurtosis`` tells sparse from dense change,
    ``skew`` strengthening from weakening, ``proportional`` multiplicative change (van Rossum et al.
    2012) from additive, whose slope is 0. ``with_size`` is the correlation over synapses of the
    squared change with the first squared weight, corrected for noise, also that which both share.
    """
    size = found.with_size[..., np.asarray(places), None]
    return np.concatenate([of_path(found.path, places), size], axis=-1)


def compute(values: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Return (..., session, 12) from weights (..., session, synapse)."""
    return of_summary(summarise(values, noise), range(values.shape[-2])).astype(values.dtype)


families.add(
    "plasticity",
    Family(
        name="plasticity",
        measure="weights",
        observables=OBSERVABLES,
        compute=compute,
        scale=lambda values, noise: root_mean_square(values, noise, (-1,)),
        cites="van Rossum, Shippi & Barrett, PLoS Computational Biology 2012",
        needs=Needs(trajectory=True, tracked=True, sessions=2, units=2, noise=True),
        summarise=summarise,
        of_summary=of_summary,
    ),
)
