"""Intervals of figures, in which the organism is the unit of independence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lrplan.texts import percent, percent_range

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

    def told(self) -> tuple[str, str]:
        """Return an interval of shares as its mean and its range, in percent."""
        return percent(self.mean), percent_range(self.low, self.high)

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


def mean_of_groups(estimates: Sequence[Estimate], picks: np.ndarray) -> Estimate:
    """Return the mean of groups' shares (0 to 1), with a distribution over organisms and groups.

    Parameters
    ----------
    estimates : sequence of Estimate
        One for each group, each of a `Bootstrap` of its own.
    picks : array (resample, group)
        How often a group is drawn, as `pick_groups` draws it.

    Notes
    -----
    Resampling few groups underestimates how much their mean may vary: with k of them by a factor
    of sqrt((k - 1) / k), and as if their spread were known. What differs between groups beyond what
    their organisms explain (the variance of the groups' figures less that within them) is widened
    by the first, and by the ratio of Student's t with k - 1 degrees of freedom to a normal's.
    Simulated, with groups that vary thrice as much as organisms let them, this covers the truth in
    91, 94 and 96% of cases for 2, 3 and 5 groups (without it in 76, 82 and 90%).
    """
    from scipy.stats import norm, t

    draws = np.stack([e.draws for e in estimates], axis=1)
    means = np.array([e.mean for e in estimates])
    mean, number = float(np.mean(means)), len(means)
    drawn = picks.sum(axis=1)
    whole, between = (picks * draws).sum(axis=1) / drawn, (picks @ means) / drawn
    more = 0.0
    if number > 1 and np.ptp(means) > 0:
        tail = (1 + CONFIDENCE) / 2
        wider = math.sqrt(number / (number - 1)) * float(t.ppf(tail, number - 1) / norm.ppf(tail))
        explained = draws.var(axis=0).mean() / means.var(ddof=1)
        more = (wider - 1) * math.sqrt(max(0.0, 1 - explained))
    return Estimate(mean, np.clip(whole + more * (between - mean), 0, 1))


def pick_groups(number: int, rng: np.random.Generator) -> np.ndarray:
    """Return how often each of so many groups is drawn, (resample, group)."""
    return rng.multinomial(number, np.full(number, 1 / number), RESAMPLES)


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
        """Return the interval of what `estimate` finds."""
        return self.estimate(values, rules).interval

    def estimate(self, values: np.ndarray, rules: Sequence[object] | None = None) -> Estimate:
        """Return the mean over rules of the mean over recordings, with its distribution.

        Every call on one object uses the same resamples.

        Parameters
        ----------
        values : array (recording,) or (round, recording)
            One figure per recording, such as 1 where it was classified right; NaN where it was not
            tested. Rounds (other draws of units, noise and folds) are averaged, and resampled as
            organisms are, so that the interval holds what differs between them.
        rules : sequence, optional
            Only these rules count.

        Returns
        -------
        Estimate
            Missing if a rule has no recording that was tested.
        """
        values = np.atleast_2d(values).astype(float)
        picked = self._rounds_of(len(values))
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

    def shifted(self, means: np.ndarray, influence: np.ndarray) -> Estimate:
        """Return a figure of which one knows how each recording moves it, with its distribution.

        A resample's figure is that of all recordings and the influences of those that were drawn,
        so to first order what computing it anew would give (the infinitesimal jackknife; Efron
        1982), at the price of a mean.

        Parameters
        ----------
        means : array (round,)
            The figure of each round, between 0 and 1.
        influence : array (round, recording)
            What a recording that is drawn once more adds to it; over the recordings of a rule
            they sum to 0.
        """
        means = np.asarray(means, dtype=float)
        if not np.isfinite(means).all():
            return Estimate.missing()
        draws_of_mean = np.zeros(RESAMPLES)
        for mean, moves, times in zip(means, influence, self._rounds_of(len(means)), strict=True):
            drawn = np.full(RESAMPLES, mean)
            for rows, index, draws in self._members:
                drawn += draws @ np.bincount(index, weights=moves[rows])
            draws_of_mean += times * drawn / len(means)
        return Estimate(float(means.mean()), np.clip(draws_of_mean, 0, 1))

    def _rounds_of(self, number: int) -> np.ndarray:
        """Return how often each of so many rounds is drawn, (round, resample)."""
        if number not in self._picked:
            each = np.full(number, 1 / number)
            self._picked[number] = self._rounds.multinomial(number, each, RESAMPLES).T
        return self._picked[number]
