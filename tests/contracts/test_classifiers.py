"""Every classifier keeps its contract; unknown names are answered."""

from __future__ import annotations

import numpy as np
import pytest

from lrplan.classifiers import classifiers, make_classifier, seeded
from lrplan.classifiers.calibrated import Calibrated
from lrplan.errors import UsageError
from lrplan.testing import ClassifierContract


@pytest.mark.parametrize("check", ClassifierContract.checks())
@pytest.mark.parametrize("name", classifiers.names())
def test_a_classifier_keeps_its_contract(name, check):
    ClassifierContract.run(name, check)


@pytest.mark.parametrize("name", classifiers.names())
def test_every_stream_is_keyed_by_what_it_is_for(name, monkeypatch):
    """A generator from the bare seed, once for folds and once for the rest, is one stream."""

    def refuse(*seed):
        raise AssertionError(f"a generator from {seed}")

    rng = np.random.default_rng(0)
    x = rng.standard_normal((32, 26))
    y, organisms = np.array(["adam", "sgdm"])[np.arange(32) // 2 % 2], np.arange(32) // 2
    model = make_classifier(name, sessions=6, static=2, effort="quick")
    with monkeypatch.context() as patch:
        patch.setattr(np.random, "default_rng", refuse)
        model.fit(x, y, organisms)


def test_every_part_gets_the_seed():
    model = seeded(Calibrated(make_classifier("random_forest", effort="quick")), 7)
    assert (model.random_state, model.estimator.random_state) == (7, 7)
    assert not hasattr(model, "classes_")


def test_names_and_efforts_are_checked():
    with pytest.raises(UsageError, match="unknown classifier 'random_forst'; nearest: random_fo"):
        make_classifier("random_forst")
    with pytest.raises(UsageError, match="unknown effort 'quik'; nearest: quick"):
        make_classifier("random_forest", effort="quik")
