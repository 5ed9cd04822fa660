"""Whether a cohort's files are whole: what opening one refuses, and what a check lists."""

from __future__ import annotations

import json
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import zarr
from zarr.abc.store import Store

from lrplan.cohort.format import (
    BY_NAME,
    FORMAT,
    FORMAT_VERSION,
    attributes_digest,
    sha256,
)
from lrplan.errors import DataError
from lrplan.registry import nearest

PACKAGED = ("starter",)
"""Cohorts that ship with lrplan."""

DIMS = ("organism", "population", "checkpoint", "stimulus", "observable")
"""Dimensions that have one size in all groups; pairs have stimuli of their own."""

DAMAGED = "the cohort is half-written or damaged"

Key = tuple[str, str]
"""Group and name of a variable."""


def packaged_path(name: str) -> Path:
    """Return where a cohort that ships with lrplan lies."""
    return Path(__file__).parents[1] / "data" / f"{name}.zarr.zip"


@dataclass(frozen=True)
class StoreFiles:
    """The files of a store, as they lie on disk.

    Parameters
    ----------
    path : Path
        A directory, or a zip file of one.
    sizes : dict of str to int
        Bytes on disk of each file.
    documents : dict of str to bytes
        Metadata.
    twice : list of str
        Files that a zip file holds more than once.
    """

    path: Path
    sizes: dict[str, int]
    documents: dict[str, bytes]
    twice: list[str]

    @property
    def bytes(self) -> int:
        """Size of the whole on disk."""
        return sum(self.sizes.values()) if self.path.is_dir() else self.path.stat().st_size

    def open(self) -> tuple[Store, zarr.Group]:
        """Return the store and its root for Zarr, to be read only.

        Raises
        ------
        DataError
            If Zarr cannot read the root.
        """
        store: Store = (
            zarr.storage.LocalStore(self.path, read_only=True)
            if self.path.is_dir()
            else zarr.storage.ZipStore(self.path, mode="r")
        )
        try:
            return store, zarr.open_group(store, mode="r", use_consolidated=False)
        except Exception as error:
            raise DataError(f"{self.path}: zarr.json is damaged ({first_line(error)})") from None


def read_files(path: Path) -> StoreFiles:
    """List the files of a store and read its metadata.

    Raises
    ------
    DataError
        If there is nothing, or no store.
    """
    if not path.exists():
        partial = path.with_name(path.name + ".partial")
        if partial.exists():
            done = len(list(partial.glob("*.npz")))
            raise DataError(
                f"{path} is unfinished: {done} organisms are trained; run the same "
                "`lrplan simulate` command again to finish it"
            )
        raise DataError(
            f"no cohort at {path}; expected a Zarr directory, a .zip of one, or a name "
            f"({nearest(str(path), PACKAGED)})"
        )
    files = _of_directory(path) if path.is_dir() else _of_zip(path)
    if "zarr.json" not in files.documents:
        raise DataError(
            f"{path} is not a cohort: it has no zarr.json (a Zarr v3 group); "
            "`lrplan simulate` makes one"
        )
    return files


def _of_directory(path: Path) -> StoreFiles:
    names = {p.relative_to(path).as_posix(): p for p in path.rglob("*") if p.is_file()}
    return StoreFiles(
        path,
        {n: p.stat().st_size for n, p in names.items()},
        {n: p.read_bytes() for n, p in names.items() if n.endswith("zarr.json")},
        [],
    )


def _of_zip(path: Path) -> StoreFiles:
    if not path.is_file() or not zipfile.is_zipfile(path):
        raise DataError(
            f"{path} is not a cohort: it is neither a Zarr directory nor a zip file of one"
        )
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [e for e in archive.infolist() if not e.is_dir()]
            sizes = {e.filename: e.compress_size for e in entries}
            documents = {n: archive.read(n) for n in sizes if n.endswith("zarr.json")}
    except (zipfile.BadZipFile, OSError, NotImplementedError, RuntimeError) as error:
        raise DataError(
            f"{path} is damaged ({error}); restore it from a copy, or pack or simulate it again"
        ) from None
    twice = [n for n, c in Counter(e.filename for e in entries).items() if c > 1]
    return StoreFiles(path, sizes, documents, twice)


