"""SimCLR over any task of images: tell two views of one image from views of others."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lrplan.errors import UsageError
from lrplan.registry import nearest
from lrplan.simulate.architectures import Head
from lrplan.simulate.tasks import Data, Extent, Images, Task, tasks
from lrplan.simulate.tasks._augmentation import (
    BLUR_NUMBERS,
    BLUR_UNIFORMS,
    COLOUR_NUMBERS,
    COLOUR_UNIFORMS,
    RESIZE_NUMBERS,
    RESIZE_UNIFORMS,
    blur,
    blur_parameters,
    colour_parameters,
    recolour,
    resize_parameters,
    resized_crop,
    share_setting,
)
from lrplan.simulate.tasks._contrastive import nt_xent
from lrplan.simulate.tasks._disk import whole_setting

BLUR_FROM = 64
MIDDLE, SPREAD = 0.5, 0.25
PHOTOGRAPHS = {
    "smallest_crop": 0.08,
    "strength": 0.5,
    "hue": 0.1,
    "grey": 0.2,
    "negative": 0.0,
    "blur": 0.5,
}
"""How views differ where the task whose images are shown says nothing else."""


class SimCLR(Task):
    """Contrast two augmented views, with a projection head.

    A view is a random piece of the image, enlarged; half of the views are mirrored where that
    makes no other sign; brightness, contrast, saturation and hue change, some views lose their
    colour or become negatives, and of images of 64 pixels or more some are blurred. Networks see
    images in [0, 1] less 0.5, divided by 0.25.

    By how much views differ depends on the data: as the setting `views` says, otherwise as
    `Task.contrast` of the other task does, and as for photographs (`PHOTOGRAPHS`) where neither
    says anything. What two views share is what is learned. Where they share the colours of an
    image, and these tell all images apart, nothing else is.
    """

    objective = "self-supervised"
    summary = "tell apart augmented views of the images of another task (NT-Xent)"
    cites = "Chen et al., ICML 2020"
    needs = "the data of the task of images that the setting `over` names; shapes need none"
    settings: dict[str, Any] = {
        "over": "shapes",
        "over_settings": {},
        "temperature": 0.2,
        "dimensions": 128,
        "views": {},
    }
    moved = dict.fromkeys(PHOTOGRAPHS, "views")

    def _over(self, settings: dict[str, Any]) -> tuple[Task, dict[str, Any]]:
        """Return the task whose images are shown, and its settings."""
        name = settings["over"]
        task = tasks.get(name)
        if task.inputs != "images":
            raise UsageError(
                f"simclr.over is {name!r}, a task of {task.inputs}; SimCLR is over image tasks"
            )
        if task.objective != "supervised":
            raise UsageError(
                f"simclr.over is {name!r}, which is {task.objective}; expected a task that "
                "classifies images"
            )
        given = settings["over_settings"]
        if not isinstance(given, Mapping):
            raise UsageError(f"simclr.over_settings is {given!r}; expected a table")
        for key in given:
            if key not in task.settings:
                raise UsageError(
                    f"simclr.over_settings: {name!r} has no setting {key!r}; "
                    f"{nearest(key, task.settings)}"
                )
        return task, task.settings | dict(given)

    def load(self, size: int | None, settings: dict[str, Any]) -> Data:
        """Return the images of the other task, as uint8."""
        task, over = self._over(settings)
        data, name = task.load(size, over), settings["over"]
        test = _as_bytes(data.test, data.train, name)
        return Data(
            _as_bytes(data.train, data.train, name), data.train_labels, test, data.test_labels
        )

    def training(
        self, size: int | None, settings: dict[str, Any]
    ) -> tuple[np.ndarray | Images, np.ndarray]:
        """Return the training images of the other task, as uint8."""
        task, over = self._over(settings)
        images, labels = task.training(size, over)
        return _as_bytes(images, images, settings["over"]), labels

    def extent(self, size: int | None, settings: dict[str, Any]) -> Extent:
        """Return the size of the other task's data."""
        task, over = self._over(settings)
        return task.extent(size, over)

    def check(self, settings: dict[str, Any]) -> None:
        """Check the other task's data."""
        task, over = self._over(settings)
        task.check(over)

    def head(self, settings: dict[str, Any]) -> Head:
        """Return a projection head of two layers."""
        task, _ = self._over(settings)
        _how_views_differ(task, settings)
        if not settings["temperature"] > 0:
            raise UsageError(
                f"simclr.temperature is {settings['temperature']!r}; expected a positive number"
            )
        return Head("contrastive", whole_setting(settings, "dimensions", "simclr"))

    def augmentation(
        self, rng: np.random.Generator, steps: int, batch: int, settings: dict[str, Any]
    ) -> np.ndarray:
        """Draw (step, example, view, 12): a piece and a flip, colours, a blur."""
        task, _ = self._over(settings)
        how = _how_views_differ(task, settings)
        counts = (RESIZE_UNIFORMS, COLOUR_UNIFORMS, BLUR_UNIFORMS)
        u = rng.random((steps, batch, 2, sum(counts)))
        piece, colour, soft = np.split(u, np.cumsum(counts)[:-1], axis=-1)
        drawn = [
            resize_parameters(piece, least=how["smallest_crop"], flips=task.flips),
            colour_parameters(
                colour,
                strength=how["strength"],
                hue=how["hue"],
                grey=how["grey"],
                negative=how["negative"],
            ),
            blur_parameters(soft, share=how["blur"]),
        ]
        return np.concatenate(drawn, axis=-1).astype(np.float32)

    def prepare(self, images: Tensor) -> Tensor:
        """Return images about zero."""
        return (super().prepare(images) - MIDDLE) / SPREAD

    def views(self, images: Tensor, drawn: Tensor | None) -> Tensor:
        """Return two views, (2, example, channel, row, column)."""
        assert drawn is not None
        images = super().prepare(images)
        return torch.stack([self.prepare(_view(images, drawn[:, view])) for view in (0, 1)])

    def loss(self, output: Tensor, labels: Tensor, settings: dict[str, Any]) -> Tensor:
        """Return the contrastive loss; labels are not used."""
        return nt_xent(output, settings["temperature"])


