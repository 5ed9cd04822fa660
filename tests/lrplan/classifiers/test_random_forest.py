"""The forest is scikit-learn's; its race takes the better setting and pays for the cheaper one."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier

from lrplan.classifiers._forest import Forest, grow_tree, sum_votes
from lrplan.classifiers.random_forest import RandomForest
from lrplan.errors import UsageError


def noisy(*, rows=120, features=60, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, features)).astype(np.float32)
    y = np.arange(rows) % 3
    x[:, 0] += 1.5 * y
    return x, y


@pytest.mark.parametrize("max_features", ["sqrt", "log2", None, 0.3, 5])
def test_a_forest_is_that_of_scikit_learn(max_features):
    x, y = noisy()
    ours = Forest(x, y, 3, max_features=max_features, random_state=7).grow(12)
    theirs = RandomForestClassifier(12, max_features=max_features, random_state=7).fit(x, y)
    np.testing.assert_allclose(ours.votes(x) / 12, theirs.predict_proba(x), atol=1e-12)


def test_the_first_trees_of_a_forest_are_the_smaller_forest():
    x, y = noisy()
    grown = Forest(x, y, 3, max_features="sqrt", random_state=0).grow(5)
    early = grown.votes(x)
    grown.grow(15)
    whole = Forest(x, y, 3, max_features="sqrt", random_state=0).grow(15)
    np.testing.assert_allclose(early, whole.votes(x) - whole.votes(x, start=5), atol=1e-9)
    np.testing.assert_array_equal(grown.votes(x), whole.votes(x))


def test_a_row_without_weight_is_not_seen():
    x, y = noisy()
    seen = np.arange(len(y)) % 4 > 0
    y = y.astype(float)
    weight = np.where(y == 1, 2.0, 1.0)
    whole = grow_tree(x, y, np.where(seen, weight, 0), max_features="sqrt", seed=1)
    part = grow_tree(x[seen], y[seen], weight[seen], max_features="sqrt", seed=1)
    np.testing.assert_array_equal(sum_votes([whole], x, 3), sum_votes([part], x, 3))


def test_a_balanced_forest_draws_classes_alike():
    """Without a feature that tells, votes are shares of what was drawn."""
    x = np.zeros((400, 1), dtype=np.float32)
    y = (np.arange(400) % 10 == 0).astype(int)
    for balanced, share in ((False, 0.1), (True, 0.5)):
        forest = Forest(x, y, 2, balanced=balanced, random_state=0).grow(30)
        assert forest.votes(x[:1])[0, 1] / 30 == pytest.approx(share, abs=0.03)


def test_a_class_that_a_fold_lacks_has_no_votes():
    x, y = noisy()
    rows = y != 1
    votes = Forest(x[rows], y[rows], 3, max_features="sqrt", random_state=0).grow(4).votes(x)
    assert (votes[:, 1] == 0).all()
    np.testing.assert_allclose(votes.sum(axis=1), 4)


def test_the_race_takes_all_features_where_only_they_help():
    """One feature of 400 tells: few at a split seldom hold it."""
    x, y = noisy(rows=150, features=400)
    x[:, 0] += 6 * y
    model = RandomForest(grid={"trees": [20, 40]}, workers=1).fit(x, y)
    assert model.settings_ == {"max_features": "all", "trees": 40}
    reached = {t["max_features"]: t["accuracy"] for t in model.search_}
    assert reached["all"] > reached["log2"] + 0.1


def test_the_race_pays_little_for_what_does_not_help():
    x, y = noisy(features=200)
    x[:, 1:30] += y[:, None]
    model = RandomForest(grid={"trees": [20, 60]}, workers=1).fit(x, y)
    trees = {t["max_features"]: t["trees"] for t in model.search_}
    assert model.settings_["max_features"] != "all"
    assert trees["all"] == 20


def test_importance_is_where_the_information_is():
    x, y = noisy()
    x = np.concatenate([x, np.full((len(x), 1), np.nan)], axis=1)
    model = RandomForest(grid={"max_features": ["sqrt"], "trees": [50]}, workers=1).fit(x, y)
    found = model.feature_importances_
    assert found.argmax() == 0
    assert found[-1] == 0
    assert found.sum() == pytest.approx(1)


def test_the_race_goes_no_further_than_it_was_told():
    x, y = noisy()
    grid = {"max_features": ["sqrt", 7], "trees": [60]}
    model = RandomForest(grid=grid, search_trees=30, workers=1).fit(x, y)
    assert [t["trees"] for t in model.search_] == [30, 30]
    assert len(model.trees_) == 60


def test_a_number_beyond_float32_is_far_and_no_warning():
    x, y = noisy()
    model = RandomForest(grid={"max_features": ["all"], "trees": [20]}, workers=1).fit(x, y)
    wild, far = x[:1].astype(float), x[:1].astype(float)
    wild[0, 0], far[0, 0] = 1e300, 1e6
    np.testing.assert_array_equal(model.predict_proba(wild), model.predict_proba(far))


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"max_samples": 0.0}, "max_samples is 0.0; expected a share"),
        ({"max_samples": "half"}, "max_samples is 'half'"),
        ({"search_trees": 0}, "search_trees is 0; expected a whole number"),
    ],
)
def test_impossible_draws_are_said(setting, said):
    with pytest.raises(UsageError, match=said):
        RandomForest(**setting).fit(*noisy())


@pytest.mark.parametrize(
    "grid", [{"max_features": ["most"]}, {"max_features": [0]}, {"trees": [0]}]
)
def test_impossible_settings_are_said(grid):
    with pytest.raises(UsageError, match="the grid has"):
        RandomForest(grid=grid).fit(*noisy())
