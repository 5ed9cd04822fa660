"""How values move over sessions, from their products between sessions.

F(t) are all values of session t, N of them, with noise of the variance v(t); T(t) = F(t) - F(0) and
D(t) = F(t) - F(t-1). Products of all T and F(0) are taken once and serve every choice of sessions
that begins with the first. Noise of different sessions is independent, so it enters <T(t), T(s)> as
v(0), and v(t) besides where t = s, and <T(t), F(0)> as -v(0).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from lrplan.measure.observables import Observable
from lrplan.measure.observables._noise import (
    LEAST_SHARE,
    ROUNDING,
    average,
    clipped,
    correlation,
    cosine,
    ratio,
    root,
    rounding,
    weighed,
)


def observables(family: str, noun: str) -> tuple[Observable, ...]:
    """Name the observables of a path, in the order that `of_path` returns them."""
    return tuple(
        Observable(f"{family}_{name}", degree, summary)
        for name, degree, summary in (
            ("corr_first", 0, f"correlation of {noun} with the first session's"),
            ("corr_previous", 0, f"correlation of {noun} with the previous session's"),
            ("step", 2, f"mean square change of {noun} from the previous session"),
            ("travel", 2, f"mean square change of {noun} from the first session"),
            ("straightness", 0, f"distance of {noun} from the first session over the way taken"),
            ("turn", 0, f"cosine between two successive changes of {noun}"),
            ("persistence", 2, f"mean product of two successive changes of {noun}"),
            ("mean", 1, f"mean change of {noun} from the previous session"),
            ("kurtosis", 0, f"kurtosis of the change of {noun} since the first session"),
            ("skew", 0, f"skewness of the change of {noun} since the first session"),
            ("proportional", 0, f"slope of the change of {noun} on the first session's"),
        )
    )


def changed(values: np.ndarray, axes: int) -> np.ndarray:
    """Return changes since the first session of values (..., session, ...), `axes` behind it."""
    first: tuple[Any, ...] = (Ellipsis, slice(0, 1), *[slice(None)] * axes)
    return values - values[first]


def changed_noise(v: np.ndarray, sessions: int, axes: int) -> np.ndarray:
    """Return the variance of the noise of changes from that of values: 0 in the first session."""
    first: tuple[Any, ...] = (Ellipsis, slice(0, 1), *[slice(None)] * axes)
    later = (np.arange(sessions) > 0).reshape(-1, *[1] * axes)
    return np.where(later, v + v[first], 0)


def flat(values: np.ndarray, axes: int) -> np.ndarray:
    """Return values with the last axes as one."""
    return values.reshape(*values.shape[:-axes], -1)


def flat_noise(v: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return variances with the last axes as one: of 1 where they are the same, or of `shape`."""
    axes = len(shape)
    if v.shape[-axes:] != (1,) * axes:
        v = np.broadcast_to(v, (*v.shape[:-axes], *shape))
    return flat(v, axes)


class Path(NamedTuple):
    """Products of values between sessions, and moments of their change since the first.

    Parameters
    ----------
    products : array (..., session, session)
        <T(t), T(s)> / N, without noise.
    with_first : array (..., session)
        <T(t), F(0)> / N, without noise.
    square_first : array (...)
        <F(0), F(0)> / N, without noise.
    means : array (..., session)
        Means of F(t).
    noise : array (..., session)
        Mean variance of the noise.
    number : int
        N.
    since : array (..., session, statistic)
        What is of one session and the first: of no other choice of sessions.
    """

    products: np.ndarray
    with_first: np.ndarray
    square_first: np.ndarray
    means: np.ndarray
    noise: np.ndarray
    number: int
    since: np.ndarray


