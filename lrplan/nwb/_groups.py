"""Which files are of one session: probes, planes, and files with the behaviour alone."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lrplan.errors import DataError
from lrplan.nwb._catalogue import catalogue
from lrplan.nwb._file import FileContent, Part, content_of, read_part
from lrplan.nwb._hdf5 import open_nwb, shown_name
from lrplan.nwb._metadata import Metadata, read_metadata
from lrplan.nwb._options import Options, Stages
from lrplan.nwb._rois import Series
from lrplan.nwb._tables import Table
from lrplan.nwb._text import clean, listed

# What tells the files of one session apart: DANDI's names, and those of recording programs.
_PLACE = re.compile(
    r"(?<![A-Za-z])(probe|imec|imp|acq|plane|fov|shank|obj|array|depth)[-_]?([A-Za-z0-9]+)", re.I
)


@dataclass(frozen=True)
class Scan:
    """What a file holds, before any of it is read.

    Parameters
    ----------
    path : Path
        Of the file.
    metadata : Metadata
        Whose it is, and when it was recorded.
    responses, trials : bool
        Whether it holds units or regions of interest, and tables of trials.
    """

    path: Path
    metadata: Metadata
    responses: bool
    trials: bool

    @property
    def name(self) -> str:
        """The file's name, fit for a message."""
        return shown_name(self.path)

    @property
    def place(self) -> str:
        """The part of its name that tells a probe or plane, empty where there is none."""
        found = _PLACE.search(self.path.stem)
        return "" if found is None else f"{found[1]}-{found[2]}".lower()

    def same_session(self, other: Scan) -> bool:
        """Return whether names and times say that another file is of the same session."""
        mine, theirs = self.metadata, other.metadata
        if None not in (mine.subject, theirs.subject) and mine.subject != theirs.subject:
            return False
        if mine.start != theirs.start and None not in (mine.start, theirs.start):
            return False
        if mine.session_id is not None and mine.session_id == theirs.session_id:
            return True
        named = [_without_place(m.label) for m in (mine, theirs)]
        return all(m.named for m in (mine, theirs)) and named[0] == named[1]


def _without_place(label: str) -> str:
    return _PLACE.sub("", label).strip("-_").lower()


def scan(path: Path) -> Scan:
    """Look into a file.

    Raises
    ------
    DataError
        If it is no readable NWB 2 file.
    """
    with open_nwb(path) as file:
        offers = catalogue(file)
        tables = [Table(file[p]) for p in offers.units]
        responses = any(t.rows and "spike_times" in t.group for t in tables)
        responses = responses or any(Series(file[p]).shape[1] for p in offers.series)
        epochs = set(offers.epochs)
        named = [p for p in offers.intervals if p not in epochs and "invalid_times" not in p]
        return Scan(path, read_metadata(file), responses, bool(named or offers.events))


def grouped(scans: list[Scan]) -> list[list[Scan]]:
    """Put the files of each session together, in the order in which they were given."""
    groups: list[list[Scan]] = []
    for one in scans:
        for group in groups:
            if one.same_session(group[0]):
                group.append(one)
                break
        else:
            groups.append([one])
    return groups


