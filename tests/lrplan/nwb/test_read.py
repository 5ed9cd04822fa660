import importlib
import json
import os
import subprocess
import sys

import h5py
import numpy as np
import pytest

from lrplan.errors import DataError, UsageError
from lrplan.nwb import read_nwb

REAL_UNITS = [
    "sub-anm369963_ses-20170228.nwb",
    "sub-anm372793_ses-20170508.nwb",
    "sub_anm00239123_ses_20170627T093549_ecephys_and_ogen.nwb",
]


def refused(path, *words, error=DataError, **options):
    """Check that a file is refused with one line that holds all `words`."""
    with pytest.raises(error) as caught:
        read_nwb(path, **{"min_sessions": 1} | options)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 700
    assert all(c.isprintable() for c in message)
    for word in words:
        assert word in message, message


def warned(recording, *words):
    assert any(all(w in line for w in words) for line in recording.ingest["warnings"]), (
        recording.ingest["warnings"]
    )


def activity(recording):
    return recording.data["activity"].values[0]


# --- plain cases


def test_import_is_light():
    code = (
        "import sys, lrplan.nwb; "
        "sys.exit(any(m in sys.modules for m in ('pynwb', 'torch', 'lrplan.simulate')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_rates_are_counts_over_the_trial(build):
    recording = read_nwb(build(), min_sessions=1)
    np.testing.assert_allclose(activity(recording), [[[4, 0], [1, 2]]])
    np.testing.assert_allclose(recording.data["activity_sem"].values, 0)
    assert recording.kind == "spikes" and recording.data["activity"].attrs["units"] == "Hz"
    assert list(recording.data["stimulus"].values) == ["a", "b"]
    assert recording.data["activity"].dims == ("population", "session", "stimulus", "unit")


def test_rates_do_not_depend_on_the_length_of_the_window(build):
    halves = read_nwb(build(), min_sessions=1, window_s=(0, 0.5))
    np.testing.assert_allclose(activity(halves)[0, 0], [4, 0])
    assert halves.ingest["files"][0]["window"]["seconds"] == [0.0, 0.5]


def test_standard_error_is_that_of_the_trials(build):
    rng = np.random.default_rng(0)
    counts = rng.integers(1, 6, 10)
    starts = np.arange(10) * 2.0 + 1
    spikes = [
        np.concatenate([s + np.linspace(0.1, 0.9, n) for s, n in zip(starts, counts, strict=True)])
    ]
    recording = read_nwb(build(spikes=spikes), min_sessions=1)
    own = counts[::2]
    np.testing.assert_allclose(activity(recording)[0, 0, 0], own.mean())
    np.testing.assert_allclose(
        recording.data["activity_sem"].values[0, 0, 0, 0], own.std(ddof=1) / np.sqrt(5)
    )


def test_dff_is_the_mean_over_frames_with_conversion_and_offset(build, parts):
    data = np.zeros((220, 3), dtype="f4")
    for start, label in zip(range(10, 210, 20), "ab" * 5, strict=True):
        data[start : start + 10] = [1, 2, 3] if label == "a" else [3, 2, 1]

    def add(file):
        group = parts.series(file, "processing/ophys/DfOverF/R", data)
        group["data"].attrs["conversion"] = 0.5
        group["data"].attrs["offset"] = 1.0

    recording = read_nwb(build(change=add, spikes=False), min_sessions=1)
    np.testing.assert_allclose(activity(recording), [[[1.5, 2, 2.5], [2.5, 2, 1.5]]])
    assert recording.kind == "dff"


@pytest.mark.parametrize("shape", ["transposed", "one region", "timestamps"])
def test_dff_in_other_layouts(build, parts, shape):
    data = np.repeat(np.arange(22.0), 10)[:, None] * [1, 2, 3]

    def add(file):
        path = "processing/ophys/DfOverF/R"
        if shape == "transposed":
            group = parts.series(file, path, data, rois=np.arange(3))
            del group["data"]
            group["data"] = data.T
        elif shape == "one region":
            parts.series(file, path, data[:, 0])
        else:
            parts.series(file, path, data, rate=None)["timestamps"] = np.arange(220) / 10

    recording = read_nwb(build(change=add, spikes=False), min_sessions=1)
    # trials of `a` start at 1, 5, 9, ..., those of `b` at 3, 7, ...
    np.testing.assert_allclose(activity(recording)[0, :, 0], [9, 11])


def test_raw_fluorescence_becomes_dff_and_says_so(build, parts):
    data = np.full((220, 2), 100.0)
    data[10:210:20] += 50

    def add(file):
        for name, scale in (("R", 1), ("Neuropil", 9), ("Deconvolved", 7)):
            path = f"processing/ophys/Fluorescence/{name}"
            parts.series(file, path, data * scale, container="Fluorescence")

    recording = read_nwb(build(change=add, spikes=False), min_sessions=1)
    np.testing.assert_allclose(activity(recording), 0.05)
    report = recording.ingest["files"][0]
    assert report["responses"] == "/processing/ophys/Fluorescence/R"
    assert any("Neuropil" in r for r in report["responses_rejected"])
    warned(recording, "dF/F was computed", "percentile 10")


def test_sessions_are_ordered_by_start_time(build):
    late = build("a.nwb", start="2024-02-01T10:00:00+00:00")
    early = build("b.nwb", start="2024-01-01T10:00:00", spikes=None, units={"x": [1, 2]})
    with h5py.File(early, "r+") as file:
        file["units/spike_times"][0] = 1.001  # another recording, not a copy
        file["units/spike_times_index"][0] -= 1
    recording = read_nwb([late, early])
    assert [f["file"] for f in recording.ingest["files"]] == ["b.nwb", "a.nwb"]
    assert recording.ingest["order"] == "session_start_time"
    warned(recording, "b.nwb", "UTC")
    given = read_nwb([late, early], order="given")
    assert [f["file"] for f in given.ingest["files"]] == ["a.nwb", "b.nwb"]


def three_sessions(build, start):
    names = ["sub-m1_ses-10.nwb", "sub-m1_ses-2.nwb", "sub-m1_ses-1.nwb"]
    return [
        build(n, start=start, spikes=[np.array([1.1, 3.2, 5.3])[i:]]) for i, n in enumerate(names)
    ]


@pytest.mark.parametrize("start", ["2024-01-01T00:00:00+00:00", "1900-01-01T00:00:00+00:00", "no"])
def test_sessions_without_usable_start_are_ordered_by_name(build, start):
    recording = read_nwb(three_sessions(build, start))
    assert list(recording.data["session"].values) == ["1", "2", "10"]
    warned(recording, "ordered by name", "order='given'")


def test_one_file_with_a_column_of_sessions(build, parts):
    trials = parts.trials(session=["early"] * 4 + ["late"] * 6)
    recording = read_nwb(build(trials=trials))
    assert list(recording.data["session"].values) == ["early", "late"]
    assert recording.tracked and recording.sessions == 2
    assert recording.ingest["files"][0]["session_column"] == "session"


def test_blocks_that_come_back_are_no_sessions(build, parts):
    trials = parts.trials(block=[1, 1, 2, 2, 1, 1, 2, 2, 1, 1], stage=[1] * 4 + [2] * 6)
    path = build(trials=trials)
    refused(path, "one session", "checkpoint_by='block:stage' (", min_sessions=2)
    refused(path, "block come back", "1, 2 stand in 5 runs", checkpoint_by="block:block")
    assert read_nwb(path, checkpoint_by="block:stage").sessions == 2


def test_units_are_aligned_by_tracking_id(build, parts):
    one = build("1.nwb", units={"tracking_id": [7, 8]})
    two = build(
        "2.nwb",
        units={"tracking_id": [8, 7]},
        spikes=parts.trains()[::-1],
        start="2024-01-02T10:00:00+00:00",
    )
    with h5py.File(two, "r+") as file:
        file["units/spike_times"][-1] = 999.0
    recording = read_nwb([one, two])
    assert recording.tracked
    np.testing.assert_allclose(activity(recording)[0, 0], [4, 0])
    assert activity(recording)[1, 0, 0] == pytest.approx(4)
    assert list(recording.data["unit"].values) == ["7", "8"]


def test_other_units_in_other_sessions_are_padded(build, parts):
    one = build("1.nwb", units={"tracking_id": [7, 8]})
    two = build(
        "2.nwb",
        units={"tracking_id": [8, 7, 9]},
        spikes=parts.trains((1, 2, 3), (3, 2, 1)),
        start="2024-01-02T10:00:00+00:00",
    )
    recording = read_nwb([one, two])
    assert not recording.tracked
    assert recording.units_per_session == [2, 3]
    assert np.isnan(activity(recording)[0, :, 2]).all()
    warned(recording, "tracking_id differs")


def test_only_stimuli_of_all_sessions_are_kept(build, parts):
    one = build("1.nwb", trials=parts.trials(stimulus_name=["a", "b", "c", "a", "b"] * 2))
    two = build("2.nwb", start="2024-01-02T10:00:00+00:00")
    recording = read_nwb([one, two])
    assert list(recording.data["stimulus"].values) == ["a", "b"]
    warned(recording, "1 of 3 stimuli")
    three = build(
        "3.nwb",
        trials=parts.trials(stimulus_name=["x", "y"] * 5),
        start="2024-01-03T10:00:00+00:00",
    )
    refused([one, three], "share 0 stimuli", "label=")


def test_trials_are_kept_in_the_order_in_which_they_were_shown(build, parts):
    labels = ["a", "a", "b", "a", "b", "a", "a", "a", "b", "a"]
    counts = np.array([3, 1, 4, 1, 5, 9, 2, 6, 5, 3])
    train = np.concatenate(
        [s + np.linspace(0.1, 0.9, n) for s, n in zip(np.arange(10) * 2.0 + 1, counts, strict=True)]
    )
    path = build(spikes=[train, train[:5]], trials=parts.trials(stimulus_name=labels))
    data = read_nwb(path, min_sessions=1).data
    assert data["trials"].dims == ("population", "session", "stimulus", "trial", "unit")
    assert data["trials"].dtype == np.float32
    assert data["trials"].attrs["units"] == "Hz"
    shown = np.array(labels) == "a"
    np.testing.assert_array_equal(data["trials"][0, 0, 0, :, 0], counts[shown])
    own = data["trials"][0, 0, 1, :, 0].values
    np.testing.assert_array_equal(own, [*counts[~shown], *[np.nan] * 4])
    np.testing.assert_allclose(np.nanmean(data["trials"], axis=3), data["activity"], rtol=1e-6)


def test_trials_that_would_fill_the_memory_are_not_kept_and_it_is_said(build, monkeypatch):
    path = build()
    kept = read_nwb(path, min_sessions=1)
    monkeypatch.setattr("lrplan.nwb.read.MOST_TRIAL_BYTES", 4 * 2 * 5 * 2 - 1)
    left = read_nwb(path, min_sessions=1)
    assert "trials" in kept.data and "trials" not in left.data
    warned(left, "all trials would take 80 bytes", "only means")
    for name in ("activity", "activity_sem"):
        np.testing.assert_array_equal(kept.data[name], left.data[name])


def electrodes(file, locations, of_units=None):
    group = file.create_group("general/extracellular_ephys/electrodes")
    group.attrs["neurodata_type"] = "DynamicTable"
    group.attrs["colnames"] = ["location"]
    group["id"] = np.arange(len(locations))
    group.create_dataset("location", data=locations, dtype=h5py.string_dtype())
    if of_units is not None:
        file["units/electrodes"] = np.array(of_units)
        file["units/electrodes_index"] = np.arange(1, len(of_units) + 1)


def imaging_plane(file, location):
    file["general/optophysiology/Plane/location"] = location
    table = file["processing/ophys/ImageSegmentation/PlaneSegmentation"]
    table["imaging_plane"] = h5py.SoftLink("/general/optophysiology/Plane")


@pytest.mark.parametrize(
    ("change", "area"),
    [
        (lambda f: electrodes(f, ["VISp"] * 3), "VISp"),
        (lambda f: electrodes(f, ["VISp", "VISl", "VISp"]), "unknown"),
        (lambda f: electrodes(f, ["VISp", "VISl", "VISp"], of_units=[0, 2]), "VISp"),
        (lambda f: electrodes(f, ["VISp", "VISl"], of_units=[0, 7]), "unknown"),
        (lambda f: electrodes(f, ["", "unknown"]), "unknown"),
        (lambda f: electrodes(f, ["VI\x1b[2JSp"]), "VI?[2JSp"),
        (lambda f: None, "unknown"),
    ],
)
def test_the_area_of_spikes_is_that_of_their_electrodes(build, change, area):
    data = read_nwb(build(change=change), min_sessions=1).data
    assert data["area"].values.tolist() == [area]
    assert data["animal"].values.tolist() == ["m1"]
    assert data["condition"].values.tolist() == ["learning"]


def test_the_area_of_imaging_is_that_of_its_plane(build, parts):
    files = [series_file(build, parts, f"{day}.nwb", day) for day in (1, 2, 3)]
    for path, location in zip(files, ("V1", "V1", "LM"), strict=True):
        with h5py.File(path, "r+") as file:
            imaging_plane(file, location)
    assert read_nwb(files[:2]).data["area"].values.tolist() == ["V1"]
    several = read_nwb(files)
    assert several.data["area"].values.tolist() == ["unknown"]
    warned(several, "different areas", "V1", "LM (3.nwb)")


@pytest.mark.parametrize(
    ("paths", "options", "said"),
    [
        (5, {}, "paths is 5; expected the path of an NWB file"),
        (None, {}, "paths is None"),
        (b"a.nwb", {}, "paths is b'a.nwb'"),
        ([5], {}, "paths holds 5"),
        ("a.nwb", {"units": 5}, "units is 5; expected a name"),
        ("a.nwb", {"label": ["a"]}, "label is"),
        ("a.nwb", {"checkpoint_by": 5}, "checkpoint_by is 5"),
        ("a.nwb", {"order": 5}, "unknown order 5"),
        ("a.nwb", {"min_sessions": "2"}, "min_sessions is '2'"),
    ],
)
def test_what_cannot_be_read_from_is_said(paths, options, said):
    with pytest.raises(UsageError) as caught:
        read_nwb(paths, **options)
    assert said in str(caught.value)


def test_a_single_trial_has_no_standard_error(build, parts):
    recording = read_nwb(
        build(trials=parts.trials(stimulus_name=["a"] * 9 + ["b"])), min_sessions=1
    )
    sem = recording.data["activity_sem"].values[0, 0]
    assert np.isfinite(sem[0]).all() and np.isnan(sem[1]).all()
    warned(recording, "single trial")


def test_shared_warnings_are_said_once(build, parts):
    trials = parts.trials(stop_time=np.full(10, np.nan))
    files = [
        build(f"{i}.nwb", trials=trials, start=f"2024-01-0{i}T10:00:00+00:00") for i in (1, 2, 3)
    ]
    lines = [w for w in read_nwb(files).ingest["warnings"] if "stop_time" in w]
    assert len(lines) == 1 and lines[0].startswith("3 of 3 files: ")


def test_a_recording_can_be_equalised_and_shuffled(build, parts):
    files = [
        build(
            f"{i}.nwb",
            spikes=parts.trains((4, 3, 2, 1)[: i + 1], (1, 2, 3, 4)[: i + 1]),
            start=f"2024-01-0{i}T10:00:00+00:00",
        )
        for i in (1, 2, 3)
    ]
    recording = read_nwb(files)
    equal = recording.equalised(2, rng=np.random.default_rng(0))
    assert np.isfinite(equal.data["activity"].values).all()
    assert equal.units_per_session == [2, 2, 2]
    assert recording.with_shuffled_sessions(np.random.default_rng(0)).sessions == 3


# --- choices


def test_trials_without_stop_time_use_a_stated_window(build, parts):
    path = build(trials=parts.trials(stop_time=np.full(10, np.nan)))
    recording = read_nwb(path, min_sessions=1)
    assert recording.ingest["files"][0]["window"]["rule"] == "0 to 1 s after start_time"
    np.testing.assert_allclose(activity(recording)[0, 0], [4, 0])
    warned(recording, "stop_time is missing")


def test_unusable_trials_are_dropped_and_counted(build, parts):
    starts, stops = np.arange(10) * 2.0 + 1, np.arange(10) * 2.0 + 2
    starts[0], stops[1], stops[2] = np.nan, np.nan, 0
    labels = np.array(["a", "b"] * 5, dtype=object)
    labels[3] = ""
    starts[9], stops[9], labels[9] = starts[7], stops[7], labels[7]
    path = build(trials={"start_time": starts, "stop_time": stops, "stimulus_name": labels})
    report = read_nwb(path, min_sessions=1).ingest["files"][0]
    assert report["dropped"] == {
        "no stimulus label": 1,
        "no start or alignment time": 1,
        "no stop time": 1,
        "window of no length": 1,
        "duplicate": 1,
    }


def test_relative_event_columns_are_noticed(build, parts):
    starts = np.arange(10) * 2.0 + 1001
    spikes = [t + 1000 for t in parts.trains()]
    trials = parts.trials(start_time=starts, stop_time=starts + 1, go_cue=np.full(10, 0.5))
    path = build(trials=trials, spikes=spikes)
    recording = read_nwb(path, min_sessions=1)
    warned(recording, "go_cue", "relative")
    aligned = read_nwb(path, min_sessions=1, align="go_cue", window_s=0.5)
    np.testing.assert_allclose(activity(aligned)[0, 0], [4, 0])
    assert aligned.ingest["files"][0]["window"]["rule"] == "0 to 0.5 s after start_time + go_cue"


def test_numeric_labels_sort_as_numbers_and_drop_nan(build, parts):
    labels = [10.0, 2.0, np.nan, 10.0, 2.0] * 2
    path = build(trials=parts.trials(stimulus_name=None, orientation=labels))
    recording = read_nwb(path, min_sessions=1)
    assert list(recording.data["stimulus"].values) == ["2", "10"]
    assert recording.ingest["files"][0]["dropped"] == {"no stimulus label": 2}


def test_spike_oddities_are_repaired_and_told(build):
    spikes = [np.array([5.5, 1.5, np.nan, 1.5, np.inf]), np.array([3.5])]
    recording = read_nwb(build(spikes=spikes), min_sessions=1)
    np.testing.assert_allclose(activity(recording)[0, :, 0], [0.6, 0])
    for words in (("2 spike times are NaN",), ("not in order",), ("same time",)):
        warned(recording, *words)


def test_trials_outside_obs_intervals_do_not_count(build, parts):
    def add(file):
        group = file["units"]
        group["obs_intervals"] = np.array([[0, 10.0], [0, 100.0]])
        group["obs_intervals_index"] = np.array([1, 2])

    spikes = parts.trains((4, 4), (1, 1))
    spikes[0] = spikes[0][spikes[0] < 10]
    recording = read_nwb(build(change=add, spikes=spikes), min_sessions=1)
    np.testing.assert_allclose(activity(recording)[0, 0], [4, 4])


def test_a_region_of_nan_is_left_out(build, parts):
    data = np.ones((220, 3))
    data[:, 1] = np.nan

    def add(file):
        parts.series(file, "processing/ophys/DfOverF/R", data)

    recording = read_nwb(build(change=add, spikes=False), min_sessions=1)
    assert recording.units_per_session == [2]
    assert recording.ingest["files"][0]["units"]["dropped"] == {"no finite response": [1]}


def test_a_table_elsewhere_and_another_label(build, parts):
    def add(file):
        parts.table(file, "stimulus/presentation/Trials", parts.trials(odd=["u", "v"] * 5))
        parts.units(file, parts.trains(), path="processing/ecephys/Units")

    path = build(change=add, trials=False, spikes=False)
    report = read_nwb(path, min_sessions=1, label="odd").ingest["files"][0]
    assert report["intervals"] == "/stimulus/presentation/Trials"
    assert report["responses"] == "/processing/ecephys/Units" and report["label"] == "odd"


def test_ingest_is_json_and_names_the_hash(build):
    path = build()
    ingest = read_nwb(path, min_sessions=1).ingest
    again = json.loads(json.dumps(ingest))
    assert again["files"][0]["trials"] == {"s1": {"a": 5, "b": 5}}
    assert len(again["files"][0]["sha256"]) == 64


def test_control_characters_do_not_get_through(build, parts):
    def add(file):
        file["general/session_id"] = "\x1b[31mred\x1b[0m\n"

    labels = ["a\x1b[2J", "b"] * 5
    recording = read_nwb(
        build(change=add, trials=parts.trials(stimulus_name=labels)), min_sessions=1
    )
    shown = json.dumps(recording.ingest) + str(recording.data["stimulus"].values)
    assert "\x1b" not in shown and "\\u001b" not in shown
    refused(build(trials=parts.trials(stimulus_name=["\x1b[2Jx"] * 10)), "one stimulus only")


def test_the_same_session_twice_is_kept_once(build):
    one, two = build("1.nwb"), build("2.nwb")
    refused([one, two], "1 of 2 files repeat", min_sessions=2)
    other_day = build("3.nwb", start="2024-01-02T10:00:00+00:00")
    warned(read_nwb([one, other_day]), "same responses", "both were kept")
    refused([one, one], "1 of 2 files repeat", min_sessions=2)
    warned(read_nwb([one, one], min_sessions=1), "same session")


def test_files_stay_closed(build):
    path = build()
    read_nwb(path, min_sessions=1)
    with pytest.raises(DataError):
        read_nwb(path)
    with h5py.File(path, "r+"):
        pass


# --- bad input


def test_missing_and_empty(tmp_path):
    refused(tmp_path / "no.nwb", "does not exist")
    (tmp_path / "empty.nwb").touch()
    refused(tmp_path / "empty.nwb", "empty (0 bytes)")
    refused("https://example.org/a.nwb", "remote", "download")
    with pytest.raises(UsageError, match="no file"):
        read_nwb([])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "`git lfs pull`"),
        (b"/annex/objects/SHA256E-s1--0.nwb\n", "`datalad get"),
        (b"start,stop\n1,2\n", "is text"),
        (b"PK\x03\x04" + bytes(100), "zip"),
        (b"\x1f\x8b" + bytes(100), "gzip"),
        (bytes(range(200)), "not HDF5"),
    ],
)
def test_other_formats(tmp_path, content, words):
    path = tmp_path / "x.nwb"
    path.write_bytes(content)
    refused(path, words)


