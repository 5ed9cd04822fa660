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

PROBE_RIDGE = 1.0
PROBE_EXAMPLES = 512
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
            self.known = task.prepare(first_images(data.train, PROBE_EXAMPLES).to(device)).to(dtype)
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
        if self.contrast is not None:
            weights = _ridge(evaluate(self.known)[1].flatten(2), self.known_labels)
        right, losses, counts = [], [], []
        at_once = max(SHOWN_AT_ONCE // 8, min(SHOWN_AT_ONCE, 8 * SHOWN_AT_ONCE // organisms))
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

    def _loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        return torch.func.vmap(lambda o: self.task.loss(o, labels, self.settings))(outputs)


def _first(labels: Tensor) -> Tensor:
    """Return the label of each example that performance is about."""
    return labels if labels.ndim == 1 else labels[:, 0]


def _ridge(known: Tensor, labels: Tensor) -> Callable[[Tensor], Tensor]:
    """Fit ridge regression to features (organism, example, feature) and class labels.

    Returns
    -------
    callable
        Gives class scores (organism, example, class) of new features.
    """
    mean = known.mean(1, keepdim=True)
    spread = known.std((1, 2), keepdim=True).clamp_min(1e-6)
    known = (known - mean) / spread
    target = torch.nn.functional.one_hot(labels).to(known.dtype)
    target = target - target.mean(0)
    # With more features than examples the dual has the same solution and fewer unknowns.
    dual = known.shape[2] > known.shape[1]
    gram = known @ known.mT if dual else known.mT @ known
    identity = torch.eye(gram.shape[-1], device=gram.device, dtype=gram.dtype)
    gram = gram + PROBE_RIDGE * identity
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
