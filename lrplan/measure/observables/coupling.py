"""How what tracked inputs do to tracked outputs changes over sessions.

J is (session, stimulus, post, pre), the derivative of an output by an input; M(t) is the mean over
stimuli of J(t) - J(0).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lrplan.measure.observables import Family, Needs, Observable, families
from lrplan.measure.observables._noise import (
    participation,
    ratio,
    root_mean_square,
    spread,
)
from lrplan.measure.observables._path import (
    Path,
    changed,
    changed_noise,
    flat,
    flat_noise,
    observables,
    of_path,
    path,
)

OBSERVABLES = (
    *observables("coupling", "derivatives"),
    Observable("coupling_rank", 0, "dimensions of the mean change over outputs"),
    Observable("coupling_common", 0, "share of the change that all stimuli have in common"),
)


class Changes(NamedTuple):
    """The path of all derivatives, and the shape of their change since the first session.

    Parameters
    ----------
    path : Path
        Of derivatives.
    since : array (..., session, 2)
        Of each session and the first.
    """

    path: Path
    since: np.ndarray


def summarise(values: np.ndarray, noise: np.ndarray) -> Changes:
    """Return what `of_summary` needs of derivatives (..., session, stimulus, post, pre)."""
    j, v = values.astype(np.float64), noise.astype(np.float64)
    stimuli, post, pre = j.shape[-3:]
    t, w = changed(j, 3), changed_noise(v, j.shape[-4], 3)
    mean, mean_noise = t.mean(axis=-3), w.mean(axis=-3) / stimuli
    measured = (t * t).mean(axis=(-3, -2, -1))
    common = (mean * mean - mean_noise).mean(axis=(-2, -1))
    whole = measured - w.mean(axis=(-3, -2, -1))
    rank = participation(spread(mean, mean_noise), min(post, pre))
    since = np.stack([rank, np.clip(ratio(common, whole, measured), 0, 1)], axis=-1)
    return Changes(
        path(flat(j[..., :1, :, :, :], 3), flat(t, 3), flat_noise(v, j.shape[-3:])), since
    )


def of_summary(found: Changes, places: Sequence[int]) -> np.ndarray:
    """Return (..., session, 13) for sessions at some places.

    Notes
    -----
    The first eleven are those of `_path.of_path`. ``rank`` is tr(G)^2 / tr(G^2), G = M M^T over
    outputs: how many dimensions the mean change spreads over (Gao et al. 2017); ``common`` is the
    mean square of M over that of J(t) - J(0). Noise is taken off each part.
    """
    since = found.since[..., np.asarray(places), :]
    return np.concatenate([of_path(found.path, places), since], axis=-1)


def compute(values: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Return (..., session, 13) from derivatives (..., session, stimulus, post, pre)."""
    return of_summary(summarise(values, noise), range(values.shape[-4])).astype(values.dtype)


families.add(
    "coupling",
    Family(
        name="coupling",
        measure="paired",
        observables=OBSERVABLES,
        compute=compute,
        scale=lambda values, noise: root_mean_square(values, noise, (-3, -2, -1)),
        cites="Gao et al., bioRxiv 2017, doi 10.1101/214262",
        needs=Needs(trajectory=True, tracked=True, sessions=2, units=2, noise=True),
        summarise=summarise,
        of_summary=of_summary,
    ),
)
