"""Splits and intervals: the organism is the unit of independence."""

from __future__ import annotations

import numpy as np
import pytest

from lrplan.classifiers.splits import balanced_splits, organism_folds
from lrplan.errors import DataError, UsageError
from lrplan.tell.intervals import Bootstrap, jackknife


def test_no_organism_stands_in_two_folds():
    rng = np.random.default_rng(0)
    organisms = np.repeat(np.arange(30), 3)
    labels = np.repeat(np.array(list("abc") * 10), 3)
    fold = organism_folds(labels, organisms, 5, rng)
    for organism in range(30):
        assert len(set(fold[organisms == organism])) == 1
    for label in "abc":
        assert set(fold[labels == label]) == set(range(5))
    assert np.bincount(fold).max() - np.bincount(fold).min() <= 3


def test_the_mean_is_balanced_over_rules():
    labels = np.array(["a"] * 90 + ["b"] * 10)
    right = np.array([1.0] * 90 + [0.0] * 10)
    found = Bootstrap(labels, np.arange(100), rng=np.random.default_rng(0)).balanced(right)
    assert found.mean == pytest.approx(0.5)


def test_the_interval_covers_the_truth_at_its_rate():
    """An organism's recordings are alike: counting them as independent would cover too little."""
    rng = np.random.default_rng(0)
    organisms = np.repeat(np.arange(60), 3)
    labels = np.repeat(np.array(["a", "b"] * 30), 3)
    covered = 0
    for _ in range(200):
        right = np.repeat(rng.random(60) < 0.7, 3).astype(float)
        found = Bootstrap(labels, organisms, rng=rng).balanced(right)
        covered += found.low <= 0.7 <= found.high
    assert 0.90 <= covered / 200 <= 0.99


def test_only_the_named_rules_count():
    labels = np.array(list("abc") * 5)
    right = (labels == "a").astype(float)
    bootstrap = Bootstrap(labels, np.arange(15), rng=np.random.default_rng(0))
    assert bootstrap.balanced(right, rules=("a", "b")).mean == pytest.approx(0.5)


def test_balanced_splits_test_every_organism_equally_often_and_never_train_on_it():
    labels = np.repeat(np.array(list("ab") * 8), 3)
    organisms = np.repeat(np.arange(16), 3)
    found = balanced_splits(labels, organisms, rng=np.random.default_rng(0), splits=8)
    assert found.test.shape == (8, 48)
    assert (found.test.sum(axis=0) == 2).all()
    for test in found.test:
        assert not set(organisms[test]) & set(organisms[~test])
        assert test[labels == "a"].mean() == test[labels == "b"].mean() == 0.25
    assert list(found.rounds) == [0] * 4 + [1] * 4


def test_more_splits_than_there_are_test_sets_are_refused():
    labels, organisms = np.array(list("ab") * 4), np.arange(8)
    with pytest.raises(UsageError, match="allow 4 different test sets; ask for at most 4"):
        balanced_splits(labels, organisms, rng=np.random.default_rng(0), splits=5)
    with pytest.raises(DataError, match="3 organisms of 'a'; at least 4"):
        balanced_splits(labels[2:], organisms[2:], rng=np.random.default_rng(0), splits=1)


def test_a_paired_difference_is_surer_than_its_parts():
    rng = np.random.default_rng(0)
    labels, organisms = np.array(["a", "b"] * 40), np.arange(80)
    right = (rng.random(80) < 0.6).astype(float)
    worse = right.copy()
    worse[:6] = 0
    bootstrap = Bootstrap(labels, organisms, rng=rng)
    first, second = bootstrap.estimate(right), bootstrap.estimate(worse)
    gain = (first - second).interval
    assert gain.mean == pytest.approx(right.mean() - worse.mean())
    alone = first.interval
    assert gain.high - gain.low < 0.6 * (alone.high - alone.low)


def test_an_estimate_covers_the_truth_at_its_rate_where_each_is_tested_in_some_rounds():
    rng = np.random.default_rng(1)
    labels, organisms = np.repeat(["a", "b"], 90), np.repeat(np.arange(60), 3)
    covered = 0
    for _ in range(100):
        right = np.repeat(rng.random(60) < 0.7, 3).astype(float)
        values = np.stack([right, np.where(np.arange(180) % 6 < 3, right, np.nan)])
        found = Bootstrap(labels, organisms, rng=rng).estimate(values).interval
        covered += found.low <= 0.7 <= found.high
    assert 0.88 <= covered / 100 <= 1


def test_what_was_never_tested_has_no_estimate():
    labels, organisms = np.array(["a", "b"] * 5), np.arange(10)
    values = np.where(labels == "a", 1.0, np.nan)
    found = Bootstrap(labels, organisms, rng=np.random.default_rng(0)).estimate(values)
    assert np.isnan(found.mean) and np.isnan(found.interval.low)


def test_the_jackknife_covers_the_truth_at_its_rate():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(300):
        sample = rng.standard_normal(40)
        means = [sample[rng.permutation(40)[:30]].mean() for _ in range(10)]
        found = jackknife(np.array(means))
        covered += found.low <= 0 <= found.high
    assert 0.90 <= covered / 300 <= 0.99