def path(
    first: np.ndarray,
    t: np.ndarray,
    v: np.ndarray,
    *,
    smooth_squares: np.ndarray | None = None,
) -> Path:
    """Return the path of values.

    Parameters
    ----------
    first : array (..., 1, value)
        The first session.
    t : array (..., session, value)
        Changes since then, as `changed` returns them.
    v : array (..., session or 1, value or 1)
        The variance of the noise of each value.
    smooth_squares : array (..., session), optional
        Mean squares of the variances of the noise of changes, from variances that were made smooth;
        by default of those that `v` gives.

    Notes
    -----
    Products between sessions are taken in double precision, whatever that of the values: a step is
    a small difference of them.
    """
    sessions, number = t.shape[-2:]
    v = v.astype(np.float64, copy=False)
    wide, start = t.astype(np.float64, copy=False), first.astype(np.float64, copy=False)
    noise = np.broadcast_to(average(v, axis=-1), t.shape[:-1])
    later = np.arange(sessions) > 0
    shared = noise[..., :1, None] * (later[:, None] & later)
    own = noise[..., None] * (np.eye(sessions) * later)
    w = changed_noise(v, sessions, 1)
    if smooth_squares is None:
        smooth_squares = average(w * w, axis=-1)
    products = wide @ np.swapaxes(wide, -1, -2) / number
    mean = average(wide)
    squares = np.diagonal(products, axis1=-2, axis2=-1)
    kurtosis, skew = _shape(t - mean[..., None].astype(t.dtype), squares, w, smooth_squares)
    return Path(
        products=products - shared - own,
        with_first=(wide @ np.swapaxes(start, -1, -2))[..., 0] / number + noise[..., :1] * later,
        square_first=np.vecdot(start, start)[..., 0] / number - noise[..., 0],
        means=average(start) + mean,
        noise=noise,
        number=number,
        since=np.stack([kurtosis, skew], axis=-1),
    )


