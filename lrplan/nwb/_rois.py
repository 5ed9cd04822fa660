"""Responses of regions of interest: mean dF/F in the windows of trials."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import h5py
import numpy as np

from lrplan.errors import DataError
from lrplan.nwb._hdf5 import attribute, load, loadable, member
from lrplan.nwb._options import Options
from lrplan.nwb._responses import Responses, join_rows
from lrplan.nwb._roles import DFF, FLUORESCENCE, Role, role_of
from lrplan.nwb._rows import Rows, choose_rows
from lrplan.nwb._tables import Table
from lrplan.nwb._text import clean
from lrplan.nwb._trials import OUTSIDE, Trials

BASELINE_PERCENTILE = 10.0
"""F0 of a region is this percentile of its fluorescence over the whole file."""
MOST_DFF = 10.0
"""A dF/F between the percentiles 10 and 90 above this says that F0 is no baseline."""
SLOWEST_S = 5.0
"""Frames that are farther apart hardly have times in seconds."""

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

    @cached_property
    def version(self) -> Role:
        """What it holds, and how good a version of it."""
        container = clean(attribute(self.group.parent, "neurodata_type", ""))
        table = self.table
        return role_of(self.path, container, None if table is None else table.path)

    @property
    def role(self) -> str:
        """What it holds, such as ``dff`` or ``neuropil``."""
        return self.version.name

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

    def shares_regions(self, other: Series) -> bool:
        """Return whether another series holds some of the same regions, as far as files say.

        Series that name no regions are of the same ones if they have as many.
        """
        mine, theirs = self.table, other.table
        if mine is None or theirs is None:
            return self.shape[1] == other.shape[1]
        if mine.path != theirs.path:
            return False
        one, two = self.rois, other.rois
        return one is None or two is None or bool(np.isin(one, two).any())

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


def roi_responses(
    file: h5py.File, series: list[Series], trials: Trials, options: Options
) -> Responses:
    """Return the mean dF/F of each region in each trial, of one or several planes.

    Frames of a plane are averaged on its own clock, so that planes that were scanned one after
    the other need no common one.

    Parameters
    ----------
    file : h5py.File
        Where they lie.
    series : list of Series
        One for each plane.
    trials : Trials
        Those outside the recording are dropped.
    options : Options
        Which regions are read; a signal that was named is read as it is where it is no raw
        fluorescence.

    Raises
    ------
    DataError
        If the data, their times or their regions make no sense, or no trial lies within them.
    """
    warnings: list[str] = []
    clocks = []
    for one in series:
        check_shape(one)
        times = one.times(warnings)
        clocks.append(times)
        step = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
        if step > SLOWEST_S:
            warnings.append(
                f"frames of {clean(one.path)} are {step:.4g} s apart; its times look like "
                "milliseconds or samples instead of seconds; windows are wrong if so; convert "
                "them to seconds"
            )
    before = trials.span
    for times in clocks:
        step = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
        inside = (trials.start >= times[0] - step) & (trials.stop <= times[-1] + 2 * step)
        trials.keep(inside, OUTSIDE)
    first, last = max(t[0] for t in clocks), min(t[-1] for t in clocks)
    trials.check_kept(f"the frames of {clean(series[0].path)}", (first, last), before)
    for times in clocks:
        first, last = _frames(times, trials)
        trials.keep(last > first, "no frame in the window")
    if not len(trials.start):
        raise DataError(
            f"no frame of {clean(series[0].path)} lies in the window of any trial "
            f"({len(clocks[0]) / max(clocks[0][-1] - clocks[0][0], 1e-9):.3g} frames a second); "
            "choose a longer one with window_s= (--window)"
        )
    planes = [_one_series(s, t, trials, warnings) for s, t in zip(series, clocks, strict=True)]
    role = series[0].role
    baseline = None
    if role == FLUORESCENCE:
        if all(p.is_raw for p in planes):
            baseline = f"F0 = percentile {BASELINE_PERCENTILE:g} of each region over the file"
            for plane in planes:
                plane.divide(warnings)
        else:
            _refuse_unless_named(next(p for p in planes if not p.is_raw), options, warnings)
            role = "fluorescence as stored"
    rows = [_rows_of(file, s, options, warnings) for s in series]
    values = np.concatenate(
        [p.values[:, r.kept] for p, r in zip(planes, rows, strict=True)], axis=1
    )
    dff = role == DFF or baseline is not None
    report: dict[str, Any] = {
        "responses": ", ".join(clean(s.path) for s in series),
        "role": role,
        "unit": "dF/F" if dff else "as stored",
        "rate_hz": [round(1 / float(np.median(np.diff(t))), 4) for t in clocks if len(t) > 1],
    }
    if baseline is not None:
        report["baseline"] = baseline
        warnings.append(
            f"dF/F was computed from {report['responses']} ({baseline}; neuropil was not "
            "subtracted)"
        )
    return join_rows(values, rows, [s.path for s in series], report, warnings)


def _rows_of(file: h5py.File, series: Series, options: Options, warnings: list[str]) -> Rows:
    """Return which columns of a series are read, and whose they are."""
    count = series.shape[1]
    table, named = series.table, series.rois
    if table is None or named is None:
        if options.units is not None or options.area is not None:
            raise DataError(
                f"{clean(series.path)} names no table of regions, so units= (--units) and area= "
                "(--area) cannot choose; leave them out"
            )
        return Rows(np.ones(count, dtype=bool), np.full(count, None, dtype=object), None, None)
    if len(named) and (named.min() < 0 or named.max() >= table.rows):
        raise DataError(
            f"{clean(series.path)} names regions {named.min()} to {named.max()}, but "
            f"{clean(table.path)} has {table.rows}; write the file again"
        )
    rows = choose_rows(file, table, options, "regions", warnings)
    ids = None if rows.ids is None else [rows.ids[r] for r in named]
    return Rows(rows.kept[named], rows.areas[named], ids, rows.tracked_by, rows.chosen)


def _refuse_unless_named(plane: Plane, options: Options, warnings: list[str]) -> None:
    """Refuse to divide by a baseline that is none; a series that was named is read as it is."""
    what = clean(plane.series.path)
    found = (
        f"{what} is no raw fluorescence: in {int(plane.flat.sum())} of {len(plane.flat)} regions "
        f"the {BASELINE_PERCENTILE:g}th percentile is near or below 0 (median "
        f"{float(np.nanmedian(plane.base)):.3g}), so it is no F0 to divide by; its baseline seems "
        "to have been subtracted"
    )
    if options.signal is None:
        raise DataError(f"{found}; name it with signal= (--signal) to read it as it is")
    warnings.append(f"{found}; it is read as it is")


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


@dataclass
class Plane:
    """Mean signals of one series.

    Parameters
    ----------
    series : Series
        Which.
    values : array (trial, region)
        Mean over the frames of each trial's window.
    base, high : array (region,)
        F0, and the percentile as far from the top as F0 is from the bottom; both NaN where the
        series is no fluorescence.
    """

    series: Series
    values: np.ndarray
    base: np.ndarray
    high: np.ndarray

    @property
    def flat(self) -> np.ndarray:
        """Regions whose F0 is no baseline: not above 0, or small beside how the signal varies."""
        steep = self.high - self.base > MOST_DFF * self.base
        return np.isfinite(self.base) & (steep | (self.base <= 0))

    @property
    def is_raw(self) -> bool:
        """Whether most regions have a baseline."""
        return 2 * int(self.flat.sum()) <= int(np.isfinite(self.base).sum())

    def divide(self, warnings: list[str]) -> None:
        """Turn fluorescence into dF/F."""
        bad = np.isfinite(self.base) & (self.base <= 0)
        if bad.any():
            warnings.append(
                f"{int(bad.sum())} regions of {clean(self.series.path)} have a baseline of 0 or "
                "below and no dF/F"
            )
        base = np.where(self.base > 0, self.base, np.nan)
        self.values = (self.values - base) / base


def _one_series(series: Series, times: np.ndarray, trials: Trials, warnings: list[str]) -> Plane:
    """Return the mean signal of one series in each trial."""
    frames, regions = series.shape
    frames = min(frames, len(times))
    first, last = _frames(times, trials)
    total = np.zeros((len(first), regions))
    count = np.zeros((len(first), regions), dtype=np.int32)
    baseline = series.role == FLUORESCENCE
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
    base, top = np.full((2, regions), np.nan)
    if baseline:
        base, top = _percentiles(np.concatenate(sample))
    return Plane(series, values, base, top)


def _percentiles(sample: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return F0 of each region and its opposite, given a sample of frames (frame, region)."""
    out = np.full((2, sample.shape[1]), np.nan)
    for region in range(sample.shape[1]):
        own = sample[:, region]
        own = own[np.isfinite(own)]
        if len(own):
            out[:, region] = np.percentile(own, (BASELINE_PERCENTILE, 100 - BASELINE_PERCENTILE))
    return out[0], out[1]
