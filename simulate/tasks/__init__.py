"""Tasks. One file registers one task: its data, its objective, what it shows as stimuli."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from lrplan.registry import Registry
from lrplan.simulate.architectures import Head


@dataclass(frozen=True)
class Data:
    """Images of a task, as float32 arrays (example, channel, row, column), and their labels."""

    train: np.ndarray
    train_labels: np.ndarray
    test: np.ndarray
    test_labels: np.ndarray


class Task(Protocol):
    """What a network learns.

    Attributes
    ----------
    objective : {"supervised", "self-supervised"}
        The third label of a rule.
    summary, cites, needs : str
        What it is, where it comes from, what data it needs.
    settings : dict
        What can be set, with the defaults.
    """

    objective: str
    summary: str
    cites: str
    needs: str
    settings: dict[str, Any]

    def load(self, size: int | None, settings: dict[str, Any]) -> Data:
        """Return the data, resized to `size` pixels."""
        ...

    def head(self, settings: dict[str, Any]) -> Head:
        """Return what the network ends in."""
        ...

    def augmentation(
        self, rng: np.random.Generator, steps: int, batch: int, settings: dict[str, Any]
    ) -> np.ndarray | None:
        """Draw the random numbers of all augmentations (step, example, ...), or None."""
        ...

    def views(self, images: Tensor, drawn: Tensor | None) -> Tensor:
        """Return (view, example, channel, row, column): what the network sees of images."""
        ...

    def loss(self, output: Tensor, labels: Tensor, settings: dict[str, Any]) -> Tensor:
        """Return the loss of one organism's batch."""
        ...


tasks: Registry[Task] = Registry("task", package="lrplan.simulate.tasks", group="lrplan.tasks")
