"""The classifier of forecasts and verdicts: a calibrated random forest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lrplan.classifiers.calibrated import Calibrated
from lrplan.classifiers.random_forest import RandomForest

# On the starter cohort deeper searches (more features at a split, more trees) cost 3 to 5 times as
# much and gained no accuracy outside its interval.
GRID: Mapping[str, Sequence[Any]] = {"max_features": ("sqrt", "log2"), "trees": (100,)}


def calibrated_forest(
    grid: Mapping[str, Sequence[Any]] = GRID,
    *,
    search_trees: int = 40,
    folds: int = 3,
    random_state: int = 0,
) -> Calibrated:
    """Return the classifier of forecasts and verdicts, not fitted yet.

    A random forest whose trees draw half of the recordings, rules weighing the same. Its search
    keeps out-of-fold probabilities, which set the temperature that calibrates it.

    Parameters
    ----------
    grid : mapping
        Values of ``max_features`` and ``trees``, as in
        `lrplan.classifiers.random_forest.RandomForest`; by default {sqrt, log2} x {100}.
    search_trees : int, default 40
        Trees of each forest of the inner cross-validation.
    folds : int, default 3
        Folds of the inner cross-validation.
    random_state : int, default 0
        Seeds folds and trees.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(0).standard_normal((80, 4))
    >>> y = np.where(x[:, 0] > 0, "a", "b")
    >>> calibrated_forest().fit(x, y).predict_proba(x).shape
    (80, 2)
    """
    forest = RandomForest(
        grid=grid,
        max_samples=0.5,
        balanced=True,
        search_trees=search_trees,
        folds=folds,
        random_state=random_state,
        # Forecasts fit many side by side.
        workers=1,
    )
    return Calibrated(forest)
