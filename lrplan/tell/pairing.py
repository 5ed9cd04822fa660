"""Comparisons of two sides within one preparation, on organisms whose rule is known.

Which of two recordings is more like rule a than like rule b is asked of their scores: the
logarithm of the odds of a against b. Scores of one preparation (an architecture with its task and
position) by one classifier are compared, so that no threshold is needed, only the right order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lrplan.classifiers.calibrated import Calibrated
from lrplan.classifiers.splits import Splits
from lrplan.measure.trajectories import Trajectories
from lrplan.randomness import Streams
from lrplan.tell.combine import Probabilities
from lrplan.tell.intervals import (
    RESAMPLES,
    Bootstrap,
    Estimate,
    Interval,
    mean_of_groups,
    pick_groups,
)
from lrplan.tell.promise import FAMILY, KNOWN
from lrplan.tell.unseen import FOLDS, Unseen, cross_predict

DRAWS = 2000
"""Comparisons that are drawn in a preparation where there are more."""

Sizes = tuple[int, int]
"""How many animals each of two sides has."""


def score_of(p: Probabilities, a: str, b: str) -> np.ndarray:
    """Return the logarithm of the odds of `a` against `b` of each recording, (recording,)."""
    places = [int(np.flatnonzero(p.rules == kind)[0]) for kind in (a, b)]
    return np.asarray(p.logits[:, places[0]] - p.logits[:, places[1]])


@dataclass(frozen=True)
class Judged:
    """Virtual recordings of organisms, judged by classifiers that did not see their group.

    Parameters
    ----------
    conditions : {"held-out family", "known"}
        Whether a group is a family of architectures, or a fold of organisms.
    p : Probabilities
        One row for each organism and place in the hierarchy, or for all areas of an organism.
    groups : array (recording,)
        The group that was held out.
    preparations : array (recording,)
        Recordings of one number may be compared: they share group, architecture, task and, of
        single areas, position.
    """

    conditions: str
    p: Probabilities
    groups: np.ndarray
    preparations: np.ndarray

    @classmethod
    def of(
        cls,
        conditions: str,
        virtual: Trajectories,
        p: Probabilities,
        groups: np.ndarray,
        areas: int,
    ) -> Judged:
        """Put together what was predicted of recordings; those without prediction are left out.

        Parameters
        ----------
        conditions : str
            As above.
        virtual : Trajectories
            What was recorded.
        p : Probabilities
            What was predicted of it.
        groups : array (recording,)
            Which group each recording was held out with.
        areas : int
            How many of each organism are told together.
        """
        rows = np.flatnonzero(np.isfinite(p.values).all(axis=1))
        organisms = virtual.organisms
        matched = [groups, virtual.label("architecture"), virtual.label("task")]
        if areas == 1:
            if "position" in virtual.labels:
                matched.append(virtual.label("position"))
            codes = _codes(matched)
            rows = _last_of(_codes([codes, organisms]), rows)
            return cls(
                conditions, _of_organisms(p.take(rows), organisms[rows]), groups[rows], codes[rows]
            )
        codes = _codes(matched)
        together = _of_organisms(p.take(rows), organisms[rows]).by_animal(areas=areas)
        first = {name: row for row, name in reversed(list(enumerate(organisms)))}
        rows = np.array([first[name] for name in together.animals], dtype=int)
        return cls(conditions, together, groups[rows], codes[rows])

    def preparations_of(self, a: str, b: str) -> list[Preparation]:
        """Return where organisms of both kinds stand side by side, in order."""
        told = self.p.told
        found = []
        for code in np.unique(self.preparations):
            rows = self.preparations == code
            own, other = (np.flatnonzero(rows & (told == kind)) for kind in (a, b))
            if len(own) and len(other):
                found.append(Preparation(str(self.groups[rows][0]), own, other))
        return found


def _codes(labels: Sequence[np.ndarray]) -> np.ndarray:
    """Return a number for each combination of labels, (recording,)."""
    parts = [np.unique(each, return_inverse=True)[1].ravel() for each in labels]
    return np.unique(np.stack(parts), axis=1, return_inverse=True)[1].ravel()


def _last_of(codes: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return the last of the rows that share a code: of several layers the last is the area."""
    last = {int(codes[row]): int(row) for row in rows}
    return np.array(sorted(last.values()), dtype=int)


def _of_organisms(p: Probabilities, organisms: np.ndarray) -> Probabilities:
    return Probabilities(p.table.assign_coords(animal=("recording", organisms)))


