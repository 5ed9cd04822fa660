"""The geometry of a population's responses to stimuli, in each session.

a is (stimulus k, unit u), K stimuli, U units; mu its mean over stimuli, c = a - mu, G = c c^T / U.
The variance v of each response's noise is known and taken off (`_noise`). Nothing compares a unit
with itself in another session, so units need not be tracked. All are 0 in silence.
"""

from __future__ import annotations

from typing import Any

from array_api_compat import array_namespace

from lrplan.measure.observables import Family, Needs, Observable, families
from lrplan.measure.observables._noise import (
    LEAST_SIGNAL,
    clipped,
    deviations,
    participation,
    ratio,
    root,
    root_mean_square,
    smoothed,
    spread,
    transposed,
    variation,
    weighed,
)

OBSERVABLES = (
    Observable("geometry_participation", 0, "dimensions of responses over stimuli"),
    Observable("geometry_share_first", 0, "share of tuned variance along its largest axis"),
    Observable("geometry_share_second", 0, "share of tuned variance along its second axis"),
    Observable("geometry_share_third", 0, "share of tuned variance along its third axis"),
    Observable("geometry_tuned", 2, "variance over stimuli, mean over units"),
    Observable("geometry_untuned", 2, "square of a unit's mean response, mean over units"),
    Observable("geometry_tuned_share", 0, "tuned part of the mean square response"),
    Observable("geometry_correlation_mean", 0, "correlation of population responses, mean"),
    Observable("geometry_correlation_sd", 0, "correlation of population responses, sd"),
    Observable("geometry_lifetime_mean", 0, "lifetime sparseness, mean over active units"),
    Observable("geometry_lifetime_sd", 0, "lifetime sparseness, sd over active units"),
    Observable("geometry_population_mean", 0, "population sparseness, mean over stimuli"),
    Observable("geometry_population_sd", 0, "population sparseness, sd over stimuli"),
    Observable("geometry_means_variance", 2, "variance over units of their mean responses"),
    Observable("geometry_means_skew", 0, "skewness over units of their mean responses"),
    Observable("geometry_tuned_cv", 0, "variation over units of their tuned variance, sd / mean"),
)


def compute(values: Any, noise: Any) -> Any:
    """Return (..., 16) from activations (..., stimulus, unit).

    Parameters
    ----------
    values : array (..., stimulus, unit)
        Responses.
    noise : array
        The variance of the noise of each; axes along which it is the same may be of 1.

    Notes
    -----
    Unbiased by noise, whatever its size: ``tuned`` tr(G) / K, ``untuned`` mean mu^2,
    ``means_variance``. Ratios of such, right for many units: ``participation`` tr(G)^2 / tr(G^2)
    (Gao et al. 2017), whose two parts are corrected to the fourth order; ``tuned_share``;
    ``correlation_mean`` and ``_sd`` of all pairs of stimuli over units; ``population_*``
    1 - (mean a)^2 / mean a^2 over units, for each stimulus (Treves & Rolls; Willmore & Tolhurst
    2001), with a and not its absolute value, which noise would raise; ``means_skew``;
    ``tuned_cv``. Moved by noise: ``share_*``, since noise spreads the eigenvalues of G, by about
    noise over the square root of the units; ``lifetime_*`` 1 - (mean a)^2 / mean a^2 over stimuli,
    for each unit, since it is a ratio of few values, and units weaker than their noise count less.
    """
    xp = array_namespace(values)
    a, v = xp.astype(values, xp.float64), smoothed(xp.astype(noise, xp.float64))
    stimuli, units = a.shape[-2:]
    mean = xp.mean(a, axis=-2)
    mean_noise = xp.mean(v, axis=-2) / stimuli
    found = spread(a - mean[..., None, :], v, centred=True)
    tuned = found.trace / stimuli
    measured_untuned = xp.mean(mean * mean, axis=-1)
    untuned = measured_untuned - xp.mean(mean_noise, axis=-1)
    measured = found.measured_trace / stimuli + measured_untuned
    out = [
        participation(found, stimuli - 1),
        *_shares(found),
        tuned,
        untuned,
        clipped(ratio(tuned, tuned + untuned, measured), 0, 1),
        *_correlations(a, v),
        *_sparseness(a, v),
        *_means(mean, mean_noise),
        variation(found.energy, found.energy_noise, found.measured_trace),
    ]
    return xp.astype(xp.stack(out, axis=-1), values.dtype)


def _shares(found: Any) -> list[Any]:
    """Return the shares of the three largest eigenvalues of G; 0 for those that it lacks."""
    xp = array_namespace(found.gram)
    eigenvalues = xp.linalg.eigvalsh(found.gram)
    out = [
        clipped(ratio(eigenvalues[..., -i], found.trace, found.measured_trace), 0, 1)
        for i in range(1, min(3, found.gram.shape[-1]) + 1)
    ]
    return out + [xp.zeros_like(found.trace)] * (3 - len(out))


