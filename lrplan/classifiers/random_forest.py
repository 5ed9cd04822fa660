"""Random forest, its settings raced instead of tried one by one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from lrplan.classifiers import classifiers
from lrplan.classifiers._forest import Forest, gini_importances, sum_votes
from lrplan.classifiers._search import Accuracy, Found, SearchedClassifier
from lrplan.classifiers.splits import Splits
from lrplan.errors import UsageError

PAPER: Mapping[str, Sequence[Any]] = {
    "max_features": ("sqrt", "log2", "all"),
    "trees": (20, 50, 100, 500, 1000),
}
QUICK: Mapping[str, Sequence[Any]] = {"max_features": ("sqrt", "log2"), "trees": (100,)}
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
    leads only by more than a standard error; each next round has three times the work, up to
    `search_trees`. The number of trees is no trade-off (more are never worse but for chance), so
    the forest that is kept has the largest number of the grid.

    Parameters
    ----------
    grid : mapping, optional
        Values of ``max_features`` ("sqrt", "log2", "all", a share or a number) and ``trees``; by
        default the paper's: {sqrt, log2, all} x {20, 50, 100, 500, 1000}.
    max_samples : float, default 1.0
        How many rows a tree draws, with replacement, as a share of those there are.
    balanced : bool, default False
        Whether rows are drawn so that labels weigh the same.
    search_trees : int, default 100
        Trees after which the race is over, and those that out-of-fold probabilities come from.
        Rankings of forests of 100 trees are those of larger ones.
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
        max_samples: float = 1.0,
        balanced: bool = False,
        search_trees: int = 100,
        folds: int = 5,
        random_state: int = 0,
        workers: int | None = None,
    ) -> None:
        self.grid = grid
        self.max_samples = max_samples
        self.balanced = balanced
        self.search_trees = search_trees
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
        self, Z: np.ndarray, index: np.ndarray, splits: Splits, groups: np.ndarray
    ) -> Found:
        grid = self._settings_of(PAPER)
        most = max(_count(trees, "the grid has {!r} trees") for trees in grid["trees"])
        last = min(most, _count(self.search_trees, "search_trees is {!r}"))
        if not isinstance(self.max_samples, (int, float)) or not 0 < self.max_samples <= 1:
            raise UsageError(
                f"max_samples is {self.max_samples!r}; expected a share above 0, at most 1"
            )
        features = Z.shape[1]
        X = _prepared(Z)
        accuracy = Accuracy(index, len(self.classes_), groups)
        # All settings train on the same rows, which are laid out once.
        parts = [(test, X[test], X[~test]) for test in splits]
        entrants = sorted(
            (
                _Entrant(m, _looked_at(m, features), self._forest, parts, index)
                for m in dict.fromkeys(grid["max_features"])
            ),
            key=lambda e: e.cost,
        )
        racing = list(entrants)
        # Work is counted in features looked at; the cheapest has all trees in the first round.
        work = entrants[0].cost * last
        with self._spread() as spread:
            while True:
                for e in racing:
                    e.grow(int(np.clip(work // e.cost, min(LEAST, last), last)), spread)
                chosen, *others = _survivors(racing, accuracy)
                racing = sorted([chosen, *others], key=lambda e: e.cost)
                if not others or all(e.trees == last for e in racing):
                    break
                work *= 3
            chosen.grow(last, spread)
        tried = [
            {
                "max_features": e.max_features,
                "trees": e.trees,
                "accuracy": accuracy.of(e.votes),
            }
            for e in entrants
        ]
        settings = {"max_features": chosen.max_features, "trees": most}
        return Found(settings, self._log_shares(chosen.votes / chosen.trees), tried)

    def _train(self, Z: np.ndarray, index: np.ndarray) -> None:
        trees = self.settings_["trees"]
        m = self.settings_["max_features"]
        forest = self._forest(_prepared(Z), index, m)
        with self._spread() as spread:
            self.trees_ = forest.grow(trees, spread).trees

    def _logits(self, Z: np.ndarray) -> np.ndarray:
        votes = sum_votes(self.trees_, _prepared(Z), len(self.classes_))
        return self._log_shares(votes / len(self.trees_))

    def _forest(self, X: np.ndarray, index: np.ndarray, max_features: Any) -> Forest:
        return Forest(
            np.ascontiguousarray(X),
            index,
            len(self.classes_),
            max_features=None if max_features == "all" else max_features,
            max_samples=self.max_samples,
            balanced=self.balanced,
            random_state=self.random_state,
        )

    def _log_shares(self, shares: np.ndarray) -> np.ndarray:
        """Return logarithms of the trees' mean votes; what no tree says has a little.

        As much for a large forest as for those of the search, which calibrate it.
        """
        smoothed = shares + 0.5 / self.search_trees
        return np.asarray(np.log(smoothed / smoothed.sum(axis=1, keepdims=True)))


class _Entrant:
    """One setting in the race: a forest per fold, and what they say of the rows left out."""

    def __init__(
        self,
        max_features: Any,
        cost: int,
        forest: Callable[[np.ndarray, np.ndarray, Any], Forest],
        parts: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]],
        index: np.ndarray,
    ) -> None:
        self.max_features = max_features
        self.cost = cost
        self.trees = 0
        self.votes = np.zeros((len(index), int(index.max()) + 1))
        self._parts = [
            (test, tested, forest(trained, index[~test], max_features))
            for test, tested, trained in parts
        ]

    def grow(self, trees: int, map: Any) -> None:
        for test, X, forest in self._parts:
            forest.grow(trees, map)
            self.votes[test] += forest.votes(X)
            # A race asks each tree once, and would hold hundreds of them otherwise.
            forest.forget()
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


def _prepared(Z: np.ndarray) -> np.ndarray:
    """Return what trees take; to them a number beyond float32 is on the far side of every split."""
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(Z, dtype=np.float32)


def _count(value: Any, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise UsageError(f"{what.format(value)}; expected a whole number of at least 1")
    return int(value)


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
