"""What weighted layers do to their input, and how an error goes back through them.

Under `torch.func.vmap`, as stacks of convolutional networks train on a GPU, convolutions of all
organisms become one with a group per organism, laid out channels last, in every direction. torch's
own rules reach the same products by way of copies, which took longer than the products.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor


class Operation(Protocol):
    """What a weighted layer does to its input.

    `transpose` and `weight_gradient` compute in the precision of z or x, into which weights are
    cast; a gradient of weights is returned in the precision of `weight`.
    """

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
        return z @ weight.to(z.dtype)

    def weight_gradient(self, x: Tensor, dz: Tensor, weight: Tensor) -> Tensor:
        """Return the sum over examples of dz x^T."""
        return (dz.T @ x).to(weight.dtype)

    def overlap(self, weight: Tensor) -> int:
        """Return 1: each output is seen once."""
        return 1


@dataclass(frozen=True)
class Conv:
    """A 2-d convolution; x is (example, in, row, column), the weight (out, in, k, k).

    Its backward weights are a convolution of the same shape.

    Parameters
    ----------
    stride, padding : int
        Of the kernel.
    groups : int
        Convolutions side by side: x is (example, groups * in, row, column) then, and the weight
        (groups * out, in, k, k). A stack's are one per organism.
    """

    stride: int = 1
    padding: int = 0
    groups: int = 1

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        """Return z = W * x."""
        x, weight = self._laid_out(x, weight)
        return F.conv2d(x, weight, stride=self.stride, padding=self.padding, groups=self.groups)

    def transpose(self, z: Tensor, weight: Tensor, like: Tensor) -> Tensor:
        """Return the transposed convolution of z."""
        found: Tensor = _Transpose.apply(z, weight, like, self)
        return found

    def weight_gradient(self, x: Tensor, dz: Tensor, weight: Tensor) -> Tensor:
        """Return the correlation of input and error, summed over examples."""
        found: Tensor = _WeightGradient.apply(x, dz, weight, self)
        return found

    def overlap(self, weight: Tensor) -> int:
        """Return the number of kernel places that meet in one pixel; strides thin them out."""
        rows, columns = (-(-edge // self.stride) for edge in weight.shape[-2:])
        return rows * columns

    def of_stack(self, organisms: int) -> Conv:
        """Return the convolution that is those of so many organisms."""
        return replace(self, groups=self.groups * organisms)

    def _laid_out(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Return tensors channels last where several convolutions are side by side."""
        if self.groups == 1:
            return tensors
        # Not by a memory format, of which some versions of torch know nothing under vmap.
        return tuple(t.movedim(-3, -1).contiguous().movedim(-1, -3) for t in tensors)

    def gradients(self, x: Tensor, weight: Tensor, dz: Tensor, *, of_input: bool) -> Tensor:
        """Return the gradient of the input, or else of the weight."""
        x, weight, dz = self._laid_out(x, weight, dz)
        found: Tensor = torch.ops.aten.convolution_backward(
            dz,
            x,
            weight,
            None,
            [self.stride] * 2,
            [self.padding] * 2,
            [1, 1],
            False,
            [0, 0],
            self.groups,
            [of_input, not of_input, False],
        )[0 if of_input else 1]
        return found