def _correlations(a: Any, v: Any) -> list[Any]:
    """Return mean and sd over pairs of stimuli of the correlation over units."""
    xp = array_namespace(a)
    stimuli, units = a.shape[-2:]
    b, raw = deviations(a)
    variance = raw - xp.mean(v, axis=-1) * (1 - 1 / units)
    seen = (variance > LEAST_SIGNAL * raw) & (raw > 0)
    inverse = xp.where(seen, 1 / xp.where(seen, variance, xp.ones_like(variance)), 0 * variance)
    both = xp.sqrt(inverse)[..., None] * xp.sqrt(inverse)[..., None, :]
    found = clipped(b @ transposed(b) / units * both, -1, 1)
    # What noise of either stimulus adds to the variance of their covariance.
    if v.shape[-1] == 1:
        v = v + 0 * raw[..., None]
        crossed, own = v * (units * raw[..., None, :]), units * (v @ transposed(v))
    else:
        v = v + 0 * b
        crossed, own = v @ transposed(b * b), v @ transposed(v)
    spurious = (crossed + transposed(crossed) - own) / units**2 * both * both
    pairs = xp.ones_like(found) - xp.eye(stimuli, dtype=a.dtype, device=a.device)
    number = stimuli * (stimuli - 1)
    mean = xp.sum(found * pairs, axis=(-2, -1)) / number
    squares = ((found - mean[..., None, None]) ** 2 - spurious) * pairs
    return [mean, root(xp.sum(squares, axis=(-2, -1)) / number)]


def _sparseness(a: Any, v: Any) -> list[Any]:
    """Return mean and sd of lifetime, then of population sparseness.

    A unit counts by the share of its mean square that is not noise, and not below 1% of the
    population's mean; stimuli count alike, silent ones with 0.
    """
    xp = array_namespace(a)
    square = a * a
    raw = xp.mean(square, axis=-2)
    energy = raw - xp.mean(v, axis=-2)
    active = (energy > 0) & (energy > LEAST_SIGNAL * xp.mean(energy, axis=-1, keepdims=True))
    share = xp.where(active, energy / xp.where(active, raw, xp.ones_like(raw)), 0 * raw)
    lifetime = _mean_and_sd(*_ratios(a, square, v, active, -2), share)
    raw = xp.mean(square, axis=-1)
    seen = raw - xp.mean(v, axis=-1) > LEAST_SIGNAL * raw
    return lifetime + _mean_and_sd(*_ratios(a, square, v, seen, -1), xp.ones_like(raw))


def _ratios(a: Any, square: Any, v: Any, seen: Any, axis: int) -> tuple[Any, Any]:
    """Return 1 - mean(a)^2 / mean(a^2) over an axis, and its variance by noise; 0 where not seen.

    With r the ratio and n values, the variance is that of 2 sum e (mean(a) - r a) / n over
    mean(a^2), which holds for small noise.
    """
    xp = array_namespace(a)
    n = a.shape[axis]
    lost = xp.mean(v, axis=axis)
    mean, raw = xp.mean(a, axis=axis), xp.mean(square, axis=axis)
    energy = xp.where(seen, raw - lost, xp.ones_like(raw))
    r = clipped((mean * mean - lost / n) / energy, 0, 1)
    of_square = weighed(v, square, raw, axis) - xp.mean(v * v, axis=axis) / 2
    slope = mean * mean * lost - 2 * r * mean * weighed(v, a, mean, axis) + r * r * of_square
    zero = xp.zeros_like(r)
    noise = 4 * slope / (n * energy * energy)
    return xp.where(seen, 1 - r, zero), xp.where(seen, noise, zero)


def _mean_and_sd(values: Any, noise: Any, weights: Any) -> list[Any]:
    """Return mean and sd over the last axis of values of which `noise` is spurious variance."""
    xp = array_namespace(values)
    number = xp.sum(weights, axis=-1)
    number = xp.where(number > 0, number, xp.ones_like(number))
    mean = xp.sum(weights * values, axis=-1) / number
    squares = weights * ((values - mean[..., None]) ** 2 - noise)
    return [mean, root(xp.sum(squares, axis=-1) / number)]


def _means(mean: Any, mean_noise: Any) -> list[Any]:
    """Return variance and skewness over units of their mean responses.

    Symmetric noise adds nothing to the third central moment.
    """
    xp = array_namespace(mean)
    apart, raw = deviations(mean)
    variance = raw - xp.mean(mean_noise, axis=-1) * (1 - 1 / mean.shape[-1])
    third = xp.vecdot(apart * apart, apart) / mean.shape[-1]
    most = mean.shape[-1] ** 0.5
    size = root(variance)
    return [variance, clipped(ratio(third, size**3, root(raw) ** 3), -most, most)]


families.add(
    "geometry",
    Family(
        name="geometry",
        measure="activity",
        observables=OBSERVABLES,
        compute=compute,
        scale=lambda values, noise: root_mean_square(values, noise, (-2, -1)),
        cites="Gao et al., bioRxiv 2017, doi 10.1101/214262; Willmore & Tolhurst, Network 2001",
        needs=Needs(stimuli=2, units=2, noise=True),
    ),
)
