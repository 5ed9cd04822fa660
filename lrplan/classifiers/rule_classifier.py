"""The classifier of forecasts and verdicts: a calibrated random forest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from lrplan.classifiers._forest import Forest
from lrplan.classifiers._search import best_temperature, softmax
from lrplan.classifiers.splits import organism_folds

# On the starter cohort deeper searches (more features at a split, more trees) cost 3 to 5 times as
# much and gained no accuracy outside its interval.
GRID: tuple[Mapping[str, Any], ...] = (
    {"max_features": "sqrt", "max_samples": 0.5},
    {"max_features": "log2", "max_samples": 0.5},
)


class RuleClassifier(ClassifierMixin, BaseEstimator):
    """A random forest whose settings and calibration are chosen inside the training set.

    Settings are those of `grid` with the lowest cross-entropy in cross-validation, grouped by
    organism. The same out-of-fold probabilities set a temperature that calibrates the forest's
    votes (Guo et al., ICML 2017), and are kept for verdicts.

    Parameters
    ----------
    grid : sequence of mapping
        ``max_features`` and ``max_samples`` to choose from, as in
        `sklearn.ensemble.RandomForestClassifier`.
    trees : int, default 100
        Trees of the forest.
    search_trees : int, default 40
        Trees of each forest of the inner cross-validation.
    folds : int, default 3
        Folds of the inner cross-validation.
    random_state : int, default 0
        Seeds folds and forests.

    Attributes
    ----------
    classes_ : array
        Rules, sorted.
    settings_ : mapping
        The chosen settings.
    temperature_ : float
        Divides log-probabilities.
    kept_ : array of bool
        Features that were finite in every training recording.
    out_of_fold_ : array (recording, rule)
        Calibrated probabilities of the training recordings, each by forests that did not see
        its organism.
    """

    def __init__(
        self,
        grid: Sequence[Mapping[str, Any]] = GRID,
        trees: int = 100,
        search_trees: int = 40,
        folds: int = 3,
        random_state: int = 0,
    ) -> None:
        self.grid = grid
        self.trees = trees
        self.search_trees = search_trees
        self.folds = folds
        self.random_state = random_state

    def fit(
        self, X: np.ndarray, y: np.ndarray, organisms: np.ndarray | None = None
    ) -> RuleClassifier:
        """Choose settings, calibrate, and train on all recordings.

        Parameters
        ----------
        X : array (recording, feature)
            Features; one that is not finite somewhere is left out.
        y : array (recording,)
            Rules.
        organisms : array (recording,), optional
            Recordings of one organism never stand on both sides of an inner split; by default
            each recording is its own organism.
        """
        X, y = np.asarray(X), np.asarray(y)
        groups = np.arange(len(y)) if organisms is None else np.asarray(organisms)
        self.classes_ = np.unique(y)
        self.n_features_in_ = X.shape[1]
        self.kept_ = np.isfinite(X).all(axis=0)
        X = _prepared(X[:, self.kept_])
        index = np.searchsorted(self.classes_, y)
        rng = np.random.default_rng(self.random_state)
        fold = organism_folds(y, groups, self.folds, rng)
        best = np.inf
        for settings in self.grid:
            logits = np.empty((len(y), len(self.classes_)))
            for k in range(self.folds):
                train, test = fold != k, fold == k
                if test.any():
                    forest = self._forest(settings, X[train], index[train], self.search_trees)
                    logits[test] = self._logits(forest, X[test])
            temperature, loss = best_temperature(logits, index)
            if loss < best:
                best = loss
                self.settings_, self.temperature_ = settings, temperature
                self.out_of_fold_ = softmax(logits / temperature)
        self.forest_ = self._forest(self.settings_, X, index, self.trees)
        return self

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Return calibrated probabilities (recording, rule)."""
        check_is_fitted(self)
        kept = np.nan_to_num(np.asarray(X)[:, self.kept_])
        return softmax(self._logits(self.forest_, _prepared(kept)) / self.temperature_)

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Return the most probable rule of each recording."""
        return self.classes_[self.predict_proba(X).argmax(axis=1)]

    def _forest(
        self, settings: Mapping[str, Any], X: np.ndarray, index: np.ndarray, trees: int
    ) -> Forest:
        forest = Forest(
            X,
            index,
            len(self.classes_),
            balanced=True,
            random_state=self.random_state,
            **settings,
        )
        return forest.grow(trees)

    def _logits(self, forest: Forest, X: np.ndarray) -> np.ndarray:
        """Return log votes, smoothed: no rule is impossible after a finite number of trees."""
        smoothed = forest.votes(X) / len(forest.trees) + 0.5 / self.search_trees
        return np.asarray(np.log(smoothed / smoothed.sum(axis=1, keepdims=True)))


def _prepared(X: np.ndarray) -> np.ndarray:
    """Return what trees take: float32, row after row."""
    return np.ascontiguousarray(X, dtype=np.float32)