def root_attributes(files: StoreFiles) -> dict[str, Any]:
    """Return the attributes of the root.

    Raises
    ------
    DataError
        If they cannot be read, are of something else, or of a format that this lrplan cannot read.
    """
    path = files.path
    try:
        attributes = json.loads(files.documents["zarr.json"])["attributes"]
        kind, written = attributes.get("format"), attributes.get("format_version")
    except (ValueError, KeyError, AttributeError, TypeError):
        raise DataError(f"{path}: zarr.json is damaged; restore it from a copy") from None
    if kind != FORMAT:
        raise DataError(f"{path} is a Zarr store but not an lrplan cohort")
    if not isinstance(written, int) or written > FORMAT_VERSION:
        raise DataError(
            f"{path} has cohort format {written}; this lrplan reads up to {FORMAT_VERSION}. "
            "Update lrplan"
        )
    return dict(attributes)


def metadata_faults(files: StoreFiles, attributes: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Compare metadata with their checksums; yield what is wrong as (file, what)."""
    if attributes.get("attributes_sha256") != attributes_digest(attributes):
        yield "zarr.json", "the root attributes differ from their checksum"
    digests = attributes.get("metadata_sha256")
    if not isinstance(digests, Mapping):
        yield "zarr.json", "there are no checksums of the metadata"
        return
    for name, digest in digests.items():
        if name not in files.documents:
            yield name, "is missing"
        elif sha256(files.documents[name]) != digest:
            yield name, "differs from its checksum"


def chunks(array: zarr.Array) -> list[tuple[str, tuple[slice, ...]]]:
    """Return the key and the place of each chunk of an array."""
    counts = [-(-n // c) for n, c in zip(array.shape, array.chunks, strict=True)]
    return [
        (
            "/".join(["c", *map(str, place)]),
            tuple(slice(i * c, (i + 1) * c) for i, c in zip(place, array.chunks, strict=True)),
        )
        for place in product(*map(range, counts))
    ]


def missing_chunks(key: Key, array: zarr.Array, files: StoreFiles) -> list[str]:
    """Return the keys of chunks that are not on disk, which Zarr would read as zeros."""
    where = "/".join(key)
    return [k for k, _ in chunks(array) if f"{where}/{k}" not in files.sizes]


def wrong_dimensions(key: Key, array: zarr.Array) -> str | None:
    """Say in what an array's number of dimensions differs from the format's."""
    dims = BY_NAME[key].dims
    if array.ndim == len(dims):
        return None
    return f"has {array.ndim} dimensions; expected {', '.join(dims)}"


def several_sizes(arrays: Mapping[Key, zarr.Array]) -> Iterator[tuple[str, dict[int, list[str]]]]:
    """Yield dimensions on whose size arrays disagree, with the arrays of each size.

    Parameters
    ----------
    arrays : mapping of (group, name) to zarr.Array
        Each with the format's number of dimensions.
    """
    sizes: dict[str, dict[int, list[str]]] = {d: {} for d in DIMS}
    for (group, name), array in arrays.items():
        for dim, size in zip(BY_NAME[group, name].dims, array.shape, strict=True):
            if dim in sizes and not (group == "paired" and dim == "stimulus"):
                sizes[dim].setdefault(size, []).append(f"{group}/{name}")
    for dim, found in sizes.items():
        if len(found) > 1:
            yield dim, found


def first_few(values: Any, shown: int = 5) -> str:
    """Return the first few of many, and how many are left."""
    told = ", ".join(map(str, values[:shown]))
    return f"{told} and {len(values) - shown} more" if len(values) > shown else told


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, or its kind."""
    return (str(error).splitlines() or [type(error).__name__])[0]
