"""Which units or regions of a table are read, and what identifies them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import h5py
import numpy as np

from lrplan.errors import DataError, UsageError
from lrplan.nwb._area import areas_of_rows, counts_of
from lrplan.nwb._options import Options
from lrplan.nwb._quality import quality_warnings
from lrplan.nwb._tables import Table, as_labels
from lrplan.nwb._text import clean, folded, listed
from lrplan.registry import nearest

TRACKED = ("tracking_id", "cell_specimen_id")
"""Columns whose values stand for the same cell in all sessions, in the order in which they are
looked for. ``cell_specimen_id`` is that of the Allen Brain Observatory."""
UNTRACKED = "none"


@dataclass
class Rows:
    """The rows of one table that are read.

    Parameters
    ----------
    kept : array (row,) of bool
        Which.
    areas : array (row,) of str or None
        Where each lies.
    ids : list of str or None
        What identifies each in other sessions; None for those that have no identity, and
        altogether where nothing does or two are alike.
    tracked_by : str or None
        The column with the identities.
    chosen : list of dict
        What was chosen by conditions: ``table``, ``condition``, ``of`` and ``kept``.
    """

    kept: np.ndarray
    areas: np.ndarray
    ids: list[str | None] | None
    tracked_by: str | None
    chosen: list[dict[str, Any]] = field(default_factory=list)


def choose_rows(
    file: h5py.File, table: Table, options: Options, noun: str, warnings: list[str]
) -> Rows:
    """Return the rows that meet the user's condition and lie in the user's area.

    Parameters
    ----------
    file : h5py.File
        Where the table lies.
    table : Table
        Units or regions of interest.
    options : Options
        What the user fixed.
    noun : str
        What a row is called, in the plural.
    warnings : list of str
        Takes what is doubtful.

    Raises
    ------
    UsageError
        If a column or an area does not exist.
    DataError
        If no row is left.
    """
    areas = areas_of_rows(file, table)
    ids, tracked_by = _identities(table, options.tracking, warnings)
    rows = Rows(np.ones(table.rows, dtype=bool), areas, ids, tracked_by)
    if options.units is not None:
        holds = options.units.holds(table.condition_column(options.units.what))
        rows.kept &= holds
        told = clean(options.units.text)
        rows.chosen.append(_told(table, told, holds))
        if not holds.any():
            held = [h for h in (_held(table, c) for c in options.units.columns) if h]
            raise DataError(
                f"none of {table.rows} {noun} of {clean(table.path)} meets {told}; "
                f"{'; '.join(held)}; choose with another condition"
            )
    else:
        warnings += quality_warnings(table, noun)
    if options.area is not None:
        _keep_area(table, rows, options.area, noun)
    return rows


def _keep_area(table: Table, rows: Rows, area: str, noun: str) -> None:
    known = counts_of(rows.areas)
    if not known:
        raise DataError(
            f"the file does not say where the {noun} of {clean(table.path)} lie, so area= (--area) "
            "cannot choose; leave it out, or choose with units= (--units)"
        )
    same = {a for a in known if a.lower() == area.lower()}
    if not same:
        raise UsageError(
            f"no {noun} of {clean(table.path)} lie in the area {clean(area, 60)!r}; "
            f"{nearest(area, known)}"
        )
    inside = np.array([a in same for a in rows.areas], dtype=bool)
    rows.kept &= inside
    rows.chosen.append(_told(table, f"area {clean(area, 60)}", inside))
    if not rows.kept.any():
        raise DataError(
            f"no {noun} of {clean(table.path)} lie in {clean(area, 60)!r} and meet the condition "
            "of units= (--units); choose with another one"
        )


def _told(table: Table, condition: str, holds: np.ndarray) -> dict[str, Any]:
    return {
        "table": clean(table.path),
        "condition": condition,
        "of": table.rows,
        "kept": int(holds.sum()),
    }


def _held(table: Table, name: str) -> str:
    """Say which values a column takes."""
    values = table.first_of_each(name)
    if values is None:
        return ""
    if values.dtype == object:
        return f"{clean(name, 60)} is {listed(list(dict.fromkeys(values.tolist())), 6)}"
    low, high = np.nanmin(values.astype(float)), np.nanmax(values.astype(float))
    return f"{clean(name, 60)} is {low:.4g} to {high:.4g}"


def _identities(
    table: Table, wanted: str | None, warnings: list[str]
) -> tuple[list[str | None] | None, str | None]:
    """Return what identifies each row in other sessions, and the column that says it."""
    if wanted == UNTRACKED:
        return None, None
    known = {folded(c): c for c in table.columns}
    names = [wanted] if wanted is not None else [known[n] for n in TRACKED if n in known]
    for name in names:
        values = table.values(name) if name in table.columns else None
        if values is None:
            if wanted is None:
                continue
            raise UsageError(
                f"{clean(table.path)} has no column {clean(name, 60)!r} with one value for each "
                f"row; {nearest(name, [clean(c, 60) for c in table.columns])}; tracking='none' "
                "(--tracking none) takes units as not tracked"
            )
        labels = as_labels(values)
        ids = [None if v is None or v == "-1" else clean(v, None) for v in labels]
        held = [i for i in ids if i is not None]
        if len(set(held)) == len(held) and held:
            return ids, clean(name, 60)
        told = (
            f"column {clean(name, 60)} of {clean(table.path)} names {len(set(held))} different "
            f"cells in {len(held)} rows; expected each cell once"
        )
        if wanted is not None:
            raise DataError(told)
        warnings.append(f"{told}; it is not used to track cells")
    return None, None
