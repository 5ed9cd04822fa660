"""Imaging of spines: what is seen, how it relates to weights, and what is lost and gained."""

from __future__ import annotations

import numpy as np
import pytest

from lrplan import Design, UsageError
from lrplan.measure.modalities import Course, make_modality

STEADY = {"lost_per_day": 0, "gained_per_day": 0, "floor": 0}


def weights(sessions=3, synapses=3000, seed=0):
    first = 0.1 * np.random.default_rng(seed).standard_normal(synapses)
    return np.repeat(first[None], sessions, axis=0).astype(np.float32)


def means(modality, signal, seed=0, **course):
    rng = np.random.default_rng(seed)
    told = Course(signal[0], **course)
    [found] = modality.means(signal, noise_sd=[0.0], course=told, rng=rng)
    return found


def test_only_positive_weights_are_seen_and_sizes_are_positive():
    signal = weights()
    found = means(make_modality("synaptic_imaging", STEADY | {"size_cv": 0.1}), signal)
    np.testing.assert_array_equal(np.isfinite(found), signal > 0)
    assert np.nanmin(found) > 0


def test_without_noise_it_is_the_weight_times_a_factor_of_the_synapse():
    signal = weights() * np.array([1, 1.5, 2], dtype=np.float32)[:, None]
    exact = STEADY | {"size_cv": 0, "size_correlation": 1}
    seen = signal > 0
    np.testing.assert_allclose(
        means(make_modality("synaptic_imaging", exact), signal)[seen], signal[seen], rtol=1e-5
    )
    proxy = means(make_modality("synaptic_imaging", STEADY | {"size_cv": 0}), signal)
    factor = proxy / signal
    np.testing.assert_allclose(factor[1][seen[0]], factor[0][seen[0]], rtol=1e-5)
    np.testing.assert_allclose(factor[2][seen[0]], factor[0][seen[0]], rtol=1e-5)


@pytest.mark.parametrize("asked", [0.5, 0.8])
def test_size_and_weight_correlate_as_asked(asked):
    signal = weights(sessions=1)
    modality = make_modality("synaptic_imaging", STEADY | {"size_correlation": asked, "size_cv": 0})
    found, seen = means(modality, signal)[0], signal[0] > 0
    along = np.corrcoef(np.log(found[seen]), np.log(signal[0, seen]))[0, 1]
    assert along == pytest.approx(asked, abs=0.04)


@pytest.mark.parametrize("repeats", [1, 3])
def test_the_variance_is_right_on_average(repeats):
    signal = weights(sessions=400, synapses=50)
    modality = make_modality("synaptic_imaging", STEADY | {"repeats": repeats, "size_cv": 0.5})
    found = means(modality, signal)
    said = modality.variance(found, noise_sd=0.0, course=Course(signal[0])).mean(axis=0)
    seen = signal[0] > 0
    ratio = said[seen] / found[:, seen].var(axis=0, ddof=1)
    assert ratio.mean() == pytest.approx(1, abs=0.05)


def test_no_volume_is_negative_however_large_the_error():
    signal = weights(sessions=5)
    found = means(
        make_modality("synaptic_imaging", STEADY | {"repeats": 1, "size_cv": 1.0}), signal
    )
    assert np.nanmin(found) > 0


def test_the_stated_share_is_below_the_floor():
    signal = weights(sessions=1, synapses=20_000)
    for floor in (0.1, 0.3):
        settings = STEADY | {"floor": floor, "floor_spread": 0}
        found = means(make_modality("synaptic_imaging", settings), signal)
        assert np.isnan(found[signal > 0]).mean() == pytest.approx(floor, abs=0.05)


def test_spines_are_lost_and_gained_at_the_stated_rates():
    signal = np.abs(weights(sessions=5, synapses=20_000))
    rates = {"lost_per_day": 0.05, "gained_per_day": 0.05, "floor": 0, "days_between": 2}
    modality = make_modality("synaptic_imaging", rates)
    seen = np.isfinite(means(modality, signal))
    at_first = seen[:, seen[0]]
    np.testing.assert_allclose(
        at_first.mean(axis=1), modality.seen_share(2 * np.arange(5)), atol=0.02
    )
    new = (seen[1] & ~seen[0]).sum() / seen[0].sum()
    assert new == pytest.approx(0.1 * modality.seen_share(1)[()], abs=0.02)
    untracked = means(modality, signal, tracked=False)
    assert np.isfinite(untracked).all()


def test_a_population_without_excitation_shows_nothing():
    signal = -np.abs(weights(sessions=2, synapses=20))
    assert np.isnan(means(make_modality("synaptic_imaging"), signal)).all()


def test_it_measures_weights_only():
    assert Design(modality="synaptic_imaging", measure="weights").noise_level == 0
    with pytest.raises(UsageError, match="measures weights, not activity"):
        Design(modality="synaptic_imaging")
