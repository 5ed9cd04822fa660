"""Read published or own recordings from NWB files."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import xarray as xr

from lrplan.arguments import positive_int
from lrplan.errors import DataError, UsageError
from lrplan.measure.recording import DIMS, UNKNOWN, Recording
from lrplan.nwb._agreement import (
    area_of_all,
    check_same_choices,
    check_same_subject,
    without_repeats,
)
from lrplan.nwb._file import FileContent, Options, Session, read_file
from lrplan.nwb._text import clean, listed, natural_key, size_text
from lrplan.registry import nearest

ORDERS = ("time", "name", "given")
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
    signal: str | None = None,
    intervals: str | None = None,
    label: str | None = None,
    align: str | None = None,
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
        NWB 2 files (HDF5) of one subject: one for each session, or a single one whose table of
        trials has a column of sessions or blocks.
    units : str, optional
        Path of the table of units; by default ``/units``, else the only one in the file.
    signal : str, optional
        Path or name of the ROI series. By default dF/F; where there is none, dF/F is computed
        from raw fluorescence with the 10th percentile over the file as F0. Neuropil and
        deconvolved activity are read only if named.
    intervals, label, align : str, optional
        The table of trials, its column that names the stimulus, and its column of times to which
        the window refers; by default chosen by their names and reported in ``ingest``.
    window_s : float or (float, float), optional
        Start and end of the window in seconds after `align`; one number is the end. By default
        the whole trial, start to stop time; where most trials have no stop time, or `align` is
        given, 0 to 1 s after `align`.
    checkpoint_by : str, optional
        ``session``: every file is a session. ``block:COLUMN``: every value of a column of the
        trials is one, in the order of their first trials. By default the first, and for a single
        file the second if a column such as session, day or block has values that follow one
        another in time.
    order : {"time", "name", "given"}, optional
        Order of the files. By default by session_start_time if all are there, plausible and
        different, else by the numbers in the ``ses-`` part of the file names.
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
    for what, value in (
        ("units", units),
        ("signal", signal),
        ("intervals", intervals),
        ("label", label),
        ("align", align),
        ("checkpoint_by", checkpoint_by),
    ):
        if not isinstance(value, str | None):
            raise UsageError(f"{what} is {value!r}; expected a name")
    if order is not None and order not in ORDERS:
        raise UsageError(f"unknown order {order!r}; {nearest(str(order), ORDERS)}")
    block, look = _blocks(checkpoint_by, len(given))
    options = Options(units, signal, intervals, label, align, window_s, block, look)
    contents = [read_file(p, options) for p in given]
    warnings: list[str] = []
    contents = without_repeats(contents, order, warnings)
    check_same_subject(contents, warnings)
    check_same_choices(contents, named=units is not None or signal is not None)
    contents, rule = _ordered(contents, order, warnings)
    sessions = [s for c in contents for s in c.sessions]
    names = _names(contents, block is not None or len(contents) == 1)
    if len(sessions) < min_sessions:
        raise DataError(_too_few(contents, len(sessions), min_sessions, len(given)))
    warnings += _file_warnings(contents)
    stimuli = _common_stimuli(sessions, names, warnings)
    tracked, places, ids = _places(contents, sessions, warnings)
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
    """Return the warnings of all files; one that several files share is said once."""
    files: dict[str, list[str]] = {}
    for content in contents:
        for warning in content.warnings:
            files.setdefault(warning, []).append(content.name)
    return [
        f"{names[0] if len(names) == 1 else f'{len(names)} of {len(contents)} files'}: {warning}"
        for warning, names in files.items()
    ]


def _blocks(checkpoint_by: str | None, files: int) -> tuple[str | None, bool]:
    """Return the column that tells sessions apart, and whether to look for one."""
    if checkpoint_by is None:
        return None, files == 1
    if checkpoint_by == "session":
        return None, False
    kind, _, column = checkpoint_by.partition(":")
    if kind == "block" and column:
        return column, False
    raise UsageError(
        f"checkpoint_by is {checkpoint_by!r}; expected 'session' or 'block:COLUMN', such as "
        "'block:day'"
    )


def _ordered(
    contents: list[FileContent], order: str | None, warnings: list[str]
) -> tuple[list[FileContent], str]:
    """Return the files in the order of learning and the rule that ordered them."""
    if order == "given" or len(contents) == 1:
        return contents, "given"
    starts = [c.metadata.start for c in contents]
    distrusted = any(c.metadata.suspicious for c in contents)
    if order == "time" and any(s is None for s in starts):
        raise DataError(
            "not every file has a session_start_time; expected one for order='time' (--order); use "
            "order='name' or order='given'"
        )
    if order == "time" or (order is None and not distrusted and len(set(starts)) == len(starts)):
        key = {id(c): c.metadata.start.timestamp() for c in contents if c.metadata.start}
        ordered = sorted(contents, key=lambda c: key[id(c)])
        numbered = all(c.metadata.label[0].isdigit() for c in contents)
        by_label = sorted(contents, key=lambda c: c.metadata.key)
        if numbered and list(map(id, ordered)) != list(map(id, by_label)):
            warnings.append(
                "session_start_time orders the sessions otherwise than their names do: "
                f"{listed([c.name for c in ordered], 4)}; use order='name' or "
                "order='given' (--order) to change it"
            )
        return ordered, "session_start_time"
    labels = [c.metadata.label for c in contents]
    by_name = (lambda c: c.metadata.key) if len(set(labels)) == len(labels) else None
    ordered = sorted(contents, key=by_name or (lambda c: natural_key(c.path.stem)))
    if order is None:
        why = "implausible or missing" if distrusted else "not all different"
        warnings.append(
            f"session_start_time is {why}; sessions are ordered by name: "
            f"{listed([c.name for c in ordered], 4)}; use order='given' (--order) to set it"
        )
    return ordered, "name"


def _names(contents: list[FileContent], blocks: bool) -> list[str]:
    """Return a different name for every session."""
    names = [
        s.name if len(contents) == 1 or not blocks else f"{c.metadata.label}:{s.name}"
        for c in contents
        for s in c.sessions
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
    if given > len(contents):
        what += f" ({given - len(contents)} of {given} files repeat another one)"
    columns = contents[0].report["label_candidates"]
    hint = f" (columns: {listed(columns)})" if columns else ""
    return (
        f"{_source(contents)}: {what}; a trajectory needs at least {least}; give the files of the "
        "other sessions, or name a column that tells sessions apart with "
        f"checkpoint_by='block:COLUMN' (--checkpoint-by){hint}"
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
        told = [f"{n}: {listed(s.stimuli, 3)}" for n, s in zip(names, sessions, strict=True)]
        raise DataError(
            f"the sessions share {len(shared)} stimuli ({'; '.join(told[:3])}); expected at least "
            "2 that are shown in every session; name another column with label= (--label)"
        )
    if union != shared:
        left = sorted(union - shared, key=natural_key)
        warnings.append(
            f"{len(left)} of {len(union)} stimuli are not shown in every session and were left "
            f"out: {listed(left)}"
        )
    return sorted(shared, key=natural_key)


def _places(
    contents: list[FileContent], sessions: list[Session], warnings: list[str]
) -> tuple[bool, list[np.ndarray], list[str] | None]:
    """Return whether units are the same in all sessions, and the place of each session's units."""
    ids = [s.ids for s in sessions]
    if all(i is not None for i in ids):
        sets = [set(i or ()) for i in ids]
        if all(s == sets[0] for s in sets):
            first = list(ids[0] or ())
            place = {unit: i for i, unit in enumerate(first)}
            return True, [np.array([place[u] for u in i or ()], dtype=int) for i in ids], first
        shared = set.intersection(*sets)
        warnings.append(
            f"tracking_id differs between sessions ({len(shared)} units are in all of them); units "
            "are taken as not tracked"
        )
    places = [np.arange(s.mean.shape[1]) for s in sessions]
    return len(contents) == 1, places, None


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
        mean[0, s][:, place] = session.mean[rows]
        sem[0, s][:, place] = session.sem[rows]
        if "trials" in out:
            for k, i in enumerate(rows):
                own = session.responses[i]
                out["trials"][0, s, k][: len(own), place] = own
    return out


def _note_few_trials(sessions: list[Session], stimuli: list[str], warnings: list[str]) -> None:
    fewest = min(s.trials[k] for s in sessions for k in stimuli)
    if fewest < 2:
        warnings.append(
            "some stimuli have a single trial in a session; their standard error is unknown"
        )
    elif fewest < 5:
        warnings.append(f"the rarest stimulus has {fewest} trials in a session; noise is uncertain")