def read_sessions(
    paths: list[Path], options: Options, order: str | None, warnings: list[str]
) -> list[FileContent]:
    """Read the files, those of one session together.

    Files that hold no responses lend their trials to the others of their session; alone they are
    left out, and it is said.

    Parameters
    ----------
    paths : list of Path
        The files.
    options : Options
        What the user fixed.
    order : str or None
        Where it is ``given``, files with responses are sessions of their own.
    warnings : list of str
        Takes what is doubtful.

    Raises
    ------
    DataError
        If a file cannot be read, or files of one session do not fit together.
    """
    if len(paths) == 1:
        return [content_of(read_part(paths[0], options))]
    scans = [scan(p) for p in paths]
    useful: list[tuple[list[Scan], Path | None]] = []
    idle: list[Scan] = []
    for group in grouped(scans):
        with_responses = [s for s in group if s.responses]
        others = [s for s in group if not s.responses]
        if not with_responses:
            idle += others
            continue
        lacking = any(not s.trials for s in with_responses)
        lender = next((s for s in (*others, *with_responses) if lacking and s.trials), None)
        source = None if lender is None else lender.path
        idle += [s for s in others if s.path != source]
        apart = [[s] for s in with_responses] if order == "given" else [with_responses]
        useful += [(files, source) for files in apart]
    if not useful:
        read_part(scans[0].path, options)  # says what is missing
    if idle:
        names = listed([s.name for s in idle])
        warnings.append(
            f"{names} hold{'s' if len(idle) == 1 else ''} no units with spike times and no ROI "
            "series, such as a file of behaviour only, and "
            f"{'was' if len(idle) == 1 else 'were'} left out"
        )
    if len(useful) > 1 and options.stages.kind == "look":
        options = replace(options, stages=Stages("session"))
    contents = []
    for files, source in useful:
        parts = [read_part(s.path, options, None if s.trials else source) for s in files]
        contents.append(_together(files, parts, warnings))
    return contents


def _together(files: list[Scan], parts: list[Part], warnings: list[str]) -> FileContent:
    """Return one session of its files: units side by side, copies left out."""
    kept: list[tuple[Scan, Part]] = []
    for one, part in zip(files, parts, strict=True):
        twin = next((p for _, p in kept if p.digest == part.digest), None)
        if twin is None:
            kept.append((one, part))
            continue
        warnings.append(f"{part.name} holds the same session as {twin.name} and was left out")
    if len(kept) == 1:
        return content_of(kept[0][1])
    places = [one.place for one, _ in kept]
    first = kept[0][1]
    if "" in places or len(set(places)) < len(places):
        raise DataError(
            f"{listed([p.name for _, p in kept], 4)} are one session "
            f"({clean(first.metadata.session_id or first.metadata.label, 60)}) with different "
            "responses; expected one file for each session, or files of several probes or planes "
            "whose names say so (probe-A, plane-0); give one of them, or order='given' (--order) "
            "if they are sessions of their own"
        )
    kinds = {p.kind for _, p in kept}
    if len(kinds) > 1:
        raise DataError(
            f"{listed([f'{p.name} ({p.kind})' for _, p in kept], 4)} are one session; spikes and "
            "imaging are not read together; give the files of one kind"
        )
    return content_of(_joined([p for _, p in kept], places), [p for _, p in kept[1:]])


def _joined(parts: list[Part], places: list[str]) -> Part:
    """Return a part with the units of several, in the trials that all have."""
    keys = [
        list(zip(np.round(p.trials.start, 6), p.trials.label, p.trials.session, strict=True))
        for p in parts
    ]
    shared = set(keys[0]).intersection(*keys[1:])
    first = parts[0]
    most = max(map(len, keys))
    if 2 * len(shared) < most:
        raise DataError(
            f"{listed([p.name for p in parts], 4)} are one session, but share {len(shared)} of "
            f"{most} trials; expected the same trials in all files; give one of them, or "
            "order='given' (--order) if they are sessions of their own"
        )
    rows = [np.array([k in shared for k in own], dtype=bool) for own in keys]
    trials = first.trials
    trials.keep(rows[0], "not in all files of the session")
    found = first.responses
    found.values = np.concatenate(
        [p.responses.values[r] for p, r in zip(parts, rows, strict=True)], axis=1
    )
    found.areas = np.concatenate([p.responses.areas for p in parts])
    ids: list[str | None] | None = []
    for place, part in zip(places, parts, strict=True):
        own = part.responses.ids
        ids = (
            None if ids is None or own is None else ids + [f"{place}:{i}" if i else i for i in own]
        )
    found.ids = ids
    warnings = [w for p in parts for w in p.warnings]
    warnings.append(f"units of {len(parts)} files ({', '.join(places)}) are taken together")
    areas: Counter[str] = sum((Counter(p.responses.report["areas"]) for p in parts), Counter())
    found.report["areas"] = dict(areas)
    chosen = [c for p in parts for c in p.responses.report["chosen_units"]]
    found.report["chosen_units"] = chosen
    return replace(first, warnings=list(dict.fromkeys(warnings)))
