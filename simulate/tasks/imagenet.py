"""ImageNet, supervised, or any photographs that lie in one folder per class."""

from __future__ import annotations

import hashlib
import warnings
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lrplan.errors import DataError
from lrplan.randomness import keyed_rng
from lrplan.simulate.architectures import Head
from lrplan.simulate.tasks import Data, Extent, Task, cross_entropy, tasks
from lrplan.simulate.tasks._augmentation import RESIZE_UNIFORMS, resize_parameters, resized_crop
from lrplan.simulate.tasks._disk import ImageFiles, decode, folder_of, whole_setting

FOLDER = "imagenet"
NEEDS = (
    "ImageNet's classification set of 2012 (image-net.org), one folder per class: "
    f"FOLDER/{FOLDER}/train/<class>/*.JPEG and FOLDER/{FOLDER}/val/<class>/*.JPEG; or other "
    "photographs laid out so (partial = true)"
)
CLASSES, TRAIN, TEST_PER_CLASS, TRAIN_PER_CLASS = 1000, 1_281_167, 50, 732
SMALLEST_CROP = 0.08
ZOOM = 256 / 224
SAMPLE = 32
# Of the training images, in [0, 1], by channel.
MEAN = (0.485, 0.456, 0.406)
SD = (0.229, 0.224, 0.225)


@lru_cache(maxsize=8)
def _listed(folder: Path, part: str, classes: int) -> tuple[tuple[str, ...], np.ndarray]:
    """Return the image files of the first classes and their labels."""
    from torchvision.datasets.folder import IMG_EXTENSIONS, find_classes, make_dataset

    try:
        names, _ = find_classes(folder / part)
        if len(names) < classes:
            raise DataError(
                f"{folder / part} has {len(names)} folders of classes; expected {classes}. Add "
                f"the others, or set classes = {len(names)}"
            )
        places = {name: i for i, name in enumerate(names[:classes])}
        found = make_dataset(str(folder / part), places, IMG_EXTENSIONS)
    except OSError as error:
        raise DataError(f"{folder / part}: {error} It needs {NEEDS}") from None
    if part == "train":
        # In a fixed random order, so that the first images are of all classes.
        order = keyed_rng("imagenet", part, len(found)).permutation(len(found)).tolist()
        found = [found[i] for i in order]
    return tuple(path for path, _ in found), np.array([label for _, label in found], np.int64)


def _balanced(labels: np.ndarray, count: int) -> np.ndarray:
    """Return the places of the first examples of every class, going round the classes."""
    by_class = [np.flatnonzero(labels == c) for c in np.unique(labels)]
    turns = [(i, c) for c, places in enumerate(by_class) for i in range(len(places))]
    return np.array([by_class[c][i] for i, c in sorted(turns)[:count]])


@lru_cache(maxsize=2)
def _train_files(folder: Path, classes: int, edge: int, skip: bool, keep: bool) -> ImageFiles:
    """Return the training images, the same ones for every stack that a process trains."""
    paths, labels = _listed(folder, "train", classes)
    cache = None
    if keep:
        of = hashlib.sha256("\n".join(p[len(str(folder)) :] for p in paths).encode())
        cache = folder / f"lrplan-train-{edge}-{of.hexdigest()[:12]}.images"
    return ImageFiles(paths, labels, edge=edge, shorter=edge, skip_unreadable=skip, cache=cache)


@lru_cache(maxsize=1)
def _test_images(
    paths: tuple[str, ...], labels: tuple[int, ...], edge: int, skip: bool
) -> np.ndarray:
    files = ImageFiles(
        paths, np.array(labels), edge=edge, shorter=round(edge * ZOOM), skip_unreadable=skip
    )
    return files.read(np.arange(len(files)))


