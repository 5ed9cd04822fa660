"""Sorted spikes: rates, counts, sorting and days as the settings say, and what is left of units."""

from __future__ import annotations

import numpy as np
import pytest

from lrplan import (
    DataError,
    Design,
    Schedule,
    UsageError,
    open_cohort,
    read_nwb,
    record,
    record_nwb,
)
from lrplan.measure.modalities import Course, make_modality
from lrplan.measure.observe import UNITS_SEEN, observe_cohort
from lrplan.tell.unseen import technique_told

IDEAL_SORTING = {"contamination": 0, "missed": 0, "spikes_to_sort": 0, "survival_days": 1e9}
POISSON = {"shared_gain_sd": 0, "private_gain_sd": 0}


def technique(**settings):
    return make_modality("electrophysiology", settings)


def measured(modality, signal, trials=1, *, seed=0, **course):
    course = Course(course.pop("first", signal[0]), **course)
    rng = np.random.default_rng(seed)
    return modality.trials(signal, trials=trials, noise_sd=0, course=course, rng=rng)


@pytest.fixture(scope="module")
def signal():
    """Uneven units, tuned to stimuli: (session, stimulus, unit)."""
    rng = np.random.default_rng(1)
    return np.exp(rng.standard_normal((2, 8, 40)) * 0.8).astype(np.float32)


@pytest.mark.parametrize("spread", [0.0, 1.15])
def test_without_noise_it_is_the_activation_up_to_an_affine_map_of_each_unit(signal, spread):
    """Millions of trials: the ideal recording of rectified activation, times k, plus k x0."""
    signal = signal - 0.3
    modality = technique(
        spread=spread, trials_per_stimulus=10**7, window_s=1, baseline=0.3, **IDEAL_SORTING
    )
    course = Course(signal[0])
    rng = np.random.default_rng(0)
    [found] = modality.means(signal, noise_sd=[0.0], course=course, rng=rng)
    rectified = np.maximum(signal, 0)
    base = rectified[0].mean() * 0.3 / 0.7
    slopes = (found / (rectified + base)).reshape(-1, 40)
    np.testing.assert_allclose(
        slopes, np.broadcast_to(slopes.mean(axis=0), slopes.shape), rtol=0.01
    )
    if spread == 0:
        [ideal] = make_modality("ideal").means(rectified, noise_sd=[0.0], course=course, rng=rng)
        np.testing.assert_allclose(found - base, ideal, atol=0.01)
    else:
        assert slopes.mean(axis=0).std() > 0.5


def test_the_noise_goes_with_the_root_of_trials_and_of_the_window(signal):
    settings = IDEAL_SORTING | POISSON
    free = technique(**settings).expected(signal, Course(signal[0]))

    def noise(**more):
        rng = np.random.default_rng(0)
        modality = technique(**settings | more)
        [found] = modality.means(signal, noise_sd=[0.0], course=Course(signal[0]), rng=rng)
        return np.sqrt(np.mean(np.square(found - free)))

    assert noise() / noise(trials_per_stimulus=80) == pytest.approx(2, rel=0.15)
    assert noise() / noise(window_s=1.0) == pytest.approx(2, rel=0.15)


def test_the_variance_of_a_count_is_its_mean_and_a_share_of_its_square():
    """Modulated Poisson; so the Fano factor less 1 grows with the window."""
    even = np.ones((1, 1, 400), dtype=np.float32)
    for window_s in (0.25, 1.0):
        modality = technique(
            spread=0, baseline=0, median_hz=8, window_s=window_s, shared_gain_sd=0, **IDEAL_SORTING
        )
        counts = measured(modality, even, trials=800).astype(np.float64) * 8 * window_s
        mean = 8 * window_s
        assert counts.mean() == pytest.approx(mean, rel=0.02)
        fano = counts.var(axis=2, ddof=1).mean() / mean
        assert fano - 1 == pytest.approx(0.22**2 * mean, rel=0.1)


