"""How the responses of tracked units change over sessions.

A is (session, stimulus k, unit u), T(t) = A(t) - A(0). The variance of each response's noise is
known and taken off. All are of the sessions that were recorded: a longer step is a larger one.
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
    smoothed,
    spread,
    variation,
    weighed,
)
from lrplan.measure.observables._path import (
    Path,
    changed,
    changed_noise,
    energy,
    flat,
    flat_noise,
    observables,
    of_path,
    path,
    related,
    relation,
)

OBSERVABLES = (
    *observables("change", "responses"),
    Observable("change_participation", 0, "dimensions of the change over stimuli"),
    Observable("change_common", 0, "share of the change that all stimuli have in common"),
    Observable("change_units_cv", 0, "variation over units of their mean square change, sd / mean"),
    Observable("change_with_tuning", 0, "correlation of a unit's change with its first tuning"),
    Observable("change_with_rate", 0, "correlation of a unit's change with its first mean"),
)


class Changes(NamedTuple):
    """The path of all responses, and what units and stimuli have of the change since the first.

    Parameters
    ----------
    path : Path
        Of responses.
    since : array (..., session, 5)
        Of each session and the first.
    """

    path: Path
    since: np.ndarray


def summarise(values: np.ndarray, noise: np.ndarray) -> Changes:
    """Return what `of_summary` needs of responses (..., session, stimulus, unit)."""
    a, each = values.astype(np.float64), noise.astype(np.float64)
    v = smoothed(each)
    stimuli = a.shape[-2]
    first, first_noise = a[..., :1, :, :], v[..., :1, :, :]
    t, w = changed(a, 2), changed_noise(v, a.shape[-3], 2)
    mean = t.mean(axis=-2)
    tuned = spread(t - mean[..., None, :], w, centred=True)
    whole = energy(t, w)
    common = (mean * mean - w.mean(axis=-2) / stimuli).mean(axis=-1)
    # The first session's noise e is in both: cov(mean |t - e|^2, mean e) = -2 mean t v / K.
    shared = -2 * weighed(first_noise, t, mean, -2) / stimuli
    since = [
        participation(tuned, stimuli - 1),
        np.clip(ratio(common, whole.values.mean(axis=-1), whole.measured), 0, 1),
        variation(whole.values, whole.noise, whole.measured),
        relation(whole, t, first, first_noise, tuned=True),
        related(whole, first.mean(axis=-2), first_noise.mean(axis=-2) / stimuli, shared),
    ]
    whole_path = path(
        flat(first, 2),
        flat(t, 2),
        flat_noise(each, a.shape[-2:]),
        smooth=flat_noise(v, a.shape[-2:]),
    )
    return Changes(whole_path, np.stack(since, axis=-1))


def of_summary(found: Changes, places: Sequence[int]) -> np.ndarray:
    """Return (..., session, 16) for sessions at some places.

    Notes
    -----
    The first eleven are those of `_path.of_path`. Then, of T against the first session:
    ``participation`` tr(G)^2 / tr(G^2) of its Gram matrix of stimuli, centred over them; ``common``
    mean_u (mean_k T)^2 / mean T^2; ``units_cv`` the coefficient of variation over units of mean_k
    T^2 (how far few units carry the change); ``with_tuning`` and ``with_rate`` the correlation over
    units of mean_k T^2 with their first variance over stimuli, and with their first mean. Each part
    is corrected for noise, also that of the first session which both share; the ratios are right
    for many units.
    """
    since = found.since[..., np.asarray(places), :]
    return np.concatenate([of_path(found.path, places), since], axis=-1)


def compute(values: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Return (..., session, 16) from responses (..., session, stimulus, unit)."""
    return of_summary(summarise(values, noise), range(values.shape[-3])).astype(values.dtype)


families.add(
    "change",
    Family(
        name="change",
        measure="activity",
        observables=OBSERVABLES,
        compute=compute,
        scale=lambda values, noise: root_mean_square(values, noise, (-2, -1)),
        cites="Driscoll et al., Cell 2017; Henaff et al., Nature Communications 2021",
        needs=Needs(trajectory=True, tracked=True, sessions=2, stimuli=2, units=2, noise=True),
        summarise=summarise,
        of_summary=of_summary,
    ),
)
