"""A table of an NWB file, read column by column."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import h5py
import numpy as np

from lrplan.errors import DataError, UsageError
from lrplan.nwb._condition import Column
from lrplan.nwb._hdf5 import attribute, load, member
from lrplan.nwb._text import clean, folded
from lrplan.registry import nearest

_MISSING = {"", "nan", "n/a"}
# TimeIntervals have start_time, events timestamp; plain tables call it as they like.
_STARTS = (
    *("start_time", "timestamp", "start", "start_times", "trial_start", "trial_start_time"),
    *("onset", "onset_time", "stimulus_onset", "stimulus_onset_time", "stim_on", "stim_on_time"),
    *("stim_on_times", "time", "times", "timestamps", "t"),
)


@dataclass(frozen=True)
class Table:
    """A DynamicTable: columns of one length, kept as datasets of a group."""

    group: h5py.Group

    @property
    def path(self) -> str:
        """Where it lies in the file."""
        return str(self.group.name)

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.path.rsplit("/", 1)[-1]

    @cached_property
    def rows(self) -> int:
        """Number of rows: the length of ``id`` where there is one, else of the first column."""
        for name in ("id", "spike_times_index", "start_time", *self.columns):
            found = member(self.group, name)
            if isinstance(found, h5py.Dataset) and found.ndim >= 1:
                return int(found.shape[0])
        return 0

    @cached_property
    def columns(self) -> list[str]:
        """Names of the columns, in the table's own order."""
        named = attribute(self.group, "colnames", ())
        order = [n.decode("utf-8", "replace") if isinstance(n, bytes) else str(n) for n in named]
        held = [n for n in self.group if isinstance(member(self.group, n), h5py.Dataset)]
        indices = {n for n in held if n.endswith("_index") and n[: -len("_index")] in held}
        return [n for n in order if n in held] + [
            n for n in held if n not in order and n != "id" and n not in indices
        ]

    def ragged(self, name: str) -> bool:
        """Return whether a column holds a list in each row."""
        return f"{name}_index" in self.group

    def values(self, name: str) -> np.ndarray | None:
        """Return a column that holds one number or one text in each row.

        Returns
        -------
        array (row,) or None
            Numbers, or texts as objects; None if the column is missing, holds something else or
            has another length than the table.
        """
        found = member(self.group, name)
        if not isinstance(found, h5py.Dataset) or self.ragged(name) or found.shape is None:
            return None
        single = found.ndim == 1 or (found.ndim == 2 and found.shape[1] == 1)
        if not single or found.shape[0] != self.rows:
            return None
        text = h5py.check_string_dtype(found.dtype) is not None or found.dtype.kind == "S"
        if not text and found.dtype.kind not in "iufb":
            return None
        values = load(found).reshape(-1)
        if text:
            return np.array([clean(v, None) for v in values], dtype=object)
        return values

    def part(self, name: str, place: int) -> np.ndarray | None:
        """Return one of the values that each row of a column holds, such as a flag of suite2p.

        Returns
        -------
        array (row,) or None
            As `values`; None also where rows have fewer values.
        """
        found = member(self.group, name)
        if not isinstance(found, h5py.Dataset) or found.ndim != 2 or found.shape[1] < 2:
            return self.values(name) if place == 0 else None
        if self.ragged(name) or found.shape[0] != self.rows or place >= found.shape[1]:
            return None
        if found.dtype.kind not in "iufb":
            return None
        return load(found, (slice(None), place))

    def first_of_each(self, name: str) -> np.ndarray | None:
        """Return the first value of each row, or None where the column is damaged."""
        try:
            return self.part(name, 0)
        except DataError:
            return None

    def texts(self, name: str) -> list[str] | None:
        """Return a column as one text for each row; those of a list are joined by commas."""
        if not self.ragged(name):
            values = self.glance(name)
            return None if values is None else [v or "" for v in as_labels(values)]
        found = member(self.group, name)
        if not isinstance(found, h5py.Dataset) or found.ndim != 1:
            return None
        try:
            parts = [clean(v, 60) for v in load(found)]
            ends = self.index(name, len(parts))
        except DataError:
            return None
        starts = [0, *ends[:-1]]
        return [", ".join(parts[a:b]) for a, b in zip(starts, ends, strict=True)]

    def condition_column(self, what: str) -> Column:
        """Return what looks columns up for a condition.

        Parameters
        ----------
        what : str
            How the user calls the condition.
        """

        def column(name: str, place: int) -> np.ndarray:
            values = self.part(name, place) if name in self.columns else None
            if values is not None:
                return values
            if name in self.columns:
                raise UsageError(
                    f"{what}: column {clean(name, 60)} of {clean(self.path)} does not hold one "
                    "number or text for each row"
                )
            raise UsageError(
                f"{what}: {clean(self.path)} has no column {clean(name, 60)!r}; "
                f"{nearest(name, [clean(c, 60) for c in self.columns])}"
            )

        return column

    def glance(self, name: str) -> np.ndarray | None:
        """Return a column like `values`, or None where it is damaged.

        For columns that nobody asked for: damage in one of them must not cost the file.
        """
        try:
            return self.values(name)
        except DataError:
            return None

    def numbers(self, name: str) -> np.ndarray | None:
        """Return a column of numbers as float64, or None where it is something else."""
        values = self.values(name)
        if values is None or values.dtype == object:
            return None
        return values.astype(np.float64)

    @cached_property
    def start_column(self) -> str | None:
        """Name of the column with the time at which each row starts, or None."""
        known = {folded(c): c for c in reversed(self.columns)}
        for name in _STARTS:
            if name in known and self.glance(known[name]) is not None:
                return known[name]
        return None

    def index(self, name: str, length: int) -> np.ndarray:
        """Return where each row of a ragged column ends.

        Raises
        ------
        DataError
            If the ends run backwards or do not account for all `length` elements.
        """
        found = member(self.group, f"{name}_index")
        if not isinstance(found, h5py.Dataset):
            if self.rows == 1:
                return np.array([length])
            raise DataError(
                f"{clean(self.path)} has {self.rows} rows but no {name}_index that says whose "
                f"{name} are whose; write the table again"
            )
        ends = load(found).reshape(-1)
        if ends.dtype.kind not in "iu" or len(ends) != self.rows:
            raise DataError(
                f"{clean(self.path)}/{name}_index has {len(ends)} entries of type {ends.dtype}; "
                f"expected {self.rows} whole numbers; write the table again"
            )
        ends = ends.astype(np.int64)
        if len(ends) and ((np.diff(ends) < 0).any() or ends[0] < 0):
            raise DataError(
                f"{clean(self.path)}/{name}_index runs backwards; expected cumulative ends; write "
                "the table again"
            )
        last = int(ends[-1]) if len(ends) else 0
        if last != length:
            raise DataError(
                f"{clean(self.path)}/{name}_index ends at {last}, but there are {length} {name}; "
                "write the table again"
            )
        return ends


def as_labels(values: np.ndarray) -> np.ndarray:
    """Return labels as text, with None where a row has none (NaN, empty text, ``N/A``)."""
    return np.array([_label(v) for v in values.tolist()], dtype=object)


def _label(value: Any) -> str | None:
    if isinstance(value, float):
        if not np.isfinite(value):
            return None
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else f"{value:.6g}"
    text = str(value)
    return None if text.strip().lower() in _MISSING else text
