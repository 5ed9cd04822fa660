import json

import h5py
import numpy as np
import pytest

from lrplan.errors import DataError, UsageError
from lrplan.nwb import inspect_nwb, read_nwb

KEYS = {
    *("schema", "file", "sha256", "nwb_version", "session", "units", "roi_series", "intervals"),
    *("events", "tables", "signals", "chosen", "problems", "warnings"),
}


def test_it_lists_what_is_there_and_what_would_be_read(build):
    path = build(session="7")
    report = json.loads(json.dumps(inspect_nwb(path)))
    assert set(report) == KEYS and report["schema"] == "lrplan.inspect/1"
    assert report["session"] == {
        "start": "2024-01-01T10:00:00+00:00",
        "id": "7",
        "subject": "m1",
    }
    assert report["units"] == [{"path": "/units", "n": 2, "columns": ["spike_times"], "spikes": 35}]
    columns = {c["name"]: c for c in report["intervals"][0]["columns"]}
    assert columns["stimulus_name"] == {
        "name": "stimulus_name",
        "dtype": "text",
        "distinct": 2,
        "nan": 0,
        "example": "a",
    }
    assert report["chosen"]["label"] == "stimulus_name"
    assert report["chosen"]["sessions"] == ["7"]
    assert any("one session" in w for w in report["warnings"])


def test_it_agrees_with_the_reader(build, parts):
    path = build(trials=parts.trials(day=[1] * 4 + [2] * 6))
    report, recording = inspect_nwb(path), read_nwb(path)
    ingest = recording.ingest["files"][0]
    for name in ("responses", "intervals", "label", "align", "window", "session_column"):
        assert report["chosen"][name] == ingest[name]
    assert report["chosen"]["sessions"] == recording.ingest["sessions"] == ["1", "2"]
    assert report["sha256"] == ingest["sha256"]


def test_roles_of_series(build, parts):
    def add(file):
        for name in ("dff", "Neuropil", "Deconvolved", "raw"):
            path = f"processing/ophys/F/{name}"
            parts.series(file, path, np.ones((220, 2)), container="Fluorescence")

    report = inspect_nwb(build(change=add, spikes=False))
    roles = {s["path"].rsplit("/", 1)[-1]: s["role"] for s in report["roi_series"]}
    assert roles == {
        "dff": "dff",
        "Neuropil": "neuropil",
        "Deconvolved": "deconvolved",
        "raw": "fluorescence",
    }
    assert report["roi_series"][0]["shape"] == [220, 2]
    assert report["chosen"]["responses"] == "/processing/ophys/F/dff"


def test_problems_are_lines_and_not_errors(build):
    report = inspect_nwb(build(spikes=False, trials=False))
    assert len(report["problems"]) == 2
    assert all("\n" not in p and p.startswith("s1.nwb: ") for p in report["problems"])
    assert report["chosen"]["responses"] is None and report["chosen"]["sessions"] == []

    def spoil(file):
        file["units/spike_times_index"][...] = [1, 2]

    report = inspect_nwb(build("2.nwb", spoil))
    assert len(report["problems"]) == 1 and "ends at 2" in report["problems"][0]


def test_no_nwb_is_an_error(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w"):
        pass
    with pytest.raises(DataError, match="not NWB"):
        inspect_nwb(tmp_path / "x.h5")


def test_flipped_bytes_never_show_a_traceback(build):
    path = build()
    whole = path.read_bytes()
    rng = np.random.default_rng(1)
    for place in rng.integers(8, len(whole), 40):
        spoilt = bytearray(whole)
        spoilt[place : place + 16] = rng.bytes(16)
        path.write_bytes(spoilt)
        try:
            json.dumps(inspect_nwb(path))
        except DataError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("name", "units", "series", "columns"),
    [
        ("sub-anm369963_ses-20170228.nwb", 1, 0, 9),
        ("sub-anm372793_ses-20170508.nwb", 1, 0, 9),
        ("sub_anm00239123_ses_20170627T093549_ecephys_and_ogen.nwb", 4, 0, 16),
        ("roi_series_without_trials.nwb", None, 3, None),
    ],
)
def test_published_files(real, name, units, series, columns):
    report = json.loads(json.dumps(inspect_nwb(real(name))))
    assert [u["n"] for u in report["units"]] == ([] if units is None else [units])
    assert len(report["roi_series"]) == series
    if columns is None:
        assert report["intervals"] == [] and len(report["problems"]) == 1
    else:
        assert len(report["intervals"][0]["columns"]) == columns
        assert report["chosen"]["label"] == "type"
        assert any(f"has {units} units" in p for p in report["problems"])


@pytest.mark.parametrize("path", [5, None, [], b"a.nwb", ["a.nwb", 5]])
def test_what_is_no_path_is_said(path):
    with pytest.raises(UsageError, match="paths is"):
        inspect_nwb(path)
