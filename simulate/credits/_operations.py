"""What weighted layers do to their input, and how an error goes back through them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.grad import conv2d_input, conv2d_weight


class Operation(Protocol):
    """What a weighted layer does to its input."""

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        """Return z = W x."""
        ...

    def transpose(self, z: Tensor, weight: Tensor, like: Tensor) -> Tensor:
        """Return W^T z, in the shape of `like`."""
        ...

    def weight_gradient(self, x: Tensor, dz: Tensor, weight: Tensor) -> Tensor:
        """Return the gradient of the weight for input `x` and output error `dz`."""
        ...

    def overlap(self, weight: Tensor) -> int:
        """Return how many output places see one input at most."""
        ...


@dataclass(frozen=True)
class Linear:
    """A fully connected layer; x is (example, in), the weight (out, in)."""

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        """Return z = W x."""
        return F.linear(x, weight)

    def transpose(self, z: Tensor, weight: Tensor, like: Tensor) -> Tensor:
        """Return W^T z."""
        return z @ weight

    def weight_gradient(self, x: Tensor, dz: Tensor, weight: Tensor) -> Tensor:
        """Return the sum over examples of dz x^T."""
        return dz.T @ x

    def overlap(self, weight: Tensor) -> int:
        """Return 1: each output is seen once."""
        return 1


@dataclass(frozen=True)
class Conv:
    """A 2-d convolution; x is (example, in, row, column), the weight (out, in, k, k).

    Its backward weights are a convolution of the same shape.
    """

    stride: int = 1
    padding: int = 0

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        """Return z = W * x."""
        return F.conv2d(x, weight, stride=self.stride, padding=self.padding)

    def transpose(self, z: Tensor, weight: Tensor, like: Tensor) -> Tensor:
        """Return the transposed convolution of z."""
        return conv2d_input(like.shape, weight, z, stride=self.stride, padding=self.padding)

    def weight_gradient(self, x: Tensor, dz: Tensor, weight: Tensor) -> Tensor:
        """Return the correlation of input and error, summed over examples."""
        return conv2d_weight(x, weight.shape, dz, stride=self.stride, padding=self.padding)

    def overlap(self, weight: Tensor) -> int:
        """Return the number of kernel places that meet in one pixel; strides thin them out."""
        rows, columns = (-(-edge // self.stride) for edge in weight.shape[-2:])
        return rows * columns


class _CarriedBack(torch.autograd.Function):
    """z = W x forwards; errors go back through other weights than W."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, weight: Tensor, through: Tensor, op: Operation) -> Tensor:
        return op.forward(x, weight)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, weight, through, op = inputs
        ctx.save_for_backward(x, weight, through)
        ctx.op = op

    @staticmethod
    def backward(ctx: Any, dz: Tensor) -> tuple[Tensor, Tensor, None, None]:
        x, weight, through = ctx.saved_tensors
        return (
            ctx.op.transpose(dz, through, x),
            ctx.op.weight_gradient(x, dz, weight),
            None,
            None,
        )


def carry_back(op: Operation, x: Tensor, weight: Tensor, through: Tensor) -> Tensor:
    """Return z = W x; the error that reaches x is that of z, carried back through other weights.

    Parameters
    ----------
    op : Operation
        What the layer does.
    x : Tensor (example, ...)
        Its input.
    weight, through : Tensor
        The weights W and, in their shape, those whose transpose carries errors back. The gradient
        of W is that of a layer z = W x; `through` gets none.
    """
    z = _CarriedBack.apply(x, weight, through, op)
    assert isinstance(z, Tensor)
    return z