class ImageNet(Task):
    """Say which of a thousand kinds of thing a photograph shows.

    Training images are decoded when they are needed: the shorter side is resized to `edge`
    pixels and the central square kept, of which a random piece of 8 to 100% is enlarged, half of
    them mirrored. Held-out images are resized to 256/224 of `edge` and cropped in the middle.
    """

    summary = "classify photographs of a thousand kinds of thing"
    cites = "Russakovsky et al., IJCV 2015; augmentation: Szegedy et al., CVPR 2015"
    needs = NEEDS
    flips = True
    settings: dict[str, Any] = {
        "classes": CLASSES,
        "edge": 224,
        "test_images": 5000,
        "partial": False,
        "skip_unreadable": False,
        "cache": False,
    }

    def _edge(self, size: int | None, settings: dict[str, Any]) -> int:
        return max(whole_setting(settings, "edge", "imagenet"), size or 0)

    def _files(self, settings: dict[str, Any]) -> tuple[Path, list[tuple[Any, np.ndarray]]]:
        """Return the folder, and the listed files and labels of both parts."""
        classes = whole_setting(settings, "classes", "imagenet", least=2)
        folder = folder_of("imagenet", FOLDER, NEEDS)
        parts = [_listed(folder, part, classes) for part in ("train", "val")]
        for part, (_, labels), least in zip(
            ("train", "val"), parts, (TRAIN_PER_CLASS, TEST_PER_CLASS), strict=True
        ):
            counts = np.bincount(labels, minlength=classes)
            if not settings["partial"] and counts.min() < least:
                short = int(counts.argmin())
                raise DataError(
                    f"{folder / part} is short: class {short + 1} of {classes} has "
                    f"{counts[short]} images; ImageNet has at least {least} of each. Complete "
                    "it, or set partial = true to train on what is there"
                )
        return folder, parts

    def load(self, size: int | None, settings: dict[str, Any]) -> Data:
        """Return training images that are read when needed, and held-out ones in memory."""
        edge = self._edge(size, settings)
        count = whole_setting(settings, "test_images", "imagenet")
        _, (_, (test_paths, test_labels)) = self._files(settings)
        train, labels = self.training(size, settings)
        chosen = _balanced(test_labels, count)
        test = _test_images(
            tuple(test_paths[i] for i in chosen),
            tuple(test_labels[chosen].tolist()),
            edge,
            settings["skip_unreadable"],
        )
        return Data(train, labels, test, test_labels[chosen])

    def training(self, size: int | None, settings: dict[str, Any]) -> tuple[ImageFiles, np.ndarray]:
        """Return training images that are read when needed; no held-out one is."""
        folder, ((_, labels), _) = self._files(settings)
        edge, classes = self._edge(size, settings), settings["classes"]
        skip, keep = settings["skip_unreadable"], settings["cache"]
        return _train_files(folder, classes, edge, skip, keep), labels

    def extent(self, size: int | None, settings: dict[str, Any]) -> Extent:
        """Return the size of the data set; its files are listed only where it may be partial.

        Of fewer than all classes the number of training images is estimated.
        """
        edge = self._edge(size, settings)
        classes, count = settings["classes"], settings["test_images"]
        if settings["partial"]:
            _, ((paths, _), (test_paths, _)) = self._files(settings)
            return Extent((3, edge, edge), len(paths), min(count, len(test_paths)))
        train = round(TRAIN * classes / CLASSES)
        return Extent((3, edge, edge), train, min(count, TEST_PER_CLASS * classes))

    def check(self, settings: dict[str, Any]) -> None:
        """Count the files of each class and read some of them, evenly spread."""
        edge = self._edge(None, settings)
        _, parts = self._files(settings)
        for paths, _ in parts:
            for i in np.unique(np.linspace(0, len(paths) - 1, SAMPLE).round().astype(int)):
                try:
                    decode(paths[i], edge=edge, shorter=edge)
                except DataError as error:
                    if not settings["skip_unreadable"]:
                        raise DataError(
                            f"{error}; repair or remove it, or set skip_unreadable = true"
                        ) from None
                    warnings.warn(f"{error}; it will be skipped", stacklevel=2)

    def head(self, settings: dict[str, Any]) -> Head:
        """Return a readout of as many classes as are asked for."""
        return Head("readout", whole_setting(settings, "classes", "imagenet", least=2))

    def augmentation(
        self, rng: np.random.Generator, steps: int, batch: int, settings: dict[str, Any]
    ) -> np.ndarray:
        """Draw (step, example, 5): the piece that is enlarged, and a flip."""
        u = rng.random((steps, batch, RESIZE_UNIFORMS))
        return resize_parameters(u, least=SMALLEST_CROP, flips=True).astype(np.float32)

    def prepare(self, images: Tensor) -> Tensor:
        """Return images with each channel standardised by the training set's figures."""
        mean = torch.tensor(MEAN, device=images.device)[:, None, None]
        sd = torch.tensor(SD, device=images.device)[:, None, None]
        return (super().prepare(images) - mean) / sd

    def views(self, images: Tensor, drawn: Tensor | None) -> Tensor:
        """Return one view: a random piece, perhaps mirrored, standardised."""
        prepared = self.prepare(images)
        return (prepared if drawn is None else resized_crop(prepared, drawn))[None]

    def loss(self, output: Tensor, labels: Tensor, settings: dict[str, Any]) -> Tensor:
        """Return the mean cross-entropy."""
        return cross_entropy(output, labels)


tasks.add("imagenet", ImageNet())
