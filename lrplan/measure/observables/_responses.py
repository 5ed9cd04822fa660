"""What the families of activity share: moments of responses to stimuli, taken once.

Responses a are (stimulus k, unit u), K stimuli, U units; mu is their mean over stimuli and
c = a - mu. Everything that the families need of a session is in mu, in the Gram matrix of c and in
weighted sums of c and its squares, so that a recording is gone through a few times for all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from array_api_compat import array_namespace

from lrplan.measure.observables._noise import (
    average,
    namespace,
    root_mean_square,
    rounding,
    spread_of,
    transposed,
)

SMALL = 1e-30
"""Mean squares below this have lost digits in single precision."""


class Term(NamedTuple):
    """Variances p_k q_u: one part of each stimulus and one of each unit.

    Parameters
    ----------
    stimuli : array (..., stimulus or 1)
    units : array (..., unit or 1)
        Of 1 where it is the same for all.
    """

    stimuli: Any
    units: Any


class Noise:
    """The variance of the noise of each response, as a sum of `Term`s.

    Parameters
    ----------
    terms : sequence of Term
        With the same leading axes as the responses, or such as broadcast to them.

    Attributes
    ----------
    over_stimuli : array (..., unit or 1)
    over_units : array (..., stimulus or 1)
        Means over stimuli, and over units.
    squares : array (...)
        Mean of the square over both.
    """

    def __init__(self, terms: Sequence[Term]) -> None:
        self.terms = list(terms)
        self.over_stimuli = _total([_mean(p) * q for p, q in self.terms])
        self.over_units = _total([p * _mean(q) for p, q in self.terms])
        pairs = [(p * r, q * s) for p, q in self.terms for r, s in self.terms]
        self.squares = _total([_mean(k) * _mean(u) for k, u in pairs])[..., 0]

    @classmethod
    def of(cls, v: Any) -> Noise:
        """Make variances (..., stimulus or 1, unit or 1) smooth: a product of their two means.

        Their means over units and over stimuli, which is all that second moments need, stay. Single
        variances, which are estimated from few trials or from the response itself and whose squares
        and products with responses enter moments of the fourth order, become far less noisy.
        """
        xp = namespace(v)
        if v.shape[-1] == 1:
            return cls([Term(v[..., 0], xp.ones_like(v[..., 0, :]))])
        if v.shape[-2] == 1:
            return cls([Term(xp.ones_like(v[..., 0]), v[..., 0, :])])
        stimuli, units = average(v, axis=-1), average(v, axis=-2)
        mean = average(units, axis=-1, keepdims=True)
        return cls([Term(stimuli, units / xp.where(mean > 0, mean, 1.0))])

    def since_first(self, sessions: int) -> Noise:
        """Return that of changes since the first session: 0 in the first (numpy arrays only)."""
        later = (np.arange(sessions) > 0)[:, None]
        (p, q) = self.terms[0]
        p0, q0 = p[..., :1, :], q[..., :1, :]
        if p.shape[-1] == q.shape[-1] == 1:
            return Noise([Term((p * q + p0 * q0) * later, np.ones_like(q0))])
        return Noise([Term(p * later, q), Term(p0 * later, q0)])

    def weigh_stimuli(self, values: Any, mean: Any) -> Any:
        """Return the mean over stimuli of variance times values, (..., unit).

        Parameters
        ----------
        values : array (..., stimulus, unit)
        mean : array (..., unit)
            Their mean over stimuli.
        """
        return _total(
            [q * (p * mean if p.shape[-1] == 1 else over_rows(values, p)) for p, q in self.terms]
        )


def over_rows(values: Any, weights: Any = None) -> Any:
    """Return the mean over stimuli of values (..., stimulus, unit), each with a weight if given."""
    xp = namespace(values)
    rows = values.shape[-2]
    if weights is None:
        weights = xp.ones((rows,), dtype=values.dtype, device=values.device)
    return (weights[..., None, :] @ values)[..., 0, :] / rows


def over_columns(values: Any, weights: Any = None) -> Any:
    """Return the mean over units of values (..., stimulus, unit), each with a weight if given."""
    xp = namespace(values)
    columns = values.shape[-1]
    if weights is None or weights.shape[-1] == 1:
        ones = xp.ones((columns,), dtype=values.dtype, device=values.device)
        mean = (values @ ones) / columns
        return mean if weights is None else weights * mean
    return (values @ weights[..., None])[..., 0] / columns


class Moments:
    """Moments of values (..., stimulus, unit) that were centred over stimuli.

    Parameters
    ----------
    mean : array (..., unit)
        mu, their mean over stimuli.
    centred : array (..., stimulus, unit)
        c, what they differ from it.
    noise : Noise
        The variance v of each value's noise.
    level : array (...)
        The mean square of the numbers that c is a difference of.

    Attributes
    ----------
    gram : array (..., stimulus, stimulus)
        c c^T / U, with the noise.
    tuned, tuned_noise, centred_noise : array (..., unit)
        Means over stimuli of c^2, v c^2 and v c; the last may have an axis of 1.
    spread : Spread
        How stimuli spread over units, without the noise.
    """

    def __init__(self, mean: Any, centred: Any, noise: Noise, level: Any) -> None:
        self.mean, self.centred, self.noise = mean, centred, noise
        self.stimuli, self.units = centred.shape[-2:]
        xp = namespace(centred)
        squares = centred * centred
        tuned = over_rows(squares)
        # What does not differ between stimuli leaves rounding.
        seen = (average(tuned) > rounding(tuned) ** 2 * level)[..., None]
        self.tuned = xp.where(seen, tuned, 0.0)
        self.gram = xp.where(seen[..., None], centred @ transposed(centred) / self.units, 0.0)
        self.tuned_noise = noise.weigh_stimuli(squares, self.tuned)
        self.centred_noise = noise.weigh_stimuli(centred, 0 * mean[..., :1])
        self.spread = spread_of(
            self.gram,
            self.tuned,
            weighted=average(self.tuned_noise),
            rows=noise.over_units,
            columns=noise.over_stimuli,
            squares=noise.squares,
            centred=True,
        )

    @property
    def whole(self) -> Any:
        """The mean over stimuli of the squares of values, (..., unit)."""
        return self.tuned + self.mean * self.mean


class Responses(Moments):
    """Responses (..., [session,] stimulus, unit) and their moments.

    Parameters
    ----------
    values : array (..., stimulus, unit)
        Responses.
    noise : array (..., stimulus or 1, unit or 1)
        The variance of the noise of each.

    Attributes
    ----------
    values, variance : array
        The same in units of `unit`, in which responses are near 1: what is small beside them is not
        lost in single precision.
    unit : array (..., 1, 1, 1) of float64
        A power of 2, so that no digit changes.
    row_means, row_squares : array (..., stimulus)
        Means over units of responses and of their squares.
    dtype : dtype
        In which observables are returned, and moments are taken.
    """

    def __init__(self, values: Any, noise: Any) -> None:
        xp = array_namespace(values)
        self.dtype = values.dtype
        self.unit = _unit(values)
        self.values = values * xp.astype(1 / self.unit, self.dtype)
        self.variance = xp.astype(noise / self.unit**2, self.dtype)
        mean = over_rows(self.values)
        self.row_means = over_columns(self.values)
        self.row_squares = xp.vecdot(self.values, self.values) / values.shape[-1]
        super().__init__(
            mean,
            self.values - mean[..., None, :],
            Noise.of(self.variance),
            average(self.row_squares),
        )

    def change(self) -> Moments:
        """Return the moments of changes since the first session."""
        mean = self.mean - self.mean[..., :1, :]
        centred = self.centred - self.centred[..., :1, :, :]
        noise = self.noise.since_first(self.mean.shape[-2])
        return Moments(mean, centred, noise, average(self.row_squares))

    def in_units(self, observed: Any, degrees: Sequence[int]) -> Any:
        """Return observables (..., observable), of degrees in the unit, as those of the responses.

        For one session or all; a number stands for all observables.
        """
        powers = [self.unit[..., 0] ** d for d in degrees]
        return observed * namespace(self.unit).concat(powers, axis=-1)


def _unit(values: Any) -> Any:
    """Return a power of 2 near the root mean square of values (..., [session,] stimulus, unit)."""
    xp = array_namespace(values)
    square = _mean_square(values)
    if bool(xp.any(~xp.isfinite(square) | (square < SMALL))):
        # Squares of such values are no numbers of single precision.
        square = _mean_square(xp.astype(values, xp.float64))
    square = xp.astype(square[..., None], xp.float64)
    found = xp.isfinite(square) & (square > 0)
    return 2.0 ** xp.round(xp.log2(xp.where(found, square, 1.0)) / 2)


def _mean_square(values: Any) -> Any:
    """Return the mean of squares over the last three axes, (..., 1, 1)."""
    out = array_namespace(values).vecdot(values, values) / values.shape[-1]
    for axis in range(-1, -min(values.ndim, 3), -1):
        out = average(out, axis=axis, keepdims=True)
    return out


def scale(values: Any, noise: Any) -> Any:
    """Return the root mean square of responses (..., stimulus, unit), without the noise."""
    return root_mean_square(values, noise, (-2, -1))


def _mean(values: Any) -> Any:
    return average(values, keepdims=True)


def _total(parts: Sequence[Any]) -> Any:
    out = parts[0]
    for part in parts[1:]:
        out = out + part
    return out
