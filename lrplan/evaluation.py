"""Evaluation: splits and intervals in which the organism is the unit of independence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lrplan.errors import DataError, UsageError

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


@dataclass(frozen=True)
class Estimate:
    """A figure with its bootstrap distribution.

    Estimates of one `Bootstrap` share its resamples, so that their differences are paired: what
    makes an organism easy for both of two classifiers cancels.

    Parameters
    ----------
    mean : float
        The figure; NaN where there is none.
    draws : array (resample,)
        The same figure in each resample of organisms.
    """

    mean: float
    draws: np.ndarray

    @classmethod
    def missing(cls) -> Estimate:
        """Return the estimate of a figure that cannot be had."""
        return cls(float("nan"), np.full(RESAMPLES, np.nan))

    @property
    def interval(self) -> Interval:
        """The 95% interval."""
        sound = self.draws[np.isfinite(self.draws)]
        if not (math.isfinite(self.mean) and len(sound)):
            return Interval(float("nan"), float("nan"), float("nan"))
        tail = (1 - CONFIDENCE) / 2
        low, high = np.quantile(sound, [tail, 1 - tail])
        return Interval(self.mean, float(low), float(high))

    def __add__(self, other: Estimate | float) -> Estimate:
        if isinstance(other, Estimate):
            return Estimate(self.mean + other.mean, self.draws + other.draws)
        return Estimate(self.mean + other, self.draws + other)

    def __neg__(self) -> Estimate:
        return Estimate(-self.mean, -self.draws)

    def __sub__(self, other: Estimate | float) -> Estimate:
        return self + (-other)

    def __mul__(self, factor: float) -> Estimate:
        return Estimate(self.mean * factor, self.draws * factor)


def combine(estimates: Sequence[Estimate], how: str) -> Estimate:
    """Return the ``"mean"``, ``"min"`` or ``"max"`` of estimates of one `Bootstrap`.

    The extreme is taken anew in each resample.
    """
    means = np.array([e.mean for e in estimates])
    draws = np.stack([e.draws for e in estimates])
    # Each is a method of arrays, of one number and of many alike.
    return Estimate(float(getattr(means, how)()), getattr(draws, how)(axis=0))


def jackknife(values: np.ndarray, *, test_share: float = 0.25) -> Interval:
    """Return the mean of figures of training sets, with a 95% interval over organisms.

    Splits leave out a share of the organisms, so that how much their figures differ tells how
    much the figure of all organisms may (the delete-d jackknife; Shao and Wu, Annals of Statistics
    1989). What the fitting itself draws at random counts, too.

    Parameters
    ----------
    values : array (split,)
        A figure of each training set of `balanced_splits`.
    test_share : float, default 0.25
        The share that was left out.
    """
    from scipy.stats import t

    mean = float(np.mean(values))
    if len(values) < 2 or not math.isfinite(mean):
        return Interval(mean, float("nan"), float("nan"))
    spread = math.sqrt((1 - test_share) / test_share * float(np.var(values, ddof=1)))
    reach = float(t.ppf((1 + CONFIDENCE) / 2, len(values) - 1)) * spread
    return Interval(mean, mean - reach, mean + reach)


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
        self._rounds = rng.spawn(1)[0]
        self._picked: dict[int, np.ndarray] = {}
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

    def estimate(self, values: np.ndarray, rules: Sequence[object] | None = None) -> Estimate:
        """Return the mean over rules of the mean over recordings, with its distribution.

        Every call on one object uses the same resamples.

        Parameters
        ----------
        values : array (recording,) or (round, recording)
            One figure per recording; NaN where it was not tested. Rounds are resampled as
            organisms are.
        rules : sequence, optional
            Only these rules count.

        Returns
        -------
        Estimate
            Missing if a rule has no recording that was tested.
        """
        values = np.atleast_2d(values).astype(float)
        number = len(values)
        if number not in self._picked:
            each = np.full(number, 1 / number)
            self._picked[number] = self._rounds.multinomial(number, each, RESAMPLES).T
        picked = self._picked[number]
        tested = np.isfinite(values)
        filled = np.where(tested, values, 0.0)
        means, draws_of_mean = [], []
        for rule, (rows, index, draws) in zip(self._rules, self._members, strict=True):
            if rules is not None and rule not in rules:
                continue
            count = np.stack([np.bincount(index, weights=t[rows]) for t in tested])
            total = np.stack([np.bincount(index, weights=v[rows]) for v in filled])
            if not count.any():
                return Estimate.missing()
            means.append(total.sum() / count.sum())
            above, below = ((x @ draws.T * picked).sum(axis=0) for x in (total, count))
            with np.errstate(invalid="ignore"):
                draws_of_mean.append(above / below)
        return Estimate(float(np.mean(means)), np.mean(draws_of_mean, axis=0))
