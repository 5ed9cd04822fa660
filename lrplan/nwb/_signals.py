"""Trials that a file holds as a signal, such as the number of the trial in each frame."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import h5py
import numpy as np

from lrplan.errors import DataError, UsageError
from lrplan.nwb._hdf5 import load, member
from lrplan.nwb._rois import Series
from lrplan.nwb._tables import Table
from lrplan.nwb._text import clean
from lrplan.registry import nearest


@contextmanager
def table_of_signal(file: h5py.File, signals: list[str], wanted: str) -> Iterator[Table]:
    """Give the table of trials that a signal stands for.

    Every run of one value is a trial: of a signal with two values, of the higher; of others, of
    each value from 0 on, since programs write -1 between trials. The other signals beside it that
    are as long are columns, with the value that they take most often in the trial.

    Parameters
    ----------
    file : h5py.File
        Where it lies.
    signals : list of str
        Paths of signals, for a message.
    wanted : str
        Path or name of the one with the trials.

    Raises
    ------
    UsageError
        If there is no such signal.
    DataError
        If it holds no trial, or has no clock.
    """
    series = _find(file, signals, wanted)
    values, times = _values(series), series.times([])
    values = values[: len(times)]
    first, last = _runs(values)
    if not len(first):
        raise DataError(
            f"{clean(series.path)} holds no run of a value of at least 0; expected the number of "
            "the trial in each frame, and -1 between trials; name another signal"
        )
    step = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
    stop = np.append(times, times[-1] + step)[last]
    columns: dict[str, np.ndarray] = {"start_time": times[first], "stop_time": stop}
    for name in series.group.parent:
        beside = member(series.group.parent, name)
        if not isinstance(beside, h5py.Group) or not _is_signal(beside):
            continue
        own = _values(Series(beside))
        if len(own) == series.shape[0] and name not in columns:
            columns[name] = np.array(
                [_most_often(own[a:b]) for a, b in zip(first, last, strict=True)]
            )
    with h5py.File("trials", "w", driver="core", backing_store=False) as memory:
        group = memory.create_group(f"trials of {series.path.strip('/').replace('/', ' ')}")
        group.attrs["colnames"] = list(columns)
        for name, column in columns.items():
            group[name] = column
        yield Table(group)


def _find(file: h5py.File, signals: list[str], wanted: str) -> Series:
    fitting = [p for p in signals if wanted.strip("/") in (p.strip("/"), p.rsplit("/", 1)[-1])]
    if not fitting and "/" in wanted:
        fitting = [wanted]
    group = member(file, fitting[0]) if len(fitting) == 1 else None
    if isinstance(group, h5py.Group) and _is_signal(group):
        return Series(group)
    raise UsageError(
        f"there is no signal {clean(wanted, 60)!r} of one number for each frame; "
        f"{nearest(wanted, [clean(p) for p in signals])}"
    )


def _is_signal(group: h5py.Group) -> bool:
    data = Series(group).data
    return data is not None and Series(group).shape[1] == 1 and data.dtype.kind in "iufb"


def _values(series: Series) -> np.ndarray:
    data = series.data
    assert data is not None
    return load(data).reshape(-1).astype(np.float64)


def _runs(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the first frame of each trial and the first one after it."""
    finite = np.unique(values[np.isfinite(values)])
    least = finite[-1] if len(finite) == 2 else 0.0
    kept = np.isfinite(values) & (values >= least)
    marked = np.where(kept, values, np.nan)
    # NaN differs from itself, so that every frame between trials is a run of its own.
    edges = np.flatnonzero(np.r_[True, marked[1:] != marked[:-1]]) if len(values) else np.empty(0)
    edges = edges.astype(int)
    ends = np.append(edges[1:], len(values))
    inside = kept[edges] if len(edges) else np.empty(0, dtype=bool)
    return edges[inside], ends[inside]


def _most_often(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    if not len(finite):
        return float("nan")
    kinds, counts = np.unique(finite, return_counts=True)
    return float(kinds[counts.argmax()])
