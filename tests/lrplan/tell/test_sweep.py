"""Sweeps: the same recordings as one by one, from one pass."""

from __future__ import annotations

import numpy as np
import pytest

from lrplan import (
    DataError,
    Design,
    Schedule,
    UsageError,
    accuracy_by_units,
    forecast,
    record,
    sweep,
)
from lrplan.classifiers.calibrated_forest import calibrated_forest
from lrplan.measure.observe import observe, observe_cohort, observe_designs
from lrplan.measure.virtual import draw_key

DESIGN = Design(units=20, noise=0.1)
SCHEDULES = (Schedule(), Schedule(sessions=3), Schedule(sessions=2, start=1))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"tracked": False},
        {"modality": "counts", "tracked": False},
        {"measure": ("paired", "weights"), "stimuli": 1, "observables": "standard-1"},
        {"modality": "electrophysiology", "settings": {"days_between": 5, "matched": 0.9}},
        {"noise_reference": "absolute", "scaling": "raw", "stimuli": 3, "position": "deep"},
    ],
)
def test_each_combination_is_what_is_recorded_alone(separable, changes):
    design = Design(**changes)
    chosen = separable.usable_populations(design.position)
    units = (4, 9, 25)
    noise = (0.05 if design.modality == "counts" else 0.0, 0.2, 1.0)
    if design.modality == "electrophysiology":
        units, noise = (24, 32, 40), (0.0,)
    key = draw_key(np.random.default_rng(7))
    observed = observe_designs(
        separable,
        design,
        key=key,
        populations=chosen,
        units=units,
        noise=noise,
        schedules=SCHEDULES,
    )
    for u, n, s in ((0, 1, 0), (1, 2, 1), (2, 0, 2), (2, 2, 2)):
        n = min(n, len(noise) - 1)
        alone = design.with_(units=units[u], noise=noise[n], schedule=SCHEDULES[s])
        found = observed.trajectories(u, n, s)
        made = observe_cohort(separable, alone, rng=7)
        whole = observe(
            record(separable, alone, rng=np.random.default_rng(7)),
            observables=design.taken,
            scaling=design.scaling,
        )
        for other in (made, whole):
            assert other.observables == found.observables
            # One pass over many designs sums in another order.
            np.testing.assert_allclose(other.values, found.values, rtol=1e-4, atol=1e-5)
            np.testing.assert_array_equal(other.organisms, found.organisms)


def test_what_is_not_finite_is_left_out_and_said(separable, monkeypatch):
    from lrplan.measure.observe import Observed

    trajectories = Observed.trajectories

    def spoiled(self, *cell):
        found = trajectories(self, *cell)
        found.values[0, 1, found.observables.index("change_turn")] = np.nan
        return found

    rng = np.random.default_rng(0)
    assert sweep(separable, DESIGN, units=[9], noise=[0.1], rng=rng).attrs["not_finite"] == ""
    monkeypatch.setattr(Observed, "trajectories", spoiled)
    found = sweep(separable, DESIGN, units=[9], noise=[0.1], rng=rng)
    assert found.attrs["not_finite"] == "change_turn"


@pytest.mark.parametrize("measure", ["activity", "weights", "paired"])
@pytest.mark.parametrize("tracked", [True, False])
def test_designs_share_units_and_chances(separable, measure, tracked):
    def recorded(**changes):
        design = Design(measure=measure, tracked=tracked, **{"units": 16, "noise": 0.3} | changes)
        return record(separable, design, rng=np.random.default_rng(2)).data[measure].values

    many, few = recorded(noise=0.3), recorded(units=4)
    np.testing.assert_array_equal(few, many[tuple(slice(n) for n in few.shape)])
    some = recorded(schedule=Schedule(sessions=3))
    np.testing.assert_array_equal(some, many[:, [0, 2, 4]])
    clean, loud = recorded(noise=0), recorded(noise=0.6)
    np.testing.assert_allclose(loud - clean, 2 * (many - clean), atol=1e-4)


def test_a_sweep_holds_every_combination(separable):
    found = sweep(
        separable,
        DESIGN,
        units=[5, 40],
        noise=[0.0, 5.0],
        rng=np.random.default_rng(0),
    )
    assert found["accuracy"].dims == ("units", "noise")
    assert found["accuracy"].shape == (2, 2)
    assert float(found["accuracy"].sel(units=40, noise=0.0)) > float(
        found["accuracy"].sel(units=5, noise=5.0)
    )
    assert ((found["low"] <= found["accuracy"]) & (found["accuracy"] <= found["high"])).all()
    assert float(found["chance"]) == 0.25


def test_schedules_and_measures_are_dimensions_where_listed(separable):
    found = sweep(
        separable,
        DESIGN,
        units=[9],
        noise=[0.1],
        schedules=SCHEDULES,
        measure=["activity", "activity,weights"],
        rng=np.random.default_rng(0),
    )
    assert found["accuracy"].dims == ("measure", "units", "noise", "schedule")
    assert list(found["measure"].values) == ["activity", "activity+weights"]
    assert list(found["sessions"].values) == [5, 3, 2]
    assert list(found["schedule"].values) == ["5 sessions", "3 sessions", "2 sessions, from 1"]


def test_what_did_not_learn_is_left_out_and_said(tmp_path, make_cohort):
    cohort = make_cohort(tmp_path / "c.zarr", effect=1.0, per_rule=6, unlearned=[0])
    found = sweep(cohort, Design(), units=[20], noise=[0.1], rng=0)
    assert "1 organisms did not learn" in found.attrs["left_out"]


