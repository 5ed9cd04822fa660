"""Small NWB files, written by hand so that each can be wrong in one way."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

REAL = Path(__file__).parents[4] / "shared" / "nwb"


def _column(group, name, values):
    values = np.asarray(values)
    if values.dtype.kind in "UO":
        dtype = h5py.string_dtype()
        dataset = group.create_dataset(name, data=values.astype(object), dtype=dtype)
    else:
        dataset = group.create_dataset(name, data=values)
    dataset.attrs["neurodata_type"] = "VectorData"
    return dataset


def add_table(file, path, columns, kind="TimeIntervals"):
    group = file.create_group(path)
    group.attrs["neurodata_type"] = kind
    group.attrs["colnames"] = list(columns)
    length = len(next(iter(columns.values())))
    group.create_dataset("id", data=np.arange(length))
    for name, values in columns.items():
        _column(group, name, values)
    return group


def add_units(file, spikes, path="units", **columns):
    group = file.create_group(path)
    group.attrs["neurodata_type"] = "Units"
    group.attrs["colnames"] = ["spike_times", *columns]
    group.create_dataset("id", data=np.arange(len(spikes)))
    times = np.concatenate(spikes) if spikes else np.empty(0)
    _column(group, "spike_times", times)
    _column(group, "spike_times_index", np.cumsum([len(s) for s in spikes]).astype("u8"))
    for name, values in columns.items():
        _column(group, name, values)
    return group


def add_series(file, path, data, *, rate=10.0, rois=None, tracking=None, container="DfOverF"):
    group = file.create_group(path)
    group.attrs["neurodata_type"] = "RoiResponseSeries"
    group.parent.attrs["neurodata_type"] = container
    group.create_dataset("data", data=data)
    if rate is not None:
        group.create_dataset("starting_time", data=0.0).attrs["rate"] = rate
    count = data.shape[1] if data.ndim == 2 else 1
    table_path = "processing/ophys/ImageSegmentation/PlaneSegmentation"
    if table_path not in file:
        columns = {"tracking_id": np.arange(count) if tracking is None else tracking}
        add_table(file, table_path, columns, kind="PlaneSegmentation")
    region = group.create_dataset("rois", data=np.arange(count) if rois is None else rois)
    region.attrs["neurodata_type"] = "DynamicTableRegion"
    region.attrs["table"] = file[table_path].ref
    return group


def add_metadata(file, *, start="2024-01-01T10:00:00+00:00", subject="m1", session=None, name="x"):
    file.attrs["nwb_version"] = "2.6.0"
    file["identifier"] = name
    file["session_start_time"] = start
    if subject is not None:
        file["general/subject/subject_id"] = subject
    if session is not None:
        file["general/session_id"] = session


LABELS = ["a", "b"] * 5
STARTS = np.arange(10) * 2.0 + 1


def trial_columns(**changes):
    columns = {"start_time": STARTS, "stop_time": STARTS + 1, "stimulus_name": LABELS}
    columns.update(changes)
    return {k: v for k, v in columns.items() if v is not None}


def spike_trains(counts_a=(4, 0), counts_b=(1, 2)):
    """Return trains with fixed counts in every trial of `a` and of `b`, one entry per unit."""
    trains = []
    for a, b in zip(counts_a, counts_b, strict=True):
        own = [
            start + (np.arange(n) + 0.5) / max(n, 1)
            for start, label in zip(STARTS, LABELS, strict=True)
            for n in [a if label == "a" else b]
        ]
        trains.append(np.concatenate(own))
    return trains


@pytest.fixture
def build(tmp_path):
    """Return a function that writes a plain file of spikes; `change` spoils or extends it."""

    def write(name="s1.nwb", change=None, *, spikes=None, trials=None, units=None, **metadata):
        path = tmp_path / name
        with h5py.File(path, "w") as file:
            add_metadata(file, name=name, **metadata)
            if spikes is not False:
                add_units(file, spike_trains() if spikes is None else spikes, **(units or {}))
            if trials is not False:
                add_table(file, "intervals/trials", trials or trial_columns())
            if change is not None:
                change(file)
        return path

    return write


@pytest.fixture
def parts():
    """Return the functions that add parts to a file."""

    class Parts:
        table = staticmethod(add_table)
        units = staticmethod(add_units)
        series = staticmethod(add_series)
        trials = staticmethod(trial_columns)
        trains = staticmethod(spike_trains)

    return Parts


@pytest.fixture
def real():
    """Return a function that finds a published file, or skips."""

    def find(name):
        path = REAL / name
        if not path.exists():
            pytest.skip("the folder shared/nwb beside the repository is absent")
        return path

    return find
