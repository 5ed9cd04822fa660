"""Forecasts: high where rules differ, chance where they do not."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin

from lrplan import DataError, Design, Schedule, UsageError, forecast, open_cohort
from lrplan.classifiers.calibrated_forest import calibrated_forest
from lrplan.classifiers.splits import Splits
from lrplan.measure.observe import observe_cohort
from lrplan.randomness import Streams
from lrplan.tell.unseen import Unseen, cross_predict

DESIGN = Design(units=20, noise=0.1)
LIGHT = calibrated_forest({"max_features": ["sqrt"], "trees": [25]})


@pytest.fixture(scope="module")
def starter():
    return open_cohort("starter")


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
    assert found.accuracy.low < 0.25 + 0.05 and found.accuracy.high > 0.25
    assert found.bits.low == 0
    assert len(found.inseparable) >= 4
    for interval in found.held_out.values():
        assert interval.low < 0.25 + 0.05


def test_shuffled_labels_give_chance(separable):
    """Over several shuffles: one alone may stray, on average they may not."""
    means = [plan(separable, seed=s, shuffle_labels=True, held_out=False) for s in range(4)]
    assert abs(np.mean([m.accuracy.mean for m in means]) - 0.25) < 0.06
    assert all(m.bits.mean < 0.1 for m in means)


class Centroid(ClassifierMixin, BaseEstimator):
    """Tells rules by how near their means are; cheap enough for many shuffles."""

    def fit(self, X, y, groups=None):
        self.classes_ = np.unique(y)
        self.centre_, self.spread_ = X.mean(axis=0), X.std(axis=0) + 1e-12
        Z = (X - self.centre_) / self.spread_
        self.means_ = np.stack([Z[y == k].mean(axis=0) for k in self.classes_])
        return self

    def predict_proba(self, X):
        Z = (X - self.centre_) / self.spread_
        far = ((Z[:, None] - self.means_) ** 2).mean(axis=-1)
        p = np.exp(far.min(axis=1, keepdims=True) - far)
        return p / p.sum(axis=1, keepdims=True)


def test_shuffled_labels_give_chance_under_every_condition(separable):
    whole = plan(separable, classifier=Centroid())
    assert whole.held_out["family"].mean > 0.5 and whole.held_out_auc["family"].mean > 0.7
    found = [plan(separable, seed=s, shuffle_labels=True, classifier=Centroid()) for s in range(10)]
    assert abs(np.mean([f.accuracy.mean for f in found]) - 0.25) < 0.07
    assert abs(np.mean([f.auc.mean for f in found]) - 0.5) < 0.07
    for name in ("family", "architecture", "task", "hyperparameters"):
        assert abs(np.mean([f.held_out[name].mean for f in found]) - 0.25) < 0.07
        assert abs(np.mean([f.held_out_auc[name].mean for f in found]) - 0.5) < 0.07


class Constant(ClassifierMixin, BaseEstimator):
    """Answers the same whatever it is shown."""

    def fit(self, X, y, groups=None):
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X):
        return np.tile([0.4, 0.3, 0.2, 0.1], (len(X), 1))


@pytest.mark.parametrize("shuffled", [False, True])
def test_a_classifier_that_always_answers_the_same_is_exactly_at_chance(separable, shuffled):
    found = plan(separable, classifier=Constant(), shuffle_labels=shuffled)
    accuracies = [found.accuracy, found.animal, *found.held_out.values()]
    areas = [found.auc, found.animal_auc, *found.held_out_auc.values()]
    for chance, intervals in ((0.25, accuracies), (0.5, areas)):
        assert {(i.low, i.mean, i.high) for i in intervals} == {(chance,) * 3}
    assert set(found.pairs_auc.values[~np.eye(4, dtype=bool)]) == {0.5}


def test_families_are_held_out_and_one_that_lacks_a_rule_is_named(families):
    found = plan(families)
    assert list(found.families) == ["alexnet", "knet", "mlp", "resnet"]
    sound = [found.families[name] for name in ("alexnet", "knet", "mlp")]
    assert [told.organisms for told in sound] == [12, 24, 12]
    assert found.held_out["family"].mean == pytest.approx(np.mean([t.accuracy.mean for t in sound]))
    assert found.held_out_auc["family"].mean == pytest.approx(np.mean([t.auc.mean for t in sound]))
    assert found.held_out["family"].mean > 0.7 and found.held_out_auc["family"].mean > 0.9
    lacking = found.families["resnet"]
    assert (lacking.accuracy, lacking.auc, lacking.why) == (None, None, "it lacks adam")
    assert any("families resnet (it lacks adam)" in w for w in found.warnings)
    assert "... resnet - not held out -" in " ".join(found.summary().split())


def test_a_single_family_holds_out_none_and_says_so(tmp_path, make_cohort):
    cohort = make_cohort(
        tmp_path / "c.zarr", effect=1.0, per_rule=6, architectures=("knet4", "knet5")
    )
    found = plan(cohort)
    assert found.held_out["family"] is found.held_out_auc["family"] is None
    assert found.held_out["architecture"] is not None
    assert found.not_held_out == {"family": "the cohort has one family of architectures (knet)"}
    assert any("one family of architectures (knet); none was held out" in w for w in found.warnings)


def test_few_families_are_said_to_be_few(separable):
    assert any("fewer than 3" in w for w in plan(separable).warnings)


def test_conditions_that_hold_out_the_same_are_tried_once(separable, monkeypatch):
    """Each family of this cohort has one architecture."""
    import lrplan.tell.forecast as module

    tried = []
    original = module.cross_predict
    monkeypatch.setattr(
        module,
        "cross_predict",
        lambda tests, *a, **k: tried.extend(t.purpose for t in tests) or original(tests, *a, **k),
    )
    found = plan(separable)
    assert ("family",) in tried and ("architecture",) not in tried
    means = [found.held_out[n].mean for n in ("family", "architecture")]
    assert means[0] == means[1]


def test_the_json_is_the_one_of_the_design(separable):
    found = json.loads(json.dumps(plan(separable).to_json(), allow_nan=False))
    assert found["schema"] == "lrplan.forecast/1"
    assert found["chance"] == 0.25
    assert list(found["held_out"]) == ["family", "architecture", "task", "hyperparameters"]
    assert set(found["held_out_auc"]) == set(found["held_out"])
    assert set(found["families"]) == {"knet", "mlp"}
    assert found["families"]["mlp"]["organisms"] == 24
    assert found["not_held_out"] == {}
    assert found["pairs"]["auc"][0][0] is None and found["pairs"]["accuracy"][1][0] > 0.5
    assert set(found["accuracy"]) == set(found["bits"]) == {"mean", "low", "high"}
    assert found["confusion"]["rules"] == found["cohort"]["rules"] == sorted(separable.rules)


def test_same_seed_same_forecast(separable):
    assert plan(separable, held_out=False).to_json() == plan(separable, held_out=False).to_json()


class Nearest(ClassifierMixin, BaseEstimator):
    """Remembers organisms by how much their activity grew, and knows nothing of rules."""

    GROWTH = 4 * 21  # act_raw_norm in the last session; columns are session by session

    def fit(self, X, y, groups=None):
        self.classes_, self.seen_, self.known_ = np.unique(y), X[:, self.GROWTH], y
        return self

    def predict_proba(self, X):
        closest = np.abs(X[:, self.GROWTH][:, None] - self.seen_).argmin(axis=1)
        hit = self.known_[closest][:, None] == self.classes_
        return np.where(hit, 0.97, 0.01)


def test_the_layer_split_leaks_and_the_grouped_one_does_not(tmp_path, make_cohort):
    """Layers of an organism share a growth of its own, and rules do not differ."""
    cohort = make_cohort(tmp_path / "c.zarr", effect=0.0, individual=20.0)
    design = Design(units=40, noise=0, position="unknown", observables="standard-1")
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


def test_where_training_has_one_organism_of_a_rule_nothing_is_predicted(separable):
    found, _ = observe_cohort(separable, DESIGN, rng=0).finite("c")
    one = found.organisms == found.organisms[0]
    # The first fold tests all of its rule but this organism, and so trains on one of that rule.
    fold = np.where(one | (found.y != found.y[0]), 1, 0)
    tested = Unseen(found, Splits.of_folds(fold), ("a test",))
    [p] = cross_predict([tested], found.organisms, streams=Streams(0), classifier=LIGHT)
    assert p.missing
    assert np.isnan(p.values[fold == 0]).all()


def test_too_few_organisms_are_refused(tmp_path, make_cohort):
    cohort = make_cohort(tmp_path / "c.zarr", effect=1.0, per_rule=4)
    with pytest.raises(DataError, match="4 usable organisms of the rule"):
        plan(cohort)


def test_an_unknown_split_is_refused(separable):
    with pytest.raises(UsageError, match="nearest: layer"):
        plan(separable, split="layers")


def change_observables(cohort, path, change):
    """Copy a cohort with other stored observables and without anything of single units."""
    from lrplan.cohort import format as schema

    writer = schema.CohortWriter(path, {"name": "changed", "recipe": ""})
    for (group, name), array in cohort.variables.items():
        if group in ("responses", "synapses", "paired"):
            continue
        values = cohort.read_variable(group, name)
        attributes = {k: v for k, v in dict(array.attrs).items() if k.startswith("flag_")}
        if name == "observables":
            rng = np.random.default_rng(0)
            growth = np.arange(len(values)) // (len(values) // 4)
            steps = np.linspace(0, 1, values.shape[1])
            values = 1 + growth[:, None, None] * steps[None, :, None] + np.zeros_like(values)
            values = change((values * rng.uniform(0.9, 1.1, values.shape)).astype(np.float32))
        writer.write(group, name, values, attributes)
    writer.close()
    return open_cohort(path)


def test_all_units_need_stored_observables_only(tmp_path, separable):
    cohort = change_observables(separable, tmp_path / "c.zarr", lambda v: v)
    for scaling, measure in (("raw", "activity"), ("relative", ("paired", "weights"))):
        design = Design(units="all", noise=0, scaling=scaling, measure=measure)
        assert plan(cohort, design, held_out=False).accuracy.low > 0.5
    with pytest.raises(DataError, match="--units all --noise 0"):
        plan(cohort, DESIGN)
    raw = observe_cohort(cohort, Design(units="all", noise=0, scaling="raw"), rng=0)
    stored = cohort.read_variable("observables", "observables")[:, :, :21]
    np.testing.assert_array_equal(raw.values, stored)


def test_relative_features_of_all_units_are_those_of_a_recording_of_all(starter):
    """Layers of 512 units are stored whole: a noiseless recording of them sees every unit."""
    table = starter.population_table
    small = np.flatnonzero(table["units"].values == 512)[:6]
    options = {"rng": 0, "populations": small}
    stored = observe_cohort(starter, Design(units="all", noise=0), **options)
    design = Design(units=512, noise=0, observables="standard-1")
    recorded = observe_cohort(starter, design, **options)
    assert stored.observables == recorded.observables
    # Over 256 stimuli there, over 8 here.
    place = stored.observables.index("act_abs_mean")
    a, b = (e.values[:, 0, place] for e in (stored, recorded))
    np.testing.assert_allclose(a, b, rtol=0.15)


def test_an_observable_that_is_not_finite_is_left_out_for_all_and_said(tmp_path, separable):
    def spoil(values):
        values[3, 2, 4] = np.nan
        values[7, 1, 9] = np.inf
        return values

    cohort = change_observables(separable, tmp_path / "c.zarr", spoil)
    design = Design(units="all", noise=0)
    found = plan(cohort, design, held_out=False)
    assert any(
        "act_abs_mean, act_raw_kurtosis" in w or "act_raw_kurtosis" in w for w in found.warnings
    )
    assert found.accuracy.low > 0.5
    sound, dropped = observe_cohort(cohort, design, rng=0).finite("c")
    assert len(dropped) == 2
    assert np.isfinite(sound.values).all()
    assert sound.values.shape == (96, 5, 19)


def test_missing_sessions_and_missing_everything_are_refused(tmp_path, separable):
    def stop_early(values):
        values[:10, 3:] = np.nan
        return values

    def spoil_all(values):
        values[5, 2] = np.nan
        values[6, 2, 0] = 1
        values[5, 2, 0] = 1
        values[6, 2] = np.inf
        values[:, :, 0] = np.nan
        return values

    design = Design(units="all", noise=0, scaling="raw")
    early = change_observables(separable, tmp_path / "a.zarr", stop_early)
    with pytest.raises(DataError, match="same checkpoints"):
        plan(early, design)
    assert plan(early, design.with_(schedule=Schedule(sessions=2, spacing=2)), held_out=False)
    with pytest.raises(DataError):
        plan(change_observables(separable, tmp_path / "b.zarr", spoil_all), design)


def test_cohorts_that_cannot_be_told_apart_are_refused(tmp_path, make_cohort):
    gone = make_cohort(tmp_path / "gone.zarr", effect=1.0, per_rule=6, diverged=24)
    with pytest.raises(DataError, match="all its organisms diverged"):
        plan(gone)
    one = make_cohort(tmp_path / "one.zarr", effect=1.0, per_rule=6, diverged=18)
    with pytest.raises(DataError, match="no usable organism of the rule 'adam': of 6, 6 diverged"):
        plan(one)
    alone = make_cohort(tmp_path / "alone.zarr", effect=1.0, per_rule=6, rules=("sgdm",))
    with pytest.raises(DataError, match="1 rule .sgdm.; at least 2"):
        plan(alone)
    few = make_cohort(tmp_path / "few.zarr", effect=1.0, per_rule=6, diverged=5)
    with pytest.raises(DataError, match="1 usable organisms of the rule 'sgdm'"):
        plan(few)
    assert len(observe_cohort(one, DESIGN, rng=0))


def test_columns_are_session_by_session(separable):
    design = Design(units=9, measure=("activity", "paired"), schedule=Schedule(sessions=3))
    found = observe_cohort(separable, design, rng=0)
    table = found.features()
    assert (table.sessions, table.static, len(found.observables)) == (3, 3, 49)
    assert table.names[49] == f"{found.observables[0]}@1"
    column = table.values[:, table.names.index("coupling_turn@2")]
    np.testing.assert_array_equal(
        found.values[:, 2, found.observables.index("coupling_turn")], column
    )
    named = ["coupling_turn", "geometry_participation"]
    some = observe_cohort(separable, design.with_(observables=named), rng=0)
    assert some.observables == ["geometry_participation", "coupling_turn"]
    np.testing.assert_allclose(some.values[:, 2, 1], column, rtol=1e-4, atol=1e-5)
    with pytest.raises(UsageError, match="unknown observable 'act_men'"):
        found.with_observables(["act_men"])


def test_cohorts_by_name_and_seeds_by_number(separable):
    by_path = forecast(separable.path, DESIGN, rng=3, held_out=False, classifier=LIGHT)
    assert by_path.accuracy == plan(separable, seed=3, held_out=False).accuracy


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"rng": -1}, "rng is -1"),
        ({"rng": None}, "rng is None"),
        ({"rng": "0"}, "rng is '0'"),
        ({"design": 5}, "design is 5; expected a Design"),
        ({"cohort": 5}, "cohort is 5; expected a"),
    ],
)
def test_what_is_no_cohort_design_or_seed_is_refused(separable, given, said):
    asked = {"cohort": separable, "design": DESIGN, "rng": 0} | given
    with pytest.raises(UsageError, match=said):
        forecast(asked.pop("cohort"), asked.pop("design"), **asked)


def test_the_areas_of_an_animal_together_tell_more(separable, equal):
    """Noise differs between areas; what learning did is in each."""
    noisy = DESIGN.with_(noise=2.0)
    found = plan(separable, noisy, held_out=False)
    assert found.animal.mean > found.accuracy.mean
    assert plan(equal, held_out=False).animal.low < 0.25
    deep = plan(separable, DESIGN.with_(position="deep"), held_out=False)
    assert deep.animal is None


def test_no_two_purposes_share_a_stream(separable, monkeypatch):
    """Folds of the second repeat and the bootstrap once did."""
    from lrplan.randomness import Streams

    asked = []
    rng = Streams.rng
    monkeypatch.setattr(
        Streams, "rng", lambda self, *purpose: asked.append(purpose) or rng(self, *purpose)
    )
    plan(separable)
    assert len({repr(p) for p in asked if p[0] != "classifier"}) == len(
        [p for p in asked if p[0] != "classifier"]
    )
    first = {repr(rng(Streams(1), *p).random()) for p in set(asked)}
    assert len(first) == len(set(asked))
