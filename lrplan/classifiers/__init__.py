"""Classifiers. One file registers one kind of classifier that tells rules apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, TypeVar

import numpy as np

from lrplan.classifiers._saving import cohort_digest, load_classifier, save_classifier
from lrplan.errors import UsageError
from lrplan.registry import Registry, nearest

__all__ = [
    "EFFORTS",
    "Classifier",
    "classifiers",
    "cohort_digest",
    "load_classifier",
    "make_classifier",
    "save_classifier",
    "seeded",
]

EFFORTS = ("paper", "quick")
T = TypeVar("T")


class Classifier(Protocol):
    """A scikit-learn classifier whose settings are searched inside the training set.

    Attributes
    ----------
    summary : str
        What it is, in one line.
    cites : str
        Where it comes from.
    classes_ : array
        Labels, sorted; once fitted.
    settings_ : mapping
        What the search chose; once fitted.
    """

    summary: str
    cites: str
    classes_: np.ndarray
    settings_: Mapping[str, Any]

    @classmethod
    def make(
        cls, *, sessions: int, static: int, random_state: int, effort: str, workers: int | None
    ) -> Classifier:
        """Return one that is not fitted yet; see `make_classifier`."""
        ...

    def fit(self, X: np.ndarray, y: np.ndarray, groups: np.ndarray | None = None) -> Classifier:
        """Search settings with grouped folds, and train on all rows."""
        ...

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Return the most probable label of each row."""
        ...

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Return probabilities (row, label)."""
        ...


classifiers: Registry[type[Classifier]] = Registry(
    "classifier", package="lrplan.classifiers", group="lrplan.classifiers"
)


def make_classifier(
    name: str,
    *,
    sessions: int = 1,
    static: int = 0,
    random_state: int = 0,
    effort: str = "paper",
    workers: int | None = None,
) -> Classifier:
    """Return a classifier that is not fitted yet.

    Parameters
    ----------
    name : str
        Registered: one of ``classifiers.names()``.
    sessions : int, default 1
        Sessions of a trajectory. Columns are session-major: those of session 0 come first.
    static : int, default 0
        Columns at the end that belong to no session, such as the layer position.
    random_state : int, default 0
        Seeds folds and whatever the classifier draws.
    effort : {"paper", "quick"}, default "paper"
        ``paper`` searches the paper's settings; ``quick`` a few, for analyses that fit many times.
    workers : int, optional
        Threads; by default as many as the process has cores. No result depends on it.

    Returns
    -------
    Classifier
        A scikit-learn estimator with ``fit(X, y, groups=None)``.

    Raises
    ------
    UsageError
        If the name or the effort is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(0).standard_normal((60, 4))
    >>> y = np.where(x[:, 0] > 0, "a", "b")
    >>> model = make_classifier("linear_svm", effort="quick").fit(x, y)
    >>> bool((model.predict(x) == y).mean() > 0.9)
    True
    """
    if effort not in EFFORTS:
        raise UsageError(f"unknown effort {effort!r}; {nearest(str(effort), EFFORTS)}")
    kind = classifiers.get(name)
    return kind.make(
        sessions=sessions,
        static=static,
        random_state=random_state,
        effort=effort,
        workers=workers,
    )


def seeded(estimator: T, seed: int) -> T:
    """Return a copy that is not fitted, with one seed in all its parts.

    Parameters
    ----------
    estimator : classifier
        Of scikit-learn's kind; may hold another one, as `calibrated.Calibrated` does.
    seed : int
        Every ``random_state`` in it.

    Examples
    --------
    >>> from lrplan.classifiers.calibrated_forest import calibrated_forest
    >>> seeded(calibrated_forest(), 3).estimator.random_state
    3
    """
    from sklearn.base import clone

    copy = clone(estimator)
    states = [n for n in copy.get_params() if n.rpartition("__")[2] == "random_state"]
    return copy.set_params(**dict.fromkeys(states, seed))
