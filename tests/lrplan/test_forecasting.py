"""Forecasts: high where rules differ, chance where they do not."""

from __future__ import annotations

import json

import numpy as np
import pytest

from lrplan import DataError, Design, UsageError, forecast, sweep
from lrplan.classifier import RuleClassifier

DESIGN = Design(units=20, noise=0.1)
LIGHT = RuleClassifier(grid=({},), trees=25)


def plan(cohort, design=DESIGN, *, seed=0, **options):
    options = {"classifier": LIGHT} | options
    return forecast(cohort, design, rng=np.random.default_rng(seed), **options)


def test_rules_that_differ_are_told_apart(separable):
    found = plan(separable)
    assert found.accuracy.low > 0.8
    assert found.bits.mean > 1
    assert found.inseparable == []
    assert all(interval.mean > 0.7 for interval in found.held_out.values())
    np.testing.assert_allclose(found.confusion.values.sum(axis=1), 1)


def test_rules_that_are_equal_are_not(equal):
    found = plan(equal)
    assert found.accuracy.low < 0.25 < found.accuracy.high
    assert found.bits.low == 0
    assert len(found.inseparable) >= 4
    for interval in found.held_out.values():
        assert interval.low < 0.25 + 0.05


def test_shuffled_labels_give_chance(separable):
    """Over several shuffles: one alone may stray, on average they may not."""
    means = [plan(separable, seed=s, shuffle_labels=True, held_out=False) for s in range(4)]
    assert abs(np.mean([m.accuracy.mean for m in means]) - 0.25) < 0.06
    assert all(m.bits.mean < 0.1 for m in means)


def test_the_json_is_the_one_of_the_design(separable):
    found = json.loads(json.dumps(plan(separable).to_json(), allow_nan=False))
    assert found["schema"] == "lrplan.forecast/1"
    assert found["chance"] == 0.25
    assert set(found["held_out"]) == {"architecture", "task", "hyperparameters"}
    assert set(found["accuracy"]) == set(found["bits"]) == {"mean", "low", "high"}
    assert found["confusion"]["rules"] == found["cohort"]["rules"] == sorted(separable.rules)


def test_same_seed_same_forecast(separable):
    assert plan(separable, held_out=False).to_json() == plan(separable, held_out=False).to_json()


class Nearest(RuleClassifier):
    """Remembers organisms by how much their activity grew, and knows nothing of rules."""

    GROWTH = 4 * 21  # act_raw_norm in the last session

    def fit(self, X, y, organisms=None):
        self.classes_, self.seen_, self.known_ = np.unique(y), X[:, self.GROWTH], y
        return self

    def predict_proba(self, X):
        closest = np.abs(X[:, self.GROWTH][:, None] - self.seen_).argmin(axis=1)
        hit = self.known_[closest][:, None] == self.classes_
        return np.where(hit, 0.97, 0.01)


def test_the_layer_split_leaks_and_the_grouped_one_does_not(tmp_path, make_cohort):
    """Layers of an organism share a growth of its own, and rules do not differ."""
    cohort = make_cohort(tmp_path / "c.zarr", effect=0.0, individual=20.0)
    design = Design(units=40, noise=0, position="unknown")
    grouped = plan(cohort, design, held_out=False, classifier=Nearest())
    layered = plan(cohort, design, held_out=False, classifier=Nearest(), split="layer")
    assert layered.split == "layer"
    assert any("flattered" in w for w in layered.warnings)
    assert grouped.accuracy.low < 0.25
    assert layered.accuracy.low > 0.25 + 0.1


def test_warnings_say_what_was_left_out(tmp_path, make_cohort):
    cohort = make_cohort(tmp_path / "c.zarr", effect=1.0, per_rule=6, diverged=1, small=6)
    found = plan(cohort, Design(units=30), held_out=False)
    text = " / ".join(found.warnings)
    assert "1 organisms diverged" in text
    assert "4 of 46 populations hold fewer than 30 units" in text


def test_too_few_organisms_are_refused(tmp_path, make_cohort):
    cohort = make_cohort(tmp_path / "c.zarr", effect=1.0, per_rule=4)
    with pytest.raises(DataError, match="4 usable organisms of the rule"):
        plan(cohort)


def test_an_unknown_split_is_refused(separable):
    with pytest.raises(UsageError, match="nearest: layer"):
        plan(separable, split="layers")


def test_a_sweep_holds_every_combination(separable):
    found = sweep(
        separable,
        DESIGN,
        units=[5, 40],
        noise=[0.0, 5.0],
        rng=np.random.default_rng(0),
        classifier=LIGHT,
    )
    assert found["accuracy"].shape == (2, 2)
    assert float(found["accuracy"].sel(units=40, noise=0.0)) > float(
        found["accuracy"].sel(units=5, noise=5.0)
    )
    assert ((found["low"] <= found["accuracy"]) & (found["accuracy"] <= found["high"])).all()
