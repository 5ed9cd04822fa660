"""Observables of geometry and change: known cases, noise, what they need, and the whole road."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from lrplan import Design, Recording, Schedule, UsageError, record
from lrplan.measure.observables import (
    GEOMETRY,
    GEOMETRY_UNTRACKED,
    SETS,
    chosen,
    families,
)
from lrplan.measure.observables._responses import Responses
from lrplan.measure.observe import observe, observe_cohort, observe_designs
from lrplan.measure.recording import DIMS
from lrplan.measure.virtual import draw_key
from lrplan.terms import MEASURES

FAMILIES = ("alignment", "change", "coupling", "dissimilarity", "geometry", "plasticity")


def taken(name, values, noise=0.0):
    """Return the observables of a family by name, each (..., session)."""
    family = families.get(name)
    variance = np.broadcast_to(np.asarray(noise, dtype=float), values.shape)
    found = np.moveaxis(np.asarray(family.compute(values, variance)), -1, 0)
    return {
        o.name.removeprefix(name + "_"): f for o, f in zip(family.observables, found, strict=True)
    }


def moving(measure, rng):
    """Draw a trajectory that has everything that observables look at."""
    if measure == "activity":
        loads = rng.standard_normal((3, 80)) + 0.3 * rng.standard_normal((4, 3, 80)).cumsum(axis=0)
        return np.maximum(np.einsum("mk,tmu->tku", rng.standard_normal((3, 8)), loads) + 0.3, 0)
    if measure == "weights":
        first = rng.standard_normal(600)
        steps = 0.3 * rng.standard_normal((4, 600)) * (1 + np.abs(first))
        return first + np.cumsum(steps, axis=0) - steps[0]
    first = rng.standard_normal((2, 14, 15))
    low = rng.standard_normal((4, 1, 14, 2)).cumsum(axis=0) @ rng.standard_normal((2, 15))
    return first + 0.5 * (low - low[:1]) + 0.2 * rng.standard_normal((4, 2, 14, 15)).cumsum(axis=0)


# -- known cases ------------------------------------------------------------------------------


def test_stimuli_that_drive_units_of_their_own_have_all_dimensions_and_are_sparse():
    responses = np.kron(np.eye(5), np.ones(6))  # 5 stimuli, 30 units
    found = taken("geometry", responses)
    for name, expected in {
        "participation": 4,
        "share_first": 0.25,
        "share_third": 0.25,
        "tuned": 0.16,
        "untuned": 0.04,
        "tuned_share": 0.8,
        "correlation_mean": -0.25,
        "correlation_sd": 0,
        "lifetime_mean": 0.8,
        "lifetime_sd": 0,
        "population_mean": 0.8,
        "population_sd": 0,
        "means_variance": 0,
        "means_skew": 0,
        "tuned_cv": 0,
    }.items():
        np.testing.assert_allclose(found[name], expected, atol=1e-7, err_msg=name)


def test_one_dimension_of_tuning_is_one_dimension():
    rng = np.random.default_rng(0)
    found = taken("geometry", np.outer(rng.standard_normal(6), rng.standard_normal(50)) + 3)
    np.testing.assert_allclose(found["participation"], 1)
    np.testing.assert_allclose(found["share_first"], 1)
    np.testing.assert_allclose(found["share_second"], 0, atol=1e-9)


def test_a_rotation_of_units_changes_responses_but_not_their_geometry():
    rng = np.random.default_rng(0)
    first = rng.standard_normal((6, 40))
    turned, _ = np.linalg.qr(rng.standard_normal((40, 40)))
    values = np.stack([first, first @ turned, 2 * first])
    for name in ("alignment", "dissimilarity"):
        for found in taken(name, values).values():
            np.testing.assert_allclose(found, 1)
    change = taken("change", values)
    assert abs(change["corr_first"][1]) < 0.3
    np.testing.assert_allclose(change["corr_first"][[0, 2]], 1)


def test_another_geometry_is_seen_without_tracking():
    rng = np.random.default_rng(0)
    values = rng.standard_normal((2, 6, 400))
    values[0, :3] += 2 * rng.standard_normal(400)
    values[1, ::2] += 2 * rng.standard_normal(400)
    assert 0 < taken("alignment", values)["first"][1] < 0.9
    assert taken("dissimilarity", values)["first"][1] < 0.5


def test_growth_is_a_straight_path_in_proportion_to_what_was():
    first = np.random.default_rng(0).standard_normal((5, 30)) + 1
    values = np.array([1.0, 1.2, 1.5, 2.0])[:, None, None] * first
    found = taken("change", values)
    size = np.mean(first**2)
    np.testing.assert_allclose(found["proportional"], [0, 0.2, 0.5, 1], atol=1e-12)
    np.testing.assert_allclose(found["straightness"], [0, 1, 1, 1])
    np.testing.assert_allclose(found["turn"], [0, 0, 1, 1])
    np.testing.assert_allclose(found["corr_previous"], 1)
    np.testing.assert_allclose(found["step"], size * np.array([0, 0.04, 0.09, 0.25]))
    np.testing.assert_allclose(found["travel"], size * np.array([0, 0.04, 0.25, 1]))
    np.testing.assert_allclose(found["mean"], first.mean() * np.array([0, 0.2, 0.3, 0.5]))
    np.testing.assert_allclose(
        found["participation"][1:], taken("geometry", first)["participation"]
    )


def test_there_and_back_turns_and_gets_nowhere():
    rng = np.random.default_rng(0)
    first, step = rng.standard_normal((2, 600))
    found = taken("plasticity", np.stack([first, first + step, first]))
    np.testing.assert_allclose(found["turn"], [0, 0, -1])
    np.testing.assert_allclose(found["persistence"], [0, 0, -np.mean(step**2)])
    np.testing.assert_allclose(found["straightness"], [0, 1, 0])
    np.testing.assert_allclose(found["travel"][2], 0)


def test_few_large_changes_have_a_high_kurtosis_and_one_sign_a_skew():
    rng = np.random.default_rng(0)
    first = rng.standard_normal(1000)
    sparse = np.where(np.arange(1000) < 10, 1.0, 0.0)
    for change, kurtosis, skew in ((sparse, 99, 9.8), (-sparse, 99, -9.8)):
        found = taken("plasticity", np.stack([first, first + change]))
        np.testing.assert_allclose(found["kurtosis"][1], kurtosis, rtol=0.02)
        np.testing.assert_allclose(found["skew"][1], skew, rtol=0.02)
    dense = np.where(np.arange(1000) % 2, 1.0, -1.0)
    np.testing.assert_allclose(
        taken("plasticity", np.stack([first, first + dense]))["kurtosis"][1], 1
    )


def test_change_follows_tuning_rate_and_size_where_it_does():
    rng = np.random.default_rng(0)
    rate, tuning = rng.uniform(0, 2, (2, 200))
    pattern = np.array([1.0, -1.0, 1.0, -1.0])[:, None]
    first = rate + np.sqrt(tuning) * pattern
    by_tuning = taken("change", np.stack([first, first + np.sqrt(tuning)]))
    by_rate = taken("change", np.stack([first, first + np.sqrt(rate) * pattern]))
    np.testing.assert_allclose(by_tuning["with_tuning"], [0, 1], atol=1e-9)
    np.testing.assert_allclose(by_rate["with_rate"], [0, 1], atol=1e-9)
    np.testing.assert_allclose(by_tuning["common"], [0, 1], atol=1e-9)
    np.testing.assert_allclose(by_rate["common"], [0, 0], atol=1e-9)
    assert abs(by_tuning["with_rate"][1]) < 0.3 and abs(by_rate["with_tuning"][1]) < 0.3
    weights = rng.standard_normal(300)
    found = taken("plasticity", np.stack([weights, 1.5 * weights]))
    np.testing.assert_allclose(found["with_size"], [0, 1])
    np.testing.assert_allclose(found["proportional"], [0, 0.5])


def test_one_unit_that_changes_is_the_most_uneven_change():
    first = np.random.default_rng(0).standard_normal((4, 25))
    alone = first.copy()
    alone[:, 0] += 1
    found = taken("change", np.stack([first, alone, first + 1]))
    np.testing.assert_allclose(found["units_cv"], [0, np.sqrt(24), 0], atol=1e-7)


def test_the_rank_of_a_change_of_couplings_is_counted():
    rng = np.random.default_rng(0)
    first = rng.standard_normal((2, 12, 10))
    one, two = np.zeros((2, 12, 10))
    one[0, 0] = two[0, 0] = two[1, 1] = two[2, 2] = 1
    found = taken("coupling", np.stack([first, first + one, first + two]))
    np.testing.assert_allclose(found["rank"], [0, 1, 3])
    np.testing.assert_allclose(found["common"], [0, 1, 1])


def test_nothing_changes_where_nothing_does():
    first = np.random.default_rng(0).standard_normal((4, 20)).astype(np.float32)
    values = np.stack([first] * 3)
    found = taken("change", values)
    for name, expected in found.items():
        same = 1 if name.startswith("corr_") else 0
        np.testing.assert_allclose(expected, same, atol=1e-6, err_msg=name)


# -- noise ------------------------------------------------------------------------------------

DRAWS, NOISE = 300, 0.3
MOVED = 0.012
"""How far noise of 0.3 may move the mean of an observable that is of the order of 1."""


def with_and_without(family, signal, noisy, variance):
    """Return how far noise moves means over draws, told and not, and the error of the first."""
    free = np.asarray(family.compute(signal, np.zeros_like(signal)))
    told = np.asarray(family.compute(noisy, variance))
    untold = np.asarray(family.compute(noisy, 0 * variance))
    size = np.maximum(np.abs(free), 1)
    apart, before = (np.abs(x.mean(axis=0) - free) / size for x in (told, untold))
    return apart, before, told.std(axis=0) / np.sqrt(DRAWS) / size


def moved(family, apart, error, allowed):
    """Return the observables that noise moves by more than five errors and what is allowed."""
    return {
        o.name: round(float(apart[..., i].max()), 3)
        for i, o in enumerate(family.observables)
        if (apart[..., i] > 5 * error[..., i] + allowed.get(o.name, MOVED)).any()
    }


@pytest.mark.parametrize("name", FAMILIES)
def test_the_expectation_does_not_move_with_noise(name):
    """Told the noise, the mean over draws is that without noise; untold, it is elsewhere."""
    rng = np.random.default_rng(3)
    family = families.get(name)
    signal = moving(family.measure, rng)
    sd = NOISE * signal[0].std()
    noisy = signal + sd * rng.standard_normal((DRAWS, *signal.shape))
    apart, before, error = with_and_without(family, signal, noisy, np.full(noisy.shape, sd**2))
    assert not moved(family, apart, error, {})
    assert apart.mean() < before.mean() / 3


# Counts are skewed, and their noise is estimated from them: moments of the third and fourth order
# are not right. All others are.
COUNTS_MOVE = {
    "change_kurtosis": 0.8,
    "change_units_cv": 0.4,
    "change_with_rate": 0.1,
    "change_with_tuning": 0.1,
    "geometry_lifetime_sd": 0.05,
    "geometry_means_skew": 0.1,
}


@pytest.mark.parametrize("name", ["alignment", "change", "dissimilarity", "geometry"])
def test_noise_that_grows_with_the_response_is_known_too(name):
    rng = np.random.default_rng(3)
    family = families.get(name)
    signal = moving("activity", rng)
    spike = (NOISE * signal[0].std()) ** 2 / signal[0].mean()
    noisy = spike * rng.poisson(signal / spike, (DRAWS, *signal.shape))
    apart, before, error = with_and_without(family, signal, noisy, spike * noisy)
    assert not moved(family, apart, error, COUNTS_MOVE)
    assert apart.mean() < before.mean()


def test_known_noise_is_taken_off_as_products_of_different_trials_would():
    """Odd against even trials, over all ways to split them, is what means and errors give."""
    rng = np.random.default_rng(0)
    trials = rng.standard_normal((1, 3, 4, 7, 20)) + rng.standard_normal((1, 3, 4, 1, 20))
    recording = Recording(xr.Dataset({"trials": (DIMS["trials"], trials)}), kind="dff")
    found = observe(recording, observables=GEOMETRY, scaling="raw", positioned=False)
    values = dict(zip(found.observables, np.moveaxis(found.values[0], -1, 0), strict=True))
    pairs = [(i, j) for i in range(7) for j in range(7) if i != j]
    square = np.mean([trials[0][:, :, i] * trials[0][:, :, j] for i, j in pairs], axis=(0, 2, 3))
    both = values["geometry_untuned"] + values["geometry_tuned"]
    np.testing.assert_allclose(both, square, rtol=1e-5)


@pytest.mark.parametrize("name", ["alignment", "change", "dissimilarity", "geometry"])
def test_five_trials_tell_the_noise_well_enough(name):
    rng = np.random.default_rng(3)
    family = families.get(name)
    signal = moving("activity", rng)
    sd = NOISE * signal[0].std() * 5**0.5
    trials = signal + sd * rng.standard_normal((5, DRAWS, *signal.shape))
    error = trials.var(axis=0, ddof=1) / 5
    apart, before, error = with_and_without(family, signal, trials.mean(axis=0), error)
    assert not moved(family, apart, error, {})
    assert apart.mean() < before.mean() / 3


def dense(v, centred):
    """Return what `Moments` says of their spread, from variances written out for each value."""
    rows, columns = centred.shape[-2:]
    h = np.eye(rows) - 1 / rows
    cov = np.einsum("ij,...ju,kj->...uik", h, v, h)  # of the centred noise of a unit
    c = np.moveaxis(centred, -1, -2)[..., None, :]
    weighted = (c @ cov @ np.swapaxes(c, -1, -2))[..., 0, 0] - np.square(cov).sum(axis=(-2, -1))
    lost = np.trace(cov, axis1=-2, axis2=-1)
    size = np.square(centred).sum(axis=-2)
    squares = np.square(cov).sum(axis=(-2, -1))
    off = 2 * (size - lost) * lost + 2 * weighted + lost**2 + squares
    gram = centred @ np.swapaxes(centred, -1, -2) / columns - cov.mean(axis=-3)
    return {
        "gram": gram,
        "trace": (size - lost).mean(axis=-1),
        "squares": np.square(gram).sum(axis=(-2, -1)) - off.mean(axis=-1) / columns,
        "energy_noise": (4 * weighted + 2 * squares).mean(axis=-1),
    }


@pytest.mark.parametrize("shape", [(1, 1), (6, 1), (1, 25), (6, 25)])
def test_moments_of_noise_in_parts_are_those_of_noise_written_out(shape):
    """Sums of products of a stimulus's and a unit's part need no variance of each value."""
    rng = np.random.default_rng(0)
    values = rng.standard_normal((4, 6, 25)) + 1
    parts = rng.uniform(0.1, 0.3, (4, shape[0], 1)) * rng.uniform(0.5, 1.5, (4, 1, shape[1]))
    found = Responses(values, parts)
    noise = np.broadcast_to(parts, values.shape)
    changes, later = found.change(), (np.arange(4) > 0)[:, None, None]
    for moments, v in ((found, noise), (changes, later * (noise + noise[0]))):
        for name, value in dense(v, moments.centred).items():
            np.testing.assert_allclose(
                getattr(moments.spread, name), value, rtol=1e-9, atol=1e-12, err_msg=name
            )
        weighed = (v * np.square(moments.centred)).mean(axis=-2)
        np.testing.assert_allclose(moments.tuned_noise, weighed, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(moments.noise.over_units - v.mean(axis=-1), 0, atol=1e-12)
        np.testing.assert_allclose(moments.noise.squares, np.square(v).mean(axis=(-2, -1)))


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("name", ["alignment", "change", "dissimilarity", "geometry"])
def test_single_precision_is_enough_but_for_products_between_sessions(name, size):
    """Small steps late in learning, large means, in any unit: as in double precision."""
    rng = np.random.default_rng(0)
    family = families.get(name)
    signal = moving("activity", rng) + 3
    steps = 1e-3 * rng.standard_normal((6, 8, 80)).cumsum(axis=0)
    values = (size * np.concatenate([signal, signal[-1] + steps])).astype(np.float32)
    for noise in (0.0, 0.05):
        variance = np.full((1, 1, 1), (noise * size) ** 2, np.float32)
        found = family.compute(values, variance)
        expected = family.compute(values.astype(np.float64), variance.astype(np.float64))
        assert found.dtype == np.float32
        for i, o in enumerate(family.observables):
            np.testing.assert_allclose(
                found[..., i] / size**o.degree,
                expected[..., i] / size**o.degree,
                rtol=2e-3,
                atol=2e-4,
                err_msg=o.name,
            )


@pytest.mark.parametrize("name", ["alignment", "change", "dissimilarity", "geometry"])
def test_what_does_not_differ_between_stimuli_is_not_tuned_by_rounding(name):
    """In single precision as in double: what is left of equal responses is no geometry."""
    rng = np.random.default_rng(0)
    rates = rng.uniform(0, 1, (3, 1, 40)).astype(np.float32)
    values = np.repeat(rates, 7, axis=1)
    none = np.zeros((1, 1, 1), np.float32)
    family = families.get(name)
    found = family.compute(values, none)
    expected = family.compute(values.astype(np.float64), none.astype(np.float64))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_populations_are_taken_together_or_alone(make_cohort, tmp_path, monkeypatch):
    """Also where some hold fewer units; to the last bit."""
    cohort = make_cohort(tmp_path / "made.zarr", effect=1, per_rule=5, small=4)
    given = {"key": 3, "populations": np.arange(10)}
    design = Design(observables=GEOMETRY, units=30, measure=MEASURES)
    together = observe_designs(cohort, design, **given)
    monkeypatch.setattr("lrplan.measure.observe.TOGETHER_VALUES", 1)
    alone = observe_designs(cohort, design, **given)
    np.testing.assert_array_equal(together.trajectories().values, alone.trajectories().values)


# -- the whole road ---------------------------------------------------------------------------


@pytest.mark.parametrize("modality", ["ideal", "counts"])
def test_streamed_and_held_recordings_have_the_same_observables(separable, modality):
    measure = MEASURES if modality == "ideal" else "activity"
    design = Design(
        units=16, noise=0.4, measure=measure, observables=GEOMETRY, modality=modality, stimuli=3
    )
    rows = np.arange(6)
    streamed = observe_cohort(separable, design, rng=0, populations=rows)
    held = record(separable, design, rng=0, populations=rows)
    found = observe(held, observables=GEOMETRY)
    assert found.observables == streamed.observables
    np.testing.assert_allclose(found.values, streamed.values, rtol=1e-4, atol=1e-5)
    assert np.isfinite(streamed.values).all()


def test_one_pass_serves_all_units_noise_and_schedules(separable):
    rows, key = np.arange(4), draw_key(np.random.default_rng(0))
    design = Design(observables=GEOMETRY, measure=MEASURES)
    units, noise = [9, 25], [0.0, 0.5]
    schedules = [Schedule(), Schedule(sessions=3), Schedule(sessions=2, start=1)]
    options = {"key": key, "populations": rows}
    swept = observe_designs(
        separable, design, units=units, noise=noise, schedules=schedules, **options
    )
    for u, n, s in np.ndindex(2, 2, 3):
        alone = observe_designs(
            separable,
            design.with_(units=units[u], noise=noise[n], schedule=schedules[s]),
            **options,
        )
        np.testing.assert_allclose(
            swept.trajectories(u, n, s).values,
            alone.trajectories().values,
            rtol=1e-4,
            atol=1e-5,
        )


def test_missing_units_and_single_trials_are_no_obstacle():
    rng = np.random.default_rng(0)
    trials = rng.standard_normal((1, 2, 4, 5, 30)) + rng.standard_normal((1, 2, 4, 1, 30))
    trials[0, 1, :, :, 3:6] = np.nan  # units that the second session lacks
    trials[0, 0, 2, 1:] = np.nan  # a stimulus shown once
    trials[..., 9] = 0  # a silent unit
    recording = Recording(xr.Dataset({"trials": (DIMS["trials"], trials)}), kind="dff")
    found = observe(recording, observables=GEOMETRY, positioned=False)
    assert np.isfinite(found.values).all()
    without = recording.equalised(27, rng=0)
    again = observe(without, observables=GEOMETRY, positioned=False)
    np.testing.assert_allclose(found.values, again.values, rtol=1e-3, atol=1e-4)


def test_a_recording_whose_noise_is_unknown_is_refused():
    values = np.random.default_rng(0).standard_normal((1, 3, 4, 20))
    recording = Recording(xr.Dataset({"activity": (DIMS["activity"], values)}), kind="dff")
    with pytest.raises(UsageError, match=r"\(alignment\) need the standard error of each value"):
        observe(recording, observables=GEOMETRY, positioned=False)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"tracked": False},
            r"change_corr_first, .*\(change\) need the same units in all sessions.*"
            "of those asked, alignment, dissimilarity, geometry can be had",
        ),
        (
            {"schedule": Schedule(sessions=1)},
            r"\(alignment\) need at least 2 sessions, but there are 1.*geometry can be had",
        ),
        (
            {"stimuli": 2},
            r"\(dissimilarity\) need at least 3 stimuli, but there are 2.*"
            "alignment, change, geometry can be had",
        ),
        (
            {"stimuli": 1},
            r"\(alignment\) need at least 2 stimuli.*choose other observables, such as standard-1$",
        ),
        ({"units": 1}, r"\(alignment\) need at least 2 units"),
        ({"units": "all", "noise": 0}, r"\(alignment\) are taken of single units"),
    ],
)
def test_what_a_design_cannot_give_is_named_with_what_it_needs(separable, changes, said):
    design = Design(**{"units": 9, "observables": GEOMETRY, **changes})
    with pytest.raises(UsageError, match=said):
        observe_cohort(separable, design, rng=0, populations=[0, 1])


def test_without_tracking_some_observables_are_left(separable):
    design = Design(units=9, observables=GEOMETRY_UNTRACKED, tracked=False)
    found = observe_cohort(separable, design, rng=0, populations=[0, 1])
    assert len(found.observables) == 20 and np.isfinite(found.values).all()
    with pytest.raises(UsageError, match="none of weights"):
        observe_cohort(separable, design.with_(measure="weights"), rng=0, populations=[0])


# -- the sets ---------------------------------------------------------------------------------


def test_the_sets_hold_whole_families():
    """Whoever changes a family makes a new set."""
    listed = {o.name for name in FAMILIES for o in families.get(name).observables}
    assert set(SETS[GEOMETRY].observables) == listed
    assert len(SETS[GEOMETRY].observables) == len(listed) == 61
    untracked = {
        o.name
        for name in FAMILIES
        for o in families.get(name).observables
        if not families.get(name).needs.tracked
    }
    assert set(SETS[GEOMETRY_UNTRACKED].observables) == untracked
    assert [f.name for f, _ in chosen([GEOMETRY], ["activity"])] == [
        "alignment",
        "change",
        "dissimilarity",
        "geometry",
    ]


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, "standard-2"),
        ({"tracked": False}, "standard-2-untracked"),
        ({"schedule": Schedule(sessions=1)}, "standard-2-single"),
        ({"stimuli": 2}, "standard-1"),
        ({"units": "all", "noise": 0}, "standard-1"),
    ],
)
def test_the_default_is_what_a_design_can_give(separable, changes, name):
    design = Design(**{"units": 9, **changes})
    assert design.taken == (name,) and design.to_json()["observables"] == [name]
    found = observe_cohort(separable, design, rng=0, populations=[0])
    assert set(found.observables) == {
        n
        for n in SETS[name].observables
        if n.split("_")[0] in ("geometry", "alignment", "dissimilarity", "change", "act")
    }


@pytest.mark.parametrize("measure", ["weights", "paired"])
@pytest.mark.parametrize("tracked", [True, False])
def test_the_default_serves_every_measure(separable, measure, tracked):
    design = Design(units=9, measure=measure, tracked=tracked)
    assert len(observe_cohort(separable, design, rng=0, populations=[0]).observables) >= 3
