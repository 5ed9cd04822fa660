"""Extremely randomised trees on windows of a trajectory, bagged by whole organisms."""

from __future__ import annotations

import numpy as np

from lrplan.classifiers import classifiers
from lrplan.classifiers._forest import gini_importances, grow_tree, sum_votes
from lrplan.classifiers._search import Found, class_weights
from lrplan.classifiers._trajectory import TrajectoryClassifier
from lrplan.classifiers.splits import Splits
from lrplan.errors import UsageError
from lrplan.randomness import keyed_rng

WINDOWS = (0.0, 0.1, 0.25, 0.55, 1.0)
"""Ends of the windows behind the first session, as shares of the later sessions."""
SHARE = 0.5
"""Share of the organisms of each label that a tree sees."""
LEAST_SHARE = 1e-3
"""What a class without a vote counts as, so that none is ever impossible."""


def windows(sessions: int) -> list[tuple[int, int]]:
    """Return the windows (first session, end) over which observables are averaged.

    The first session is one of its own; those behind it grow, as learning is fast at first.
    Where there are few sessions, each is a window.

    Examples
    --------
    >>> windows(21)
    [(0, 1), (1, 3), (3, 6), (6, 12), (12, 21)]
    >>> windows(3)
    [(0, 1), (1, 2), (2, 3)]
    """
    if sessions <= len(WINDOWS):
        ends = list(range(1, sessions + 1))
    else:
        ends = sorted({1 + int(share * (sessions - 1) + 0.5) for share in WINDOWS})
    return list(zip([0, *ends[:-1]], ends, strict=True))