def test_links_directories_and_pipes(tmp_path):
    annex = tmp_path / "a.nwb"
    annex.symlink_to(".git/annex/objects/xx/yy/zz.nwb")
    refused(annex, "`datalad get a.nwb`")
    (tmp_path / "b.nwb").symlink_to("nowhere")
    refused(tmp_path / "b.nwb", "does not exist")
    refused(tmp_path, "is a directory", "*.nwb")
    (tmp_path / "store.nwb.zarr").mkdir()
    (tmp_path / "store.nwb.zarr" / ".zgroup").touch()
    refused(tmp_path / "store.nwb.zarr", "NWB-Zarr")
    refused("/dev/null", "regular")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no FIFOs")
def test_a_fifo_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "f.nwb")
    refused(tmp_path / "f.nwb", "pipe", "regular")


def test_truncated_files_say_how_much_is_here(build):
    path = build()
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    refused(path, "truncated", f"{len(whole) // 2:,}", f"{len(whole):,}")


def test_flipped_bytes_never_show_a_traceback(build):
    path = build()
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for place in rng.integers(8, len(whole), 60):
        spoilt = bytearray(whole)
        spoilt[place : place + 16] = rng.bytes(16)
        path.write_bytes(spoilt)
        try:
            read_nwb(path, min_sessions=1)
        except (DataError, UsageError) as error:
            assert "\n" not in str(error)


