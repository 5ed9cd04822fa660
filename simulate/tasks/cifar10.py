"""CIFAR-10, supervised."""

from __future__ import annotations

import pickle
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lrplan.errors import DataError
from lrplan.simulate.architectures import Head
from lrplan.simulate.tasks import Data, Extent, Task, cross_entropy, tasks
from lrplan.simulate.tasks._augmentation import SHIFT_UNIFORMS, shift, shift_parameters
from lrplan.simulate.tasks._disk import enlarge, enlarged, folder_of, larger_shape

FOLDER = "cifar-10-batches-py"
NEEDS = (
    "CIFAR-10, the version for Python (www.cs.toronto.edu/~kriz/cifar.html), unpacked in the "
    f"data folder: FOLDER/{FOLDER}/data_batch_1 to data_batch_5 and test_batch"
)
EDGE, CLASSES, PER_FILE = 32, 10, 10_000
PADDING = 4 / 32
# Of the training images, in [0, 1], by channel.
MEAN = (0.4914, 0.4822, 0.4465)
SD = (0.2470, 0.2435, 0.2616)


class _Batch(pickle.Unpickler):
    """Read a pickle that holds arrays and plain values, and refuse anything that could act."""

    known = {
        (module, name)
        for module in ("numpy", "numpy.core.multiarray", "numpy._core.multiarray")
        for name in ("ndarray", "dtype", "_reconstruct")
    } | {("_codecs", "encode")}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.known:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return super().find_class(module.replace("numpy.core.", "numpy._core."), name)


def read_batch(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read one file of CIFAR-10.

    Returns
    -------
    images : array (example, 3, 32, 32) of uint8
    labels : array (example,) of int64

    Raises
    ------
    DataError
        If it is missing, damaged, or not such a file.
    """
    try:
        with open(path, "rb") as file:
            held = _Batch(file, encoding="latin1").load()
    except FileNotFoundError:
        raise DataError(f"{path} is missing; expected {NEEDS}") from None
    except Exception as error:  # a damaged pickle fails in any way
        raise DataError(f"{path} cannot be read ({error}); download CIFAR-10 anew") from None
    try:
        images, labels = np.asarray(held["data"]), np.asarray(held["labels"])
    except (KeyError, TypeError, IndexError, ValueError):
        raise DataError(f"{path} has no 'data' and 'labels'; expected a CIFAR-10 batch") from None
    if images.dtype != np.uint8 or images.ndim != 2 or images.shape[1] != 3 * EDGE * EDGE:
        raise DataError(
            f"{path} holds {images.dtype} images of shape {images.shape}; expected uint8 of "
            f"shape (examples, {3 * EDGE * EDGE})"
        )
    if labels.shape != (len(images),) or labels.dtype.kind not in "iu":
        raise DataError(f"{path} holds {len(images)} images and {labels.size} labels")
    if len(labels) == 0 or labels.min() < 0 or labels.max() >= CLASSES:
        raise DataError(f"{path} is empty or has labels other than 0 to {CLASSES - 1}")
    return images.reshape(-1, 3, EDGE, EDGE), labels.astype(np.int64)


@lru_cache(maxsize=1)
def _read(folder: Path, partial: bool) -> tuple[np.ndarray, ...]:
    """Return training images and labels and test images and labels as they lie in the files."""
    from torchvision.datasets import CIFAR10 as Files

    parts: list[np.ndarray] = []
    for names in (Files.train_list, Files.test_list):
        paths = [folder / name for name, _ in names]
        if partial:
            paths = [p for p in paths if p.exists()] or paths
        read = [read_batch(p) for p in paths]
        for path, (images, _) in zip(paths, read, strict=True):
            if len(images) != PER_FILE and not partial:
                raise DataError(
                    f"{path} holds {len(images):,} images; expected {PER_FILE:,}. Download "
                    "CIFAR-10 anew, or set partial = true to train on what is there"
                )
        parts += [np.concatenate(arrays) for arrays in zip(*read, strict=True)]
    return tuple(parts)


class CIFAR10(Task):
    """Say which of ten kinds of thing a photograph of 32 x 32 pixels shows.

    In training images are padded by an eighth of their edge, cropped at random and half of them
    mirrored (He et al., CVPR 2016, section 4.2).
    """

    summary = "classify photographs of ten kinds of thing"
    cites = "Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009"
    needs = NEEDS
    flips = True
    settings: dict[str, Any] = {"partial": False}

    def load(self, size: int | None, settings: dict[str, Any]) -> Data:
        """Return 50,000 and 10,000 images of uint8, or what is there if `partial` is set."""
        folder = folder_of("cifar10", FOLDER, NEEDS)
        train, train_labels, test, test_labels = _read(folder, settings["partial"])
        return Data(enlarged(train, size), train_labels, enlarge(test, size), test_labels)

    def extent(self, size: int | None, settings: dict[str, Any]) -> Extent:
        """Return the size of the data set; it is read only where it may be partial."""
        train, test = 5 * PER_FILE, PER_FILE
        if settings["partial"]:
            data = self.load(None, settings)
            train, test = len(data.train), len(data.test)
        return Extent((3, *larger_shape(EDGE, EDGE, size)), train, test)

    def check(self, settings: dict[str, Any]) -> None:
        """Read all files anew; those of the whole set must be the published ones."""
        from torchvision.datasets import CIFAR10 as Files
        from torchvision.datasets.utils import check_integrity

        folder = folder_of("cifar10", FOLDER, NEEDS)
        _read.cache_clear()
        _read(folder, settings["partial"])
        if settings["partial"]:
            return
        for name, md5 in Files.train_list + Files.test_list:
            if not check_integrity(str(folder / name), md5):
                raise DataError(
                    f"{folder / name} is not the published file (its MD5 is not {md5}); download "
                    "CIFAR-10 anew, or set partial = true to train on what is there"
                )

    def head(self, settings: dict[str, Any]) -> Head:
        """Return a readout of ten classes."""
        return Head("readout", CLASSES)

    def augmentation(
        self, rng: np.random.Generator, steps: int, batch: int, settings: dict[str, Any]
    ) -> np.ndarray:
        """Draw (step, example, 3): shifts down and right as shares of the edge, and a flip."""
        u = rng.random((steps, batch, SHIFT_UNIFORMS))
        return shift_parameters(u, padding=PADDING, flips=True).astype(np.float32)

    def prepare(self, images: Tensor) -> Tensor:
        """Return images with each channel standardised by the training set's figures."""
        mean = torch.tensor(MEAN, device=images.device)[:, None, None]
        sd = torch.tensor(SD, device=images.device)[:, None, None]
        return (super().prepare(images) - mean) / sd

    def views(self, images: Tensor, drawn: Tensor | None) -> Tensor:
        """Return one view: shifted, perhaps mirrored, standardised."""
        return self.prepare(images if drawn is None else shift(images, drawn))[None]

    def loss(self, output: Tensor, labels: Tensor, settings: dict[str, Any]) -> Tensor:
        """Return the mean cross-entropy."""
        return cross_entropy(output, labels)


tasks.add("cifar10", CIFAR10())
