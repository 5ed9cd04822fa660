"""Which responses of a file are read: spike times or ROI series."""

from __future__ import annotations

from dataclasses import dataclass

import h5py

from lrplan.errors import DataError, UsageError
from lrplan.nwb._catalogue import Catalogue
from lrplan.nwb._rois import Series
from lrplan.nwb._roles import READ
from lrplan.nwb._tables import Table
from lrplan.nwb._text import clean, listed
from lrplan.registry import nearest


class NoResponsesError(DataError):
    """A file that holds neither spikes nor imaging, such as one of behaviour only."""


@dataclass(frozen=True)
class Choice:
    """The source of responses, and what was passed over.

    Parameters
    ----------
    tables : list of Table
        Tables of units, where responses are spike rates; several are probes.
    series : list of Series
        ROI series, where responses are dF/F; several are planes with different regions.
    rejected : list of str
        Paths that were not chosen, each with its reason.
    """

    tables: list[Table]
    series: list[Series]
    rejected: list[str]

    @property
    def kind(self) -> str:
        """``spikes`` or ``dff``."""
        return "spikes" if self.tables else "dff"

    @property
    def paths(self) -> list[str]:
        """Where the responses lie."""
        return [t.path for t in self.tables] + [s.path for s in self.series]


def choose_responses(
    file: h5py.File,
    offers: Catalogue,
    *,
    units_table: str | None = None,
    signal: str | None = None,
) -> Choice:
    """Choose the source of responses, or take the one that was named.

    Raises
    ------
    NoResponsesError
        If the file holds none.
    DataError
        If there are several between which the user must decide.
    UsageError
        If the named one is not in the file.
    """
    if units_table is not None and signal is not None:
        raise UsageError(
            "units_table= (--units-table) and signal= (--signal) name one source each; give one "
            "of them"
        )
    if units_table is not None:
        paths = _named(units_table, offers.units, "table of units")
        tables = [Table(file[p]) for p in paths]
        return Choice(tables, [], _others(offers, paths, "another was named"))
    series = [Series(file[p]) for p in offers.series]
    if signal is not None:
        paths = _named(signal, offers.series, "ROI series")
        named = [s for s in series if s.path in paths]
        _refuse_shared_regions(named)
        return Choice([], named, _others(offers, paths, "another was named"))
    tables = [Table(file[p]) for p in offers.units]
    tables = [t for t in tables if t.rows and "spike_times" in t.group]
    readable = [s for s in series if s.shape[1]]
    if tables and any(s.role in READ for s in readable):
        raise DataError(
            f"holds both spike times ({clean(tables[0].path)}, {tables[0].rows} units) and ROI "
            f"series ({listed([s.path for s in readable], 3)}); say which to read with "
            f"units_table={clean(tables[0].path)} (--units-table) or signal=NAME (--signal)"
        )
    if tables:
        chosen = next((t for t in tables if t.path == "/units"), tables[0])
        if len(tables) > 1 and chosen.path != "/units":
            raise DataError(
                f"holds several tables of units ({listed([t.path for t in tables])}); name one "
                "with units_table= (--units-table), or several probes with commas"
            )
        return Choice([chosen], [], _others(offers, [chosen.path], "not the main table of units"))
    return _choose_series(offers, series, readable)


def _choose_series(offers: Catalogue, series: list[Series], readable: list[Series]) -> Choice:
    """Return dF/F where there is any, else raw fluorescence."""
    for role in READ:
        fitting = [s for s in readable if s.role == role]
        if fitting:
            best = min(s.version.rank for s in fitting)
            chosen = _planes([s for s in fitting if s.version.rank == best])
            paths = [s.path for s in chosen]
            rejected = [f"{clean(s.path)} ({s.role})" for s in series if s.path not in paths] + [
                f"{clean(p)} (units without spike times)" for p in offers.units
            ]
            return Choice([], chosen, rejected)
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
        raise NoResponsesError(
            f"its table of units {listed(offers.units)} holds no spike times; expected "
            "spike_times for at least one unit"
        )
    hint = "; it holds raw voltage: spike-sort it first" if offers.raw_voltage else ""
    raise NoResponsesError(
        "holds neither units with spike times nor ROI response series; expected one of them"
        f"{hint or '; give the file with the sorted or segmented data'}"
    )


def _planes(series: list[Series]) -> list[Series]:
    """Return the series of all planes: those that hold different regions.

    Raises
    ------
    DataError
        If two hold the same regions and are as good as each other.
    """
    for one, two in _pairs(series):
        if one.shares_regions(two):
            raise DataError(
                f"{clean(one.path)} and {clean(two.path)} hold the same regions and are both "
                f"{one.role}; name the one to read with signal= (--signal)"
            )
    return series


def _refuse_shared_regions(series: list[Series]) -> None:
    for one, two in _pairs(series):
        if one.shares_regions(two):
            raise UsageError(
                f"{clean(one.path)} and {clean(two.path)} hold the same regions; name one of them "
                "with signal= (--signal), or several planes with commas"
            )
    roles = {s.role for s in series}
    if len(roles) > 1:
        raise UsageError(
            f"{listed([f'{s.path} ({s.role})' for s in series])} are of different kinds; name "
            "planes of one kind with signal= (--signal)"
        )


def _pairs(series: list[Series]) -> list[tuple[Series, Series]]:
    return [(one, two) for i, one in enumerate(series) for two in series[i + 1 :]]


def _named(wanted: str, paths: list[str], what: str) -> list[str]:
    """Return the paths that a name, or several with commas, stand for.

    A name is a path, the last part of one, or the group that holds it; that of a group stands
    for all series in it.
    """
    found: list[str] = []
    known = {p.strip("/") for p in paths}
    words = [wanted] if wanted.strip("/") in known else [w.strip() for w in wanted.split(",")]
    for word in words:
        found += [p for p in _one_named(word, paths, what) if p not in found]
    return found


def _one_named(wanted: str, paths: list[str], what: str) -> list[str]:
    if not wanted:
        raise UsageError(f"no {what} is named; leave the option out, or name one")
    for path in paths:
        if wanted.strip("/") == path.strip("/"):
            return [path]
    inside = [p for p in paths if p.startswith(f"/{wanted.strip('/')}/")]
    fitting = inside or [p for p in paths if wanted == p.rsplit("/", 1)[-1]]
    if not fitting:
        groups = {p.rsplit("/", 1)[0] for p in paths if wanted == p.rsplit("/", 2)[-2]}
        if len(groups) == 1:
            return [p for p in paths if p.rsplit("/", 1)[0] in groups]
        fitting = [p for p in paths if p.rsplit("/", 1)[0] in groups]
    if len(fitting) == 1 or inside:
        return fitting
    shown = [clean(p) for p in (fitting or paths)]
    if len(fitting) > 1:
        raise UsageError(f"{clean(wanted)!r} could be {listed(shown)}; give the whole path")
    raise UsageError(f"there is no {what} {clean(wanted)!r}; {nearest(wanted, shown)}")


def _others(offers: Catalogue, chosen: list[str], why: str) -> list[str]:
    return [f"{clean(p)} ({why})" for p in (*offers.units, *offers.series) if p not in chosen]