def test_not_nwb_or_an_old_one(tmp_path):
    with h5py.File(tmp_path / "plain.nwb", "w") as file:
        file.create_group("things")
    refused(tmp_path / "plain.nwb", "not NWB", "things")
    with h5py.File(tmp_path / "old.nwb", "w") as file:
        file["nwb_version"] = "NWB-1.0.6"
    refused(tmp_path / "old.nwb", "NWB 1", "1.0.6")
    with h5py.File(tmp_path / "attr.nwb", "w") as file:
        file.attrs["nwb_version"] = "1.0.6"
    refused(tmp_path / "attr.nwb", "NWB 1.0.6")


def test_an_old_matlab_version_attribute_is_read(build):
    def change(file):
        file.attrs["nwb_version"] = np.array([b"2.0b"])

    assert read_nwb(build(change=change), min_sessions=1).sessions == 1


def test_data_from_elsewhere_are_refused(build, parts, tmp_path):
    secret = tmp_path / "secret.bin"
    secret.write_bytes(bytes(4096))

    def external_link(file):
        file["acquisition/x"] = h5py.ExternalLink("/etc/other.nwb", "/data")

    def external_storage(file):
        group = parts.series(file, "processing/ophys/DfOverF/R", np.zeros((4, 2)))
        del group["data"]
        group.create_dataset("data", (512, 1), "f8", external=[(secret, 0, 4096)])

    def virtual(file):
        layout = h5py.VirtualLayout((10,), "f8")
        layout[:] = h5py.VirtualSource("other.h5", "x", (10,))
        file.create_virtual_dataset("processing/v", layout)

    refused(build("1.nwb", external_link), "link to /etc/other.nwb", "without links")
    refused(build("2.nwb", external_storage, spikes=False), "stored in")
    refused(build("3.nwb", virtual), "virtual dataset")


