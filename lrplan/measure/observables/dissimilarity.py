"""How the dissimilarities between stimuli change over sessions, whichever units are recorded.

d(t) holds, for each pair of stimuli, the mean over units of the squared difference of responses,
less the variance of its noise, which is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lrplan.measure.observables import Family, Needs, Observable, families
from lrplan.measure.observables._noise import (
    crossed,
    first_and_previous,
    root_mean_square,
    smoothed,
)

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
    a, v = values.astype(np.float64), smoothed(noise.astype(np.float64))
    stimuli, units = a.shape[-2:]
    v = np.broadcast_to(v, (*v.shape[:-2], stimuli, v.shape[-1]))
    one, two = np.triu_indices(stimuli, 1)
    squares = a * a
    turned = np.swapaxes(a, -1, -2)
    mean_square = squares.mean(axis=-1)
    lost = v.mean(axis=-1)
    product = (a @ turned / units)[..., one, two]
    found = mean_square[..., one] + mean_square[..., two] - 2 * product
    of_one = crossed(v, squares)
    own = np.diagonal(of_one, axis1=-2, axis2=-1)
    mixed = (v * a) @ turned
    # sum over units of (v1 + v2) (a1 - a2)^2 and of (v1 + v2)^2.
    weighted = (
        (own[..., one] + own[..., two])
        + (of_one[..., one, two] + of_one[..., two, one])
        - 2 * (mixed[..., one, two] + mixed[..., two, one])
    )
    both = (v @ np.swapaxes(v, -1, -2)) * (units / v.shape[-1])
    twice = both[..., one, one] + both[..., two, two] + 2 * both[..., one, two]
    spurious = (4 * weighted - 2 * twice) / units**2
    d = found - lost[..., one] - lost[..., two]
    centred = d - d.mean(axis=-1, keepdims=True)
    measured = (centred * centred).mean(axis=-1)
    # Differences of sums leave rounding where all distances are equal.
    still = measured <= (1e-12 * found.mean(axis=-1)) ** 2
    measured = np.where(still, 0, measured)
    return Distances(centred, measured - spurious.mean(axis=-1), measured)


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
        scale=lambda values, noise: root_mean_square(values, noise, (-2, -1)),
        cites="Diedrichsen et al., Neurons, Behavior, Data Analysis, and Theory 2021",
        needs=Needs(trajectory=True, sessions=2, stimuli=3, units=2, noise=True),
        summarise=summarise,
        of_summary=of_summary,
    ),
)
