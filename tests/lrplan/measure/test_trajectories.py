"""Trajectories: scale-free where they should be, and blind to what carries no meaning."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import xarray as xr

from lrplan import DataError, Design, Recording, Schedule, UsageError, forecast, record
from lrplan.measure.observables import chosen
from lrplan.measure.observe import observe, observe_cohort
from lrplan.measure.recording import DIMS
from lrplan.measure.trajectories import Trajectories


def made(measure, values, **coords):
    data = xr.Dataset({measure: (DIMS[measure], values.astype(np.float32))})
    data = data.assign_coords({k: ("population", v) for k, v in coords.items()})
    return Recording(data, "made")


SHAPES = {"activity": (3, 4, 5, 20), "weights": (3, 4, 50), "paired": (3, 4, 2, 6, 7)}


@pytest.mark.parametrize("measure", SHAPES)
def test_relative_features_do_not_depend_on_the_unit_of_activity(measure):
    values = np.random.default_rng(0).standard_normal(SHAPES[measure])
    one = observe(made(measure, values), positioned=False).features().values
    other = observe(made(measure, 1000 * values), positioned=False).features().values
    np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)
    raw = observe(made(measure, 1000 * values), scaling="raw", positioned=False).features().values
    assert np.abs(raw).max() > 100 * np.abs(other).max()


@pytest.mark.parametrize("measure", ["activity", "weights"])
def test_features_do_not_depend_on_the_order_of_units(measure):
    rng = np.random.default_rng(0)
    values = rng.standard_normal(SHAPES[measure])
    shuffled = rng.permuted(values, axis=-1)
    if measure == "activity":
        shuffled = values[..., rng.permutation(values.shape[-1])]
    one = observe(made(measure, values), positioned=False).features().values
    other = observe(made(measure, shuffled), positioned=False).features().values
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_names_and_columns_agree(separable):
    recording = record(separable, Design(units=20), rng=np.random.default_rng(0))
    table = observe(recording, observables="standard-1").features()
    assert table.values.shape == (96, 5 * 21 + 3) == (96, len(table.names))
    column = table.values[:, table.names.index("position_deep")]
    np.testing.assert_array_equal(column, recording.data["position"].values == "deep")
    # The first session's root mean square is the unit of relative features.
    np.testing.assert_allclose(table.values[:, table.names.index("act_raw_norm@0")], 1, atol=0.2)


def test_padding_of_small_populations_is_no_data():
    values = np.random.default_rng(0).standard_normal((3, 4, 5, 20)).astype(np.float32)
    values[1, ..., 12:] = np.nan
    table = observe(made("activity", values), positioned=False).features().values
    alone = observe(made("activity", values[1:2, ..., :12]), positioned=False).features().values
    assert np.isfinite(table).all()
    np.testing.assert_allclose(table[1], alone[0], rtol=1e-5)


def test_a_silent_population_has_finite_features():
    table = observe(made("activity", np.zeros((2, 3, 4, 5))), positioned=False).features()
    assert np.isfinite(table.values).all()


def test_an_unknown_position_is_said():
    with pytest.raises(UsageError, match="position"):
        observe(made("activity", np.ones((1, 2, 3, 4))))


def test_what_is_known_of_a_recording_comes_along(separable):
    found = observe_cohort(separable, Design(units=9, observables="standard-1"), rng=0)
    assert found.data.dims == ("recording", "session", "observable")
    assert set(found.label("told")) == set(separable.rules)
    organism = separable.population_table["organism"].values[found.populations]
    np.testing.assert_array_equal(found.organisms, np.array(separable.organism_ids)[organism])
    np.testing.assert_array_equal(found.label("animal"), found.organisms)
    np.testing.assert_array_equal(found.label("area"), found.label("layer"))
    some = (
        found.take(found.label("position") == "deep").at([0, 2]).with_observables(["act_abs_var"])
    )
    assert dict(some.data.sizes) == {"recording": 48, "session": 2, "observable": 1}
    with pytest.raises(UsageError, match="nearest: task"):
        found.label("tasks")


def test_organisms_swap_labels_as_wholes(separable):
    found = observe_cohort(separable, Design(units=9, observables="standard-1"), rng=0)
    swapped = found.telling("rule", shuffle=np.random.default_rng(0))
    assert (swapped.y != found.y).any()
    np.testing.assert_array_equal(swapped.label("rule"), found.label("rule"))
    assert sorted(swapped.y) == sorted(found.y)
    for organism in np.unique(found.organisms):
        assert len(set(swapped.y[found.organisms == organism])) == 1


def test_the_mean_over_time_is_one_session(separable):
    found = observe_cohort(separable, Design(units=9, observables="standard-1"), rng=0)
    mean = found.over_time()
    assert mean.sessions == 1
    np.testing.assert_allclose(mean.values[:, 0], found.values.mean(axis=1), rtol=1e-4, atol=1e-5)
    assert mean.features().static == 3


@pytest.fixture
def drift():
    """A family that takes whole trajectories, registered while a test runs."""
    from lrplan.measure.observables import Family, Needs, Observable, families

    def compute(values):
        step = np.diff(values, axis=-3, prepend=values[..., :1, :, :])
        return np.sqrt((step**2).mean(axis=(-2, -1)))[..., None]

    families.names()
    families.add(
        "drift",
        Family(
            name="drift",
            measure="activity",
            observables=(Observable("drift_step", 1, "root mean square change between sessions"),),
            compute=compute,
            scale=lambda values: np.sqrt((values**2).mean(axis=(-2, -1))),
            cites="a test",
            needs=Needs(trajectory=True, tracked=True, sessions=2),
        ),
    )
    yield "drift_step"
    del families._entries["drift"]


def test_a_family_may_take_the_whole_trajectory(separable, drift):
    design = Design(units=9, observables=("standard-1", "drift"))
    whole = observe_cohort(separable, design, rng=0)
    assert whole.observables[-1] == drift and len(whole.observables) == 22
    recorded = observe(
        record(separable, design, rng=np.random.default_rng(0)), observables=design.observables
    )
    np.testing.assert_array_equal(whole.values, recorded.values)
    step = whole.values[..., -1]
    assert (step[:, 0] == 0).all() and (step[:, 1:] > 0).all()
    # The change over a longer step is larger: it is that of the sessions that were recorded.
    far = observe_cohort(separable, design.with_(schedule=Schedule(sessions=2)), rng=0)
    assert far.values[:, 1, -1].mean() > 2 * step[:, 1].mean()


def test_what_a_design_cannot_give_is_refused(separable, drift):
    for changes, lacking in (
        ({"tracked": False}, "the same units in all sessions"),
        ({"schedule": Schedule(sessions=1)}, "at least 2 sessions, but there are 1"),
    ):
        with pytest.raises(UsageError, match=f"drift_step.*need {lacking}"):
            observe_cohort(separable, Design(units=9, observables="drift", **changes), rng=0)


def test_registering_an_observable_changes_nothing(separable, drift):
    """Not the default set, nor what is taken of observables that were stored before."""
    for design in (Design(units=9), Design(units="all", noise=0)):
        assert drift not in observe_cohort(separable, design, rng=0).observables


@pytest.mark.parametrize(
    ("measures", "asked", "said"),
    [
        (
            ["activity"],
            ("plasticity",),
            "plasticity are of weights, none of activity; take `--measure weights`, or "
            "`--measure activity,weights` with observables of activity, too",
        ),
        (
            ["activity"],
            ("coupling", "plasticity_turn"),
            "are of paired and weights, none of activity; take `--measure paired,weights`, or",
        ),
        (
            ["weights", "activity"],
            ("change",),
            "are of activity, none of weights; take `--measure activity`, or name observables of",
        ),
    ],
)
def test_observables_of_another_measure_say_which_to_measure(measures, asked, said):
    with pytest.raises(UsageError) as raised:
        chosen(asked, measures)
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("act_men", "nearest: act_abs_mean|nearest: act_"),
        ("standard", "nearest: standard-2, standard-1"),
        (("act", "act"), "different"),
        ((), "different"),
        (5, "expected names"),
    ],
)
def test_observables_that_are_unknown_are_refused(asked, said):
    with pytest.raises(UsageError, match=said):
        Design(observables=asked)


def test_a_measure_without_an_observable_is_refused(separable):
    with pytest.raises(UsageError, match="none of weights"):
        observe_cohort(
            separable, Design(units=9, measure="activity,weights", observables="act"), rng=0
        )


def test_trajectories_print_in_a_line(separable):
    found = observe_cohort(separable, Design(units=9, observables="standard-1"), rng=0)
    assert repr(found) == "<Trajectories: 96 recordings, 5 sessions, 21 observables>"
    assert isinstance(found, Trajectories)


def test_units_that_some_session_lacks_are_left_out_of_tracked_ones():
    values = np.random.default_rng(0).standard_normal((1, 4, 5, 20)).astype(np.float32)
    gaps = values.copy()
    gaps[0, 2, :, 3:8] = np.nan
    kept = np.delete(values, range(3, 8), axis=-1)
    one, two = (observe(made("activity", v), positioned=False).values for v in (gaps, kept))
    np.testing.assert_allclose(one, two, rtol=1e-5)
    untracked = made("activity", gaps)
    with pytest.raises(DataError, match="equalised"):
        observe(dataclasses.replace(untracked, tracked=False), positioned=False)


def test_what_populations_hold_and_stimuli_shown_are_what_is_needed(make_cohort, tmp_path, drift):
    from lrplan.measure.observables import Needs, families

    cohort = make_cohort(tmp_path / "c.zarr", effect=1.0, per_rule=2, small=1)
    before = families.get("drift")
    for needs, design in (
        (Needs(trajectory=True, units=30), Design(units=30, observables="drift")),
        (Needs(trajectory=True, stimuli=2), Design(units=9, stimuli=1, observables="drift")),
    ):
        families._entries["drift"] = dataclasses.replace(before, needs=needs)
        with pytest.raises(UsageError, match="need at least"):
            observe_cohort(cohort, design, rng=0)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda c: observe("x"), "expected a Recording"),
        (lambda c: observe_cohort(c, 5, rng=0), "expected a Design"),
        (
            lambda c: observe(
                record(c, Design(units=9, observables="standard-1"), rng=0), scaling="relativ"
            ),
            "unknown scaling 'relativ'; nearest: relative",
        ),
    ],
)
def test_what_cannot_be_observed_is_refused(separable, call, said):
    with pytest.raises(UsageError, match=said):
        call(separable)


def test_observables_that_would_not_be_taken_are_said(separable):
    design = Design(units=9, observables=("geometry", "plasticity"))
    said = "plasticity would not be taken: of weights.*--measure activity,weights"
    with pytest.raises(UsageError, match=said):
        forecast(separable, design, rng=0)
