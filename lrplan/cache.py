"""What was computed before, kept on disk: results and features that depend on their key alone.

One file holds one entry: its key, its arrays and a checksum of both. Nothing in a file is executed,
and a file is believed only if it is whole and its key is the one that is asked for; all others are
computed anew. Who cannot write there computes as if there were no cache.

The folder is the user's cache folder. ``LRPLAN_CACHE`` names another one, or is ``off``.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import time
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

VARIABLE, OFF = "LRPLAN_CACHE", "off"
MAGIC = b"lrplan-cache/1\n"
SUFFIX, PARTIAL = ".lrplan-cache", ".partial"
LIMIT_BYTES = 500_000_000
"""All entries together; the ones that were used longest ago go first."""
ABANDONED_S = 3600
"""After how long a file that is still being written belongs to a process that died."""
KINDS = "biufU"
"""Kinds of arrays that are kept: none of them holds objects."""
DIGEST_BYTES = hashlib.sha256().digest_size


@dataclass(frozen=True)
class Entry:
    """What was kept.

    Parameters
    ----------
    arrays : dict of str to array
        By name.
    meta : dict
        Plain values.
    """

    arrays: dict[str, np.ndarray]
    meta: dict[str, Any]


class Cache:
    """Entries in one folder.

    Parameters
    ----------
    folder : Path
        Made when the first entry is kept.
    limit : int, default `LIMIT_BYTES`
        Bytes of all entries together.

    Examples
    --------
    >>> import tempfile, numpy as np
    >>> cache = Cache(Path(tempfile.mkdtemp()))
    >>> cache.put({"kind": "example", "n": 3}, {"x": np.arange(3)}, {"unit": "Hz"})
    >>> cache.get({"kind": "example", "n": 3}).arrays["x"]
    array([0, 1, 2])
    >>> cache.get({"kind": "example", "n": 4}) is None
    True
    """

    def __init__(self, folder: Path, limit: int = LIMIT_BYTES) -> None:
        self.folder, self.limit = Path(folder), limit

    def get(self, key: Mapping[str, Any]) -> Entry | None:
        """Return what was kept under a key; None if nothing, or nothing that can be believed.

        Parameters
        ----------
        key : mapping
            Plain values, as JSON has them: all that the entry depends on.
        """
        path = self._path(key)
        try:
            found = _unpacked(path.read_bytes(), _plain(key))
        except OSError:
            return None
        if found is None:
            _remove(path)
            return None
        with contextlib.suppress(OSError):
            os.utime(path)
        return found

    def put(
        self,
        key: Mapping[str, Any],
        arrays: Mapping[str, np.ndarray],
        meta: Mapping[str, Any] | None = None,
    ) -> None:
        """Keep arrays and plain values under a key; what was kept under it before goes.

        An entry that is larger than the cache is not kept. A folder that cannot be written to is no
        error: there is a warning, which says why.

        Raises
        ------
        TypeError
            If an array holds objects.
        """
        content = _packed(_plain(key), arrays, _plain(meta or {}))
        if len(content) > self.limit:
            return
        try:
            self._write(self._path(key), content)
            self._bound()
        except OSError as error:
            warnings.warn(
                f"nothing is kept in the cache {self.folder} ({error.strerror}); set {VARIABLE} to "
                f"a folder that can be written to, or to {OFF!r}",
                stacklevel=2,
            )

    def _path(self, key: Mapping[str, Any]) -> Path:
        name = hashlib.sha256(_canonical(_plain(key))).hexdigest()
        return self.folder / f"{name}{SUFFIX}"

    def _write(self, path: Path, content: bytes) -> None:
        """Write a file under another name first, so that no one reads a half of it."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(suffix=PARTIAL, prefix=f"{path.stem}.", dir=self.folder)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            os.replace(name, path)
        except BaseException:
            _remove(Path(name))
            raise

    def _bound(self) -> None:
        """Remove what was used longest ago, until the rest is within the limit."""
        entries = sorted(self._files(SUFFIX), key=lambda e: e[1].st_mtime)
        total = sum(status.st_size for _, status in entries)
        for path, status in entries:
            if total <= self.limit:
                break
            total -= status.st_size
            _remove(path)
        for path, status in self._files(PARTIAL):
            if time.time() - status.st_mtime > ABANDONED_S:
                _remove(path)

    def _files(self, suffix: str) -> Iterator[tuple[Path, os.stat_result]]:
        """Yield the cache's own files; another process may remove some meanwhile."""
        try:
            names = [p for p in self.folder.iterdir() if p.name.endswith(suffix)]
        except (FileNotFoundError, NotADirectoryError):
            return
        for path in names:
            with contextlib.suppress(FileNotFoundError):
                yield path, path.stat()

    def info(self) -> dict[str, Any]:
        """Return ``entries``, ``bytes`` and ``limit_bytes``."""
        sizes = [status.st_size for _, status in self._files(SUFFIX)]
        return {"entries": len(sizes), "bytes": sum(sizes), "limit_bytes": self.limit}

    def clear(self) -> dict[str, int]:
        """Remove all entries, and nothing else; return how many ``entries`` and ``bytes``.

        Raises
        ------
        OSError
            If one cannot be removed.
        """
        entries = list(self._files(SUFFIX))
        for path, _ in [*entries, *self._files(PARTIAL)]:
            path.unlink(missing_ok=True)
        return {"entries": len(entries), "bytes": sum(status.st_size for _, status in entries)}


