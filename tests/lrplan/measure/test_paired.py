"""All-optical mapping: single pairs are below their noise, and pairs share what they share."""

from __future__ import annotations

import numpy as np
import pytest

from lrplan import Design, open_cohort, record
from lrplan.measure.modalities import Course, make_modality

ALIKE = {"added_cv": 0, "noise_spread": 0}


def effects(seed=0, sessions=1, stimuli=2, post=12, pre=10):
    shape = (sessions, stimuli, post, pre)
    return (0.1 * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


def noise(settings, signal, sessions=1):
    """Return the noise of sessions (session, stimulus, post, pre) in which effects are the same."""
    modality = make_modality("paired", settings)
    repeated = np.repeat(signal, sessions, axis=0)
    rng = np.random.default_rng(0)
    [found] = modality.means(repeated, noise_sd=[0.0], course=Course(signal[0]), rng=rng)
    return found - repeated


def test_a_pair_is_below_its_noise_by_what_is_said():
    modality, signal = make_modality("paired", ALIKE), effects()
    found = noise(ALIKE, signal, 200)
    snr = np.sqrt(np.mean(signal**2)) / np.sqrt(np.mean(found**2))
    assert snr == pytest.approx(modality.pair_snr, rel=0.05)
    assert 0.1 < modality.pair_snr < 0.4
    said = modality.variance(signal, noise_sd=0.0, course=Course(signal[0]))
    assert said.mean() == pytest.approx(np.mean(found**2), rel=0.1)


def test_the_variance_is_right_for_each_read_cell():
    signal = effects()
    settings = {"noise_spread": 1, "added_cv": 0}
    found = noise(settings, signal, 500)
    said = make_modality("paired", settings).variance(
        signal, noise_sd=0.0, course=Course(signal[0])
    )
    ratio = np.mean(found**2, axis=(0, 1, 3)) / said[0, 0, :, 0]
    np.testing.assert_allclose(ratio, 1, atol=0.25)


def test_pairs_share_control_trials_of_the_read_cell():
    """As many of both kinds: half of the variance, and what all cells have in common besides."""
    for controls, expected in ((30, 0.5), (3000, 0.01)):
        settings = ALIKE | {"noise_shared": 0, "control_trials": controls}
        found = noise(settings, effects(), 1500)[:, 0, 0]
        together = np.corrcoef(found, rowvar=False)[np.triu_indices(10, 1)]
        assert together.mean() == pytest.approx(expected, abs=0.05)


def test_read_cells_share_trials():
    found = noise(ALIKE | {"noise_shared": 0.4}, effects(), 1500)[:, 0, :, 0]
    together = np.corrcoef(found, rowvar=False)[np.triu_indices(12, 1)]
    assert together.mean() == pytest.approx(0.4, abs=0.05)


def test_without_noise_it_is_the_effect_times_a_factor_of_the_stimulated_cell():
    many = {"trials_per_target": 10**8, "control_trials": 10**8}
    signal = effects(sessions=2)
    np.testing.assert_allclose(noise(many | ALIKE, signal), 0, atol=2e-3)
    found = noise(many | {"noise_spread": 0}, signal) + signal
    for pre in range(10):
        ideal, seen = signal[..., pre].ravel(), found[..., pre].ravel()
        factor = (ideal @ seen) / (ideal @ ideal)
        np.testing.assert_allclose(seen, factor * ideal, atol=2e-3)


def test_it_records_a_cohort():
    """Pairs stand as read by stimulated cells, so that those of one cell share what they share."""
    design = Design(modality="paired", measure="paired", units=30, settings={"effect": 0.05})
    made = record(open_cohort("starter"), design, rng=0, populations=[0])
    values, errors = (made.data[n].values[0] for n in ("paired", "paired_sem"))
    assert values.shape == errors.shape and values.shape[-2:] == (5, 6)
    assert np.isfinite(values).all() and (errors == errors[..., :1]).all()
    assert values.std() == pytest.approx(errors.mean(), rel=0.3)
