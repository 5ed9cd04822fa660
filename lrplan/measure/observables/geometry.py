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
    average,
    clipped,
    deviations,
    namespace,
    participation,
    ratio,
    root,
    rounding,
    transposed,
    variation,
)
from lrplan.measure.observables._responses import Responses, over_columns, scale

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
DEGREES = [o.degree for o in OBSERVABLES]


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
    return of_responses(Responses(values, noise))


def of_responses(found: Responses) -> Any:
    """Return what `compute` does."""
    xp = array_namespace(found.values)
    spread, noise = found.spread, found.noise
    mean_noise = noise.over_stimuli / found.stimuli
    tuned = spread.trace / found.stimuli
    measured_untuned = average(found.mean * found.mean, axis=-1)
    untuned = measured_untuned - average(mean_noise, axis=-1)
    measured = spread.measured_trace / found.stimuli + measured_untuned
    weighed_rows = _row_moments(found)
    out = [
        participation(spread, found.stimuli - 1),
        *_shares(spread),
        tuned,
        untuned,
        clipped(ratio(tuned, tuned + untuned, measured), 0, 1),
        *_correlations(found, *weighed_rows),
        *_sparseness(found, *weighed_rows),
        *_means(found.mean, mean_noise),
        _tuned_variation(found),
    ]
    return xp.astype(found.in_units(xp.stack(out, axis=-1), DEGREES), found.dtype, copy=False)


def _shares(found: Any) -> list[Any]:
    """Return the shares of the three largest eigenvalues of G; 0 for those that it lacks."""
    xp = namespace(found.gram)
    eigenvalues = xp.linalg.eigvalsh(found.gram)
    out = [
        clipped(ratio(eigenvalues[..., -i], found.trace, found.measured_trace), 0, 1)
        for i in range(1, min(3, found.gram.shape[-1]) + 1)
    ]
    return out + [xp.zeros_like(found.trace)] * (3 - len(out))


def _row_moments(found: Responses) -> tuple[Any, Any]:
    """Return means over units of responses and of their squares, each weighed by its unit's noise.

    The noise of a response is p q, one factor of its stimulus and one, q, of its unit.
    """
    [(_, q)] = found.noise.terms
    if q.shape[-1] == 1:
        return q * found.row_means, q * found.row_squares
    return over_columns(found.values, q), over_columns(found.values * found.values, q)


def _correlations(found: Responses, weighed: Any, weighed_squares: Any) -> list[Any]:
    """Return mean and sd over pairs of stimuli of the correlation over units."""
    xp = namespace(found.values)
    stimuli, units = found.stimuli, found.units
    covariance = _covariance(found)
    raw = xp.linalg.diagonal(covariance)
    variance = raw - found.noise.over_units * (1 - 1 / units)
    seen = (variance > LEAST_SIGNAL * raw) & (raw > 0)
    inverse = xp.where(seen, 1 / xp.where(seen, variance, 1.0), 0 * variance)
    size = xp.sqrt(inverse)
    both = size[..., None] * size[..., None, :]
    correlation = clipped(covariance * both, -1, 1)
    # What noise of either stimulus adds to the variance of their covariance.
    [(p, q)] = found.noise.terms
    p = p + 0 * raw
    mean = found.row_means
    squares = (
        weighed_squares - 2 * mean * weighed + mean * mean * average(q, axis=-1, keepdims=True)
    )
    one = p[..., None] * squares[..., None, :]
    own = p[..., None] * p[..., None, :] * average(q * q, axis=-1)[..., None, None]
    spurious = (one + transposed(one) - own) / units * both * both
    pairs = 1 - xp.eye(stimuli, dtype=raw.dtype, device=raw.device)
    number = stimuli * (stimuli - 1)
    middle = xp.sum(correlation * pairs, axis=(-2, -1)) / number
    apart = ((correlation - middle[..., None, None]) ** 2 - spurious) * pairs
    return [middle, root(xp.sum(apart, axis=(-2, -1)) / number)]


def _covariance(found: Responses) -> Any:
    """Return the covariances of stimuli over units, of stimuli of equal responses 0.

    a = mu + c, so that the covariances follow from c c^T without another product of responses; mu
    less its mean over units, since a large baseline would cost all digits.
    """
    xp = namespace(found.values)
    mu = found.mean - average(found.mean, axis=-1, keepdims=True)
    shift = (found.centred @ mu[..., None])[..., 0] / found.units
    level = average(mu * mu, axis=-1)[..., None, None]
    mean = average(found.centred, axis=-1)
    out = found.gram + shift[..., None] + shift[..., None, :] + level
    out = out - mean[..., None] * mean[..., None, :]
    seen = xp.linalg.diagonal(out) > rounding(out) * found.row_squares
    return xp.where(seen[..., None] & seen[..., None, :], out, 0.0)


