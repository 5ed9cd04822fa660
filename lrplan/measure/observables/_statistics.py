"""The seven statistics of three functions that weights and activations share."""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import array_namespace

from lrplan.measure.observables import Observable

FUNCTIONS = {"raw": 1, "abs": 1, "sq": 2}
STATISTICS = {
    "norm": 1,
    "mean": 1,
    "var": 2,
    "skew": 0,
    "kurtosis": 0,
    "median": 1,
    "thirdquartile": 1,
}
QUANTILES = (0.5, 0.75)
BLOCK_VALUES = 65_536
"""Values per block of rows: two blocks of float32 fit a core's second-level cache."""


def observables(family: str, noun: str) -> tuple[Observable, ...]:
    """Name the 21 observables of a family, in the order that `statistics` returns."""
    words = {"raw": noun, "abs": f"absolute {noun}", "sq": f"squared {noun}"}
    return tuple(
        Observable(f"{family}_{f}_{s}", power * degree, f"{s} of the {words[f]} over units")
        for f, power in FUNCTIONS.items()
        for s, degree in STATISTICS.items()
    )


def statistics(values: Any) -> Any:
    """Take 7 statistics of 3 functions over the last axis.

    Parameters
    ----------
    values : array (..., unit)
        Numpy array or torch tensor of floating point numbers.

    Returns
    -------
    array (..., 21)
        For raw, abs and sq in turn: norm (L2 over the square root of the number of values, so
        that recordings of different size compare), mean, var, skew = 3 (mean - median) / sd,
        kurtosis = m4 / var^2, median, third quartile. Where the variance is 0, skew and
        kurtosis are 0. Numpy rows that hold NaN have NaN for all.

    Notes
    -----
    Functions and statistics: Nayebi et al. (2020), section 3. Two sorts serve all three
    functions, since squaring keeps the order of absolute values. Numpy arrays, of which
    forecasts take billions, go through the cache in blocks; the tensors of a training network
    stay on their device.
    """
    if isinstance(values, np.ndarray):
        # What overflows is not finite, and is left out by those who read it.
        with np.errstate(over="ignore", invalid="ignore"):
            return _blockwise(values)
    xp = array_namespace(values)
    absolute = xp.abs(values)
    sorted_raw = xp.sort(values, axis=-1)
    sorted_abs = xp.sort(absolute, axis=-1)
    n = values.shape[-1]
    out = []
    for transformed, ordered in (
        (values, sorted_raw),
        (absolute, sorted_abs),
        (values * values, sorted_abs * sorted_abs),
    ):
        mean = xp.mean(transformed, axis=-1)
        squares = (transformed - mean[..., None]) ** 2
        picked = [_quantile([ordered[..., k] for k in _ranks(n, q)], n, q) for q in QUANTILES]
        out += _seven(
            xp,
            xp.sqrt(xp.mean(transformed * transformed, axis=-1)),
            mean,
            xp.mean(squares, axis=-1),
            xp.mean(squares * squares, axis=-1),
            *picked,
        )
    return xp.stack(out, axis=-1)


def _seven(
    xp: Any, norm: Any, mean: Any, var: Any, fourth: Any, median: Any, quartile: Any
) -> list[Any]:
    """Return the 7 statistics from moments and quantiles."""
    one, zero = xp.ones_like(var), xp.zeros_like(var)
    still = var <= 0
    squared = var * var
    flat = squared <= 0
    skew = 3 * (mean - median) / xp.sqrt(xp.where(still, one, var))
    kurtosis = fourth / xp.where(flat, one, squared)
    return [
        norm,
        mean,
        var,
        xp.where(still, zero, skew),
        xp.where(flat, zero, kurtosis),
        median,
        quartile,
    ]


def _ranks(n: int, q: float) -> tuple[int, int]:
    """Return the places of the order statistics around a quantile."""
    low = int(q * (n - 1))
    return low, min(low + 1, n - 1)


