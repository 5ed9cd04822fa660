"""The machine is scikit-learn's, whatever is shared between settings."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from lrplan.classifiers.linear_svm import LinearSVM, _Fold
from lrplan.errors import UsageError


def clouds(classes, *, rows=120, features=30, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(rows) % classes
    x = rng.standard_normal((rows, features)) * np.linspace(0.5, 3, features)
    x[:, :4] += rng.standard_normal((classes, 4))[y]
    return x, np.array(["d", "a", "c", "b"])[y]


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("components", [None, 5, 15])
@pytest.mark.parametrize("rows", [40, 160])
def test_it_is_scikit_learns_pipeline(classes, components, rows):
    """With fewer rows than features and with more."""
    x, y = clouds(classes, rows=rows, features=60)
    unseen, _ = clouds(classes, rows=50, features=60, seed=1)
    model = LinearSVM(grid={"C": [0.02], "components": [components]}, folds=2).fit(x, y)
    steps = [StandardScaler(), *([PCA(components)] if components else [])]
    plain = make_pipeline(*steps, SVC(C=0.02, kernel="linear", break_ties=True)).fit(x, y)
    assert (model.predict(unseen) == plain.predict(unseen)).all()
    ours, theirs = model.decision_function(unseen), plain.decision_function(unseen)
    np.testing.assert_allclose(ours, theirs, atol=0.02)


def test_a_larger_c_that_changes_nothing_is_not_solved_again(monkeypatch):
    x, y = clouds(2, rows=40)
    x[:, 0] += 20 * (y == "a")
    solved = []
    solve = _Fold._solve
    monkeypatch.setattr(
        _Fold, "_solve", lambda self, gram, c: solved.append(c) or solve(self, gram, c)
    )
    grid = {"C": [1.0, 50.0, 5e3, 5e5], "components": [None]}
    model = LinearSVM(grid=grid, folds=2, workers=1).fit(x, y)
    assert len(model.search_) == 4
    assert len({t["accuracy"] for t in model.search_}) == 1
    assert max(solved) < 5e3
    monkeypatch.undo()
    apart = LinearSVM(grid={"C": [5e5], "components": [None]}, folds=2, workers=1).fit(x, y)
    np.testing.assert_array_equal(apart.predict(x), model.predict(x))


def test_more_components_than_rows_are_left_out():
    x, y = clouds(4, rows=60)
    model = LinearSVM(grid={"C": [1.0], "components": [10, 500]}).fit(x, y)
    assert [t["components"] for t in model.search_] == [10]
    alone = LinearSVM(grid={"C": [1.0], "components": [500]}).fit(x, y)
    assert alone.settings_ == {"C": 1.0, "components": None}


def test_probabilities_have_a_scale():
    """Clouds that overlap: who is sure must be right more often."""
    x, y = clouds(2, rows=600, features=4, seed=3)
    model = LinearSVM(grid={"C": [1.0], "components": [None]}).fit(x[:300], y[:300])
    p = model.predict_proba(x[300:])
    said, right = p.max(axis=1).mean(), (model.predict(x[300:]) == y[300:]).mean()
    assert abs(said - right) < 0.08


@pytest.mark.parametrize("grid", [{"C": [0]}, {"C": ["1"]}, {"components": [0]}, {"C": []}])
def test_impossible_settings_are_said(grid):
    with pytest.raises(UsageError, match="the grid has"):
        LinearSVM(grid=grid).fit(*clouds(2))
