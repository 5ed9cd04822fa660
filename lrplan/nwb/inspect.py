"""Say what NWB files offer, and what would be read from them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from lrplan.errors import DataError, LrplanError, UsageError
from lrplan.measure.requirements import unmet
from lrplan.nwb._catalogue import Catalogue, catalogue
from lrplan.nwb._choice import choose_responses
from lrplan.nwb._file import trials_of
from lrplan.nwb._hdf5 import nwb_version, open_nwb, sha256_of, shown_name
from lrplan.nwb._metadata import read_metadata
from lrplan.nwb._options import Options, make_options
from lrplan.nwb._rois import Series
from lrplan.nwb._tables import Table, as_labels
from lrplan.nwb._text import clean, listed
from lrplan.nwb.read import read_nwb

SCHEMA = "lrplan.inspect/1"
SCHEMA_OF_SEVERAL = "lrplan.inspect-several/1"

PathLike = str | os.PathLike[str]
_OF_TRIALS = ("intervals", "label", "align", "window", "session_column")


def inspect_nwb(paths: PathLike | Sequence[PathLike], **options: Any) -> dict[str, Any]:
    """Return what NWB files hold and what `read_nwb` would choose from them.

    Parameters
    ----------
    paths : path or sequence of paths
        NWB 2 files (HDF5).
    **options
        As `read_nwb` takes them, but for ``min_sessions``.

    Returns
    -------
    dict
        JSON-able, of one path: ``units``, ``roi_series``, ``intervals``, ``events`` and ``tables``
        with their paths, sizes and columns, ``signals`` that may hold trials; ``chosen``, what
        `read_nwb` would read (None where nothing fits); ``problems``, one line for everything that
        keeps the file from being scored together with other sessions; ``warnings``.

        Of a sequence: ``files``, the above of each; ``together``, what they are as one recording
        (None where they are none); ``problems`` that keep this from being scored; ``warnings``.

    Raises
    ------
    DataError
        If one is no readable NWB 2 file.
    UsageError
        If `paths` are no paths, or an option makes no sense.

    Examples
    --------
    >>> from lrplan.nwb import inspect_nwb
    >>> inspect_nwb("recording.nwb")["chosen"]["label"]  # doctest: +SKIP
    'stimulus_name'
    """
    if isinstance(paths, str | os.PathLike):
        return _inspect_one(Path(paths), options)
    given = list(paths) if isinstance(paths, Sequence) and not isinstance(paths, bytes) else []
    if not given or not all(isinstance(p, str | os.PathLike) for p in given):
        raise UsageError(f"paths is {paths!r}; expected the path of an NWB file, or several")
    report: dict[str, Any] = {
        "schema": SCHEMA_OF_SEVERAL,
        "files": [_inspect_one(Path(p), options) for p in given],
        "together": None,
        "problems": [],
        "warnings": [],
    }
    try:
        recording = read_nwb(given, **options)
    except LrplanError as error:
        report["problems"].append(str(error))
        return report
    report["together"] = {
        "kind": recording.kind,
        "sessions": recording.ingest["sessions"],
        "order": recording.ingest["order"],
        "spacing": recording.ingest["spacing"],
        "units_per_session": recording.units_per_session,
        "tracked": recording.tracked,
        "stimuli": recording.ingest["stimuli"],
        "area": str(recording.data["area"].values[0]),
    }
    report["problems"] = unmet(recording)
    report["warnings"] = recording.ingest["warnings"]
    return report


def _inspect_one(where: Path, given: dict[str, Any]) -> dict[str, Any]:
    options = make_options(**given)
    with open_nwb(where) as file:
        offers = catalogue(file)
        metadata = read_metadata(file)
        report: dict[str, Any] = {
            "schema": SCHEMA,
            "file": shown_name(where),
            "sha256": sha256_of(where),
            "nwb_version": nwb_version(file),
            "session": {
                "start": metadata.start.isoformat() if metadata.start else None,
                "id": metadata.session_id,
                "subject": metadata.subject,
            },
            "units": [_units(Table(file[p])) for p in offers.units],
            "roi_series": [_series(Series(file[p])) for p in offers.series],
            "intervals": [_intervals(Table(file[p])) for p in offers.intervals],
            "events": [_intervals(Table(file[p])) for p in offers.events],
            "tables": [_intervals(Table(file[p])) for p in offers.tables],
            "signals": [clean(p) for p in offers.signals],
        }
        problems: list[str] = []
        chosen = _chosen(file, offers, options, problems)
    warnings = []
    if offers.damaged:
        warnings.append(f"{listed(offers.damaged)} cannot be opened; the file may be damaged")
    if metadata.naive:
        warnings.append("session_start_time has no time zone and was taken as UTC")
    if not problems:
        # Reading is the only way to know that the responses make sense.
        try:
            recording = read_nwb(where, **given, min_sessions=1)
        except LrplanError as error:
            problems.append(str(error))
        else:
            content = recording.ingest["files"][0]
            chosen["sessions"] = recording.ingest["sessions"]
            chosen["trials"] = content["trials"]
            chosen["units"] = content["units"]["used"]
            chosen["area"] = content["area"]
            prefix = f"{shown_name(where)}: "
            told = [str(w).removeprefix(prefix) for w in recording.ingest["warnings"]]
            warnings = list(dict.fromkeys([*warnings, *told]))
            problems += unmet(recording, sessions=1)
            if recording.sessions == 1:
                warnings.append(
                    "this file holds one session; a trajectory needs the files of other sessions, "
                    "or parts of this one (--checkpoint-by)"
                )
    return report | {"chosen": chosen, "problems": problems, "warnings": warnings}


def _chosen(
    file: h5py.File, offers: Catalogue, options: Options, problems: list[str]
) -> dict[str, Any]:
    """Return what would be read, and note every part that cannot be."""
    chosen: dict[str, Any] = dict.fromkeys(("kind", "responses", *_OF_TRIALS))
    try:
        choice = choose_responses(
            file, offers, units_table=options.units_table, signal=options.signal
        )
        chosen["kind"] = choice.kind
        chosen["responses"] = ", ".join(map(clean, choice.paths))
        chosen["responses_rejected"] = choice.rejected
    except LrplanError as error:
        problems.append(f"{shown_name(file.filename)}: {error}")
    try:
        trials = trials_of(file, options, offers)
        for name in (*_OF_TRIALS, "label_candidates", "intervals_rejected"):
            chosen[name] = trials.report[name]
    except LrplanError as error:
        problems.append(f"{shown_name(file.filename)}: {error}")
    chosen["sessions"] = []
    return chosen


def _units(table: Table) -> dict[str, Any]:
    spikes = table.group.get("spike_times")
    return {
        "path": clean(table.path),
        "n": table.rows,
        "columns": [clean(c, 60) for c in table.columns],
        "spikes": int(spikes.size) if isinstance(spikes, h5py.Dataset) else None,
    }


def _series(series: Series) -> dict[str, Any]:
    frames, regions = series.shape
    rate = series.rate_hz
    if rate is None or not np.isfinite(rate):
        try:
            times = series.times([])
            rate = round(1 / float(np.median(np.diff(times))), 4) if len(times) > 1 else None
        except DataError:
            rate = None
    return {
        "path": clean(series.path),
        "shape": [frames, regions],
        "rate_hz": rate,
        "n_rois": regions,
        "role": series.role,
    }


def _intervals(table: Table) -> dict[str, Any]:
    return {
        "path": clean(table.path),
        "rows": table.rows,
        "columns": [_column(table, c) for c in table.columns],
    }


def _column(table: Table, name: str) -> dict[str, Any]:
    """Return a column's type, how many values it takes, and one of them."""
    entry: dict[str, Any] = {"name": clean(name, 60), "dtype": "other"}
    entry |= {"distinct": None, "nan": None, "example": None}
    if table.ragged(name):
        return entry | {"dtype": "list"}
    try:
        values = table.values(name)
    except DataError:
        return entry | {"dtype": "unreadable"}
    if values is None:
        return entry
    labels = [v for v in as_labels(values) if v is not None]
    return entry | {
        "dtype": "text" if values.dtype == object else str(values.dtype),
        "distinct": len(set(labels)),
        "nan": len(values) - len(labels),
        "example": clean(labels[0], 60) if labels else None,
    }
