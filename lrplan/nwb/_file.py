"""One file, from its path to the responses of its sessions."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from lrplan.errors import DataError, LrplanError
from lrplan.measure.recording import mean_and_error
from lrplan.nwb._area import area_of
from lrplan.nwb._catalogue import catalogue
from lrplan.nwb._choice import choose_responses
from lrplan.nwb._hdf5 import open_nwb, sha256_of, shown_name
from lrplan.nwb._metadata import Metadata, read_metadata
from lrplan.nwb._rois import roi_responses
from lrplan.nwb._spikes import spike_responses
from lrplan.nwb._tables import Table
from lrplan.nwb._text import listed, natural_key
from lrplan.nwb._trials import find_trials, per_stimulus


@dataclass(frozen=True)
class Options:
    """What the user fixed; the rest is chosen from the file.

    The names are those of `lrplan.nwb.read_nwb`.
    """

    units: str | None = None
    signal: str | None = None
    intervals: str | None = None
    label: str | None = None
    align: str | None = None
    window_s: float | tuple[float, float] | None = None
    block: str | None = None
    look_for_blocks: bool = True


@dataclass
class Session:
    """Responses of one session.

    Parameters
    ----------
    name : str
        What it is called.
    stimuli : list of str
        Labels of the stimuli, sorted.
    mean, sem : array (stimulus, unit)
        Mean over trials and its standard error; NaN where a unit was not observed.
    responses : list of array (trial, unit) of float32
        Every trial of each stimulus, in the order of their times.
    trials : dict
        Number of trials of each stimulus.
    ids : list of str or None
        What identifies the units, one for each column.
    """

    name: str
    stimuli: list[str]
    mean: np.ndarray
    sem: np.ndarray
    responses: list[np.ndarray]
    trials: dict[str, int]
    ids: list[str] | None


@dataclass
class FileContent:
    """Everything that is read from one file.

    `digest` is a hash of the trials' windows and of every response in them: two files that share
    it hold the same session.
    """

    path: Path
    metadata: Metadata
    kind: str
    sessions: list[Session]
    digest: str
    report: dict[str, Any]
    warnings: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The file's name, fit for a message."""
        return shown_name(self.path)


def read_file(path: str | os.PathLike[str], options: Options) -> FileContent:
    """Read one file and close it.

    Raises
    ------
    DataError, UsageError
        With one line that names the file.
    """
    name = shown_name(path)
    try:
        with open_nwb(path) as file:
            content = _read(file, Path(path), options)
    except LrplanError as error:
        if name in str(error):
            raise
        raise type(error)(f"{name}: {error}") from None
    content.report["sha256"] = sha256_of(content.path)
    return content


def _read(file: h5py.File, path: Path, options: Options) -> FileContent:
    offers = catalogue(file)
    metadata = read_metadata(file)
    choice = choose_responses(file, offers, units=options.units, signal=options.signal)
    trials = find_trials(
        [Table(file[p]) for p in offers.intervals],
        intervals=options.intervals,
        label=options.label,
        align=options.align,
        window_s=options.window_s,
        block=options.block,
        look_for_blocks=options.look_for_blocks,
    )
    if choice.table is not None:
        found = spike_responses(choice.table, trials)
    else:
        found = roi_responses(choice.series, trials)
    warnings = [*trials.warnings, *found.warnings]
    if offers.damaged:
        warnings.append(f"{listed(offers.damaged)} cannot be opened; the file may be damaged")
    sessions = []
    for block in dict.fromkeys(trials.session.tolist()):
        mine = trials.session == block
        sessions.append(
            _session(block or metadata.label, found.values[mine], trials.label[mine], found.ids)
        )
    units = found.values.shape[1]
    seen = np.stack([np.isfinite(s.mean).all(axis=0) for s in sessions])
    if not seen.any():
        raise DataError(
            f"none of {units} units has a finite response to every stimulus; expected numbers"
        )
    report: dict[str, Any] = {
        "file": shown_name(path),
        "subject": metadata.subject,
        "session_id": metadata.session_id,
        "session_start_time": metadata.start.isoformat() if metadata.start else None,
        "area": area_of(file, choice),
        **found.report,
        "responses_rejected": choice.rejected,
        **trials.report,
        "trials": {s.name: s.trials for s in sessions},
        "units": {
            "held": units,
            "used": [int(n) for n in seen.sum(axis=1)],
            "dropped": {"no finite response": [int(n) for n in (~seen).sum(axis=1)]},
        },
    }
    if not seen.all():
        warnings.append(
            f"{int((~seen.all(axis=0)).sum())} of {units} units have no finite response to some "
            "stimulus and are left out of that session"
        )
    dropped = report["dropped"]
    if dropped:
        told = ", ".join(f"{count} ({why})" for why, count in dropped.items())
        warnings.append(f"trials dropped: {told}, of {report['rows']}")
    if metadata.naive:
        warnings.append("session_start_time has no time zone and was taken as UTC")
    digest = hashlib.sha256(trials.start.tobytes() + found.values.tobytes()).hexdigest()
    return FileContent(path, metadata, choice.kind, sessions, digest, report, warnings)


def _session(name: str, values: np.ndarray, labels: np.ndarray, ids: list[str] | None) -> Session:
    """Return the responses; a unit without a response to some stimulus is NaN in all."""
    stimuli = sorted(set(labels.tolist()), key=natural_key)
    own = [values[labels == stimulus] for stimulus in stimuli]
    mean, sem = (np.stack(m) for m in zip(*map(mean_and_error, own), strict=True))
    lost = ~np.isfinite(mean).all(axis=0)
    for responses in (mean, sem, *own):
        responses[:, lost] = np.nan
    kept = [o.astype(np.float32) for o in own]
    return Session(name, stimuli, mean, sem, kept, per_stimulus(labels), ids)
