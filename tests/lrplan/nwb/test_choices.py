"""What is read of a file: which signal, which units, which trials, which window."""

from __future__ import annotations

import shlex

import h5py
import numpy as np
import pytest

from lrplan.errors import DataError, UsageError
from lrplan.nwb import read_nwb
from lrplan.nwb._roles import role_of
from lrplan.nwb._tables import Table
from lrplan.nwb._text import folded

FRAMES = 220


def one(path, **options):
    return read_nwb(path, min_sessions=1, **options)


def report(recording):
    return recording.ingest["files"][0]


def warned(recording, *words):
    told = recording.ingest["warnings"]
    assert any(all(w in line for w in words) for line in told), told


def refused(path, *words, error=DataError, **options):
    with pytest.raises(error) as caught:
        one(path, **options)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 700
    for word in words:
        assert word in message, message


# --- which signal


@pytest.mark.parametrize(
    ("path", "container", "role"),
    [
        # pynwb's examples, neuroconv, suite2p
        ("/processing/ophys/Fluorescence/RoiResponseSeries", "Fluorescence", "fluorescence"),
        ("/processing/ophys/Fluorescence/plane0", "Fluorescence", "fluorescence"),
        ("/processing/ophys/Fluorescence/Denoised", "Fluorescence", "fluorescence"),
        ("/processing/ophys/Fluorescence/Baseline", "Fluorescence", "baseline"),
        ("/processing/ophys/Fluorescence/Background", "Fluorescence", "background"),
        ("/processing/ophys/Neuropil/plane0", "Fluorescence", "neuropil"),
        ("/processing/ophys/Deconvolved/plane0", "Fluorescence", "deconvolved"),
        ("/processing/ophys/DfOverF/RoiResponseSeries", "DfOverF", "dff"),
        # CaImAn
        ("/processing/ophys/Fluorescence/Background_Fluorescence_Response", "F", "background"),
        ("/processing/ophys/Fluorescence/F_dff", "Fluorescence", "dff"),
        # the Allen Institute
        ("/processing/ophys/dff/traces", "DfOverF", "dff"),
        ("/processing/ophys/corrected_fluorescence/traces", "Fluorescence", "fluorescence"),
        ("/processing/ophys/neuropil_trace/traces", "Fluorescence", "neuropil"),
        ("/processing/ophys/event_detection", "NWBDataInterface", "deconvolved"),
        ("/processing/plane_0/neuropil_fluorescence_timeseries", "F", "neuropil"),
        ("/processing/plane_0/neuropil_corrected_timeseries", "F", "fluorescence"),
        ("/processing/plane_0/dff_timeseries", "ProcessingModule", "dff"),
        # others
        ("/processing/ophys/DfOverF/dff_zscored", "DfOverF", "normalised"),
        ("/processing/ophys/Fluorescence/F0", "Fluorescence", "baseline"),
        ("/processing/ophys/Fluorescence/Fneu", "Fluorescence", "neuropil"),
        ("/processing/ophys/Fluorescence/surround", "Fluorescence", "background"),
        ("/processing/motion_corrected/Neuropil", "ProcessingModule", "neuropil"),
        ("/processing/ophys/NeuropilCorrected/plane0", "Fluorescence", "fluorescence"),
        ("/processing/ophys/Fluorescence/spks", "Fluorescence", "deconvolved"),
    ],
)
def test_roles_of_what_programs_write(path, container, role):
    assert role_of(path, container, None).name == role


def test_regions_of_the_background_are_no_cells():
    table = "/processing/ophys/ImageSegmentation/BackgroundPlaneSegmentation"
    assert role_of("/processing/ophys/Fluorescence/Response", "F", table).name == "background"


def ophys(parts, series, container="Fluorescence", data=None):
    """Return what adds series to a file: name to the rows of the table of regions."""

    def add(file):
        rows = max(max(r) for r in series.values()) + 1
        table = {"iscell": np.column_stack([np.arange(rows) % 2, np.full(rows, 0.5)])}
        parts.table(file, "processing/ophys/Seg/Table", table, kind="PlaneSegmentation")
        for i, (name, own) in enumerate(series.items()):
            values = np.full((FRAMES, len(own)), 100.0 + i) if data is None else data[:, list(own)]
            path = f"processing/ophys/{name}"
            group = parts.series(file, path, values, rois=np.array(own), container=container)
            group["rois"].attrs["table"] = file["processing/ophys/Seg/Table"].ref

    return add