@pytest.mark.parametrize("mean", [1.0, 5.0, 20.0])
def test_counts_of_units_correlate_the_more_the_more_there_are(mean):
    even = np.ones((1, 1, 30), dtype=np.float32)
    modality = technique(spread=0, baseline=0, median_hz=mean, window_s=1, **IDEAL_SORTING)
    counts = measured(modality, even, trials=4000)[0, 0]
    pairs = np.corrcoef(counts, rowvar=False)[np.triu_indices(30, 1)]
    shared = 0.22**2
    both = (1 + shared) ** 2 - 1
    assert pairs.mean() == pytest.approx(shared * mean / (1 + both * mean), abs=0.015)


@pytest.mark.parametrize("uneven", [0.0, 0.6])
def test_rates_are_as_uneven_as_the_spread_says(uneven):
    """The network's own unevenness counts towards it."""
    rng = np.random.default_rng(0)
    units = 40_000
    signal = np.exp(uneven * rng.standard_normal(units)) * np.ones((1, 3, 1))
    modality = technique(spread=0.8, median_hz=3, baseline=0.3, **IDEAL_SORTING)
    course = Course(signal[0])
    rates = modality.expected(signal, course)[0].mean(axis=0)
    rates = rates * modality.gain(signal, trials=1, noise_sd=0, window_s=modality.window_s)
    assert rates.mean() == pytest.approx(3 * np.exp(0.8**2 / 2), rel=0.03)
    assert rates.std() / rates.mean() == pytest.approx(np.sqrt(np.exp(0.8**2) - 1), rel=0.06)
    if uneven == 0:
        assert np.median(rates) == pytest.approx(3, rel=0.03)
        top = np.sort(rates)[-units // 10 :].sum() / rates.sum()
        assert top == pytest.approx(0.316, abs=0.02)  # Phi(0.8 - 1.2816)


def test_slow_units_are_missed(signal):
    """A share of 1 - exp(-spikes / 150) is sorted."""
    even = np.ones((1, 2, 5000), dtype=np.float32)
    settings = {"spread": 0, "contamination": 0, "missed": 0}
    modality = technique(median_hz=0.05, session_s=3000, **settings)
    course = Course(even[0])
    seen = modality.seen(modality.expected(even, course), course)
    assert seen.mean() == pytest.approx(1 - np.exp(-1), abs=0.03)
    assert np.isfinite(measured(modality, even)).all(axis=(0, 1, 2)).mean() == seen.mean()


def test_units_are_lost_over_days_by_the_survival_curve():
    even = np.ones((4, 2, 20_000), dtype=np.float32)
    modality = technique(spread=0, matched=0.9)
    course = Course(even[0], checkpoints=[0, 15, 47, 106])
    seen = modality.seen(modality.expected(even, course), course)
    assert seen[0].mean() > 0.99
    assert (np.diff(seen.astype(int), axis=0) <= 0).all(), "a lost unit came back"
    expected = 0.9 * np.exp(-((np.array([15, 47, 106]) / 52) ** 0.62))
    np.testing.assert_allclose(seen[1:].mean(axis=1), expected, atol=0.015)
    # What the array of Vaidya et al. (2014) kept.
    np.testing.assert_allclose(seen[1:].mean(axis=1) / 0.9, [0.67, 0.31, 0.21], atol=0.1)
    twice = technique(spread=0, days_between=2.0)
    seen = twice.seen(twice.expected(even, course), course)
    assert seen[1].mean() == pytest.approx(np.exp(-((30 / 52) ** 0.62)), abs=0.015)


def test_new_units_come_on_later_days_and_are_lost_as_others():
    even = np.ones((11, 2, 20_000), dtype=np.float32)
    modality = technique(spread=0, new=0.3, survival_days=1e9)
    course = Course(even[0])
    seen = modality.seen(modality.expected(even, course), course).mean(axis=1)
    np.testing.assert_allclose(seen, 0.7 + 0.3 * np.arange(11) / 10, atol=0.02)
    mortal = technique(spread=0, new=0.3, survival_days=5.0)
    fewer = mortal.seen(mortal.expected(even, course), course).mean(axis=1)
    assert fewer[-1] < seen[-1] - 0.3


def test_units_that_are_drawn_anew_are_neither_lost_nor_the_same(signal):
    modality = technique(survival_days=0.01, spikes_to_sort=0)
    signal = np.repeat(signal[:1], 2, axis=0)
    tracked, anew = (
        modality.expected(signal, Course(signal[0], tracked=tracked)) for tracked in (True, False)
    )
    np.testing.assert_array_equal(tracked[0], tracked[1])
    assert (anew[0] != anew[1]).all()
    course = Course(signal[0], tracked=False)
    assert modality.seen(anew, course).all()
    assert not modality.seen(tracked, Course(signal[0])).all()


def test_false_spikes_are_a_neighbours_and_missed_ones_are_gone():
    """Half of the spikes of one unit follow the tuning of another."""
    signal = np.ones((1, 2, 20_000), dtype=np.float32)
    signal[0, 0, ::2] = 0
    signal[0, 1, 1::2] = 0
    settings = {"spread": 0, "baseline": 0, "spikes_to_sort": 0}
    course = Course(signal[0])
    clean = technique(contamination=0, missed=0, **settings).expected(signal, course)
    np.testing.assert_allclose(clean, signal, atol=1e-6)
    dirty = technique(contamination=0.08, missed=0, **settings).expected(signal, course)[0]
    # A neighbour is as often tuned to the other stimulus.
    false = dirty[:, ::2][0] / dirty[:, ::2].sum(axis=0)
    assert false.mean() == pytest.approx(0.08 / 2, abs=0.01)
    few = technique(contamination=0, missed=0.2, **settings).expected(signal, course)
    assert few.sum() / clean.sum() == pytest.approx(0.8, abs=0.01)


def test_the_variance_is_right_of_single_units_of_any_rate(signal):
    modality = technique(trials_per_stimulus=4)
    course = Course(signal[0])
    made = []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        made.append(next(modality.means(signal, noise_sd=[0.0], course=course, rng=rng)))
    found = np.stack(made).astype(np.float64)
    said = [modality.variance(m, noise_sd=0.0, course=course) for m in made]
    true = found.var(axis=0, ddof=1)
    ratio = np.mean(said, axis=0) / true
    order = np.argsort(true.mean(axis=(0, 1)))
    for part in np.array_split(order, 4):
        assert np.nanmean(ratio[..., part]) == pytest.approx(1, abs=0.05)
    assert (np.array(said)[np.isfinite(said)] >= 0).all()


def test_a_session_does_not_depend_on_the_others():
    starter = open_cohort("starter")
    options = {"units": 12, "modality": "electrophysiology"}
    every, few = (
        record(starter, Design(**options, schedule=s), rng=0, populations=[0]).data["activity"]
        for s in (Schedule(), Schedule(sessions=3))
    )
    np.testing.assert_array_equal(every.values[:, [0, 10, 20]], few.values)
    later = Design(**options, schedule=Schedule(sessions=2, start=10))
    made = record(starter, later, rng=0, populations=[0]).data["activity"].values[0]
    lost = Design(**options, schedule=Schedule(sessions=2), settings={"days_between": 1e6})
    gone = record(starter, lost, rng=0, populations=[0]).data["activity"].values[0]
    assert np.isfinite(made).all(axis=1).sum(axis=1)[0] > 10
    assert np.isnan(gone[1]).all()


@pytest.mark.parametrize("tracked", [True, False])
def test_observables_are_of_the_units_that_are_seen(separable, tracked):
    design = Design(
        units=30,
        modality="electrophysiology",
        tracked=tracked,
        settings={"days_between": 5, "median_hz": 0.3, "session_s": 900},
    )
    found = observe_cohort(separable, design, rng=0, populations=range(8))
    assert np.isfinite(found.values).all()
    left = found.label(UNITS_SEEN)
    made = record(separable, design, rng=0, populations=range(8)).data["activity"].values
    seen = np.isfinite(made).all(axis=2)
    held = seen.all(axis=1).sum(axis=-1) if tracked else seen.sum(axis=-1).min(axis=1)
    np.testing.assert_array_equal(left, held)
    assert (left < 30).all()


def test_too_few_units_are_refused_with_what_to_do(separable):
    design = Design(units=20, modality="electrophysiology", settings={"days_between": 1e6})
    with pytest.raises(DataError, match="of 20 units of organism .* only 0 are seen in every sess"):
        observe_cohort(separable, design, rng=0, populations=[0])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"noise": 0.1}, "noise is 0.1, but that of the modality 'electrophysiology' follows from"),
        ({"units": "all"}, "modality is 'electrophysiology', but units 'all'"),
        ({"measure": "weights"}, "measures activity, not weights"),
        *(
            ({"settings": {name: value}}, f"{name} is {value!r}; expected")
            for name, value in (
                ("median_hz", -4),
                ("median_hz", 0),
                ("spread", -1),
                ("spread", 30),
                ("baseline", 1.0),
                ("window_s", 0),
                ("trials_per_stimulus", 0),
                ("trials_per_stimulus", 2.5),
                ("shared_gain_sd", -0.1),
                ("contamination", 0.9),
                ("missed", 1.0),
                ("days_between", -1),
                ("survival_days", 0),
                ("survival_shape", 1.5),
                ("matched", 1.2),
                ("new", 1.0),
                ("session_s", float("nan")),
            )
        ),
    ],
)
def test_what_cannot_be_is_refused(changes, said):
    with pytest.raises(UsageError, match=said):
        Design(modality="electrophysiology", **changes)


