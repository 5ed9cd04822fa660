"""The cohort on disk: what is coded, what another tool sees, the same bytes each time."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
import zarr

from lrplan.cohort import format as schema
from lrplan.cohort.check import check
from lrplan.cohort.store import open_cohort
from lrplan.errors import DataError
from lrplan.simulate.run.pack import pack, part_bytes, read_part

DIMS = {
    "responses": ("population", "checkpoint", "stimulus", "unit"),
    "synapses": ("population", "checkpoint", "synapse"),
    "paired": ("population", "checkpoint", "stimulus", "post", "pre"),
    "observables": ("population", "checkpoint", "observable"),
}


@pytest.fixture(scope="session")
def packed(tiny, parts, tmp_path_factory):
    out = tmp_path_factory.mktemp("packed") / "tiny.zarr"
    pack(tiny, parts, out, {"device": "cpu"})
    return out


@pytest.mark.parametrize("kind", ["sparse", "normal", "positive", "negative", "large", "small"])
def test_codes_round_trip_within_half_a_step(kind):
    rng = np.random.default_rng(0)
    values = rng.standard_normal((3, 4, 5, 60)).astype(np.float32)
    values = {
        "sparse": np.maximum(values - 1, 0),
        "normal": values,
        "positive": np.abs(values) + 3,
        "negative": -np.abs(values) - 3,
        "large": values * 1e4,
        "small": values * 1e-6,
    }[kind]
    codes, scale, offset = schema.encode(values)
    assert codes.dtype == np.uint8
    assert scale.shape == offset.shape == (3, 4)
    back = schema.decode(codes, scale, offset)
    half = scale[..., None, None] / 2
    assert (np.abs(back - values) <= half * (1 + 1e-4)).all()
    assert (back[values == 0] == 0).all()
    if kind == "sparse":
        assert (values == 0).mean() > 0.5
    # Each (population, checkpoint) has a scale of its own.
    assert len(np.unique(scale)) == 12


@pytest.mark.parametrize("bits", schema.BITS)
def test_steps_are_a_share_of_the_standard_deviation(bits):
    values = np.random.default_rng(0).standard_normal((2, 3, 8, 50)) * [[[[2.0]]], [[[5.0]]]]
    codes, scale, offset = schema.encode(values, bits)
    wanted = 8 * values.std(axis=(2, 3)) / 2**bits
    if bits < 8:
        np.testing.assert_allclose(scale, wanted, rtol=1e-6)
    # The range counts where it would not fit into the codes.
    assert (scale >= wanted * (1 - 1e-6)).all()
    assert codes.max() < schema.MISSING
    zero = np.rint(-offset / scale)
    assert (zero == zero[:, :1]).all()
    outlier = values.copy()
    outlier[..., 0, 0] = 1e4
    back = schema.decode(*schema.encode(outlier, bits))
    np.testing.assert_allclose(back[..., 0, 0], 1e4, rtol=1e-2)


def test_zero_stays_zero_wherever_it_lies():
    for shift in np.linspace(-1, 1, 41):
        values = np.linspace(-1, 1, 100, dtype=np.float32)[None, None] + np.float32(shift)
        values[..., ::7] = 0
        back = schema.decode(*schema.encode(values))
        assert (back[values == 0] == 0).all()


def test_constants_and_gaps():
    values = np.zeros((2, 3, 8), dtype=np.float32)
    values[0, 1] = 2.5
    values[1, 0, 3] = np.nan
    values[1, 1] = np.nan
    values[1, 2, 0] = np.inf
    codes, scale, offset = schema.encode(values)
    back = schema.decode(codes, scale, offset)
    assert np.array_equal(back[0, 0], values[0, 0])
    np.testing.assert_allclose(back[0, 1], 2.5, rtol=1e-6)
    assert np.array_equal(np.isnan(back), ~np.isfinite(values))
    assert (codes[~np.isfinite(values)] == schema.MISSING).all()


def test_xarray_alone_opens_the_tree(packed, tiny, trained):
    with xr.open_datatree(packed, engine="zarr", consolidated=False) as tree:
        expected = {v.group for v in schema.VARIABLES}
        assert set(tree.children) == expected
        organisms, populations = len(tiny.specs), sum(len(t.populations) for t in trained)
        sizes = {
            "organism": organisms,
            "population": populations,
            "checkpoint": 3,
            "stimulus": 3,
            "unit": 20,
            "synapse": 24,
            "post": 4,
            "pre": 4,
            "observable": 45,
        }
        seen = set()
        for variable in schema.VARIABLES:
            dataset = tree[variable.group].to_dataset()
            found = dataset[variable.name]
            assert found.dims == variable.dims, variable
            for dim, size in found.sizes.items():
                if (variable.name, dim) != ("paired", "stimulus"):
                    assert size == sizes[dim], (variable, dim)
            assert found.attrs["long_name"] == variable.long_name
            assert found.attrs["units"] == variable.units
            seen.add((variable.group, variable.name))
        assert seen == {
            (group, name) for group, node in tree.children.items() for name in node.variables
        }
        for name, dims in DIMS.items():
            assert tree[name][name].dims == dims
        assert tree["paired"]["paired"].sizes["stimulus"] == 2
        rule = tree["organisms"]["rule"]
        meanings = rule.attrs["flag_meanings"].split()
        assert len(meanings) == len(rule.attrs["flag_values"])
        assert [meanings[code] for code in rule.values] == [s.rule for s in tiny.specs]
        assert list(tree["organisms"]["id"].values) == [s.hash for s in tiny.specs]
        assert tree.attrs["recipe"] == tiny.text
        assert tree.attrs["format"] == "lrplan-cohort"
        assert tree.attrs["device"] == "cpu"


def test_what_was_trained_is_what_is_read(packed, tiny, trained):
    root = zarr.open_group(str(packed), mode="r")

    def read(group, name):
        array = root[f"{group}/{name}"]
        assert isinstance(array, zarr.Array)
        return np.asarray(array[...])

    assert (
        read("populations", "organism").tolist()
        == np.repeat(np.arange(len(trained)), [len(t.populations) for t in trained]).tolist()
    )
    for name in ("responses", "synapses", "paired"):
        parts = [read(name, name + part) for part in ("", "_scale", "_offset")]
        codes, scale, offset = parts
        found = schema.decode(codes, scale, offset)
        expected = np.concatenate([t.arrays[name] for t in trained])
        assert np.array_equal(np.isnan(found), np.isnan(expected)), name
        # Half a step of the codes, and half precision before that.
        step = scale.reshape(*scale.shape, *[1] * (found.ndim - 2))
        error = np.abs(np.nan_to_num(found - expected))
        assert (error <= step * 0.5 + np.abs(np.nan_to_num(expected)) * 2**-10 + 1e-7).all(), name
    expected = np.concatenate([t.arrays["observables"] for t in trained])
    np.testing.assert_array_equal(read("observables", "observables"), expected)
    for name in ("performance", "loss", "examples", "chance", "held_out"):
        expected = np.stack([t.arrays[name] for t in trained])
        np.testing.assert_array_equal(read("behaviour", name), expected)
    assert read("organisms", "finished").all()
    assert not read("organisms", "diverged").any()


def test_units_that_a_layer_lacks_are_missing(packed, trained):
    """Layers of 16 units, of which 20 were asked: the last 4 are gaps, and only they."""
    root = zarr.open_group(str(packed), mode="r")
    codes = np.asarray(root["responses/responses"][...])  # type: ignore[index]
    units = np.asarray(root["populations/units"][...])  # type: ignore[index]
    for i, held in enumerate(units):
        assert (codes[i, ..., min(held, 20) :] == schema.MISSING).all()
        assert (codes[i, ..., : min(held, 20)] != schema.MISSING).all()
    assert (units == 16).any()


def test_one_file_holds_the_same_bytes_each_time(packed, tiny, parts, tmp_path, assert_same_cohort):
    one, other = tmp_path / "one.zarr.zip", tmp_path / "other.zarr.zip"
    pack(tiny, parts, one, {"device": "cpu"})
    pack(tiny, parts, other, {"device": "cpu"})
    assert one.read_bytes() == other.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one.zarr.zip", "other.zarr.zip"]
    shutil.unpack_archive(one, tmp_path / "unpacked", "zip")
    assert_same_cohort(tmp_path / "unpacked", packed)


def test_fewer_bits_take_less_room(tiny, parts, trained, tmp_path):
    sizes = []
    for bits in (8, 5):
        out = tmp_path / f"{bits}.zarr.zip"
        recipe = replace(tiny, storage=replace(tiny.storage, bits=bits))
        pack(recipe, parts, out)
        cohort = open_cohort(out)
        assert check(out).sound
        for name in schema.CODED:
            assert cohort.variables[name, name].attrs["bits"] == bits
        found = cohort.read("activity", np.arange(cohort.population_table.sizes["population"]), [2])
        expected = np.concatenate([t.arrays["responses"] for t in trained])[:, 2:]
        scale = cohort.read_variable("responses", "responses_scale")[:, 2:, None, None]
        error = np.abs(np.nan_to_num(found - expected))
        assert (error <= 0.5 * scale + 2**-10 * np.abs(np.nan_to_num(expected)) + 1e-7).all()
        sizes.append(out.stat().st_size)
    assert sizes[1] < sizes[0]


def test_half_precision_keeps_the_values_themselves(tiny, parts, trained, tmp_path):
    recipe = replace(tiny, storage=replace(tiny.storage, bits=16))
    pack(recipe, parts, tmp_path / "half.zarr", {})
    root = zarr.open_group(str(tmp_path / "half.zarr"), mode="r")
    found = root["responses/responses"]
    assert isinstance(found, zarr.Array)
    assert found.dtype == np.float16
    assert "responses/responses_scale" not in root
    expected = np.concatenate([t.arrays["responses"] for t in trained]).astype(np.float16)
    np.testing.assert_array_equal(found[...], expected)


def test_a_flipped_byte_is_an_error_of_the_codec(packed, tmp_path):
    copy = tmp_path / "copy.zarr"
    shutil.copytree(packed, copy)
    chunk = next(
        p for p in sorted((copy / "synapses" / "synapses" / "c").rglob("*")) if p.is_file()
    )
    content = bytearray(chunk.read_bytes())
    content[len(content) // 2] ^= 1
    chunk.write_bytes(content)
    array = zarr.open_group(str(copy), mode="r")["synapses/synapses"]
    assert isinstance(array, zarr.Array)
    with pytest.raises(ValueError, match="checksum"):
        array[...]


def test_a_part_comes_back_as_it_was_written(trained, tmp_path):
    (tmp_path / "part").write_bytes(part_bytes(trained[0]))
    meta, arrays = read_part(tmp_path / "part")
    assert meta["populations"] == [vars(p) for p in trained[0].populations]
    np.testing.assert_array_equal(arrays["observables"], trained[0].arrays["observables"])
    np.testing.assert_allclose(arrays["responses"], trained[0].arrays["responses"], rtol=2**-10)


def test_what_performance_is_compared_with_comes_from_the_task(trained):
    """Of the 360 digits that are held out 37 are of the most frequent class."""
    for one in trained:
        assert (one.arrays["chance"], one.arrays["held_out"]) == (37 / 360, 360)


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "text"])
def test_a_damaged_part_is_named(parts, tmp_path, damage):
    content = parts[0].read_bytes()
    at = content.index(b"responses.npy") + 2000
    path = tmp_path / "part.npz"
    path.write_bytes(
        {
            "flip": content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :],
            "cut": content[: len(content) // 2],
            "empty": b"",
            "text": b"not a part",
        }[damage]
    )
    with pytest.raises(DataError, match=r"part\.npz is damaged.*remove it"):
        read_part(path)
