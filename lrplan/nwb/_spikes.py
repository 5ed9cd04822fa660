"""Responses of sorted units: spike rates in the windows of trials."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import h5py
import numpy as np

from lrplan.errors import DataError
from lrplan.nwb._hdf5 import load, member
from lrplan.nwb._tables import Table
from lrplan.nwb._text import clean
from lrplan.nwb._trials import Trials

# A gap in which that many spikes are missing was not recorded: silence has odds of exp(-20).
_MISSED = 20.0


@dataclass
class Responses:
    """The response of every unit in every trial.

    Parameters
    ----------
    values : array (trial, unit)
        Spikes per second, or dF/F; NaN where a unit was not observed.
    ids : list of str or None
        What identifies a unit across sessions, where the file says so.
    report : dict
        What was chosen and dropped.
    warnings : list of str
        What was doubtful.
    """

    values: np.ndarray
    ids: list[str] | None
    report: dict[str, Any]
    warnings: list[str] = field(default_factory=list)


def tracking_ids(table: Table, rows: np.ndarray | None = None) -> list[str] | None:
    """Return the ``tracking_id`` of units, or None where it is missing or not unique."""
    values = table.values("tracking_id") if "tracking_id" in table.columns else None
    if values is None:
        return None
    if rows is not None:
        if len(rows) and (rows.min() < 0 or rows.max() >= len(values)):
            return None
        values = values[rows]
    ids = [clean(v, None) for v in values]
    return ids if len(set(ids)) == len(ids) else None


def spike_responses(table: Table, trials: Trials) -> Responses:
    """Return spike rates in Hz, and drop trials during which nothing was recorded.

    Raises
    ------
    DataError
        If the table is damaged, its times are not in seconds, or no spike falls in any window.
    """
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
    report: dict[str, Any] = {
        "responses": clean(table.path),
        "role": "spikes",
        "unit": "Hz",
        "dropped_spikes": {},
    }
    warnings: list[str] = []
    units = []
    bad = unsorted = repeated = 0
    for unit in np.split(times.astype(np.float64), ends[:-1]) if len(ends) else []:
        finite = np.isfinite(unit)
        bad += int((~finite).sum())
        unit = unit[finite]
        steps = np.diff(unit)
        if (steps < 0).any():
            unsorted += 1
            unit = np.sort(unit)
            steps = np.diff(unit)
        repeated += int((steps == 0).sum())
        units.append(unit)
    if bad:
        report["dropped_spikes"]["not finite"] = bad
        warnings.append(f"{bad} spike times are NaN or infinite and were dropped")
    if unsorted:
        warnings.append(f"the spike times of {unsorted} units were not in order and were sorted")
    if repeated:
        warnings.append(f"{repeated} spikes stand at the same time as another of their unit")
    if not units:
        raise DataError(f"{clean(table.path)} has no units; expected at least one")
    if "quality" in table.columns:
        warnings.append("the units have a column quality; all units are used whatever it says")
    _drop_unrecorded(units, trials)
    if not len(trials.start):
        raise DataError("no trial lies within the recording; check the units of the times")
    values = np.empty((len(trials.start), len(units)))
    for u, unit in enumerate(units):
        values[:, u] = np.searchsorted(unit, trials.stop) - np.searchsorted(unit, trials.start)
    if not values.any():
        total = sum(map(len, units))
        if total == 0:
            raise DataError(f"none of the {len(units)} units of {clean(table.path)} has a spike")
        first, last = min(u[0] for u in units if len(u)), max(u[-1] for u in units if len(u))
        raise DataError(
            f"none of {total} spikes falls in a trial: spikes lie at {first:.6g} to {last:.6g}, "
            f"trials at {trials.start[0]:.6g} to {trials.stop.max():.6g} s; expected both in "
            "seconds on one clock"
        )
    values /= (trials.stop - trials.start)[:, None]
    _check_unit_of_time(units, values, trials)
    _blank_unobserved(table, trials, values)
    return Responses(values, tracking_ids(table), report, warnings)


def _drop_unrecorded(units: list[np.ndarray], trials: Trials) -> None:
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
    rate = sum(map(len, spikes)) / (last - first)
    gap = np.maximum(first - trials.stop, trials.start - last)
    trials.keep(gap * rate <= _MISSED, "outside the recording")


def _check_unit_of_time(units: list[np.ndarray], values: np.ndarray, trials: Trials) -> None:
    """Raise if spikes reach so far beyond the trials that they must be samples or ms."""
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


def _blank_unobserved(table: Table, trials: Trials, values: np.ndarray) -> None:
    """Set to NaN the trials that lie outside a unit's ``obs_intervals``."""
    found = member(table.group, "obs_intervals")
    if not isinstance(found, h5py.Dataset) or found.ndim != 2 or found.shape[1] != 2:
        return
    spans = load(found).astype(np.float64)
    ends = table.index("obs_intervals", len(spans))
    tolerance = 1e-6
    for u, own in enumerate(np.split(spans, ends[:-1])):
        if not len(own):
            continue
        own = own[np.argsort(own[:, 0])]
        reach = np.maximum.accumulate(own[:, 1])
        place = np.searchsorted(own[:, 0], trials.start + tolerance, side="right") - 1
        inside = (place >= 0) & (reach[np.maximum(place, 0)] >= trials.stop - tolerance)
        values[~inside, u] = np.nan
