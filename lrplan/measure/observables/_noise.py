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

ROUNDING, ROUNDING_SINGLE = 1e-12, 1e-6
"""What equal numbers may differ by, as a share of them, since their mean is rounded.

In double and in single precision.
"""


def namespace(values: Any) -> Any:
    """Return the array API's functions for values, without a search where they are numpy's."""
    return np if isinstance(values, np.ndarray | np.generic) else array_namespace(values)


def average(values: Any, axis: int = -1, *, keepdims: bool = False) -> Any:
    """Return the mean over an axis; numpy's own takes three times as long on few numbers."""
    if isinstance(values, np.ndarray):
        total: Any = values.sum(axis=axis, keepdims=keepdims)
        return total / values.shape[axis]
    return namespace(values).mean(values, axis=axis, keepdims=keepdims)


def rounding(values: Any) -> float:
    """Return what equal numbers of these values' precision may differ by, as a share of them."""
    return ROUNDING if values.dtype == namespace(values).float64 else ROUNDING_SINGLE


def deviations(values: Any) -> tuple[Any, Any]:
    """Return values less their mean over the last axis, and the mean square of that.

    Equal values have a mean square of 0, not that of rounding.
    """
    xp = namespace(values)
    n = values.shape[-1]
    out = values - average(values, axis=-1, keepdims=True)
    square = xp.vecdot(out, out) / n
    least = rounding(values) ** 2 / n * xp.vecdot(values, values)
    return out, xp.where(square > least, square, 0.0)


def ratio(over: Any, under: Any, measured: Any) -> Any:
    """Return `over` / `under`, and 0 where `under` is no more than 1% of what was `measured`.

    `under` is `measured` less the noise: so little may be noise alone.
    """
    xp = namespace(under)
    seen = under > LEAST_SIGNAL * measured
    return xp.where(seen, over / xp.where(seen, under, 1.0), 0.0)


def root(squares: Any) -> Any:
    """Return the square root, of what noise made negative 0."""
    xp = namespace(squares)
    return xp.sqrt(xp.where(squares > 0, squares, 0.0))


def clipped(values: Any, low: float, high: float) -> Any:
    """Return values within the range that what they estimate can have."""
    if isinstance(values, np.ndarray):
        return np.minimum(np.maximum(values, low), high)
    return namespace(values).clip(values, low, high)


def transposed(values: Any) -> Any:
    """Swap the last two axes."""
    return namespace(values).matrix_transpose(values)