def test_data_that_were_never_stored(build, parts):
    def units(file):
        del file["units/spike_times"]
        file.create_dataset("units/spike_times", (2 * 10**10,), "f8")

    def series(file):
        group = parts.series(file, "processing/ophys/DfOverF/R", np.zeros((4, 2)))
        del group["data"]
        group.create_dataset("data", (10**10, 2), "f8")

    refused(build("1.nwb", units), "declares 160.0 GB")
    refused(build("2.nwb", series, spikes=False), "declares 160.0 GB")


def test_a_missing_filter_is_named(build, monkeypatch):
    def change(file):
        data = file["units/spike_times"][:]
        del file["units/spike_times"]
        file["units"].create_dataset("spike_times", data=data, compression="gzip")

    path = build(change=change)
    monkeypatch.setattr("lrplan.nwb._hdf5._has_filter", lambda code: False)
    refused(path, "hdf5plugin", "spike_times")


def test_nothing_to_read(build, parts):
    refused(build("1.nwb", spikes=False), "neither units", "ROI")

    def raw(file):
        file.create_group("acquisition/e").attrs["neurodata_type"] = "ElectricalSeries"

    refused(build("2.nwb", raw, spikes=False), "spike-sort it first")

    def empty_units(file):
        parts.table(file, "units", {"quality": ["good"]}, kind="Units")

    refused(build("3.nwb", empty_units, spikes=False), "no spike times")

    def deconvolved(file):
        path = "processing/ophys/Fluorescence/Deconvolved"
        parts.series(file, path, np.ones((220, 2)), container="Fluorescence")

    path = build("4.nwb", deconvolved, spikes=False)
    refused(path, "neither dF/F nor fluorescence", "signal=")
    named = read_nwb(path, signal="Deconvolved", min_sessions=1)
    assert named.data["activity"].attrs["units"] == "as stored"

    def both(file):
        parts.series(file, "processing/ophys/DfOverF/R", np.ones((220, 2)))

    path = build("5.nwb", both)
    refused(path, "both", "units_table=/units", "signal=")
    assert read_nwb(path, units_table="/units", min_sessions=1).kind == "spikes"
    assert read_nwb(path, signal="R", min_sessions=1).kind == "dff"
    refused(path, "no ROI series 'Q'", error=UsageError, signal="Q")


