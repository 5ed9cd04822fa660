"""Responses of regions of interest: mean dF/F in the windows of trials."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np

from lrplan.errors import DataError
from lrplan.nwb._hdf5 import attribute, load, loadable, member
from lrplan.nwb._spikes import Responses, tracking_ids
from lrplan.nwb._tables import Table
from lrplan.nwb._text import clean
from lrplan.nwb._trials import Trials

BASELINE_PERCENTILE = 10.0
"""F0 of a region is this percentile of its fluorescence over the whole file."""

_BLOCK_BYTES = 32 * 2**20
_BASELINE_FRAMES = 20_000


@dataclass(frozen=True)
class Series:
    """A RoiResponseSeries: one value for each frame and region.

    Parameters
    ----------
    group : h5py.Group
        Where it lies.
    """

    group: h5py.Group

    @property
    def path(self) -> str:
        """Where it lies in the file."""
        return str(self.group.name)

    @property
    def role(self) -> str:
        """What it holds: ``dff``, ``fluorescence``, ``neuropil`` or ``deconvolved``."""
        own = self.path.rsplit("/", 1)[-1].lower()
        near = "/".join(self.path.lower().split("/")[-2:])
        container = clean(attribute(self.group.parent, "neurodata_type", ""))
        if "neuropil" in near:
            return "neuropil"
        if re.search(r"deconv|event|spike|inferred", own):
            return "deconvolved"
        if container == "DfOverF" or re.search(r"dff|df_?(over_?)?f|delta_?f", near):
            return "dff"
        return "fluorescence" if not re.search(r"deconv|event|spike", near) else "deconvolved"

    @property
    def data(self) -> h5py.Dataset | None:
        """The data, or None where they are missing or have no frames."""
        found = member(self.group, "data")
        usable = isinstance(found, h5py.Dataset) and found.ndim in (1, 2) and found.size
        return found if usable else None

    @property
    def rois(self) -> np.ndarray | None:
        """Rows of the table of regions, one for each column of the data."""
        found = member(self.group, "rois")
        return load(found).reshape(-1) if isinstance(found, h5py.Dataset) else None

    @property
    def table(self) -> Table | None:
        """The table of regions (PlaneSegmentation)."""
        found = member(self.group, "rois")
        reference = attribute(found, "table") if isinstance(found, h5py.Dataset) else None
        try:
            target = self.group.file[reference] if reference else None
        except (KeyError, OSError, RuntimeError, TypeError, ValueError):
            return None
        return Table(target) if isinstance(target, h5py.Group) else None

    @property
    def rate_hz(self) -> float | None:
        """Frames per second, where the series states them."""
        start = member(self.group, "starting_time")
        rate = attribute(start, "rate") if start is not None else None
        return None if rate is None else float(np.asarray(rate).reshape(-1)[0])

    @property
    def transposed(self) -> bool:
        """Whether the data are (region, frame), as some programs wrote them."""
        data, rois = self.data, self.rois
        if data is None or rois is None or data.ndim == 1:
            return False
        return data.shape[0] == len(rois) and data.shape[1] != len(rois)

    @property
    def shape(self) -> tuple[int, int]:
        """Frames and regions."""
        data = self.data
        if data is None:
            return 0, 0
        if data.ndim == 1:
            return int(data.shape[0]), 1
        shape = data.shape[::-1] if self.transposed else data.shape
        return int(shape[0]), int(shape[1])

    def rows(self, first: int, last: int) -> np.ndarray:
        """Return the frames from `first` up to but without `last`, as (frame, region)."""
        data = self.data
        assert data is not None
        if data.ndim == 1:
            block = load(data, slice(first, last))[:, None]
        elif self.transposed:
            block = load(data, (slice(None), slice(first, last))).T
        else:
            block = load(data, slice(first, last))
        if block.dtype.kind not in "iuf":
            raise DataError(f"{clean(data.name)} is of type {data.dtype}; expected numbers")
        scale, offset = (_number(attribute(data, n)) for n in ("conversion", "offset"))
        block = block.astype(np.float64)
        if scale is not None and scale != 1:
            block *= scale
        if offset:
            block += offset
        return block

    def times(self, warnings: list[str]) -> np.ndarray:
        """Return the time of each frame in seconds.

        Raises
        ------
        DataError
            If there are neither timestamps nor a rate, or they make no sense.
        """
        frames, _ = self.shape
        what = clean(self.path)
        stamps = member(self.group, "timestamps")
        if isinstance(stamps, h5py.Dataset):
            times = load(stamps).reshape(-1).astype(np.float64)
            if len(times) != frames:
                if abs(len(times) - frames) > 0.01 * frames:
                    raise DataError(
                        f"{what} has {frames} frames but {len(times)} timestamps; expected as many"
                    )
                warnings.append(
                    f"{what} has {frames} frames but {len(times)} timestamps; the rest is cut off"
                )
                times = times[:frames]
            if not np.isfinite(times).all() or (np.diff(times) <= 0).any():
                raise DataError(
                    f"the timestamps of {what} do not rise from frame to frame; expected "
                    "increasing seconds"
                )
            return times
        start = member(self.group, "starting_time")
        rate = self.rate_hz
        if not isinstance(start, h5py.Dataset) or rate is None:
            raise DataError(f"{what} has neither timestamps nor a rate; expected one of them")
        if not np.isfinite(rate) or rate <= 0:
            raise DataError(f"{what} has a rate of {rate:g} Hz; expected a number above 0")
        first = float(load(start).reshape(-1)[0])
        if not np.isfinite(first):
            raise DataError(f"{what} has no finite starting_time; expected seconds")
        return first + np.arange(frames) / rate


def _number(value: Any) -> float | None:
    if value is None:
        return None
    try:
        number = float(np.asarray(value).reshape(-1)[0])
    except (TypeError, ValueError, IndexError):
        return None
    return number if np.isfinite(number) else None


def check_shape(series: Series) -> None:
    """Raise if a series has no data, or not one column for each region."""
    data = series.data
    if data is None:
        raise DataError(f"{clean(series.path)} holds no data; expected (frame, region)")
    loadable(data)
    if data.id.get_storage_size() == 0:
        raise DataError(
            f"{clean(series.path)}/data was declared but never written; get the file again"
        )
    rois = series.rois
    if rois is not None and series.shape[1] != len(rois):
        raise DataError(
            f"{clean(series.path)} has {series.shape[1]} columns but names {len(rois)} regions; "
            "expected as many"
        )


def roi_responses(series: list[Series], trials: Trials) -> Responses:
    """Return the mean dF/F of each region in each trial, of one or several planes.

    Raises
    ------
    DataError
        If the data, their times or their regions make no sense, or no trial lies within them.
    """
    warnings: list[str] = []
    clocks = []
    for one in series:
        check_shape(one)
        clocks.append(one.times(warnings))
    for times in clocks:
        step = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
        inside = (trials.start >= times[0] - step) & (trials.stop <= times[-1] + 2 * step)
        trials.keep(inside, "outside the recording")
    for times in clocks:
        first, last = _frames(times, trials)
        trials.keep(last > first, "no frame in the window")
    if not len(trials.start):
        raise DataError(
            f"no trial lies within the frames of {clean(series[0].path)} "
            f"({clocks[0][0]:.6g} to {clocks[0][-1]:.6g} s); check the clock of the trials"
        )
    parts = [_one_series(s, t, trials, warnings) for s, t in zip(series, clocks, strict=True)]
    values = np.concatenate([p[0] for p in parts], axis=1)
    ids: list[str] | None = []
    for one, (_, own) in zip(series, parts, strict=True):
        if own is None or ids is None:
            ids = None
        else:
            ids += own if len(series) == 1 else [f"{one.path}:{i}" for i in own]
    role = series[0].role
    report: dict[str, Any] = {
        "responses": ", ".join(clean(s.path) for s in series),
        "role": role,
        "unit": "dF/F" if role in ("dff", "fluorescence") else "as stored",
        "rate_hz": [round(1 / float(np.median(np.diff(t))), 4) for t in clocks if len(t) > 1],
    }
    if role == "fluorescence":
        report["baseline"] = f"F0 = percentile {BASELINE_PERCENTILE:g} of each region over the file"
        warnings.append(
            f"dF/F was computed from {report['responses']} ({report['baseline']}; neuropil was "
            "not subtracted)"
        )
    return Responses(values, ids, report, warnings)


def _frames(times: np.ndarray, trials: Trials) -> tuple[np.ndarray, np.ndarray]:
    """Return the first frame of each window and the first one after it.

    A frame belongs to a window if it was taken from the window's start on and before its stop.
    Both are compared with a tolerance of a thousandth of a frame, so that a rounding error does
    not move a frame that lies on an edge.
    """
    step = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
    tolerance = 1e-3 * step
    first = np.searchsorted(times, trials.start - tolerance)
    return first, np.searchsorted(times, trials.stop - tolerance)


def _one_series(
    series: Series, times: np.ndarray, trials: Trials, warnings: list[str]
) -> tuple[np.ndarray, list[str] | None]:
    """Return the responses (trial, region) of one series and its regions' tracking ids."""
    frames, regions = series.shape
    frames = min(frames, len(times))
    first, last = _frames(times, trials)
    total = np.zeros((len(first), regions))
    count = np.zeros((len(first), regions), dtype=np.int32)
    baseline = series.role == "fluorescence"
    every = max(1, frames // _BASELINE_FRAMES)
    sample = []
    size = max(1, _BLOCK_BYTES // (8 * max(1, regions)))
    data = series.data
    if data is not None and data.chunks and not series.transposed:
        size = max(1, size // data.chunks[0]) * data.chunks[0]
    lost = 0
    for low in range(0, frames, size):
        high = min(frames, low + size)
        touched = np.flatnonzero((first < high) & (last > low))
        if not len(touched) and not baseline:
            continue
        block = series.rows(low, high)
        if baseline:
            sample.append(block[(-low) % every :: every])
        good = np.isfinite(block)
        whole = bool(good.all())
        if not whole:
            lost += int((~good).sum())
            block = np.where(good, block, 0.0)
        for t in touched:
            a, b = max(first[t], low) - low, min(last[t], high) - low
            total[t] += block[a:b].sum(axis=0)
            count[t] += b - a if whole else good[a:b].sum(axis=0, dtype=np.int32)
    if series.transposed:
        warnings.append(f"{clean(series.path)} is stored as (region, frame) and was turned")
    if lost:
        warnings.append(f"{lost} values of {clean(series.path)} are NaN or infinite")
    with np.errstate(invalid="ignore", divide="ignore"):
        values = total / count
    values[2 * count < (last - first)[:, None]] = np.nan
    if baseline:
        values = _dff(values, np.concatenate(sample), series, warnings)
    table = series.table
    rows = series.rois
    ids = None
    if table is not None and rows is not None:
        ids = tracking_ids(table, rows)
        for name in ("Accepted", "iscell", "valid_roi", "is_soma"):
            if name in table.columns:
                warnings.append(
                    f"{clean(table.path)} has a column {name}; all regions are used whatever it "
                    "says"
                )
    return values, ids


def _dff(values: np.ndarray, sample: np.ndarray, series: Series, warnings: list[str]) -> np.ndarray:
    """Return dF/F given mean fluorescence (trial, region) and a sample of frames."""
    base = np.full(sample.shape[1], np.nan)
    for region in range(sample.shape[1]):
        own = sample[:, region]
        own = own[np.isfinite(own)]
        if len(own):
            base[region] = np.percentile(own, BASELINE_PERCENTILE)
    bad = ~(base > 0)
    if bad.any():
        warnings.append(
            f"{int(bad.sum())} regions of {clean(series.path)} have a baseline of 0 or below and "
            "no dF/F"
        )
        base[bad] = np.nan
    return (values - base) / base
