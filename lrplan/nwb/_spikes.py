"""Responses of sorted units: spike rates in the windows of trials."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import h5py
import numpy as np

from lrplan.errors import DataError
from lrplan.nwb._hdf5 import load, member
from lrplan.nwb._options import Options
from lrplan.nwb._responses import Responses, join_rows
from lrplan.nwb._rows import Rows, choose_rows
from lrplan.nwb._tables import Table
from lrplan.nwb._text import clean, listed
from lrplan.nwb._trials import OUTSIDE, Trials

# A gap in which that many spikes are missing was not recorded: silence has odds of exp(-20).
_MISSED = 20.0
# Units that fire less, with trials that are further apart, are seldom: the times are no seconds.
_SLOW_HZ = 0.05
_FAR_APART_S = 100.0


@dataclass
class Train:
    """The spikes of the units of one table.

    Parameters
    ----------
    table : Table
        Where they stand.
    rows : Rows
        Which units are read.
    units : list of array
        Sorted times of those, in seconds.
    restarts : int
        How often times went back within a unit, on average.
    """

    table: Table
    rows: Rows
    units: list[np.ndarray]
    restarts: float = 0.0
    dropped: dict[str, int] = field(default_factory=dict)


def spike_responses(
    file: h5py.File, tables: list[Table], trials: Trials, options: Options
) -> Responses:
    """Return spike rates in Hz, and drop trials during which nothing was recorded.

    Parameters
    ----------
    file : h5py.File
        Where they lie.
    tables : list of Table
        Of units; of several probes they are one population.
    trials : Trials
        Those outside the recording are dropped.
    options : Options
        Which units are read.

    Raises
    ------
    DataError
        If a table is damaged, its times are not in seconds, or no spike falls in any window.
    """
    warnings: list[str] = []
    trains = [_load(file, t, options, warnings) for t in tables]
    units = [u for train in trains for u in train.units]
    what = listed([t.path for t in tables])
    _refuse_restarts(trains, trials)
    _drop_unrecorded(units, what, trials)
    values = np.empty((len(trials.start), len(units)))
    for u, unit in enumerate(units):
        values[:, u] = np.searchsorted(unit, trials.stop) - np.searchsorted(unit, trials.start)
    if not values.any():
        total = sum(map(len, units))
        if total == 0:
            raise DataError(f"none of the {len(units)} units of {what} has a spike")
        raise DataError(
            f"none of {total} spikes falls in a trial: {_spans(units, trials.span)}; expected both "
            "in seconds on one clock, and a window (--window) in which units respond"
        )
    values /= (trials.stop - trials.start)[:, None]
    _check_unit_of_time(units, values, trials, warnings)
    first = 0
    for train in trains:
        _blank_unobserved(train, trials, values[:, first : first + len(train.units)], warnings)
        first += len(train.units)
    report: dict[str, Any] = {
        "responses": ", ".join(clean(t.path) for t in tables),
        "role": "spikes",
        "unit": "Hz",
        "dropped_spikes": {k: v for t in trains for k, v in t.dropped.items()},
    }
    return join_rows(values, [t.rows for t in trains], [t.path for t in tables], report, warnings)


def _load(file: h5py.File, table: Table, options: Options, warnings: list[str]) -> Train:
    """Return the spikes of the units of one table that are read."""
    found = member(table.group, "spike_times")
    if not isinstance(found, h5py.Dataset):
        raise DataError(f"{clean(table.path)} has no spike_times; spike-sort first")
    times = load(found).reshape(-1)
    if times.dtype.kind != "f":
        raise DataError(
            f"{clean(table.path)}/spike_times are of type {times.dtype}; expected seconds as "
            "floating-point numbers; divide sample numbers by the sampling rate"
        )
    ends = table.index("spike_times", len(times))
    if not len(ends):
        raise DataError(f"{clean(table.path)} has no units; expected at least one")
    rows = choose_rows(file, table, options, "units", warnings)
    units = []
    bad = unsorted = repeated = back = 0
    for unit, kept in zip(np.split(times.astype(np.float64), ends[:-1]), rows.kept, strict=True):
        if not kept:
            continue
        finite = np.isfinite(unit)
        bad += int((~finite).sum())
        unit = unit[finite]
        steps = np.diff(unit)
        if (steps < 0).any():
            unsorted += 1
            back += int((steps < 0).sum())
            unit = np.sort(unit)
            steps = np.diff(unit)
        repeated += int((steps == 0).sum())
        units.append(unit)
    if bad:
        warnings.append(f"{bad} spike times are NaN or infinite and were dropped")
    if unsorted:
        warnings.append(f"the spike times of {unsorted} units were not in order and were sorted")
    if repeated:
        warnings.append(f"{repeated} spikes stand at the same time as another of their unit")
    return Train(table, rows, units, back / len(units), {"not finite": bad} if bad else {})


def _spans(units: list[np.ndarray], trials: tuple[float, float]) -> str:
    """Say when spikes and trials are."""
    held = [u for u in units if len(u)]
    first, last = min(u[0] for u in held), max(u[-1] for u in held)
    return (
        f"spikes lie at {first:.6g} to {last:.6g}, trials at {trials[0]:.6g} to {trials[1]:.6g} s"
    )


def _refuse_restarts(trains: list[Train], trials: Trials) -> None:
    """Raise if spike times start anew in each trial: nothing tells whose trial they are of."""
    units = [u for t in trains for u in t.units if len(u)]
    if not units or len(trials.start) < 4:
        return
    reach = max(u[-1] for u in units) - min(u[0] for u in units)
    first, last = trials.span
    spacing = float(np.median(np.diff(trials.start)))
    unsorted = sum(t.restarts * len(t.units) for t in trains) / len(units)
    if unsorted >= 1 and reach < 3 * spacing and reach < 0.25 * (last - first):
        raise DataError(
            f"spike times look relative to their trial: they go back {unsorted:.0f} times in a "
            f"unit, and {_spans(units, trials.span)}; expected times on the clock of the session; "
            "add each trial's start to its spikes"
        )


def _drop_unrecorded(units: list[np.ndarray], what: str, trials: Trials) -> None:
    """Drop trials before the first and after the last spike of all units together.

    Only where the gap between the recording and the trial is so long that silence cannot
    explain it: a stimulus that no unit answers is a finding.
    """
    spikes = [u for u in units if len(u)]
    if not spikes:
        return
    first, last = min(u[0] for u in spikes), max(u[-1] for u in spikes)
    if last <= first:
        return
    before = trials.span
    rate = sum(map(len, spikes)) / (last - first)
    gap = np.maximum(first - trials.stop, trials.start - last)
    trials.keep(gap * rate <= _MISSED, OUTSIDE)
    trials.check_kept(f"the spikes of {what}", (float(first), float(last)), before)


def _check_unit_of_time(
    units: list[np.ndarray], values: np.ndarray, trials: Trials, warnings: list[str]
) -> None:
    """Refuse times that cannot be seconds, and say which hardly are."""
    last = max(float(u[-1]) for u in units if len(u))
    end = float(trials.stop.max())
    length = end - min(0.0, float(trials.start.min()))
    if last > 100 * length and last > 1e4:
        raise DataError(
            f"spike times reach {last:.6g} while trials end at {end:.6g} s; they look like "
            "samples or milliseconds; expected seconds"
        )
    highest = float(values.mean(axis=0).max())
    if highest > 2000:
        raise DataError(
            f"a unit fires at {highest:.6g} Hz on average; spike times or trial times are not in "
            "seconds; expected both in seconds"
        )
    if len(trials.start) < 4:
        return
    rates = [len(u) / (u[-1] - u[0]) for u in units if len(u) > 1 and u[-1] > u[0]]
    spacing = float(np.median(np.diff(trials.start)))
    if rates and float(np.median(rates)) < _SLOW_HZ and spacing > _FAR_APART_S:
        warnings.append(
            f"spikes and trials look like milliseconds or samples instead of seconds: units fire "
            f"at {float(np.median(rates)):.2g} Hz (median) and trials start {spacing:.6g} s apart; "
            "windows and rates are wrong if so; convert the times to seconds"
        )


def _blank_unobserved(
    train: Train, trials: Trials, values: np.ndarray, warnings: list[str]
) -> None:
    """Set to NaN the trials that lie outside a unit's ``obs_intervals``."""
    table = train.table
    found = member(table.group, "obs_intervals")
    if not isinstance(found, h5py.Dataset) or found.ndim != 2 or found.shape[1] != 2:
        return
    spans = load(found).astype(np.float64)
    ends = table.index("obs_intervals", len(spans))
    tolerance = 1e-6
    every = np.split(spans, ends[:-1])
    for u, own in enumerate(o for o, kept in zip(every, train.rows.kept, strict=True) if kept):
        if not len(own):
            continue
        own = own[np.argsort(own[:, 0])]
        reach = np.maximum.accumulate(own[:, 1])
        place = np.searchsorted(own[:, 0], trials.start + tolerance, side="right") - 1
        inside = (place >= 0) & (reach[np.maximum(place, 0)] >= trials.stop - tolerance)
        values[~inside, u] = np.nan
    lost = ~np.isfinite(values)
    if not lost.any():
        return
    told = (
        f"obs_intervals of {clean(table.path)} leave out {100 * float(lost.mean()):.3g}% of the "
        "responses: a trial counts for a unit only if it was observed during all of the window "
        f"({trials.report['window']['rule']})"
    )
    if lost.all():
        own = every[0][np.argsort(every[0][:, 0])] if len(every[0]) else spans
        raise DataError(
            f"{told}; the first trial's window is {trials.start[0]:.6g} to {trials.stop[0]:.6g} s, "
            f"intervals are {listed([f'{a:.6g} to {b:.6g}' for a, b in own], 3)} s; choose a "
            "window that lies in them with window_s= (--window)"
        )
    warnings.append(told)
