"""What every modality keeps to."""

from __future__ import annotations

import numpy as np
import pytest

from lrplan.design import MEASURES
from lrplan.modalities import modalities

SHAPES = {"activity": (3, 40, 200), "weights": (3, 8000), "paired": (3, 4, 40, 50)}


def cases():
    return [(name, m) for name, entry in modalities.items() for m in entry.measures]


def signal(measure, seed=0):
    """Non-negative values, as rates are."""
    rng = np.random.default_rng(seed)
    return np.abs(rng.standard_normal(SHAPES[measure])).astype(np.float32)


@pytest.mark.parametrize("name", modalities.names())
def test_a_modality_says_what_it_is(name):
    entry = modalities.get(name)
    assert entry.summary.strip()
    assert entry.cites.strip()
    assert entry.measures
    assert set(entry.measures) <= set(MEASURES)


@pytest.mark.parametrize(("name", "measure"), cases())
@pytest.mark.parametrize("noise_sd", [0.0, 0.3])
def test_a_measurement_keeps_the_shape_and_its_input(name, measure, noise_sd):
    given = signal(measure)
    before = given.copy()
    found = modalities.get(name).measure(given, noise_sd=noise_sd, rng=np.random.default_rng(1))
    assert found.shape == given.shape
    assert found.dtype == np.float32
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(given, before)


@pytest.mark.parametrize(("name", "measure"), cases())
def test_a_measurement_comes_from_the_given_rng_alone(name, measure):
    entry = modalities.get(name)
    np.random.seed(0)  # noqa: NPY002
    one = entry.measure(signal(measure), noise_sd=0.3, rng=np.random.default_rng(5))
    np.random.seed(1)  # noqa: NPY002
    again = entry.measure(signal(measure), noise_sd=0.3, rng=np.random.default_rng(5))
    other = entry.measure(signal(measure), noise_sd=0.3, rng=np.random.default_rng(6))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()


@pytest.mark.parametrize(("name", "measure"), cases())
def test_without_noise_the_signal_itself_is_measured(name, measure):
    given = signal(measure)
    found = modalities.get(name).measure(given, noise_sd=0.0, rng=np.random.default_rng(1))
    np.testing.assert_array_equal(found, given)


@pytest.mark.parametrize(("name", "measure"), cases())
@pytest.mark.parametrize("noise_sd", [0.1, 0.5])
def test_the_noise_has_the_stated_size_and_no_bias(name, measure, noise_sd):
    """8,000 values: a root mean square is known to within 2 or 3 per cent."""
    given = signal(measure)
    found = modalities.get(name).measure(given, noise_sd=noise_sd, rng=np.random.default_rng(2))
    noise = (found - given).astype(np.float64)
    assert np.sqrt(np.mean(noise[0] ** 2)) == pytest.approx(noise_sd, rel=0.06)
    for session in noise:
        assert abs(session.mean()) < 5 * noise_sd / np.sqrt(session.size)
    # Independent of unit, stimulus and session.
    flat = noise.reshape(len(noise), -1)
    assert abs(np.corrcoef(flat)[0, 1]) < 0.06
    assert abs(np.corrcoef(flat[0, :-1], flat[0, 1:])[0, 1]) < 0.06
    assert (noise[0] != noise[1]).any()


@pytest.mark.parametrize(("name", "measure"), cases())
def test_silence_is_measured_as_finite_values(name, measure):
    silent = np.zeros(SHAPES[measure], dtype=np.float32)
    found = modalities.get(name).measure(silent, noise_sd=0.2, rng=np.random.default_rng(0))
    assert found.shape == silent.shape
    assert np.isfinite(found).all()