def test_no_trials_and_no_labels(build, parts):
    refused(build("1.nwb", trials=False), "no table of trials", "start_time")
    none = parts.trials(stimulus_name=None)
    refused(build("2.nwb", trials=none), "its columns are start_time, stop_time")
    other = parts.trials(stimulus_name=None, thing=["u", "v"] * 5)
    refused(build("3.nwb", trials=other), "thing", "label=")
    refused(
        build("4.nwb", trials=parts.trials(stimulus_name=["a"] * 10)),
        "one stimulus only",
        "'a'",
    )
    refused(build("5.nwb"), "'stimulus'", "stimulus_name", error=UsageError, label="stimulus")
    refused(build("6.nwb"), "no table of intervals", error=UsageError, intervals="nope")
    refused(build("7.nwb"), "window_s", error=UsageError, window_s=(1, 0))
    refused(build("8.nwb"), "no column of times", error=UsageError, align="nope")
    refused(build("9.nwb"), "checkpoint_by", error=UsageError, checkpoint_by="trials:x")


def test_one_session_is_no_trajectory(build):
    refused(build(), "this holds one session", "needs at least 2", min_sessions=2)


def test_several_subjects(build):
    one = build("1.nwb")
    two = build("2.nwb", subject="m2", spikes=[np.array([1.5, 3.5])])
    refused([one, two], "2 subjects", "m1 (1.nwb)", "m2 (2.nwb)")


