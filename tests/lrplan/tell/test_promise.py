"""What is promised of a verdict, found out on families that no classifier saw."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin

from lrplan.measure.trajectories import Trajectories
from lrplan.randomness import Streams
from lrplan.tell.combine import Probabilities
from lrplan.tell.promise import EXCLUDED_AT, _temperature, _weights, find_promise

RULES = np.array(["a", "b"])
FAMILIES = np.array(["knet", "mlp", "resnet"])


class Threshold(ClassifierMixin, BaseEstimator):
    """Sure of the rule by whether the last feature is above its training mean."""

    def fit(self, X, y, groups=None):
        self.classes_, self.mean_ = np.unique(y), X[:, -1].mean()
        return self

    def predict_proba(self, X):
        above = X[:, -1] > self.mean_
        return np.where(above[:, None], [0.01, 0.99], [0.99, 0.01])


def virtual(offsets, *, areas=1, per_cell=10, without=()):
    """Recordings in which rules differ by 1, and families by an offset of their own."""
    rng = np.random.default_rng(0)
    cells = [(f, r) for f in range(3) for r in range(2) for _ in range(per_cell)]
    cells = [c for c in cells if (FAMILIES[c[0]], RULES[c[1]]) not in without]
    family, rule = (np.repeat(x, areas) for x in np.array(cells).T)
    organism = np.repeat([f"o{i:03d}" for i in range(len(cells))], areas)
    values = rule + np.array(offsets)[family] + 0.1 * rng.standard_normal(len(family))
    labels = {
        "organism": organism,
        "animal": organism,
        "rule": RULES[rule],
        "family": FAMILIES[family],
        "architecture": FAMILIES[family],
    }
    return Trajectories.of(values[:, None, None], ["x"], labels, positioned=False)


def promised(trajectories, areas=1):
    return find_promise(trajectories, Streams(0), Threshold(), areas=areas)


def test_where_families_are_alike_both_are_promised():
    found = promised(virtual([0, 0, 0]))
    assert found.conditions == "held-out family"
    assert found.families == list(FAMILIES)
    assert found.accuracy.mean == found.known.mean == found.auc.mean == 1


def test_a_threshold_that_does_not_hold_is_not_promised():
    """Each family has its own, so all of one that was never seen lie on one side."""
    found = promised(virtual([0, 3, 9]))
    assert found.accuracy.mean == 0.5
    # It was sure and wrong half of the time, and is told to say so; nothing can be excluded.
    assert found.together > 10
    assert found.threshold <= 0.5


def test_the_set_holds_the_right_rule_at_its_rate_on_families_that_were_not_seen():
    rng = np.random.default_rng(1)
    told, groups = np.tile(RULES, 600), np.repeat(["x", "y"], [200, 1000])
    p = np.clip(0.5 + 0.3 * (told == "b") - 0.15 + 0.2 * rng.standard_normal(1200), 0.01, 0.99)
    said = Probabilities.of(np.stack([1 - p, p], axis=1), RULES, {"told": told})
    calm = said.tempered(_temperature(said, groups))
    weights = _weights(told, groups)
    threshold = np.quantile(calm.of_truth, EXCLUDED_AT, weights=weights, method="inverted_cdf")
    assert weights[groups == "x"].sum() == pytest.approx(0.5)
    assert weights[calm.of_truth >= threshold].sum() >= 0.95


def test_a_family_that_lacks_a_rule_leaves_known_conditions():
    found = promised(virtual([0, 0, 0], without=[("mlp", "a")]))
    assert (found.conditions, found.families, found.together) == ("known", [], 1)
    assert found.accuracy == found.known and found.architecture is not None
    assert "2 families with all rules (knet, resnet)" in found.warnings[0]


def test_areas_that_are_told_together_are_promised_together():
    found = promised(virtual([0, 0, 0], areas=2), areas=2)
    assert found.conditions == "held-out family"
    assert found.accuracy.mean == 1
    # Organisms of the last two families with one area each cannot speak for two.
    some = virtual([0, 0, 0], areas=2)
    single = np.isin(some.label("family"), ["mlp", "resnet"]) & (np.arange(len(some)) % 2 == 1)
    assert promised(some.take(~single), areas=2).conditions == "known"
