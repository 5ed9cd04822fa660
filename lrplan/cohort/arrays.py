"""The arrays of a cohort as they lie on disk: whole, or refused; decoded once."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import Any

import numpy as np
import zarr

from lrplan.cohort.format import BY_NAME
from lrplan.cohort.integrity import (
    DAMAGED,
    Key,
    StoreFiles,
    chunks,
    first_few,
    first_line,
    missing_chunks,
    several_sizes,
    wrong_dimensions,
)
from lrplan.errors import DataError

CACHE_BYTES = 256_000_000
"""How much of the decoded chunks is kept in memory."""


class StoredArrays:
    """The arrays of the format that a store holds.

    Parameters
    ----------
    files : StoreFiles
        The store's files.
    name : str
        What the cohort is called in messages.

    Attributes
    ----------
    store : zarr store
        For who reads it otherwise.
    held : dict of (group, name) to zarr.Array
        In the order of the format.

    Raises
    ------
    DataError
        If an array lacks chunks, or arrays disagree on their sizes.
    """

    def __init__(self, files: StoreFiles, name: str) -> None:
        self.path = files.path
        self.name = name
        self.store: Any
        self.store, root = files.open()
        self.held: dict[Key, zarr.Array] = {}
        for key in BY_NAME:
            where = "/".join(key)
            if f"{where}/zarr.json" in files.sizes:
                array = root[where]
                if not isinstance(array, zarr.Array):
                    raise DataError(f"{self.path}: {where} is no array; not a cohort")
                self.held[key] = array
        self._check(files)
        self._cache: OrderedDict[tuple[Key, int], np.ndarray] = OrderedDict()
        self._lock = Lock()

    def _check(self, files: StoreFiles) -> None:
        """Refuse arrays that lack chunks, or disagree on how many populations there are."""
        for key, array in self.held.items():
            where = "/".join(key)
            wrong = wrong_dimensions(key, array)
            if wrong:
                raise DataError(f"{self.path}: {where} {wrong}")
            missing = missing_chunks(key, array, files)
            if missing:
                raise DataError(f"{self.path}: chunk {where}/{missing[0]} is missing; {DAMAGED}")
        for dim, sizes in several_sizes(self.held):
            told = "; ".join(f"{size} in {first_few(where)}" for size, where in sizes.items())
            raise DataError(
                f"{self.path}: {dim} has several sizes: {told}; all organisms of a cohort must "
                "have the same"
            )

    def __contains__(self, key: Key) -> bool:
        return key in self.held

    def get(self, group: str, name: str) -> zarr.Array:
        """Return one array.

        Raises
        ------
        DataError
            If the cohort lacks it.
        """
        if (group, name) not in self:
            raise DataError(f"the cohort {self.name!r} holds no {group}/{name}")
        return self.held[group, name]

    def read(self, group: str, name: str, rows: slice | None = None) -> np.ndarray:
        """Read an array, or a range of its rows; damage is named by its chunk."""
        array = self.get(group, name)
        try:
            return np.asarray(array[...] if rows is None else array[rows])
        except Exception as error:
            raise DataError(
                f"{self.path}: chunk {_bad_chunk(group, name, array)} is damaged "
                f"({first_line(error)}); restore it from a copy, or simulate it again"
            ) from error

    def read_rows(self, group: str, name: str, rows: np.ndarray) -> np.ndarray:
        """Read some rows of one array, by whole chunks.

        A chunk is decoded once for all who read it one after the other; at most `CACHE_BYTES`
        are kept.
        """
        array = self.get(group, name)
        depth = array.chunks[0]
        places = rows // depth
        if len(rows) == 1:
            return self._chunk((group, name), int(places[0]))[rows - places * depth]
        out = np.empty((len(rows), *array.shape[1:]), dtype=array.dtype)
        for place in np.unique(places):
            here = places == place
            out[here] = self._chunk((group, name), int(place))[rows[here] - place * depth]
        return out

    def _chunk(self, key: Key, place: int) -> np.ndarray:
        """Return one chunk (row, ...), decoded now or kept from before."""
        with self._lock:
            if (key, place) in self._cache:
                self._cache.move_to_end((key, place))
                return self._cache[key, place]
            depth = self.held[key].chunks[0]
            found = self.read(*key, slice(place * depth, (place + 1) * depth))
            self._cache[key, place] = found
            kept = sum(c.nbytes for c in self._cache.values())
            while kept > CACHE_BYTES and len(self._cache) > 1:
                kept -= self._cache.popitem(last=False)[1].nbytes
            return found


def _bad_chunk(group: str, name: str, array: zarr.Array) -> str:
    """Return the key of the first chunk that cannot be decoded."""
    for key, selection in chunks(array):
        try:
            array[selection]
        except Exception:
            return f"{group}/{name}/{key}"
    return f"{group}/{name}"
