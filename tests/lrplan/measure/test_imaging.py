"""Calcium imaging: formulas against frames, noise, bias, tracking, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from lrplan import Design, UsageError, open_cohort, record
from lrplan.measure.modalities import Course, make_modality
from lrplan.measure.modalities import _calcium as calcium

CLEAN = {
    "scale_cv": 0,
    "scale_drift": 0,
    "rate_spread": 0,
    "neuropil_error": 0,
    "least_events": 0,
    "tracked_next": 1,
    "tracked_late": 1,
}
"""Cells that are all alike, all found and never lost."""


def shape_of(name):
    one = calcium.INDICATORS[name]
    return calcium.transient(one.rise_s, one.decay_s)


def activity(seed=0, sessions=2, stimuli=6, units=60):
    values = np.random.default_rng(seed).standard_normal((sessions, stimuli, units))
    return np.maximum(values, 0).astype(np.float32)


def means(modality, signal, seed, **course):
    told = Course(signal[0], **course)
    rng = np.random.default_rng(seed)
    [found] = modality.means(signal, noise_sd=[0.0], course=told, rng=rng)
    return found


@pytest.mark.parametrize("name", calcium.INDICATORS)
def test_a_transient_peaks_and_falls_when_the_indicator_does(name):
    one, shape = calcium.INDICATORS[name], shape_of(name)
    around = one.rise_s * np.array([0.98, 1, 1.02])
    before, peak, after = shape.at(around)
    assert peak == pytest.approx(1) and peak > before and peak > after
    assert shape.at(one.rise_s + one.decay_s) == pytest.approx(0.5)
    times = np.linspace(0, 20, 40_001)
    assert shape.area(20.0) == pytest.approx(np.trapezoid(shape.at(times), times), rel=1e-4)


def test_the_mean_over_a_window_is_that_of_frames():
    """The response to a step of the rate, and its variance over trials."""
    shape, rng = shape_of("6s"), np.random.default_rng(0)
    frames, rate_hz, window_s = 100, 4.0, 1.5
    spikes = rng.poisson(rate_hz / frames, (20_000, round(frames * window_s)))
    dff = calcium.traces(
        spikes, shape, amplitude=0.2, most=1e9, frame_rate_hz=frames, nu=0, rng=rng
    ).mean(axis=-1)
    mean, square = shape.weight(window_s)
    assert dff.mean() == pytest.approx(0.2 * rate_hz * window_s * mean, rel=0.03)
    assert dff.var() == pytest.approx(0.2**2 * rate_hz * window_s * square, rel=0.05)


@pytest.mark.parametrize("baseline_s", [0.5, 2.0])
def test_spikes_that_never_pause_vary_as_in_frames(baseline_s):
    """In a window of 2 s, less the mean of its baseline."""
    shape, rng = shape_of("6f"), np.random.default_rng(1)
    spikes = rng.poisson(3 / 100, (10_000, 600))
    dff = calcium.traces(spikes, shape, amplitude=1, most=1e9, frame_rate_hz=100, nu=0, rng=rng)
    baseline = dff[:, 400 - round(100 * baseline_s) : 400].mean(axis=-1)
    found = (dff[:, 400:].mean(axis=-1) - baseline).var()
    assert found == pytest.approx(3 * shape.background(2.0, baseline_s), rel=0.06)


def test_a_long_baseline_adds_nothing():
    shape = shape_of("6f")
    alone = shape.background(1.0, 600.0)
    assert shape.background(1.0, 60.0) == pytest.approx(alone, rel=0.02)
    assert shape.background(1.0, 1.0) > 1.5 * alone


@pytest.mark.parametrize("nu", [1.0, 8.0])
@pytest.mark.parametrize("frames", [4.0, 30.0])
def test_traces_have_the_noise_level_that_was_asked(nu, frames):
    rng = np.random.default_rng(2)
    quiet = np.zeros((40, 3000))
    dff = calcium.traces(
        quiet, shape_of("8m"), amplitude=0.5, most=5, frame_rate_hz=frames, nu=nu, rng=rng
    )
    assert calcium.noise_level(dff, frames).mean() == pytest.approx(nu, rel=0.05)
    window = round(frames)
    averaged = dff[:, : 3000 // window * window].reshape(40, -1, window).mean(axis=-1)
    assert averaged.std() == pytest.approx(calcium.window_noise(nu, window / frames), rel=0.05)


def test_fields_share_the_light():
    """Four planes have a quarter of the frames each, and twice the noise."""
    quiet = CLEAN | {"spontaneous_hz": 0, "gain_sd": 0, "nu_spread": 0, "rate_hz": 0.001}
    signal = activity(units=200)
    sizes = []
    for fields in (1, 4):
        modality = make_modality("imaging", quiet | {"fields": fields})
        silent = signal * np.float32(0)
        course = Course(signal[0])
        rng = np.random.default_rng(0)
        [found] = modality.means(silent, noise_sd=[0.0], course=course, rng=rng)
        sizes.append(found.std())
    assert sizes[1] / sizes[0] == pytest.approx(2, rel=1e-3)


def test_without_noise_and_with_many_trials_it_is_the_activity():
    """Up to one factor for each cell, which is 1 where cells are alike."""
    many = {"trials_per_stimulus": 1_000_000, "saturation": 1e6}
    signal = activity()
    plain = means(make_modality("imaging", CLEAN | many), signal, 0)
    np.testing.assert_allclose(plain, signal, atol=0.02 * signal.max())
    cells = {"scale_cv": 0.5, "rate_spread": 1, "nu_spread": 1}
    found = means(make_modality("imaging", CLEAN | many | cells), signal, 0)
    for unit in range(signal.shape[-1]):
        ideal, seen = signal[..., unit].ravel(), found[..., unit].ravel()
        factor = (ideal @ seen) / (ideal @ ideal)
        assert factor > 0
        np.testing.assert_allclose(seen, factor * ideal, atol=0.03 * max(factor, 1) * signal.max())


def test_an_indicator_bends_where_it_saturates():
    signal = activity()
    many = CLEAN | {"trials_per_stimulus": 1_000_000, "saturation": 0.5}
    modality = make_modality("imaging", many)
    found = means(modality, signal, 0)
    gain = modality.gain(signal, trials=1, noise_sd=0.0, window_s=1.0)
    dff = gain * signal
    np.testing.assert_allclose(gain * found, dff / (1 + dff / 0.5), atol=0.02 * dff.max())


def test_activity_below_0_is_silence():
    signal = activity()
    modality = make_modality("imaging", CLEAN)
    course = Course(signal[0])
    below = np.where(signal > 0, signal, -1).astype(np.float32)
    one, two = (
        next(modality.means(s, noise_sd=[0.0], course=course, rng=np.random.default_rng(0)))
        for s in (signal, below)
    )
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(
    "settings",
    [{}, {"trials_per_stimulus": 2, "gain_sd": 1}, {"indicator": "jGCaMP8s", "rate_hz": 3}],
)
def test_the_variance_is_right_for_each_cell(settings):
    """Sessions of the same activity and the same cells differ by noise alone."""
    steady = {"scale_drift": 0, "tracked_next": 1, "tracked_late": 1, "least_events": 0}
    modality = make_modality("imaging", settings | steady)
    signal = np.repeat(activity(sessions=1, units=30), 500, axis=0)
    found = means(modality, signal, 0)
    said = modality.variance(found, noise_sd=0.0, course=Course(signal[0])).mean(axis=0)
    true = found.var(axis=0, ddof=1)
    assert said.mean() == pytest.approx(true.mean(), rel=0.1)
    assert np.abs(np.log(said.mean(axis=0) / true.mean(axis=0))).max() < 0.5


def test_standard_errors_over_trials_are_what_the_variance_says():
    signal = activity(units=300)
    modality, course = make_modality("imaging"), Course(signal[0])
    rng = np.random.default_rng(0)
    each = modality.trials(signal, trials=20, noise_sd=0.0, course=course, rng=rng)
    squares = each.astype(np.float64).var(axis=-2, ddof=1) / 20
    said = modality.variance(means(modality, signal, 1), noise_sd=0.0, course=course)
    assert np.nanmean(squares) == pytest.approx(np.nanmean(said), rel=0.1)


def test_more_spikes_are_more_light():
    """The correlation over single trials of rate and dF/F, which noise lowers."""
    signal = activity(units=200)
    course = Course(signal[0])
    along = []
    for nu in (1, 8):
        modality = make_modality("imaging", CLEAN | {"nu": nu})
        rng = np.random.default_rng(0)
        each = modality.trials(signal, trials=10, noise_sd=0.0, course=course, rng=rng)
        rates = np.broadcast_to(signal[..., None, :], each.shape)
        along.append(np.corrcoef(rates.ravel(), each.ravel())[0, 1])
    assert 0.9 > along[0] > along[1] > 0.2


def test_single_spikes_vanish_where_many_cells_are_imaged():
    """At high zoom nearly all are seen; with a tenth of the light and less dF/F under 10%."""
    assert make_modality("imaging", {"indicator": "GCaMP6s", "nu": 1}).seen_spikes > 0.99
    assert make_modality("imaging", {"amplitude": 0.1, "nu": 3}).seen_spikes < 0.1


def test_the_stated_share_of_cells_is_found_again():
    modality = make_modality("imaging", {"least_events": 0, "days_between": 2})
    signal = activity(sessions=8, stimuli=1, units=4000)
    seen = np.isfinite(means(modality, signal, 0, key=3)[:, 0])
    np.testing.assert_allclose(seen.mean(axis=1), modality.tracked_share(np.arange(8)), atol=0.03)
    assert modality.tracked_share(np.array([1])) == pytest.approx(0.85)
    assert (np.diff(seen.astype(int), axis=0) <= 0).all(), "a cell that was lost came back"
    apart = means(modality, signal, 0, key=3, checkpoints=[0, 5, 6, 7, 8, 9, 10, 11])
    assert np.isfinite(apart[1]).mean() == pytest.approx(
        modality.tracked_share(np.array([5]))[0], abs=0.03
    )
    assert np.isfinite(means(modality, signal, 0, tracked=False)).all()


def test_rates_are_as_uneven_as_asked():
    """The spread over cells counts what the network's own responses spread."""
    signal = activity(sessions=1, stimuli=4, units=40_000)
    many = CLEAN | {"trials_per_stimulus": 100_000, "saturation": 1e6, "rate_hz": 5}
    own = np.log1p(signal[0].mean(axis=0).var() / signal[0].mean() ** 2)
    for spread, expected in ((0.0, own), (1.0, 1.0)):
        found = means(make_modality("imaging", many | {"rate_spread": spread}), signal, 0)
        of_cells = found[0].mean(axis=0).astype(np.float64)
        assert np.log1p(of_cells.var() / of_cells.mean() ** 2) == pytest.approx(expected, rel=0.1)


