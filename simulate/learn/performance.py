"""Performance: what organisms make of held-out examples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lrplan.randomness import keyed_rng
from lrplan.simulate.learn.batches import device_rows, first_images
from lrplan.simulate.tasks import Data, Task

PROBE_RIDGE = 0.3
"""Strength of the probe's ridge, as a share of the features' mean squared length about the mean.

Measured on a KNet4 with 512 features before and after contrastive learning of shapes: 0.03 to 1
differ by at most 0.08 with 512 to 4,000 examples, and 0.3 is within 0.02 of the best.
"""
PROBE_EXAMPLES = 1024
"""Training examples that the probe is fitted to, at most.

More of them raise what it finds before learning as much as what it finds after it: 512, 1,024,
2,048 and 4,000 examples gave 0.42, 0.48, 0.54 and 0.58 before, 0.65, 0.69, 0.73 and 0.77 after.
"""
CONTRAST_EXAMPLES = 128
SHOWN_AT_ONCE = 512
"""Examples shown at once; a large stack sees fewer, down to an eighth."""


class Performance:
    """Share of held-out examples that are judged rightly, and the loss on them.

    The readout judges where the task trains one, otherwise ridge regression from the features of
    some training examples.

    Parameters
    ----------
    task, settings : Task, dict
        What was learned.
    data : Data
        With the held-out examples.
    device : torch.device
        Where to compute.
    dtype : torch.dtype
        Of what networks see.

    Attributes
    ----------
    behind : dict of str to array ()
        What performance is to be compared with: ``chance``, the task's, and ``held_out``, the
        number of examples.
    """

    def __init__(
        self,
        task: Task,
        settings: dict[str, Any],
        data: Data,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self.task, self.settings, self.dtype = task, settings, dtype
        self.test = device_rows(data.test, device)
        self.labels = torch.from_numpy(data.test_labels).to(device)
        self.behind = {
            "chance": np.array(task.chance(data.test_labels)),
            "held_out": np.array(len(data.test_labels)),
        }
        self.contrast: Tensor | None = None
        if task.objective == "self-supervised":
            self.known = first_images(data.train, PROBE_EXAMPLES).to(device)
            labels = _first(torch.from_numpy(data.train_labels[:PROBE_EXAMPLES]))
            self.known_labels = labels.to(device)
            # The same views for every organism and checkpoint, so that losses compare.
            shown = self.test[:CONTRAST_EXAMPLES]
            drawn = task.augmentation(keyed_rng(task.summary), 1, len(shown), settings)
            seen = None if drawn is None else torch.from_numpy(drawn[0]).to(device)
            self.contrast = task.views(shown, seen).flatten(0, 1).to(dtype)

    def __call__(
        self, evaluate: Callable[[Tensor], tuple[Tensor, Tensor]], organisms: int
    ) -> dict[str, Tensor]:
        """Return ``performance`` and ``loss`` (organism,).

        Parameters
        ----------
        evaluate : callable
            Gives a stack's output and features (organism, example, ...) for images.
        organisms : int
            Of the stack.
        """
        weights = None
        at_once = max(SHOWN_AT_ONCE // 8, min(SHOWN_AT_ONCE, 8 * SHOWN_AT_ONCE // organisms))
        if self.contrast is not None:
            known = [self._features(evaluate, some) for some in self.known.split(at_once)]
            weights = _ridge(torch.cat(known, dim=1), self.known_labels)
        right, losses, counts = [], [], []
        for start in range(0, len(self.test), at_once):
            rows = slice(start, start + at_once)
            labels = self.labels[rows]
            output, features = evaluate(self.task.prepare(self.test[rows]).to(self.dtype))
            if weights is None:
                found = self.task.correct(output, labels)
            else:
                found = weights(features.flatten(2)).argmax(-1) == _first(labels)
            right.append(found.to(self.dtype).sum(-1))
            counts.append(len(labels))
            if weights is None:
                losses.append(self._loss(output, labels) * len(labels))
        if self.contrast is None:
            loss = torch.stack(losses).sum(0) / sum(counts)
        else:
            output, _ = evaluate(self.contrast)
            loss = self._loss(output, self.labels[: len(output[0]) // 2])
        return {"performance": torch.stack(right).sum(0) / sum(counts), "loss": loss}

    def _features(
        self, evaluate: Callable[[Tensor], tuple[Tensor, Tensor]], images: Tensor
    ) -> Tensor:
        """Return the features (organism, example, feature) of images as `Data` holds them."""
        return evaluate(self.task.prepare(images).to(self.dtype))[1].flatten(2)

    def _loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        return torch.func.vmap(lambda o: self.task.loss(o, labels, self.settings))(outputs)


def _first(labels: Tensor) -> Tensor:
    """Return the label of each example that performance is about."""
    return labels if labels.ndim == 1 else labels[:, 0]


def _ridge(known: Tensor, labels: Tensor) -> Callable[[Tensor], Tensor]:
    """Fit ridge regression to features (organism, example, feature) and class labels.

    The ridge is a share of the features' size, so that their number does not matter: with about
    as many of them as examples a weaker one fits noise.

    Returns
    -------
    callable
        Gives class scores (organism, example, class) of new features.
    """
    mean = known.mean(1, keepdim=True)
    known = known - mean
    spread = known.square().mean((1, 2), keepdim=True).sqrt().clamp_min(1e-6)
    known = known / spread
    target = torch.nn.functional.one_hot(labels).to(known.dtype)
    target = target - target.mean(0)
    # With more features than examples the dual has the same solution and fewer unknowns.
    dual = known.shape[2] > known.shape[1]
    gram = known @ known.mT if dual else known.mT @ known
    identity = torch.eye(gram.shape[-1], device=gram.device, dtype=gram.dtype)
    # Features now have a mean square of 1, so their number is the mean squared length.
    gram = gram + PROBE_RIDGE * known.shape[2] * identity
    # An organism that diverged has no features to speak of; its scores are all equal.
    sound = torch.isfinite(gram).flatten(1).all(1)[:, None, None]
    gram = torch.where(sound, gram, identity)
    # Solving goes through libraries that take one matrix after the other anyway.
    weights = (
        known.mT @ torch.linalg.solve(gram, target.expand(len(gram), -1, -1))
        if dual
        else torch.linalg.solve(gram, known.mT @ target)
    )
    return lambda new: ((new - mean) / spread) @ weights
