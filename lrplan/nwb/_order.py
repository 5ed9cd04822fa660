"""The order of the sessions of a recording, and how they are spread."""

from __future__ import annotations

import re

from lrplan.errors import DataError
from lrplan.nwb._file import FileContent
from lrplan.nwb._text import clean, listed, natural_key

ORDERS = ("time", "name", "given")
_DAY_S = 86400.0


def ordered(
    contents: list[FileContent], order: str | None, warnings: list[str]
) -> tuple[list[FileContent], str]:
    """Return the files in the order of learning and the rule that ordered them.

    Parameters
    ----------
    contents : list of FileContent
        Of one subject.
    order : {None, "time", "name", "given"}
        The rule; None takes the time where it can be trusted, else numbers in the names.
    warnings : list of str
        Takes what is doubtful.

    Raises
    ------
    DataError
        If neither times nor names say an order.
    """
    if order == "given" or len(contents) == 1:
        return contents, "given"
    starts = [c.metadata.start for c in contents]
    distrusted = any(c.metadata.suspicious for c in contents)
    distinct = len(set(starts)) == len(starts)
    if order == "time" and any(s is None for s in starts):
        raise DataError(
            "not every file has a session_start_time; expected one for order='time' (--order); use "
            "order='name' or order='given'"
        )
    if order == "time" and not distinct:
        shared = next(s for s in starts if starts.count(s) > 1)
        same = [c.name for c in contents if c.metadata.start == shared]
        raise DataError(
            f"{listed(same, 4)} have the same session_start_time "
            f"({shared.isoformat() if shared else None}), so it is no order of them; use "
            "order='name' or order='given' (--order) with the files in the order of learning"
        )
    if order == "time" or (order is None and not distrusted and distinct):
        key = {id(c): c.metadata.start.timestamp() for c in contents if c.metadata.start}
        found = sorted(contents, key=lambda c: key[id(c)])
        by_name = _by_name(contents)
        if _numbered(contents) and list(map(id, found)) != list(map(id, by_name)):
            warnings.append(
                "session_start_time orders the sessions otherwise than their names do: "
                f"{listed([c.name for c in found], 4)}; use order='name' or "
                "order='given' (--order) to change it"
            )
        return found, "session_start_time"
    why = "implausible or missing" if distrusted else "not all different"
    if not _numbered(contents):
        names = listed([c.name for c in _by_name(contents)], 6)
        if order is None:
            raise DataError(
                f"session_start_time is {why}, and the names of the files do not number them "
                f"({names}); give the files in the order of learning with order='given' (--order "
                "given)"
            )
        warnings.append(
            f"names do not number the sessions; the order is that of the alphabet: {names}"
        )
    found = _by_name(contents)
    if order is None:
        warnings.append(
            f"session_start_time is {why}; sessions are ordered by name: "
            f"{listed([c.name for c in found], 4)}; use order='given' (--order) to set it"
        )
    return found, "name"


def _by_name(contents: list[FileContent]) -> list[FileContent]:
    """Return the files in the natural order of their names."""
    names = _names(contents)
    places = sorted(range(len(contents)), key=lambda i: natural_key(names[i]))
    return [contents[i] for i in places]


def _names(contents: list[FileContent]) -> list[str]:
    """Return the sessions' labels, or the files' names where labels are alike."""
    labels = [c.metadata.label for c in contents]
    return labels if len(set(labels)) == len(labels) else [c.path.stem for c in contents]


def _numbered(contents: list[FileContent]) -> bool:
    """Return whether names differ in their numbers alone, as ses-1, ses-2, ses-10 do."""
    names = _names(contents)
    return len({re.sub(r"[0-9]+", "#", n.lower()) for n in names}) == 1 and any(
        c.isdigit() for c in names[0]
    )


def spacing(contents: list[FileContent]) -> str:
    """Say how sessions are taken to be spread, and how far apart the files say they are."""
    taken = "taken as evenly spread over learning"
    starts = [c.metadata.start for c in contents]
    if len(contents) < 3 or any(c.metadata.suspicious for c in contents):
        return taken
    gaps = [
        abs((b - a).total_seconds()) / _DAY_S
        for a, b in zip(starts, starts[1:], strict=False)
        if a is not None and b is not None
    ]
    low, high = min(gaps), max(gaps)
    if high < 1 or clean(f"{low:.2g}") == clean(f"{high:.2g}"):
        return taken
    return f"{taken} (they start {low:.2g} to {high:.2g} days apart)"
