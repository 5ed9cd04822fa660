"""Where the recorded units lie, as far as a file says."""

from __future__ import annotations

import h5py
import numpy as np

from lrplan.errors import DataError
from lrplan.measure.recording import UNKNOWN
from lrplan.nwb._choice import Choice
from lrplan.nwb._hdf5 import load, member, text_at
from lrplan.nwb._tables import Table, as_labels
from lrplan.nwb._text import clean

_ELECTRODES = "general/extracellular_ephys/electrodes"


def area_of(file: h5py.File, choice: Choice) -> str:
    """Return the location of the units' electrodes or imaging planes if it is one, else "unknown".

    Parameters
    ----------
    file : h5py.File
        Checked for links to other files, as `catalogue` does.
    choice : Choice
        What is read from it.
    """
    if choice.table is not None:
        places = _electrodes(file, choice.table)
    else:
        places = {_plane(s.table) for s in choice.series}
    named = {p for p in places if p is not None and p.lower() not in (UNKNOWN, "none")}
    return named.pop() if len(named) == 1 and len(places) == 1 else UNKNOWN


def _electrodes(file: h5py.File, units: Table) -> set[str | None]:
    """Return the locations of the electrodes of the units, or of all where none are named."""
    group = member(file, _ELECTRODES)
    values = Table(group).glance("location") if isinstance(group, h5py.Group) else None
    if values is None:
        return set()
    found = member(units.group, "electrodes")
    if isinstance(found, h5py.Dataset) and found.dtype.kind in "iu":
        try:
            rows = np.unique(load(found))
        except DataError:
            return set()
        values = values[rows[(rows >= 0) & (rows < len(values))]]
    return {None if v is None else clean(v) for v in as_labels(values)}


def _plane(table: Table | None) -> str | None:
    """Return the location of the imaging plane of a table of regions."""
    plane = None if table is None else member(table.group, "imaging_plane")
    return text_at(plane, "location") if isinstance(plane, h5py.Group) else None
