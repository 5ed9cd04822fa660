import errno
import json
import os
import signal as signals
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest

from lrplan.errors import DataError, UsageError
from lrplan.measure.modalities import Course, make_modality
from lrplan.nwb import inspect_nwb, read_nwb, write_nwb
from lrplan.nwb.write import KINDS

NOISE = 0.2


@pytest.fixture(scope="module")
def signal():
    rng = np.random.default_rng(0)
    return np.abs(rng.standard_normal((3, 4, 60))) * np.array([1, 1.5, 2])[:, None, None]


def rng(seed=1):
    return np.random.default_rng(seed)


def gain_of(kind, signal, noise_sd=NOISE):
    return make_modality(KINDS[kind]).gain(signal, trials=10, noise_sd=noise_sd, window_s=1.0)


@pytest.mark.parametrize("tracked", [True, False])
@pytest.mark.parametrize("kind", ["spikes", "dff"])
def test_round_trip(tmp_path, signal, kind, tracked):
    files = write_nwb(
        signal, tmp_path / "out", noise_sd=NOISE, kind=kind, tracked=tracked, rng=rng()
    )
    recording = read_nwb(files)
    assert recording.tracked is tracked and recording.kind == kind
    assert recording.ingest["warnings"] == []
    assert recording.units_per_session == [60, 60, 60]
    gain = gain_of(kind, signal)
    values = recording.data["activity"].values[0] / gain
    sem = recording.data["activity_sem"].values[0] / gain
    error = values - signal
    first = np.sqrt(np.mean(error[0] ** 2))
    assert first == pytest.approx(NOISE, rel=0.15)
    # Spikes: the variance grows with the mean, and the noise is that of the first session.
    assert np.sqrt(np.mean(sem[0] ** 2)) == pytest.approx(NOISE, rel=0.1)
    assert abs(np.mean(error)) < 4 * NOISE / np.sqrt(error.size) * 1.5
    assert np.corrcoef(values.ravel(), signal.ravel())[0, 1] > 0.95


def test_dff_without_noise_comes_back_exactly(tmp_path, signal):
    for window_s, gap_s, rate_hz in ((0.3, 0.1, 10.0), (0.7, 0.2, 30.0), (1.0, 0.5, 7.0 * 2)):
        out = tmp_path / f"{window_s}"
        files = write_nwb(
            signal,
            out,
            noise_sd=0,
            kind="dff",
            rng=rng(),
            window_s=window_s,
            gap_s=gap_s,
            rate_hz=rate_hz,
        )
        values = read_nwb(files).data["activity"].values[0] / gain_of("dff", signal)
        np.testing.assert_allclose(values, signal, rtol=1e-5)


@pytest.mark.parametrize("kind", ["spikes", "dff"])
def test_trials_in_the_files_are_those_that_the_modality_made(tmp_path, signal, kind):
    """Every trial of every unit comes back, in the order in which it was shown."""
    made = make_modality(KINDS[kind]).trials(
        signal, trials=10, noise_sd=NOISE, course=Course(signal[0]), rng=rng(3)
    )
    files = write_nwb(signal, tmp_path / "o", noise_sd=NOISE, kind=kind, rng=rng(3))
    read = read_nwb(files).data["trials"].values[0] / gain_of(kind, signal)
    assert read.shape == made.shape == (3, 4, 10, 60)
    # Whole trials are matched by a random projection of their units, which tells them apart.
    mixed = np.random.default_rng(0).standard_normal(60)
    read, made = (
        np.take_along_axis(x, np.argsort(x @ mixed, axis=-1)[..., None], axis=2)
        for x in (read, made)
    )
    np.testing.assert_allclose(read, made, rtol=1e-4, atol=1e-5)


