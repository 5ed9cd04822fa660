"""Who was recorded, and when."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import h5py

from lrplan.nwb._hdf5 import text_at
from lrplan.nwb._text import natural_key

_EARLIEST, _LATEST = 1980, 2100


@dataclass(frozen=True)
class Metadata:
    """What tells one file's session from another's.

    Parameters
    ----------
    subject : str or None
        From the file, else from the ``sub-`` part of its name.
    session_id, identifier : str or None
        As the file states them.
    start : datetime or None
        Start of the session; a time without a zone counts as UTC, so that the order of sessions
        does not depend on the machine that reads them.
    naive : bool
        Whether the start had no zone.
    label : str
        The ``ses-`` part of the file's name, else the session's id, else the file's stem.
    """

    subject: str | None
    session_id: str | None
    identifier: str | None
    start: datetime | None
    naive: bool
    label: str
    named: bool = False

    @property
    def suspicious(self) -> bool:
        """Whether the start cannot be trusted: missing, or moved to hide the subject's age."""
        return self.start is None or not _EARLIEST <= self.start.year <= _LATEST

    @property
    def key(self) -> tuple[tuple[int, int, str], ...]:
        """Natural sorting key of the label."""
        return natural_key(self.label)


def read_metadata(file: h5py.File) -> Metadata:
    """Read the metadata of a file; what is missing or broken is None."""
    stem = Path(file.filename).stem
    subject = text_at(file, "general/subject/subject_id")
    session = text_at(file, "general/session_id")
    in_name = re.search(r"sub[-_](.+?)(?=_|$)", stem)
    if subject is None and in_name:
        subject = in_name[1]
    if session is not None and session.lower() in ("none", "nan"):
        session = None
    start, naive = None, False
    stated = text_at(file, "session_start_time")
    if stated is not None:
        try:
            start = datetime.fromisoformat(stated)
        except ValueError:
            start = None
        if start is not None and start.tzinfo is None:
            start, naive = start.replace(tzinfo=UTC), True
    named = re.search(r"ses[-_]([^_]+)", stem)
    if named is not None and named[1].lower() == "none":
        named = None
    label = named[1] if named else session or stem
    identifier = text_at(file, "identifier")
    return Metadata(subject, session, identifier, start, naive, label, named is not None)