def _sparseness(found: Responses, weighed: Any, weighed_squares: Any) -> list[Any]:
    """Return mean and sd of lifetime, then of population sparseness.

    A unit counts by the share of its mean square that is not noise, and not below 1% of the
    population's mean; stimuli count alike, silent ones with 0.
    """
    xp = namespace(found.values)
    noise, raw = found.noise, found.whole
    [(p, q)] = noise.terms
    energy = raw - noise.over_stimuli
    active = (energy > 0) & (energy > LEAST_SIGNAL * average(energy, axis=-1, keepdims=True))
    share = xp.where(active, energy / xp.where(active, raw, 1.0), 0 * raw)
    lifetime = _ratios(
        found.mean,
        raw,
        lost=noise.over_stimuli,
        lost_squares=average(p * p, keepdims=True) * (q * q),
        weighed=found.centred_noise + found.mean * noise.over_stimuli,
        weighed_squares=found.tuned_noise
        + 2 * found.mean * found.centred_noise
        + found.mean * found.mean * noise.over_stimuli,
        seen=active,
        number=found.stimuli,
    )
    raw = found.row_squares
    population = _ratios(
        found.row_means,
        raw,
        lost=noise.over_units,
        lost_squares=(p * p) * average(q * q, keepdims=True),
        weighed=p * weighed,
        weighed_squares=p * weighed_squares,
        seen=raw - noise.over_units > LEAST_SIGNAL * raw,
        number=found.units,
    )
    return _mean_and_sd(*lifetime, share) + _mean_and_sd(*population, xp.ones_like(raw))


def _ratios(
    mean: Any,
    raw: Any,
    *,
    lost: Any,
    lost_squares: Any,
    weighed: Any,
    weighed_squares: Any,
    seen: Any,
    number: int,
) -> tuple[Any, Any]:
    """Return 1 - mean(a)^2 / mean(a^2) over an axis, and its variance by noise; 0 where not seen.

    With r the ratio and n values, the variance is that of 2 sum e (mean(a) - r a) / n over
    mean(a^2), which holds for small noise.

    Parameters
    ----------
    mean, raw : array
        mean(a), mean(a^2).
    lost, lost_squares : array
        mean(v), mean(v^2).
    weighed, weighed_squares : array
        mean(v a), mean(v a^2).
    seen : array of bool
    number : int
        n.
    """
    xp = namespace(raw)
    energy = xp.where(seen, raw - lost, 1.0)
    square = mean * mean
    r = clipped((square - lost / number) / energy, 0, 1)
    of_square = weighed_squares - lost_squares / 2
    slope = square * lost - 2 * r * mean * weighed + r * r * of_square
    zero = xp.zeros_like(r)
    noise = 4 * slope / (number * energy * energy)
    return xp.where(seen, 1 - r, zero), xp.where(seen, noise, zero)


def _mean_and_sd(values: Any, noise: Any, weights: Any) -> list[Any]:
    """Return mean and sd over the last axis of values of which `noise` is spurious variance."""
    xp = namespace(values)
    number = xp.sum(weights, axis=-1)
    number = xp.where(number > 0, number, 1.0)
    mean = xp.sum(weights * values, axis=-1) / number
    squares = weights * ((values - mean[..., None]) ** 2 - noise)
    return [mean, root(xp.sum(squares, axis=-1) / number)]


def _tuned_variation(found: Responses) -> Any:
    """Return the coefficient of variation over units of their tuned variance."""
    spread, stimuli = found.spread, found.stimuli
    energy = stimuli * found.tuned - (stimuli - 1) * found.noise.over_stimuli
    return variation(energy, spread.energy_noise, spread.measured_trace)


def _means(mean: Any, mean_noise: Any) -> list[Any]:
    """Return variance and skewness over units of their mean responses.

    Symmetric noise adds nothing to the third central moment.
    """
    xp = namespace(mean)
    apart, raw = deviations(mean)
    variance = raw - average(mean_noise, axis=-1) * (1 - 1 / mean.shape[-1])
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
        scale=scale,
        cites="Gao et al., bioRxiv 2017, doi 10.1101/214262; Willmore & Tolhurst, Network 2001",
        needs=Needs(stimuli=2, units=2, noise=True),
        prepare=Responses,
        of_prepared=of_responses,
    ),
)
