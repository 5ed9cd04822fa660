"""Splits and intervals: the organism is the unit of independence."""

from __future__ import annotations

import numpy as np
import pytest

from lrplan.evaluation import Bootstrap, organism_folds


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
