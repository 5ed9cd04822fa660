"""What every modality keeps to."""

from __future__ import annotations

import numpy as np
import pytest

from lrplan.measure.modalities import modalities
from lrplan.terms import MEASURES

SHAPES = {"activity": (3, 40, 200), "weights": (3, 8000), "paired": (3, 4, 40, 50)}


def cases():
    return [(name, m) for name, entry in modalities.items() for m in entry.measures]


def signal(measure, seed=0):
    """Non-negative values, as rates are."""
    rng = np.random.default_rng(seed)
    return np.abs(rng.standard_normal(SHAPES[measure])).astype(np.float32)


def measure(name, given, *, noise_sd, rng, first=None):
    """Measure at one level of noise."""
    entry = modalities.get(name)
    first = given[0] if first is None else first
    [found] = entry.measure(given, noise_sd=[noise_sd], first=first, rng=rng)
    return found


@pytest.mark.parametrize("name", modalities.names())
def test_a_modality_says_what_it_is(name):
    entry = modalities.get(name)
    assert entry.summary.strip()
    assert entry.cites.strip()
    assert entry.measures
    assert set(entry.measures) <= set(MEASURES)


@pytest.mark.parametrize(("name", "kind"), cases())
@pytest.mark.parametrize("noise_sd", [0.0, 0.3])
def test_a_measurement_keeps_the_shape_and_its_input(name, kind, noise_sd):
    given = signal(kind)
    before = given.copy()
    found = measure(name, given, noise_sd=noise_sd, rng=np.random.default_rng(1))
    assert found.shape == given.shape
    assert found.dtype == np.float32
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(given, before)


@pytest.mark.parametrize(("name", "kind"), cases())
def test_a_measurement_comes_from_the_given_rng_alone(name, kind):
    np.random.seed(0)  # noqa: NPY002
    one = measure(name, signal(kind), noise_sd=0.3, rng=np.random.default_rng(5))
    np.random.seed(1)  # noqa: NPY002
    again = measure(name, signal(kind), noise_sd=0.3, rng=np.random.default_rng(5))
    other = measure(name, signal(kind), noise_sd=0.3, rng=np.random.default_rng(6))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()


@pytest.mark.parametrize(("name", "kind"), cases())
def test_without_noise_the_signal_itself_is_measured(name, kind):
    given = signal(kind)
    found = measure(name, given, noise_sd=0.0, rng=np.random.default_rng(1))
    np.testing.assert_array_equal(found, given)


@pytest.mark.parametrize(("name", "kind"), cases())
@pytest.mark.parametrize("noise_sd", [0.1, 0.5])
def test_the_noise_has_the_stated_size_and_no_bias(name, kind, noise_sd):
    """8,000 values: a root mean square is known to within 2 or 3 per cent."""
    given = signal(kind)
    found = measure(name, given, noise_sd=noise_sd, rng=np.random.default_rng(2))
    noise = (found - given).astype(np.float64)
    assert np.sqrt(np.mean(noise[0] ** 2)) == pytest.approx(noise_sd, rel=0.06)
    for session in noise:
        assert abs(session.mean()) < 5 * noise_sd / np.sqrt(session.size)
    # Independent of unit, stimulus and session.
    flat = noise.reshape(len(noise), -1)
    assert abs(np.corrcoef(flat)[0, 1]) < 0.06
    assert abs(np.corrcoef(flat[0, :-1], flat[0, 1:])[0, 1]) < 0.06
    assert (noise[0] != noise[1]).any()


@pytest.mark.parametrize(("name", "kind"), cases())
def test_silence_is_measured_as_finite_values(name, kind):
    silent = np.zeros(SHAPES[kind], dtype=np.float32)
    found = measure(name, silent, noise_sd=0.2, rng=np.random.default_rng(0))
    assert found.shape == silent.shape
    assert np.isfinite(found).all()


@pytest.mark.parametrize(("name", "kind"), cases())
def test_each_level_of_noise_is_measured_as_if_alone(name, kind):
    given = signal(kind)
    levels = [0.2, 0.0, 0.7]
    together = modalities.get(name).measure(
        given, noise_sd=levels, first=given[0], rng=np.random.default_rng(3)
    )
    for level, found in zip(levels, together, strict=True):
        alone = measure(name, given, noise_sd=level, rng=np.random.default_rng(3))
        np.testing.assert_array_equal(found, alone)


@pytest.mark.parametrize(("name", "kind"), cases())
def test_fewer_units_are_the_first_of_more(name, kind):
    given = signal(kind)
    everything = measure(name, given, noise_sd=0.4, rng=np.random.default_rng(4))
    some = measure(name, given[..., :7], noise_sd=0.4, first=given[0], rng=np.random.default_rng(4))
    np.testing.assert_array_equal(some, everything[..., :7])


@pytest.mark.parametrize(("name", "kind"), cases())
def test_what_is_missing_stays_missing(name, kind):
    given = signal(kind)
    given[1, ..., 3] = np.nan
    found = measure(name, given, noise_sd=0.4, rng=np.random.default_rng(5))
    np.testing.assert_array_equal(np.isnan(found), np.isnan(given))