def judge_families(
    virtual: Trajectories, streams: Streams, classifier: Calibrated | None, *, areas: int
) -> Judged | None:
    """Judge each family of architectures by a classifier that did not see it; None if it is one.

    Parameters
    ----------
    virtual : Trajectories
        Recordings of a cohort, with what is to be told of them.
    streams : Streams
        Source of classifiers.
    classifier : Calibrated or None
        Cloned and fitted; None takes that of forecasts.
    areas : int
        How many of each organism are told together.
    """
    families = virtual.label("family").astype(str)
    if len(np.unique(families)) < 2:
        return None
    test = Unseen(virtual, Splits.of_folds(families), ("family",))
    [p] = cross_predict([test], virtual.organisms, streams=streams, classifier=classifier)
    return Judged.of(FAMILY, virtual, p, families, areas)


def judge_known(
    virtual: Trajectories, streams: Streams, classifier: Calibrated | None, *, areas: int
) -> Judged:
    """Judge each organism by a classifier that saw others of the same conditions.

    Takes what `judge_families` takes.
    """
    folds = deal_alike(virtual, streams.rng("folds", "comparisons"))
    test = Unseen(virtual, Splits.of_folds(folds), ("known", "comparisons"))
    [p] = cross_predict([test], virtual.organisms, streams=streams, classifier=classifier)
    return Judged.of(KNOWN, virtual, p, folds.astype(str), areas)


def deal_alike(virtual: Trajectories, rng: np.random.Generator) -> np.ndarray:
    """Deal organisms into folds, as many of each kind of one architecture and task as of another.

    Only recordings of one fold are compared. If it took more of one kind, training would lack that
    kind where it is tested, and labels without meaning would come out below chance.

    Parameters
    ----------
    virtual : Trajectories
        Recordings of a cohort, with what is to be told of them.
    rng : numpy.random.Generator
        Source of the order.

    Returns
    -------
    array (recording,)
        The fold of each recording.
    """
    _, first, index = np.unique(virtual.organisms, return_index=True, return_inverse=True)
    where = _codes([virtual.label("architecture"), virtual.label("task")])[first]
    kinds = virtual.y[first]
    fold = np.empty(len(first), dtype=int)
    for place in np.unique(where):
        for kind in np.unique(kinds):
            members = rng.permutation(np.flatnonzero((where == place) & (kinds == kind)))
            # Other places begin with other folds, so that these stay about equally large.
            fold[members] = (place + np.arange(len(members))) % FOLDS
    return np.asarray(fold[index])


@dataclass(frozen=True)
class Preparation:
    """Organisms of two kinds that differ in nothing but their rule, settings and seed.

    Parameters
    ----------
    group : str
        What it was held out with.
    own, other : array (organism,) of int
        Rows of the first and of the second kind.
    """

    group: str
    own: np.ndarray
    other: np.ndarray

    @property
    def fewest(self) -> int:
        """Organisms of the kind that has fewer."""
        return min(len(self.own), len(self.other))

    def allows(self, sizes: Sizes) -> bool:
        """Return whether so many animals a side can be drawn, and drawn otherwise once more."""
        return max(sizes) == 1 or self.fewest > max(sizes)


@dataclass(frozen=True)
class Ordered:
    """How well two kinds are put in order within preparations.

    Parameters
    ----------
    a, b : str
        The two kinds.
    conditions : {"held-out family", "known"}
        What the figures hold for.
    sizes : (int, int)
        Animals of each side.
    accuracy : Interval
        Share of comparisons in which the side of kind `a` has the higher score, ties counting
        half; chance is 0.5. Of one animal a side this is the area under the curve within a
        preparation. Groups count alike. The interval is over organisms, and over families.
    groups : dict of str to Interval
        Each group's own.
    differences : dict of str to array (comparison,)
        Of each group: score of the side of kind `a` less that of the other.
    weights : dict of str to array (comparison,)
        How much they count; they sum to 1 in each group.
    independent : int
        How many comparisons share no organism.
    """

    a: str
    b: str
    conditions: str
    sizes: Sizes
    accuracy: Interval
    groups: dict[str, Interval]
    differences: dict[str, np.ndarray]
    weights: dict[str, np.ndarray]
    independent: int

    def slope(self, *, without: str | None = None) -> float:
        """Return the slope of the logistic function of a difference, as `fit_slope` finds it.

        Parameters
        ----------
        without : str, optional
            A group that is left out.
        """
        names = [name for name in self.groups if name != without]
        differences = np.concatenate([self.differences[name] for name in names])
        weights = np.concatenate([self.weights[name] for name in names]) / len(names)
        return fit_slope(differences, weights, self.independent)

    def answered(self, level: float) -> tuple[float, float | None]:
        """Return how often an answer would be given, and how often it would be right.

        Each group's probabilities come from the slope of the other groups.

        Parameters
        ----------
        level : float
            The least probability of an answer.

        Returns
        -------
        share : float
            Comparisons that are answered; NaN where there is one group alone.
        right : float or None
            Those that are right among them; None where none is answered.
        """
        if len(self.groups) < 2:
            return float("nan"), None
        share, right = 0.0, 0.0
        for name in self.groups:
            d, w = self.differences[name], self.weights[name] / len(self.groups)
            sure = (d != 0) & (probability(self.slope(without=name), np.abs(d)) >= level)
            share += float(w[sure].sum())
            right += float(w[sure & (d > 0)].sum())
        return share, right / share if share else None