def _shaped(like: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a tensor of which only shape and layout matter, in the precision of another."""
    return like if like.dtype == dtype else torch.empty_like(like, dtype=dtype)


class _Transpose(torch.autograd.Function):
    """W^T z of a convolution."""

    @staticmethod
    def forward(z: Tensor, weight: Tensor, like: Tensor, op: Conv) -> Tensor:
        return op.gradients(_shaped(like, z.dtype), weight.to(z.dtype), z, of_input=True)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        z, weight, _, ctx.op = inputs
        ctx.save_for_backward(z, weight)

    @staticmethod
    def backward(ctx: Any, dx: Tensor) -> tuple[Tensor, Tensor, None, None]:
        z, weight = ctx.saved_tensors
        dz = ctx.op.forward(dx, weight.to(dx.dtype))
        return dz, ctx.op.weight_gradient(dx, z, weight), None, None

    @staticmethod
    def vmap(
        info: Any, in_dims: Sequence[int | None], z: Tensor, weight: Tensor, like: Tensor, op: Conv
    ) -> tuple[Tensor, int]:
        n = info.batch_size
        z, like = (_side_by_side(t, d, n) for t, d in ((z, in_dims[0]), (like, in_dims[2])))
        weight = _one_kernel(weight, in_dims[1], n)
        return op.of_stack(n).transpose(z, weight, like).unflatten(1, (n, -1)), 1


class _WeightGradient(torch.autograd.Function):
    """The gradient of a convolution's weight."""

    @staticmethod
    def forward(x: Tensor, dz: Tensor, weight: Tensor, op: Conv) -> Tensor:
        found = op.gradients(x, _shaped(weight, x.dtype), dz, of_input=False)
        return found.to(weight.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, dz, _, ctx.op = inputs
        ctx.save_for_backward(x, dz)

    @staticmethod
    def backward(ctx: Any, dw: Tensor) -> tuple[Tensor, Tensor, None, None]:
        x, dz = ctx.saved_tensors
        return ctx.op.transpose(dz, dw, x), ctx.op.forward(x, dw.to(x.dtype)), None, None

    @staticmethod
    def vmap(
        info: Any, in_dims: Sequence[int | None], x: Tensor, dz: Tensor, weight: Tensor, op: Conv
    ) -> tuple[Tensor, int]:
        n = info.batch_size
        x, dz = (_side_by_side(t, d, n) for t, d in ((x, in_dims[0]), (dz, in_dims[1])))
        weight = _one_kernel(weight, in_dims[2], n)
        return op.of_stack(n).weight_gradient(x, dz, weight).unflatten(0, (n, -1)), 0


def _side_by_side(images: Tensor, dim: int | None, organisms: int) -> Tensor:
    """Return a stack's images as those of one, (example, organism * channel, row, column).

    No copy where they are laid out so already, as the convolution before them left them.
    """
    return _first(images, dim, organisms).transpose(0, 1).flatten(1, 2)


def _one_kernel(weight: Tensor, dim: int | None, organisms: int) -> Tensor:
    """Return a stack's kernels as those of one, (organism * out, in, row, column)."""
    return _first(weight, dim, organisms).flatten(0, 1)


def _first(tensor: Tensor, dim: int | None, organisms: int) -> Tensor:
    """Return a tensor with the organisms along its first axis; one that all share is repeated."""
    return tensor.expand(organisms, *tensor.shape) if dim is None else tensor.movedim(dim, 0)


@dataclass(frozen=True)
class _LinearOfStack:
    """Fully connected layers of a stack; x is (organism, example, in), W (organism, out, in)."""

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        """Return z = W x."""
        return torch.bmm(x, weight.mT)

    def transpose(self, z: Tensor, weight: Tensor, like: Tensor) -> Tensor:
        """Return W^T z."""
        return torch.bmm(z, weight.to(z.dtype))

    def weight_gradient(self, x: Tensor, dz: Tensor, weight: Tensor) -> Tensor:
        """Return the sum over examples of dz x^T."""
        return torch.bmm(dz.mT, x).to(weight.dtype)

    def overlap(self, weight: Tensor) -> int:
        """Return 1: each output is seen once."""
        return 1


class _CarriedBack(torch.autograd.Function):
    """z = W x forwards; errors go back through other weights than W."""

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

    @staticmethod
    def vmap(
        info: Any,
        in_dims: Sequence[int | None],
        x: Tensor,
        weight: Tensor,
        through: Tensor,
        op: Operation,
    ) -> tuple[Tensor, int]:
        n = info.batch_size
        if isinstance(op, Linear):
            each = zip((x, weight, through), in_dims, strict=False)
            z: Tensor = _CarriedBack.apply(*(_first(t, d, n) for t, d in each), _LinearOfStack())
            return z, 0
        if not isinstance(op, Conv):
            raise NotImplementedError(f"a stack of {type(op).__name__} is not known")
        kernels = (_one_kernel(t, d, n) for t, d in ((weight, in_dims[1]), (through, in_dims[2])))
        z = _CarriedBack.apply(_side_by_side(x, in_dims[0], n), *kernels, op.of_stack(n))
        return z.unflatten(1, (n, -1)), 1


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
