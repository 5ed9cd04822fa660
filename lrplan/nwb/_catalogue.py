"""What an NWB file offers: its tables of units, its ROI series, its tables of intervals."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import h5py

from lrplan.errors import DataError
from lrplan.nwb._hdf5 import attribute, shown_name
from lrplan.nwb._tables import Table
from lrplan.nwb._text import clean, listed

_NO_TRIALS = ("PlaneSegmentation", "ElectrodesTable")
_SIGNAL = re.compile(r"trial|stim|teleport|environment|tstart|block|\bcue\b|odou?r|sound|tone")


@dataclass
class Catalogue:
    """Paths inside a file, by what stands there.

    Parameters
    ----------
    units : list of str
        Tables with spike times.
    series : list of str
        ROI response series.
    intervals : list of str
        Tables with start times.
    events : list of str
        Tables of events, which have a time stamp and no end.
    tables : list of str
        Other tables with a column of times.
    signals : list of str
        Time series whose names speak of trials, stimuli or blocks.
    damaged : list of str
        Paths that could not be opened.
    raw_voltage : bool
        Whether there is an ElectricalSeries, which spike sorting could turn into units.
    """

    units: list[str] = field(default_factory=list)
    series: list[str] = field(default_factory=list)
    intervals: list[str] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    tables: list[str] = field(default_factory=list)
    signals: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    raw_voltage: bool = False

    @property
    def epochs(self) -> list[str]:
        """Tables of intervals whose names speak of epochs."""
        return [p for p in self.intervals if "epoch" in p.rsplit("/", 1)[-1].lower()]

    def trials_elsewhere(self) -> str:
        """Say what the file holds in place of a table of trials; empty where it is nothing."""
        kinds = (
            ("epochs", self.epochs, "sessions, not trials"),
            ("tables", self.tables, "read with intervals= (--intervals)"),
            (
                "signals",
                self.signals,
                "read with trial_signal= (--trial-signal) and label= (--label)",
            ),
        )
        told = [f"it holds {what} {listed(p, 4)}: {how}" for what, p, how in kinds if p]
        return "; ".join(told)


def catalogue(file: h5py.File) -> Catalogue:
    """Walk through a file once and note what it offers.

    Soft links are not followed: what they lead to is found at its own place. Types of extensions
    are recognised by what they hold, so that none of them needs to be installed.

    Raises
    ------
    DataError
        If any part of it lies in another file: a recording from elsewhere could so show
        the content of any file on this machine as data.
    """
    found = Catalogue()
    name = shown_name(file.filename)
    seen = set()
    waiting: list[tuple[str, h5py.Group]] = [("", file)]
    while waiting:
        path, group = waiting.pop()
        try:
            children = list(group)
        except (OSError, RuntimeError):
            found.damaged.append(path or "/")
            continue
        for child in children:
            here = f"{path}/{child}"
            if here == "/specifications":
                continue
            try:
                link = group.get(child, getlink=True)
                if isinstance(link, h5py.ExternalLink):
                    raise DataError(_elsewhere(name, here, f"a link to {clean(link.filename)}"))
                if isinstance(link, h5py.SoftLink):
                    continue
                thing = group[child]
                address = h5py.h5o.get_info(thing.id).addr
            except (KeyError, OSError, RuntimeError, TypeError, ValueError) as error:
                if isinstance(error, DataError):
                    raise
                found.damaged.append(here)
                continue
            if address in seen:
                continue
            seen.add(address)
            if isinstance(thing, h5py.Dataset):
                if thing.is_virtual:
                    raise DataError(_elsewhere(name, here, "a virtual dataset"))
                if thing.external:
                    raise DataError(
                        _elsewhere(name, here, f"stored in {clean(thing.external[0][0])}")
                    )
            elif isinstance(thing, h5py.Group):
                try:
                    _note(found, here, thing)
                except (OSError, RuntimeError):
                    found.damaged.append(here)
                    continue
                waiting.append((here, thing))
    for paths in vars(found).values():
        if isinstance(paths, list):
            paths.sort()
    return found


def _elsewhere(name: str, path: str, what: str) -> str:
    return (
        f"{name}: {clean(path)} is {what}; lrplan reads only data that lie in the file itself; "
        "export it to one file without links first"
    )


def _note(found: Catalogue, path: str, group: h5py.Group) -> None:
    kind = clean(attribute(group, "neurodata_type", ""), 80)
    table = "colnames" in group.attrs
    if kind == "Units" or (table and "spike_times" in group):
        found.units.append(path)
    elif kind == "TimeIntervals" or (table and "start_time" in group):
        found.intervals.append(path)
    elif table and (kind == "EventsTable" or path.startswith("/events/")) and "timestamp" in group:
        found.events.append(path)
    elif table and kind not in _NO_TRIALS and Table(group).start_column is not None:
        found.tables.append(path)
    elif kind == "RoiResponseSeries" or ("rois" in group and "data" in group):
        found.series.append(path)
    elif kind == "ElectricalSeries":
        found.raw_voltage = True
    elif "data" in group and _SIGNAL.search(path.rsplit("/", 1)[-1].lower()):
        found.signals.append(path)
