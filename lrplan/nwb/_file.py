"""The files of one session, from their paths to the responses of its trials."""

from __future__ import annotations

import hashlib
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from lrplan.errors import DataError, LrplanError
from lrplan.measure.recording import mean_and_error
from lrplan.nwb._area import one_area
from lrplan.nwb._catalogue import Catalogue, catalogue
from lrplan.nwb._choice import choose_responses
from lrplan.nwb._hdf5 import open_nwb, sha256_of, shown_name
from lrplan.nwb._metadata import Metadata, read_metadata
from lrplan.nwb._options import Options
from lrplan.nwb._responses import Responses
from lrplan.nwb._rois import roi_responses
from lrplan.nwb._signals import table_of_signal
from lrplan.nwb._spikes import spike_responses
from lrplan.nwb._tables import Table
from lrplan.nwb._text import listed, natural_key
from lrplan.nwb._trials import Trials, find_trials, per_stimulus


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
        What identifies the units, one for each column; None for a unit without identity.
    """

    name: str
    stimuli: list[str]
    mean: np.ndarray
    sem: np.ndarray
    responses: list[np.ndarray]
    trials: dict[str, int]
    ids: list[str | None] | None


@dataclass
class Part:
    """What one file says of a session: the responses of its units in its trials.

    `rejected` are the responses that were passed over.
    """

    path: Path
    metadata: Metadata
    kind: str
    trials: Trials
    responses: Responses
    rejected: list[str]
    sha256: str
    warnings: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The file's name, fit for a message."""
        return shown_name(self.path)

    @property
    def digest(self) -> str:
        """A hash of the trials' windows and of every response in them."""
        held = self.trials.start.tobytes() + self.responses.values.tobytes()
        return hashlib.sha256(held).hexdigest()


@dataclass
class FileContent:
    """Everything that is read from the file of a session, or from its files.

    Two that share a `digest` hold the same session.
    """

    path: Path
    metadata: Metadata
    kind: str
    sessions: list[Session]
    digest: str
    report: dict[str, Any]
    warnings: list[str] = field(default_factory=list)
    trial_times: str = ""
    """A hash of the trials' windows and labels."""

    @property
    def name(self) -> str:
        """The file's name, fit for a message."""
        return str(self.report["file"])


def read_part(path: Path, options: Options, trials_from: Path | None = None) -> Part:
    """Read one file and close it.

    Parameters
    ----------
    path : Path
        Of the file with the responses.
    options : Options
        What the user fixed.
    trials_from : Path, optional
        Another file of the session, which holds its trials.

    Raises
    ------
    DataError, UsageError
        With one line that names the file.
    """
    name = shown_name(path)
    try:
        with ExitStack() as stack:
            file = stack.enter_context(open_nwb(path))
            other = file if trials_from is None else stack.enter_context(open_nwb(trials_from))
            part = _read(file, other, path, options)
    except LrplanError as error:
        if name in str(error):
            raise
        raise type(error)(f"{name}: {error}") from None
    if trials_from is not None:
        part.warnings.append(f"the trials stand in {shown_name(trials_from)}")
    part.sha256 = sha256_of(path)
    return part


def _read(file: h5py.File, other: h5py.File, path: Path, options: Options) -> Part:
    offers = catalogue(file)
    choice = choose_responses(file, offers, units_table=options.units_table, signal=options.signal)
    trials = trials_of(other, options, offers if other is file else None)
    if choice.tables:
        found = spike_responses(file, choice.tables, trials, options)
    else:
        found = roi_responses(file, choice.series, trials, options)
    trials.check_stimuli()
    metadata = read_metadata(file)
    warnings = [*trials.warnings, *found.warnings]
    if offers.damaged:
        warnings.append(f"{listed(offers.damaged)} cannot be opened; the file may be damaged")
    if metadata.naive:
        warnings.append("session_start_time has no time zone and was taken as UTC")
    told = list(dict.fromkeys(warnings))
    return Part(path, metadata, choice.kind, trials, found, choice.rejected, "", told)


