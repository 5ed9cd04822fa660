"""Optimizers: how a credit becomes an update. One file is one optimizer.

Parameters are dictionaries of tensors whose first axis is the organism, so that one step updates
a whole stack, each organism with its own learning rate.
"""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor

from lrplan.registry import Registry

Tensors = dict[str, Tensor]


class Optimizer(Protocol):
    """Turns gradients into updates; a frozen dataclass whose fields are its settings."""

    def init(self, params: Tensors) -> Any:
        """Return the state before the first step."""
        ...

    def step(
        self, params: Tensors, grads: Tensors, state: Any, learning_rate: Tensor
    ) -> tuple[Tensors, Any]:
        """Return updated parameters and state; `learning_rate` has shape (organism,)."""
        ...


optimizers: Registry[type[Optimizer]] = Registry(
    "optimizer", package="lrplan.simulate.optimizers", group="lrplan.optimizers"
)


def per_organism(rate: Tensor, like: Tensor) -> Tensor:
    """Shape (organism,) rates so that they multiply (organism, ...) tensors."""
    return rate.reshape(-1, *[1] * (like.ndim - 1))
