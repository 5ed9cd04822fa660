"""What every observable keeps to."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lrplan.measure.observables import all_observables, families
from lrplan.terms import MEASURES

SHAPES = {"activity": (2, 3, 5, 40), "weights": (2, 3, 60), "paired": (2, 3, 5, 8, 9)}
UNIT_AXES = {"activity": (-1,), "weights": (-1,), "paired": (-2, -1)}


@pytest.fixture(params=families.names())
def family(request):
    return families.get(request.param)


def draw(family, seed=0):
    return np.random.default_rng(seed).standard_normal(SHAPES[family.measure])


def test_names_are_unique_and_45_are_the_papers():
    names = [o.name for _, o in all_observables()]
    assert len(names) == len(set(names))
    paper = {"act": 21, "grad": 3, "weight": 21}
    assert {n: len(families.get(n).observables) for n in paper} == paper


def test_a_family_says_what_it_is(family):
    assert family.measure in MEASURES
    assert family.cites.strip()
    assert families.get(family.name) is family
    for o in family.observables:
        assert o.name.startswith(family.name + "_")
        assert o.summary.strip()
        assert isinstance(o.degree, int)


def test_the_last_axis_is_the_observable(family):
    values = draw(family)
    found = family.compute(values)
    assert found.shape == (2, 3, len(family.observables))
    assert np.isfinite(found).all()
    assert family.scale(values).shape == (2, 3)
    # Leading axes are a batch: each recording is computed from itself.
    for i in range(2):
        np.testing.assert_allclose(family.compute(values[i]), found[i], rtol=1e-12)


def test_the_order_of_units_does_not_matter(family):
    values = draw(family)
    expected = family.compute(values)
    rng = np.random.default_rng(1)
    for axis in UNIT_AXES[family.measure]:
        order = rng.permutation(values.shape[axis])
        shuffled = np.take(values, order, axis=axis)
        np.testing.assert_allclose(family.compute(shuffled), expected, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(family.scale(shuffled), family.scale(values), rtol=1e-12)


@pytest.mark.parametrize("factor", [1e-3, 0.5, 7.0, 1e3])
def test_the_degree_is_the_power_of_the_unit(family, factor):
    values = draw(family)
    degrees = np.array([o.degree for o in family.observables])
    expected = family.compute(values) * factor ** degrees.astype(float)
    np.testing.assert_allclose(family.compute(factor * values), expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(
        family.scale(factor * values), factor * family.scale(values), rtol=1e-12
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numpy_and_torch_agree(family, dtype):
    values = draw(family).astype(dtype)
    tolerance = {"rtol": 1e-10} if dtype == np.float64 else {"rtol": 2e-4, "atol": 1e-5}
    for function in (family.compute, family.scale):
        ours = function(values)
        theirs = function(torch.from_numpy(values))
        assert isinstance(theirs, torch.Tensor)
        assert theirs.numpy().dtype == ours.dtype == dtype
        np.testing.assert_allclose(theirs.numpy(), ours, **tolerance)


@pytest.mark.parametrize("value", [0.0, 1.0, -2.5, 1e-12, 1e5])
def test_constants_give_finite_values(family, value):
    values = np.full(SHAPES[family.measure], value, dtype=np.float32)
    assert np.isfinite(family.compute(values)).all()
    assert np.isfinite(family.compute(torch.from_numpy(values)).numpy()).all()
    if value == 0:
        assert (family.compute(values) == 0).all()


def test_one_silent_stimulus_and_one_active_unit_give_finite_values(family):
    values = np.zeros(SHAPES[family.measure], dtype=np.float32)
    values[..., 0] = 1
    assert np.isfinite(family.compute(values)).all()
    single = draw(family)[..., :1]
    assert np.isfinite(family.compute(single)).all()


def test_the_input_is_not_changed(family):
    values = draw(family)
    before = values.copy()
    family.compute(values)
    np.testing.assert_array_equal(values, before)


def test_a_paired_family_gives_the_same_from_the_summed_change(family):
    if family.measure != "paired":
        pytest.skip("only paired families take sums")
    assert family.compute_total is not None, "whole layers have too many pairs without it"
    values = draw(family)
    total = values.sum(axis=-2)
    found = family.compute_total(total, values.shape[-2])
    np.testing.assert_allclose(found, family.compute(values), rtol=1e-12)
