"""Forests that grow: the first trees of a larger forest are the smaller forest."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from sklearn import config_context
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils import check_random_state

from lrplan.classifiers._search import Map, class_weights


class Forest:
    """A random forest that is grown by stages (Breiman 2001).

    The trees are those of `sklearn.ensemble.RandomForestClassifier` with the same seed, grown
    without its copies at each tree.

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
    max_samples : float, default 1.0
        How many rows a tree draws, with replacement, as a share of those there are.
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
        max_samples: float = 1.0,
        balanced: bool = False,
        random_state: int,
    ) -> None:
        self.trees: list[DecisionTreeClassifier] = []
        self._max_features = max_features
        self._X = X
        self._y = index.astype(np.float64)
        self._classes = classes
        # Trees number the classes that they see.
        self._present = np.unique(index)
        self._p = class_weights(index, classes) if balanced else None
        self._drawn = max(1, int(max_samples * len(index)))
        self._seeds = check_random_state(random_state)
        self._rows = check_random_state(0)
        self._grown = 0

    def grow(self, trees: int, map: Map = map) -> Forest:
        """Grow until so many trees have been grown; `map` may be that of a pool of threads."""
        more = trees - self._grown
        if more > 0:
            self._grown += more
            seeds = [int(self._seeds.randint(np.iinfo(np.int32).max)) for _ in range(more)]
            self.trees += list(map(self._tree, [(seed, self._draw(seed)) for seed in seeds]))
        return self

    def forget(self) -> None:
        """Let go of the trees; those that are grown next are the ones that would have come."""
        self.trees = []

    def _draw(self, seed: int) -> np.ndarray:
        """Return how often each row is drawn."""
        # Seeding one generator again takes a tenth of the time that making one takes.
        self._rows.seed(seed)
        n = len(self._y)
        if self._p is None:
            rows = self._rows.randint(0, n, self._drawn)
        else:
            rows = self._rows.choice(n, self._drawn, replace=True, p=self._p)
        return np.bincount(rows, minlength=n).astype(np.float64)

    def _tree(self, drawn: tuple[int, np.ndarray]) -> DecisionTreeClassifier:
        seed, weight = drawn
        return grow_tree(self._X, self._y, weight, max_features=self._max_features, seed=seed)

    def votes(self, X: np.ndarray, start: int = 0) -> np.ndarray:
        """Return the sum of the trees' probabilities (row, class), from tree `start` on.

        `X` is float32, C-contiguous and finite.
        """
        whole = np.zeros((len(X), self._classes))
        whole[:, self._present] = sum_votes(self.trees[start:], X, len(self._present))
        return whole


def grow_tree(
    X: np.ndarray,
    y: np.ndarray,
    weight: np.ndarray,
    *,
    max_features: Any,
    seed: int,
    splitter: Literal["best", "random"] = "best",
    leaf: int = 1,
) -> DecisionTreeClassifier:
    """Grow one tree without scikit-learn's checks, which take longer than a small tree.

    Parameters
    ----------
    X : array (row, feature) of float32
        Features, all finite, C-contiguous.
    y : array (row,) of float64
        Class of each row.
    weight : array (row,) of float64
        A row without weight is not seen.
    max_features : "sqrt", "log2", int, float or None
        Features that are looked at for a split.
    seed : int
        Of the features that are looked at.
    splitter : {"best", "random"}, default "best"
        Whether a split is the best of a feature or drawn within its range.
    leaf : int, default 1
        The fewest rows of a leaf.
    """
    tree = DecisionTreeClassifier(
        splitter=splitter, max_features=max_features, min_samples_leaf=leaf, random_state=seed
    )
    with config_context(assume_finite=True, skip_parameter_validation=True):
        return tree.fit(X, y, sample_weight=weight, check_input=False)


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
