"""Areas of an animal in one row: what stands where, who is left out, and that all roads agree."""

from __future__ import annotations

import json

import numpy as np
import pytest

from lrplan import DataError, Design, Schedule, UsageError, forecast, record
from lrplan.measure.contrasts import lacking, places_of_areas, refuse_few, together
from lrplan.measure.observe import observe, observe_cohort, observe_designs
from lrplan.measure.trajectories import Trajectories
from lrplan.measure.virtual import lacking_contrasts, usable
from lrplan.tell.sweep import sweep

BOTH = ("early", "deep")


def single(cohort, **changes):
    """Record each population on its own; split into early and deep, by organism."""
    found = observe_cohort(cohort, Design(units=9, position="unknown", **changes), rng=0)
    return [found.take(found.label("position") == area) for area in BOTH]


def test_an_animal_is_one_row_with_its_areas_and_their_difference(separable):
    found = observe_cohort(separable, Design(units=9, areas=BOTH), rng=0)
    early, deep = single(separable)
    assert len(found) == len(early) == len(set(found.organisms)) == 48
    np.testing.assert_array_equal(found.organisms, early.organisms)
    np.testing.assert_array_equal(found.y, deep.y)
    np.testing.assert_array_equal(found.label("architecture"), early.label("architecture"))
    values = [found.values[..., 21 * k : 21 * (k + 1)] for k in range(3)]
    np.testing.assert_array_equal(values[0], early.values)
    np.testing.assert_array_equal(values[1], deep.values)
    np.testing.assert_array_equal(values[2], deep.values - early.values)
    assert found.observables[::21] == [f"{a}:{early.observables[0]}" for a in (*BOTH, "deep-early")]
    assert set(found.label("area")) == {"fc1+fc2"} and set(found.label("position")) == {
        "early+deep"
    }
    np.testing.assert_array_equal(found.populations, deep.populations)
    features = found.features()
    assert (features.static, features.values.shape) == (0, (48, 5 * 63))


@pytest.mark.parametrize(
    ("contrasts", "parts"), [("only", ["deep-early"]), ("none", ["early", "deep"])]
)
def test_differences_only_or_none(separable, contrasts, parts):
    found = observe_cohort(separable, Design(units=9, areas=BOTH, contrasts=contrasts), rng=0)
    assert list(dict.fromkeys(n.partition(":")[0] for n in found.observables)) == parts


def test_one_area_is_a_row_per_animal(separable):
    found = observe_cohort(separable, Design(units=9, areas="deep"), rng=0)
    np.testing.assert_array_equal(found.values, single(separable)[1].values)
    assert found.observables[0].startswith("deep:act_")


def test_recordings_that_are_held_and_ready_made_observables_take_the_same_road(separable):
    design = Design(units=9, areas=BOTH)
    recording = record(separable, design, rng=0)
    assert recording.data.sizes["population"] == 96
    held = together(observe(recording, positioned=False), BOTH, "both")
    streamed = observe_cohort(separable, design, rng=0)
    np.testing.assert_allclose(held.values, streamed.values, rtol=1e-4, atol=1e-5)
    stored = observe_cohort(separable, Design(units="all", noise=0, areas=BOTH), rng=0)
    assert stored.observables == streamed.observables and len(stored) == 48


def test_one_pass_serves_designs_of_animals(separable):
    design = Design(units=9, areas=BOTH, schedule=Schedule(sessions=3))
    populations = usable(separable, design, None)
    made = observe_designs(
        separable,
        design,
        key=3,
        populations=populations,
        units=[5, 9],
        schedules=[Schedule(), design.schedule],
    )
    assert made.trajectories(1, 0, 1).values.shape == (48, 3, 63)
    assert made.trajectories(0, 0, 0).values.shape == (48, 5, 63)


def test_forecasts_and_sweeps_take_animals_as_recordings(separable):
    design = Design(units=9, areas=BOTH)
    plan = forecast(separable, design, rng=0, held_out=False)
    assert (plan.organisms, plan.populations, plan.animal) == (48, 96, None)
    assert plan.accuracy.low > plan.chance
    grid = sweep(separable, design, units=[9], noise=[0.1], rng=0)
    assert float(grid["low"].min()) > float(grid["chance"])


@pytest.fixture
def shallow(make_cohort, tmp_path):
    """A cohort of 28 organisms, some of each rule without a deep area."""
    cohort = make_cohort(tmp_path / "made.zarr", effect=1.0, per_rule=7)
    whole = cohort.population_table

    def made(lost_of_each_rule):
        lost = whole["organism"].values % 7 < lost_of_each_rule
        positions = np.where(lost, "early", whole["layer_position"].values)
        cohort.population_table = whole.assign(layer_position=("population", positions))
        return cohort

    return made


