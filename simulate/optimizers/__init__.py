"""Optimizers: how a credit becomes an update. One file is one optimizer.

Parameters are dictionaries of tensors whose first axis is the organism, so that one step updates
a whole stack, each organism with its own learning rate and, where they differ, settings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from lrplan.registry import Registry

Tensors = dict[str, Tensor]


class Optimizer(Protocol):
    """Turns gradients into updates; a frozen dataclass whose fields are its settings.

    Where organisms of a stack differ in a number, the field holds a tensor (organism,);
    `per_organism` and `add_scaled` take either.

    Attributes
    ----------
    summary, cites : str
        One line of what it is, and its source.
    """

    summary: ClassVar[str]
    cites: ClassVar[str]

    def init(self, params: Tensors) -> Any:
        """Return the state before the first step: tensors in the shape of `params`."""
        ...

    def step(
        self, params: Tensors, grads: Tensors, state: Any, learning_rate: Tensor
    ) -> tuple[Tensors, Any]:
        """Return updated parameters and state; `learning_rate` has shape (organism,).

        All tensors given may be changed in place and returned: memory traffic is most of a step.
        """
        ...


optimizers: Registry[type[Optimizer]] = Registry(
    "optimizer", package="lrplan.simulate.optimizers", group="lrplan.optimizers"
)


def per_organism(value: float | Tensor, like: Tensor) -> float | Tensor:
    """Shape (organism,) numbers to multiply (organism, ...) tensors; one for all stays a number."""
    if not isinstance(value, Tensor):
        return value
    return value.to(like.dtype).reshape(-1, *[1] * (like.ndim - 1))


def add_scaled(a: Tensor, b: Tensor, factor: float | Tensor, *, out: Tensor) -> Tensor:
    """Write ``a + factor b`` to `out`, which may be `a` or `b`, in one pass over memory."""
    if isinstance(factor, Tensor):
        return torch.addcmul(a, b, per_organism(factor, a), out=out)  # type: ignore[arg-type]
    return torch.add(a, b, alpha=factor, out=out)


def is_zero(value: float | Tensor) -> bool:
    """Say whether a setting is 0 for every organism."""
    return not isinstance(value, Tensor) and value == 0


def kind(optimizer: Any) -> tuple[Any, ...]:
    """Return what optimizers must share to update organisms of one stack together."""
    switches = [(f.name, getattr(optimizer, f.name)) for f in fields(optimizer)]
    return (type(optimizer), *[(name, v) for name, v in switches if not isinstance(v, float)])


def together(each: Sequence[Any], device: torch.device) -> Any:
    """Return one optimizer of the same `kind` that updates several organisms, one setting each."""
    changes: dict[str, Tensor] = {}
    for f in fields(each[0]):
        values = [getattr(optimizer, f.name) for optimizer in each]
        if isinstance(values[0], float) and len(set(values)) > 1:
            changes[f.name] = torch.tensor(values, dtype=torch.float64, device=device)
    return replace(each[0], **changes)
