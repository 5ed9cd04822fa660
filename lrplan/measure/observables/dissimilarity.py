"""How the dissimilarities between stimuli change over sessions, whichever units are recorded.

d(t) holds, for each pair of stimuli, the mean over units of the squared difference of responses,
less the variance of its noise, which is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lrplan.measure.observables import Family, Needs, Observable, families
from lrplan.measure.observables._noise import average, first_and_previous, rounding, transposed
from lrplan.measure.observables._responses import Responses, scale

OBSERVABLES = (
    Observable("dissimilarity_first", 0, "correlation of dissimilarities with the first session's"),
    Observable(
        "dissimilarity_previous", 0, "correlation of dissimilarities with the previous session's"
    ),
)


class Distances(NamedTuple):
    """Dissimilarities of pairs of stimuli in each session.

    Parameters
    ----------
    centred : array (..., session, pair)
        Less their mean over pairs, without noise.
    squares, measured : array (..., session)
        Their mean squares without noise and with it.
    """

    centred: np.ndarray
    squares: np.ndarray
    measured: np.ndarray


def summarise(values: np.ndarray, noise: np.ndarray) -> Distances:
    """Return what `of_summary` needs of responses (..., session, stimulus, unit).

    Notes
    -----
    With w the noise of both stimuli, that of d has the variance sum_u (4 w diff^2 - 2 w^2) / U^2,
    estimated from noisy differences. That two pairs with a stimulus in common share a part of it,
    which their mean takes off, is left out: squares are a little too small at much noise.
    """
    return of_responses(Responses(values, noise))


def of_responses(found: Responses) -> Distances:
    """Return what `summarise` does."""
    one, two = np.triu_indices(found.stimuli, 1)
    [(p, q)] = found.noise.terms
    p = np.broadcast_to(p, (*p.shape[:-1], found.stimuli))
    between = _between(found.gram, one, two)
    if q.shape[-1] == 1:
        weighed = q * between
    else:
        c = found.centred
        weighed = _between((c * q[..., None, :]) @ transposed(c) / found.units, one, two)
    # Of both stimuli: the noise is p q, and w is both q.
    both = p[..., one] + p[..., two]
    mean, square = average(q, axis=-1, keepdims=True), average(q * q, axis=-1, keepdims=True)
    spurious = (4 * both * weighed - 2 * both * both * square) / found.units
    d = between - both * mean
    centred = d - average(d, axis=-1, keepdims=True)
    measured = average(centred * centred, axis=-1)
    # Differences of sums leave rounding where all distances are equal.
    still = measured <= (rounding(between) * average(between, axis=-1)) ** 2
    measured = np.where(still, 0, measured)
    return Distances(centred, measured - average(spurious, axis=-1), measured)


def _between(products: np.ndarray, one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """Return |x_i - x_j|^2 of pairs of rows from their products (..., row, row)."""
    own = np.diagonal(products, axis1=-2, axis2=-1)
    # In one order in memory, so that sums do not depend on what else is summed.
    return np.ascontiguousarray(own[..., one] + own[..., two] - 2 * products[..., one, two])


def of_summary(found: Distances, places: Sequence[int]) -> np.ndarray:
    """Return (..., session, 2) for sessions at some places.

    Notes
    -----
    Pearson correlation of the dissimilarities of a session with those of another (representational
    similarity analysis with unbiased distances, Diedrichsen et al. 2021): 1 for the same geometry,
    0 where all stimuli are equally far apart.
    """
    pairs = found.centred.shape[-1]
    return first_and_previous(found.centred, found.squares, found.measured, places, over=pairs)


def compute(values: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Return (..., session, 2) from responses (..., session, stimulus, unit)."""
    return of_summary(summarise(values, noise), range(values.shape[-3])).astype(values.dtype)


families.add(
    "dissimilarity",
    Family(
        name="dissimilarity",
        measure="activity",
        observables=OBSERVABLES,
        compute=compute,
        scale=scale,
        cites="Diedrichsen et al., Neurons, Behavior, Data Analysis, and Theory 2021",
        needs=Needs(trajectory=True, sessions=2, stimuli=3, units=2, noise=True),
        summarise=summarise,
        of_summary=of_summary,
        prepare=Responses,
        of_prepared=of_responses,
    ),
)
