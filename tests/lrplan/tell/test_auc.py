"""Areas under the curve: the order of probabilities, whatever the threshold."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from lrplan.tell.auc import Auc, auc_estimate
from lrplan.tell.combine import Probabilities
from lrplan.tell.intervals import Bootstrap


def judged(values, told, folds=None):
    labels = {"told": np.asarray(told)} | ({} if folds is None else {"fold": np.asarray(folds)})
    return Probabilities.of(np.asarray(values, dtype=float), np.unique(told), labels)


@pytest.fixture
def some():
    """Probabilities of three rules that tell something, with ties."""
    rng = np.random.default_rng(0)
    told = np.repeat(["a", "b", "c"], [20, 25, 30])
    values = rng.random((75, 3)) + 0.5 * (told[:, None] == np.array(["a", "b", "c"]))
    values = np.round(values / values.sum(axis=1, keepdims=True), 1)
    return values / values.sum(axis=1, keepdims=True), told


def test_it_is_hand_and_tills(some):
    """scikit-learn's macro average of one against one is their M."""
    values, told = some
    found = Auc.of(judged(values, told))
    expected = roc_auc_score(told, values, multi_class="ovo", average="macro")
    assert found.mean == pytest.approx(expected)
    assert np.nanmean(found.pairs) == pytest.approx(found.mean)
    two = np.isin(told, ["a", "b"])
    sides = [roc_auc_score(told[two] == r, values[two, k]) for k, r in enumerate("ab")]
    assert found.pairs[0, 1] == pytest.approx(np.mean(sides))


def test_of_two_rules_it_is_the_area_under_their_curve():
    rng = np.random.default_rng(0)
    told = np.repeat(["a", "b"], 20)
    p = np.clip(rng.normal(0.5, 0.2, 40) + 0.1 * (told == "b"), 0, 1)
    found = Auc.of(judged(np.stack([1 - p, p], axis=1), told))
    assert found.mean == pytest.approx(roc_auc_score(told == "b", p))


def test_a_shifted_threshold_costs_accuracy_and_not_the_area():
    told = np.repeat(["a", "b"], 10)
    p = np.concatenate([np.linspace(0.05, 0.2, 10), np.linspace(0.25, 0.45, 10)])
    shifted = judged(np.stack([1 - p, p], axis=1), told)
    assert Auc.of(shifted).mean == 1
    bootstrap = Bootstrap(told, np.arange(20), rng=np.random.default_rng(0))
    assert bootstrap.balanced(shifted.right).mean == 0.5


def test_what_always_answers_the_same_is_exactly_at_chance():
    told = np.repeat(["a", "b", "c", "d"], [5, 6, 7, 8])
    p = judged(np.tile([0.4, 0.3, 0.2, 0.1], (26, 1)), told, np.arange(26) % 2)
    bootstrap = Bootstrap(told, np.arange(26), rng=np.random.default_rng(0))
    area, pairs = auc_estimate([p, p], bootstrap)
    right = bootstrap.balanced(p.right)
    assert (area.interval.low, area.mean, area.interval.high) == (0.5, 0.5, 0.5)
    assert (right.low, right.mean, right.high) == (0.25, 0.25, 0.25)
    assert set(pairs[~np.eye(4, dtype=bool)]) == {0.5}


def test_only_what_one_classifier_judged_is_compared():
    """Two folds whose scores differ in their offset alone."""
    told = np.tile(np.repeat(["a", "b"], 10), 2)
    folds = np.repeat([0, 1], 20)
    p = 0.1 + 0.05 * (told == "b") + 0.5 * folds
    values = np.stack([1 - p, p], axis=1)
    assert Auc.of(judged(values, told, folds)).mean == 1
    assert Auc.of(judged(values, told)).mean == 0.75


def test_rows_that_were_not_predicted_do_not_count(some):
    values, told = some
    whole = Auc.of(judged(values, told))
    more = np.concatenate([values, np.full((3, 3), np.nan)])
    assert Auc.of(judged(more, np.append(told, list("abc")))).mean == whole.mean
    values[told == "a"] = np.nan
    assert np.isnan(Auc.of(judged(values, told)).mean)


def test_intervals_are_those_of_computing_each_resample_anew(some):
    values, told = some
    p = judged(values, told)
    bootstrap = Bootstrap(told, np.arange(75), rng=np.random.default_rng(0))
    found = auc_estimate([p], bootstrap)[0]
    rng = np.random.default_rng(1)
    members = [np.flatnonzero(told == r) for r in "abc"]
    anew = []
    for _ in range(1000):
        rows = np.concatenate([rng.choice(m, len(m)) for m in members])
        anew.append(Auc.of(judged(values[rows], told[rows])).mean)
    low, high = np.quantile(anew, [0.025, 0.975])
    assert abs(found.interval.low - low) < 0.02
    assert abs(found.interval.high - high) < 0.02


def test_the_interval_covers_the_truth_at_its_rate():
    """Recordings of an organism are alike."""
    rng = np.random.default_rng(0)
    told, organisms = np.repeat(["a", "b"], 90), np.repeat(np.arange(60), 3)
    covered = 0
    for _ in range(200):
        score = np.repeat(rng.normal(size=60), 3) + 0.3 * rng.normal(size=180)
        p = 1 / (1 + np.exp(-score - (told == "b")))
        bootstrap = Bootstrap(told, organisms, rng=rng)
        found = auc_estimate([judged(np.stack([1 - p, p], axis=1), told)], bootstrap)[0].interval
        # Two normal scores, one apart, of variance 1.09 each.
        covered += found.low <= 0.7509 <= found.high
    assert 0.90 <= covered / 200 <= 0.99
