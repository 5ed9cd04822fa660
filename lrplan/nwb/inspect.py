"""Say what an NWB file offers, and what would be read from it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from lrplan.errors import DataError, LrplanError, UsageError
from lrplan.nwb._catalogue import Catalogue, catalogue
from lrplan.nwb._choice import choose_responses
from lrplan.nwb._file import Options, read_file
from lrplan.nwb._hdf5 import nwb_version, open_nwb, sha256_of, shown_name
from lrplan.nwb._metadata import read_metadata
from lrplan.nwb._rois import Series
from lrplan.nwb._tables import Table, as_labels
from lrplan.nwb._text import clean, listed
from lrplan.nwb._trials import find_trials

SCHEMA = "lrplan.inspect/1"


def inspect_nwb(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return what an NWB file holds and what `read_nwb` would choose from it.

    Parameters
    ----------
    path : path
        An NWB 2 file (HDF5).

    Returns
    -------
    dict
        JSON-able: ``units``, ``roi_series`` and ``intervals`` with their paths, sizes and
        columns; ``chosen``, what `read_nwb` would read (None where nothing fits); ``problems``,
        one line for everything that keeps the file from being scored; ``warnings``.

    Raises
    ------
    DataError
        If it is no readable NWB 2 file.
    UsageError
        If `path` is no path.

    Examples
    --------
    >>> from lrplan.nwb import inspect_nwb
    >>> inspect_nwb("recording.nwb")["chosen"]["label"]  # doctest: +SKIP
    'stimulus_name'
    """
    if not isinstance(path, str | os.PathLike):
        raise UsageError(f"path is {path!r}; expected the path of an NWB file")
    where = Path(path)
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
        }
        problems: list[str] = []
        chosen = _chosen(file, offers, problems)
    warnings = []
    if offers.damaged:
        warnings.append(f"{listed(offers.damaged)} cannot be opened; the file may be damaged")
    if metadata.naive:
        warnings.append("session_start_time has no time zone and was taken as UTC")
    if not problems:
        # Reading is the only way to know that the responses make sense.
        try:
            content = read_file(where, Options())
        except LrplanError as error:
            problems.append(str(error))
        else:
            chosen["sessions"] = [s.name for s in content.sessions]
            chosen["trials"] = {s.name: s.trials for s in content.sessions}
            chosen["units"] = content.report["units"]["used"]
            chosen["area"] = content.report["area"]
            warnings = list(dict.fromkeys([*warnings, *content.warnings]))
            if len(content.sessions) == 1:
                warnings.append(
                    "this file holds one session; a trajectory needs the files of other sessions, "
                    "or a column that tells sessions apart (--checkpoint-by block:COLUMN)"
                )
    return report | {"chosen": chosen, "problems": problems, "warnings": warnings}


def _chosen(file: h5py.File, offers: Catalogue, problems: list[str]) -> dict[str, Any]:
    """Return what would be read, and note every part that cannot be."""
    chosen: dict[str, Any] = dict.fromkeys(
        ("kind", "responses", "intervals", "label", "align", "window", "session_column")
    )
    try:
        choice = choose_responses(file, offers)
        chosen["kind"] = choice.kind
        paths = [choice.table.path] if choice.table else [s.path for s in choice.series]
        chosen["responses"] = ", ".join(map(clean, paths))
        chosen["responses_rejected"] = choice.rejected
    except LrplanError as error:
        problems.append(f"{shown_name(file.filename)}: {error}")
    try:
        trials = find_trials([Table(file[p]) for p in offers.intervals])
        for name in ("intervals", "label", "align", "window", "session_column"):
            chosen[name] = trials.report[name]
        chosen["label_candidates"] = trials.report["label_candidates"]
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