def probability(slope: float, difference: float | np.ndarray) -> np.ndarray:
    """Return how probable it is that the first side is the one of kind `a`.

    Parameters
    ----------
    slope : float
        From `fit_slope`.
    difference : float or array
        Score of the first side less that of the second.

    Examples
    --------
    >>> p, swapped = probability(1.3, 2.0), probability(1.3, -2.0)
    >>> bool(swapped == 1 - p), float(probability(1.3, 0.0))
    (True, 0.5)
    """
    # Of the larger one first, whose complement is exact: sides that are swapped sum to 1.
    larger = 1 / (1 + np.exp(-slope * np.abs(difference)))
    return np.where(np.asarray(difference) < 0, 1 - larger, larger)


def fit_slope(differences: np.ndarray, weights: np.ndarray, independent: int) -> float:
    """Fit the probability that an order is right to differences of comparisons.

    One logistic slope and no intercept, since swapping the sides must turn the probability round.
    Targets are those of Platt (1999), (n + 1) / (n + 2) of n independent comparisons and not 1, so
    that no difference is ever taken for a proof.

    Parameters
    ----------
    differences : array (comparison,)
        Score of the side that is the more a-like one, less that of the other.
    weights : array (comparison,)
        How much they count; they sum to 1.
    independent : int
        How many comparisons share no organism.

    Returns
    -------
    float
        At least 0: where the order is not better than chance, every probability is 0.5.
    """
    from scipy.optimize import brentq
    from scipy.special import expit

    right = (independent + 1) / (independent + 2)

    def gradient(slope: float) -> float:
        return float(weights @ (differences * (right - expit(slope * differences))))

    if gradient(0.0) <= 0:
        return 0.0
    above = 1 / float(np.abs(differences).max())
    while gradient(above) > 0:
        above *= 2
    return float(brentq(gradient, 0.0, above))


def order(
    judged: Judged, a: str, b: str, streams: Streams, sizes: Sizes = (1, 1)
) -> Ordered | None:
    """Compare sides of two kinds wherever a preparation has both.

    Parameters
    ----------
    judged : Judged
        What was said of organisms.
    a, b : str
        The two kinds.
    streams : Streams
        Source of draws and resamples.
    sizes : (int, int), default (1, 1)
        Animals of each side; which side has which number does not matter. A preparation must have
        more organisms of each kind than that, unless it is 1.

    Returns
    -------
    Ordered or None
        None where no preparation allows it.
    """
    sizes = (min(sizes), max(sizes))
    scores = score_of(judged.p, a, b)
    by_group: dict[str, list[Preparation]] = {}
    for preparation in judged.preparations_of(a, b):
        if preparation.allows(sizes):
            by_group.setdefault(preparation.group, []).append(preparation)
    if not by_group:
        return None
    estimates: dict[str, Estimate] = {}
    differences: dict[str, np.ndarray] = {}
    weights: dict[str, np.ndarray] = {}
    for group, held in by_group.items():
        keys = (judged.conditions, group, *sorted((a, b)))
        rng = streams.rng("comparisons", *keys, *sizes)
        shares = np.array([p.fewest for p in held]) / sum(p.fewest for p in held)
        made = [_compared(scores[p.own], scores[p.other], sizes, rng) for p in held]
        mean = float(shares @ [m.accuracy for m in made])
        influence = np.zeros(len(scores))
        for p, m, share in zip(held, made, shares, strict=True):
            # A preparation that is not as the others counts with its organisms, too.
            apart = m.accuracy - mean
            influence[p.own] += share * (m.own + apart / len(p.own))
            influence[p.other] += share * (m.other + apart / len(p.other))
        rows = np.unique(np.concatenate([np.r_[p.own, p.other] for p in held]))
        bootstrap = Bootstrap(
            judged.p.told[rows], judged.p.animals[rows], rng=streams.rng("bootstrap", *keys)
        )
        estimates[group] = bootstrap.shifted(np.array([mean]), influence[None, rows])
        differences[group] = np.concatenate([m.differences for m in made])
        each = [np.full(len(m.differences), 1 / len(m.differences)) for m in made]
        weights[group] = np.concatenate([s * w for s, w in zip(shares, each, strict=True)])
    return Ordered(
        a=a,
        b=b,
        conditions=judged.conditions,
        sizes=sizes,
        accuracy=_over_groups(estimates, judged.conditions, streams),
        groups={group: e.interval for group, e in estimates.items()},
        differences=differences,
        weights=weights,
        independent=_independent(judged, by_group, sizes),
    )


