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

    Organisms of a stack that share all settings and the learning rate are updated by one step with
    a rate that is one number. Where there are too many different ones for that, a step has a rate
    for each, and the field of a setting in which organisms differ holds a tensor (organism,);
    `per_organism` and `add_scaled` take either.

    Attributes
    ----------
    summary, cites : str
        One line of what it is, and its source.
    recordable : bool, optional
        Whether a step can be recorded and played again, as a GPU's graphs are: all that changes
        from step to step are the contents of the tensors given, which are changed in place. Without
        it, it cannot.
    """

    summary: ClassVar[str]
    cites: ClassVar[str]

    def init(self, params: Tensors) -> Any:
        """Return the state before the first step: tensors in the shape of `params`."""
        ...

    def step(
        self, params: Tensors, grads: Tensors, state: Any, learning_rate: Tensor
    ) -> tuple[Tensors, Any]:
        """Return updated parameters and state.

        All tensors given may be changed in place and returned: memory traffic is most of a step.

        Parameters
        ----------
        params, grads : dict of str to Tensor (organism, ...)
            Of the organisms that this optimizer updates.
        state : Any
            As `init` or the last step returned it.
        learning_rate : Tensor () or (organism,)
            Of all organisms, which share the settings as well, or of each.
        """
        ...


optimizers: Registry[type[Optimizer]] = Registry(
    "optimizer", package="lrplan.simulate.optimizers", group="lrplan.optimizers"
)


def in_memory_order(params: Tensors, grads: Tensors, *states: Tensors) -> list[list[Tensor]]:
    """Return parameters, gradients and states as contiguous tensors, for fused kernels.

    Such a kernel (that of `torch.optim` with ``fused=True``) makes one pass over memory for a whole
    step. It may take no heed of strides, so axes are put in the order in which the parameter lies
    in memory. A gradient that is laid out otherwise is copied.

    Raises
    ------
    ValueError
        If a parameter has gaps in memory, or a state is laid out otherwise than its parameter:
        copies of them would be updated.
    """
    found: list[list[Tensor]] = [[] for _ in (params, grads, *states)]
    for name, p in params.items():
        order = None if p.is_contiguous() else sorted(range(p.ndim), key=p.stride, reverse=True)
        for views, tensors in zip(found, (params, grads, *states), strict=True):
            view = tensors[name] if order is None else tensors[name].permute(order)
            if tensors is grads:
                view = view.contiguous()
            elif not view.is_contiguous():
                raise ValueError(
                    f"{name}: a parameter, or its state, does not lie densely in memory"
                )
            views.append(view)
    return found


def fused_rate(learning_rate: Tensor) -> Tensor:
    """Return one learning rate as torch's fused kernels take it, in single precision on a GPU."""
    return learning_rate.float() if learning_rate.is_cuda else learning_rate


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