def cache_folder() -> Path | None:
    """Return the folder of the cache; None if it is off."""
    asked = os.environ.get(VARIABLE, "").strip()
    if asked.lower() == OFF:
        return None
    if asked:
        return Path(asked).expanduser().absolute()
    from platformdirs import user_cache_path

    return user_cache_path("lrplan", appauthor=False)


def open_cache() -> Cache | None:
    """Return the user's cache; None if it is off."""
    folder = cache_folder()
    return None if folder is None else Cache(folder)


@lru_cache(maxsize=1)
def code_digest() -> str:
    """Return a hash of this lrplan's own code and of the libraries that its numbers come from.

    Whatever is kept belongs to it: a change of code finds nothing of before.
    """
    from importlib.metadata import version

    digest = hashlib.sha256()
    root = Path(__file__).parent
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    for name in ("numpy", "scipy", "scikit-learn"):
        digest.update(f"{name} {version(name)}\n".encode())
    return digest.hexdigest()


def content_digest(path: Path) -> str:
    """Return a hash by which a cohort's files are known, without reading them all.

    Of a zip file: names, sizes and checksums of what it holds. Of a directory: names, sizes and
    times of its files.

    Raises
    ------
    OSError, zipfile.BadZipFile
        If there is nothing that can be read.
    """
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.is_file())
        known = [
            (p.relative_to(path).as_posix(), s.st_size, s.st_mtime_ns)
            for p, s in ((p, p.stat()) for p in files)
        ]
        return hashlib.sha256(_canonical([str(path.resolve()), known])).hexdigest()
    with zipfile.ZipFile(path) as archive:
        entries = sorted((e.filename, e.file_size, e.CRC) for e in archive.infolist())
    return hashlib.sha256(_canonical(entries)).hexdigest()


def _plain(value: Any) -> Any:
    """Return what JSON makes of a value, so that what is kept compares with what is asked for."""
    return json.loads(_canonical(value))


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=_number).encode()


def _number(value: Any) -> Any:
    """Return a number of numpy's as one of Python's."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{value!r} is no plain value")


def _packed(key: Any, arrays: Mapping[str, np.ndarray], meta: Any) -> bytes:
    """Return the content of a file: magic, checksum of the rest, size of the head, head, arrays."""
    held = {name: np.asarray(a) for name, a in arrays.items()}
    for name, array in held.items():
        if array.dtype.kind not in KINDS:
            raise TypeError(f"{name} is an array of {array.dtype}, which is not kept")
    described = [[name, a.dtype.str, list(a.shape)] for name, a in held.items()]
    head = _canonical({"key": key, "meta": meta, "arrays": described})
    body = b"".join([len(head).to_bytes(8, "big"), head, *(a.tobytes() for a in held.values())])
    return MAGIC + hashlib.sha256(body).digest() + body


def _unpacked(content: bytes, key: Any) -> Entry | None:
    """Return what a file holds; None if it is not whole, or is of another key."""
    start = len(MAGIC) + DIGEST_BYTES
    body = memoryview(content)[start:]
    if (
        content[: len(MAGIC)] != MAGIC
        or content[len(MAGIC) : start] != hashlib.sha256(body).digest()
    ):
        return None
    at = 8 + int.from_bytes(body[:8], "big")
    try:
        head = json.loads(bytes(body[8:at]))
        if head["key"] != key:
            return None
        arrays = {}
        for name, word, shape in head["arrays"]:
            dtype = np.dtype(word)
            if dtype.kind not in KINDS:
                return None
            count = int(np.prod(shape, dtype=np.int64))
            end = at + count * dtype.itemsize
            arrays[name] = np.frombuffer(body[at:end], dtype=dtype).reshape(shape).copy()
            at = end
        return Entry(arrays, head["meta"]) if at == len(body) else None
    except (KeyError, TypeError, ValueError):
        return None


def _remove(path: Path) -> None:
    """Remove a file, if that can be done."""
    with contextlib.suppress(OSError):
        path.unlink()
