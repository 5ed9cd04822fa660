"""Virtual recordings: units, noise, sessions, and what must not change them."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from lrplan import DataError, Design, Recording, Schedule, UsageError, record


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
    assert set(found.data.data_vars) == {"weights", "paired", "activity"}


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
