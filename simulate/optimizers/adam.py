"""Adam."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.optim.adam import adam

from lrplan.simulate.optimizers import (
    Tensors,
    add_scaled,
    fused_rate,
    in_memory_order,
    is_zero,
    optimizers,
    per_organism,
)


@dataclass
class Moments:
    """What Adam knows of the steps before.

    Parameters
    ----------
    counts : list of Tensor ()
        How many there were, for each parameter, where fused kernels look for it.
    first, second : dict of str to Tensor
        Running means of gradients and of their squares.
    """

    counts: list[Tensor]
    first: Tensors
    second: Tensors


@optimizers.register("adam")
@dataclass(frozen=True, kw_only=True)
class Adam:
    """Adaptive moments with bias correction.

    m <- b1 m + (1 - b1) g;  s <- b2 s + (1 - b2) g^2;
    w <- w - lr (m / (1 - b1^t)) / (sqrt(s / (1 - b2^t)) + eps).
    """

    summary: ClassVar[str] = "adaptive moments with bias correction"
    cites: ClassVar[str] = "Kingma & Ba, ICLR 2015"
    recordable: ClassVar[bool] = True

    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.0

    def init(self, params: Tensors) -> Moments:
        """Return zero moments and a step count of 0."""
        first, second = ({k: torch.zeros_like(p) for k, p in params.items()} for _ in range(2))
        counts = [torch.zeros((), device=p.device) for p in params.values()]
        return Moments(counts, first, second)

    def step(
        self, params: Tensors, grads: Tensors, state: Moments, learning_rate: Tensor
    ) -> tuple[Tensors, Moments]:
        """Update parameters and moments in place and return them."""
        if learning_rate.ndim == 0:
            weights, gradients, first, second = in_memory_order(
                params, grads, state.first, state.second
            )
            adam(
                weights,
                gradients,
                first,
                second,
                [],
                state.counts,  # advanced there
                fused=True,
                amsgrad=False,
                beta1=self.beta1,
                beta2=self.beta2,
                lr=fused_rate(learning_rate),
                weight_decay=self.weight_decay,
                eps=self.epsilon,
                maximize=False,
            )
            return params, state
        torch._foreach_add_(state.counts, 1)
        # Both bias corrections are one number for all parameters, and go into the rate and epsilon:
        # lr (m / c1) / (sqrt(s / c2) + eps) = (lr sqrt(c2) / c1) m / (sqrt(s) + sqrt(c2) eps).
        count = state.counts[0].double()
        root = (1 - self.beta2**count) ** 0.5
        rate = learning_rate * root / (1 - self.beta1**count)
        for name, p in params.items():
            g, m, s = grads[name], state.first[name], state.second[name]
            if not is_zero(self.weight_decay):
                add_scaled(g, p, self.weight_decay, out=g)
            m.lerp_(g, per_organism(1 - self.beta1, p))
            s.mul_(per_organism(self.beta2, p))
            add_scaled(s, g * g, 1 - self.beta2, out=s)
            size = torch.sqrt(s, out=g).add_(per_organism(root * self.epsilon, p))
            add_scaled(p, torch.div(m, size, out=size), -rate, out=p)
        return params, state