def _quantile(around: Any, n: int, q: float) -> Any:
    """Interpolate linearly between order statistics, as numpy.quantile does by default."""
    part = q * (n - 1) - int(q * (n - 1))
    return around[0] * (1 - part) + around[1] * part


def _blockwise(values: np.ndarray) -> np.ndarray:
    """Take the 21 statistics of a numpy array, block by block of rows."""
    n = values.shape[-1]
    rows = values.reshape(-1, n)
    count = len(rows)
    step = max(1, BLOCK_VALUES // n)
    ordered = np.empty((min(step, count), n), dtype=values.dtype)
    work = np.empty_like(ordered)
    ones = np.ones(n, dtype=values.dtype)
    # norm, mean, var, fourth of each function; order statistics of raw and of abs
    moments = np.empty((len(FUNCTIONS), 4, count), dtype=values.dtype)
    ranks = [k for q in QUANTILES for k in _ranks(n, q)]
    picked = np.empty((2, count, len(ranks)), dtype=values.dtype)
    for start in range(0, count, step):
        here = slice(start, min(start + step, count))
        x, spare = ordered[: here.stop - start], work[: here.stop - start]
        x[...] = rows[here]
        x.sort(axis=-1)
        _moments(x, ones, spare, moments[0, :, here])
        picked[0, here] = x[:, ranks]
        if (x[:, 0] < 0).any():
            np.abs(x, out=x)
            x.sort(axis=-1)
            _moments(x, ones, spare, moments[1, :, here])
            picked[1, here] = x[:, ranks]
        else:
            # Nothing is negative: these are their own absolute values.
            moments[1, :, here] = moments[0, :, here]
            picked[1, here] = picked[0, here]
        x *= x
        _moments(x, ones, spare, moments[2, :, here])
    order = np.stack((picked[0], picked[1], picked[1] ** 2))  # function, row, rank
    around = np.moveaxis(order.reshape(*order.shape[:2], len(QUANTILES), 2), (2, 3), (0, 1))
    quantiles = [_quantile(a, n, q) for a, q in zip(around, QUANTILES, strict=True)]
    # All functions at once: most calls here would be about a few numbers.
    found = np.stack(_seven(np, *np.moveaxis(moments, 1, 0), *quantiles), axis=-1)
    stacked = np.moveaxis(found, 0, 1).reshape(count, -1)
    # Sorting puts NaN last, where the quantiles do not see it.
    stacked[np.isnan(moments[0, 1])] = np.nan
    return stacked.reshape(*values.shape[:-1], stacked.shape[1])


def _moments(x: np.ndarray, ones: np.ndarray, spare: np.ndarray, out: np.ndarray) -> None:
    """Put norm, mean, variance and fourth central moment of sorted rows into `out` (4, row).

    Central moments come from centred values: power sums would lose the digits of a small
    variance under a large mean.
    """
    n = x.shape[-1]
    mean = np.vecdot(x, ones) / n
    # The mean of equal values is that value, without the error of summing them.
    np.copyto(mean, x[:, 0], where=x[:, 0] == x[:, -1])
    np.sqrt(np.vecdot(x, x) / n, out=out[0])
    out[1] = mean
    np.subtract(x, mean[:, None], out=spare)
    out[2] = np.vecdot(spare, spare) / n
    np.multiply(spare, spare, out=spare)
    out[3] = np.vecdot(spare, spare) / n


def root_mean_square_of_stored(observed: Any, outputs: Any, inputs: Any) -> Any:
    """Return the root mean square from the 21 statistics: that of sq_mean is exact."""
    return observed[..., len(STATISTICS) * 2 + list(STATISTICS).index("mean")] ** 0.5


def root_mean_square(values: Any, axes: tuple[int, ...]) -> Any:
    """Return the root mean square over `axes`."""
    xp = array_namespace(values)
    return xp.sqrt(xp.mean(values * values, axis=axes))
