"""Checking cohorts: a sound one passes, and each way to be unsound is found and named."""

from __future__ import annotations

import json
import shutil
import zipfile

import numpy as np
import pytest

from lrplan import DataError, open_cohort
from lrplan.cohort.check import check
from lrplan.cohort.format import CohortWriter, zip_directory


@pytest.fixture
def copy(tiny_cohort_path, tmp_path):
    """A sound cohort to be broken."""
    path = tmp_path / "copy.zarr"
    shutil.copytree(tiny_cohort_path, path)
    return path


def rewritten(source, path, changes=None, *, leave_out=()):
    """Write a cohort whose checksums are right and whose content is changed.

    Parameters
    ----------
    changes : dict of (group, name) to a function of the values
        Categories are changed as codes.
    """
    changes = changes or {}
    cohort = open_cohort(source)
    writer = CohortWriter(path, {"name": "rewritten", "recipe": ""})
    for key, array in cohort.variables.items():
        if key in leave_out:
            continue
        values = cohort.read_variable(*key)
        if key in changes:
            values = changes[key](values.copy())
        flags = {k: v for k, v in dict(array.attrs).items() if k.startswith("flag_")}
        writer.write(*key, values, flags)
    writer.close()
    return path


def put(index, value):
    def change(values):
        values[index] = value
        return values

    return change


def faults(path):
    out = {}
    for f in check(path).findings:
        if f.level == "fault":
            out[f.where] = f"{out[f.where]} | {f.what}" if f.where in out else f.what
    return out


def remarks(path):
    return {f.where: f.what for f in check(path).findings if f.level == "remark"}


def test_a_sound_cohort(tiny_cohort_path, tmp_path):
    found = check(tiny_cohort_path)
    assert found.sound and found.findings == []
    assert (found.organisms, found.populations) == (24, 72)
    assert found.bytes == open_cohort(tiny_cohort_path).info()["bytes"]
    files = [p for p in tiny_cohort_path.rglob("*") if p.is_file()]
    assert found.chunks == len([p for p in files if p.name != "zarr.json"])
    zipped = tmp_path / "copy.zip"
    zip_directory(tiny_cohort_path, zipped)
    assert check(zipped).sound
    assert check(zipped).chunks == found.chunks
    assert check(rewritten(tiny_cohort_path, tmp_path / "again.zarr")).sound


def test_everything_that_is_broken_is_listed_at_once(copy):
    chunk = copy / "responses/responses/c/0/0/0/0"
    content = bytearray(chunk.read_bytes())
    content[100] ^= 1
    chunk.write_bytes(content)
    (copy / "synapses/synapses/c/0/0/0").unlink()
    metadata = copy / "behaviour/loss/zarr.json"
    metadata.write_bytes(metadata.read_bytes() + b" ")
    (copy / "notes.txt").write_text("mine")
    found = faults(copy)
    assert "checksum" in found["responses/responses/c/0/0/0/0"]
    assert found["synapses/synapses"] == "lacks 1 chunks (c/0/0/0)"
    assert found["behaviour/loss/zarr.json"] == "differs from its checksum"
    assert len(found) == 3
    assert "notes.txt" in remarks(copy)


@pytest.mark.parametrize("name", ["organisms/rule", "observables/observables", "responses"])
def test_metadata_that_is_missing(copy, name):
    (copy / name / "zarr.json").unlink()
    assert faults(copy)[f"{name}/zarr.json"] == "is missing"


def test_root_attributes_that_were_edited(copy):
    path = copy / "zarr.json"
    document = json.loads(path.read_text())
    document["attributes"]["device"] = "abacus"
    path.write_text(json.dumps(document))
    assert faults(copy) == {"zarr.json": "the root attributes differ from their checksum"}


def test_files_that_are_there_twice_in_a_zip(tiny_cohort_path, tmp_path):
    path = tmp_path / "copy.zip"
    zip_directory(tiny_cohort_path, path)
    name = "organisms/rule/c/0"
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr(name, archive.read(name))
    assert faults(path)[name] == "is in the zip file more than once"


ORG, POP = "organisms", "populations"


