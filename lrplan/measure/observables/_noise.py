"""Second and fourth moments of noisy values, without what the noise adds to them.

Values are x + e: e has mean 0, a known variance v, and is independent between units, stimuli and
sessions. Products of two different values are then right on average, and a square exceeds its own
by v. Taking v off is the same as averaging products of different trials over all pairs of trials,
since the mean's square less its squared standard error is that average; so odd against even trials,
over all ways to split them, is what means and standard errors give. Moments of the fourth order,
such as the size of a Gram matrix, take e to be near normal as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from array_api_compat import array_namespace

LEAST_SIGNAL = 0.01
"""The least share of what was measured that counts as seen, where something is divided by it."""
LEAST_SHARE = 0.25
"""The same for what takes third or fourth powers, of which noise leaves less."""

ROUNDING = 1e-12
"""What equal numbers may differ by, as a share of them, since their mean is rounded."""


def deviations(values: Any) -> tuple[Any, Any]:
    """Return values less their mean over the last axis, and the mean square of that.

    Equal values have a mean square of 0, not that of rounding.
    """
    xp = array_namespace(values)
    n = values.shape[-1]
    out = values - xp.mean(values, axis=-1, keepdims=True)
    square = xp.vecdot(out, out) / n
    least = ROUNDING**2 / n * xp.vecdot(values, values)
    return out, xp.where(square > least, square, xp.zeros_like(square))


def ratio(over: Any, under: Any, measured: Any) -> Any:
    """Return `over` / `under`, and 0 where `under` is no more than 1% of what was `measured`.

    `under` is `measured` less the noise: so little may be noise alone.
    """
    xp = array_namespace(under)
    seen = under > LEAST_SIGNAL * measured
    return xp.where(seen, over / xp.where(seen, under, xp.ones_like(under)), xp.zeros_like(under))


def root(squares: Any) -> Any:
    """Return the square root, of what noise made negative 0."""
    xp = array_namespace(squares)
    return xp.sqrt(xp.where(squares > 0, squares, xp.zeros_like(squares)))


def clipped(values: Any, low: float, high: float) -> Any:
    """Return values within the range that what they estimate can have."""
    return array_namespace(values).clip(values, low, high)


def transposed(values: Any) -> Any:
    """Swap the last two axes."""
    return array_namespace(values).matrix_transpose(values)


def smoothed(v: Any) -> Any:
    """Return variances (..., stimulus, unit) as products of one of each stimulus and of each unit.

    Their means over units and over stimuli, which is all that second moments need, stay. Single
    variances, which are estimated from few trials or from the response itself and whose squares and
    products with responses enter moments of the fourth order, become far less noisy.
    """
    if v.shape[-2] == 1 or v.shape[-1] == 1:
        return v
    xp = array_namespace(v)
    stimuli, units = xp.mean(v, axis=-1, keepdims=True), xp.mean(v, axis=-2, keepdims=True)
    mean = xp.mean(units, axis=-1, keepdims=True)
    return stimuli * units / xp.where(mean > 0, mean, xp.ones_like(mean))


def weighed(v: Any, values: Any, mean: Any, axis: int) -> Any:
    """Return the mean of v times values over an axis, along which `mean` is that of values alone.

    A variance that is the same along it has an axis of 1 and is taken out of the mean.
    """
    xp = array_namespace(values)
    if v.shape[axis] == 1:
        return xp.squeeze(v, axis=axis) * mean
    return xp.mean(v * values, axis=axis)


def crossed(v: Any, values: Any) -> Any:
    """Return the sum over columns of v, in one row, times values, in another: (..., row, row)."""
    if v.shape[-1] == 1:
        return v * array_namespace(values).sum(values, axis=-1)[..., None, :]
    return v @ transposed(values)


class Spread(NamedTuple):
    """How rows, such as stimuli, spread over the columns, such as units.

    Parameters
    ----------
    gram : array (..., row, row)
        G = X X^T / columns, without the noise.
    trace, squares : array (...)
        tr(G), and the sum of the squares of G.
    trace_squared : array (...)
        tr(G)^2, which is not the square of a noisy `trace`.
    measured_trace, measured_squares : array (...)
        The first two with the noise.
    energy : array (..., column)
        The sum of squares of each column.
    energy_noise : array (..., column)
        The variance that noise gives to `energy`.
    """

    gram: Any
    trace: Any
    squares: Any
    trace_squared: Any
    measured_trace: Any
    measured_squares: Any
    energy: Any
    energy_noise: Any


def spread(x: Any, v: Any, *, centred: bool) -> Spread:
    """Return the Gram matrix of rows and its moments, without noise.

    Parameters
    ----------
    x : array (..., row, column)
        Noisy values, centred over rows if `centred`.
    v : array (..., row, column)
        Variance of the noise before it was centred; axes along which it is the same may be of 1.
    centred : bool
        Whether the mean over rows was taken off, and a part of the noise with it.

    Notes
    -----
    A column x = s + e has noise of the covariance N = H diag(v) H, H = 1 - 1/rows or 1. Then |x|^2
    is |s|^2 + tr N on average, with the variance 4 s^T N s + 2 |N|^2, and the elements of x x^T
    have variances of 2 |s|^2 tr N + 2 s^T N s + (tr N)^2 + |N|^2 together, all for normal noise.
    The unknown s^T N s is x^T N x - |N|^2 on average.
    """
    xp = array_namespace(x)
    rows, columns = x.shape[-2:]
    total = rows * xp.mean(v, axis=-2)
    twice = rows * xp.mean(v * v, axis=-2)
    square = x * x
    mean_square = xp.mean(square, axis=-2)
    size = rows * mean_square
    weighted = rows * weighed(v, square, mean_square, -2)
    lost = (xp.mean(v, axis=-1))[..., None] * xp.eye(rows, dtype=x.dtype, device=x.device)
    if centred:
        lost = lost - xp.mean(lost, axis=-1, keepdims=True)
        lost = lost - xp.mean(lost, axis=-2, keepdims=True)
        twice = (1 - 2 / rows) * twice + (total / rows) ** 2
        total = (1 - 1 / rows) * total
    measured = x @ transposed(x) / columns
    gram = measured - lost
    energy_noise = 4 * weighted - 2 * twice
    off_squares = 2 * size * total + 2 * weighted - total * total - twice
    squares = xp.sum(gram * gram, axis=(-2, -1))
    trace = xp.mean(size - total, axis=-1)
    return Spread(
        gram=gram,
        trace=trace,
        squares=squares - xp.sum(off_squares, axis=-1) / columns**2,
        trace_squared=trace * trace - xp.sum(energy_noise, axis=-1) / columns**2,
        measured_trace=xp.mean(size, axis=-1),
        measured_squares=xp.sum(measured * measured, axis=(-2, -1)),
        energy=size - total,
        energy_noise=energy_noise,
    )


def participation(found: Spread, most: int) -> Any:
    """Return tr(G)^2 / tr(G^2), from 1 to `most`; 0 where nothing is seen."""
    value = ratio(found.trace_squared, found.squares, found.measured_squares)
    xp = array_namespace(value)
    return xp.where(value == 0, value, clipped(value, 1, max(most, 1)))


def variation(energy: Any, noise: Any, measured: Any) -> Any:
    """Return the coefficient of variation over the last axis, of energies without noise.

    Parameters
    ----------
    energy, noise : array (..., column)
        And the variance that noise gives each.
    measured : array (...)
        Their mean with the noise; where 25% of it or less is signal, 0 is returned.
    """
    xp = array_namespace(energy)
    mean = xp.mean(energy, axis=-1)
    centred = energy - mean[..., None]
    variance = xp.mean(centred * centred, axis=-1) - xp.mean(noise, axis=-1)
    seen = mean > LEAST_SHARE * measured
    found = root(variance) / xp.where(seen, mean, xp.ones_like(mean))
    return xp.where(seen, found, xp.zeros_like(found))


def correlation(
    x: np.ndarray, y: np.ndarray, *, noise_x: np.ndarray, noise_y: np.ndarray, shared: np.ndarray
) -> np.ndarray:
    """Return the correlation of x and y over the last axis, without noise.

    Parameters
    ----------
    x, y : array (..., column)
    noise_x, noise_y, shared : array (..., column)
        The variances and the covariance that noise gives to x and y.
    """
    (x, raw_x), (y, raw_y) = deviations(x), deviations(y)
    both = (x * y).mean(axis=-1) - shared.mean(axis=-1)
    return cosine(both, raw_x - noise_x.mean(axis=-1), raw_y - noise_y.mean(axis=-1), raw_x, raw_y)


def cosine(
    product: np.ndarray, xx: np.ndarray, yy: np.ndarray, raw_xx: np.ndarray, raw_yy: np.ndarray
) -> np.ndarray:
    """Return product / sqrt(xx yy), from -1 to 1; 0 where either is not seen in its raw square."""
    seen = (xx > LEAST_SIGNAL * raw_xx) & (yy > LEAST_SIGNAL * raw_yy)
    # Roots before the product, which may be too small or too large for a number.
    both = np.sqrt(np.where(seen, xx, 1)) * np.sqrt(np.where(seen, yy, 1))
    return np.where(seen, np.clip(product / both, -1, 1), 0)


def first_and_previous(
    vectors: np.ndarray,
    squares: np.ndarray,
    measured: np.ndarray,
    places: Sequence[int],
    *,
    over: int = 1,
) -> np.ndarray:
    """Return the cosines (..., session, 2) of vectors with the first session's and the previous.

    Parameters
    ----------
    vectors : array (..., session, component)
        Without noise between sessions.
    squares, measured : array (..., session)
        Their squares, without noise and with it.
    places : sequence of int
        The sessions that are taken; the first is its own previous one.
    over : int
        By what the sums over components are divided in the squares.
    """
    at = np.asarray(places)
    before = np.maximum(np.arange(len(at)) - 1, 0)
    x, own, raw = vectors[..., at, :], squares[..., at], measured[..., at]
    with_first = np.vecdot(x, x[..., :1, :]) / over
    with_previous = np.vecdot(x, x[..., before, :]) / over
    with_first[..., 0] = with_previous[..., 0] = own[..., 0]
    return np.stack(
        [
            cosine(with_first, own, own[..., :1], raw, raw[..., :1]),
            cosine(with_previous, own, own[..., before], raw, raw[..., before]),
        ],
        axis=-1,
    )


def root_mean_square(values: Any, noise: Any, axes: tuple[int, ...]) -> Any:
    """Return the root mean square over axes without the noise; with it, where no more is seen."""
    xp = array_namespace(values)
    wide, v = xp.astype(values, xp.float64), xp.astype(noise, xp.float64)
    measured = xp.mean(wide * wide, axis=axes)
    signal = measured - xp.mean(v, axis=axes)
    found = xp.sqrt(xp.where(signal > LEAST_SIGNAL * measured, signal, measured))
    return xp.astype(found, values.dtype)
