"""Splits: the organism is the unit of independence."""

from __future__ import annotations

import numpy as np
import pytest

from lrplan.classifiers.splits import Splits
from lrplan.errors import DataError, UsageError


def test_no_organism_stands_in_two_folds():
    organisms = np.repeat(np.arange(30), 3)
    labels = np.repeat(np.array(list("abc") * 10), 3)
    found = Splits.dealt(labels, organisms, folds=5, rng=np.random.default_rng(0))
    assert (found.test.sum(axis=0) == 1).all()
    for test in found:
        assert not set(organisms[test]) & set(organisms[~test])
        assert set(labels[test]) == set("abc")
    assert np.ptp(found.test.sum(axis=1)) <= 3
    assert set(found.rounds) == {0}


def test_folds_without_a_group_are_left_out():
    labels = np.array(list("aabb"))
    found = Splits.dealt(labels, np.arange(4), folds=10, rng=np.random.default_rng(0))
    assert len(found) == 4
    assert all(test.sum() == 1 for test in found)


@pytest.mark.parametrize("folds", [1, 2.5, True, "3"])
def test_an_impossible_number_of_folds_is_said(folds):
    with pytest.raises(UsageError, match="folds is .*; expected a whole number of at least 2"):
        Splits.dealt(np.zeros(4), np.arange(4), folds=folds, rng=np.random.default_rng(0))


def test_each_value_of_given_folds_is_tested_once_in_order():
    found = Splits.of_folds(np.array(["b", "a", "b", "c"]))
    assert found.test.astype(int).tolist() == [[0, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 1]]


def test_balanced_splits_test_every_organism_equally_often_and_never_train_on_it():
    labels = np.repeat(np.array(list("ab") * 8), 3)
    organisms = np.repeat(np.arange(16), 3)
    found = Splits.balanced(labels, organisms, rng=np.random.default_rng(0), splits=8)
    assert found.test.shape == (8, 48)
    assert (found.test.sum(axis=0) == 2).all()
    for test in found:
        assert not set(organisms[test]) & set(organisms[~test])
        assert test[labels == "a"].mean() == test[labels == "b"].mean() == 0.25
    assert list(found.rounds) == [0] * 4 + [1] * 4


def test_more_splits_than_there_are_test_sets_are_refused():
    labels, organisms = np.array(list("ab") * 4), np.arange(8)
    assert Splits.most(labels, organisms) == 4
    with pytest.raises(UsageError, match="allow 4 different test sets; ask for at most 4"):
        Splits.balanced(labels, organisms, rng=np.random.default_rng(0), splits=5)
    with pytest.raises(DataError, match="3 organisms of 'a'; at least 4"):
        Splits.balanced(labels[2:], organisms[2:], rng=np.random.default_rng(0), splits=1)
