"""Random forest, its settings raced instead of tried one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lrplan.classifiers import classifiers
from lrplan.classifiers._forest import Forest, gini_importances, sum_votes
from lrplan.classifiers._search import Accuracy, Found, SearchedClassifier
from lrplan.errors import UsageError

PAPER: Mapping[str, Sequence[Any]] = {
    "max_features": ("sqrt", "log2", "all"),
    "trees": (20, 50, 100, 500, 1000),
}
QUICK: Mapping[str, Sequence[Any]] = {"max_features": ("sqrt", "log2"), "trees": (100,)}
# Trees after which a race can be over. Rankings of forests this large are those of larger ones.
DECIDED = 100
# Never so few that the ranking is one of single trees.
LEAST = 20
# Times the work of the leader.
DEAR = 4


@classifiers.register("random_forest")
class RandomForest(SearchedClassifier):
    """A random forest.

    The settings are raced inside the training set. All start with equal work, so that those that
    look at few features have more trees by then. A setting that is more than a standard error
    (over groups) behind the leader drops out, and one that costs more than four times as much
    leads only by more than a standard error; each next round has three times the work, up to 100
    trees. The number of trees is no trade-off (more are never worse but for chance), so the forest
    that is kept has the largest number of the grid.

    Parameters
    ----------
    grid : mapping, optional
        Values of ``max_features`` ("sqrt", "log2", "all", a share or a number) and ``trees``; by
        default the paper's: {sqrt, log2, all} x {20, 50, 100, 500, 1000}.
    folds : int, default 5
        Folds of the inner cross-validation.
    random_state : int, default 0
        Seeds folds and trees.
    workers : int, optional
        Threads; by default as many as the process has cores. No result depends on it.

    Attributes
    ----------
    trees_ : list of sklearn.tree.DecisionTreeClassifier
        The forest.

    Notes
    -----
    Breiman, Random forests, Machine Learning 2001. That more trees are not worse: Probst and
    Boulesteix, To tune or not to tune the number of trees in random forest, JMLR 2018. Racing:
    Maron and Moore, Hoeffding races, NIPS 1993.

    Examples
    --------
    >>> x = np.random.default_rng(0).standard_normal((80, 4))
    >>> y = np.where(x[:, 0] > 0, "a", "b")
    >>> model = RandomForest(grid={"max_features": ["sqrt"], "trees": [20]}).fit(x, y)
    >>> model.settings_
    {'max_features': 'sqrt', 'trees': 20}
    """

    summary = "random forest, its settings raced"
    cites = "Breiman, Machine Learning 2001"

    def __init__(
        self,
        grid: Mapping[str, Sequence[Any]] | None = None,
        folds: int = 5,
        random_state: int = 0,
        workers: int | None = None,
    ) -> None:
        self.grid = grid
        self.folds = folds
        self.random_state = random_state
        self.workers = workers

    @classmethod
    def make(
        cls, *, sessions: int, static: int, random_state: int, effort: str, workers: int | None
    ) -> RandomForest:
        """Return one that is not fitted yet; sessions are features like any other."""
        if effort == "quick":
            return cls(grid=QUICK, folds=3, random_state=random_state, workers=workers)
        return cls(random_state=random_state, workers=workers)

    @property
    def feature_importances_(self) -> np.ndarray:
        """Share of each feature in the decrease of Gini impurity; 0 where it was left out."""
        whole = np.zeros(len(self.kept_))
        whole[self.kept_] = gini_importances(self.trees_)
        return whole

    def _search(
        self, Z: np.ndarray, index: np.ndarray, fold: np.ndarray, groups: np.ndarray
    ) -> Found:
        grid = self._settings_of(PAPER)
        for trees in grid["trees"]:
            if isinstance(trees, bool) or not isinstance(trees, (int, np.integer)) or trees < 1:
                raise UsageError(f"the grid has {trees!r} trees; expected at least 1")
        most = int(max(grid["trees"]))
        last = min(most, DECIDED)
        features = Z.shape[1]
        X = _prepared(Z)
        accuracy = Accuracy(index, len(self.classes_), groups)
        entrants = sorted(
            (
                _Entrant(m, _looked_at(m, features), X, index, fold, self.random_state)
                for m in dict.fromkeys(grid["max_features"])
            ),
            key=lambda e: e.cost,
        )
        racing = list(entrants)
        # Work is counted in features looked at; the cheapest has all trees in the first round.
        work = entrants[0].cost * last
        with self._pool() as pool:
            while True:
                for e in racing:
                    e.grow(int(np.clip(work // e.cost, min(LEAST, last), last)), pool.map)
                chosen, *others = _survivors(racing, accuracy)
                racing = sorted([chosen, *others], key=lambda e: e.cost)
                if not others or all(e.trees == last for e in racing):
                    break
                work *= 3
            chosen.grow(last, pool.map)
        tried = [
            {
                "max_features": e.max_features,
                "trees": e.trees,
                "accuracy": accuracy.of(e.votes),
            }
            for e in entrants
        ]
        settings = {"max_features": chosen.max_features, "trees": most}
        return Found(settings, _log_votes(chosen.votes, chosen.trees), tried)

    def _train(self, Z: np.ndarray, index: np.ndarray) -> None:
        trees = self.settings_["trees"]
        m = self.settings_["max_features"]
        forest = _forest(_prepared(Z), index, len(self.classes_), m, self.random_state)
        with self._pool() as pool:
            self.trees_ = forest.grow(trees, pool.map).trees

    def _logits(self, Z: np.ndarray) -> np.ndarray:
        votes = sum_votes(self.trees_, _prepared(Z), len(self.classes_))
        return _log_votes(votes, len(self.trees_))


class _Entrant:
    """One setting in the race: a forest per fold, and what they say of the rows left out."""

    def __init__(
        self,
        max_features: Any,
        cost: int,
        X: np.ndarray,
        index: np.ndarray,
        fold: np.ndarray,
        seed: int,
    ) -> None:
        self.max_features = max_features
        self.cost = cost
        self.trees = 0
        classes = int(index.max()) + 1
        self.votes = np.zeros((len(X), classes))
        self._parts = [
            (test, X[test], _forest(X[~test], index[~test], classes, max_features, seed))
            for test in (fold == k for k in np.unique(fold))
        ]

    def grow(self, trees: int, map: Any) -> None:
        for test, X, forest in self._parts:
            forest.grow(trees, map)
            self.votes[test] += forest.votes(X, start=self.trees)
        self.trees = max(self.trees, trees)


def _survivors(racing: list[_Entrant], accuracy: Accuracy) -> list[_Entrant]:
    """Return the leader and those that may yet catch up with it; `racing` is sorted by cost."""
    leader = racing[0]
    for e in racing[1:]:
        ahead, error = accuracy.behind(leader.votes, e.votes)
        if ahead > (error if _dear(e, leader) else 0):
            leader = e
    stays = []
    for e in racing:
        behind, error = accuracy.behind(e.votes, leader.votes)
        if e is not leader and not _dear(e, leader) and behind <= error:
            stays.append(e)
    return [leader, *stays]


def _dear(entrant: _Entrant, leader: _Entrant) -> bool:
    """Return whether one costs so much more that it has to be better by more than chance."""
    return entrant.cost > DEAR * leader.cost


def _forest(X: np.ndarray, index: np.ndarray, classes: int, max_features: Any, seed: int) -> Forest:
    return Forest(
        np.ascontiguousarray(X),
        index,
        classes,
        max_features=None if max_features == "all" else max_features,
        random_state=seed,
    )


def _prepared(Z: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(Z, dtype=np.float32)


def _log_votes(votes: np.ndarray, trees: int) -> np.ndarray:
    """Return logarithms of the mean votes; what no tree says has half a vote of one tree."""
    smoothed = votes + 0.5 / votes.shape[1]
    return np.log(smoothed / (trees + 0.5))


def _looked_at(max_features: Any, features: int) -> int:
    """Return how many features are looked at for a split."""
    words = {"sqrt": int(np.sqrt(features)), "log2": int(np.log2(features)), "all": features}
    if isinstance(max_features, str) and max_features in words:
        return max(1, words[max_features])
    if isinstance(max_features, (int, np.integer)) and not isinstance(max_features, bool):
        if max_features >= 1:
            return min(int(max_features), features)
    elif isinstance(max_features, float) and 0 < max_features <= 1:
        return max(1, int(max_features * features))
    raise UsageError(
        f"the grid has max_features {max_features!r}; expected sqrt, log2, all, a number of at "
        "least 1 or a share between 0 and 1"
    )
