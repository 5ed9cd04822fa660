"""Virtual recordings: units, noise, sessions, and what must not change them."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from lrplan import DataError, Design, Recording, Schedule, UsageError, record
from lrplan.measure.observe import observe
from lrplan.measure.recording import join


def recorded(cohort, *, seed=0, populations=None, **design):
    return record(
        cohort, Design(**design), rng=np.random.default_rng(seed), populations=populations
    )


def test_a_noiseless_recording_of_all_units_holds_what_is_stored(separable):
    found = recorded(separable, units=40, noise=0).data["activity"].values
    everything = separable.read("activity", np.arange(len(found)), range(5))
    np.testing.assert_array_equal(np.sort(found, axis=-1), np.sort(everything, axis=-1))


def test_noise_has_the_asked_size_relative_to_the_signal(separable):
    clean = recorded(separable, units=40, noise=0).data["activity"].values
    noisy = recorded(separable, units=40, noise=0.5).data["activity"].values
    noise_sd = (noisy - clean).std(axis=(1, 2, 3))
    signal_sd = clean[:, 0].std(axis=(1, 2))
    np.testing.assert_allclose(noise_sd / signal_sd, 0.5, rtol=0.15)
    assert abs((noise_sd / signal_sd).mean() - 0.5) < 0.01


def test_absolute_noise_is_in_the_networks_unit(separable):
    clean = recorded(separable, units=40, noise=0).data["activity"].values
    noisy = recorded(separable, units=40, noise=0.5, noise_reference="absolute")
    assert (noisy.data["activity"].values - clean).std() == pytest.approx(0.5, rel=0.01)


def test_tracked_units_are_the_same_in_all_sessions(separable):
    tracked = recorded(separable, units=10, noise=0).data["activity"].values
    # Growth is one factor for all units: tracked units keep their order.
    order = np.argsort(tracked[:, :, 0], axis=-1, kind="stable")
    active = tracked[:, :, 0].min(axis=(1, 2)) >= 0
    assert (order[active] == order[active][:, :1]).all()
    untracked = recorded(separable, units=10, noise=0, tracked=False).data["activity"].values
    assert (untracked[:, 1] != tracked[:, 1]).any()


def test_untracked_units_are_drawn_without_replacement(separable):
    found = recorded(separable, units=40, noise=0, tracked=False).data["activity"].values
    everything = separable.read("activity", np.arange(len(found)), range(5))
    np.testing.assert_array_equal(np.sort(found, axis=-1), np.sort(everything, axis=-1))


def test_an_organisms_recording_does_not_depend_on_the_others(separable):
    everything = recorded(separable, units=10).data["activity"].values
    some = recorded(separable, units=10, populations=[70, 3]).data["activity"].values
    np.testing.assert_array_equal(some, everything[[70, 3]])


def test_same_seed_same_recording(separable):
    for measure in ("activity", "weights", "paired"):
        one, two, other = (
            recorded(separable, units=9, measure=measure, seed=s).data[measure].values
            for s in (1, 1, 2)
        )
        np.testing.assert_array_equal(one, two)
        assert (one != other).any()


def test_sessions_and_stimuli_are_as_designed(separable):
    found = recorded(separable, units=10, noise=0, stimuli=2, schedule=Schedule(sessions=3))
    assert found.data["activity"].shape == (96, 3, 2, 10)


def test_paired_blocks_are_near_square(separable):
    assert recorded(separable, units=9, measure="paired").data["paired"].shape[-2:] == (3, 3)
    assert recorded(separable, units=7, measure="paired").data["paired"].shape[-2:] == (2, 3)


def test_several_measures_in_one_recording(separable):
    found = recorded(separable, units=9, measure=("weights", "paired", "activity"))
    measures = {"weights", "paired", "activity"}
    assert set(found.data.data_vars) == measures | {f"{m}_sem" for m in measures}


def test_small_populations_are_recorded_whole(tmp_path, make_cohort):
    cohort = make_cohort(tmp_path / "c.zarr", effect=0.5, per_rule=6, small=4)
    values = recorded(cohort, units=30, noise=0).data["activity"].values
    assert np.isfinite(values[:4]).sum(axis=-1).max() == 20
    assert np.isfinite(values[4:]).all()


@pytest.mark.parametrize(
    ("design", "said"),
    [
        ({"units": 41}, "use at most --units 40"),
        ({"units": 31, "measure": "weights"}, "use at most --units 30"),
        ({"units": 37, "measure": "paired"}, "use at most --units 36"),
        ({"units": 5, "schedule": Schedule(sessions=6)}, "--sessions 5"),
        ({"units": 5, "stimuli": 5}, "--stimuli 4"),
    ],
)
def test_more_than_the_cohort_holds_is_refused(separable, design, said):
    with pytest.raises(UsageError, match=said):
        recorded(separable, **design)


def test_organisms_that_diverged_are_left_out(tmp_path, make_cohort):
    cohort = make_cohort(tmp_path / "c.zarr", effect=0.5, per_rule=6, diverged=2)
    assert len(recorded(cohort, units=10).data["activity"]) == 2 * (24 - 2)


def real(values, *, tracked):
    data = xr.Dataset({"activity": (("population", "session", "stimulus", "unit"), values)})
    return Recording(data, "made", kind="dff", tracked=tracked)


def test_equalising_keeps_units_that_were_recorded():
    values = np.arange(2 * 3 * 6, dtype=float).reshape(1, 2, 3, 6)
    values[0, 0, :, 4:] = np.nan
    values[0, 1, :, :1] = np.nan
    rng = np.random.default_rng(0)
    untracked = real(values, tracked=False).equalised(4, rng=rng).data["activity"].values
    assert untracked.shape == (1, 2, 3, 4)
    assert np.isfinite(untracked).all()
    tracked = real(values, tracked=True).equalised(3, rng=rng).data["activity"].values
    np.testing.assert_array_equal(tracked[0, 0, 0], [1, 2, 3])
    np.testing.assert_array_equal(tracked[0, 1] - tracked[0, 0], 18)
    with pytest.raises(DataError, match="3 units"):
        real(values, tracked=True).equalised(4, rng=rng)


def test_shuffling_moves_whole_sessions():
    values = np.arange(5.0)[None, :, None, None] * np.ones((1, 5, 2, 3))
    found = real(values, tracked=True).with_shuffled_sessions(np.random.default_rng(0))
    shuffled = found.data["activity"].values
    assert sorted(shuffled[0, :, 0, 0]) == list(range(5))
    assert (shuffled == shuffled[..., :1, :1]).all()
    assert (shuffled != values).any()


TRIALS = ("population", "session", "stimulus", "trial", "unit")


def with_trials(shape=(2, 3, 4, 5, 6), *, coords=None, dims=TRIALS, **options):
    values = np.random.default_rng(0).random(shape)
    return Recording(xr.Dataset({"trials": (dims, values)}, coords=coords), "lab", **options)


def test_means_and_errors_are_those_of_the_trials_that_are_there():
    values = np.random.default_rng(0).random((1, 2, 3, 5, 4))
    values[0, 0, 1, 2:] = np.nan  # two trials of one stimulus
    values[0, 1, 2, 1:] = np.nan  # a single one
    values[0, 1, :, :, 3] = np.nan  # a unit that is not in a session
    found = Recording(xr.Dataset({"trials": (TRIALS, values)}), "lab", kind="spikes").data
    np.testing.assert_allclose(found["activity"][0, 0, 1], values[0, 0, 1, :2].mean(axis=0))
    own = values[0, 0, 0]
    np.testing.assert_allclose(found["activity_sem"][0, 0, 0], own.std(0, ddof=1) / np.sqrt(5))
    assert np.isnan(found["activity_sem"][0, 1, 2]).all()
    assert np.isfinite(found["activity"][0, 1, :, :3]).all()
    assert np.isnan(found["activity"][0, 1, :, 3]).all()


@pytest.mark.parametrize("modality", ["ideal", "counts"])
def test_virtual_trials_scatter_as_the_design_says(separable, modality):
    """Their mean has the noise that is asked; one of n trials has sqrt(n) times as much."""
    design = Design(units=40, noise=0.5, noise_reference="absolute", modality=modality)
    made = record(separable, design, rng=0, populations=range(12), trials=8).data
    assert made["trials"].dims == TRIALS
    assert made["trials"].dtype == made["activity"].dtype == np.float32
    clean = record(
        separable, design.with_(noise=0, modality="ideal"), rng=0, populations=range(12)
    ).data
    noise = made["activity"].values - np.maximum(clean["activity"].values, 0)
    if modality == "ideal":
        noise = made["activity"].values - clean["activity"].values
    first = [np.sqrt(np.mean(np.square(x))) for x in noise[:, 0]]
    assert np.mean(first) == pytest.approx(0.5, rel=0.1)
    stated = [np.sqrt(np.mean(np.square(x))) for x in made["activity_sem"].values[:, 0]]
    assert np.mean(stated) == pytest.approx(0.5, rel=0.1)


def test_an_organisms_trials_do_not_depend_on_the_others_nor_on_the_number_of_units(separable):
    design = Design(units=10, stimuli=3, schedule=Schedule(sessions=3))
    some, fewer, one = (
        record(separable, d, rng=3, populations=p, trials=4).data["trials"].values
        for d, p in ((design, [7, 2]), (design.with_(units=4), [7, 2]), (design, [2]))
    )
    assert some.shape == (2, 3, 3, 4, 10)
    np.testing.assert_array_equal(fewer, some[..., :4])
    np.testing.assert_array_equal(one[0], some[1])


def test_an_organism_is_an_animal_and_a_layer_an_area(separable):
    found = recorded(separable, units=10, populations=[0, 1, 2, 3]).data
    assert found["animal"].values.tolist() == found["organism"].values.tolist()
    assert found["area"].values.tolist() == found["layer"].values.tolist()
    assert set(found["condition"].values) == {"learning"}


def test_what_is_not_said_of_a_population_is_unknown():
    data = with_trials().data
    assert data["animal"].values.tolist() == data["area"].values.tolist() == ["unknown"] * 2
    assert data["condition"].values.tolist() == ["learning"] * 2
    assert with_trials(coords={"animal": "m1"}).data["animal"].values.tolist() == ["m1"] * 2


def test_populations_are_chosen_by_animal_area_and_condition():
    names = {
        "animal": ("population", ["m1", "m1", "m2", "m2"]),
        "area": ("population", ["V1", "LM", "V1", "V1"]),
        "condition": ("population", ["learning", "learning", "learning", "passive"]),
    }
    recording = with_trials((4, 2, 3, 2, 5), coords=names, kind="dff")
    for chosen, places in (
        ({"animal": "m1"}, [0, 1]),
        ({"area": "V1", "condition": "learning"}, [0, 2]),
        ({"area": ["V1", "LM"], "animal": "m2"}, [2, 3]),
        ({}, [0, 1, 2, 3]),
    ):
        found = recording.of(**chosen)
        assert found.kind == "dff"
        np.testing.assert_array_equal(found.data["trials"], recording.data["trials"][places])
    with pytest.raises(UsageError, match="no population has area 'V2'; nearest: V1"):
        recording.of(area="V2")
    with pytest.raises(UsageError, match="animal 'm2', area 'LM' together"):
        recording.of(animal="m2", area="LM")


def test_dimensions_go_by_their_names_and_not_by_their_places():
    """Failed before: the same data in another order gave other features, or none."""
    values = np.random.default_rng(0).random((2, 3, 4, 6)).astype(np.float32)
    dims = ("population", "session", "stimulus", "unit")
    plain = Recording(xr.Dataset({"activity": (dims, values)}), "lab")
    turned = xr.Dataset({"activity": (dims, values)}).transpose(*dims[::-1])
    assert turned["activity"].dims == dims[::-1]
    found = Recording(turned, "lab")
    assert found.data["activity"].dims == dims
    one, two = (observe(r, positioned=False).values for r in (plain, found))
    np.testing.assert_array_equal(one, two)
    assert found.units_per_session == [6, 6, 6]
    shuffled = with_trials((6, 5, 4, 3, 2), dims=TRIALS[::-1])
    assert shuffled.data["trials"].shape == (2, 3, 4, 5, 6)


def test_units_are_counted_of_the_area_with_the_fewest():
    values = np.ones((2, 3, 4, 6))
    values[1, 2, :, 4:] = np.nan
    both = Recording(
        xr.Dataset({"activity": (("population", *TRIALS[1:3], "unit"), values)}), "lab"
    )
    assert both.units_per_session == [6, 6, 4]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda r: r.of(area=5), "area is 5"),
        (lambda r: join(r), "expected a sequence of at least one Recording"),
        (lambda r: join(5), "recordings is 5"),
    ],
)
def test_what_names_no_area_and_no_recordings_is_refused(call, said):
    with pytest.raises(UsageError, match=said):
        call(with_trials())


def test_a_recording_says_in_a_few_lines_what_it_holds():
    names = {"animal": ("population", ["m1", "m2"]), "area": "V<1>", "condition": "passive"}
    doubts = {"warnings": ["few trials"]}
    recording = with_trials(coords=names, kind="spikes", tracked=False, ingest=doubts)
    held = "2 populations, 3 sessions, 6 units (not tracked), 4 stimuli"
    first = f"spikes, {held}, up to 5 trials of each"
    assert repr(recording) == f"<Recording 'lab': {first}>"
    told = recording.summary().splitlines()
    assert " ".join(told).startswith(f"Recording: lab: {first} Of 2 animals, 1 area (V<1>), 1 cond")
    assert told[-1] == "Warning: few trials"
    table = recording.to_dataframe()
    assert table["animal"].tolist() == ["m1", "m2"]
    assert table["activity_units"].tolist() == [6, 6]
    assert "V&lt;1&gt;" in recording._repr_html_()


GOOD = xr.Dataset(
    {"activity": (("population", "session", "stimulus", "unit"), np.ones((1, 2, 3, 4)))}
)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"kind": "calcium"}, "unknown kind 'calcium'; known: dff, spikes, virtual"),
        ({"kind": None}, "unknown kind None"),
        ({"tracked": "yes"}, "tracked is 'yes'"),
        ({"source": 5}, "source is 5"),
        ({"ingest": []}, "ingest is"),
        ({"data": np.ones((1, 2, 3, 4))}, "data is a ndarray; expected an xarray.Dataset"),
        ({"data": xr.Dataset({"rates": ("unit", [1.0])})}, "data holds rates; expected at least"),
        ({"data": xr.Dataset()}, "no variable"),
        ({"data": GOOD.isel(population=0)}, r"dimensions \(session, stimulus, unit\)"),
        ({"data": GOOD.rename(unit="neuron")}, "neuron.*in any order"),
        ({"data": GOOD.astype(str)}, "of type <U.*expected real numbers"),
        ({"data": GOOD.astype(complex)}, "of type complex128"),
        ({"data": GOOD.isel(unit=slice(0))}, "activity is empty"),
        ({"data": GOOD.assign_coords(area=("population", [5]))}, "the coordinate area holds"),
        ({"data": GOOD.assign_coords(area=("unit", list("abcd")))}, "the coordinate area has"),
    ],
)
def test_what_is_no_recording_is_refused(changes, said):
    with pytest.raises(UsageError, match=said):
        Recording(**{"data": GOOD, "source": "lab"} | changes)


def test_trials_stay_with_their_units_and_sessions():
    coords = {"mark": ("session", [0, 1, 2])}
    recording = with_trials((1, 3, 2, 4, 9), coords=coords, kind="dff", tracked=False)
    for found in (
        recording.equalised(5, rng=1),
        recording.with_shuffled_sessions(2),
        recording.equalised(5, rng=np.random.default_rng(1)).with_shuffled_sessions(2),
    ):
        trials = found.data["trials"].values
        np.testing.assert_allclose(found.data["activity"], trials.mean(axis=3))
        sem = trials.std(axis=3, ddof=1) / 2
        np.testing.assert_allclose(found.data["activity_sem"], sem)
        for place, session in enumerate(found.data["mark"].values):
            assert np.isin(trials[0, place], recording.data["trials"][0, session]).all()


def test_areas_and_animals_are_joined():
    parts = [
        with_trials(
            (1, 3, 2, trials, units),
            coords={"animal": animal, "area": area, "stimulus": ["a", "b"]},
            kind="spikes",
            ingest={"files": [area], "warnings": ["w"]},
        )
        for trials, units, animal, area in (
            (4, 9, "m1", "V1"),
            (6, 5, "m1", "LM"),
            (2, 7, "m2", "V1"),
        )
    ]
    found = join(parts)
    assert dict(found.data["trials"].sizes) == dict(zip(TRIALS, (3, 3, 2, 6, 9), strict=True))
    assert found.ingest == {"files": ["V1", "LM", "V1"], "warnings": ["w"] * 3}
    assert found.data["stimulus"].values.tolist() == ["a", "b"]
    one = found.of(animal="m1", area="LM")
    np.testing.assert_array_equal(
        one.data["activity"].values[..., :5], parts[1].data["activity"].values
    )
    assert one.units_per_session == [5, 5, 5]
    for other, said in (
        (with_trials((1, 4, 2, 4, 9), kind="spikes"), "differ in session"),
        (with_trials((1, 3, 2, 4, 9), kind="dff"), "differ in kind"),
        (
            with_trials((1, 3, 2, 4, 9), kind="spikes", coords={"stimulus": ["a", "c"]}),
            "differ in stimuli",
        ),
    ):
        with pytest.raises(UsageError, match=said):
            join([parts[0], other])
    with pytest.raises(UsageError, match="at least one Recording"):
        join([])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"design": 5}, "design is 5; expected a Design"),
        ({"rng": "x"}, "rng is 'x'; expected"),
        ({"rng": -1}, "rng is -1"),
        ({"rng": True}, "rng is True"),
        ({"trials": 0}, "trials is 0"),
        ({"trials": 2, "design": Design(units=9, measure="weights")}, "only activity has trials"),
        ({"populations": "all"}, "populations is 'all'"),
        ({"populations": [96]}, r"populations is \[96\].*96 populations"),
        ({"populations": [-1]}, "counted from 0"),
        ({"populations": [0.5]}, "counted from 0"),
    ],
)
def test_what_cannot_be_recorded_is_said(separable, options, said):
    with pytest.raises(UsageError, match=said):
        record(separable, **{"design": Design(units=10), "rng": 0} | options)


def test_a_seed_is_a_generator(separable):
    one, two = (
        record(separable, Design(units=10), rng=r, populations=[0]).data["activity"].values
        for r in (3, np.random.default_rng(3))
    )
    np.testing.assert_array_equal(one, two)
