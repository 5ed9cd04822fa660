"""Calibration of any classifier by a temperature that is set out of fold."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.utils import Tags, get_tags
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from lrplan.classifiers._search import best_temperature, check_groups, check_seed, softmax
from lrplan.classifiers.splits import Splits
from lrplan.randomness import keyed_rng

# No class is ever impossible after a finite number of rows.
LEAST_PROBABILITY = 1e-3


class Calibrated(ClassifierMixin, BaseEstimator):
    """A classifier whose probabilities are sharpened or flattened to what they turn out to be.

    One temperature divides the logarithms of all probabilities (Guo et al., ICML 2017). It has
    the lowest balanced cross-entropy on probabilities of training rows by classifiers that did
    not see their organism: those that the classifier kept from its own search
    (``out_of_fold_``), or else those of clones, one per fold.

    Parameters
    ----------
    estimator : classifier
        With ``predict_proba``; its ``fit`` may take ``groups``.
    folds : int, default 5
        Folds where the classifier keeps no out-of-fold probabilities.
    random_state : int, default 0
        Seeds these folds.

    Attributes
    ----------
    estimator_ : classifier
        Fitted on all rows.
    classes_ : array
        Labels, sorted.
    temperature_ : float
        Above 1 where the classifier was too sure.
    out_of_fold_ : array (row, class)
        Calibrated probabilities of the training rows, each by a model that did not see its group.

    Examples
    --------
    >>> from lrplan.classifiers import make_classifier
    >>> x = np.random.default_rng(0).standard_normal((80, 4))
    >>> y = np.where(x[:, 0] > 0, "a", "b")
    >>> model = Calibrated(make_classifier("random_forest", effort="quick")).fit(x, y)
    >>> model.out_of_fold_.shape
    (80, 2)
    """

    def __init__(self, estimator: Any, folds: int = 5, random_state: int = 0) -> None:
        self.estimator = estimator
        self.folds = folds
        self.random_state = random_state

    def fit(self, X: np.ndarray, y: np.ndarray, groups: np.ndarray | None = None) -> Calibrated:
        """Fit the classifier on all rows, and the temperature on out-of-fold probabilities.

        Parameters
        ----------
        X : array (row, feature)
            Features.
        y : array (row,)
            Labels.
        groups : array (row,), optional
            Rows of one group never stand on both sides of a fold; by default each row is its own.
        """
        X, y = validate_data(self, X, y, dtype=np.float64, ensure_all_finite=False)
        check_classification_targets(y)
        self.classes_, index = np.unique(y, return_inverse=True)
        groups = np.arange(len(y)) if groups is None else np.asarray(groups)
        check_groups(self.classes_, index, groups)
        self.estimator_ = fit_grouped(clone(self.estimator), X, y, groups)
        found = getattr(self.estimator_, "out_of_fold_", None)
        if found is None:
            found = self._cross_predict(X, y, groups)
        logits = _log(found)
        self.temperature_ = best_temperature(logits, index)[0]
        self.out_of_fold_ = softmax(logits / self.temperature_)
        return self

    def _cross_predict(self, X: np.ndarray, y: np.ndarray, groups: np.ndarray) -> np.ndarray:
        rng = keyed_rng(check_seed(self.random_state), "folds of a calibration")
        found = np.zeros((len(y), len(self.classes_)))
        for test in Splits.dealt(y, groups, folds=self.folds, rng=rng):
            model = fit_grouped(clone(self.estimator), X[~test], y[~test], groups[~test])
            columns = np.searchsorted(self.classes_, model.classes_)
            found[np.ix_(test, columns)] = model.predict_proba(X[test])
        return found

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Return calibrated probabilities (row, class)."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=np.float64, ensure_all_finite=False)
        return softmax(_log(self.estimator_.predict_proba(X)) / self.temperature_)

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Return the most probable label of each row."""
        p = self.predict_proba(X)
        return self.classes_[p.argmax(axis=1)]

    @property
    def settings_(self) -> Any:
        """What the classifier's own search chose; empty if it has none."""
        check_is_fitted(self)
        return getattr(self.estimator_, "settings_", {})

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = get_tags(self.estimator).input_tags.allow_nan
        return tags


def fit_grouped(model: Any, X: np.ndarray, y: np.ndarray, groups: np.ndarray) -> Any:
    """Fit, with groups if the classifier knows them."""
    from inspect import signature

    if "groups" in signature(model.fit).parameters:
        return model.fit(X, y, groups=groups)
    return model.fit(X, y)


def _log(p: np.ndarray) -> np.ndarray:
    return np.log(p + LEAST_PROBABILITY)
