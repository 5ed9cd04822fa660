"""Where the recorded units lie, as far as a file says."""

from __future__ import annotations

from collections import Counter

import h5py
import numpy as np

from lrplan.errors import DataError
from lrplan.measure.recording import UNKNOWN
from lrplan.nwb._hdf5 import attribute, load, member, text_at
from lrplan.nwb._tables import Table, as_labels
from lrplan.nwb._text import clean, folded

_ELECTRODES = "general/extracellular_ephys/electrodes"
_COLUMNS = (
    *("location", "brain_region", "brain_area", "area", "region", "structure", "acronym"),
    *("structure_acronym", "ecephys_structure_acronym", "beryl_location", "cosmos_location"),
)
_NOWHERE = {UNKNOWN, "none", "n/a", "nan", "na", "void", ""}


def areas_of_rows(file: h5py.File, table: Table) -> np.ndarray:
    """Return the area of each unit or region of interest.

    A column of the table says it, else the electrodes that its units name, else their groups;
    of regions of interest it is their imaging plane.

    Returns
    -------
    array (row,) of str or None
        None where the file does not say.
    """
    plane = member(table.group, "imaging_plane")
    if isinstance(plane, h5py.Group):
        return np.full(table.rows, _named(text_at(plane, "location")), dtype=object)
    for where in (_by_column, _by_electrodes, _by_group):
        try:
            found = where(file, table)
        except DataError:
            continue
        if found is not None and any(v is not None for v in found):
            return found
    return np.full(table.rows, None, dtype=object)


def one_area(areas: np.ndarray) -> str:
    """Return the area if all units lie in one, else "unknown"."""
    held = set(areas.tolist())
    only = held.pop() if len(held) == 1 else None
    return UNKNOWN if only is None else str(only)


def counts_of(areas: np.ndarray) -> dict[str, int]:
    """Return how many units lie in each area; those of none are not counted."""
    return dict(Counter(a for a in areas.tolist() if a is not None).most_common())


def _named(text: str | None) -> str | None:
    return None if text is None or text.strip().lower() in _NOWHERE else clean(text)


def _labels(values: np.ndarray) -> np.ndarray:
    return np.array([_named(v) for v in as_labels(values)], dtype=object)


def _by_column(file: h5py.File, table: Table) -> np.ndarray | None:
    known = {folded(c): c for c in table.columns}
    for name in (known[c] for c in _COLUMNS if c in known):
        values = table.glance(name)
        if values is not None and values.dtype == object:
            return _labels(values)
    return None


def _by_electrodes(file: h5py.File, table: Table) -> np.ndarray | None:
    group = member(file, _ELECTRODES)
    electrodes = Table(group) if isinstance(group, h5py.Group) else None
    values = electrodes.glance("location") if electrodes is not None else None
    if electrodes is None or values is None:
        return None
    places = _labels(values)
    rows = _electrodes_of(table, electrodes)
    if rows is None:  # none are named, so that they can be any
        only = set(places.tolist())
        return np.full(table.rows, only.pop() if len(only) == 1 else None, dtype=object)
    found = np.full(table.rows, None, dtype=object)
    for unit, own in enumerate(rows):
        near = Counter(places[e] for e in own if 0 <= e < len(places))
        if near:
            found[unit] = near.most_common(1)[0][0]
    return found


def _electrodes_of(table: Table, electrodes: Table) -> list[np.ndarray] | None:
    """Return the rows of the electrodes of each unit, or None where the table names none."""
    named = member(table.group, "electrodes")
    if isinstance(named, h5py.Dataset) and named.dtype.kind in "iu":
        rows = load(named).reshape(-1)
        if table.ragged("electrodes"):
            return np.split(rows, table.index("electrodes", len(rows))[:-1])
        return list(rows[:, None]) if len(rows) == table.rows else None
    peak = table.glance("peak_channel_id") if "peak_channel_id" in table.columns else None
    ids = member(electrodes.group, "id")
    if peak is None or peak.dtype == object or not isinstance(ids, h5py.Dataset):
        return None
    place = {int(i): row for row, i in enumerate(load(ids).reshape(-1))}
    return [np.array([place.get(int(p), -1)]) for p in np.nan_to_num(peak, nan=-1)]


def _by_group(file: h5py.File, table: Table) -> np.ndarray | None:
    named = member(table.group, "electrode_group")
    if not isinstance(named, h5py.Dataset) or h5py.check_ref_dtype(named.dtype) is None:
        return None
    found = np.full(table.rows, None, dtype=object)
    for row, reference in enumerate(load(named).reshape(-1)[: table.rows]):
        try:
            group = file[reference] if reference else None
        except (KeyError, OSError, RuntimeError, TypeError, ValueError):
            continue
        if isinstance(group, h5py.Group) and attribute(group, "neurodata_type") is not None:
            found[row] = _named(text_at(group, "location"))
    return found
