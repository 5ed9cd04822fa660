"""The classifier of forecasts and verdicts: a calibrated random forest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import RandomForestClassifier
from sklearn.utils.validation import check_is_fitted

from lrplan.evaluation import organism_folds

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
        Settings of `sklearn.ensemble.RandomForestClassifier` to choose from.
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
        X = X[:, self.kept_]
        index = np.searchsorted(self.classes_, y)
        rng = np.random.default_rng(self.random_state)
        fold = organism_folds(y, groups, self.folds, rng)
        best = np.inf
        for settings in self.grid:
            votes = np.empty((len(y), len(self.classes_)))
            for k in range(self.folds):
                train, test = fold != k, fold == k
                if test.any():
                    forest = self._forest(settings, X[train], y[train], self.search_trees)
                    votes[test] = self._votes(forest, X[test])
            temperature, loss = _temperature(votes, index)
            if loss < best:
                best = loss
                self.settings_, self.temperature_ = settings, temperature
                self.out_of_fold_ = _sharpen(votes, temperature)
        self.forest_ = self._forest(self.settings_, X, y, self.trees)
        return self

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Return calibrated probabilities (recording, rule)."""
        check_is_fitted(self)
        kept = np.nan_to_num(np.asarray(X)[:, self.kept_])
        return _sharpen(self._votes(self.forest_, kept), self.temperature_)

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Return the most probable rule of each recording."""
        return self.classes_[self.predict_proba(X).argmax(axis=1)]

    def _forest(
        self, settings: Mapping[str, Any], X: np.ndarray, y: np.ndarray, trees: int
    ) -> RandomForestClassifier:
        forest = RandomForestClassifier(
            trees, class_weight="balanced", random_state=self.random_state, **settings
        )
        # What is checked once for the forest need not be checked again for each tree.
        with config_context(assume_finite=True, skip_parameter_validation=True):
            return forest.fit(X, y)

    def _votes(self, forest: RandomForestClassifier, X: np.ndarray) -> np.ndarray:
        """Return smoothed votes: no rule is ever impossible after a finite number of trees."""
        votes = np.zeros((len(X), len(self.classes_)))
        votes[:, np.searchsorted(self.classes_, forest.classes_)] = forest.predict_proba(X)
        smoothed = votes + 0.5 / self.search_trees
        return smoothed / smoothed.sum(axis=1, keepdims=True)


def _sharpen(votes: np.ndarray, temperature: float) -> np.ndarray:
    """Return probabilities proportional to votes to the power of 1 / temperature."""
    logits = np.log(votes) / temperature
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)


def _temperature(votes: np.ndarray, index: np.ndarray) -> tuple[float, float]:
    """Return the temperature of lowest cross-entropy, balanced over rules, and that entropy."""
    weight = 1 / np.bincount(index, minlength=votes.shape[1])[index]
    weight = weight / weight.sum()

    def loss(log_temperature: float) -> float:
        p = _sharpen(votes, float(np.exp(log_temperature)))
        return float(-(weight * np.log(p[np.arange(len(index)), index])).sum())

    found = minimize_scalar(loss, bounds=(np.log(0.1), np.log(100.0)), method="bounded")
    return float(np.exp(found.x)), float(found.fun)
