"""Handwritten digits, self-supervised: tell two views of one image from views of others."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lrplan.errors import UsageError
from lrplan.simulate.architectures import Head
from lrplan.simulate.tasks import Data, Task, tasks
from lrplan.simulate.tasks._contrastive import nt_xent
from lrplan.simulate.tasks.digits import CITES, NEEDS, load_digits


class DigitsSimCLR(Task):
    """Contrast two augmented views (SimCLR), with a projection to 128 dimensions.

    A view is shifted, rotated, scaled and sheared, changes in contrast, and loses a random
    rectangle. Nothing is flipped: a mirrored digit is another sign.
    """

    objective = "self-supervised"
    summary = "tell apart augmented views of handwritten digits (NT-Xent)"
    cites = "Chen et al., ICML 2020; " + CITES
    needs = NEEDS
    settings: dict[str, Any] = {
        "temperature": 0.2,
        "dimensions": 128,
        "rotation_deg": 15.0,
        "shift": 0.12,
        "scale": 0.15,
        "shear": 0.15,
        "contrast": 0.3,
        "erase": 0.3,
    }

    def load(self, size: int | None, settings: dict[str, Any]) -> Data:
        """Return the images, resized to `size` pixels."""
        return load_digits(size)

    def head(self, settings: dict[str, Any]) -> Head:
        """Return a projection head of two layers."""
        if settings["dimensions"] < 1:
            raise UsageError(
                f"digits_simclr.dimensions is {settings['dimensions']!r}; expected at least 1"
            )
        return Head("contrastive", settings["dimensions"])

    def augmentation(
        self, rng: np.random.Generator, steps: int, batch: int, settings: dict[str, Any]
    ) -> np.ndarray:
        """Draw (step, example, view, 11): an affine map, contrast, and a rectangle."""
        u = rng.uniform(-1, 1, size=(steps, batch, 2, 10)).astype(np.float32)
        angle = np.deg2rad(settings["rotation_deg"]) * u[..., 0]
        scale = 1 + settings["scale"] * u[..., 1]
        shear = settings["shear"] * u[..., 2]
        cos, sin = np.cos(angle) * scale, np.sin(angle) * scale
        shift = 2 * settings["shift"] * u[..., 3:5]  # in units of half an image
        contrast = 1 + settings["contrast"] * u[..., 5]
        centre, half = u[..., 6:8], settings["erase"] * (u[..., 8:10] + 1) / 2
        rows = [cos, shear - sin, shift[..., 0], sin, cos, shift[..., 1], contrast]
        drawn = np.concatenate([np.stack(rows, axis=-1), centre, half], axis=-1)
        return drawn.astype(np.float32)

    def views(self, images: Tensor, drawn: Tensor | None) -> Tensor:
        """Return two views, (2, example, channel, row, column)."""
        assert drawn is not None
        return torch.stack([_transform(images, drawn[:, view]) for view in (0, 1)])

    def loss(self, output: Tensor, labels: Tensor, settings: dict[str, Any]) -> Tensor:
        """Return the contrastive loss; labels are not used."""
        return nt_xent(output, settings["temperature"])


def _transform(images: Tensor, drawn: Tensor) -> Tensor:
    """Apply one drawn augmentation to each of (example, channel, row, column) images."""
    n, _, rows, columns = images.shape
    grid = F.affine_grid(drawn[:, :6].reshape(n, 2, 3), list(images.shape), align_corners=False)
    background = images.amin(dim=(1, 2, 3), keepdim=True)
    moved = F.grid_sample(images - background, grid, align_corners=False)
    moved = moved * drawn[:, 6, None, None, None]
    y = (torch.arange(rows, device=images.device) * 2 + 1) / rows - 1
    x = (torch.arange(columns, device=images.device) * 2 + 1) / columns - 1
    out_y = (y - drawn[:, 7, None]).abs() > drawn[:, 9, None]
    out_x = (x - drawn[:, 8, None]).abs() > drawn[:, 10, None]
    kept = out_y[:, None, :, None] | out_x[:, None, None, :]
    return moved * kept + background


tasks.add("digits_simclr", DigitsSimCLR())
