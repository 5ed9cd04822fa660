"""Trees see windows of a trajectory and half of the organisms; the others judge."""

from __future__ import annotations

import numpy as np
import pytest

from lrplan.classifiers.extra_trees import ExtraTrees, _bags, windows
from lrplan.errors import UsageError


def made(organisms=40, rows=3, sessions=12, observables=4, seed=0, effect=3.0):
    """Three areas each of organisms whose label moves the second observable in late sessions."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(organisms), rows)
    y = np.array(["a", "b"])[groups % 2]
    x = rng.standard_normal((len(groups), sessions, observables))
    x[y == "b", 6:, 1] += effect
    return np.c_[x.reshape(len(x), -1), np.tile(np.eye(rows), (organisms, 1))], y, groups


@pytest.mark.parametrize("sessions", range(1, 60))
def test_windows_cover_each_session_once(sessions):
    spans = windows(sessions)
    assert [s for a, b in spans for s in range(a, b)] == list(range(sessions))
    assert spans[0] == (0, 1)
    assert len(spans) <= 5


def test_it_finds_a_change_and_gives_chance_without_one():
    x, y, groups = made()
    model = ExtraTrees(sessions=12, static=3, trees=50).fit(x, y, groups)
    unseen, truth, _ = made(seed=1)
    assert (model.predict(unseen) == truth).mean() > 0.9
    right = model.classes_[model.out_of_fold_.argmax(axis=1)] == y
    assert right.mean() > 0.9
    x, y, groups = made(effect=0.0)
    blind = ExtraTrees(sessions=12, static=3, trees=50).fit(x, y, groups)
    assert (blind.classes_[blind.out_of_fold_.argmax(axis=1)] == y).mean() < 0.7


def test_no_tree_votes_on_an_organism_that_it_saw():
    """Each organism carries a mark of its own; trees that knew it would be right."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(60), 2)
    y = rng.integers(0, 2, 60)[groups]
    x = np.repeat(rng.standard_normal((60, 6)), 2, axis=0)
    model = ExtraTrees(trees=100, leaf=1).fit(x, y, groups)
    assert (model.predict(x) == y).mean() > 0.9
    assert (model.out_of_fold_.argmax(axis=1) == y).mean() < 0.75


def test_bags_hold_whole_organisms_half_of_each_label():
    _, y, groups = made()
    index = np.unique(y, return_inverse=True)[1]
    for inside, _ in _bags(index, groups, 5, 0):
        per_organism = inside.reshape(40, 3)
        assert (per_organism.all(axis=1) | ~per_organism.any(axis=1)).all()
        assert [per_organism[k::2, 0].sum() for k in (0, 1)] == [10, 10]


def test_importance_lies_where_the_change_is():
    x, y, groups = made()
    found = ExtraTrees(sessions=12, static=3, trees=50).fit(x, y, groups).feature_importances_
    assert found.shape == (12 * 4 + 3,)
    np.testing.assert_allclose(found.sum(), 1)
    of_session = found[:48].reshape(12, 4)
    assert of_session.argmax(axis=1)[6:].tolist() == [1] * 6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"trees": 0}, "trees is 0"),
        ({"leaf": 1.5}, "leaf is 1.5"),
        ({"sessions": 5}, "no multiple of 5 sessions"),
        ({"workers": 0}, "workers is 0"),
    ],
)
def test_impossible_settings_are_said(options, message):
    x, y, groups = made()
    with pytest.raises(UsageError, match=message):
        ExtraTrees(**{"sessions": 12, "static": 3, "trees": 5, **options}).fit(x, y, groups)