def test_a_cell_that_is_not_recorded_at_first_may_be_later():
    signal = activity()
    signal[0, :, 3] = np.nan
    found = means(make_modality("imaging", CLEAN), signal, 0)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(signal))


def test_quiet_cells_are_missed():
    signal = activity(sessions=1, stimuli=1, units=4000)
    settings = {"tracked_next": 1, "tracked_late": 1, "spontaneous_hz": 0, "rate_hz": 0.05}
    seen = np.isfinite(means(make_modality("imaging", settings), signal, 0))[0, 0]
    active = signal[0, 0] > np.median(signal[0, 0])
    assert not seen[signal[0, 0] == 0].any()
    assert seen[active].mean() > 0.5


def test_neuropil_that_is_left_is_shared():
    """It correlates cells over trials of the same stimulus."""
    signal = activity(sessions=1, units=80)
    alone = CLEAN | {"gain_sd": 0}
    sizes = []
    for error in (0.0, 1.0):
        modality = make_modality("imaging", alone | {"neuropil_error": error, "neuropil_sd": 0.2})
        rng = np.random.default_rng(0)
        each = modality.trials(signal, trials=200, noise_sd=0.0, course=Course(signal[0]), rng=rng)
        noise = (each - each.mean(axis=-2, keepdims=True)).reshape(-1, 80)
        together = np.corrcoef(noise, rowvar=False)
        sizes.append(np.abs(together[np.triu_indices(80, 1)]).mean())
    assert sizes[1] > 4 * sizes[0]