def test_planes_that_share_a_table_are_read_together(build, parts):
    add = ophys(parts, {"F/plane0": range(3), "F/plane1": range(3, 5), "Neuropil/p": range(5)})
    recording = one(build(change=add, spikes=False))
    assert recording.units_per_session == [5]
    told = report(recording)
    assert told["responses"] == "/processing/ophys/F/plane0, /processing/ophys/F/plane1"
    assert "Passed over: /processing/ophys/Neuropil/p (neuropil)" in recording.summary()
    named = one(build(change=add, spikes=False), signal="plane1")
    assert named.units_per_session == [2]
    assert one(build(change=add, spikes=False), signal="plane0,plane1").units_per_session == [5]
    assert one(build(change=add, spikes=False), signal="F").units_per_session == [5]


def test_two_versions_of_one_signal_are_asked_about(build, parts):
    add = ophys(parts, {"D/dff": range(4), "D/dff_denoised": range(4)}, "DfOverF")
    assert report(one(build("1.nwb", add, spikes=False)))["responses"] == "/processing/ophys/D/dff"
    add = ophys(parts, {"D/dff_a": range(4), "D/dff_b": range(4)}, "DfOverF")
    path = build("2.nwb", add, spikes=False)
    refused(path, "dff_a", "dff_b", "same regions", "signal=")
    assert report(one(path, signal="dff_b"))["responses"].endswith("dff_b")
    refused(path, "same regions", error=UsageError, signal="D")


def test_background_components_beside_cells_are_not_read(build, parts):
    series = {"Fluorescence/RoiResponseSeries": range(4)}
    series["Fluorescence/Background_Fluorescence_Response"] = range(4, 6)
    recording = one(build(change=ophys(parts, series), spikes=False))
    assert recording.units_per_session == [4]


def test_planes_half_a_frame_apart_keep_their_own_clocks(build, parts):
    ramp = np.arange(FRAMES) / 10

    def add(file):
        for i, name in enumerate("ab"):
            table = f"processing/ophys/Seg/{name}"
            parts.table(file, table, {"x": [0.0, 0.0]}, kind="PlaneSegmentation")
            path, clock = f"processing/ophys/D/{name}", ramp + 0.05 * i
            group = parts.series(file, path, np.column_stack([clock, clock]), rate=None)
            group["rois"].attrs["table"] = file[table].ref
            group["timestamps"] = clock

    recording = one(build(change=add, spikes=False))
    # Signals that are the time itself: the mean over a trial from 1 to 2 s, by each clock's frames.
    own = recording.data["trials"].values[0, 0, 0, 0]
    np.testing.assert_allclose(own, [1.45, 1.45, 1.5, 1.5], atol=1e-6)


def test_signals_without_a_baseline_are_no_fluorescence(build, parts):
    data = np.random.default_rng(0).standard_normal((FRAMES, 6)) + 0.5
    add = ophys(parts, {"F/RoiResponseSeries": range(6)}, data=data)
    path = build(change=add, spikes=False)
    refused(path, "no raw fluorescence", "10th percentile", "6 of 6 regions", "signal=")
    named = one(path, signal="RoiResponseSeries")
    warned(named, "read as it is")
    assert named.data["activity"].attrs["units"] == "as stored"
    np.testing.assert_allclose(named.data["trials"].values[0, 0, 0, 0], data[10:20].mean(axis=0))


# --- which units


def test_columns_of_quality_are_named_with_how_to_use_them(build, parts):
    cases = {
        "default_qc": ([True, False], "1 of 2 meet default_qc", "--units 'default_qc'"),
        "KSLabel": (["good", "mua"], '1 of 2 meet KSLabel == "good"', "good: 1, mua: 1"),
        "is_noise": ([0, 1], "1 of 2 meet not is_noise", "--units 'not is_noise'"),
        "phy_annotations": ([1, 2], "phy_annotations (1: 1, 2: 1)", "phy_annotations == VALUE"),
        "soma_probability": ([0.2, 0.9], "1 of 2 meet soma_probability > 0.5", "0.2 to 0.9"),
        "my label": (["good", "noise"], '1 of 2 meet `my label` == "good"', "my label"),
        "valid_roi": ([1, 0], "1 of 2 meet valid_roi", "valid_roi"),
        "curation": (["x", "y"], "curation (x: 1, y: 1)", "curation == VALUE"),
    }
    for i, (name, (values, *words)) in enumerate(cases.items()):
        recording = one(build(f"{i}.nwb", units={name: values}))
        warned(recording, *words, "all were used")
    quiet = one(build("q.nwb", units={"quality": ["good", "good"], "snr": [1.0, 2.0]}))
    assert not any("column" in w for w in quiet.ingest["warnings"])