def test_a_file_without_subject_is_of_the_others_animal(build):
    nameless = build("1.nwb", subject=None)
    other = build("2.nwb", spikes=[np.array([1.5, 3.5])], start="2024-01-02T10:00:00+00:00")
    recording = read_nwb([nameless, other])
    assert recording.data["animal"].values.tolist() == ["m1"]
    warned(recording, "all were taken as one subject")
    alone = read_nwb(nameless, min_sessions=1)
    assert alone.data["animal"].values.tolist() == ["unknown"]


def test_two_files_of_one_session(build):
    one = build("1.nwb", session="s")
    two = build("2.nwb", session="s", spikes=[np.array([1.5, 3.5])])
    refused([one, two], "one session (s)", "order='given'")
    assert read_nwb([one, two], order="given").sessions == 2


def test_sessions_read_in_different_ways_are_refused(build, parts):
    one = build("1.nwb")
    two = build(
        "2.nwb",
        trials=parts.trials(stop_time=np.full(10, np.nan)),
        start="2024-01-02T10:00:00+00:00",
        spikes=[np.array([1.5, 3.5])],
    )
    refused([one, two], "differ in window", "window_s=")


def series_file(build, parts, name, day, *, path="processing/ophys/DfOverF/R", **options):
    data = np.repeat(np.arange(22.0) + day, 10)[:, None] * [1, 2, 3]

    def add(file):
        parts.series(file, path, data, **options)

    return build(name, change=add, spikes=False, start=f"2024-01-0{day}T10:00:00+00:00")


