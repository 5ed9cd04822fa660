"""Credit assignment: how an error reaches a weight, and what the weight makes of it.

One file is one credit: a frozen dataclass whose fields are its settings. It is written for one
organism; stacks call it under `torch.func.vmap`, so it has no ``.item()``, no in-place change and
no branch on values.
"""

from __future__ import annotations

from typing import ClassVar, Literal, Protocol, runtime_checkable

from torch import Tensor

from lrplan.registry import Registry
from lrplan.simulate.credits._observed import Observed, Visit
from lrplan.simulate.credits._operations import Conv, Linear, Operation, carry_back

__all__ = [
    "Conv",
    "Credit",
    "KnownMinimum",
    "LearnedFeedback",
    "Linear",
    "Observed",
    "Operation",
    "OwnUpdate",
    "Visit",
    "WayBack",
    "carry_back",
    "credits",
]

WayBack = Literal["forward weights", "backward weights", "own"]


class Credit(Protocol):
    """A credit assignment; subclasses of it inherit the defaults.

    With `apply` alone weights move against the gradient of the loss that autograd finds along
    this way back. `OwnUpdate` and `LearnedFeedback` say what else a credit may do.

    Attributes
    ----------
    summary, cites : str
        One line of what it is, and its source.
    backward_weights : bool
        Whether layers have backward weights B of their own, in the shape of W, drawn like W but
        independently. The first layer of a network has none: nothing lies behind it.
    way_back : {"forward weights", "backward weights", "own"}
        What carries errors back: W, the stored B, or whatever `apply` does. Credits with the
        first two share a stack, in which one `apply` serves all, with B = W where the way back
        is W; so it must be true. What has its own way back shares a stack with its like only.
    """

    summary: ClassVar[str]
    cites: ClassVar[str]
    backward_weights: ClassVar[bool] = False
    way_back: ClassVar[WayBack] = "own"

    def apply(self, op: Operation, x: Tensor, weight: Tensor, backward: Tensor | None) -> Tensor:
        """Return z = W x, differentiable by x and W: its derivative by x is the way back.

        Called for every layer whenever examples pass it in training; `backward` is None where
        the layer has no B.
        """
        ...


@runtime_checkable
class OwnUpdate(Protocol):
    """A credit that computes the update of a weight from what the layer sees."""

    def update(self, seen: Observed) -> Tensor | None:
        """Return the direction in which W moves, or None for the way down the loss's gradient.

        The optimizer makes a step of it as of minus a gradient. Backpropagation would be
        ``-seen.op.weight_gradient(seen.x, seen.error, seen.weight)``. None must not depend on
        values, but may on the layer (`Observed.readout`). Biases and normalisation always follow
        the gradient of the loss, and stay where no error arrives.
        """
        ...


@runtime_checkable
class LearnedFeedback(Protocol):
    """A credit whose backward weights learn.

    On a GPU layers compute in half precision. What they saw is shown in the precision of the
    weights all the same, but as it is to a credit that has an attribute ``any_precision = True``:
    weights and the step of B are in full precision for these, too.
    """

    def update_backward(self, seen: Observed) -> Tensor:
        """Return the step of B, which is scaled by the schedule of the learning rate alone."""
        ...


@runtime_checkable
class KnownMinimum(Protocol):
    """A credit whose backward weights descend a loss with one minimum."""

    def minimiser(self, seen: Observed) -> Tensor:
        """Return the B at which the loss is least for these examples."""
        ...


credits: Registry[type[Credit]] = Registry(
    "credit",
    package="lrplan.simulate.credits",
    group="lrplan.credits",
    # A rule may bring its credit with it.
    beside=[("lrplan.simulate.rules", "lrplan.rules")],
)