def weighed(v: Any, values: Any, mean: Any, axis: int) -> Any:
    """Return the mean of v times values over an axis, along which `mean` is that of values alone.

    A variance that is the same along it has an axis of 1 and is taken out of the mean.
    """
    xp = namespace(values)
    if v.shape[axis] == 1:
        return xp.squeeze(v, axis=axis) * mean
    return xp.mean(v * values, axis=axis)


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
    energy_noise : array (...)
        The variance that noise gives to the sum of squares of a column, mean over columns.
    """

    gram: Any
    trace: Any
    squares: Any
    trace_squared: Any
    measured_trace: Any
    measured_squares: Any
    energy_noise: Any


def spread(x: Any, v: Any) -> Spread:
    """Return the Gram matrix of rows and its moments, without noise.

    Parameters
    ----------
    x : array (..., row, column)
        Noisy values.
    v : array (..., row, column)
        Variance of the noise; axes along which it is the same may be of 1.
    """
    xp = namespace(x)
    square = x * x
    return spread_of(
        x @ transposed(x) / x.shape[-1],
        average(square, axis=-2),
        weighted=xp.mean(v * square, axis=(-2, -1)),
        rows=average(v, axis=-1),
        columns=average(v, axis=-2),
        squares=xp.mean(v * v, axis=(-2, -1)),
        centred=False,
    )


def spread_of(
    measured: Any,
    mean_square: Any,
    *,
    weighted: Any,
    rows: Any,
    columns: Any,
    squares: Any,
    centred: bool,
) -> Spread:
    """Return the moments of a Gram matrix, without noise, from those of noisy x.

    Parameters
    ----------
    measured : array (..., row, row)
        x x^T / columns.
    mean_square : array (..., column)
        Mean of x^2 over rows.
    weighted, squares : array (...)
        Means of v x^2 and of v^2 over rows and columns; v is the variance of the noise, before x
        was centred.
    rows : array (..., row or 1)
        Mean of v over columns.
    columns : array (..., column or 1)
        Mean of v over rows.
    centred : bool
        Whether the mean over rows was taken off x, and a part of the noise with it.

    Notes
    -----
    A column x = s + e has noise of the covariance N = H diag(v) H, H = 1 - 1/rows or 1. Then |x|^2
    is |s|^2 + tr N on average, with the variance 4 s^T N s + 2 |N|^2, and the elements of x x^T
    have variances of 2 |s|^2 tr N + 2 s^T N s + (tr N)^2 + |N|^2 together, all for normal noise.
    The unknown s^T N s is x^T N x - |N|^2 on average. Of all these the mean over columns is taken.
    """
    xp = namespace(measured)
    number, width = measured.shape[-1], mean_square.shape[-1]
    size = number * average(mean_square, axis=-1)
    mean_column, square_column = average(columns, axis=-1), average(columns * columns, axis=-1)
    # Means of tr N, (tr N)^2, |x|^2 tr N and |N|^2 over columns.
    h = 1 - 1 / number if centred else 1.0
    total, total_squared = h * number * mean_column, (h * number) ** 2 * square_column
    crossed = h * number**2 * mean_product(mean_square, columns)
    twice = number * squares
    if centred:
        twice = (1 - 2 / number) * twice + square_column
    lost = rows[..., None] * xp.eye(number, dtype=measured.dtype, device=measured.device)
    if centred:
        lost = lost - average(lost, axis=-1, keepdims=True)
        lost = lost - average(lost, axis=-2, keepdims=True)
    gram = measured - lost
    energy_noise = 4 * number * weighted - 2 * twice
    off_squares = 2 * crossed + 2 * number * weighted - total_squared - twice
    trace = size - total
    return Spread(
        gram=gram,
        trace=trace,
        squares=xp.sum(gram * gram, axis=(-2, -1)) - off_squares / width,
        trace_squared=trace * trace - energy_noise / width,
        measured_trace=size,
        measured_squares=xp.sum(measured * measured, axis=(-2, -1)),
        energy_noise=energy_noise,
    )


def mean_product(values: Any, weights: Any) -> Any:
    """Return the mean over the last axis of values times weights, which may have one of 1 there."""
    xp = namespace(values)
    if weights.shape[-1] == 1:
        return average(values, axis=-1) * weights[..., 0]
    return xp.vecdot(values, weights) / values.shape[-1]


def participation(found: Spread, most: int) -> Any:
    """Return tr(G)^2 / tr(G^2), from 1 to `most`; 0 where nothing is seen."""
    value = ratio(found.trace_squared, found.squares, found.measured_squares)
    xp = namespace(value)
    return xp.where(value == 0, value, clipped(value, 1, max(most, 1)))


def variation(energy: Any, noise: Any, measured: Any) -> Any:
    """Return the coefficient of variation over the last axis, of energies without noise.

    Parameters
    ----------
    energy : array (..., column)
        Without noise.
    noise : array (...)
        The variance that noise gives each, mean over columns.
    measured : array (...)
        Their mean with the noise; where 25% of it or less is signal, 0 is returned.
    """
    xp = namespace(energy)
    mean = average(energy, axis=-1)
    centred = energy - mean[..., None]
    variance = xp.vecdot(centred, centred) / energy.shape[-1] - noise
    seen = mean > LEAST_SHARE * measured
    found = root(variance) / xp.where(seen, mean, 1.0)
    return xp.where(seen, found, 0.0)


def correlation(
    x: np.ndarray, y: np.ndarray, *, noise_x: np.ndarray, noise_y: np.ndarray, shared: np.ndarray
) -> np.ndarray:
    """Return the correlation of x and y over the last axis, without noise.

    Parameters
    ----------
    x, y : array (..., column)
    noise_x, noise_y, shared : array (...)
        The variances and the covariance that noise gives to x and y, means over columns.
    """
    (x, raw_x), (y, raw_y) = deviations(x), deviations(y)
    both = np.vecdot(x, y) / x.shape[-1] - shared
    return cosine(both, raw_x - noise_x, raw_y - noise_y, raw_x, raw_y)


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
