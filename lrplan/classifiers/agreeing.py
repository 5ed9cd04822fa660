"""Features that mean the same in every family of architectures.

A brain is a family that was never seen. A feature that is high under one rule in one family and low
under the same rule in another will mislead there; one whose direction agrees in all families of
training may hold in the next.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, TransformerMixin, clone
from sklearn.utils.validation import check_is_fitted, validate_data

from lrplan.errors import DataError, UsageError

MARGIN = 0.05


def directions(X: np.ndarray, y: np.ndarray, families: np.ndarray) -> np.ndarray:
    """Say how each feature ranks each pair of labels in each family.

    Parameters
    ----------
    X : array (row, feature)
        Features, finite.
    y, families : array (row,)
        The label and the family of each row.

    Returns
    -------
    array (pair, family, feature)
        Area under the curve minus 0.5: above 0 where the feature is higher under the second label
        of the pair, which are sorted. NaN where the family lacks one of the two.
    """
    from scipy.stats import rankdata

    X, y, families = np.asarray(X), np.asarray(y), np.asarray(families)
    kinds, names = np.unique(y), np.unique(families)
    pairs = list(combinations(kinds, 2))
    found = np.full((len(pairs), len(names), X.shape[1]), np.nan)
    for j, family in enumerate(names):
        of_family = families == family
        for i, (a, b) in enumerate(pairs):
            low, high = of_family & (y == a), of_family & (y == b)
            n, m = int(low.sum()), int(high.sum())
            if n and m:
                ranks = rankdata(np.concatenate([X[low], X[high]]), axis=0)
                found[i, j] = (ranks[n:].mean(axis=0) - (m + 1) / 2) / n - 0.5
    return found


def agreement(X: np.ndarray, y: np.ndarray, families: np.ndarray) -> np.ndarray:
    """Return how far each feature ranks two labels alike in the family where it does least.

    Parameters
    ----------
    X, y, families : array
        As `directions` takes them.

    Returns
    -------
    array (feature,)
        Of the pair of labels for which it is largest; 0.5 ranks them without a fault in every
        family, at 0 or below families contradict each other.

    Raises
    ------
    DataError
        If no two families have the same two labels.
    """
    found = directions(X, y, families)
    known = np.isfinite(found).all(axis=2)  # pair, family
    if (known.sum(axis=1) < 2).all():
        raise DataError(
            f"{len(np.unique(families))} families share no two labels, so no feature can agree "
            "between families; train on two families or more that have the same rules"
        )
    least = []
    for each, there in zip(found, known, strict=True):
        if there.sum() > 1:
            least.append(np.maximum(each[there].min(axis=0), (-each[there]).min(axis=0)))
    return np.asarray(np.max(least, axis=0))


def agreeing(
    X: np.ndarray, y: np.ndarray, families: np.ndarray, *, margin: float = MARGIN
) -> np.ndarray:
    """Say which features rank two labels the same way in all families.

    Parameters
    ----------
    X, y, families : array
        As `directions` takes them: of training rows only.
    margin : float, default 0.05
        How far from 0.5 the area under the curve must be in each family. Families count alike,
        however many rows they have.

    Returns
    -------
    array (feature,) of bool

    Raises
    ------
    DataError
        If no two families have the same two labels.

    Examples
    --------
    >>> y = np.array(list("aabb" * 2))
    >>> families = np.repeat(["mlp", "knet"], 4)
    >>> same, turned = [0, 1, 2, 3] * 2, [0, 1, 2, 3, 3, 2, 1, 0]
    >>> agreeing(np.array([same, turned]).T, y, families).tolist()
    [True, False]
    """
    return agreement(X, y, families) > margin


def left_out_ranking(X: np.ndarray, y: np.ndarray, families: np.ndarray) -> np.ndarray:
    """Rank features by how well their direction holds in families that were left out.

    Parameters
    ----------
    X, y, families : array
        As `directions` takes them.

    Returns
    -------
    array (feature,)
        Area under the curve in the family left out, the direction being that of the others' mean;
        mean over families left out, of the pair of labels for which it is largest. 0.5 is chance
        for one feature and one pair; the largest of several is above.

    Raises
    ------
    DataError
        If no two families have the same two labels.
    """
    agreement(X, y, families)  # refuses what cannot be ranked
    held = []
    for each in directions(X, y, families):
        each = each[np.isfinite(each).all(axis=1)]
        if len(each) > 1:
            others = np.sign(each.sum(axis=0) - each)
            held.append((others * each).mean(axis=0) + 0.5)
    return np.asarray(np.max(held, axis=0))


class AgreeingFeatures(TransformerMixin, BaseEstimator):
    """Keeps the features whose direction agrees in all families of the training rows.

    Parameters
    ----------
    margin : float, default 0.05
        As `agreeing` takes it.
    least : int, default 10
        So many are kept in any case: those that agree best.

    Attributes
    ----------
    mask_ : array (feature,) of bool
        Which are kept.
    families_ : array
        The families seen in training, sorted.
    """

    def __init__(self, margin: float = MARGIN, least: int = 10) -> None:
        self.margin = margin
        self.least = least

    def fit(
        self, X: np.ndarray, y: np.ndarray, families: np.ndarray | None = None
    ) -> AgreeingFeatures:
        """Choose features.

        Parameters
        ----------
        X : array (row, feature)
            Features of training rows.
        y, families : array (row,)
            Their labels and families.

        Raises
        ------
        UsageError
            If families are not given.
        DataError
            If no two families have the same two labels.
        """
        X = validate_data(self, X, dtype=np.float64)
        if families is None:
            raise UsageError("families is None; expected the family of each row")
        self.families_ = np.unique(families)
        found = agreement(X, y, families)
        self.mask_ = found > self.margin
        if self.mask_.sum() < self.least:
            self.mask_[np.argsort(-found, kind="stable")[: self.least]] = True
        return self

    def transform(self, X: np.ndarray) -> np.ndarray:
        """Return the features that were kept, (row, kept)."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=np.float64)
        return np.asarray(X[:, self.mask_])


