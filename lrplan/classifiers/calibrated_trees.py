"""The classifier of forecasts and verdicts: calibrated, extremely randomised trees."""

from __future__ import annotations

from lrplan.classifiers.calibrated import Calibrated
from lrplan.classifiers.extra_trees import ExtraTrees

TREES = 100


def calibrated_trees(
    *, sessions: int, static: int, trees: int = TREES, random_state: int = 0
) -> Calibrated:
    """Return the classifier of forecasts and verdicts, not fitted yet.

    `ExtraTrees`, whose out-of-fold probabilities set the temperature that calibrates them.

    Parameters
    ----------
    sessions, static : int
        Of the features, as `lrplan.measure.trajectories.Features` says.
    trees : int, default 100
        How many. On 360 organisms 200 gained nothing outside of what seeds do.
    random_state : int, default 0
        Seeds organisms and trees.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(0).standard_normal((80, 4))
    >>> y = np.where(x[:, 0] > 0, "a", "b")
    >>> calibrated_trees(sessions=2, static=0).fit(x, y).predict_proba(x).shape
    (80, 2)
    """
    # Forecasts fit many side by side.
    forest = ExtraTrees(
        sessions=sessions, static=static, trees=trees, random_state=random_state, workers=1
    )
    return Calibrated(forest)