def trials_of(file: h5py.File, options: Options, offers: Catalogue | None = None) -> Trials:
    """Return the trials that a file holds, in a table or as a signal.

    `offers` is its `catalogue`, where that is known.
    """
    offers = catalogue(file) if offers is None else offers
    epochs = [Table(file[p]) for p in offers.epochs]
    if options.trial_signal is not None:
        with table_of_signal(file, offers.signals, options.trial_signal) as table:
            return find_trials([table], [], epochs, options)
    return find_trials(
        [Table(file[p]) for p in (*offers.intervals, *offers.events)],
        [Table(file[p]) for p in offers.tables],
        epochs,
        options,
        elsewhere=offers.trials_elsewhere(),
    )


def content_of(part: Part, beside: list[Part] | None = None) -> FileContent:
    """Return the sessions of a file, or of one session that several files hold.

    Parameters
    ----------
    part : Part
        The file, or the first of several whose units have been put together in it.
    beside : list of Part, optional
        The others, for the report.

    Raises
    ------
    DataError
        If no unit has a response to every stimulus.
    """
    trials, found, metadata = part.trials, part.responses, part.metadata
    sessions = []
    for block in dict.fromkeys(trials.session.tolist()):
        mine = trials.session == block
        sessions.append(
            _session(block or metadata.label, found.values[mine], trials.label[mine], found.ids)
        )
    units = found.values.shape[1]
    seen = np.stack([np.isfinite(s.mean).all(axis=0) for s in sessions])
    if not seen.any():
        lost = 100 * float((~np.isfinite(found.values)).mean())
        raise DataError(
            f"{part.name}: none of {units} units has a response to every stimulus: {lost:.3g}% of "
            f"the responses read from {found.report['responses']} are NaN or infinite; expected "
            "numbers; take other data, or stimuli with more trials, with trials= (--trials)"
        )
    files = [part, *(beside or [])]
    report: dict[str, Any] = {
        "file": " + ".join(p.name for p in files),
        "parts": [{"file": p.name, "sha256": p.sha256} for p in files],
        "sha256": part.sha256,
        "subject": metadata.subject,
        "session_id": metadata.session_id,
        "session_start_time": metadata.start.isoformat() if metadata.start else None,
        "area": one_area(found.areas),
        **found.report,
        "responses_rejected": part.rejected,
        **trials.report,
        "trials": {s.name: s.trials for s in sessions},
        "units": {
            "held": units,
            "used": [int(n) for n in seen.sum(axis=1)],
            "dropped": {"no finite response": [int(n) for n in (~seen).sum(axis=1)]},
        },
    }
    warnings = list(part.warnings)
    if not seen.all():
        warnings.append(
            f"{int((~seen.all(axis=0)).sum())} of {units} units have no finite response to some "
            "stimulus and are left out of that session"
        )
    dropped = report["dropped"]
    if dropped:
        told = ", ".join(f"{count} ({why})" for why, count in dropped.items())
        warnings.append(f"trials dropped: {told}, of {report['rows']}")
    times = trials.start.tobytes() + "\n".join(trials.label.tolist()).encode()
    return FileContent(
        part.path,
        metadata,
        part.kind,
        sessions,
        part.digest,
        report,
        warnings,
        hashlib.sha256(times).hexdigest(),
    )


def _session(
    name: str, values: np.ndarray, labels: np.ndarray, ids: list[str | None] | None
) -> Session:
    """Return the responses; a unit without a response to some stimulus is NaN in all."""
    stimuli = sorted(set(labels.tolist()), key=natural_key)
    own = [values[labels == stimulus] for stimulus in stimuli]
    mean, sem = (np.stack(m) for m in zip(*map(mean_and_error, own), strict=True))
    lost = ~np.isfinite(mean).all(axis=0)
    for responses in (mean, sem, *own):
        responses[:, lost] = np.nan
    kept = [o.astype(np.float32) for o in own]
    return Session(name, stimuli, mean, sem, kept, per_stimulus(labels), ids)