@pytest.mark.parametrize("imaging_first", [True, False])
def test_spikes_and_imaging_are_not_mixed(build, parts, imaging_first):
    """With the imaging file first, this ended in KeyError 'role'."""
    imaging = series_file(build, parts, "a_ophys.nwb", 1 if imaging_first else 3)
    spikes = build("b_ecephys.nwb", start="2024-01-02T10:00:00+00:00")
    refused(
        [imaging, spikes] if imaging_first else [spikes, imaging],
        *("a_ophys.nwb", "dF/F (/processing/ophys/DfOverF/R)"),
        *("b_ecephys.nwb", "spike times (/units)", "on their own"),
    )


def test_sessions_from_other_series_are_not_mixed_unless_named(build, parts):
    one = series_file(build, parts, "1.nwb", 1)
    path = "processing/ophys/DfOverF/Other"
    other = series_file(build, parts, "2.nwb", 2, path=path)
    refused([one, other], "1.nwb holds", "DfOverF/R)", "2.nwb dF/F", "DfOverF/Other)", "signal=")
    assert read_nwb([one, other], signal="DfOverF").sessions == 2
    path = "processing/ophys/Fluorescence/R"
    raw = series_file(build, parts, "3.nwb", 3, path=path, container="Fluorescence")
    refused([one, raw], "1.nwb holds dF/F", "3.nwb fluorescence", "signal=")
    refused([one, raw], "1.nwb holds dF/F", "3.nwb fluorescence", signal="R")


