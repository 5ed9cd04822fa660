"""Stochastic gradient descent with momentum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.optim.sgd import sgd

from lrplan.simulate.optimizers import (
    Tensors,
    add_scaled,
    fused_rate,
    in_memory_order,
    is_zero,
    optimizers,
)


@optimizers.register("sgdm")
@dataclass(frozen=True, kw_only=True)
class SGDM:
    """Stochastic gradient descent with (Nesterov) momentum.

    v <- momentum v + g;  w <- w - lr (g + momentum v), or w - lr v without Nesterov.

    Settings are those of Kunin et al., ICML 2020.
    """

    summary: ClassVar[str] = "stochastic gradient descent with (Nesterov) momentum"
    cites: ClassVar[str] = "Sutskever et al., ICML 2013"
    recordable: ClassVar[bool] = True

    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 0.0

    def init(self, params: Tensors) -> Tensors:
        """Return zero velocities."""
        return {name: torch.zeros_like(p) for name, p in params.items()}

    def step(
        self, params: Tensors, grads: Tensors, state: Tensors, learning_rate: Tensor
    ) -> tuple[Tensors, Tensors]:
        """Update parameters and velocities in place and return them."""
        if learning_rate.ndim == 0:
            weights, gradients, velocities = in_memory_order(params, grads, state)
            sgd(
                weights,
                gradients,
                velocities,  # type: ignore[arg-type]
                fused=True,
                weight_decay=self.weight_decay,
                momentum=self.momentum,
                lr=fused_rate(learning_rate),
                dampening=0.0,
                nesterov=self.nesterov,
                maximize=False,
            )
            return params, state
        for name, p in params.items():
            g, v = grads[name], state[name]
            if not is_zero(self.weight_decay):
                add_scaled(g, p, self.weight_decay, out=g)
            add_scaled(g, v, self.momentum, out=v)
            direction = add_scaled(g, v, self.momentum, out=g) if self.nesterov else v
            add_scaled(p, direction, -learning_rate, out=p)
        return params, state