def test_with_a_classifier_each_combination_is_a_forecast(separable):
    light = calibrated_forest({"max_features": ["sqrt"], "trees": [10]}, search_trees=10)
    found = sweep(
        separable,
        DESIGN,
        units=[20],
        noise=[0.1, 5.0],
        rng=np.random.default_rng(3),
        classifier=light,
    )
    for noise in (0.1, 5.0):
        plan = forecast(
            separable,
            DESIGN.with_(noise=noise),
            rng=np.random.default_rng(3),
            classifier=light,
        )
        at = found.sel(units=20, noise=noise)
        for name, interval in (
            ("accuracy", plan.accuracy),
            ("family", plan.held_out["family"]),
            ("auc", plan.auc),
            ("family_auc", plan.held_out_auc["family"]),
        ):
            assert float(at[name]) == interval.mean
            low = "low" if name == "accuracy" else f"{name}_low"
            assert float(at[low]) == interval.low


def test_a_sweep_agrees_with_forecasts(separable):
    found = sweep(separable, DESIGN, units=[20], noise=[5.0], rng=np.random.default_rng(1))
    plan = forecast(
        separable, DESIGN.with_(noise=5.0), rng=np.random.default_rng(1), held_out=False
    )
    width = plan.accuracy.high - plan.accuracy.low
    assert abs(float(found["accuracy"].squeeze()) - plan.accuracy.mean) < width / 2


def test_shuffled_labels_give_chance(separable):
    found = [
        sweep(
            separable,
            DESIGN,
            units=[40],
            noise=[0.0],
            rng=np.random.default_rng(s),
            shuffle_labels=True,
        )
        for s in range(6)
    ]
    for name, chance in (("accuracy", 0.25), ("family", 0.25), ("auc", 0.5), ("family_auc", 0.5)):
        assert abs(np.mean([float(f[name].squeeze()) for f in found]) - chance) < 0.1


def test_families_are_held_out_and_named(families):
    found = sweep(families, DESIGN, units=[20], noise=[0.1, 5.0], rng=0)
    assert found["family"].dims == ("units", "noise")
    assert (found["family_low"] <= found["family"]).all()
    assert float(found["family"].sel(units=20, noise=0.1)) > 0.7
    assert float(found["family_auc"].sel(units=20, noise=0.1)) > 0.9
    said = found.attrs["families"]
    assert said.startswith("held out: alexnet, knet, mlp; ") and "resnet (it lacks adam)" in said
    assert "family" not in sweep(families, DESIGN, units=[20], noise=[0.1], rng=0, held_out=False)


def test_a_single_family_holds_out_none_and_says_so(tmp_path, make_cohort):
    cohort = make_cohort(tmp_path / "c.zarr", effect=1.0, per_rule=6, architectures=("mlp",))
    found = sweep(cohort, DESIGN, units=[20], noise=[0.1], rng=0)
    assert np.isnan(found["family"]).all() and np.isfinite(found["accuracy"]).all()
    assert "one family of architectures (mlp); none was held out" in found.attrs["families"]


def test_same_seed_same_sweep_on_any_number_of_threads(separable, monkeypatch):
    def swept():
        return sweep(
            separable, DESIGN, units=[5, 20], noise=[0.1, 1.0], rng=np.random.default_rng(4)
        )

    one = swept()
    for module in ("tell.sweep", "threads"):
        monkeypatch.setattr(f"lrplan.{module}.threads", lambda: 1)
    assert one.identical(swept())


@pytest.mark.parametrize(
    ("lists", "said"),
    [
        ({"units": []}, "units is empty"),
        ({"noise": []}, "noise is empty"),
        ({"schedules": []}, "schedules is empty"),
        ({"units": [41]}, "use at most --units 40"),
        ({"units": [5, 0]}, "units is 0"),
        ({"units": ["all"]}, "units is 'all'"),
        ({"noise": [-1]}, "noise is -1"),
        ({"schedules": [Schedule(sessions=9)]}, "--sessions 5"),
        ({"measure": ["weigths"]}, "nearest: weights"),
        ({"schedules": 5}, "expected Schedules"),
        ({"rng": 1.5}, "rng is 1.5"),
        ({"units": [5, 5]}, "expected different ones"),
        ({"schedules": [Schedule(), Schedule()]}, "expected different ones"),
        ({"units": [5, [2, 3]]}, r"units is \[2, 3\]"),
        ({"classifier": 5}, "classifier is 5"),
    ],
)
def test_a_sweep_that_cannot_be_is_refused(separable, lists, said):
    asked = {"units": [5], "noise": [0.0], "rng": np.random.default_rng(0)} | lists
    with pytest.raises(UsageError, match=said):
        sweep(separable, DESIGN, **asked)


def test_curves_of_a_design_that_takes_all_units_use_what_is_stored(separable):
    found = accuracy_by_units(separable, Design(units="all", noise=0), rng=np.random.default_rng(0))
    assert found["units"].values[-1] == 40


def test_curves_leave_out_numbers_of_which_too_few_are_seen(separable):
    losing = {"survival_days": 2.0, "survival_shape": 1.0, "days_between": 0.5}
    lossy = Design(units=36, modality="electrophysiology", settings=losing)
    found = accuracy_by_units(separable, lossy, rng=np.random.default_rng(0))
    # Of two units, the fewest that are tried, one is often lost.
    assert found["units"].values[0] > 2
    assert 36 in found["units"].values
    with pytest.raises(DataError, match="of 3 units of organism"):
        accuracy_by_units(separable, lossy.with_(units=3), rng=0)


def test_one_of_a_kind_need_not_be_a_list(separable):
    found = sweep(separable.path, DESIGN, units=9, noise=0.1, rng=0, measure="weights")
    assert found["accuracy"].shape == (1, 1, 1)
