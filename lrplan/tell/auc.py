"""Area under the curve: whether probabilities stand in the right order, whatever the threshold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from lrplan.tell.combine import Probabilities
from lrplan.tell.intervals import Bootstrap, Estimate


@dataclass(frozen=True)
class Auc:
    """The area under the curve of several rules (Hand and Till, Machine Learning 2001).

    A(a | b) is how often a recording of rule a is given a higher probability of a than one of rule
    b is, ties counting half; A(a, b) is the mean of A(a | b) and A(b | a), and `mean`, Hand and
    Till's M, that of all pairs. Chance is 0.5 whatever the number of rules. A classifier that
    puts recordings in order but whose thresholds do not fit has a high area and a low accuracy.

    Parameters
    ----------
    mean : float
        M; NaN where two rules could not be compared.
    pairs : array (rule, rule)
        A(a, b); NaN on the diagonal.
    influence : array (recording,)
        What a recording that is drawn once more adds to `mean`, to first order.
    """

    mean: float
    pairs: np.ndarray
    influence: np.ndarray

    @classmethod
    def of(cls, p: Probabilities) -> Auc:
        """Return the area of some probabilities.

        Parameters
        ----------
        p : Probabilities
            With the true labels. Rows of NaN were not predicted and do not count. Only recordings
            that one classifier judged are compared with each other.
        """
        rules, told, values, folds = p.rules, p.told, p.values, p.folds
        judged = np.isfinite(values).all(axis=1)
        parts = [judged & (folds == fold) for fold in np.unique(folds[judged])]
        ordered = np.full((len(rules), len(rules)), np.nan)
        influence = np.zeros(len(told))
        number = len(rules) * (len(rules) - 1)
        for a, b in permutations(range(len(rules)), 2):
            sides = [
                (
                    np.flatnonzero(rows & (told == rules[a])),
                    np.flatnonzero(rows & (told == rules[b])),
                )
                for rows in parts
            ]
            compared = sum(len(own) * len(other) for own, other in sides)
            if not compared:
                continue
            scores = values[:, a]
            won = [_won(scores[own], scores[other]) for own, other in sides]
            ordered[a, b] = sum(of_own.sum() for of_own, _ in won) / compared
            for (own, other), (of_own, of_other) in zip(sides, won, strict=True):
                share = 1 / (compared * number)
                influence[own] += (of_own - ordered[a, b] * len(other)) * share
                influence[other] += (of_other - ordered[a, b] * len(own)) * share
        pairs = (ordered + ordered.T) / 2
        return cls(float(pairs[~np.eye(len(rules), dtype=bool)].mean()), pairs, influence)


def auc_estimate(
    rounds: Sequence[Probabilities], bootstrap: Bootstrap
) -> tuple[Estimate, np.ndarray]:
    """Return the area over rounds with its distribution over organisms, and that of each pair.

    Parameters
    ----------
    rounds : sequence of Probabilities
        Other draws of units, noise and folds of the same recordings.
    bootstrap : Bootstrap
        Over the same recordings.

    Returns
    -------
    estimate : Estimate
        Of Hand and Till's M.
    pairs : array (rule, rule)
        A(a, b), mean over rounds.
    """
    found = [Auc.of(p) for p in rounds]
    means, influence = (
        np.array([getattr(f, name) for f in found]) for name in ("mean", "influence")
    )
    return bootstrap.shifted(means, influence), np.mean([f.pairs for f in found], axis=0)


def _won(own: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return how many of the others each is above, and each of the others is below; ties half."""
    return _below(own, other), len(own) - _below(other, own)


def _below(scores: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return how many of the others lie below each score, ties half."""
    ranked = np.sort(others)
    places = [np.searchsorted(ranked, scores, side) for side in ("left", "right")]
    return np.asarray((places[0] + places[1]) / 2)
