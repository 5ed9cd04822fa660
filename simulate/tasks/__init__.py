"""Tasks. One file registers one task: its data, its objective, what it shows as stimuli."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from lrplan.errors import UsageError
from lrplan.registry import Registry
from lrplan.simulate.architectures import Head

DATA_VARIABLE = "LRPLAN_DATA"


class Images(Protocol):
    """Examples too many for memory, read when they are needed.

    Attributes
    ----------
    shape : tuple of int
        (example, channel, row, column).
    dtype : numpy.dtype
        uint8 or float32.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def __len__(self) -> int:
        """Return the number of examples."""
        ...

    def read(self, places: np.ndarray) -> np.ndarray:
        """Return the examples at `places`, (len(places), channel, row, column)."""
        ...


@dataclass(frozen=True)
class Data:
    """Examples of a task and their labels.

    Parameters
    ----------
    train : array or Images (example, channel, row, column)
        float32 as networks see them, or uint8 as they are stored; `Task.prepare` turns either
        into what networks see.
    train_labels : array (example,) or (example, label) of int64
        Of several labels the first is the one that performance is about.
    test, test_labels : arrays
        Held-out examples, in memory.
    """

    train: np.ndarray | Images
    train_labels: np.ndarray
    test: np.ndarray
    test_labels: np.ndarray


@dataclass(frozen=True)
class Extent:
    """What is known of a task's data without reading them.

    Parameters
    ----------
    shape : tuple of int
        (channel, row, column) of one example.
    train, test : int
        Numbers of examples.
    """

    shape: tuple[int, int, int]
    train: int
    test: int


class Task:
    """What a network learns. A task overrides what differs.

    Attributes
    ----------
    objective : {"supervised", "self-supervised"}
        The third label of a rule.
    summary, cites, needs : str
        What it is, where it comes from, what data it needs and where to get them.
    settings : dict
        What can be set, with the defaults.
    moved : dict
        Names that are no settings any more, and the setting, a table, into which they moved.
    inputs : {"images", "sounds"}
        What an example is: a picture, or a cochleagram, which no augmentation of pictures fits.
    flips : bool
        Whether an example mirrored left to right is as good an example of its label.
    contrast : dict
        How views of an image differ in `simclr` over this task, where not as those of photographs
        (`lrplan.simulate.tasks.simclr.PHOTOGRAPHS`): as in the setting `views`. Two views are to
        share what tells the class, and to differ in what does not.
    """

    objective = "supervised"
    summary = ""
    cites = ""
    needs = ""
    settings: dict[str, Any] = {}
    moved: dict[str, str] = {}
    inputs = "images"
    flips = False
    contrast: dict[str, Any] = {}

    def load(self, size: int | None, settings: dict[str, Any]) -> Data:
        """Return the data; images with an edge below `size` pixels are enlarged to it."""
        raise NotImplementedError

    def training(
        self, size: int | None, settings: dict[str, Any]
    ) -> tuple[np.ndarray | Images, np.ndarray]:
        """Return the training examples of `load` and their labels.

        A task overrides it whose held-out examples take long to read.
        """
        data = self.load(size, settings)
        return data.train, data.train_labels

    def head(self, settings: dict[str, Any]) -> Head:
        """Return what the network ends in."""
        raise NotImplementedError

    def loss(self, output: Tensor, labels: Tensor, settings: dict[str, Any]) -> Tensor:
        """Return the loss of one organism's batch of (view * example, ...) outputs."""
        raise NotImplementedError

    def extent(self, size: int | None, settings: dict[str, Any]) -> Extent:
        """Return the size of the data; what must be downloaded is not read for it."""
        data = self.load(size, settings)
        channels, rows, columns = data.train.shape[1:]
        return Extent((channels, rows, columns), len(data.train), len(data.test))

    def check(self, settings: dict[str, Any]) -> None:
        """Check data on disk before training: counts, shapes, a readable sample.

        Raises
        ------
        DataError
            If something is missing, short, unreadable or of the wrong shape.
        """

    def augmentation(
        self, rng: np.random.Generator, steps: int, batch: int, settings: dict[str, Any]
    ) -> np.ndarray | None:
        """Draw the random numbers of augmentations (step, example, ...) of float32, or None.

        Drawing some steps and then some more gives what drawing all of them at once gives.
        """
        return None

    def prepare(self, images: Tensor) -> Tensor:
        """Return float images as networks see them, not augmented; uint8 becomes 0 to 1."""
        return images.float() / 255 if images.dtype == torch.uint8 else images

    def views(self, images: Tensor, drawn: Tensor | None) -> Tensor:
        """Return (view, example, channel, row, column): what the network sees in training.

        Parameters
        ----------
        images : Tensor (example, channel, row, column)
            As `Data` holds them.
        drawn : Tensor (example, ...) or None
            One step of `augmentation`.
        """
        return self.prepare(images)[None]

    def correct(self, output: Tensor, labels: Tensor) -> Tensor:
        """Say of each example (..., example) whether scores (..., example, class) name its label.

        Parameters
        ----------
        output : Tensor (..., example, class)
            What the readout says.
        labels : Tensor (example,) or (example, label)
            As `Data` holds them.
        """
        first = labels if labels.ndim == 1 else labels[:, 0]
        return output.argmax(-1) == first

    def chance(self, labels: np.ndarray) -> float:
        """Return the performance of who learned nothing, of a readout and of a probe alike.

        It is the share of the most frequent class among the held-out examples: what the best
        answer is worth that does not look at them, and never less than one class of all.

        Parameters
        ----------
        labels : array (example,) or (example, label)
            Of the held-out examples, as `Data` holds them.
        """
        first = labels if labels.ndim == 1 else labels[:, 0]
        return float(np.unique(first, return_counts=True)[1].max() / len(first))


def cross_entropy(output: Tensor, labels: Tensor) -> Tensor:
    """Return the mean cross-entropy of scores (example, class) and labels (example,).

    In stacks losses are taken under `torch.func.vmap`, where torch's own function takes twice as
    long, and a second at first for imports.
    """
    named = output.gather(1, labels[:, None])[:, 0]
    return (output.logsumexp(1) - named).mean()


def data_folder() -> Path:
    """Return the folder of data that lrplan does not bring, from the variable LRPLAN_DATA.

    Raises
    ------
    UsageError
        If none is named.
    """
    named = os.environ.get(DATA_VARIABLE, "")
    if not named:
        raise UsageError(
            f"no data folder is named; give `lrplan simulate --data FOLDER`, or set {DATA_VARIABLE}"
        )
    return Path(named)


tasks: Registry[Task] = Registry("task", package="lrplan.simulate.tasks", group="lrplan.tasks")
