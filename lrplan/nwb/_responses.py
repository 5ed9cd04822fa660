"""Responses of units or regions in the trials of a file, whatever they were read from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lrplan.nwb._area import counts_of
from lrplan.nwb._rows import Rows
from lrplan.nwb._text import listed


@dataclass
class Responses:
    """The response of every unit in every trial.

    Parameters
    ----------
    values : array (trial, unit)
        Spikes per second, or dF/F; NaN where a unit was not observed.
    ids : list of str or None
        What identifies a unit across sessions, where the file says so; None for a unit without.
    areas : array (unit,) of str or None
        Where each lies.
    report : dict
        What was chosen and dropped.
    warnings : list of str
        What was doubtful.
    """

    values: np.ndarray
    ids: list[str | None] | None
    areas: np.ndarray
    report: dict[str, Any]
    warnings: list[str] = field(default_factory=list)


def join_rows(
    values: np.ndarray,
    rows: list[Rows],
    paths: list[str],
    report: dict[str, Any],
    warnings: list[str],
) -> Responses:
    """Return the responses of the kept rows of one or several tables.

    Parameters
    ----------
    values : array (trial, unit)
        Of the kept rows, table after table.
    rows : list of Rows
        Of each table.
    paths : list of str
        Where each was read; identities of several tables are told apart by it.
    report, warnings
        Of the responses; what rows say is added.
    """
    areas = np.concatenate([r.areas[r.kept] for r in rows])
    ids: list[str | None] | None = []
    for path, own in zip(paths, rows, strict=True):
        if own.ids is None or ids is None:
            ids = None
            continue
        kept = [i for i, k in zip(own.ids, own.kept, strict=True) if k]
        ids += kept if len(rows) == 1 else [None if i is None else f"{path}:{i}" for i in kept]
    known = counts_of(areas)
    # Planes that share a table of regions are chosen by one look at it.
    chosen: list[dict[str, Any]] = []
    for one in (c for r in rows for c in r.chosen):
        if one not in chosen:
            chosen.append(one)
    for one in chosen:
        warnings.append(f"{one['kept']} of {one['of']} units meet {one['condition']}")
    if len(known) > 1:
        told = listed([f"{a}: {n}" for a, n in known.items()], 6)
        warnings.append(
            f"units of {len(known)} areas are taken as one population ({told}); take one with "
            "area= (--area)"
        )
    report |= {
        "tracked_by": rows[0].tracked_by if ids is not None else None,
        "areas": known,
        "chosen_units": chosen,
    }
    return Responses(values, ids, areas, report, warnings)
