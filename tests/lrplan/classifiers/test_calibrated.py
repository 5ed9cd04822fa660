"""Calibration: who says 0.8 is right in 8 of 10 cases, and no row calibrates its own organism."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from lrplan.classifiers import make_classifier
from lrplan.classifiers.calibrated import Calibrated
from lrplan.classifiers.random_forest import RandomForest
from lrplan.classifiers.splits import Splits


def clouds(rows=400, seed=0):
    """Ten copies of one noisy feature: naive Bayes is far too sure."""
    rng = np.random.default_rng(seed)
    y = np.arange(rows) % 2
    x = np.repeat((y + rng.standard_normal(rows))[:, None], 10, axis=1)
    return x + 0.1 * rng.standard_normal(x.shape), y


def test_a_classifier_that_is_too_sure_becomes_honest():
    x, y = clouds()
    unseen, truth = clouds(seed=1)
    sure = GaussianNB().fit(x, y)
    model = Calibrated(GaussianNB()).fit(x, y)
    assert model.temperature_ > 2
    assert (model.predict(unseen) == sure.predict(unseen)).all()
    right = (model.predict(unseen) == truth).mean()
    assert sure.predict_proba(unseen).max(axis=1).mean() > right + 0.1
    assert model.predict_proba(unseen).max(axis=1).mean() == pytest.approx(right, abs=0.06)


def test_copies_of_an_organism_do_not_calibrate_each_other():
    rng = np.random.default_rng(0)
    organisms = np.repeat(np.arange(60), 3)
    x = rng.standard_normal((60, 5))[organisms] + 1e-3 * rng.standard_normal((180, 5))
    y = rng.permutation(np.arange(60) % 2)[organisms]
    nearest = KNeighborsClassifier(2)
    leaking = Calibrated(nearest).fit(x, y)
    grouped = Calibrated(nearest).fit(x, y, organisms)
    rows = np.arange(180)
    assert leaking.out_of_fold_[rows, y].mean() > 0.75
    assert grouped.out_of_fold_[rows, y].mean() < 0.6


def test_a_search_and_the_calibration_around_it_deal_their_own_folds(monkeypatch):
    states = []
    dealt = Splits.dealt

    def watched(*arguments, rng, **options):
        states.append(rng.bit_generator.state["state"])
        return dealt(*arguments, rng=rng, **options)

    monkeypatch.setattr(Splits, "dealt", watched)
    forest = RandomForest(grid={"max_features": ["sqrt"], "trees": [2]}, folds=2, workers=1)
    Calibrated(make_pipeline(StandardScaler(), forest), folds=2).fit(*clouds(rows=20))
    search, calibration, *_ = states
    assert search != calibration


def test_what_a_search_kept_out_of_fold_is_used():
    x, y = clouds(rows=80)
    forest = make_classifier("random_forest", effort="quick")
    model = Calibrated(forest).fit(x, y)
    plain = forest.fit(x, y)
    assert model.settings_ == plain.settings_
    order = [a.out_of_fold_[:, 0].argsort(kind="stable") for a in (model, plain)]
    np.testing.assert_array_equal(*order)