@pytest.mark.parametrize(
    ("key", "change", "where", "said"),
    [
        ((ORG, "rule"), put(3, 9), "organisms/rule", "1 codes have no meaning: 9; there are 4"),
        ((ORG, "task"), put(0, -1), "organisms/task", "codes have no meaning: -1"),
        ((POP, "layer_position"), put(0, 5), "populations/layer_position", "no meaning"),
        ((ORG, "id"), put(0, "f" * 16), "organisms/id", "1 are not the hash of their spec: ffff"),
        ((ORG, "batch_size"), put(2, 65), "organisms/batch_size", "have another in their spec"),
        ((ORG, "rule"), lambda v: (v + 1) % 4, "organisms/rule", "24 organisms have another"),
        ((ORG, "spec"), put(1, "{"), "organisms/spec", "1 are no JSON object"),
        ((ORG, "finished"), put(1, 0), "organisms/finished", "1 organisms are not trained"),
        ((POP, "organism"), put(71, 24), "populations/organism", "1 populations belong to no"),
        ((POP, "organism"), put(5, -1), "populations/organism", "belong to no organism"),
        ((POP, "organism"), lambda v: v[::-1].copy(), "populations/organism", "order"),
        ((POP, "organism"), lambda v: np.minimum(v, 22), "populations/organism", "no population"),
        ((POP, "layer"), put(1, "fc1"), "populations/organism", "layers are there twice"),
        ((POP, "units"), put(1, 0), "populations/units", "smaller than 1"),
        ((POP, "units"), put(1, 5), "responses/responses", "hold values of more units"),
        (
            ("responses", "responses"),
            put((7, 2, 1, 3), 255),
            "responses/responses",
            "1 populations lack values of units that they have: population 7",
        ),
        (
            ("behaviour", "performance"),
            put((4, 0), 1.5),
            "behaviour/performance",
            "1 rows lie outside 0 to 1: row 4",
        ),
        (("responses", "responses_scale"), put((0, 0), -1), "responses/responses_scale", "outside"),
        (("paired", "paired_offset"), put((0, 0), np.nan), "paired/paired_offset", "hold NaN"),
        (
            ("observables", "observables"),
            put((8, 1, 3), np.inf),
            "observables/observables",
            "1 observables are not finite in 1 populations of 1 organisms: act_raw_skew; not all",
        ),
        (("behaviour", "loss"), lambda v: v[:, :4], "checkpoint", "5 in "),
        (("synapses", "synapses_scale"), lambda v: v[:, :3], "checkpoint", "has several sizes"),
        ((POP, "layer"), lambda v: v[:70], "population", "has several sizes"),
        (("observables", "observable"), lambda v: v[:44], "observable", "44 in "),
        (("synapses", "synapses"), lambda v: v.astype("f4"), "synapses/synapses", "float32"),
    ],
)
def test_each_way_to_be_wrong(tiny_cohort_path, tmp_path, key, change, where, said):
    path = rewritten(tiny_cohort_path, tmp_path / "x.zarr", {key: change})
    assert said in faults(path)[where]


def test_two_organisms_of_one_id(tiny_cohort_path, tmp_path):
    changes = {
        (ORG, name): put(1, open_cohort(tiny_cohort_path).organisms[name].values[0])
        for name in ("id", "spec")
    }
    path = rewritten(tiny_cohort_path, tmp_path / "x.zarr", changes)
    assert "1 organisms are there twice" in faults(path)["organisms/id"]


def test_what_is_not_finite_is_no_fault_of_a_diverged_organism(tiny_cohort_path, tmp_path):
    changes = {
        ("observables", "observables"): put((8, 1, 3), np.inf),
        (ORG, "diverged"): put(8 // 3, 1),
        ("responses", "responses"): put((7, 2, 1, 3), 255),
    }
    path = rewritten(tiny_cohort_path, tmp_path / "x.zarr", changes)
    assert check(path).sound
    assert "act_raw_skew" in remarks(path)["observables/observables"]
    assert "1 organisms diverged" in remarks(path)["organisms/diverged"]


def test_variables_that_are_left_out(tiny_cohort_path, tmp_path):
    path = rewritten(
        tiny_cohort_path, tmp_path / "a.zarr", leave_out=[(ORG, "spec"), ("paired", "paired")]
    )
    assert remarks(path)["organisms/spec"] == "is not recorded"
    assert check(path).sound
    path = rewritten(
        tiny_cohort_path, tmp_path / "b.zarr", leave_out=[(ORG, "rule"), ("paired", "paired_scale")]
    )
    found = faults(path)
    assert found["organisms/rule"] == "is missing"
    assert found["paired/paired"] == "is in 8 bits, but has no scale and offset"


def test_half_precision_is_checked_too(make_cohort, tmp_path):
    cohort = make_cohort(tmp_path / "a.zarr", effect=1.0, per_rule=2, bits=16, small=1)
    found = faults(cohort.path)
    assert list(found) == ["organisms/id"]
    path = rewritten(
        cohort.path, tmp_path / "b.zarr", {("responses", "responses"): put((3, 0, 0, 0), np.inf)}
    )
    assert "1 populations hold infinite values" in faults(path)["responses/responses"]


def test_what_is_no_cohort_is_bad_data(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").write_text("hello")
    for name, said in (("no", "no cohort at"), ("empty", "no zarr.json"), ("text", "not a cohort")):
        with pytest.raises(DataError, match=said):
            check(tmp_path / name)
