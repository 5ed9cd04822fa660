"""What every classifier keeps to."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone

from lrplan.classifiers import classifiers, make_classifier, seeded
from lrplan.classifiers.calibrated import Calibrated
from lrplan.errors import UsageError

SESSIONS, OBSERVABLES, STATIC = 6, 4, 2


def trajectories(*, organisms=32, per_organism=2, effect=1.5, seed=0):
    """Four rules; the first observable rises at a rate of its own. Session-major."""
    rng = np.random.default_rng(seed)
    rule = np.arange(organisms) % 4
    series = rng.standard_normal((organisms, SESSIONS, OBSERVABLES))
    series[:, :, 0] += effect * rule[:, None] * np.linspace(0, 2, SESSIONS)
    series = np.repeat(series, per_organism, axis=0)
    series += 0.01 * rng.standard_normal(series.shape)
    x = np.concatenate(
        [series.reshape(len(series), -1), rng.integers(0, 2, (len(series), STATIC))], axis=1
    )
    labels = np.array(["adam", "fa", "ia", "sgdm"])[rule]
    return x, np.repeat(labels, per_organism), np.repeat(np.arange(organisms), per_organism)


def make(name, **options):
    options = {"effort": "quick", **options}
    return make_classifier(name, sessions=SESSIONS, static=STATIC, **options)


@pytest.fixture(params=classifiers.names())
def name(request):
    return request.param


def test_a_classifier_says_what_it_is(name):
    kind = classifiers.get(name)
    assert kind.summary.strip()
    assert kind.cites.strip()


def test_it_learns_what_can_be_learned(name):
    x, y, organisms = trajectories(organisms=64, per_organism=1, effect=3.0)
    model = make(name).fit(x, y, organisms)
    unseen, truth, _ = trajectories(effect=3.0, seed=1)
    p = model.predict_proba(unseen)
    np.testing.assert_allclose(p.sum(axis=1), 1)
    assert (model.classes_[p.argmax(axis=1)] == model.predict(unseen)).all()
    assert (model.predict(unseen) == truth).mean() > 0.5
    assert model.settings_
    assert len(model.search_) >= 2


def test_recordings_of_one_organism_never_help_to_judge_each_other(name):
    """With labels that mean nothing, copies of an organism on both sides would be recognised."""
    x, _, organisms = trajectories(effect=0.0, per_organism=4)
    y = np.random.default_rng(0).permutation(np.arange(32) % 4)[organisms]
    grouped = make(name).fit(x, y, organisms).out_of_fold_
    leaking = make(name).fit(x, y).out_of_fold_
    assert (grouped.argmax(axis=1) == y).mean() < 0.45
    assert (leaking.argmax(axis=1) == y).mean() > 0.6


def test_same_seed_same_result_on_any_number_of_workers(name):
    x, y, organisms = trajectories(organisms=16)
    one = make(name, workers=1, random_state=3).fit(x, y, organisms)
    three = make(name, workers=3, random_state=3).fit(x, y, organisms)
    np.testing.assert_array_equal(one.predict_proba(x), three.predict_proba(x))
    assert one.settings_ == three.settings_


def test_what_is_not_finite_in_training_is_left_out(name):
    x, y, organisms = trajectories(organisms=16)
    x[3, 1] = np.nan  # observable 1 of session 0
    x[5, OBSERVABLES + 2] = np.inf  # observable 2 of session 1
    model = make(name).fit(x, y, organisms)
    assert not model.kept_[[1, OBSERVABLES + 2]].any()
    assert model.kept_[[0, OBSERVABLES, -1]].all()
    assert np.isfinite(model.predict_proba(x)).all()


def test_a_clone_is_the_same_and_not_fitted(name):
    model = make(name)
    assert clone(model).get_params() == model.get_params()
    assert not hasattr(clone(model), "classes_")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, y, g: (x, np.repeat("adam", len(y)), g), "one class"),
        (lambda x, y, g: (x, y, g[:-1]), "groups has shape"),
        (lambda x, y, g: (x, np.where(g == 0, "rare", y), g), "'rare' has one group"),
    ],
)
def test_what_cannot_be_searched_is_said(name, change, message):
    with pytest.raises(ValueError, match=message):
        make(name).fit(*change(*trajectories(organisms=16)))


def test_an_unknown_setting_is_answered_with_the_nearest(name):
    x, y, organisms = trajectories(organisms=16)
    known = next(iter(make(name).grid))
    with pytest.raises(UsageError, match=f"nearest: .*{known}"):
        make(name).set_params(grid={known + "x": [1]}).fit(x, y, organisms)
    with pytest.raises(UsageError, match="folds is 1; expected"):
        make(name).set_params(folds=1).fit(x, y, organisms)
    with pytest.raises(UsageError, match="workers is 0; expected"):
        make(name, workers=0).fit(x, y, organisms)
    with pytest.raises(UsageError, match="random_state is None; expected a whole number"):
        make(name, random_state=None).fit(x, y, organisms)


def test_every_stream_is_keyed_by_what_it_is_for(name, monkeypatch):
    """A generator from the bare seed, once for folds and once for the rest, is one stream."""

    def refuse(*seed):
        raise AssertionError(f"a generator from {seed}")

    x, y, organisms = trajectories(organisms=16)
    model = make(name)
    with monkeypatch.context() as patch:
        patch.setattr(np.random, "default_rng", refuse)
        model.fit(x, y, organisms)


def test_every_part_gets_the_seed():
    model = seeded(Calibrated(make("random_forest")), 7)
    assert (model.random_state, model.estimator.random_state) == (7, 7)
    assert not hasattr(model, "classes_")


def test_names_and_efforts_are_checked():
    with pytest.raises(UsageError, match="unknown classifier 'random_forst'; nearest: random_fo"):
        make_classifier("random_forst")
    with pytest.raises(UsageError, match="unknown effort 'quik'; nearest: quick"):
        make_classifier("random_forest", effort="quik")
