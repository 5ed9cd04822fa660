"""Batches: the order of examples and their augmentations, for every organism of a stack."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lrplan.cohort.spec import OrganismSpec
from lrplan.simulate.tasks import Data, Task

DRAWN_STEPS = 16
"""Steps whose augmentations are drawn at once, and copied to the device, as their examples are."""


def device_rows(images: Any, device: torch.device) -> Any:
    """Return images in memory as a tensor on the device; others stay where they are."""
    return torch.from_numpy(images).to(device) if isinstance(images, np.ndarray) else images


def first_images(images: Any, count: int) -> Tensor:
    """Return the first `count` images as a tensor on the host, as they are stored."""
    if isinstance(images, np.ndarray):
        return torch.from_numpy(images[:count])
    return torch.from_numpy(images.read(np.arange(min(count, len(images)))))


class Batches:
    """The batches of a stack, one step after the other.

    An organism's batches depend on its spec alone. Order is drawn epoch by epoch and augmentation
    some steps at a time, so memory does not grow with the length of training. Images in memory
    stay on the device; others are read by a thread while the step before is computed.

    Parameters
    ----------
    specs : sequence of OrganismSpec
        With equal batch size.
    task, settings : Task, dict
        Which augments.
    data : Data
        What is trained on.
    epochs : int
        How many times.
    device : torch.device
        Where batches are wanted.
    dtype : torch.dtype
        Of what networks see.
    streams : tuple of str
        The random streams of order and augmentation.
    """

    def __init__(
        self,
        specs: Sequence[OrganismSpec],
        task: Task,
        settings: dict[str, Any],
        data: Data,
        epochs: int,
        device: torch.device,
        dtype: torch.dtype,
        *,
        streams: tuple[str, str] = ("order", "augmentation"),
    ) -> None:
        self.task, self.settings = task, settings
        self.epochs, self.device, self.dtype = epochs, device, dtype
        self.batch = specs[0].batch_size
        self.per_epoch = len(data.train) // self.batch
        self.steps = epochs * self.per_epoch
        self.orders = [s.rng(streams[0]) for s in specs]
        self.augmentations = [s.rng(streams[1]) for s in specs]
        self.images = device_rows(data.train, device)
        self.labels = torch.from_numpy(data.train_labels).to(device)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Give images (organism, view * example, ...) and labels (organism, example, ...)."""
        return self.at(range(self.steps))

    def at(self, wanted: Collection[int]) -> Iterator[tuple[Tensor, Tensor]]:
        """Give the batches of some steps, from 0, as they are among all; others are not read."""

        def some(every: Iterable[Any]) -> Iterator[Any]:
            return (one for step, one in enumerate(every) if step in wanted)

        steps = zip(self._ahead(some(self._places())), some(self._drawn()), strict=True)
        for (places, images), drawn in steps:
            # Tasks see the examples of all organisms as one batch.
            views = self.task.views(*self._precise(images.flatten(0, 1), drawn)).to(self.dtype)
            # (view, organism * example, ...) -> (organism, view * example, ...)
            views = views.unflatten(1, tuple(places.shape)).transpose(0, 1).flatten(1, 2)
            yield views, self.labels[places]

    def _precise(self, images: Tensor, drawn: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Return what a task makes views of, in double precision if those are wanted so.

        Devices round differently in single precision, and what is learned from such views soon
        differs a hundred thousand times as much.
        """
        if self.dtype != torch.float64:
            return images, drawn
        exact = images.to(self.dtype)
        if images.dtype == torch.uint8:
            exact = exact / 255
        return exact, None if drawn is None else drawn.to(self.dtype)

    def _places(self) -> Iterator[np.ndarray]:
        """Give the examples (organism, example) of each step."""
        for _ in range(self.epochs):
            epoch = [rng.permutation(len(self.images)) for rng in self.orders]
            used = np.stack(epoch)[:, : self.per_epoch * self.batch]
            yield from used.reshape(len(epoch), self.per_epoch, self.batch).swapaxes(0, 1)

    def _drawn(self) -> Iterator[Tensor | None]:
        """Give the augmentation (organism * example, ...) of each step."""
        for start in range(0, self.steps, DRAWN_STEPS):
            count = min(DRAWN_STEPS, self.steps - start)
            drawn = [
                self.task.augmentation(rng, count, self.batch, self.settings)
                for rng in self.augmentations
            ]
            if drawn[0] is None:
                yield from [None] * count
                continue
            chunk = np.stack(drawn, axis=1)  # type: ignore[arg-type]
            on_device = torch.from_numpy(chunk.reshape(count, -1, *chunk.shape[3:]))
            yield from on_device.to(self.device)

    def _ahead(self, steps: Iterator[np.ndarray]) -> Iterator[tuple[Tensor, Tensor]]:
        """Give places and images of each step; those on disk are read one step ahead."""
        if isinstance(self.images, Tensor):
            # A copy from ordinary memory waits for the device, so there is one for several steps.
            while some := list(itertools.islice(steps, DRAWN_STEPS)):
                for chosen in torch.from_numpy(np.stack(some)).to(self.device):
                    yield chosen, self.images[chosen]
            return

        def read(places: np.ndarray) -> tuple[Tensor, Tensor]:
            images = torch.from_numpy(self.images.read(places.ravel()))
            if self.device.type == "cuda":
                images = images.pin_memory()
            return torch.from_numpy(places), images

        with ThreadPoolExecutor(1) as reader:
            coming = None
            for places in steps:
                following = reader.submit(read, places)
                if coming is not None:
                    yield self._moved(*coming.result())
                coming = following
            if coming is not None:
                yield self._moved(*coming.result())

    def _moved(self, places: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
        images = images.to(self.device, non_blocking=True)
        return places.to(self.device), images.unflatten(0, tuple(places.shape))