def test_reports_of_both_kinds_have_the_same_keys(build, parts):
    spikes = read_nwb(build("s.nwb"), min_sessions=1).ingest["files"][0]
    imaging = read_nwb(series_file(build, parts, "i.nwb", 1), min_sessions=1).ingest["files"][0]
    assert set(spikes) - set(imaging) == {"dropped_spikes"}
    assert set(imaging) - set(spikes) == {"rate_hz"}


def test_damage_in_a_column_that_is_not_used_costs_nothing(build, parts, monkeypatch):
    path = build(trials=parts.trials(response=["hit", "miss"] * 5))
    plain = importlib.import_module("lrplan.nwb._tables").load

    def damaged(dataset, selection=()):
        if dataset.name.endswith("response"):
            raise DataError("damaged")
        return plain(dataset, selection)

    monkeypatch.setattr("lrplan.nwb._tables.load", damaged)
    assert read_nwb(path, min_sessions=1).sessions == 1
    refused(path, "damaged", label="response")


def test_bad_spike_tables(build):
    def index(values):
        def change(file):
            file["units/spike_times_index"][...] = values

        return change

    refused(build("1.nwb", index([20, 300])), "ends at 300")
    refused(build("2.nwb", index([40, 30])), "runs backwards")
    refused(build("3.nwb", index([5, 10])), "ends at 10")

    def samples(file):
        data = (file["units/spike_times"][:] * 30000).astype("i8")
        del file["units/spike_times"]
        file["units/spike_times"] = data

    refused(build("4.nwb", samples), "int64", "seconds")

    def scaled(file):
        file["units/spike_times"][...] *= 30000

    refused(build("5.nwb", scaled), "seconds")
    refused(build("6.nwb", spikes=[np.empty(0), np.empty(0)]), "none of the 2 units", "spike")
    refused(build("7.nwb", spikes=[np.array([5000.0, 5001.0])]), "")

    def no_index(file):
        del file["units/spike_times_index"]

    refused(build("8.nwb", no_index), "spike_times_index")


def test_bad_series(build, parts):
    def series(**options):
        data = options.pop("data", np.ones((220, 2)))

        def change(file):
            parts.series(file, "processing/ophys/DfOverF/R", data, **options)

        return change

    refused(build("1.nwb", series(rate=0.0), spikes=False), "rate of 0 Hz")
    refused(build("2.nwb", series(rate=np.nan), spikes=False), "rate of nan Hz")
    refused(build("3.nwb", series(rate=None), spikes=False), "neither timestamps nor a rate")
    refused(build("4.nwb", series(rois=np.arange(5)), spikes=False), "2 columns", "5 regions")
    refused(build("5.nwb", series(data=np.full((220, 2), np.nan)), spikes=False), "finite")
    refused(build("6.nwb", series(data=np.ones((5, 2))), spikes=False), "no trial lies within")

    def stamps(values):
        def change(file):
            group = parts.series(file, "processing/ophys/DfOverF/R", np.ones((220, 2)), rate=None)
            group["timestamps"] = values

        return change

    refused(build("7.nwb", stamps(np.arange(100.0)), spikes=False), "100 timestamps")
    refused(build("8.nwb", stamps(np.zeros(220)), spikes=False), "do not rise")


def test_a_bad_object_elsewhere_does_not_matter(build):
    def change(file):
        file["intervals/trials/ghost"] = h5py.SoftLink("/nowhere")
        file["processing/loop"] = h5py.SoftLink("/processing/loop")
        file["intervals/trials/short"] = np.arange(3)
        group = file.create_group("acquisition/unknown")
        group.attrs["neurodata_type"] = "NotInstalled"
        file["acquisition/raw"] = np.void(b"pickled")

    recording = read_nwb(build(change=change), min_sessions=1)
    np.testing.assert_allclose(activity(recording), [[[4, 0], [1, 2]]])


# --- published files


@pytest.mark.parametrize("name", REAL_UNITS)
def test_published_units(real, name):
    refused(real(name), "this holds one session", min_sessions=2)
    recording = read_nwb(real(name), min_sessions=1)
    assert recording.sessions == 1 and recording.kind == "spikes"
    assert {"lick left", "lick right"} <= set(recording.data["stimulus"].values)
    values = activity(recording)
    assert np.isfinite(values).all() and (values < 100).all() and values.any()


def test_published_trials_without_stop_time(real):
    recording = read_nwb(real(REAL_UNITS[0]), min_sessions=1)
    warned(recording, "stop_time is missing")
    warned(recording, "cue_start_time", "relative")


def test_published_series_without_trials(real):
    refused(real("roi_series_without_trials.nwb"), "no table of trials")
