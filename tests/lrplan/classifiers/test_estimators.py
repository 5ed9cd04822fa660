"""scikit-learn's own checks of what an estimator keeps to."""

from __future__ import annotations

from sklearn.naive_bayes import GaussianNB
from sklearn.utils.estimator_checks import parametrize_with_checks

from lrplan.classifiers.calibrated import Calibrated
from lrplan.classifiers.conv1d_mlp import Conv1dMLP
from lrplan.classifiers.extra_trees import ExtraTrees
from lrplan.classifiers.linear_svm import LinearSVM
from lrplan.classifiers.random_forest import RandomForest
from lrplan.classifiers.random_kernels import RandomKernels

SMALL = {
    "forest": RandomForest(grid={"max_features": ["sqrt"], "trees": [5]}, folds=2, workers=1),
    "extra": ExtraTrees(trees=10, leaf=1, workers=1),
    "svm": LinearSVM(grid={"C": [1.0], "components": [None]}, folds=2, workers=1),
    "kernels": RandomKernels(grid={"kernels": [20], "alpha": [1.0]}, folds=2, workers=1),
    "conv1d": Conv1dMLP(
        grid={
            "filters": [16],
            "pool": ["none"],
            "learning_rate": [0.1],
            "weight_decay": [0.0],
            "stride": [1],
        },
        epochs=15,
        folds=2,
        workers=1,
    ),
    "calibrated": Calibrated(GaussianNB(), folds=2),
}


@parametrize_with_checks(list(SMALL.values()))
def test_scikit_learn_accepts(estimator, check):
    check(estimator)
