"""Forests that grow: the first trees of a larger forest are the smaller forest."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from sklearn import config_context
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils import check_random_state

Map = Callable[[Callable[[int], Any], Iterable[int]], Iterable[Any]]


class Forest:
    """A random forest that is grown by stages (Breiman 2001).

    The trees are those of `sklearn.ensemble.RandomForestClassifier` with the same seed, grown
    without its checks and copies at each tree, which for small trees take longer than the trees.

    Parameters
    ----------
    X : array (row, feature) of float32
        Features, all finite, C-contiguous.
    index : array (row,) of int
        Class of each row.
    classes : int
        How many classes there are; `index` need not hold them all.
    max_features : "sqrt", "log2", int, float or None, default "sqrt"
        Features that are looked at for a split; None is all.
    max_samples : float, optional
        Share of the rows that a tree draws; by default as many as there are.
    balanced : bool, default False
        Whether rows are drawn so that classes weigh the same.
    random_state : int
        Seeds the trees.
    """

    def __init__(
        self,
        X: np.ndarray,
        index: np.ndarray,
        classes: int,
        *,
        max_features: Any = "sqrt",
        max_samples: float | None = None,
        balanced: bool = False,
        random_state: int,
    ) -> None:
        self.trees: list[DecisionTreeClassifier] = []
        self._max_features = max_features
        self._X = X
        self._y = index.astype(np.float64)
        self._classes = classes
        # Trees number the classes that they see.
        self._present, counts = np.unique(index, return_counts=True)
        n: float = len(index)
        self._p = None
        if balanced:
            of_class = len(index) / (len(counts) * counts)
            weight = of_class[np.searchsorted(self._present, index)]
            n = weight.sum()
            self._p = weight / n
        self._drawn = len(index) if max_samples is None else max(1, int(max_samples * n))
        self._seeds = check_random_state(random_state)

    def grow(self, trees: int, map: Map = map) -> Forest:
        """Grow until there are so many trees; `map` may be that of a pool of threads."""
        more = trees - len(self.trees)
        if more > 0:
            seeds = [int(self._seeds.randint(np.iinfo(np.int32).max)) for _ in range(more)]
            self.trees += list(map(self._tree, seeds))
        return self

    def _tree(self, seed: int) -> DecisionTreeClassifier:
        rng = check_random_state(seed)
        n = len(self._y)
        if self._p is None:
            rows = rng.randint(0, n, self._drawn)
        else:
            rows = rng.choice(n, self._drawn, replace=True, p=self._p)
        weight = np.bincount(rows, minlength=n).astype(np.float64)
        tree = DecisionTreeClassifier(max_features=self._max_features, random_state=seed)
        # What is checked once need not be checked again for each tree.
        with config_context(assume_finite=True, skip_parameter_validation=True):
            return tree.fit(self._X, self._y, sample_weight=weight, check_input=False)

    def votes(self, X: np.ndarray, start: int = 0) -> np.ndarray:
        """Return the sum of the trees' probabilities (row, class), from tree `start` on.

        `X` is float32, C-contiguous and finite.
        """
        whole = np.zeros((len(X), self._classes))
        whole[:, self._present] = sum_votes(self.trees[start:], X, len(self._present))
        return whole


def sum_votes(trees: list[DecisionTreeClassifier], X: np.ndarray, classes: int) -> np.ndarray:
    """Return the sum of trees' probabilities (row, class); `X` is float32, C-contiguous, finite."""
    votes = np.zeros((len(X), classes))
    for tree in trees:
        votes += tree.tree_.predict(X)
    return votes


def gini_importances(trees: list[DecisionTreeClassifier]) -> np.ndarray:
    """Return the share of each feature in the decrease of Gini impurity, mean over trees."""
    total = np.zeros(trees[0].n_features_in_)
    for tree in trees:
        total += tree.feature_importances_
    return total / total.sum() if total.sum() > 0 else total