def _how_views_differ(task: Task, settings: dict[str, Any]) -> dict[str, float]:
    """Return how views over a task differ."""
    given = settings["views"]
    if not isinstance(given, Mapping):
        raise UsageError(f"simclr.views is {given!r}; expected a table")
    for name, value in given.items():
        if name not in PHOTOGRAPHS:
            raise UsageError(
                f"simclr.views: nothing called {name!r} varies; {nearest(name, PHOTOGRAPHS)}"
            )
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise UsageError(f"simclr.views.{name} is {value!r}; expected a number")
        if name != "strength":
            share_setting(value, f"simclr.views.{name}")
        elif not 0 <= value < math.inf:
            raise UsageError(f"simclr.views.strength is {value!r}; expected at least 0")
    return PHOTOGRAPHS | task.contrast | dict(given)


def _view(images: Tensor, drawn: Tensor) -> Tensor:
    """Augment images in [0, 1] by one row of numbers each."""
    counts = (RESIZE_NUMBERS, COLOUR_NUMBERS, BLUR_NUMBERS)
    piece, colour, soft = drawn.split(counts, dim=1)
    view = recolour(resized_crop(images, piece), colour)
    return blur(view, soft) if min(view.shape[2:]) >= BLUR_FROM else view


def _as_bytes(images: Any, train: np.ndarray | Images, name: str) -> Any:
    """Return images as uint8; those of floats are scaled to the training images' range."""
    if images.dtype == np.uint8:
        return images
    if not isinstance(train, np.ndarray):
        raise UsageError(f"simclr.over is {name!r}, whose images are not read as uint8")
    low, high = float(train.min()), float(train.max())
    share = (images - low) / max(high - low, 1e-12)
    return (255 * share.clip(0, 1)).round().astype(np.uint8)


tasks.add("simclr", SimCLR())
