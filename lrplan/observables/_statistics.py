"""The seven statistics of three functions that weights and activations share."""

from __future__ import annotations

from typing import Any

from array_api_compat import array_namespace

from lrplan.observables import Observable

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


def observables(family: str, noun: str) -> tuple[Observable, ...]:
    """Name the 21 observables of a family, in the order that `statistics` returns."""
    words = {"raw": noun, "abs": f"absolute {noun}", "sq": f"squared {noun}"}
    return tuple(
        Observable(f"{family}_{f}_{s}", power * degree, f"{s} of the {words[f]} over units")
        for f, power in FUNCTIONS.items()
        for s, degree in STATISTICS.items()
    )


def _quantile(xp: Any, ordered: Any, q: float) -> Any:
    """Interpolate linearly between order statistics, as numpy.quantile does by default."""
    place = q * (ordered.shape[-1] - 1)
    low = int(place)
    high = min(low + 1, ordered.shape[-1] - 1)
    part = place - low
    return ordered[..., low] * (1 - part) + ordered[..., high] * part


def statistics(values: Any) -> Any:
    """Take 7 statistics of 3 functions over the last axis.

    Parameters
    ----------
    values : array (..., unit)
        Numpy array or torch tensor; finite.

    Returns
    -------
    array (..., 21)
        For raw, abs and sq in turn: norm (L2 over the square root of the number of values, so
        that recordings of different size compare), mean, var, skew = 3 (mean - median) / sd,
        kurtosis = m4 / var^2, median, third quartile. Where the variance is 0, skew and
        kurtosis are 0.

    Notes
    -----
    Functions and statistics: Nayebi et al. (2020), section 3. Two sorts serve all three
    functions, since squaring keeps the order of absolute values.
    """
    xp = array_namespace(values)
    out = []
    absolute = xp.abs(values)
    sorted_raw = xp.sort(values, axis=-1)
    sorted_abs = xp.sort(absolute, axis=-1)
    for transformed, ordered in (
        (values, sorted_raw),
        (absolute, sorted_abs),
        (values * values, sorted_abs * sorted_abs),
    ):
        mean = xp.mean(transformed, axis=-1)
        centred = transformed - mean[..., None]
        squares = centred * centred
        var = xp.mean(squares, axis=-1)
        fourth = xp.mean(squares * squares, axis=-1)
        median = _quantile(xp, ordered, 0.5)
        still = var <= 0
        one = xp.ones_like(var)
        zero = xp.zeros_like(var)
        sd = xp.sqrt(xp.where(still, one, var))
        squared_var = var * var
        flat = squared_var <= 0
        out += [
            xp.sqrt(xp.mean(transformed * transformed, axis=-1)),
            mean,
            var,
            xp.where(still, zero, 3 * (mean - median) / sd),
            xp.where(flat, zero, fourth / xp.where(flat, one, squared_var)),
            median,
            _quantile(xp, ordered, 0.75),
        ]
    return xp.stack(out, axis=-1)


def root_mean_square(values: Any, axes: tuple[int, ...]) -> Any:
    """Return the root mean square over `axes`."""
    xp = array_namespace(values)
    return xp.sqrt(xp.mean(values * values, axis=axes))
