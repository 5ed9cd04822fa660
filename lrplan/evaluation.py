"""Evaluation: splits and intervals in which the organism is the unit of independence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 2000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A figure with its 95% interval."""

    mean: float
    low: float
    high: float

    def to_json(self) -> dict[str, float]:
        """Return plain values for JSON."""
        return {"mean": self.mean, "low": self.low, "high": self.high}

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


def organism_folds(
    labels: np.ndarray, organisms: np.ndarray, folds: int, rng: np.random.Generator
) -> np.ndarray:
    """Deal organisms into folds, each rule evenly.

    Parameters
    ----------
    labels : array (recording,)
        Rule of each recording; all recordings of an organism have the same.
    organisms : array (recording,)
        Which organism each recording is of. Give every recording its own to split by recording.
    folds : int
        How many.
    rng : numpy.random.Generator
        Source of the order.

    Returns
    -------
    array (recording,) of int
        The fold in which each recording is tested.
    """
    names, first, index = np.unique(organisms, return_index=True, return_inverse=True)
    of_organism = labels[first]
    fold = np.empty(len(names), dtype=int)
    start = 0
    for label in np.unique(of_organism):
        members = rng.permutation(np.flatnonzero(of_organism == label))
        fold[members] = (start + np.arange(len(members))) % folds
        # The next rule goes on where this one stopped, so that folds stay equally large.
        start += len(members)
    return fold[index]


class Bootstrap:
    """Resamples organisms within each rule, and averages figures of recordings over rules.

    Parameters
    ----------
    labels, organisms : array (recording,)
        Rule and organism of each recording.
    rng : numpy.random.Generator
        Source of the resamples.
    """

    def __init__(
        self, labels: np.ndarray, organisms: np.ndarray, *, rng: np.random.Generator
    ) -> None:
        self._rng = rng
        self._rules = np.unique(labels)
        self._members: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        for rule in self._rules:
            rows = np.flatnonzero(labels == rule)
            names, index = np.unique(organisms[rows], return_inverse=True)
            draws = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), RESAMPLES)
            self._members.append((rows, index, draws))

    def balanced(self, values: np.ndarray, rules: Sequence[object] | None = None) -> Interval:
        """Return the mean over rules of the mean over recordings, with its interval.

        Parameters
        ----------
        values : array (recording,) or (repeat, recording)
            One figure per recording, such as 1 where it was classified right. Repeats (other
            draws of units, noise and folds) are averaged, and resampled as organisms are, so that
            the interval holds what differs between them.
        rules : sequence, optional
            Only these rules count.
        """
        values = np.atleast_2d(values).astype(float)
        means, resampled = [], []
        for rule, (rows, index, draws) in zip(self._rules, self._members, strict=True):
            if rules is not None and rule not in rules:
                continue
            count = np.bincount(index)
            totals = np.stack([np.bincount(index, weights=v[rows]) for v in values])
            means.append(totals.sum() / count.sum() / len(values))
            resampled.append((totals @ draws.T) / (draws @ count))
        each = np.mean(resampled, axis=0)  # repeat, resample
        picked = self._rng.integers(len(values), size=each.shape)
        tail = (1 - CONFIDENCE) / 2
        low, high = np.quantile(np.take_along_axis(each, picked, axis=0).mean(0), [tail, 1 - tail])
        return Interval(float(np.mean(means)), float(low), float(high))
