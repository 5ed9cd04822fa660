"""Intervals: the organism is the unit of independence."""

from __future__ import annotations

import numpy as np
import pytest

from lrplan.tell.intervals import (
    RESAMPLES,
    Bootstrap,
    Estimate,
    jackknife,
    mean_of_groups,
    pick_groups,
)


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


@pytest.mark.parametrize("number", [3, 5, 8])
def test_the_mean_of_few_groups_is_covered(number):
    """Groups vary by 0.1 about 0.5, organisms within them by 0.03."""
    rng = np.random.default_rng(0)
    hit = []
    for _ in range(500):
        means = 0.5 + 0.1 * rng.standard_normal(number)
        seen = means + 0.03 * rng.standard_normal(number)
        estimates = [Estimate(float(m), m + 0.03 * rng.standard_normal(RESAMPLES)) for m in seen]
        found = mean_of_groups(estimates, pick_groups(number, rng)).interval
        hit.append(found.low <= 0.5 <= found.high)
    assert np.mean(hit) > 0.9


def test_groups_that_differ_by_their_organisms_alone_are_not_widened():
    """Two equal groups: only what differs between organisms is in the interval."""
    rng = np.random.default_rng(0)
    estimates = [
        Estimate(0.5 + d, 0.5 + d + 0.03 * rng.standard_normal(RESAMPLES)) for d in (0, 0.02)
    ]
    found = mean_of_groups(estimates, pick_groups(2, rng)).interval
    assert found.high - found.low < 0.2
