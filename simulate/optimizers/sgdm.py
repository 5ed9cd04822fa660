"""Stochastic gradient descent with momentum."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lrplan.simulate.optimizers import Tensors, optimizers, per_organism


@optimizers.register("sgdm")
@dataclass(frozen=True, kw_only=True)
class SGDM:
    """Stochastic gradient descent with (Nesterov) momentum.

    v <- momentum v + g;  w <- w - lr (g + momentum v), or w - lr v without Nesterov.

    Sources: Sutskever et al., ICML 2013; settings of Kunin et al., ICML 2020.
    """

    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 0.0

    def init(self, params: Tensors) -> Tensors:
        """Return zero velocities."""
        return {name: torch.zeros_like(p) for name, p in params.items()}

    def step(
        self, params: Tensors, grads: Tensors, state: Tensors, learning_rate: Tensor
    ) -> tuple[Tensors, Tensors]:
        """Return updated parameters and velocities."""
        new, velocities = {}, {}
        for name, p in params.items():
            g = grads[name] + self.weight_decay * p if self.weight_decay else grads[name]
            v = self.momentum * state[name] + g
            direction = g + self.momentum * v if self.nesterov else v
            new[name] = p - per_organism(learning_rate, p) * direction
            velocities[name] = v
        return new, velocities
