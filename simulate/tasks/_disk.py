"""Data that users bring: where they must lie, and images as arrays of bytes."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from lrplan.errors import DataError, UsageError
from lrplan.simulate.tasks import DATA_VARIABLE, Images, data_folder

ENLARGE_AT_ONCE = 256
IN_MEMORY_BYTES = 4 * 2**30


def folder_of(task: str, place: str, needs: str) -> Path:
    """Return a folder or file below the data folder.

    Raises
    ------
    UsageError
        If no data folder is named.
    DataError
        If it is not there; the message says where it was looked for and what is needed.
    """
    try:
        path = data_folder() / place
    except UsageError as error:
        raise UsageError(f"the task {task!r} needs data: {error}. It needs {needs}") from None
    if not path.exists():
        raise DataError(
            f"no data of the task {task!r} at {path}. It needs {needs}. Name the folder that "
            f"holds {place} with `lrplan simulate --data FOLDER` or {DATA_VARIABLE}"
        )
    return path


def whole_setting(settings: dict[str, Any], key: str, task: str, *, least: int = 1) -> int:
    """Return a setting that is a whole number.

    Raises
    ------
    UsageError
        If it is below `least`.
    """
    value = settings[key]
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise UsageError(f"{task}.{key} is {value!r}; expected a whole number of at least {least}")
    return value


def larger_shape(rows: int, columns: int, size: int | None) -> tuple[int, int]:
    """Return the shape whose shorter edge is at least `size` pixels, in the same proportion."""
    shorter = min(rows, columns)
    if size is None or shorter >= size:
        return rows, columns
    return round(rows * size / shorter), round(columns * size / shorter)


def enlarge(images: np.ndarray, size: int | None) -> np.ndarray:
    """Return (example, channel, row, column) uint8 images with no edge below `size` pixels.

    Images that are large enough are returned as they are; smaller ones are interpolated
    bilinearly.
    """
    shape = larger_shape(images.shape[2], images.shape[3], size)
    if shape == images.shape[2:]:
        return images
    out = np.empty((*images.shape[:2], *shape), dtype=np.uint8)
    for i in range(0, len(images), ENLARGE_AT_ONCE):
        some = torch.from_numpy(np.ascontiguousarray(images[i : i + ENLARGE_AT_ONCE])).float()
        some = F.interpolate(some, size=shape, mode="bilinear", align_corners=False)
        out[i : i + len(some)] = some.round().to(torch.uint8).numpy()
    return out


class Enlarged:
    """Images in memory that are enlarged when they are read, because all of them would not fit.

    Parameters
    ----------
    images : array (example, channel, row, column) of uint8
        As they are.
    size : int
        Shortest edge in pixels.
    """

    def __init__(self, images: np.ndarray, size: int) -> None:
        self.images = images
        self.size = size
        self.dtype: np.dtype[Any] = images.dtype
        shape = larger_shape(images.shape[2], images.shape[3], size)
        self.shape: tuple[int, ...] = (*images.shape[:2], *shape)

    def __len__(self) -> int:
        return len(self.images)

    def read(self, places: np.ndarray) -> np.ndarray:
        """Return the images at `places`, enlarged."""
        return enlarge(self.images[places], self.size)


def enlarged(images: np.ndarray, size: int | None) -> np.ndarray | Images:
    """Return training images with no edge below `size`, in memory if they fit there."""
    rows, columns = larger_shape(images.shape[2], images.shape[3], size)
    grows = (rows, columns) != images.shape[2:]
    if (
        size is not None
        and grows
        and len(images) * images.shape[1] * rows * columns > IN_MEMORY_BYTES
    ):
        return Enlarged(images, size)
    return enlarge(images, size)


class ImageFiles:
    """Image files, decoded when they are read, as squares of one size.

    Parameters
    ----------
    paths : sequence of str
        Files that PIL reads.
    labels : array (example,)
        Their classes.
    edge : int
        Of the square, in pixels.
    shorter : int
        To what the shorter side is resized before the central square is cut out.
    skip_unreadable : bool
        Whether a file that cannot be read gives its place to the next readable one of its
        class, with a warning that names it, or raises.
    cache : Path, optional
        A file that keeps decoded images between runs. Several processes may share it.
    threads : int
        That decode.
    """

    def __init__(
        self,
        paths: Sequence[str],
        labels: np.ndarray,
        *,
        edge: int,
        shorter: int,
        skip_unreadable: bool = False,
        cache: Path | None = None,
        threads: int = 8,
    ) -> None:
        self.paths = paths
        self.labels = labels
        self.edge = edge
        self.shorter = shorter
        self.skip_unreadable = skip_unreadable
        self.cache = cache
        self.threads = threads
        self.shape: tuple[int, ...] = (len(paths), 3, edge, edge)
        self.dtype: np.dtype[Any] = np.dtype(np.uint8)
        self.skipped: dict[str, str] = {}
        self._pool: ThreadPoolExecutor | None = None
        self._kept: tuple[np.memmap, np.memmap] | None = None
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.paths)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_pool": None, "_kept": None, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())

    def read(self, places: np.ndarray) -> np.ndarray:
        """Return the images at `places`, (len(places), 3, edge, edge) of uint8.

        Raises
        ------
        DataError
            If a file cannot be read and is not to be skipped.
        """
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="images")
        if self.cache is not None and self._kept is None:
            self._kept = self._open(self.cache)
        out = np.empty((len(places), *self.shape[1:]), dtype=np.uint8)
        before = len(self.skipped)
        for i, image in enumerate(self._pool.map(self._one, np.asarray(places).tolist())):
            out[i] = image
        for i, reason in list(enumerate(self.skipped.values(), start=1))[before:]:
            warnings.warn(f"{reason}; skipped ({i} of {len(self)} so far)", stacklevel=2)
        return out

    def _one(self, place: int) -> np.ndarray:
        if self._kept is not None and self._kept[1][place]:
            return self._kept[0][place]
        try:
            image = decode(self.paths[place], edge=self.edge, shorter=self.shorter)
        except DataError as error:
            if not self.skip_unreadable:
                raise DataError(
                    f"{error}; repair or remove it, or set skip_unreadable = true"
                ) from None
            self._skip(self.paths[place], error)
            image = self._next(place)
        if self._kept is not None:
            # First the image, then the mark that it is there: a run may be killed in between.
            self._kept[0][place] = image
            self._kept[1][place] = 1
        return image

    def _next(self, place: int) -> np.ndarray:
        """Return the next readable image of the same class, going round."""
        of_class = np.flatnonzero(self.labels == self.labels[place])
        after = np.roll(of_class, -1 - int(np.searchsorted(of_class, place)))[:-1]
        for other in after:
            try:
                return decode(self.paths[other], edge=self.edge, shorter=self.shorter)
            except DataError as error:
                self._skip(self.paths[other], error)
        raise DataError(f"no image of the class of {self.paths[place]} can be read")

    def _skip(self, path: str, error: DataError) -> None:
        with self._lock:
            self.skipped.setdefault(path, str(error))

    def _open(self, cache: Path) -> tuple[np.memmap, np.memmap]:
        """Open the file of decoded images and the one that marks which are there."""
        maps = []
        for path, shape in ((cache, self.shape), (cache.with_suffix(".there"), self.shape[:1])):
            try:
                with open(path, "ab") as file:  # made if it is not there, never emptied
                    if file.tell() < np.prod(shape):
                        file.truncate(int(np.prod(shape)))
            except OSError as error:
                raise DataError(
                    f"decoded images cannot be kept at {path}: {error.strerror}; make the folder "
                    "writable, or set cache = false"
                ) from None
            maps.append(np.memmap(path, dtype=np.uint8, mode="r+", shape=shape))
        return maps[0], maps[1]


def decode(path: str, *, edge: int, shorter: int) -> np.ndarray:
    """Return the central square of an image file, (3, edge, edge) of uint8.

    Parameters
    ----------
    path : str
        A file that PIL reads, in any mode of colour.
    edge : int
        Of the square, in pixels.
    shorter : int
        To what the shorter side is resized before, in pixels.

    Raises
    ------
    DataError
        If the file is missing, no image, or damaged.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            # A JPEG is decoded at a half or less of its size where that is enough.
            image.draft("RGB", (shorter, shorter))
            width, height = image.size
            scale = min(width, height) / shorter
            left, top = (width - edge * scale) / 2, (height - edge * scale) / 2
            box = (left, top, left + edge * scale, top + edge * scale)
            square = image.convert("RGB").resize((edge, edge), Image.Resampling.BILINEAR, box)
            return np.asarray(square).transpose(2, 0, 1)
    except FileNotFoundError:
        raise DataError(f"{path} is not there") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{path} is no readable image ({error})") from None
