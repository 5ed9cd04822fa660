"""What a layer sees while examples pass: all that a credit may learn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lrplan.simulate.credits._operations import Operation


@dataclass(frozen=True)
class Visit:
    """One visit of the examples to a layer; a network with time steps visits it once in each.

    Parameters
    ----------
    x : Tensor (example, ...)
        What the layer took in.
    z : Tensor (example, ...)
        Its drive W x, before bias, normalisation and nonlinearity.
    y : Tensor (example, ...), optional
        What it put out after them.
    error : Tensor (example, ...), optional
        The derivative of the loss by `z`, as the ways back of the layers behind delivered it;
        zero if none of it arrives. Known to `OwnUpdate.update` alone.
    """

    x: Tensor
    z: Tensor
    y: Tensor | None = None
    error: Tensor | None = None


@dataclass(frozen=True)
class Observed:
    """What one layer of one organism saw of a batch.

    Parameters
    ----------
    op : Operation
        What the layer does, fully connected or convolutional.
    weight : Tensor
        Its weights W.
    backward : Tensor or None
        Its backward weights B, in the shape of W, if it has any.
    visits : sequence of Visit
        In the order of time.
    reward : Tensor (example,), optional
        Minus the loss of each example; in a contrastive task, whose loss has no such parts, minus
        the loss of the batch. Known to `OwnUpdate.update` alone.
    readout : bool
        Whether it is the readout or part of a contrastive head.
    """

    op: Operation
    weight: Tensor
    backward: Tensor | None
    visits: Sequence[Visit]
    reward: Tensor | None = None
    readout: bool = False

    @property
    def x(self) -> Tensor:
        """The inputs of all visits, one visit's examples after the other's."""
        return _joined([v.x for v in self.visits])

    @property
    def z(self) -> Tensor:
        """The drives of all visits, as `x`."""
        return _joined([v.z for v in self.visits])

    @property
    def y(self) -> Tensor:
        """The outputs of all visits, as `x`."""
        return _joined([v.y for v in self.visits])

    @property
    def error(self) -> Tensor:
        """The errors of all visits, as `x`."""
        return _joined([v.error for v in self.visits])


def _joined(values: Sequence[Tensor | None]) -> Tensor:
    known = [v for v in values if v is not None]
    if len(known) != len(values):
        raise ValueError("an output or error was asked for that this layer was not shown")
    return known[0] if len(known) == 1 else torch.cat(known)
