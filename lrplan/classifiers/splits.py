"""Splits in which the organism is the unit of independence."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from lrplan.errors import DataError, UsageError


@dataclass(frozen=True)
class Splits:
    """Test sets, and which of them make up one round in which no recording is tested twice.

    Parameters
    ----------
    test : array (split, recording) of bool
        Whether a recording is tested; the others are trained on.
    rounds : array (split,) of int
        Which round a split belongs to.
    """

    test: np.ndarray
    rounds: np.ndarray

    @classmethod
    def of_folds(cls, folds: np.ndarray) -> Splits:
        """Return one round in which each value of `folds` (recording,) is tested once."""
        test = np.stack([folds == k for k in np.unique(folds)])
        return cls(test, np.zeros(len(test), dtype=int))


def most_splits(groups: int, folds: int = 4) -> int:
    """Return how many different test sets of one in `folds` there are of so many groups."""
    return math.comb(groups, groups // folds)


def balanced_splits(
    labels: np.ndarray,
    groups: np.ndarray,
    *,
    rng: np.random.Generator,
    splits: int = 10,
    test_share: float = 0.25,
) -> Splits:
    """Split recordings into training and test sets, each label alike, groups kept whole.

    Groups are dealt in rounds, as cards are: with a quarter in each test set, four splits
    in a row test every group once. So each is tested about equally often.

    Parameters
    ----------
    labels, groups : array (recording,)
        What is told apart, and what never stands on both sides.
    rng : numpy.random.Generator
        Source of the order.
    splits : int, default 10
        How many.
    test_share : float, default 0.25
        Share of the groups that is tested.

    Raises
    ------
    UsageError
        If there are not that many different test sets, or the share is out of range.
    DataError
        If a label has too few groups to be in every training and test set.
    """
    if not 0 < test_share <= 0.5:
        raise UsageError(f"the share tested is {test_share:g}; expected more than 0, at most 0.5")
    if isinstance(splits, bool) or int(splits) != splits or splits < 1:
        raise UsageError(f"splits is {splits!r}; expected a whole number of at least 1")
    folds = round(1 / test_share)
    _, first = np.unique(groups, return_index=True)
    kinds, counts = np.unique(labels[first], return_counts=True)
    few = int(counts.min())
    if few < folds:
        raise DataError(
            f"there are {few} organisms of {str(kinds[counts.argmin()])!r}; at least {folds} are "
            f"needed for test sets of {test_share:.0%} with all labels in each"
        )
    most = most_splits(few, folds)
    if splits > most:
        raise UsageError(
            f"{splits} splits were asked, but {few} organisms of "
            f"{str(kinds[counts.argmin()])!r} allow {most} different test sets; ask for at most "
            f"{most} splits"
        )
    rounds = -(-splits // folds)
    fold = [organism_folds(labels, groups, folds, rng) for _ in range(rounds)]
    each = np.arange(splits)
    return Splits(np.stack([fold[i // folds] == i % folds for i in each]), each // folds)


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
