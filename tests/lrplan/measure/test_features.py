"""Features: scale-free where they should be, and blind to what carries no meaning."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from lrplan import Design, Recording, UsageError, record
from lrplan.measure.features import features
from lrplan.measure.recording import DIMS


def made(measure, values, **coords):
    data = xr.Dataset({measure: (DIMS[measure], values.astype(np.float32))})
    data = data.assign_coords({k: ("population", v) for k, v in coords.items()})
    return Recording(data, "made")


SHAPES = {"activity": (3, 4, 5, 20), "weights": (3, 4, 50), "paired": (3, 4, 2, 6, 7)}


@pytest.mark.parametrize("measure", SHAPES)
def test_relative_features_do_not_depend_on_the_unit_of_activity(measure):
    values = np.random.default_rng(0).standard_normal(SHAPES[measure])
    one = features(made(measure, values), with_position=False).values
    other = features(made(measure, 1000 * values), with_position=False).values
    np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)
    raw = features(made(measure, 1000 * values), scaling="raw", with_position=False).values
    assert np.abs(raw).max() > 100 * np.abs(other).max()


@pytest.mark.parametrize("measure", ["activity", "weights"])
def test_features_do_not_depend_on_the_order_of_units(measure):
    rng = np.random.default_rng(0)
    values = rng.standard_normal(SHAPES[measure])
    shuffled = rng.permuted(values, axis=-1)
    if measure == "activity":
        shuffled = values[..., rng.permutation(values.shape[-1])]
    one = features(made(measure, values), with_position=False).values
    other = features(made(measure, shuffled), with_position=False).values
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_names_and_columns_agree(separable):
    recording = record(separable, Design(units=20), rng=np.random.default_rng(0))
    table = features(recording)
    assert table.values.shape == (96, 5 * 21 + 3) == (96, len(table.names))
    column = table.values[:, table.names.index("position_deep")]
    np.testing.assert_array_equal(column, recording.data["position"].values == "deep")
    # The first session's root mean square is the unit of relative features.
    np.testing.assert_allclose(table.values[:, table.names.index("act_raw_norm@0")], 1, atol=0.2)


def test_padding_of_small_populations_is_no_data():
    values = np.random.default_rng(0).standard_normal((3, 4, 5, 20)).astype(np.float32)
    values[1, ..., 12:] = np.nan
    table = features(made("activity", values), with_position=False).values
    alone = features(made("activity", values[1:2, ..., :12]), with_position=False).values
    assert np.isfinite(table).all()
    np.testing.assert_allclose(table[1], alone[0], rtol=1e-5)


def test_a_silent_population_has_finite_features():
    table = features(made("activity", np.zeros((2, 3, 4, 5))), with_position=False)
    assert np.isfinite(table.values).all()


def test_an_unknown_position_is_said():
    with pytest.raises(UsageError, match="position"):
        features(made("activity", np.ones((1, 2, 3, 4))))
