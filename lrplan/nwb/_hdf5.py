"""Open an NWB file and load its arrays without trusting it."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from lrplan.errors import DataError
from lrplan.nwb._text import clean, listed, size_text

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
# gzip packs at most about 1,030 to 1: what claims more was never written.
_MOST_PACKED = 2000
_SMALL = 16 * 2**20
_FILTERS = {32001: "blosc", 32004: "lz4", 32008: "bitshuffle", 32015: "zstd", 32026: "blosc2"}


def shown_name(path: str | os.PathLike[str]) -> str:
    """Return a file's name, fit for a message."""
    return clean(Path(path).name or path)


def regular_file(path: str | os.PathLike[str]) -> Path:
    """Return the path of a regular file that starts as HDF5 does.

    Nothing is opened before it is known to be a regular file: opening a FIFO waits for ever.

    Raises
    ------
    DataError
        If there is no such file, or it is something else.
    """
    text = os.fspath(path)
    # A path library turns :// into :/ before it gets here; one letter is a drive of Windows.
    remote = re.match(r"([A-Za-z][A-Za-z0-9+.-]+):/+(.*)", text)
    if remote:
        raise DataError(
            f"{clean(remote[1])}://{clean(remote[2])} is a remote address; download the file and "
            "give its path"
        )
    where = Path(text)
    if where.is_symlink() and not where.exists():
        target = os.readlink(where)
        if ".git/annex" in target.replace("\\", "/"):
            raise DataError(
                f"{clean(text)} is a git-annex link whose content is not here; run "
                f"`datalad get {shown_name(where)}`"
            )
        raise DataError(f"{clean(text)} is a link to {clean(target)}, which does not exist")
    try:
        status = where.stat()
    except (FileNotFoundError, NotADirectoryError, ValueError):
        raise DataError(f"{clean(text)} does not exist; check the path") from None
    except OSError as error:
        raise DataError(f"{clean(text)} cannot be reached: {clean(error.strerror)}") from None
    if stat.S_ISDIR(status.st_mode):
        if any((where / mark).exists() for mark in (".zgroup", ".zattrs", "zarr.json")):
            raise DataError(
                f"{clean(text)} is an NWB-Zarr store; lrplan reads NWB in HDF5; export it to "
                "HDF5 with hdmf-zarr"
            )
        raise DataError(
            f"{clean(text)} is a directory; expected NWB files; give them by name, such as "
            f"{clean(text.rstrip('/'))}/*.nwb"
        )
    if not stat.S_ISREG(status.st_mode):
        raise DataError(
            f"{clean(text)} is a pipe, device or socket; expected a regular NWB file; save the "
            "data to a file first"
        )
    if status.st_size == 0:
        raise DataError(f"{clean(text)} is empty (0 bytes); copy or download it again")
    _sniff(where)
    return where


def _sniff(path: Path) -> None:
    """Raise, naming what it is, if a file does not start as HDF5 does."""
    try:
        with open(path, "rb") as file:
            head = file.read(512)
            if head.startswith(_SIGNATURE):
                return
            size = path.stat().st_size
            place = 512
            while place < min(size, 2**24):  # HDF5 may follow a user block of 512, 1024, ... bytes
                file.seek(place)
                if file.read(8) == _SIGNATURE:
                    return
                place *= 2
    except OSError as error:
        raise DataError(f"{clean(path)} cannot be read: {clean(error.strerror)}") from None
    name = shown_name(path)
    if head.startswith(b"version https://git-lfs"):
        raise DataError(f"{name} is a git-LFS pointer, not the recording; run `git lfs pull`")
    if b"/annex/objects/" in head[:200]:
        raise DataError(f"{name} is a git-annex pointer; run `datalad get {name}`")
    kinds = {
        b"\x1f\x8b": "a gzip file; unpack it first",
        b"PK\x03\x04": "a zip file; unpack it first",
        b"MATLAB 5.0": "a MATLAB file; convert it to NWB first",
        b"\x80\x04": "a Python pickle; convert it to NWB first",
        b"\x80\x05": "a Python pickle; convert it to NWB first",
    }
    for magic, what in kinds.items():
        if head.startswith(magic):
            raise DataError(f"{name} is {what}")
    readable = sum(32 <= b < 127 or b in (9, 10, 13) for b in head) / len(head)
    what = "text" if readable > 0.9 else "not HDF5 (its first bytes are damaged or foreign)"
    raise DataError(f"{name} is {what}; expected an NWB 2 file (HDF5)")


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{shown_name(path)} cannot be read: {clean(error.strerror)}") from None


