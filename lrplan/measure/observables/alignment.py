"""How the geometry of responses to stimuli changes over sessions, whichever units are recorded.

c is (session, stimulus k, unit u), responses centred over stimuli; G(t) = c c^T / units, less the
noise, whose variance is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lrplan.measure.observables import Family, Needs, Observable, families
from lrplan.measure.observables._noise import first_and_previous
from lrplan.measure.observables._responses import Responses, scale

OBSERVABLES = (
    Observable("alignment_first", 0, "linear CKA with the first session"),
    Observable("alignment_previous", 0, "linear CKA with the previous session"),
)


class Grams(NamedTuple):
    """Gram matrices of stimuli in each session.

    Parameters
    ----------
    grams : array (..., session, stimulus * stimulus)
        Without noise.
    squares, measured : array (..., session)
        The sums of their squares without noise and with it.
    """

    grams: np.ndarray
    squares: np.ndarray
    measured: np.ndarray


def summarise(values: np.ndarray, noise: np.ndarray) -> Grams:
    """Return what `of_summary` needs of responses (..., session, stimulus, unit)."""
    return of_responses(Responses(values, noise))


def of_responses(found: Responses) -> Grams:
    """Return what `summarise` does."""
    spread = found.spread
    flat = spread.gram.reshape(*spread.gram.shape[:-2], -1)
    return Grams(flat, spread.squares, spread.measured_squares)


def of_summary(found: Grams, places: Sequence[int]) -> np.ndarray:
    """Return (..., session, 2) for sessions at some places.

    Notes
    -----
    Linear CKA (Kornblith et al. 2019), <G(t), G(s)> / (|G(t)| |G(s)|): 1 for the same geometry, in
    the first session too. Products of different sessions hold no noise once it is off the
    diagonals; the norms are corrected to the fourth order. Of untracked units it stays below 1, by
    about the dimensions over the units, since other units are drawn (Murphy et al. 2024).
    """
    return first_and_previous(found.grams, found.squares, found.measured, places)


def compute(values: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Return (..., session, 2) from responses (..., session, stimulus, unit)."""
    return of_summary(summarise(values, noise), range(values.shape[-3])).astype(values.dtype)


families.add(
    "alignment",
    Family(
        name="alignment",
        measure="activity",
        observables=OBSERVABLES,
        compute=compute,
        scale=scale,
        cites="Kornblith et al., ICML 2019, arXiv 1905.00414",
        needs=Needs(trajectory=True, sessions=2, stimuli=2, units=2, noise=True),
        summarise=summarise,
        of_summary=of_summary,
        prepare=Responses,
        of_prepared=of_responses,
    ),
)