def test_units_are_chosen_by_a_condition_and_counted(build):
    path = build(units={"quality": ["mua", "good"], "snr": [3.0, 2.0]})
    recording = one(path, units='quality == "good" and snr > 1')
    np.testing.assert_allclose(recording.data["activity"].values[0, 0, :, 0], [0, 2])
    assert report(recording)["chosen_units"] == [
        {"table": "/units", "condition": 'quality == "good" and snr > 1', "of": 2, "kept": 1}
    ]
    warned(recording, "1 of 2 units meet quality")
    refused(path, "none of 2 units", "quality is mua, good", units='quality == "great"')
    refused(path, "no column 'size'", error=UsageError, units="size > 1")
    refused(path, "quality holds texts", error=UsageError, units="quality > 1")
    refused(path, "units= (--units) is '/units'", error=UsageError, units="/units")


def test_regions_are_chosen_by_a_condition(build, parts):
    add = ophys(parts, {"F/plane0": range(3), "F/plane1": [4, 3]})
    path = build(change=add, spikes=False)
    recording = one(path, units="iscell")
    assert recording.units_per_session == [2]
    told = [w for w in recording.ingest["warnings"] if "iscell" in w]
    assert told == ["s1.nwb: 2 of 5 units meet iscell"]
    warned(one(path), "column iscell: 2 of 5 meet iscell", "--units 'iscell'")
    assert one(path, units="iscell[1] > 0.4").units_per_session == [5]

    def bare(file):
        group = parts.series(file, "processing/ophys/D/R", np.ones((FRAMES, 2)))
        del group["rois"]

    refused(build("2.nwb", bare, spikes=False), "names no table of regions", units="iscell")


@pytest.mark.parametrize("by", ["column", "electrodes", "peak_channel_id", "electrode_group"])
def test_units_are_chosen_by_area(build, by):
    def change(file):
        electrodes = file.create_group("general/extracellular_ephys/electrodes")
        electrodes.attrs["colnames"] = ["location"]
        electrodes["id"] = np.array([100, 101])
        electrodes.create_dataset("location", data=["CA1", "VISp"], dtype=h5py.string_dtype())
        if by == "column":
            file["units"].create_dataset(
                "brain_area", data=["CA1", "VISp"], dtype=h5py.string_dtype()
            )
        elif by == "electrodes":
            file["units/electrodes"] = np.array([0, 1, 1])
            file["units/electrodes_index"] = np.array([1, 3])
        elif by == "peak_channel_id":
            file["units/peak_channel_id"] = np.array([100, 101])
        else:
            for name, place in (("a", "CA1"), ("b", "VISp")):
                group = file.create_group(f"general/extracellular_ephys/{name}")
                group.attrs["neurodata_type"] = "ElectrodeGroup"
                group["location"] = place
            refs = [file[f"general/extracellular_ephys/{n}"].ref for n in "ab"]
            file["units"].create_dataset("electrode_group", data=refs, dtype=h5py.ref_dtype)

    path = build(change=change)
    both = one(path)
    assert report(both)["areas"] == {"CA1": 1, "VISp": 1} and report(both)["area"] == "unknown"
    warned(both, "2 areas", "CA1: 1, VISp: 1", "--area")
    chosen = one(path, area="visp")
    np.testing.assert_allclose(chosen.data["activity"].values[0, 0, :, 0], [0, 2])
    assert chosen.data["area"].values.tolist() == ["VISp"]
    refused(path, "'VIS'", "VISp", error=UsageError, area="VIS")


def test_an_area_that_nothing_says_is_refused(build):
    refused(build(), "does not say where", "--area", area="V1")


def test_several_tables_of_units_are_read_together_if_named(build, parts):
    def add(file):
        for name in "ab":
            trains = parts.trains((4, 0), (1, 2))
            parts.units(file, trains, path=f"processing/ecephys/probe_{name}")

    path = build(change=add, spikes=False)
    refused(path, "several tables of units", "commas")
    assert one(path, units_table="probe_a,probe_b").units_per_session == [4]
    assert one(path, units_table="probe_b").units_per_session == [2]


# --- which trials, and when


def test_trials_are_chosen_by_a_condition(build, parts):
    path = build(trials=parts.trials(correct=[1, 1, 1, 1, 1, 1, 0, 0, 0, 0]))
    recording = one(path, trials="correct")
    assert report(recording)["trials"] == {"s1": {"a": 3, "b": 3}}
    assert report(recording)["dropped"] == {"not correct": 4}
    warned(recording, "6 of 10 trials meet correct")
    refused(path, "0 usable trials", trials="correct > 5")
    left = one(path, trials="stimulus_name != 'c' and start_time < 10")
    assert report(left)["trials"] == {"s1": {"a": 3, "b": 2}}


