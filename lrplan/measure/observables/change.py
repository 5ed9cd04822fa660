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
    average,
    clipped,
    mean_product,
    participation,
    ratio,
    transposed,
    variation,
)
from lrplan.measure.observables._path import (
    Energy,
    Path,
    flat,
    flat_noise,
    observables,
    of_path,
    path,
    related,
)
from lrplan.measure.observables._responses import Moments, Noise, Responses, Term, scale

OBSERVABLES = (
    *observables("change", "responses"),
    Observable("change_participation", 0, "dimensions of the change over stimuli"),
    Observable("change_common", 0, "share of the change that all stimuli have in common"),
    Observable("change_units_cv", 0, "variation over units of their mean square change, sd / mean"),
    Observable("change_with_tuning", 0, "correlation of a unit's change with its first tuning"),
    Observable("change_with_rate", 0, "correlation of a unit's change with its first mean"),
)
DEGREES = [o.degree for o in OBSERVABLES]


class Changes(NamedTuple):
    """The path of all responses, and what units and stimuli have of the change since the first.

    Parameters
    ----------
    path : Path
        Of responses.
    since : array (..., session, 5)
        Of each session and the first.
    size : array (..., 1, 16)
        By what observables are multiplied.
    """

    path: Path
    since: np.ndarray
    size: np.ndarray


def summarise(values: np.ndarray, noise: np.ndarray) -> Changes:
    """Return what `of_summary` needs of responses (..., session, stimulus, unit)."""
    return of_responses(Responses(values, noise))


def of_responses(found: Responses) -> Changes:
    """Return what `summarise` does."""
    since = found.change()
    first = flat(found.values[..., :1, :, :], 2)
    t = flat(found.values, 2) - first
    energy = _energy(since)
    common = average(since.mean * since.mean - since.noise.over_stimuli / found.stimuli, axis=-1)
    statistics = [
        participation(since.spread, found.stimuli - 1),
        clipped(ratio(common, average(energy.values, axis=-1), energy.measured), 0, 1),
        variation(energy.values, energy.noise, energy.measured),
        *_related(found, energy, t),
    ]
    whole_path = path(
        first,
        t,
        flat_noise(found.variance, found.values.shape[-2:]),
        smooth_squares=since.noise.squares,
    )
    return Changes(whole_path, np.stack(statistics, axis=-1), found.in_units(1.0, DEGREES))


def _energy(since: Moments) -> Energy:
    """Return units' mean square changes, without noise."""
    lost = since.noise.over_stimuli
    weighed = average(since.tuned_noise) + mean_product(since.mean * since.mean, lost)
    weighed = weighed + 2 * mean_product(since.mean, since.centred_noise)
    noise = (4 * weighed - 2 * since.noise.squares) / since.stimuli
    return Energy(since.whole - lost, noise, average(since.whole, axis=-1))


def _related(found: Responses, energy: Energy, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return correlations over units of their change with their first tuning and first mean.

    Both hold the first session's noise e, of variance v. With K stimuli it gives mean_k T^2 and the
    variance over stimuli a covariance of (-4 sum v c T + 2 h sum v^2) / K^2, h = 1 - 1/K, and the
    measured sum v c T is less than the true one by h sum v^2. With the mean over stimuli it is
    cov(mean_k |T - e|^2, mean_k e) = -2 mean_k v T / K.
    """
    stimuli, h = found.stimuli, 1 - 1 / found.stimuli
    [(p, q)] = found.noise.terms
    noise = Noise([Term(p[..., :1, :], q[..., :1, :])])
    c = found.centred[..., :1, :, :]
    v = noise.terms[0].stimuli[..., None] * noise.terms[0].units[..., None, :]
    weights = np.concatenate([v * c, np.broadcast_to(v, c.shape)], axis=-3)
    with_tuning, with_rate = np.moveaxis(t @ transposed(flat(weights, 2)) / t.shape[-1], -1, 0)
    lost = noise.over_stimuli
    own_noise = 4 * (v * c * c).mean(axis=(-2, -1)) - 2 * (1 - 2 / stimuli) * noise.squares
    own_noise = own_noise - 2 * average(lost * lost, axis=-1) / stimuli
    tuning = related(
        energy,
        found.tuned[..., :1, :] - h * lost,
        own_noise / stimuli,
        (-4 * with_tuning - 2 * h * noise.squares) / stimuli,
    )
    rate = related(
        energy, found.mean[..., :1, :], average(lost, axis=-1) / stimuli, -2 * with_rate / stimuli
    )
    return tuning, rate


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
    return np.concatenate([of_path(found.path, places), since], axis=-1) * found.size


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
        scale=scale,
        cites="Driscoll et al., Cell 2017; Henaff et al., Nature Communications 2021",
        needs=Needs(trajectory=True, tracked=True, sessions=2, stimuli=2, units=2, noise=True),
        summarise=summarise,
        of_summary=of_summary,
        prepare=Responses,
        of_prepared=of_responses,
    ),
)
