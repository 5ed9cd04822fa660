"""Which responses of a file are read: spike times or a ROI series."""

from __future__ import annotations

from dataclasses import dataclass

import h5py

from lrplan.errors import DataError, UsageError
from lrplan.nwb._catalogue import Catalogue
from lrplan.nwb._rois import Series
from lrplan.nwb._tables import Table
from lrplan.nwb._text import clean, listed
from lrplan.registry import nearest


@dataclass(frozen=True)
class Choice:
    """The source of responses, and what was passed over.

    Parameters
    ----------
    table : Table or None
        The table of units, where responses are spike rates.
    series : list of Series
        The ROI series, where responses are dF/F; several are planes with different regions.
    rejected : list of str
        Paths that were not chosen, each with its reason.
    """

    table: Table | None
    series: list[Series]
    rejected: list[str]

    @property
    def kind(self) -> str:
        """``spikes`` or ``dff``."""
        return "spikes" if self.table is not None else "dff"


def choose_responses(
    file: h5py.File, offers: Catalogue, *, units: str | None = None, signal: str | None = None
) -> Choice:
    """Choose the source of responses, or take the one that was named.

    Raises
    ------
    DataError
        If the file holds none, or several between which the user must decide.
    UsageError
        If the named one is not in the file.
    """
    if units is not None and signal is not None:
        raise UsageError(
            "units= (--units-table) and signal= (--signal) name one source each; give one of them"
        )
    tables = [Table(file[p]) for p in offers.units]
    series = [Series(file[p]) for p in offers.series]
    if units is not None:
        path = _named(units, offers.units, "table of units")
        return Choice(Table(file[path]), [], _others(offers, [path], "another was named"))
    if signal is not None:
        path = _named(signal, offers.series, "ROI series")
        return Choice(None, [Series(file[path])], _others(offers, [path], "another was named"))
    tables = [t for t in tables if t.rows and "spike_times" in t.group]
    readable = [s for s in series if s.shape[1]]
    if tables and any(s.role in ("dff", "fluorescence") for s in readable):
        raise DataError(
            f"holds both spike times ({clean(tables[0].path)}, {tables[0].rows} units) and ROI "
            f"series ({listed([s.path for s in readable], 3)}); say which to read with "
            f"units={clean(tables[0].path)} (--units-table) or signal=NAME (--signal)"
        )
    if tables:
        chosen = next((t for t in tables if t.path == "/units"), tables[0])
        if len(tables) > 1 and chosen.path != "/units":
            raise DataError(
                f"holds several tables of units ({listed([t.path for t in tables])}); name one "
                "with units= (--units-table)"
            )
        return Choice(chosen, [], _others(offers, [chosen.path], "not the main table of units"))
    return _choose_series(offers, series, readable)


def _choose_series(offers: Catalogue, series: list[Series], readable: list[Series]) -> Choice:
    """Return dF/F where there is any, else raw fluorescence."""
    for role in ("dff", "fluorescence"):
        fitting = [s for s in readable if s.role == role]
        if fitting:
            chosen = _planes(fitting)
            paths = [s.path for s in chosen]
            rejected = [f"{clean(s.path)} ({s.role})" for s in series if s.path not in paths] + [
                f"{clean(p)} (units without spike times)" for p in offers.units
            ]
            return Choice(None, chosen, rejected)
    if readable:
        held = [f"{s.path} ({s.role})" for s in readable]
        raise DataError(
            f"holds ROI series, but neither dF/F nor fluorescence: {listed(held)}; name one with "
            "signal= (--signal) to read it as it is"
        )
    if series:
        raise DataError(
            f"its ROI series {listed([s.path for s in series])} hold no data; get the file again"
        )
    if offers.units:
        raise DataError(
            f"its table of units {listed(offers.units)} holds no spike times; expected "
            "spike_times for at least one unit"
        )
    hint = "; it holds raw voltage: spike-sort it first" if offers.raw_voltage else ""
    raise DataError(
        "holds neither units with spike times nor ROI response series; expected one of them"
        f"{hint or '; give the file with the sorted or segmented data'}"
    )


def _planes(series: list[Series]) -> list[Series]:
    """Return the first series and those of other planes, whose regions are different ones."""
    chosen = [series[0]]
    taken = {_table_path(series[0])}
    for one in series[1:]:
        path = _table_path(one)
        if path is not None and path not in taken and None not in taken:
            chosen.append(one)
            taken.add(path)
    return chosen


def _table_path(series: Series) -> str | None:
    table = series.table
    return None if table is None else table.path


def _named(wanted: str, paths: list[str], what: str) -> str:
    for path in paths:
        if wanted in (path, path.lstrip("/")):
            return path
    fitting = [p for p in paths if wanted in (p.rsplit("/", 1)[-1], p.rsplit("/", 2)[-2])]
    if len(fitting) == 1:
        return fitting[0]
    shown = [clean(p) for p in (fitting or paths)]
    if len(fitting) > 1:
        raise UsageError(f"{clean(wanted)!r} could be {listed(shown)}; give the whole path")
    raise UsageError(f"there is no {what} {clean(wanted)!r}; {nearest(wanted, shown)}")


def _others(offers: Catalogue, chosen: list[str], why: str) -> list[str]:
    return [f"{clean(p)} ({why})" for p in (*offers.units, *offers.series) if p not in chosen]
