"""Features that agree between families: which they are, and that no test row chooses them."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import LeaveOneGroupOut, cross_validate
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline

from lrplan import DataError, UsageError, forecast
from lrplan.classifiers.agreeing import (
    Agreeing,
    AgreeingFeatures,
    agreeing,
    agreement,
    directions,
    left_out_ranking,
)
from lrplan.classifiers.calibrated import Calibrated
from lrplan.measure.design import Design

FAMILIES = np.repeat(["knet", "mlp", "resnet"], [20, 40, 60])
LABELS = np.tile(["a", "b"], 60)


def turned(seed=0):
    """Return features: one that agrees, one turned round in resnets, one of noise."""
    noise = np.random.default_rng(seed).standard_normal((120, 3))
    high = np.where(LABELS == "b", 3.0, 0.0)
    noise[:, 0] += high
    noise[:, 1] += np.where(FAMILIES == "resnet", -high, high)
    return noise


def test_directions_are_areas_under_the_curve():
    x = np.random.default_rng(0).integers(0, 5, (120, 4)).astype(float)  # with ties
    found = directions(x, LABELS, FAMILIES)
    assert found.shape == (1, 3, 4)
    for k, family in enumerate(["knet", "mlp", "resnet"]):
        rows = family == FAMILIES
        expected = [roc_auc_score(LABELS[rows] == "b", column) for column in x[rows].T]
        np.testing.assert_allclose(found[0, k] + 0.5, expected)


def test_a_feature_that_is_turned_round_in_one_family_is_not_kept():
    x = turned()
    assert agreeing(x, LABELS, FAMILIES)[:2].tolist() == [True, False]
    known = FAMILIES != "resnet"
    assert agreeing(x[known], LABELS[known], FAMILIES[known])[:2].tolist() == [True, True]
    assert agreement(x, LABELS, FAMILIES)[0] > 0.4 > 0 > agreement(x, LABELS, FAMILIES)[1]
    assert not agreeing(x, LABELS, FAMILIES, margin=0.5).any()


def test_families_count_alike_whatever_their_size():
    x = turned()
    rows = np.concatenate([np.flatnonzero(FAMILIES != "resnet"), np.flatnonzero(FAMILIES == "mlp")])
    twice = agreement(x[rows], LABELS[rows], FAMILIES[rows])
    once = FAMILIES != "resnet"
    np.testing.assert_allclose(twice, agreement(x[once], LABELS[once], FAMILIES[once]))


def test_one_pair_of_labels_is_enough():
    labels = np.tile(["a", "b", "c"], 40)
    x = (labels == "c")[:, None].astype(float)
    assert agreeing(x, labels, FAMILIES).all()
    assert np.isfinite(left_out_ranking(x, labels, FAMILIES)).all()
    lost = (FAMILIES == "knet") & (labels == "c")  # a family without a label has no say on it
    assert agreeing(x[~lost], labels[~lost], FAMILIES[~lost]).all()


def test_a_ranking_leaves_families_out():
    found = left_out_ranking(turned(), LABELS, FAMILIES)
    assert found[0] > 0.9 and found[1] < 0.6


def test_a_single_family_agrees_with_none():
    rows = FAMILIES == "mlp"
    for function in (agreeing, left_out_ranking):
        with pytest.raises(DataError, match="1 families share no two labels.*two families or more"):
            function(turned()[rows], LABELS[rows], FAMILIES[rows])


def test_the_best_are_kept_where_few_agree():
    chosen = AgreeingFeatures(margin=0.5, least=1).fit(turned(), LABELS, families=FAMILIES)
    assert chosen.mask_.tolist() == [True, False, False]
    assert chosen.transform(turned()).shape == (120, 1)
    with pytest.raises(UsageError, match="the family of each row"):
        AgreeingFeatures().fit(turned(), LABELS)


def test_in_a_pipeline_the_family_that_is_tested_has_no_say():
    with sklearn.config_context(enable_metadata_routing=True):
        chosen = AgreeingFeatures(least=1).set_fit_request(families=True)
        found = cross_validate(
            make_pipeline(chosen, GaussianNB()),
            turned(),
            LABELS,
            cv=LeaveOneGroupOut(),
            params={"families": FAMILIES, "groups": FAMILIES},
            return_estimator=True,
        )
    fitted = [pipeline[0] for pipeline in found["estimator"]]
    seen = [f.families_.tolist() for f in fitted]
    assert seen == [["mlp", "resnet"], ["knet", "resnet"], ["knet", "mlp"]]
    # What misleads in resnets is known only where they were trained on.
    assert [bool(f.mask_[1]) for f in fitted] == [False, False, True]


def test_labels_at_random_are_not_told_from_a_family_that_was_not_seen():
    """Of 2,000 features of noise some agree in any two families: none must help in the third."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((120, 2000)), rng.permutation(LABELS)
    groups = np.arange(120)
    right = []
    for family in np.unique(FAMILIES):
        test = family == FAMILIES
        model = Agreeing(GaussianNB(), dict(zip(groups, FAMILIES, strict=True)))
        model.fit(x[~test], y[~test], groups=groups[~test])
        assert family not in model.features_.families_
        right.append((model.predict(x[test]) == y[test]).mean())
    assert 0.35 < np.mean(right) < 0.65
    leaking = agreeing(x, y, FAMILIES, margin=0.1)
    seen = GaussianNB().fit(x[:, leaking], y)
    assert seen.score(x[:, leaking], y) > 0.8


def test_it_says_what_it_is_not_told():
    model = Agreeing(GaussianNB(), {0: "mlp"})
    with pytest.raises(UsageError, match="groups is None"):
        model.fit(turned(), LABELS)
    with pytest.raises(UsageError, match="119 groups is unknown, such as that of"):
        model.fit(turned(), LABELS, groups=np.arange(120))


def test_forecasts_take_it_as_a_classifier(separable):
    families = dict(zip(separable.organism_ids, separable.families, strict=True))
    classifier = Calibrated(Agreeing(GaussianNB(), families), folds=2)
    plan = forecast(separable, Design(units=9), rng=0, held_out=False, classifier=classifier)
    assert plan.accuracy.low > plan.chance
