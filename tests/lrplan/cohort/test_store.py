"""Opening cohorts: whole ones, and each way in which one can be broken."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from lrplan import DataError, Design, UsageError, open_cohort, record
from lrplan.cohort import as_cohort
from lrplan.cohort.format import attributes_digest, sha256, zip_directory


def copy(cohort, tmp_path, *, zipped=False):
    target = tmp_path / "copy.zarr"
    shutil.copytree(cohort.path, target)
    if zipped:
        zip_directory(target, tmp_path / "copy.zip")
        return tmp_path / "copy.zip"
    return target


def all_data(cohort):
    everything = np.arange(cohort.population_table.sizes["population"])
    return {
        m: cohort.read(m, everything, range(cohort.checkpoints))
        for m in ("activity", "weights", "paired")
    }


def test_a_zip_holds_what_its_directory_holds(separable, tmp_path):
    zipped = open_cohort(copy(separable, tmp_path, zipped=True))
    assert zipped.organism_ids == separable.organism_ids
    for measure, values in all_data(separable).items():
        np.testing.assert_array_equal(all_data(zipped)[measure], values)


def test_xarray_opens_the_tree_with_words_of_the_design(separable):
    tree = separable.tree
    assert tree["responses/responses"].dims == ("population", "checkpoint", "stimulus", "unit")
    for group in tree.children.values():
        for name, variable in group.data_vars.items():
            assert variable.attrs["long_name"], name
            assert variable.attrs["units"], name


def test_the_summary_counts_organisms(separable):
    info = separable.info()
    assert info["organisms"] == 48
    assert info["by_rule"] == dict.fromkeys(separable.rules, 12)
    assert info["units_stored"] == 40
    assert info["bytes"] == sum(p.stat().st_size for p in separable.path.rglob("*") if p.is_file())
    json.dumps(info, allow_nan=False)
    assert len(separable.organism_table()) == 48
    json.dumps(separable.organism_table(), allow_nan=False)


def test_settings_compare_between_rules(separable):
    assert set(separable.settings) == {"batch 64, learning rate 1", "batch 64, learning rate 2"}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nothing.zarr", "no cohort at"),
        ("file.txt", "neither a Zarr directory nor a zip"),
        ("empty", "has no zarr.json"),
        ("startr", "nearest: starter"),
    ],
)
def test_what_is_no_cohort_is_named(tmp_path, name, said, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("file.txt").write_text("hello")
    Path("empty").mkdir()
    with pytest.raises(DataError, match=said):
        open_cohort(name)


def test_an_unfinished_cohort_says_how_to_finish_it(tmp_path):
    partial = tmp_path / "c.zarr.partial"
    partial.mkdir()
    (partial / "0.npz").touch()
    with pytest.raises(DataError, match="unfinished: 1 organisms"):
        open_cohort(tmp_path / "c.zarr")


def change_root(path, **attributes):
    document = json.loads((path / "zarr.json").read_text())
    document["attributes"] |= attributes
    document["attributes"]["attributes_sha256"] = attributes_digest(document["attributes"])
    (path / "zarr.json").write_text(json.dumps(document))


def test_a_newer_format_is_refused(separable, tmp_path):
    path = copy(separable, tmp_path)
    change_root(path, format_version=2)
    with pytest.raises(DataError, match="format 2.*Update lrplan"):
        open_cohort(path)


def test_a_zarr_store_of_something_else_is_refused(separable, tmp_path):
    path = copy(separable, tmp_path)
    change_root(path, format="other")
    with pytest.raises(DataError, match="not an lrplan cohort"):
        open_cohort(path)


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("seed", range(12))
def test_a_flipped_bit_is_an_error_wherever_it_is(separable, tmp_path, zipped, seed):
    path = copy(separable, tmp_path, zipped=zipped)
    rng = np.random.default_rng(seed)
    if zipped:
        # Flips in the archive's own padding cannot be told; those in content must be.
        victim, skip = path, 200
    else:
        files = sorted(p for p in path.rglob("*") if p.is_file() and p.stat().st_size)
        victim, skip = files[rng.integers(len(files))], 0
    content = bytearray(victim.read_bytes())
    content[rng.integers(skip, len(content) - skip)] ^= 1 << int(rng.integers(8))
    before = all_data(separable)
    victim.write_bytes(bytes(content))
    try:
        cohort = open_cohort(path)
        after = all_data(cohort)
        cohort.read_variable("observables", "observables")
        cohort.read_variable("behaviour", "loss")
    except DataError as error:
        assert "\n" not in str(error)
        assert "damaged" in str(error) or "missing" in str(error) or "not a cohort" in str(error)
    else:
        assert zipped, f"a flip in {victim} went unnoticed"
        for measure, values in before.items():
            np.testing.assert_array_equal(after[measure], values)


def test_a_damaged_chunk_is_named(separable, tmp_path):
    path = copy(separable, tmp_path)
    chunk = path / "responses" / "responses" / "c" / "0" / "0" / "0" / "0"
    content = bytearray(chunk.read_bytes())
    content[len(content) // 2] ^= 1
    chunk.write_bytes(bytes(content))
    with pytest.raises(DataError, match="chunk responses/responses/c/0/0/0/0 is damaged"):
        record(open_cohort(path), Design(units=10), rng=np.random.default_rng(0))


def test_a_missing_chunk_is_not_read_as_zeros(separable, tmp_path):
    path = copy(separable, tmp_path)
    (path / "responses" / "responses" / "c" / "0" / "0" / "0" / "0").unlink()
    with pytest.raises(DataError, match="responses/responses/c/0/0/0/0 is missing"):
        open_cohort(path)


def test_a_measure_that_is_not_stored_is_named(tmp_path, separable):
    path = copy(separable, tmp_path)
    shutil.rmtree(path / "synapses")
    document = json.loads((path / "zarr.json").read_text())
    kept = {
        k: v
        for k, v in document["attributes"]["metadata_sha256"].items()
        if not k.startswith("synapses")
    }
    change_root(path, metadata_sha256=kept)
    with pytest.raises(DataError, match="stores no synapses, which 'weights' needs"):
        record(open_cohort(path), Design(units=5, measure="weights"), rng=np.random.default_rng(0))


def test_half_precision_holds_the_same_as_eight_bits_within_its_scale(tmp_path, make_cohort):
    coarse = all_data(make_cohort(tmp_path / "8.zarr", effect=1.0, per_rule=2, bits=8))
    fine = all_data(make_cohort(tmp_path / "16.zarr", effect=1.0, per_rule=2, bits=16))
    for measure, values in fine.items():
        span = values.max() - values.min()
        assert np.abs(coarse[measure] - values).max() < 0.01 * span
        assert ((coarse[measure] == 0) >= (values == 0)).all()


def test_metadata_without_checksums_is_refused(separable, tmp_path):
    path = copy(separable, tmp_path)
    change_root(path, metadata_sha256=None)
    with pytest.raises(DataError, match="there are no checksums of the metadata"):
        open_cohort(path)


def test_groups_that_disagree_on_their_sizes_are_refused(separable, tmp_path, make_cohort):
    path = copy(separable, tmp_path)
    other = make_cohort(tmp_path / "other.zarr", effect=1.0, checkpoints=4)
    shutil.rmtree(path / "behaviour")
    shutil.copytree(other.path / "behaviour", path / "behaviour")
    digests = separable.attributes["metadata_sha256"] | {
        k: v for k, v in other.attributes["metadata_sha256"].items() if k.startswith("behaviour")
    }
    change_root(path, metadata_sha256=digests)
    with pytest.raises(DataError, match="checkpoint has several sizes: 4 in behaviour.*; 5 in"):
        open_cohort(path)


@pytest.mark.parametrize("wrong", [5, None, b"starter", ["starter"], ""])
def test_what_is_neither_cohort_nor_name_nor_path_is_said(wrong):
    for opens in (open_cohort, as_cohort):
        with pytest.raises(UsageError, match="expected a name .starter. or the path"):
            opens(wrong)


def test_a_cohort_is_taken_as_it_is_or_by_name(separable):
    assert as_cohort(separable) is separable
    assert as_cohort(str(separable.path)).organism_ids == separable.organism_ids
    assert as_cohort(separable.path).organism_ids == separable.organism_ids


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda c: c.stored_units("activty"), "unknown measure 'activty'; nearest: activity"),
        (lambda c: c.stores_units(3), "unknown measure 3; known: activity"),
        (lambda c: c.stored_sides(["activity"]), "unknown measure"),
        (lambda c: c.read("foo", np.array([0]), [0]), "unknown measure 'foo'"),
        (lambda c: c.read("activity", np.array([96]), [0]), "no population 96.*0 to 95"),
        (lambda c: c.read("activity", np.array([-1]), [0]), "no population -1"),
        (lambda c: c.read("activity", np.array([0]), [5]), "no checkpoint 5.*0 to 4"),
        (lambda c: c.read("activity", ["fc1"], [0]), "population.*'fc1'.*whole numbers"),
        (lambda c: c.labels(np.array([1000])), "no population 1000"),
        (lambda c: c.stored_observables(["act_raw_mean"], [0], [9]), "no checkpoint 9"),
        (lambda c: c.usable_populations("top"), "unknown position 'top'"),
    ],
)
def test_names_and_places_that_do_not_exist_are_told(separable, call, said):
    with pytest.raises(UsageError, match=said):
        call(separable)


def test_a_notebook_shows_a_cohort(separable, make_cohort, tmp_path):
    assert repr(separable) == (
        "<Cohort 'made': 48 organisms of 4 rules, 96 populations, 5 checkpoints>"
    )
    assert separable.summary().startswith("Cohort made (format 1): 48 organisms, 0 diverged, 96")
    assert separable._repr_html_().count("<table>") == 2
    hostile = make_cohort(tmp_path / "h.zarr", effect=1.0, per_rule=4, rules=("<b>&", "adam"))
    assert "&lt;b&gt;&amp;" in hostile._repr_html_() and "<b>" not in hostile._repr_html_()


def test_a_cohort_is_a_table_of_its_organisms(separable):
    table = separable.to_dataframe()
    assert table.index.tolist() == separable.organism_ids
    assert table.loc[separable.organism_ids[5], "rule"] == "sgdm"
    assert table["layers"].iloc[0] == ["fc1", "fc2"]
    np.testing.assert_allclose(table["final_performance"], separable.final_performance())


def test_families_are_labels(tmp_path, make_cohort):
    cohort = make_cohort(tmp_path / "c.zarr", effect=1.0, architectures=("knet4_lrn", "resnet18"))
    labels = cohort.labels(np.arange(4))
    assert labels["family"].tolist() == ["knet", "knet", "resnet", "resnet"]


def test_a_code_without_a_meaning_is_refused(separable, tmp_path):
    path = copy(separable, tmp_path)
    place = path / "organisms/rule/zarr.json"
    document = json.loads(place.read_text())
    document["attributes"]["flag_meanings"] = "adam sgdm"
    place.write_text(json.dumps(document))
    digests = separable.attributes["metadata_sha256"]
    change_root(
        path, metadata_sha256=digests | {"organisms/rule/zarr.json": sha256(place.read_bytes())}
    )
    with pytest.raises(DataError, match="organisms/rule has codes without a meaning; there are 2"):
        open_cohort(path)