def test_bleaching_makes_late_trials_noisier():
    signal = activity(sessions=1, units=400)
    modality = make_modality("imaging", CLEAN | {"bleaching": 0.9, "rate_hz": 0.001, "gain_sd": 0})
    silent, course = signal * np.float32(0), Course(signal[0])
    each = modality.trials(
        silent, trials=20, noise_sd=0.0, course=course, rng=np.random.default_rng(0)
    )
    assert each[..., -1, :].std() > 1.3 * each[..., 0, :].std()


@pytest.mark.parametrize("name", ["GCaMP6F", "6f", "gcamp-6f", "jGCaMP6f"])
def test_names_of_indicators_are_understood(name):
    assert make_modality("imaging", {"indicator": name}).indicator == "GCaMP6f"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"frame_rate_hz": 0}, "frame_rate_hz is 0; expected a number of at least 0.1"),
        ({"fields": 100}, "holds 0.3 frames: 100 fields share 30 frames per second"),
        ({"rise_s": 0.3, "decay_s": 0.1}, "rises for 0.3 s and falls to half in 0.1 s"),
        ({"decay_s": 0.04}, "rises for 0.045 s and falls to half in 0.04 s"),
        ({"tracked_next": 1.2}, "tracked_next is 1.2; expected a number of at least 0 and at most"),
        ({"tracked_next": 0.3}, "tracked_late is 0.4 and tracked_next 0.3"),
        ({"indicator": "GCaMP9"}, "indicator is 'GCaMP9'; nearest: .*GCaMP6f"),
    ],
)
def test_what_makes_no_sense_is_refused(settings, said):
    with pytest.raises(UsageError, match=said):
        Design(modality="imaging", settings=settings)


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("calcium", "imaging"),
        ("2p", "imaging"),
        ("two-photon", "imaging"),
        ("Two photon", "imaging"),
        ("all-optical", "paired"),
        ("spines", "synaptic_imaging"),
    ],
)
def test_a_labs_words_point_to_the_modality(word, name):
    with pytest.raises(UsageError, match=f"unknown modality '{word}'; did you mean '{name}'"):
        Design(modality=word)


def test_a_recording_holds_the_cells_that_were_seen():
    design = Design(modality="imaging", units=40)
    made = record(open_cohort("starter"), design, rng=0, populations=[0])
    seen = np.isfinite(made.data["activity"].values[0]).all(axis=1).mean(axis=1)
    assert seen[0] > 0.8 > seen[-1] > 0.2
    errors = made.data["activity_sem"].values[0, 0]
    assert np.isfinite(errors).any() and (errors[np.isfinite(errors)] > 0).all()
