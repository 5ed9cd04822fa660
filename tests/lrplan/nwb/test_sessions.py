"""Which files and parts of files are sessions, in which order, and which units they share."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from lrplan.errors import DataError
from lrplan.measure.recording import join
from lrplan.nwb import inspect_nwb, read_nwb

LABELS = ["a", "b"] * 5
STARTS = np.arange(10) * 2.0 + 1


def day(n):
    return f"2024-01-{n:02d}T10:30:05+00:00"


def trains(seed, units=2):
    rng = np.random.default_rng(seed)
    return [np.sort(rng.uniform(1, 20, 80)) for _ in range(units)]


def tuned(seed, units=2):
    """Return spikes of which each unit has more to one label."""
    every = trains(seed, units)
    for i, train in enumerate(every):
        own = STARTS[i % 2 :: 2]
        every[i] = np.sort(np.concatenate([train, *(own + t for t in np.linspace(0.1, 0.4, 12))]))
    return every


def refused(paths, *words, **options):
    with pytest.raises(DataError) as caught:
        read_nwb(paths, **options)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 700
    for word in words:
        assert word in message, message


def warned(recording, *words):
    told = recording.ingest["warnings"]
    assert any(all(w in line for w in words) for line in told), told


# --- the order


def test_names_that_are_no_numbers_are_no_order(build):
    start = "2024-01-01T00:00:00+00:00"
    names = ("naive", "expert", "middle")
    files = [
        build(f"sub-m1_ses-{n}.nwb", start=start, spikes=trains(i)) for i, n in enumerate(names)
    ]
    refused(files, "ses-expert.nwb, sub-m1_ses-middle.nwb", "do not number", "--order given")
    given = read_nwb(files, order="given")
    assert given.ingest["sessions"] == list(names)
    named = read_nwb(files, order="name")
    assert named.ingest["sessions"] == ["expert", "middle", "naive"]
    warned(named, "order is that of the alphabet")


def test_equal_times_are_no_order(build):
    files = [
        build(f"sub-m1_ses-{n}.nwb", start="2024-01-01T00:00:00+00:00", spikes=trains(n))
        for n in (2, 10)
    ]
    refused(files, "same session_start_time", "2024-01-01", "order='name'", order="time")
    assert read_nwb(files).ingest["sessions"] == ["2", "10"]


def test_the_order_and_the_spacing_are_said(build):
    files = [build(f"{n}.nwb", start=day(n), spikes=trains(n)) for n in (1, 2, 9)]
    recording = read_nwb(files)
    assert recording.ingest["spacing"].endswith("(they start 1 to 7 days apart)")
    assert "evenly spread over learning (they start 1 to 7 days apart): 1, 2, 9" in " ".join(
        recording.summary().split()
    )


def test_joined_recordings_say_what_was_read(build):
    """This ended in KeyError 'order'."""
    files = [build(f"{n}.nwb", start=day(n), spikes=trains(n)) for n in (1, 2)]
    recording = read_nwb(files)
    both = join([recording, recording])
    assert "Read: /units by stimulus_name" in both.summary()
    assert len(both.ingest["files"]) == 4


# --- several files of a session


def test_probes_and_behaviour_are_one_session(build):
    files = []
    for n in (1, 2):
        about = {"start": day(n), "session": f"{n}"}
        for p in "AB":
            name = f"sub-m1_ses-{n}_probe-{p}.nwb"
            files.append(build(name, spikes=trains((n, ord(p))), trials=False, **about))
        files.append(build(f"sub-m1_ses-{n}_behavior.nwb", spikes=False, **about))
    recording = read_nwb(files)
    assert recording.units_per_session == [4, 4] and recording.sessions == 2
    told = recording.ingest["files"][0]
    assert told["file"] == "sub-m1_ses-1_probe-A.nwb + sub-m1_ses-1_probe-B.nwb"
    assert [p["file"] for p in told["parts"]] == told["file"].split(" + ")
    warned(recording, "probe-a, probe-b", "taken together")
    warned(recording, "the trials stand in sub-m1_ses-1_behavior.nwb")
    alone = read_nwb([files[0], files[2]], min_sessions=1)
    np.testing.assert_array_equal(
        recording.data["activity"].values[0, 0, :, :2], alone.data["activity"].values[0, 0]
    )


def test_planes_of_one_session_are_no_sessions(build):
    start = day(1)
    planes = [
        build(f"sub-m1_ses-1-acq-plane{p}.nwb", start=start, spikes=trains(p)) for p in (0, 1)
    ]
    together = read_nwb(planes, min_sessions=1)
    assert together.sessions == 1 and together.units_per_session == [4]
    other = [
        build(f"sub-m1_ses-{n}.nwb", start=start, spikes=trains(p)) for p, n in enumerate("xy")
    ]
    refused(other, "same second", "same trials", "planes or probes", "order='given'")
    assert read_nwb(other, order="given").sessions == 2


def test_probes_with_other_trials_are_refused(build, parts):
    one = build("sub-m1_ses-1_probe-0.nwb", spikes=trains(0), session="1")
    moved = parts.trials(start_time=np.arange(10) * 2.0 + 1.2)
    two = build("sub-m1_ses-1_probe-1.nwb", spikes=trains(1), session="1", trials=moved)
    refused([one, two], "share 0 of 10 trials", min_sessions=1)


def test_a_copy_among_the_files_of_a_session_is_left_out(build):
    spikes = trains(0)
    files = [build(f"sub-m1_ses-1_probe-{p}.nwb", spikes=spikes, session="1") for p in (0, 1)]
    recording = read_nwb(files, min_sessions=1)
    assert recording.units_per_session == [2]
    warned(recording, "holds the same session as")


def test_files_of_behaviour_alone_are_left_out_and_named(build):
    files = [build(f"ses-{n}.nwb", start=day(n), spikes=trains(n)) for n in (1, 2)]
    files.append(build("ses-3.nwb", start=day(3), spikes=False))
    recording = read_nwb(files)
    assert recording.sessions == 2
    warned(recording, "ses-3.nwb", "behaviour only", "left out")
    refused(files[2], "ses-3.nwb", "neither units", min_sessions=1)


def test_the_session_that_differs_is_named(build, parts):
    files = [build(f"{n}.nwb", start=day(n), spikes=trains(n)) for n in (1, 2)]
    odd = parts.trials(stimulus_name=["u", "v"] * 5)
    files.append(build("3.nwb", start=day(3), spikes=trains(3), trials=odd))
    refused(files, "share 0 stimuli", "3 shows u, v, the others share a, b", "leave that session")


# --- parts of a file


def test_epochs_are_sessions_if_asked(build, parts):
    def add(file):
        columns = {"start_time": [0.0, 8, 10], "stop_time": [8.0, 10, 30]}
        columns["label"] = ["run", "sleep", "run"]
        parts.table(file, "intervals/epochs", columns)

    path = build(change=add)
    refused(path, "one session", "'epochs'", "it has epochs (/intervals/epochs)")
    recording = read_nwb(path, checkpoint_by="epochs")
    assert recording.ingest["sessions"] == ["run", "run (2)"]
    warned(recording, "fewer than 2 stimuli", "sleep")
    refused(build("2.nwb"), "no table of epochs", checkpoint_by="epochs")

    def overlapping(file):
        columns = {"start_time": [0.0, 5], "stop_time": [8.0, 30]}
        parts.table(file, "intervals/epochs", columns)

    refused(build("3.nwb", overlapping), "overlap", checkpoint_by="epochs")


def test_a_session_is_cut_by_trials_or_time(build):
    path = build()
    by_trials = read_nwb(path, checkpoint_by="trials:4")
    assert by_trials.ingest["files"][0]["trials"] == {
        "trials 1": {"a": 2, "b": 2},
        "trials 2": {"a": 2, "b": 2},
    }
    assert by_trials.ingest["files"][0]["dropped"] == {"incomplete last part": 2}
    by_time = read_nwb(path, checkpoint_by="time:8")
    # Trials of the third part start within a quarter of its time.
    assert by_time.ingest["sessions"] == ["time 1", "time 2"]
    assert by_time.ingest["files"][0]["dropped"] == {"incomplete last part": 2}
    by_time = read_nwb(path, checkpoint_by="time:7")
    assert by_time.ingest["sessions"] == ["time 1", "time 2", "time 3"]


def test_label_columns_are_not_offered_as_sessions(build, parts):
    flag = [0] * 6 + [1] * 4
    path = build(trials=parts.trials(outcome=["hit", "miss"] * 5, is_good=flag))
    with pytest.raises(DataError) as caught:
        read_nwb(path)
    assert "'trials:N'" in str(caught.value) and "outcome" not in str(caught.value)
    assert "is_good" not in str(caught.value)


# --- which units are the same


def tracked_files(build, ids, column="tracking_id"):
    return [
        build(f"{n}.nwb", start=day(n + 1), spikes=trains(n, len(own)), units={column: own})
        for n, own in enumerate(ids)
    ]


def test_cells_that_all_sessions_share_are_used_as_tracked(build):
    ids = [list(range(12)), [*range(11, 0, -1), 30], [*range(1, 12), 40, 41]]
    files = tracked_files(build, ids)
    recording = read_nwb(files)
    assert recording.tracked and recording.units_per_session == [11, 11, 11]
    assert list(recording.data["unit"].values) == [str(i) for i in range(1, 12)]
    warned(recording, "11 of 12 to 13 units are in all sessions", "--tracking none")
    alone = read_nwb(files[1], min_sessions=1).data["activity"].values[0, 0]
    np.testing.assert_array_equal(recording.data["activity"].values[0, 1], alone[:, 10::-1])
    apart = read_nwb(files, tracking="none")
    assert not apart.tracked and apart.units_per_session == [12, 12, 13]
    assert read_nwb(files[0], checkpoint_by="trials:4").tracked
    assert not read_nwb(files[0], checkpoint_by="trials:4", tracking="none").tracked


def test_too_few_shared_cells_are_not_tracked(build):
    recording = read_nwb(tracked_files(build, [[1, 2, 3], [2, 3, 4]]))
    assert not recording.tracked
    warned(recording, "2 units are in all of them", "fewer than 10")


def test_a_named_column_tracks(build):
    names = [[f"c{i}" for i in range(12)], [f"c{i}" for i in range(1, 13)]]
    files = tracked_files(build, names, "my_cell")
    assert not read_nwb(files).tracked
    recording = read_nwb(files, tracking="my_cell")
    assert recording.tracked and recording.units_per_session == [11, 11]
    with pytest.raises(ValueError, match="no column 'other'"):
        read_nwb(files, tracking="other")
    twice = tracked_files(build, [["x"] * 12, ["x"] * 12], "my_cell")
    refused(twice, "1 different cells in 12 rows", tracking="my_cell")


def test_cells_without_identity_are_not_tracked(build):
    ids = [[*range(12), -1], [*range(12), -1]]
    assert read_nwb(tracked_files(build, ids, "cell_specimen_id")).units_per_session == [12, 12]


def test_identities_that_cannot_be_used_are_said(build):
    twice = read_nwb(tracked_files(build, [[1, 1, 2], [1, 2, 3]]))
    assert not twice.tracked
    warned(twice, "2 different cells in 3 rows", "not used to track")
    warned(twice, "1 of 2 sessions say which units are the same", "--tracking")


# --- inspect says what score says


def test_inspect_of_several_files_says_what_they_are_together(build):
    files = [build(f"{n}.nwb", start=day(n), spikes=tuned(n, 12)) for n in (1, 2)]
    report = inspect_nwb(files)
    assert [f["file"] for f in report["files"]] == ["1.nwb", "2.nwb"]
    assert report["problems"] == [] and report["together"]["sessions"] == ["1", "2"]
    few = inspect_nwb([build("3.nwb", start=day(3)), build("4.nwb", start=day(4))], window_s=0.5)
    assert "has 2 units" in few["problems"][0]
    assert any("same responses" in w for w in few["warnings"])


def test_inspect_takes_the_options_of_score_and_shares_its_requirements(build, parts):
    trials = parts.trials(stimulus_name=None, odour_pair=LABELS)
    path = build(trials=trials, spikes=tuned(0, 12), units={"q": [1] * 9 + [0] * 3})
    assert "name one with label=" in inspect_nwb(path)["problems"][0]
    report = inspect_nwb(path, label="odour_pair")
    assert report["problems"] == [] and report["chosen"]["units"] == [12]
    few = inspect_nwb(path, label="odour_pair", units="q")
    assert "has 9 units in its smallest session; at least 10" in few["problems"][0]


def test_a_url_is_shown_as_it_was_given():
    refused("https:/example.org/a.nwb", "https://example.org/a.nwb is a remote address")


def test_files_of_one_session_stay_closed(build):
    files = [build(f"sub-m1_ses-1_probe-{p}.nwb", spikes=trains(p), session="1") for p in (0, 1)]
    read_nwb(files, min_sessions=1)
    for path in files:
        with h5py.File(path, "r+"):
            pass
