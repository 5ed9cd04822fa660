"""A table of an NWB file, read column by column."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import h5py
import numpy as np

from lrplan.errors import DataError
from lrplan.nwb._hdf5 import attribute, load, member
from lrplan.nwb._text import clean

_MISSING = {"", "nan", "n/a"}


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
