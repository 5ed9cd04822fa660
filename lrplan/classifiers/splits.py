"""Splits in which groups stay whole: the organism is the unit of independence."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from lrplan.errors import DataError, UsageError


@dataclass(frozen=True)
class Splits:
    """Test sets, and which of them make up one round in which no recording is tested twice.

    Iterating gives the test sets, each an array (recording,) of bool.

    Parameters
    ----------
    test : array (split, recording) of bool
        Whether a recording is tested; the others are trained on.
    rounds : array (split,) of int
        Which round a split belongs to.
    """

    test: np.ndarray
    rounds: np.ndarray

    def __iter__(self) -> Iterator[np.ndarray]:
        return iter(self.test)

    def __len__(self) -> int:
        return len(self.test)

    @classmethod
    def of_folds(cls, folds: np.ndarray) -> Splits:
        """Return one round in which each value of `folds` (recording,) is tested once."""
        test = np.stack([folds == k for k in np.unique(folds)])
        return cls(test, np.zeros(len(test), dtype=int))

    @classmethod
    def dealt(
        cls, labels: np.ndarray, groups: np.ndarray, *, folds: int, rng: np.random.Generator
    ) -> Splits:
        """Deal groups into folds, each label evenly; every fold is tested once.

        Parameters
        ----------
        labels : array (recording,)
            What is told apart; all recordings of a group have the same.
        groups : array (recording,)
            What never stands on both sides, such as the organism. Give every recording its own to
            split by recording.
        folds : int
            How many; fewer come out where there are fewer groups.
        rng : numpy.random.Generator
            Source of the order.

        Raises
        ------
        UsageError
            If `folds` is not a whole number of at least 2.
        """
        if isinstance(folds, bool) or not isinstance(folds, (int, np.integer)) or folds < 2:
            raise UsageError(f"folds is {folds!r}; expected a whole number of at least 2")
        return cls.of_folds(_deal(labels, groups, int(folds), rng))

    @classmethod
    def balanced(
        cls,
        labels: np.ndarray,
        groups: np.ndarray,
        *,
        rng: np.random.Generator,
        splits: int = 10,
        test_share: float = 0.25,
    ) -> Splits:
        """Split into training and test sets of stated size, each label alike, groups kept whole.

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
            raise UsageError(
                f"the share tested is {test_share:g}; expected more than 0, at most 0.5"
            )
        if isinstance(splits, bool) or int(splits) != splits or splits < 1:
            raise UsageError(f"splits is {splits!r}; expected a whole number of at least 1")
        folds = round(1 / test_share)
        label, few = _fewest(labels, groups)
        if few < folds:
            raise DataError(
                f"there are {few} organisms of {label!r}; at least {folds} are "
                f"needed for test sets of {test_share:.0%} with all labels in each"
            )
        most = cls.most(labels, groups, folds=folds)
        if splits > most:
            raise UsageError(
                f"{splits} splits were asked, but {few} organisms of {label!r} allow {most} "
                f"different test sets; ask for at most {most} splits"
            )
        dealt = [_deal(labels, groups, folds, rng) for _ in range(-(-splits // folds))]
        each = np.arange(splits)
        return cls(np.stack([dealt[i // folds] == i % folds for i in each]), each // folds)

    @staticmethod
    def most(labels: np.ndarray, groups: np.ndarray, *, folds: int = 4) -> int:
        """Return how many different test sets of one in `folds` the rarest label allows."""
        few = _fewest(labels, groups)[1]
        return math.comb(few, few // folds)


def count_groups(labels: np.ndarray, groups: np.ndarray, kinds: np.ndarray) -> np.ndarray:
    """Return how many groups there are of each label (kind,).

    Parameters
    ----------
    labels, groups : array (recording,)
        Of any recordings, such as those of a training set.
    kinds : array (kind,)
        Labels to count; one that is missing has none.
    """
    return np.array([len(np.unique(groups[labels == kind])) for kind in kinds])


def _fewest(labels: np.ndarray, groups: np.ndarray) -> tuple[str, int]:
    """Return the label with the fewest groups, as text, and how many they are."""
    kinds = np.unique(labels)
    counts = count_groups(labels, groups, kinds)
    return str(kinds[counts.argmin()]), int(counts.min())


def _deal(
    labels: np.ndarray, groups: np.ndarray, folds: int, rng: np.random.Generator
) -> np.ndarray:
    """Return the fold (recording,) in which each recording is tested."""
    names, first, index = np.unique(groups, return_index=True, return_inverse=True)
    of_group = labels[first]
    fold = np.empty(len(names), dtype=int)
    start = 0
    for label in np.unique(of_group):
        members = rng.permutation(np.flatnonzero(of_group == label))
        fold[members] = (start + np.arange(len(members))) % folds
        # The next label goes on where this one stopped, so that folds stay equally large.
        start += len(members)
    return fold[index]