@contextmanager
def open_nwb(path: str | os.PathLike[str]) -> Iterator[h5py.File]:
    """Open an NWB 2 file for reading, and close it whatever happens.

    Raises
    ------
    DataError
        If it is no NWB 2 file, is damaged, or is being written.
    """
    where = regular_file(path)
    name = shown_name(where)
    try:
        file = h5py.File(where, "r", locking="best-effort")
    except OSError as error:
        raise DataError(f"{name} {_open_failure(str(error))}") from None
    try:
        nwb_version(file)
        yield file
    except (OSError, RuntimeError, KeyError, MemoryError) as error:
        raise DataError(
            f"{name} cannot be read ({clean(error, 120)}); it may be damaged; get it again"
        ) from error
    finally:
        file.close()


def _open_failure(message: str) -> str:
    """Return what HDF5's message means."""
    cut = re.search(r"truncated file: eof = (\d+).*stored_eof = (\d+)", message)
    if cut:
        return (
            f"is truncated: {int(cut[1]):,} of {int(cut[2]):,} bytes are here; copy or download "
            "it again"
        )
    if "unable to lock" in message or "Resource temporarily" in message:
        return "is open for writing in another program; close it there first"
    if "already open for write" in message:
        return "was not closed by the program that wrote it; try `h5clear -s` on a copy"
    return f"cannot be opened as HDF5 ({clean(message, 120)}); copy or download it again"


def nwb_version(file: h5py.File) -> str:
    """Return the version of NWB that a file says it has.

    Raises
    ------
    DataError
        If it says none, or one before 2.
    """
    name = shown_name(file.filename)
    stored = file.attrs.get("nwb_version")
    if stored is None:
        if "nwb_version" in file:
            old = clean(load(file["nwb_version"]), 40)
            raise DataError(f"{name} is NWB 1 ({old}); expected NWB 2; convert it first")
        groups = list(file)
        holds = f"its groups are {listed(groups)}" if groups else "it is empty"
        raise DataError(
            f"{name} is HDF5 but not NWB (no nwb_version; {holds}); expected an NWB 2 file"
        )
    version = clean(stored, 40)
    if re.match(r"(NWB-)?[01]\.", version):
        raise DataError(f"{name} is NWB {version}; expected NWB 2; convert it first")
    return version


def loadable(dataset: h5py.Dataset) -> None:
    """Raise if loading a dataset would give nothing, or more than the file holds."""
    what = f"{shown_name(dataset.file.filename)}: {clean(dataset.name)}"
    properties = dataset.id.get_create_plist()
    for i in range(properties.get_nfilters()):
        code = properties.get_filter(i)[0]
        if not _has_filter(code):
            packed = _FILTERS.get(code, f"filter {code}")
            raise DataError(
                f"{what} is compressed with {packed}, which is not installed; run `pip install "
                "hdf5plugin`"
            )
    declared = dataset.size * dataset.dtype.itemsize if dataset.shape is not None else 0
    held = dataset.id.get_storage_size()
    if declared > _SMALL and declared > _MOST_PACKED * max(held, 1):
        raise DataError(
            f"{what} declares {size_text(declared)} but stores {size_text(held)}; its data were "
            "never written or never downloaded; get the file again"
        )


def _has_filter(code: int) -> bool:
    """Return whether HDF5 can undo a filter, trying the plug-in package if it is installed."""
    if h5py.h5z.filter_avail(code):
        return True
    try:
        import hdf5plugin  # type: ignore[import-not-found]  # noqa: F401
    except ImportError:
        return False
    return bool(h5py.h5z.filter_avail(code))


def load(dataset: h5py.Dataset, selection: Any = ()) -> np.ndarray:
    """Return a dataset's values, or a part of them.

    Raises
    ------
    DataError
        If they are damaged, cannot be unpacked, or are not in the file.
    """
    loadable(dataset)
    try:
        return np.asarray(dataset[selection])
    except (OSError, RuntimeError, TypeError, ValueError, MemoryError) as error:
        raise DataError(
            f"{shown_name(dataset.file.filename)}: {clean(dataset.name)} cannot be read "
            f"({clean(error, 120)}); the file may be damaged; get it again"
        ) from None


def member(group: h5py.Group, name: str) -> Any:
    """Return a member of a group, or None where it is missing or its link leads nowhere."""
    try:
        return group.get(name)
    except (KeyError, OSError, RuntimeError):
        return None


def attribute(thing: Any, name: str, default: Any = None) -> Any:
    """Return an attribute, or the default where it is missing or unreadable."""
    try:
        return thing.attrs.get(name, default)
    except (KeyError, OSError, RuntimeError, TypeError, ValueError):
        return default


def text_at(file: h5py.File, path: str) -> str | None:
    """Return a text dataset of one value, or None where it is missing, empty or no text."""
    found = member(file, path)
    if not isinstance(found, h5py.Dataset) or found.shape is None or found.size != 1:
        return None
    try:
        text = clean(load(found))
    except DataError:
        return None
    return text or None