def test_a_modality_says_what_is_written(tmp_path, signal):
    options = {"noise_sd": NOISE, "rng": 1}
    spikes = write_nwb(signal, tmp_path / "a", modality="counts", **options)
    assert read_nwb(spikes).kind == "spikes"
    assert read_nwb(write_nwb(signal, tmp_path / "b", modality="ideal", **options)).kind == "dff"
    for said, bad in {
        "written as spikes, not as 'dff'": {"modality": "counts", "kind": "dff"},
        "nearest: counts": {"modality": "cuonts"},
        "no setting 'gain'; it has no settings": {"modality": "counts", "settings": {"gain": 1}},
        "settings is 5": {"modality": "counts", "settings": 5},
        "rng is 'x'": {"rng": "x"},
        "out is 5": {"out": 5},
    }.items():
        with pytest.raises(UsageError, match=said):
            write_nwb(signal, **{"out": tmp_path / "c", **options, **bad})
    assert not (tmp_path / "c").exists()


def test_units_that_a_session_lacks(tmp_path, signal):
    partial = signal.copy()
    partial[1, :, :20] = np.nan
    files = write_nwb(partial, tmp_path / "o", noise_sd=NOISE, kind="dff", tracked=False, rng=rng())
    assert read_nwb(files).units_per_session == [60, 40, 60]


def test_names_and_ids(tmp_path, signal):
    files = write_nwb(
        signal,
        tmp_path / "o",
        noise_sd=NOISE,
        kind="spikes",
        rng=rng(),
        unit_ids=[f"u{i}" for i in range(60)],
        stimulus_names=["cat", "dog", "eel", "fox"],
        subject_id="organism 7/x",
    )
    assert [f.name for f in files] == [f"sub-organism-7-x_ses-0{s}_ecephys.nwb" for s in (1, 2, 3)]
    recording = read_nwb(files)
    assert list(recording.data["stimulus"].values) == ["cat", "dog", "eel", "fox"]
    assert recording.data["unit"].values[5] == "u5"
    assert recording.ingest["order"] == "session_start_time"
    assert recording.ingest["files"][0]["subject"] == "organism-7-x"


@pytest.mark.parametrize("kind", ["spikes", "dff"])
def test_the_same_generator_gives_the_same_data(tmp_path, signal, kind):
    def content(name):
        files = write_nwb(signal, tmp_path / name, noise_sd=NOISE, kind=kind, rng=rng(5))
        held = {}
        for path in files:
            with h5py.File(path) as file:

                def note(name, thing, path=path):
                    numeric = isinstance(thing, h5py.Dataset) and not name.startswith("specif")
                    if numeric and thing.dtype.kind != "V" and not thing.dtype.hasobject:
                        held[path.name, name] = thing[()].tobytes()
                    elif numeric and h5py.check_string_dtype(thing.dtype):
                        held[path.name, name] = str(thing[()])

                file.visititems(note)
        return held

    one, two = content("a"), content("b")
    assert one == two and len(one) > 20


@pytest.mark.parametrize("kind", ["spikes", "dff"])
def test_nwbinspector_finds_nothing_to_complain_about(tmp_path, signal, kind):
    inspector = pytest.importorskip("nwbinspector")
    files = write_nwb(signal, tmp_path / "o", noise_sd=NOISE, kind=kind, rng=rng())
    for config in (None, inspector.load_config("dandi")):
        messages = list(inspector.inspect_nwbfile(nwbfile_path=files[0], config=config))
        assert [m.message for m in messages] == []


