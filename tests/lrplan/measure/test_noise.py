"""Noise relative to what stimuli drive: estimated without bias, and said in a lab's words."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from lrplan import DataError, Design, Recording, UsageError, read_nwb, record, write_nwb
from lrplan.measure.noise import (
    both_references,
    doubt,
    estimate_noise,
    from_dprime,
    from_reliability,
    from_snr,
    pooled_noise,
    refuse_without_signal,
    signal_sd,
)

STIMULI, TRIALS, UNITS = 8, 4, 120
DIMS = ("population", "session", "stimulus", "trial", "unit")


def recording(trials):
    return Recording(xr.Dataset({"trials": (DIMS, np.asarray(trials)[None, None])}), "made")


def estimate(trials, rng=0):
    [found] = estimate_noise(recording(trials), rng=rng)
    return found


def rates(case, rng):
    """Return expected counts (stimulus, unit)."""
    tuned = 4 * np.maximum(1 + 0.5 * rng.standard_normal((STIMULI, UNITS)), 0)
    baseline = np.exp(rng.standard_normal(UNITS))
    return {
        "equal": tuned,
        "log-normal": tuned * baseline,
        "spontaneous": tuned + 10 * baseline,
        "no tuning": np.tile(4 * baseline, (STIMULI, 1)),
    }[case]


def simulated(case, seed):
    """Return Poisson counts and their true noise within units and over all."""
    rng = np.random.default_rng(seed)
    mean = rates(case, rng)
    counts = rng.poisson(mean[:, None], (STIMULI, TRIALS, UNITS)).astype(float)
    noise = np.sqrt(mean.mean() / TRIALS)
    return counts, noise / signal_sd(mean, "within"), noise / signal_sd(mean, "relative")


@pytest.mark.parametrize("case", ["equal", "log-normal", "spontaneous"])
def test_the_estimate_is_unbiased_for_few_trials_and_stimuli(case):
    ratios = []
    for seed in range(12):
        counts, within, over = simulated(case, seed)
        found = estimate(counts)
        assert found.driven
        assert found.noise[1] < found.noise[0] < found.noise[2]
        assert (found.trials, found.stimuli, found.units) == (TRIALS, STIMULI, UNITS)
        ratios.append((found.noise[0] / within, found.over_units[0] / over))
    np.testing.assert_allclose(np.mean(ratios, axis=0), 1, atol=0.05)


def test_labels_that_do_nothing_have_no_signal():
    found = [estimate(simulated("no tuning", seed)[0]) for seed in range(12)]
    # At the level of 0.01 more than two of twelve come in one of 5,000 draws.
    assert sum(f.driven for f in found) <= 2
    assert np.mean([f.signal_share[0] for f in found]) == pytest.approx(0, abs=0.05)
    unsure = [f for f in found if f.signal_share[1] < 0 < f.signal_share[2]]
    assert len(unsure) >= 10
    for each in unsure:
        assert np.isinf(each.noise[2])
        told = each.to_json()
        assert told["within"]["high"] is None
        assert told["over_units"]["mean"] > 0
    counts, *_ = simulated("equal", 0)
    shuffled = np.random.default_rng(1).permutation(counts.reshape(-1, UNITS))
    mixed = recording(shuffled.reshape(counts.shape))
    with pytest.raises(
        DataError, match=r"made, first session: no signal is shown.*of shuffles.*--label"
    ):
        refuse_without_signal(mixed, estimate_noise(mixed, rng=0))
    noticed = replace(mixed, ingest={"warnings": ["times look like milliseconds"]})
    with pytest.raises(DataError, match=r"--noise\. Noticed in reading it: times look like milli"):
        refuse_without_signal(noticed, estimate_noise(noticed, rng=0))


def test_noise_that_all_units_share_is_no_signal():
    """Although it is large beside what each unit has of its own."""
    rng = np.random.default_rng(0)
    shared = 1 + 0.5 * rng.standard_normal((20, STIMULI, TRIALS, 1))
    found = [estimate(4 * s + 0.1 * rng.standard_normal((STIMULI, TRIALS, 50))) for s in shared]
    assert sum(f.driven for f in found) <= 2


def test_trials_too_few_to_shuffle_are_judged_by_the_interval():
    rng = np.random.default_rng(0)
    tuned = 3 * rng.standard_normal((2, 1, 50)) + rng.standard_normal((2, 3, 50))
    for trials, driven in ((tuned, True), (rng.standard_normal((2, 3, 50)), False)):
        found = estimate(trials)
        assert (found.p, found.driven) == (None, driven)
    assert (
        estimate(3 * rng.standard_normal((3, 1, 50)) + rng.standard_normal((3, 3, 50))).p == 0.005
    )


def test_what_units_differ_by_is_no_signal_within_them():
    counts, *_ = simulated("equal", 0)
    one, two = estimate(counts), estimate(counts + 7.0 * np.arange(UNITS))
    assert two.noise == pytest.approx(one.noise, rel=1e-9)
    assert two.signal_share == pytest.approx(one.signal_share, rel=1e-9)
    assert two.over_units[0] < one.over_units[0] / 10


def test_unit_and_order_of_what_is_measured_do_not_matter():
    counts, *_ = simulated("log-normal", 0)
    one, two = estimate(counts), estimate(1e-3 * counts[::-1, ::-1])
    assert two.noise == pytest.approx(one.noise, rel=1e-9)
    assert two.over_units == pytest.approx(one.over_units, rel=1e-9)


def test_means_and_errors_say_as_much_as_trials():
    counts, *_ = simulated("equal", 0)
    made = recording(counts)
    [one] = estimate_noise(made, rng=0)
    means = Recording(made.data.drop_vars("trials"), "means")
    [two] = estimate_noise(means, rng=0)
    assert two.noise == pytest.approx(one.noise, rel=1e-12)
    assert (two.p, two.trials, two.driven) == (None, None, True)


def test_what_was_shown_once_or_not_seen_is_left_out():
    counts, *_ = simulated("equal", 0)
    counts[0, 1:] = np.nan  # shown once
    counts[1, 2:, :40] = np.nan  # fewer trials of some units
    counts[..., -3:] = np.nan  # units of other sessions
    found = estimate(counts)
    assert (found.stimuli, found.units) == (STIMULI - 1, UNITS - 3)
    assert 3 < found.trials < TRIALS
    assert found.noise[0] == pytest.approx(estimate(counts[1:, :, :-3]).noise[0], rel=1e-12)


@pytest.mark.parametrize(
    ("trials", "said"),
    [
        (np.random.default_rng(0).random((4, 1, 9)), "repeats no stimulus"),
        (np.random.default_rng(0).random((1, 9, 9)), "fewer than two stimuli"),
        (np.ones((4, 3, 9)), "all responses of the first session are equal"),
    ],
)
def test_a_pilot_that_cannot_tell_is_refused(trials, said):
    with pytest.raises(DataError, match=said):
        estimate(trials)


@pytest.mark.parametrize("kind", ["spikes", "dff"])
def test_the_noise_of_a_written_recording_is_found_again(tmp_path, kind):
    rng = np.random.default_rng(0)
    signal = rates("spontaneous", rng)[None] / 4
    sd = 0.5 * signal_sd(signal[0], "within")
    files = write_nwb(signal, tmp_path / "o", noise_sd=sd, kind=kind, trials=TRIALS, rng=rng)
    [found] = estimate_noise(read_nwb(files, min_sessions=1), rng=0)
    assert found.noise[0] == pytest.approx(0.5, rel=0.12)


def test_virtual_and_real_noise_are_relative_to_the_same_signal(separable):
    design = Design(units=40, noise=0.7, noise_reference="within")
    ideal = record(separable, design.with_(noise=0), rng=0, populations=range(8))
    noisy = record(separable, design, rng=0, populations=range(8), trials=TRIALS)
    signal = ideal.data["activity"].values[:, 0]
    errors = noisy.data["activity"].values[:, 0] - signal
    within = np.sqrt(signal.var(axis=1, ddof=1).mean(axis=-1))
    size = np.sqrt((errors**2).mean(axis=(1, 2)))
    np.testing.assert_allclose(size, 0.7 * within, rtol=0.25)
    assert pooled_noise(estimate_noise(noisy, rng=0)) == pytest.approx(0.7, rel=0.15)


def test_both_references_are_those_of_the_cohort(separable):
    told = both_references(separable, Design(units=10, noise=0.7, noise_reference="within"))
    back = both_references(separable, Design(units=10, noise=told["relative"]))
    assert back["within"] == pytest.approx(0.7)
    for design in (
        Design(units=10, noise=0),
        Design(units=10, noise_reference="absolute"),
        Design(units=9, measure="paired"),
        Design(units="all", noise=0),
    ):
        assert both_references(separable, design) is None


def test_weights_and_single_stimuli_have_no_signal_within_units():
    with pytest.raises(UsageError, match="weights have no stimuli"):
        Design(measure="activity,weights", noise_reference="within")
    with pytest.raises(DataError, match="one stimulus alone"):
        signal_sd(np.ones((1, 5)), "within")


def test_words_of_a_lab_say_the_noise_that_they_come_from():
    """Each figure, taken of simulated trials, converts to the noise of their mean."""
    rng = np.random.default_rng(0)
    trials, units, sd = 10, 4000, 1.5
    signal = rng.standard_normal((STIMULI, units))
    signal = (signal - signal.mean(axis=0)) / signal.std(axis=0, ddof=1)
    made = signal[:, None] + sd * rng.standard_normal((STIMULI, trials, units))
    noise = sd / np.sqrt(trials)
    assert from_snr(1 / sd**2, trials=trials) == pytest.approx(noise)
    differences = (signal[:, None] - signal[None])[np.triu_indices(STIMULI, 1)]
    dprime = np.sqrt(np.mean(differences**2)) / sd
    assert from_dprime(dprime, trials=trials) == pytest.approx(noise)
    one, two = made[:, ::2].mean(axis=1), made[:, 1::2].mean(axis=1)
    one, two = one - one.mean(axis=0), two - two.mean(axis=0)
    r = (one * two).sum() / np.sqrt((one**2).sum() * (two**2).sum())
    assert from_reliability(r) == pytest.approx(noise, rel=0.03)
    assert estimate(made[..., :500]).noise[0] == pytest.approx(noise, rel=0.05)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: from_snr(0, trials=3), "snr is 0; expected a number above 0"),
        (lambda: from_snr(-1, trials=3), "snr is -1; expected a finite number"),
        (lambda: from_snr(1e9, trials=3), "no decibels"),
        (lambda: from_snr(1, trials=0), "trials is 0"),
        (lambda: from_dprime(float("nan"), trials=3), "dprime is nan"),
        (lambda: from_dprime(1000, trials=3), "such as 0.5"),
        (lambda: from_reliability(60), "if 60% is meant, say 0.6"),
        (lambda: from_reliability(1.0), "above 0 and below 1"),
        (lambda: from_reliability(-0.2), "reliability is -0.2"),
    ],
)
def test_absurd_figures_are_refused(call, said):
    with pytest.raises(UsageError, match=said):
        call()


def test_much_noise_is_asked_about():
    assert doubt(0.1) is None
    assert doubt(10.0).endswith("if 10% is meant, say --noise 0.1")
    assert "meant" not in doubt(2.5)