def _shape(
    c: np.ndarray, squares: np.ndarray, w: np.ndarray, smooth_squares: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return kurtosis and skewness of changes whose noise has the variance w.

    Parameters
    ----------
    c : array (..., value)
        Changes less their mean.
    squares : array (...)
        Mean squares of the changes.
    w : array (..., value or 1)
        The variance of their noise.
    smooth_squares : array (...)
        As in `path`.

    Notes
    -----
    E m4 = mu4 + 6 mean(t^2 w) + 3 mean(w^2) and E m3 = mu3 + 3 mean(t w), for symmetric noise.
    """
    number = c.shape[-1]
    c2 = c * c
    raw = np.vecdot(c, c) / number
    # Equal changes leave rounding.
    raw = np.where(raw > rounding(c) ** 2 * squares, raw, 0)
    variance = raw - average(w, axis=-1)
    third = np.vecdot(c2, c) / number - 3 * weighed(w, c, 0 * raw, -1)
    fourth = np.vecdot(c2, c2) / number - 6 * weighed(w, c2, raw, -1) + 3 * smooth_squares
    # In units of the measured size: a tiny change has no fourth power.
    seen = variance > LEAST_SHARE * raw
    sd = np.sqrt(np.where(seen, variance, 1))
    kurtosis = np.where(seen, clipped(fourth / sd**2 / sd**2, 1, number), 0)
    most = number**0.5
    return kurtosis, np.where(seen, clipped(third / sd**2 / sd, -most, most), 0)


def of_path(found: Path, places: Sequence[int]) -> np.ndarray:
    """Return (..., session, 11) for sessions at some places, of which the first is the first.

    Notes
    -----
    ``step``, ``travel`` and ``persistence`` are mean products, so that noise leaves them right on
    average, and may be below 0. Correlations, ``turn`` (``persistence`` over the roots of both
    steps) and ``proportional`` are ratios of such, right for many values. ``straightness`` takes
    roots, which noise pulls down where a step is no larger than its noise. ``kurtosis`` and
    ``skew`` take off what symmetric noise adds to the moments. Where a divisor is no more than 1%
    of what was measured (25% for these two), they are 0.
    """
    at = np.asarray(places)
    p = found.products[..., at[:, None], at]
    x, m, v = found.with_first[..., at], found.means[..., at], found.noise[..., at]
    count = len(at)
    before = np.maximum(np.arange(count) - 1, 0)
    diagonal = np.arange(count)
    travel = p[..., diagonal, diagonal]
    later = diagonal > 0
    raw_travel = travel + (v + v[..., :1]) * later
    step = travel + travel[..., before] - 2 * p[..., diagonal, before]
    raw_step = step + (v + v[..., before]) * later
    still = raw_step <= ROUNDING * (raw_travel + raw_travel[..., before])
    step, raw_step = np.where(still, 0, step), np.where(still, 0, raw_step)
    two = before[before]
    persistence = (
        p[..., diagonal, before] - p[..., diagonal, two] - travel[..., before] + p[..., before, two]
    )
    persistence[..., :2] = 0
    turn = cosine(persistence, step, step[..., before], raw_step, raw_step[..., before])
    # F(t) F(s), less the means' product: covariances of sessions.
    square = found.square_first[..., None]
    own = square + 2 * x + travel - m * m + v / found.number
    raw_own = np.maximum(own + v * (1 - 1 / found.number), 0)
    with_first = square + x - m * m[..., :1]
    with_first[..., 0] = own[..., 0]
    with_previous = square + x + x[..., before] + p[..., diagonal, before] - m * m[..., before]
    with_previous[..., 0] = own[..., 0]
    first, raw_first = own[..., :1], raw_own[..., :1]
    way = np.cumsum(root(step), axis=-1)
    change = m - m[..., before]
    slope = x - (m - m[..., :1]) * m[..., :1] - v[..., :1] / found.number * later
    out = [
        cosine(with_first, own, first, raw_own, raw_first),
        cosine(with_previous, own, own[..., before], raw_own, raw_own[..., before]),
        step,
        travel,
        clipped(ratio(root(travel), way, 0.0), 0, 1),
        turn,
        persistence,
        change,
        *np.moveaxis(found.since[..., at, :], -1, 0),
        ratio(slope, first, raw_first),
    ]
    return np.stack(out, axis=-1)


class Energy(NamedTuple):
    """Mean squares of columns, without noise.

    Parameters
    ----------
    values : array (..., column)
        Without noise.
    noise : array (...)
        The variance that noise gives to each, mean over columns.
    measured : array (...)
        Their mean with the noise.
    """

    values: np.ndarray
    noise: np.ndarray
    measured: np.ndarray


def energy(x: np.ndarray, v: np.ndarray) -> Energy:
    """Return the mean squares over rows of x (..., row, column)."""
    square = x * x
    raw = average(square, axis=-2)
    noise = (4 * (v * square).mean(axis=(-2, -1)) - 2 * (v * v).mean(axis=(-2, -1))) / x.shape[-2]
    return Energy(raw - average(v, axis=-2), noise, average(raw, axis=-1))


def relation(change: Energy, t: np.ndarray, first: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Return how a column's change goes with its first energy: their correlation over columns.

    Parameters
    ----------
    change : Energy
        Of the changes.
    t : array (..., session, row, column)
        Changes since the first session.
    first, v : array (..., 1, row, column)
        The first session, and the variance of its noise.

    Notes
    -----
    Both hold the first session's noise. With K rows it gives the mean squares |t|^2 / K and
    |first|^2 / K a covariance of (-4 sum v t first + 2 sum v^2) / K^2, and the measured
    sum v t first is less than the true one by sum v^2.
    """
    own = energy(first, v)
    both = ((v * first) * t).mean(axis=(-2, -1))
    shared = (-4 * both - 2 * (v * v).mean(axis=(-2, -1))) / t.shape[-2]
    return related(change, own.values, own.noise, shared)


def related(change: Energy, first: np.ndarray, noise: np.ndarray, shared: np.ndarray) -> np.ndarray:
    """Return the correlation of a change's energy with what was first; 0 in the first session.

    `first` is (..., 1, column); `noise` (..., 1) and `shared` (..., session) are its variance and
    the covariance by noise, means over columns.
    """
    found = correlation(change.values, first, noise_x=change.noise, noise_y=noise, shared=shared)
    found[..., 0] = 0
    return found