@pytest.mark.parametrize("kind", ["spikes", "dff"])
def test_the_schema_is_met(tmp_path, signal, kind):
    pynwb = pytest.importorskip("pynwb")
    files = write_nwb(signal, tmp_path / "o", noise_sd=NOISE, kind=kind, rng=rng())
    assert pynwb.validate(path=files[0]) == []
    assert json.dumps(inspect_nwb(files[0])["problems"]) == "[]"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kind": "calcium"}, "unknown kind"),
        ({"noise_sd": -1}, "noise_sd is -1"),
        ({"noise_sd": np.nan}, "noise_sd is nan"),
        ({"noise_sd": 0, "kind": "spikes"}, "kind='dff'"),
        ({"noise_sd": 1e-3, "kind": "spikes"}, "more trials"),
        ({"trials": 0}, "trials is 0"),
        ({"window_s": 0.25}, "whole number of frames"),
        ({"gap_s": 0}, "gap_s is 0"),
        ({"stimulus_names": ["a"]}, "stimulus_names"),
        ({"stimulus_names": 5}, "stimulus_names is 5"),
        ({"unit_ids": [1, 1]}, "unit_ids"),
        ({"subject_id": "///"}, "subject_id"),
        ({"signal": np.zeros((2, 3))}, "shape (2, 3)"),
        ({"signal": np.full((2, 3, 4), np.inf)}, "infinite"),
        ({"signal": np.full((2, 3, 4), np.nan)}, "NaN"),
        ({"signal": np.zeros((2, 3, 4)), "kind": "spikes"}, "no unit is active"),
    ],
)
def test_bad_arguments_write_nothing(tmp_path, signal, changes, words):
    settings = {"signal": signal, "noise_sd": NOISE, "kind": "dff", "rng": rng()} | changes
    with pytest.raises(UsageError) as caught:
        write_nwb(settings.pop("signal"), tmp_path / "out", **settings)
    assert words in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_nothing_is_overwritten(tmp_path, signal):
    settings = {"noise_sd": NOISE, "kind": "dff"}
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="not empty"):
        write_nwb(signal, tmp_path, rng=rng(), **settings)
    with pytest.raises(UsageError, match="not a directory"):
        write_nwb(signal, tmp_path / "mine.txt", rng=rng(), **settings)
    assert os.listdir(tmp_path) == ["mine.txt"]
    (tmp_path / "empty").mkdir()
    assert len(write_nwb(signal, tmp_path / "empty", rng=rng(), **settings)) == 3


@pytest.mark.parametrize("existing", [True, False])
def test_a_full_disk_leaves_nothing(tmp_path, signal, monkeypatch, existing):
    out = tmp_path / "out"
    if existing:
        out.mkdir()
    calls = []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("lrplan.nwb.write.os.fsync", full)
    with pytest.raises(DataError, match="No space left"):
        write_nwb(signal, out, noise_sd=NOISE, kind="dff", rng=rng())
    assert out.exists() == existing and not list(out.glob("*") if existing else [])
    assert not existing or os.listdir(out) == []


def test_an_interrupt_leaves_nothing(tmp_path, signal, monkeypatch):
    def stop(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr("lrplan.nwb.write.os.fsync", stop)
    with pytest.raises(KeyboardInterrupt):
        write_nwb(signal, tmp_path / "out", noise_sd=NOISE, kind="dff", rng=rng())
    assert not (tmp_path / "out").exists()


def test_a_killed_run_leaves_no_file_and_can_be_repeated(tmp_path, signal):
    code = (
        "import sys, time, numpy as np, lrplan.nwb.write as w\n"
        "w.os.fsync = lambda d: (print('half', flush=True), time.sleep(60))\n"
        "w.write_nwb(np.ones((3, 2, 5)), sys.argv[1], noise_sd=0.1, kind='dff',"
        " rng=np.random.default_rng(0))\n"
    )
    out = tmp_path / "out"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(out)], stdout=subprocess.PIPE, text=True
    ) as run:
        assert run.stdout is not None and run.stdout.readline() == "half\n"
        run.send_signal(signals.SIGKILL)
    assert run.returncode == -signals.SIGKILL
    assert list(out.glob("*.nwb")) == [] or all(p.name.startswith(".") for p in out.iterdir())
    assert len(write_nwb(signal, out, noise_sd=NOISE, kind="dff", rng=rng())) == 3
    assert len(os.listdir(out)) == 3


@pytest.mark.parametrize("kind", ["spikes", "dff"])
def test_a_usual_recording_is_written_quickly(tmp_path, kind):
    signal = np.abs(np.random.default_rng(0).standard_normal((21, 8, 300)))
    start = time.perf_counter()
    write_nwb(signal, tmp_path / "o", noise_sd=0.1, kind=kind, rng=rng())
    assert time.perf_counter() - start < 15
