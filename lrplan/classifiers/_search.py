"""What the classifiers share: preparation of features, inner splits, scores, calibration."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from scipy.optimize import minimize_scalar
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import Tags
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from lrplan.classifiers.splits import Splits, count_groups
from lrplan.errors import UsageError
from lrplan.randomness import keyed_rng
from lrplan.registry import nearest
from lrplan.threads import threads

# What `map` does, perhaps on several threads.
Map = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]


@dataclass
class Found:
    """What a search inside the training set found.

    Parameters
    ----------
    settings : dict
        The chosen settings.
    logits : array (row, class)
        Out-of-fold scores under these settings; their softmax are probabilities.
    tried : list of dict
        One record per setting that was tried: the setting, how far it was taken, its balanced
        out-of-fold accuracy there.
    """

    settings: dict[str, Any]
    logits: np.ndarray
    tried: list[dict[str, Any]]


class SearchedClassifier(ClassifierMixin, BaseEstimator, ABC):
    """Base of classifiers whose settings are searched with folds inside the training set.

    Subclasses have the parameters ``grid``, ``folds``, ``random_state`` and ``workers``.

    Attributes
    ----------
    classes_ : array
        Labels, sorted.
    settings_ : dict
        The chosen settings.
    temperature_ : float
        Divides the scores; 1 where they are logarithms of probabilities already.
    kept_ : array of bool
        Features that were finite in every training row.
    mean_, scale_ : array
        Mean and standard deviation of the kept features over the training rows.
    out_of_fold_ : array (row, class)
        Probabilities of the training rows, each by a model with the chosen settings that did not
        see its group.
    search_ : list of dict
        What was tried, how far, and how well it did.
    """

    summary: ClassVar[str]
    cites: ClassVar[str]
    # Whether scores have no scale of their own, and get one from out-of-fold scores.
    _scaled: ClassVar[bool] = False

    grid: Mapping[str, Sequence[Any]] | None
    folds: int
    random_state: int
    workers: int | None

    def fit(
        self, X: np.ndarray, y: np.ndarray, groups: np.ndarray | None = None
    ) -> SearchedClassifier:
        """Search settings, and train on all rows.

        Parameters
        ----------
        X : array (row, feature)
            A feature that is not finite somewhere is left out.
        y : array (row,)
            Labels.
        groups : array (row,), optional
            Rows of one group (an organism) never stand on both sides of an inner split; by
            default each row is its own group.

        Returns
        -------
        SearchedClassifier
            Itself.

        Raises
        ------
        ValueError
            If there are fewer than two labels, or fewer than two groups of a label.

        Warns
        -----
        UserWarning
            If no feature is finite in every row.
        """
        X, y = validate_data(self, X, y, dtype=np.float64, ensure_all_finite=False)
        check_classification_targets(y)
        self.classes_, index = np.unique(y, return_inverse=True)
        groups = np.arange(len(y)) if groups is None else np.asarray(groups)
        check_groups(self.classes_, index, groups)
        rng = keyed_rng(check_seed(self.random_state), "folds of a search")
        splits = Splits.dealt(index, groups, folds=self.folds, rng=rng)
        self.kept_ = self._sound(X)
        if not self.kept_.any():
            warnings.warn(
                f"none of the {X.shape[1]} features is finite in every training row, so nothing "
                "can be learned and all classes are equally probable; leave out the rows that "
                "are not",
                UserWarning,
                stacklevel=2,
            )
            self.settings_, self.search_, self.temperature_ = {}, [], 1.0
            self.out_of_fold_ = np.full((len(y), len(self.classes_)), 1 / len(self.classes_))
            return self
        Z = X[:, self.kept_]
        self.mean_, self.scale_ = moments(Z)
        # In place: many are fitted side by side.
        Z -= self.mean_
        Z /= self.scale_
        found = self._search(Z, index, splits, groups)
        self.settings_ = found.settings
        self.search_ = found.tried
        self.temperature_ = best_temperature(found.logits, index)[0] if self._scaled else 1.0
        self.out_of_fold_ = softmax(found.logits / self.temperature_)
        self._train(Z, index)
        return self

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Return probabilities (row, class).

        A kept feature that is not finite in a row counts as its training mean.
        """
        judged = self._judge(X)
        return softmax(judged / self.temperature_)

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Return the most probable label of each row."""
        judged = self._judge(X)
        return self.classes_[judged.argmax(axis=1)]

    def _judge(self, X: np.ndarray) -> np.ndarray:
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=np.float64, ensure_all_finite=False)
        if not self.kept_.any():
            return np.zeros((len(X), len(self.classes_)))
        Z = X[:, self.kept_]
        Z -= self.mean_
        Z /= self.scale_
        Z[~np.isfinite(Z)] = 0.0
        return self._logits(Z)

    def _sound(self, X: np.ndarray) -> np.ndarray:
        """Return which features are used: those that are finite, and whose squares are."""
        with np.errstate(over="ignore", invalid="ignore"):
            return np.isfinite(X).all(axis=0) & np.isfinite((X * X).sum(axis=0))

    @contextmanager
    def _spread(self) -> Iterator[Map]:
        """Give a `map` whose work is spread over the threads."""
        if self.workers is not None and (
            isinstance(self.workers, bool) or not isinstance(self.workers, int) or self.workers < 1
        ):
            raise UsageError(f"workers is {self.workers!r}; expected at least 1, or None")
        workers = self.workers or threads()
        if workers == 1:
            # One thread beside the caller's would gain nothing, and costs a sixth for small trees.
            yield map
            return
        with ThreadPoolExecutor(workers) as pool:
            yield pool.map

    def _settings_of(self, paper: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
        """Return the grid with the paper's values where it names none."""
        grid = {} if self.grid is None else dict(self.grid)
        for name, values in grid.items():
            if name not in paper:
                raise UsageError(f"the grid names {name!r}; {nearest(name, paper)}")
            if isinstance(values, str) or len(values) == 0:
                raise UsageError(f"the grid has {values!r} for {name}; expected a list of values")
        return {name: list(grid.get(name, values)) for name, values in paper.items()}

    @abstractmethod
    def _search(
        self, Z: np.ndarray, index: np.ndarray, splits: Splits, groups: np.ndarray
    ) -> Found:
        """Choose settings; `Z` are z-scores, `index` numbers the classes."""

    @abstractmethod
    def _train(self, Z: np.ndarray, index: np.ndarray) -> None:
        """Train with `settings_` on all rows."""

    @abstractmethod
    def _logits(self, Z: np.ndarray) -> np.ndarray:
        """Return scores (row, class)."""

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags


def check_seed(random_state: Any) -> int:
    """Return the seed or say what came instead."""
    if isinstance(random_state, bool) or not isinstance(random_state, (int, np.integer)):
        raise UsageError(f"random_state is {random_state!r}; expected a whole number")
    return int(random_state)


def check_groups(classes: np.ndarray, index: np.ndarray, groups: np.ndarray) -> None:
    """Say what is missing where a search within the training set is impossible."""
    if groups.shape != index.shape:
        raise ValueError(f"groups has shape {groups.shape}; expected one per row, {index.shape}")
    if len(classes) < 2:
        raise ValueError(f"y has one class, {str(classes[0])!r}; at least 2 classes are needed")
    counts = count_groups(index, groups, np.arange(len(classes)))
    for name, count in zip(classes, counts, strict=True):
        if count < 2:
            raise ValueError(
                f"the class {str(name)!r} has one group in the training set; at least 2 are needed "
                "to choose settings on groups that were not seen"
            )


def moments(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of each column; a constant column has 1."""
    scale = X.std(axis=0)
    # As scikit-learn: what varies by rounding alone is constant.
    constant = scale <= 10 * np.finfo(X.dtype).eps * np.abs(X).max(axis=0)
    return X.mean(axis=0), np.where(constant, 1.0, scale)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return probabilities (row, class) of scores."""
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)


def class_weights(index: np.ndarray, classes: int) -> np.ndarray:
    """Return a weight per row such that classes weigh the same, and all rows sum to 1."""
    weight = 1 / np.bincount(index, minlength=classes)[index]
    return weight / weight.sum()


def best_temperature(
    logits: np.ndarray, index: np.ndarray, weight: np.ndarray | None = None
) -> tuple[float, float]:
    """Return the temperature of lowest balanced cross-entropy (in nats), and that entropy.

    Rows weigh what `weight` (row,) says, by default such that classes weigh the same.

    Notes
    -----
    Guo et al., On calibration of modern neural networks, ICML 2017.
    """
    if weight is None:
        weight = class_weights(index, logits.shape[1])
    rows = np.arange(len(index))

    def loss(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        scaled = scaled - scaled.max(axis=1, keepdims=True)
        right = scaled[rows, index] - np.log(np.exp(scaled).sum(axis=1))
        return float(-(weight * right).sum())

    found = minimize_scalar(loss, bounds=(np.log(0.1), np.log(100.0)), method="bounded")
    return float(np.exp(found.x)), float(found.fun)


class Accuracy:
    """Balanced accuracy, and how surely one setting does worse than another on the same groups.

    Parameters
    ----------
    index : array (row,)
        The right class.
    classes : int
        How many.
    groups : array (row,)
        The unit of independence.
    """

    def __init__(self, index: np.ndarray, classes: int, groups: np.ndarray) -> None:
        self.index = index
        self._weight = class_weights(index, classes)
        self._group = np.unique(groups, return_inverse=True)[1]

    def right(self, logits: np.ndarray) -> np.ndarray:
        """Return where the highest score is that of the right class."""
        return np.asarray(logits.argmax(axis=1) == self.index)

    def of(self, logits: np.ndarray) -> float:
        """Return the balanced accuracy."""
        return float(self._weight @ self.right(logits))

    def behind(self, logits: np.ndarray, leader: np.ndarray) -> tuple[float, float]:
        """Return by how much one does worse than the leader, and the standard error of that."""
        gap = self._weight * (self.right(leader).astype(float) - self.right(logits))
        per_group = np.bincount(self._group, weights=gap)
        return float(gap.sum()), float(np.sqrt(len(per_group)) * per_group.std())