def test_a_design_says_that_its_noise_follows(separable):
    design = Design(modality="electrophysiology")
    assert design.noise == 0 and design.to_json()["noise"] is None
    assert design.with_(units=5).noise == 0
    assert design.with_(modality="ideal", settings=None).noise == 0
    with pytest.raises(UsageError, match="leave --noise out"):
        Design(noise=0.3).with_(modality="electrophysiology")


def test_a_recording_comes_back_from_its_files(separable, tmp_path):
    """Spikes of each unit that was seen, with its number, at the rates that were assumed."""
    settings = {"days_between": 10, "trials_per_stimulus": 6, "new": 0.2}
    files = record_nwb(
        separable,
        organism=separable.organism_ids[3],
        layer="deep",
        out=tmp_path / "nwb",
        units=30,
        modality="electrophysiology",
        settings=settings,
        rng=0,
    )
    read = read_nwb(files)
    assert read.kind == "spikes"
    [warning] = read.ingest["warnings"]
    assert warning.startswith("tracking_id differs between sessions")
    assert read.data.sizes["trial"] == 6
    counts = read.units_per_session
    assert counts[0] <= 30 and counts[-1] < 30
    trials = read.data["trials"].values * 0.25
    spikes = trials[np.isfinite(trials)]
    np.testing.assert_allclose(spikes, np.rint(spikes), atol=1e-6)
    # The mean of a log-normal of median 4 Hz and spread 1.15, of few units.
    assert 2 < np.nanmean(read.data["activity"].values[0, 0]) < 25
    for bad in ({"noise": 0.1}, {"kind": "dff"}, {"settings": {"window_s": 0}}):
        with pytest.raises(UsageError):
            record_nwb(
                separable,
                **{
                    "organism": separable.organism_ids[3],
                    "layer": "deep",
                    "out": tmp_path / "other",
                    "modality": "electrophysiology",
                    "rng": 0,
                    "units": 30,
                    **bad,
                },
            )


def test_a_forecast_says_what_it_assumes_and_how_many_units_are_seen(separable):
    design = Design(units=30, modality="electrophysiology", settings={"median_hz": 2, "spread": 0})
    found = observe_cohort(separable, design, rng=0, populations=range(4))
    assumed, seen = technique_told(design, found)
    assert "stands for 1 Hz, on a baseline of 1 Hz" in assumed
    assert f"of 30 units {np.median(found.label(UNITS_SEEN)):.0f} are seen in every session" in seen
    ideal = Design(units=30)
    assert technique_told(ideal, observe_cohort(separable, ideal, rng=0, populations=[0])) == []