def test_labels_of_two_columns(build, parts):
    path = build(trials=parts.trials(side=["l", "l", "r", "r", "l", "l", "r", "r", "l", "l"]))
    recording = one(path, label="stimulus_name,side")
    assert list(recording.data["stimulus"].values) == ["a | l", "a | r", "b | l", "b | r"]
    refused(path, "'sides'", error=UsageError, label="stimulus_name,sides")


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("stimOn_times", "stim_on_times"),
        ("goCue_times", "go_cue_times"),
        ("KSLabel", "ks_label"),
        ("trial type", "trial_type"),
        ("Stimulus-Name", "stimulus_name"),
    ],
)
def test_names_in_camel_case_are_known(name, plain):
    assert folded(name) == plain


def test_labels_in_camel_case_are_known(build, parts):
    path = build(trials=parts.trials(stimulus_name=None, trialType=["u", "v"] * 5))
    assert report(one(path))["label"] == "trialType"


def test_the_window_counts_from_the_start_as_it_is_said_to(build, parts):
    starts = np.arange(10) * 2.0 + 1
    path = build(trials=parts.trials(goCue_times=starts + 0.5))
    recording = one(path, window_s=0.4)
    assert report(recording)["window"]["rule"] == "0 to 0.4 s after start_time"
    warned(recording, "counts from start_time", "goCue_times could align it")
    aligned = one(path, window_s=0.4, align="goCue_times")
    assert report(aligned)["window"]["rule"] == "0 to 0.4 s after goCue_times"


def test_times_are_relative_if_it_is_said(build, parts):
    path = build(trials=parts.trials(cue=np.full(10, 0.25)))
    recording = one(path, align="cue", window_s=0.5, relative=True)
    assert report(recording)["window"]["rule"] == "0 to 0.5 s after start_time + cue"
    absolute = one(build("2.nwb", trials=parts.trials()), align="start_time", relative=False)
    assert report(absolute)["window"]["rule"] == "0 to 1 s after start_time"
    refused(path, "--relative", "name that", error=UsageError, relative=True)


def test_self_paced_trials_are_no_responses(build, parts):
    starts = np.cumsum([1, 1, 19, 2, 15, 1, 8, 3, 12, 1.0])
    trials = {"start_time": starts, "stop_time": np.append(starts[1:], starts[-1] + 5)}
    trials |= {"stimulus_name": ["a", "b"] * 5, "stimOn_times": starts + 0.1}
    spikes = [np.arange(0, 70, 0.5), np.arange(0, 70, 0.7)]
    path = build(trials=trials, spikes=spikes)
    warned(one(path), "trials last 1 to", "whole trial", "--align stimOn_times --window 0,0.5")
    short = one(path, align="stimOn_times", window_s=0.5)
    assert not any("trials last" in w for w in short.ingest["warnings"])


def test_trials_that_are_events(build, parts):
    def add(file):
        columns = {"timestamp": np.arange(10) * 2.0 + 1, "stimulus_name": ["a", "b"] * 5}
        parts.table(file, "events/onsets", columns, kind="EventsTable")

    path = build(change=add, trials=False)
    recording = one(path, window_s=1)
    np.testing.assert_allclose(recording.data["activity"].values[0, 0], [[4, 0], [1, 2]])
    assert report(recording)["window"]["rule"] == "0 to 1 s after timestamp"
    warned(one(path), "stop_time is missing")


def test_trials_in_a_plain_table_are_read_if_named(build, parts):
    def add(file):
        columns = {"onset": np.arange(10) * 2.0 + 1, "odor": ["a", "b"] * 5}
        parts.table(file, "processing/behavior/log", columns, kind="DynamicTable")
        file["processing/behavior/trial number/data"] = np.zeros(3)

    path = build(change=add, trials=False)
    refused(path, "tables /processing/behavior/log", "--intervals", "signals", "trial number")
    assert report(one(path, intervals="log", window_s=1))["label"] == "odor"


