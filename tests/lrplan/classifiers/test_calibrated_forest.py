"""The classifier of forecasts: calibrated, blind to test organisms, the same for the same seed."""

from __future__ import annotations

import numpy as np

from lrplan.classifiers.calibrated_forest import calibrated_forest


def cloud(rng, *, spread, n=40, per_organism=3):
    labels = np.repeat(np.arange(4), n)
    centres = rng.standard_normal((4, 10))
    points = centres[labels] + spread * rng.standard_normal((4 * n, 10))
    x = np.repeat(points, per_organism, axis=0) + 0.01 * rng.standard_normal(
        (4 * n * per_organism, 10)
    )
    return x, np.repeat(labels, per_organism), np.repeat(np.arange(4 * n), per_organism)


def test_probabilities_are_calibrated():
    rng = np.random.default_rng(0)
    x, y, organisms = cloud(rng, spread=2.0, n=150, per_organism=1)
    order = rng.permutation(len(y))
    train, test = order[:300], order[300:]
    model = calibrated_forest().fit(x[train], y[train], organisms[train])
    p = model.predict_proba(x[test])
    np.testing.assert_allclose(p.sum(axis=1), 1)
    said = p.max(axis=1)
    right = model.predict(x[test]) == y[test]
    for low, high in ((0.25, 0.5), (0.5, 0.75), (0.75, 1.01)):
        rows = (said >= low) & (said < high)
        if rows.sum() >= 20:
            assert abs(said[rows].mean() - right[rows].mean()) < 0.15


def test_where_nothing_can_be_learned_nothing_is_claimed():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 30))
    y = np.arange(200) % 4
    model = calibrated_forest().fit(x[:100], y[:100])
    p = model.predict_proba(x[100:])
    assert -np.log2(p[np.arange(100), y[100:]]).mean() < 2.1


def test_recordings_of_one_organism_do_not_calibrate_each_other():
    """Copies of an organism in both inner folds would make the classifier too sure."""
    rng = np.random.default_rng(0)
    x, _, organisms = cloud(rng, spread=1.0, n=20)
    y = rng.integers(0, 4, 80)[organisms]  # labels that mean nothing
    grouped = calibrated_forest().fit(x, y, organisms)
    leaking = calibrated_forest().fit(x, y)
    index = np.arange(len(y))
    assert grouped.out_of_fold_[index, y].mean() < 0.3
    assert leaking.out_of_fold_[index, y].mean() > 0.5


def test_features_that_are_not_finite_are_left_out():
    rng = np.random.default_rng(0)
    x, y, organisms = cloud(rng, spread=0.5, n=10)
    x = np.concatenate([x, np.full((len(x), 1), np.inf)], axis=1)
    model = calibrated_forest().fit(x, y, organisms)
    assert list(model.estimator_.kept_) == [True] * 10 + [False]
    assert (model.predict(x) == y).mean() > 0.9


def test_same_seed_same_probabilities():
    rng = np.random.default_rng(0)
    x, y, organisms = cloud(rng, spread=1.0, n=10)
    one, two = (calibrated_forest(random_state=3).fit(x, y, organisms) for _ in range(2))
    np.testing.assert_array_equal(one.predict_proba(x), two.predict_proba(x))
