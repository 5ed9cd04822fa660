"""Linear support vector machine, alone or after principal components."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from sklearn.svm import SVC

from lrplan.classifiers import classifiers
from lrplan.classifiers._search import Accuracy, Found, SearchedClassifier, moments
from lrplan.classifiers.splits import Splits
from lrplan.errors import UsageError

PAPER: Mapping[str, Sequence[Any]] = {
    "C": (1.0, 5e1, 5e2, 5e3, 5e4, 5e5, 5e6),
    "components": (None, 10, 20, 30, 40, 50, 100, 200, 300, 400, 500, 600),
}
QUICK: Mapping[str, Sequence[Any]] = {"C": (1.0, 5e1), "components": (None, 50)}
# Steps of the solver for each two classes, as in the common use of scikit-learn's `max_iter`: with
# large C and few components, where classes overlap, millions would change accuracy by nothing.
STEPS = 20_000
# Standard errors behind the best at which a number of components is given up.
HOPELESS = 2


@classifiers.register("linear_svm")
class LinearSVM(SearchedClassifier):
    """A linear support vector machine, alone or after principal components.

    One decomposition of each fold's Gram matrix serves all numbers of components and all C. C goes
    up: where no multiplier reaches C, a larger C gives the same machine, and it is not solved
    again; a number of components that is two standard errors (over groups) behind the best is not
    taken further.

    Parameters
    ----------
    grid : mapping, optional
        Values of ``C`` and of ``components`` (None: no principal components); by default the
        paper's: C {1, 5e1, 5e2, ..., 5e6} x {None, 10, 20, 30, 40, 50, 100, 200, ..., 600}. More
        components than the training rows of a fold span are left out.
    folds : int, default 5
        Folds of the inner cross-validation.
    random_state : int, default 0
        Seeds folds.
    workers : int, optional
        Threads; by default as many as the process has cores. No result depends on it.

    Attributes
    ----------
    coef_ : array (pair, kept feature)
        One machine for each two classes, in the order of `itertools.combinations`; positive
        is the first class.
    intercept_ : array (pair,)
        Its offsets.

    Notes
    -----
    The decision is by votes between pairs, ties by the sum of confidences, as in
    `sklearn.svm.SVC` with ``break_ties=True``. Probabilities are a softmax of these decision
    values at a temperature set on out-of-fold values.
    Cortes and Vapnik, Support-vector networks, Machine Learning 1995.

    Examples
    --------
    >>> x = np.random.default_rng(0).standard_normal((80, 4))
    >>> y = np.where(x[:, 0] > 0, "a", "b")
    >>> LinearSVM(grid={"C": [1], "components": [None]}).fit(x, y).settings_
    {'C': 1.0, 'components': None}
    """

    summary = "linear support vector machine, alone or after principal components"
    cites = "Cortes and Vapnik, Machine Learning 1995"
    _scaled = True

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
    ) -> LinearSVM:
        """Return one that is not fitted yet; sessions are features like any other."""
        if effort == "quick":
            return cls(grid=QUICK, folds=3, random_state=random_state, workers=workers)
        return cls(random_state=random_state, workers=workers)

    def _search(
        self, Z: np.ndarray, index: np.ndarray, splits: Splits, groups: np.ndarray
    ) -> Found:
        grid = self._settings_of(PAPER)
        costs = sorted(_cost(c) for c in grid["C"])
        asked = [_components(k) for k in dict.fromkeys(grid["components"])]
        classes = len(self.classes_)
        with self._spread() as spread:
            folds = list(spread(lambda t: _Fold(Z[~t], Z[t], index[~t], classes), splits))
            rank = min(f.rank for f in folds)
            # Components beyond the rank hold nothing: all of them are the machine without.
            racing = [k for k in asked if k is None or k <= rank] or [None]
            accuracy = Accuracy(index, classes, groups)
            tried: list[dict[str, Any]] = []
            logits: dict[int | None, np.ndarray] = {}
            best: tuple[float, dict[str, Any], np.ndarray] | None = None
            for c in costs:
                jobs = [(f, k, c) for k in racing for f in folds]
                found = list(spread(lambda job: job[0].test(*job[1:]), jobs))
                for i, k in enumerate(racing):
                    of_fold = found[i * len(folds) : (i + 1) * len(folds)]
                    logits[k] = np.empty((len(index), classes))
                    for rows, tested in zip(splits, of_fold, strict=True):
                        logits[k][rows] = tested.logits
                    reached = accuracy.of(logits[k])
                    solved = all(tested.solved for tested in of_fold)
                    setting = {"C": c, "components": k}
                    tried.append({**setting, "accuracy": reached, "solved": solved})
                    if best is None or reached > best[0]:
                        best = reached, setting, logits[k]
                assert best is not None
                racing = [k for k in racing if not _hopeless(accuracy.behind(logits[k], best[2]))]
        assert best is not None
        return Found(best[1], best[2], tried)

    def _train(self, Z: np.ndarray, index: np.ndarray) -> None:
        whole = _Fold(Z, Z[:0], index, len(self.classes_))
        self.coef_, self.intercept_ = whole.machine(**self.settings_)

    def decision_function(self, X: np.ndarray) -> np.ndarray:
        """Return votes with confidences (row, class); for two classes, of the second (row,)."""
        decided = self._judge(X)
        return decided[:, 1] - decided[:, 0] if len(self.classes_) == 2 else decided

    def _logits(self, Z: np.ndarray) -> np.ndarray:
        return decide(Z @ self.coef_.T + self.intercept_, len(self.classes_))


class _Tested(NamedTuple):
    """Decision values of the test rows (row, class), and whether the solver ended."""

    logits: np.ndarray
    solved: bool


class _Fold:
    """Training rows of a fold in the coordinates of their principal components."""

    def __init__(self, train: np.ndarray, test: np.ndarray, index: np.ndarray, classes: int):
        self._index = index
        self._classes = classes
        self._mean, self._scale = moments(train)
        A = (train - self._mean) / self._scale
        B = (test - self._mean) / self._scale
        # The columns are centred, so the components are those of the Gram matrix.
        if len(A) <= A.shape[1]:
            values, vectors = np.linalg.eigh(A @ A.T)
        else:
            values, vectors = np.linalg.eigh(A.T @ A)
        values, vectors = values[::-1], vectors[:, ::-1]
        self.rank = int((values > 1e-10 * max(values[0], 1e-300)).sum())
        root = np.sqrt(values[: self.rank])
        if len(A) <= A.shape[1]:
            self._axes = A.T @ (vectors[:, : self.rank] / root)  # feature, component
        else:
            self._axes = vectors[:, : self.rank]
        self._train, self._test = A @ self._axes, B @ self._axes
        # What larger C do not change.
        self._final: dict[int | None, _Tested] = {}

    def test(self, components: int | None, c: float) -> _Tested:
        """Return decision values of the test rows."""
        if components in self._final:
            return self._final[components]
        train, test = self._train[:, :components], self._test[:, :components]
        solved, free, weights, offsets = self._solve(train @ train.T, c)
        logits = decide(test @ (weights @ train).T + offsets, self._classes)
        found = _Tested(logits, solved)
        if free:
            self._final[components] = found
        return found

    def machine(self, C: float, components: int | None) -> tuple[np.ndarray, np.ndarray]:
        """Return coefficients (pair, feature) and offsets (pair,) for rows as they were given."""
        train = self._train[:, :components]
        _, _, weights, offsets = self._solve(train @ train.T, C)
        coef = (weights @ train) @ self._axes[:, :components].T / self._scale
        return coef, offsets - coef @ self._mean

    def _solve(self, gram: np.ndarray, c: float) -> tuple[bool, bool, np.ndarray, np.ndarray]:
        """Solve all pairs of classes.

        Returns
        -------
        solved, free : bool
            Whether the solver ended, and whether no multiplier has reached C.
        weights : array (pair, row)
            Of the training rows.
        offsets : array (pair,)
        """
        svm = _QuietSVC(C=c, kernel="precomputed", max_iter=STEPS)
        svm.fit(gram, self._index)
        dual = np.asarray(svm.dual_coef_)
        pairs = list(combinations(range(len(svm.classes_)), 2))
        owner = np.repeat(np.arange(len(svm.classes_)), svm.n_support_)
        places = list(combinations(range(self._classes), 2))
        weights = np.zeros((len(places), len(gram)))
        offsets = np.zeros(len(places))
        # libsvm keeps, for a row of class i, its multiplier against class j in row j (or j - 1).
        for p, (i, j) in enumerate(pairs):
            place = places.index((int(svm.classes_[i]), int(svm.classes_[j])))
            weights[place, svm.support_[owner == i]] = dual[j - 1, owner == i]
            weights[place, svm.support_[owner == j]] = dual[i, owner == j]
            offsets[place] = svm.intercept_[p]
        if len(pairs) == 1:
            # For two classes scikit-learn's sign is that of the second class.
            weights, offsets = -weights, -offsets
        return svm.fit_status_ == 0, bool(np.abs(dual).max() < c * (1 - 1e-9)), weights, offsets


def _hopeless(behind: tuple[float, float]) -> bool:
    gap, error = behind
    return gap > HOPELESS * error and gap > 0


class _QuietSVC(SVC):
    """Says in ``fit_status_`` alone that it did not end; a warning cannot be caught in a thread."""

    def _warn_from_fit_status(self) -> None:
        pass


def decide(between: np.ndarray, classes: int) -> np.ndarray:
    """Turn decision values between pairs (row, pair) into one per class (row, class).

    Votes, plus a monotone function of the sum of confidences that stays below half a vote.
    """
    votes = np.zeros((len(between), classes))
    confidence = np.zeros((len(between), classes))
    for p, (i, j) in enumerate(combinations(range(classes), 2)):
        votes[:, i] += between[:, p] > 0
        votes[:, j] += between[:, p] <= 0
        confidence[:, i] += between[:, p]
        confidence[:, j] -= between[:, p]
    if classes == 2:
        return confidence / 2
    return votes + confidence / (3 * (np.abs(confidence) + 1))


def _cost(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < np.inf:
        raise UsageError(f"the grid has a C of {value!r}; expected a number above 0")
    return float(value)


def _components(value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise UsageError(f"the grid has {value!r} components; expected None or at least 1")
    return int(value)
