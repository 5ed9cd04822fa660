"""Whose NWB files are, before their responses are read."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from lrplan.nwb._hdf5 import open_nwb
from lrplan.nwb._metadata import read_metadata


def by_subject(paths: Sequence[str | os.PathLike[str]]) -> list[list[Path]]:
    """Put the files of each subject together, such as the sessions of one animal.

    Parameters
    ----------
    paths : sequence of paths
        NWB 2 files.

    Returns
    -------
    list of list of Path
        Subjects in the order of their first file. Files that name none are taken as one subject.

    Raises
    ------
    DataError
        If a file is no readable NWB 2 file.
    """
    held: dict[str | None, list[Path]] = {}
    for path in map(Path, paths):
        with open_nwb(path) as file:
            held.setdefault(read_metadata(file).subject, []).append(path)
    return list(held.values())
