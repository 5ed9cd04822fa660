"""Adam."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lrplan.simulate.optimizers import Tensors, optimizers, per_organism


@optimizers.register("adam")
@dataclass(frozen=True, kw_only=True)
class Adam:
    """Adaptive moments with bias correction.

    m <- b1 m + (1 - b1) g;  s <- b2 s + (1 - b2) g^2;
    w <- w - lr (m / (1 - b1^t)) / (sqrt(s / (1 - b2^t)) + eps).

    Source: Kingma & Ba, ICLR 2015.
    """

    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.0

    def init(self, params: Tensors) -> tuple[int, Tensors, Tensors]:
        """Return zero moments and a step count of 0."""
        zeros = {name: torch.zeros_like(p) for name, p in params.items()}
        return 0, zeros, dict(zeros)

    def step(
        self,
        params: Tensors,
        grads: Tensors,
        state: tuple[int, Tensors, Tensors],
        learning_rate: Tensor,
    ) -> tuple[Tensors, tuple[int, Tensors, Tensors]]:
        """Return updated parameters and moments."""
        count, first, second = state
        count += 1
        new, m, s = {}, {}, {}
        for name, p in params.items():
            g = grads[name] + self.weight_decay * p if self.weight_decay else grads[name]
            m[name] = self.beta1 * first[name] + (1 - self.beta1) * g
            s[name] = self.beta2 * second[name] + (1 - self.beta2) * g * g
            mean = m[name] / (1 - self.beta1**count)
            root = torch.sqrt(s[name] / (1 - self.beta2**count))
            new[name] = p - per_organism(learning_rate, p) * mean / (root + self.epsilon)
        return new, (count, m, s)
