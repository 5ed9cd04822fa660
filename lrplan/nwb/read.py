"""Read published or own recordings from NWB files."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from lrplan.arguments import positive_int
from lrplan.errors import DataError, UsageError
from lrplan.measure.recording import DIMS, UNKNOWN, Recording
from lrplan.measure.requirements import LEAST_UNITS
from lrplan.nwb._agreement import (
    area_of_all,
    check_same_choices,
    check_same_subject,
    refuse_planes_as_sessions,
    without_repeats,
)
from lrplan.nwb._file import FileContent, Session
from lrplan.nwb._groups import read_sessions
from lrplan.nwb._options import make_options
from lrplan.nwb._order import ORDERS, ordered, spacing
from lrplan.nwb._rows import UNTRACKED
from lrplan.nwb._text import clean, listed, natural_key, size_text
from lrplan.registry import nearest

MOST_TRIAL_BYTES = 2 * 2**30
"""Largest table of trials that `read_nwb` returns."""

_LONG_NAMES = {
    "trials": "response in each trial",
    "activity": "mean response over trials",
    "activity_sem": "standard error over trials",
}

PathLike = str | os.PathLike[str]


def read_nwb(
    paths: PathLike | Sequence[PathLike],
    *,
    units: str | None = None,
    area: str | None = None,
    units_table: str | None = None,
    signal: str | None = None,
    tracking: str | None = None,
    intervals: str | None = None,
    trial_signal: str | None = None,
    trials: str | None = None,
    label: str | None = None,
    align: str | None = None,
    relative: bool | None = None,
    window_s: float | tuple[float, float] | None = None,
    checkpoint_by: str | None = None,
    order: str | None = None,
    min_sessions: int = 2,
) -> Recording:
    """Read the response of every unit to every stimulus in every trial of every session.

    The response of a unit in a trial is its spike rate in Hz, or its mean dF/F, in a window of
    the trial. Only data inside the files are read, with h5py: extensions need not be installed.

    Parameters
    ----------
    paths : path or sequence of paths
        NWB 2 files (HDF5) of one subject: one for each session, or a single one whose trials are
        parted by `checkpoint_by`. Files of one session (same subject, start and ``ses-`` name or
        session id) are read together: units of several probes or planes, told apart by
        ``probe-A`` or ``plane-0`` in their names, and trials that stand in a file of behaviour.
    units : str, optional
        Condition on the columns of the table of units, or of regions, such as
        ``'quality == "good" and snr > 1'``; by default all are read, and columns that say which
        are good are named in the warnings. Columns are compared (``== != < <= > >= in, not in``)
        with numbers and texts; ``and``, ``or``, ``not`` join. A column alone holds where it is
        not 0; ``iscell[1]`` is the second value of each row; names with spaces stand in backticks.
    area : str, optional
        Reads the units that lie there, as electrodes, imaging planes or a column of units say.
    units_table : str, optional
        Path of the table of units, several of one session with commas; by default ``/units``, else
        the only one in the file.
    signal : str, optional
        Path or name of the ROI series, several planes with commas, or of the group that holds
        them. By default dF/F of all planes; where there is none, dF/F is computed from raw
        fluorescence with the 10th percentile over the file as F0. Neuropil, background, baseline,
        z-scored and deconvolved series are read only if named; fluorescence without a baseline
        above 0 is read as it is if named, and refused otherwise.
    tracking : str, optional
        Column that says which unit is the same in other sessions, or ``none``. By default
        ``tracking_id`` or ``cell_specimen_id``. If at least 10 units are in all sessions, these
        are read.
    intervals : str, optional
        The table of trials, or of events; by default ``/intervals/trials``, else the only one with
        a label.
    trial_signal : str, optional
        A time series, by path or name, that holds the number of the trial in each frame (-1
        between trials), in place of a table; each run of one value is a trial. Other signals
        beside it, as long, are columns: `label` names one of them.
    trials : str, optional
        Condition on the columns of that table, as `units`; by default all trials are read.
    label : str, optional
        Column that names the stimulus, or two with a comma; by default chosen by its name.
    align : str, optional
        Column of times to which the window refers; by default the start of the trial.
    relative : bool, optional
        Whether the times of `align` count from the trial's start; by default their values tell.
    window_s : float or (float, float), optional
        Start and end of the window in seconds after `align`; one number is the end. By default
        the whole trial, start to stop time; where most trials have no stop time, or `align` is
        given, 0 to 1 s after `align`.
    checkpoint_by : str, optional
        ``session``: every file, or group of files, is a session. ``block:COLUMN``: every value of
        a column of the trials, whose values must follow one another. ``epochs``: every row of the
        table of epochs. ``trials:N``, ``time:SECONDS``: so many trials, or so long; an incomplete
        last part is left out. By default the first, and for a single session the second if a
        column such as session, day or block has values that follow one another in time.
    order : {"time", "name", "given"}, optional
        Order of the files. By default by session_start_time if all are there, plausible and
        different, else by name if names differ in their numbers alone. ``given`` also takes every
        file with responses as a session of its own.
    min_sessions : int, default 2
        Fewest sessions that are accepted.

    Returns
    -------
    Recording
        One population: the ``animal`` is the subject, the ``area`` what the file says of the
        electrodes or the imaging plane, if it is one. ``data`` holds ``trials`` (in the order of
        their times; float32, 4 bytes for each trial of each unit, padded with NaN to the most
        trials of any stimulus, and left out with a warning where that takes more than 2 GiB),
        their mean ``activity`` and its standard error ``activity_sem`` (NaN for a stimulus with
        one trial) in Hz or dF/F, for the stimuli shown in all sessions. Units are aligned where
        they are the same in all sessions (``tracked``), and padded with NaN otherwise. ``ingest``
        says what was chosen, dropped and doubted.

    Raises
    ------
    DataError
        If a file is missing, damaged, no NWB 2, refers to other files, or lacks what is needed.
    UsageError
        If something that was named is not in the files.

    Examples
    --------
    >>> from lrplan.nwb import read_nwb
    >>> recording = read_nwb(["ses-01.nwb", "ses-02.nwb"], window_s=0.5)  # doctest: +SKIP
    >>> recording.data["activity"].dims  # doctest: +SKIP
    ('population', 'session', 'stimulus', 'unit')
    """
    given = _paths(paths)
    min_sessions = positive_int(min_sessions, "min_sessions")
    if order is not None and order not in ORDERS:
        raise UsageError(f"unknown order {order!r}; {nearest(str(order), ORDERS)}")
    options = make_options(
        units=units,
        area=area,
        units_table=units_table,
        signal=signal,
        tracking=tracking,
        intervals=intervals,
        trial_signal=trial_signal,
        trials=trials,
        label=label,
        align=align,
        relative=relative,
        window_s=window_s,
        checkpoint_by=checkpoint_by,
    )
    warnings: list[str] = []
    contents = read_sessions([Path(p) for p in given], options, order, warnings)
    contents = without_repeats(contents, order, warnings)
    check_same_subject(contents, warnings)
    if order != "given":
        refuse_planes_as_sessions(contents)
    check_same_choices(contents, named=units_table is not None or signal is not None)
    contents, rule = ordered(contents, order, warnings)
    sessions = [s for c in contents for s in c.sessions]
    names = _names(contents)
    if len(sessions) < min_sessions:
        raise DataError(_too_few(contents, len(sessions), min_sessions, len(given)))
    warnings += _file_warnings(contents)
    stimuli = _common_stimuli(sessions, names, warnings)
    tracked, places, ids = _places(contents, sessions, warnings, tracking)
    _note_few_trials(sessions, stimuli, warnings)
    variables = _stack(sessions, stimuli, places, warnings)
    subjects = [c.metadata.subject for c in contents]
    coords: dict[str, Any] = {
        "session": names,
        "stimulus": stimuli,
        "animal": ("population", [next(filter(None, subjects), UNKNOWN)]),
        "area": ("population", [area_of_all(contents, warnings)]),
    }
    if ids is not None:
        coords["unit"] = ids
    data = xr.Dataset({name: (DIMS[name], v) for name, v in variables.items()}, coords=coords)
    for name, values in data.data_vars.items():
        values.attrs.update(long_name=_LONG_NAMES[str(name)], units=contents[0].report["unit"])
    ingest = {
        "files": [c.report for c in contents],
        "sessions": names,
        "order": rule,
        "spacing": spacing(contents),
        "stimuli": stimuli,
        "tracked": tracked,
        "warnings": warnings,
    }
    return Recording(
        data, source=_source(contents), kind=contents[0].kind, tracked=tracked, ingest=ingest
    )


def _paths(paths: Any) -> list[PathLike]:
    """Return the paths as a list, or say what came."""
    given = [paths] if isinstance(paths, str | os.PathLike) else paths
    if not isinstance(given, Iterable) or isinstance(given, bytes):
        raise UsageError(f"paths is {paths!r}; expected the path of an NWB file, or several")
    given = list(given)
    for path in given:
        if not isinstance(path, str | os.PathLike):
            raise UsageError(f"paths holds {path!r}; expected paths of NWB files")
    if not given:
        raise UsageError("no file was given; expected at least one NWB file")
    return given


def _file_warnings(contents: list[FileContent]) -> list[str]:
    """Return the warnings of all files; what several files share is said once.

    Where it differs in numbers, those of the first file are told.
    """
    found: dict[str, list[tuple[str, str]]] = {}
    for content in contents:
        for warning in content.warnings:
            kind = re.sub(r"[0-9][0-9.,]*", "#", warning)
            found.setdefault(kind, []).append((content.name, warning))
    out = []
    for said in found.values():
        name, warning = said[0]
        if len(said) > 1:
            same = len({w for _, w in said}) == 1
            name = f"{len(said)} of {len(contents)} files" + ("" if same else f", as {name}")
        out.append(f"{name}: {warning}")
    return out


def _names(contents: list[FileContent]) -> list[str]:
    """Return a different name for every session."""
    whole = len(contents) == 1 or all(len(c.sessions) == 1 for c in contents)
    names = [
        s.name if whole else f"{c.metadata.label}:{s.name}" for c in contents for s in c.sessions
    ]
    if len(set(names)) < len(names):
        names = [
            f"{c.path.stem}:{s.name}" if len(c.sessions) > 1 else c.path.stem
            for c in contents
            for s in c.sessions
        ]
    counts: Counter[str] = Counter()
    out = []
    for name in (clean(n) for n in names):
        counts[name] += 1
        out.append(name if counts[name] == 1 else f"{name} ({counts[name]})")
    return out


def _too_few(contents: list[FileContent], sessions: int, least: int, given: int) -> str:
    what = "this holds one session" if sessions == 1 else f"these hold {sessions} sessions"
    read = sum(len(c.report["parts"]) for c in contents)
    if given > read:
        what += f" ({given - read} of {given} files repeat another one or hold no responses)"
    first = contents[0].report
    columns, epochs = first["session_candidates"], first["epochs"]
    ways = [f"'block:{c}'" for c in columns[:3]] + (["'epochs'"] if epochs else [])
    held = " or ".join(ways) or "'trials:N' or 'time:SECONDS'"
    return (
        f"{_source(contents)}: {what}; a trajectory needs at least {least}; give the files of the "
        f"other sessions, or say which parts of a file are sessions with checkpoint_by={held} "
        "(--checkpoint-by)" + (f"; it has epochs ({listed(epochs)})" if epochs else "")
    )


def _source(contents: list[FileContent]) -> str:
    names = [c.name for c in contents]
    if len(names) <= 3:
        return ", ".join(names)
    return f"{names[0]} ... {names[-1]} ({len(names)} files)"


def _common_stimuli(sessions: list[Session], names: list[str], warnings: list[str]) -> list[str]:
    shared = set(sessions[0].stimuli).intersection(*(s.stimuli for s in sessions))
    union = {k for s in sessions for k in s.stimuli}
    if len(shared) < 2:
        raise DataError(
            f"the sessions share {len(shared)} stimuli; {_odd_session(sessions, names)}; expected "
            "at least 2 that are shown in every session; leave that session out, or name a column "
            "that means the same in all with label= (--label)"
        )
    if union != shared:
        left = sorted(union - shared, key=natural_key)
        warnings.append(
            f"{len(left)} of {len(union)} stimuli are not shown in every session and were left "
            f"out: {listed(left)}"
        )
    return sorted(shared, key=natural_key)


def _odd_session(sessions: list[Session], names: list[str]) -> str:
    """Say which session differs from the others: the one without which they share most."""

    def shared(left_out: int) -> set[str]:
        others = [set(s.stimuli) for i, s in enumerate(sessions) if i != left_out]
        return set.intersection(*others)

    odd = max(range(len(sessions)), key=lambda i: (len(shared(i)), -len(sessions[i].stimuli), -i))
    without = sorted(shared(odd), key=natural_key)
    if len(sessions) > 2 and len(without) >= 2:
        return (
            f"{names[odd]} shows {listed(sessions[odd].stimuli, 4)}, the others share "
            f"{listed(without, 4)}"
        )
    told = [f"{n}: {listed(s.stimuli, 4)}" for n, s in zip(names, sessions, strict=True)]
    return "; ".join(told[:3])


def _places(
    contents: list[FileContent],
    sessions: list[Session],
    warnings: list[str],
    tracking: str | None,
) -> tuple[bool, list[np.ndarray], list[str] | None]:
    """Return whether units are the same in all sessions, and the place of each session's units.

    A place of -1 is that of a unit that is left out.
    """
    ids = [s.ids for s in sessions]
    untracked = [np.arange(s.mean.shape[1]) for s in sessions]
    if tracking == UNTRACKED:
        return False, untracked, None
    if len(contents) == 1:
        first = ids[0]
        whole = first is not None and None not in first
        return True, untracked, [str(i) for i in first] if whole and first is not None else None
    known = sum(i is not None for i in ids)
    if known < len(ids):
        if known:
            warnings.append(
                f"{known} of {len(ids)} sessions say which units are the same in others; units are "
                "taken as not tracked; name the column with tracking= (--tracking)"
            )
        return False, untracked, None
    by = contents[0].report["tracked_by"]
    held = [{u for u in i or () if u is not None} for i in ids]
    common = set.intersection(*held)
    order = [u for u in ids[0] or () if u in common]
    counts = [len(i or ()) for i in ids]
    all_shared = all(n == len(common) for n in counts)
    if not all_shared and len(common) < LEAST_UNITS:
        warnings.append(
            f"{by} differs between sessions: {len(common)} units are in all of them, fewer than "
            f"{LEAST_UNITS}, so that units are taken as not tracked"
        )
        return False, untracked, None
    if not all_shared:
        fewest, most = min(counts), max(counts)
        span = str(most) if fewest == most else f"{fewest} to {most}"
        warnings.append(
            f"{len(common)} of {span} units are in all sessions by {by} and are used as tracked; "
            "tracking='none' (--tracking none) takes all as not tracked"
        )
    place = {unit: i for i, unit in enumerate(order)}
    return True, [np.array([place.get(str(u), -1) for u in i or ()], int) for i in ids], order


def _stack(
    sessions: list[Session], stimuli: list[str], places: list[np.ndarray], warnings: list[str]
) -> dict[str, np.ndarray]:
    """Return trials, their mean and its standard error, each as in `DIMS`."""
    units = max(int(p.max(initial=-1)) + 1 for p in places)
    most = max(s.trials[k] for s in sessions for k in stimuli)
    shape = (1, len(sessions), len(stimuli), units)
    mean, sem = np.full(shape, np.nan), np.full(shape, np.nan)
    out: dict[str, np.ndarray] = {"activity": mean, "activity_sem": sem}
    needed = 4 * most * mean.size
    if needed > MOST_TRIAL_BYTES:
        warnings.append(
            f"a table of all trials would take {size_text(needed)}; only means over trials and "
            "their standard errors were kept"
        )
    else:
        out["trials"] = np.full((*shape[:3], most, units), np.nan, dtype=np.float32)
    for s, (session, place) in enumerate(zip(sessions, places, strict=True)):
        row = {k: i for i, k in enumerate(session.stimuli)}
        rows = [row[k] for k in stimuli]
        kept = place >= 0
        mean[0, s][:, place[kept]] = session.mean[rows][:, kept]
        sem[0, s][:, place[kept]] = session.sem[rows][:, kept]
        if "trials" in out:
            for k, i in enumerate(rows):
                own = session.responses[i]
                out["trials"][0, s, k][: len(own), place[kept]] = own[:, kept]
    return out


def _note_few_trials(sessions: list[Session], stimuli: list[str], warnings: list[str]) -> None:
    fewest = min(s.trials[k] for s in sessions for k in stimuli)
    if fewest < 2:
        warnings.append(
            "some stimuli have a single trial in a session; their standard error is unknown"
        )
    elif fewest < 5:
        warnings.append(f"the rarest stimulus has {fewest} trials in a session; noise is uncertain")