def test_organisms_that_lack_an_area_are_left_out_and_counted(shallow):
    cohort, design = shallow(2), Design(units=9, areas=BOTH)
    assert len(observe_cohort(cohort, design, rng=0)) == 28 - 8
    said = "8 of 28 organisms have no deep area and were left out"
    assert lacking_contrasts(cohort, design) == [said]
    assert lacking_contrasts(cohort, Design(units=9)) == []
    grid = sweep(cohort, design, units=[9], noise=[0.1], rng=0)
    assert grid.attrs["left_out"] == said


def test_an_area_that_most_organisms_lack_is_refused(shallow, separable):
    design = Design(units=9, areas=BOTH)
    with pytest.raises(
        UsageError, match="16 of 28 organisms.*early in 28, deep in 12.*--areas early"
    ):
        observe_cohort(shallow(4), design, rng=0)
    with pytest.raises(UsageError, match="48 of 48 organisms.*middle in 0.*use --areas early,deep"):
        observe_cohort(separable, Design(units=9, areas="early,middle,deep"), rng=0)


def test_of_several_layers_at_a_position_the_last_is_the_area():
    animals = np.array(["b", "b", "b", "a", "a"])
    positions = np.array(["early", "early", "deep", "deep", "middle"])
    places, names = places_of_areas(animals, positions, BOTH)
    assert places.tolist() == [[1, 2], [-1, 3]] and names.tolist() == ["b", "a"]
    assert lacking(places, BOTH) == ["1 of 2 organisms have no early area and were left out"]
    refuse_few(places, BOTH, "made")


def test_conditions_of_one_animal_are_rows_of_their_own():
    labels = {
        "animal": np.array(["a"] * 4),
        "condition": np.array(["learning", "learning", "passive", "passive"]),
        "position": np.array([*BOTH, *BOTH]),
    }
    found = together(Trajectories.of(np.arange(4.0)[:, None, None], ["x"], labels), BOTH, "only")
    assert found.values.ravel().tolist() == [1, 1]
    assert found.label("condition").tolist() == ["learning", "passive"]


def test_areas_that_are_unknown_or_apart_are_said():
    values = np.zeros((2, 1, 1))
    apart = {"animal": np.array(["a", "b"]), "position": np.array(BOTH)}
    with pytest.raises(UsageError, match="no animal was recorded in early and deep together"):
        together(Trajectories.of(values, ["x"], apart), BOTH, "both")
    with pytest.raises(UsageError, match="positions of the recordings are unknown"):
        together(Trajectories.of(values, ["x"], {"animal": apart["animal"]}), BOTH, "both")


def test_an_area_of_reference_gives_differences_alone(separable):
    early, deep = single(separable)
    design = Design(units=9, position="deep", reference="area:early")
    found = observe_cohort(separable, design, rng=0)
    assert list(dict.fromkeys(n.partition(":")[0] for n in found.observables)) == [
        "deep",
        "deep-early",
    ]
    np.testing.assert_array_equal(found.values[..., :21], deep.values)
    np.testing.assert_array_equal(found.values[..., 21:], deep.values - early.values)
    assert set(found.label("position")) == {"deep"}
    only = observe_cohort(separable, design.with_(contrasts="only"), rng=0)
    np.testing.assert_array_equal(only.values, found.values[..., 21:])
    assert len(usable(separable, design, None)) == 96


def test_the_first_sessions_as_a_reference(separable):
    """With relative scaling and one session nothing changes for statistics of single sessions."""
    plain = observe_cohort(separable, Design(units=9), rng=0)
    one = observe_cohort(separable, Design(units=9, reference="first"), rng=0)
    np.testing.assert_array_equal(one.values, plain.values)
    raw = observe_cohort(separable, Design(units=9, scaling="raw"), rng=0).values
    two = Design(units=9, scaling="raw", reference="first", reference_sessions=2)
    found = observe_cohort(separable, two, rng=0).values
    base = raw[:, :2].mean(axis=1)
    np.testing.assert_allclose(found[:, 0], base, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found[:, 1:], raw[:, 1:] - base[:, None], rtol=1e-4, atol=1e-5)