def _over_groups(estimates: Mapping[str, Estimate], conditions: str, streams: Streams) -> Interval:
    """Return the mean over groups; another family may differ as these do, another fold not."""
    number = len(estimates)
    picks = np.ones((RESAMPLES, number), dtype=int)
    if conditions == FAMILY:
        picks = pick_groups(number, streams.rng("bootstrap", "families compared"))
    return mean_of_groups(list(estimates.values()), picks).interval


def _independent(
    judged: Judged, by_group: Mapping[str, Sequence[Preparation]], sizes: Sizes
) -> int:
    """Return how many comparisons share no organism, whatever area it was recorded in."""
    held = [p for each in by_group.values() for p in each]
    own, other = (np.concatenate([getattr(p, side) for p in held]) for side in ("own", "other"))
    fewest = min(len(np.unique(judged.p.animals[rows])) for rows in (own, other))
    return max(1, fewest // max(sizes))


@dataclass(frozen=True)
class _Compared:
    """Comparisons within one preparation.

    Parameters
    ----------
    differences : array (comparison,)
        Score of the side of the first kind less that of the other.
    accuracy : float
        Share above 0, ties counting half.
    own, other : array (organism,)
        What an organism that is drawn once more adds to it, to first order.
    """

    differences: np.ndarray
    accuracy: float
    own: np.ndarray
    other: np.ndarray


def _compared(
    own: np.ndarray, other: np.ndarray, sizes: Sizes, rng: np.random.Generator
) -> _Compared:
    """Compare scores of the organisms of two kinds, either side having either number of animals.

    Influences are those of the infinitesimal jackknife for samples that are drawn without
    replacement (Efron 1982; Wager & Athey, Journal of the American Statistical Association 2018):
    the covariance of being drawn with the outcome, times (n - 1) / (n - m), m being drawn of n.
    """
    parts = []
    for number, against in sorted({sizes, sizes[::-1]}):
        if number == against == 1 and len(own) * len(other) <= DRAWS:
            first = np.repeat(np.eye(len(own)), len(other), axis=0)
            second = np.tile(np.eye(len(other)), (len(own), 1))
        else:
            first, second = _groups(len(own), number, rng), _groups(len(other), against, rng)
        differences = first @ own / number - second @ other / against
        won = (differences > 0) + 0.5 * (differences == 0)
        off = (won - won.mean()) / len(won)
        parts.append(
            _Compared(
                differences,
                float(won.mean()),
                first.T @ off * _widened(len(own), number),
                second.T @ off * _widened(len(other), against),
            )
        )
    return _Compared(
        np.concatenate([p.differences for p in parts]),
        float(np.mean([p.accuracy for p in parts])),
        np.mean([p.own for p in parts], axis=0),
        np.mean([p.other for p in parts], axis=0),
    )


def _groups(organisms: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """Return which organisms are drawn into groups of a size, (comparison, organism) of 0 and 1."""
    ranks = rng.random((DRAWS, organisms)).argsort(axis=1).argsort(axis=1)
    return (ranks < size).astype(float)


def _widened(organisms: int, size: int) -> float:
    return 1.0 if size == 1 else (organisms - 1) / (organisms - size)