@classifiers.register("extra_trees")
class ExtraTrees(TrajectoryClassifier):
    """Extremely randomised trees on the means of observables over windows of sessions.

    Each tree is grown on all rows of half of the organisms of each label, drawn without
    replacement. The trees that did not see an organism give its out-of-fold probabilities, so
    that no second set of trees is needed to calibrate the first. Nothing is searched.

    Parameters
    ----------
    sessions : int, default 1
        Sessions of a trajectory; see `TrajectoryClassifier` for the order of columns.
    static : int, default 0
        Columns at the end that belong to no session.
    trees : int, default 200
        How many.
    leaf : int, default 2
        The fewest rows of a leaf.
    random_state : int, default 0
        Seeds organisms and trees.
    workers : int, optional
        Threads; by default as many as the process has cores. No result depends on it.

    Attributes
    ----------
    trees_ : list of sklearn.tree.DecisionTreeClassifier
        The forest.

    Notes
    -----
    Geurts, Ernst and Wehenkel, Extremely randomized trees, Machine Learning 2006. Out of bag:
    Breiman, Machine Learning 2001; here whole organisms are in the bag or out of it.

    Examples
    --------
    >>> x = np.random.default_rng(0).standard_normal((80, 4))
    >>> y = np.where(x[:, 0] > 0, "a", "b")
    >>> ExtraTrees(trees=20).fit(x, y).out_of_fold_.shape
    (80, 2)
    """

    summary = "extremely randomised trees on windows of sessions, bagged by organism"
    cites = "Geurts et al., Machine Learning 2006"

    # What the base deals folds and searches with; here there is nothing to search.
    grid = None
    folds = 2

    def __init__(
        self,
        sessions: int = 1,
        static: int = 0,
        trees: int = 200,
        leaf: int = 2,
        random_state: int = 0,
        workers: int | None = None,
    ) -> None:
        self.sessions = sessions
        self.static = static
        self.trees = trees
        self.leaf = leaf
        self.random_state = random_state
        self.workers = workers

    @classmethod
    def make(
        cls, *, sessions: int, static: int, random_state: int, effort: str, workers: int | None
    ) -> ExtraTrees:
        """Return one that is not fitted yet; with the effort ``quick`` of 100 trees."""
        return cls(
            sessions=sessions,
            static=static,
            trees=100 if effort == "quick" else 200,
            random_state=random_state,
            workers=workers,
        )

    def _search(
        self, Z: np.ndarray, index: np.ndarray, splits: Splits, groups: np.ndarray
    ) -> Found:
        for name in ("trees", "leaf"):
            value = getattr(self, name)
            whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
            if not whole or value < 1:
                raise UsageError(f"{name} is {value!r}; expected a whole number from 1 on")
        X, classes = self._windowed(Z), len(self.classes_)
        weight = class_weights(index, classes) * len(index)
        y = index.astype(np.float64)
        bags = _bags(index, groups, self.trees, self.random_state)

        def grow(bag: tuple[np.ndarray, int]) -> tuple[object, np.ndarray]:
            inside, seed = bag
            tree = grow_tree(
                X,
                y,
                np.where(inside, weight, 0),
                max_features="sqrt",
                seed=seed,
                splitter="random",
                leaf=int(self.leaf),
            )
            return tree, sum_votes([tree], X[~inside], classes)

        votes, voters = np.zeros((len(X), classes)), np.zeros((len(X), 1))
        self.trees_ = []
        with self._spread() as spread:
            for (inside, _), (tree, found) in zip(bags, spread(grow, bags), strict=True):
                self.trees_.append(tree)
                votes[~inside] += found
                voters[~inside] += 1
        # An organism that every tree saw is as likely to be of any class.
        shares = np.where(voters > 0, votes / np.maximum(voters, 1), 1 / classes)
        return Found({"trees": int(self.trees), "leaf": int(self.leaf)}, _log(shares), [])

    def _train(self, Z: np.ndarray, index: np.ndarray) -> None:
        """Leave the trees as they are: they were grown on all that a tree sees."""

    def _logits(self, Z: np.ndarray) -> np.ndarray:
        votes = sum_votes(self.trees_, self._windowed(Z), len(self.classes_))
        return _log(votes / len(self.trees_))

    def _windowed(self, Z: np.ndarray) -> np.ndarray:
        """Return means over windows, and what belongs to no session (row, feature) of float32."""
        trajectory, static = self._split(Z * self.scale_ + self.mean_)
        means = [trajectory[:, a:b].mean(axis=1) for a, b in windows(self.sessions)]
        most = float(np.finfo(np.float32).max)
        wide = np.clip(np.concatenate([*means, static], axis=1), -most, most)
        return np.ascontiguousarray(wide, dtype=np.float32)

    @property
    def feature_importances_(self) -> np.ndarray:
        """Share of each feature in the decrease of Gini impurity; 0 where it was left out.

        What a window has is shared by its sessions.
        """
        found = gini_importances(self.trees_)
        static = int(self.kept_[len(self.kept_) - self.static :].sum()) if self.static else 0
        spans = windows(self.sessions)
        of_window = found[: len(found) - static].reshape(len(spans), -1)
        lengths = np.array([b - a for a, b in spans])
        of_session = np.repeat(of_window / lengths[:, None], lengths, axis=0)
        whole = np.zeros(len(self.kept_))
        whole[self.kept_] = np.concatenate([of_session.ravel(), found[len(found) - static :]])
        return whole


def _bags(
    index: np.ndarray, groups: np.ndarray, trees: int, seed: int
) -> list[tuple[np.ndarray, int]]:
    """Return for each tree which rows it sees, and its seed.

    Of each label at least one organism is in, and at least one out. An organism that has rows of
    several labels belongs to that of its first.
    """
    _, first, organism = np.unique(groups, return_index=True, return_inverse=True)
    label = index[first]
    members = [np.flatnonzero(label == k) for k in np.unique(label)]
    drawn = [min(max(1, round(SHARE * len(m))), max(len(m) - 1, 1)) for m in members]
    rng = keyed_rng(seed, "bags of organisms")
    out = []
    for _ in range(trees):
        bag = np.zeros(len(first), dtype=bool)
        for own, n in zip(members, drawn, strict=True):
            bag[rng.permutation(own)[:n]] = True
        out.append((bag[organism], int(rng.integers(2**31))))
    return out


def _log(shares: np.ndarray) -> np.ndarray:
    return np.log(shares + LEAST_SHARE)