def test_trials_that_are_a_signal(build):
    number, place = np.full((2, 220), -1.0)
    for i in range(10):
        number[10 + 20 * i : 20 + 20 * i] = i
        place[10 + 20 * i : 20 + 20 * i] = i % 2

    def add(file):
        for name, values in (("trial number", number), ("environment", place)):
            group = file.create_group(f"processing/behavior/{name}")
            group["data"] = values
            group.create_dataset("starting_time", data=0.0).attrs["rate"] = 10.0
        file["processing/behavior/notes"] = 1.0

    path = build(change=add, trials=False)
    refused(path, "signals", "trial number", "--trial-signal")
    recording = one(path, trial_signal="trial number", label="environment")
    np.testing.assert_allclose(recording.data["activity"].values[0, 0], [[4, 0], [1, 2]])
    assert report(recording)["window"]["rule"] == "start_time to stop_time"
    some = one(path, trial_signal="trial number", label="environment", trials="`trial number` < 6")
    assert report(some)["trials"] == {"s1": {"0": 3, "1": 3}}
    refused(path, "no signal 'number'", error=UsageError, trial_signal="number")


def test_several_tables_of_stimuli_are_asked_about(build, parts):
    def add(file):
        for i, name in enumerate(("gratings_presentations", "images_presentations")):
            columns = parts.trials(stimulus_name=[name] * 10, image_id=[i, i + 1] * 5)
            parts.table(file, f"intervals/{name}", columns)

    path = build(change=add, trials=False)
    refused(path, "2 tables", "gratings_presentations (image_id: 2 stimuli)", "intervals=")
    chosen = one(path, intervals="images_presentations")
    assert report(chosen)["intervals"] == "/intervals/images_presentations"


# --- times that are wrong


def test_spike_times_that_restart_in_each_trial(build):
    rng = np.random.default_rng(0)
    refused(build(spikes=[rng.random(80), rng.random(80)]), "relative to their trial", "1 to 20 s")


def test_times_in_milliseconds(build, parts):
    starts = (np.arange(10) * 2.0 + 1) * 1000
    trials = parts.trials(start_time=starts, stop_time=starts + 1000)
    spikes = [1000 * t for t in parts.trains()]
    warned(one(build("both.nwb", trials=trials, spikes=spikes)), "milliseconds or samples")
    refused(build("trials.nwb", trials=trials), "trials look like milliseconds")


def test_frames_in_milliseconds(build, parts):
    starts = (np.arange(10) * 2.0 + 1) * 1000
    trials = parts.trials(start_time=starts, stop_time=starts + 1000)

    def add(file):
        group = parts.series(file, "processing/ophys/DfOverF/R", np.ones((FRAMES, 2)), rate=None)
        group["timestamps"] = np.arange(FRAMES) * 100.0

    path = build(change=add, spikes=False, trials=trials)
    warned(one(path), "frames", "100 s apart", "milliseconds")


def test_clocks_that_differ_name_both_spans(build, parts):
    starts = np.arange(10) * 2.0 + 1001
    trials = parts.trials(start_time=starts, stop_time=starts + 1)
    refused(build(trials=trials), "no trial lies", "1.125 to 19.75", "1001 to 1020", "one clock")


def test_observation_intervals_that_leave_all_out_are_named(build):
    starts = np.arange(10) * 2.0 + 1

    def add(file):
        spans = np.column_stack([starts + 0.3, starts + 1.2])
        file["units/obs_intervals"] = np.concatenate([spans, spans])
        file["units/obs_intervals_index"] = np.array([10, 20])

    path = build(change=add)
    refused(path, "obs_intervals", "1 to 2 s", "1.3 to 2.2", "window_s=")
    assert one(path, window_s=(0.4, 1)).units_per_session == [2]


def test_a_table_of_regions_that_ends_too_early(build, parts):
    add = ophys(parts, {"F/plane0": range(3)})

    def change(file):
        add(file)
        file["processing/ophys/F/plane0/rois"][...] = [0, 1, 9]

    refused(build(change=change, spikes=False), "regions 0 to 9", "has 3")


def test_lists_of_texts_are_joined(build, parts):
    def add(file):
        group = parts.table(file, "intervals/epochs", {"start_time": [0.0], "stop_time": [9.0]})
        group.create_dataset("tags", data=["run", "day 1"], dtype=h5py.string_dtype())
        group["tags_index"] = np.array([2])

    with h5py.File(build(change=add)) as file:
        assert Table(file["intervals/epochs"]).texts("tags") == ["run, day 1"]


def test_a_name_from_a_file_stays_one_word_of_the_command_that_is_offered(build):
    path = build(units={"it's; true #": ["good", "mua"]})
    [told] = [w for w in read_nwb(path, min_sessions=1).ingest["warnings"] if "--units" in w]
    offered = told[told.index("(--units ") + 1 : -1]
    assert shlex.split(offered) == ["--units", '`it\'s; true #` == "good"']
    assert read_nwb(path, min_sessions=1, units=shlex.split(offered)[1]).units_per_session == [1]