class Agreeing(MetaEstimatorMixin, ClassifierMixin, BaseEstimator):
    """A classifier that sees only features which agree between families of its training rows.

    Parameters
    ----------
    estimator : classifier
        With ``predict_proba``; its ``fit`` may take ``groups``.
    families : mapping
        The family of each group, such as that of each organism. Groups that are never given to
        `fit` do not matter.
    margin, least
        As `AgreeingFeatures` takes them.

    Attributes
    ----------
    features_ : AgreeingFeatures
        Fitted on the training rows.
    estimator_ : classifier
        Fitted on what it kept.
    classes_ : array
        Labels, sorted.

    Examples
    --------
    >>> from sklearn.naive_bayes import GaussianNB
    >>> x = np.random.default_rng(0).standard_normal((40, 30))
    >>> y, groups = np.arange(40) % 2, np.arange(40)
    >>> families = {g: "mlp" if g < 20 else "knet" for g in groups}
    >>> Agreeing(GaussianNB(), families).fit(x, y, groups=groups).predict_proba(x).shape
    (40, 2)
    """

    def __init__(
        self,
        estimator: Any,
        families: Mapping[Any, str],
        margin: float = MARGIN,
        least: int = 10,
    ) -> None:
        self.estimator = estimator
        self.families = families
        self.margin = margin
        self.least = least

    def fit(self, X: np.ndarray, y: np.ndarray, groups: np.ndarray | None = None) -> Agreeing:
        """Choose features and fit the classifier on them.

        Parameters
        ----------
        X : array (row, feature)
            Features.
        y, groups : array (row,)
            Labels, and the groups whose families are known.

        Raises
        ------
        UsageError
            If groups are not given, or the family of one is unknown.
        DataError
            If no two families have the same two labels.
        """
        from lrplan.classifiers.calibrated import fit_grouped

        X, y = validate_data(self, X, y, dtype=np.float64)
        if groups is None:
            raise UsageError("groups is None; expected that of each row, whose family is known")
        unknown = [g for g in np.unique(groups) if g not in self.families]
        if unknown:
            raise UsageError(
                f"the family of {len(unknown)} groups is unknown, such as that of {unknown[0]!r}; "
                "name it in families"
            )
        of_rows = np.array([self.families[g] for g in groups])
        self.features_ = AgreeingFeatures(self.margin, self.least).fit(X, y, families=of_rows)
        kept = self.features_.transform(X)
        self.estimator_ = fit_grouped(clone(self.estimator), kept, y, np.asarray(groups))
        self.classes_ = self.estimator_.classes_
        return self

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Return probabilities (row, class)."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=np.float64)
        return np.asarray(self.estimator_.predict_proba(self.features_.transform(X)))

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Return the most probable label of each row."""
        p = self.predict_proba(X)
        return np.asarray(self.classes_[p.argmax(axis=1)])