def test_the_first_sessions_are_a_reference_for_statistics_of_change_too(separable):
    plain = Design(units=9, observables="alignment")
    raw = observe_cohort(separable, plain, rng=0).values
    found = observe_cohort(separable, plain.with_(reference="first"), rng=0).values
    np.testing.assert_allclose(found[:, 1:], raw[:, 1:] - raw[:, :1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("units", [{"units": 9}, {"units": "all", "noise": 0}])
def test_some_session_is_left_beside_those_of_reference(separable, units):
    design = Design(reference="first", reference_sessions=5, **units)
    with pytest.raises(UsageError, match="first 5 sessions, but the schedule has 5"):
        observe_cohort(separable, design, rng=0)


@pytest.fixture
def twins(make_cohort, tmp_path):
    """48 organisms of one architecture; of each two neighbours the second is passive."""
    cohort = make_cohort(tmp_path / "twins.zarr", effect=1.0, architectures=("mlp",))
    ids = cohort.organism_ids
    specs = []
    for i in range(len(ids)):
        training = {"condition": "passive", "preparation": ids[i - 1]} if i % 2 else {}
        specs.append(json.dumps({"settings": {"training": training}}))
    cohort.organisms = cohort.organisms.assign(spec=("organism", np.array(specs, dtype=object)))
    return cohort


def test_passive_organisms_are_references_and_not_told_apart(twins):
    np.testing.assert_array_equal(twins.passive, np.arange(48) % 2 == 1)
    assert sum(twins.fate_counts().values()) == 24
    found = twins.reference_populations("passive").reshape(48, 2)
    np.testing.assert_array_equal(found[::2].ravel(), np.arange(96).reshape(48, 2)[1::2].ravel())
    assert (found[1::2] == -1).all()
    assert set(twins.population_table["organism"].values[twins.usable_populations()] % 2) == {0}
    with pytest.raises(UsageError, match="unknown reference 'naive'"):
        twins.reference_populations("naive")


def test_a_control_is_another_organism_of_the_same_kind(twins):
    organism = twins.population_table["organism"].values
    found = twins.reference_populations("control")
    own = np.flatnonzero(organism % 2 == 0)
    owner, control = organism[own], organism[found[own]]
    assert (control % 2 == 1).all() and (control != owner + 1).all()
    tasks = twins.organisms["task"].values
    np.testing.assert_array_equal(tasks[owner], tasks[control])
    np.testing.assert_array_equal(control[::2], control[1::2])
    layers = twins.population_table["layer"].values
    np.testing.assert_array_equal(layers[own], layers[found[own]])


@pytest.mark.parametrize("kind", ["passive", "control"])
@pytest.mark.parametrize("units", [{"units": 9}, {"units": "all", "noise": 0}])
def test_features_are_taken_relative_to_the_recording_of_reference(
    twins, make_cohort, tmp_path, kind, units
):
    plain = make_cohort(tmp_path / "plain.zarr", effect=1.0, architectures=("mlp",))
    every = observe_cohort(plain, Design(**units), rng=0).values
    own = twins.usable_populations()
    expected = every[own] - every[twins.reference_populations(kind)[own]]
    found = observe_cohort(twins, Design(reference=kind, **units), rng=0)
    assert len(found) == 48 and set(found.label("condition")) == {"learning"}
    half = len(found.observables) // 2
    np.testing.assert_array_equal(found.values[..., :half], every[own])
    np.testing.assert_array_equal(found.values[..., half:], expected)
    assert found.observables[half] == f"minus_{kind}:{found.observables[0]}"
    only = observe_cohort(twins, Design(reference=kind, contrasts="only", **units), rng=0)
    np.testing.assert_array_equal(only.values, expected)
    # With areas, differences between areas are taken of what differs from the reference, too.
    both = observe_cohort(
        twins, Design(reference=kind, contrasts="only", areas=BOTH, **units), rng=0
    )
    rows = expected.reshape(24, 2, *expected.shape[1:])
    np.testing.assert_array_equal(both.values, rows[:, 1] - rows[:, 0])
    assert both.observables[0] == f"deep-early:minus_{kind}:{found.observables[0]}"


def test_a_recording_with_a_reference_holds_one_animal_under_two_conditions(twins):
    made = record(twins, Design(units=9, reference="passive"), rng=0, populations=[0, 1, 4])
    assert made.data["condition"].values.tolist() == ["learning"] * 3 + ["passive"] * 3
    animals = made.data["animal"].values
    np.testing.assert_array_equal(animals[:3], animals[3:])
    assert (made.data["organism"].values[:3] != made.data["organism"].values[3:]).all()


def test_a_cohort_without_references_is_refused(separable):
    for kind in ("passive", "control"):
        with pytest.raises(UsageError, match="96 of 96 populations.*have none.*--reference first"):
            observe_cohort(separable, Design(units=9, reference=kind), rng=0)


def test_populations_without_a_reference_are_left_out_and_counted(twins):
    specs = twins.organisms["spec"].values.copy()
    specs[1] = "{}"
    twins.organisms = twins.organisms.assign(spec=("organism", specs))
    design = Design(units=9, reference="passive")
    # The organism that lost its twin, and the twin, which now learns on its own account.
    assert len(observe_cohort(twins, design, rng=0)) == 46
    said = "4 of 50 populations have no reference 'passive' and were left out"
    assert lacking_contrasts(twins, design) == [said]


def test_a_spec_that_is_no_json_is_bad_data(make_cohort, tmp_path):
    cohort = make_cohort(tmp_path / "bad.zarr", effect=1.0, per_rule=2)
    specs = np.array(["{"] * 8, dtype=object)
    cohort.organisms = cohort.organisms.assign(spec=("organism", specs))
    with pytest.raises(DataError, match="organisms/spec.*lrplan cohort check"):
        cohort.usable_populations()
