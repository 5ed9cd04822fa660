"""Credit assignment: how an error reaches a weight deep in a network."""

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
    """z = W x forwards; errors go back through B in place of W^T."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, weight: Tensor, backward_weight: Tensor, op: Operation) -> Tensor:
        return op.forward(x, weight)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, weight, backward_weight, op = inputs
        ctx.save_for_backward(x, weight, backward_weight)
        ctx.op = op

    @staticmethod
    def backward(ctx: Any, dz: Tensor) -> tuple[Tensor, Tensor, None, None]:
        x, weight, backward_weight = ctx.saved_tensors
        return (
            ctx.op.transpose(dz, backward_weight, x),
            ctx.op.weight_gradient(x, dz, weight),
            None,
            None,
        )


@dataclass(frozen=True, kw_only=True)
class Backpropagation:
    """Errors go back through the transpose of the forward weights.

    Source: Rumelhart, Hinton & Williams, Nature 1986.
    """

    @property
    def backward_weights(self) -> bool:
        """Whether layers have backward weights of their own."""
        return False

    def apply(self, op: Operation, x: Tensor, weight: Tensor, backward: Tensor | None) -> Tensor:
        """Return z = W x with this rule's way back."""
        return op.forward(x, weight)

    def backward_gradient(
        self, op: Operation, x: Tensor, z: Tensor, weight: Tensor, backward: Tensor
    ) -> Tensor | None:
        """Return the step direction of the backward weights, or None if they stay."""
        return None


@dataclass(frozen=True, kw_only=True)
class FixedFeedback(Backpropagation):
    """Errors go back through random backward weights that never change.

    Source: Lillicrap et al., Nature Communications 2016.
    """

    @property
    def backward_weights(self) -> bool:
        """Layers have backward weights of their own."""
        return True

    def apply(self, op: Operation, x: Tensor, weight: Tensor, backward: Tensor | None) -> Tensor:
        """Return z = W x; the error that reaches x is B dz."""
        if backward is None:
            raise ValueError("a layer with feedback weights was given none")
        z = _CarriedBack.apply(x, weight, backward, op)
        assert isinstance(z, Tensor)
        return z


@dataclass(frozen=True, kw_only=True)
class InformationAlignment(FixedFeedback):
    """Backward weights learn, from activity alone, to carry back what the layer took in.

    B descends the local loss ``amp`` * -E[x^T B z] + ``null`` * E|B z|^2 + ``decay`` *
    (|W|^2 + |B|^2), z = W x, with x, z and W held constant. The step is scaled by the curvature
    of the null term, 2 null E|z|^2 (times the outputs that see one pixel of a convolution), as in
    normalised least mean squares: with the published coefficients and a plain step, B diverges
    within an epoch where no normalisation bounds z.

    Source: Kunin et al., ICML 2020 (loss and coefficients); the step's scale is ours.

    Parameters
    ----------
    amp, null, decay : float
        Coefficients of the alignment loss.
    rate : float
        Step size relative to the largest that is stable.
    """

    amp: float = 2e-3
    null: float = 1e-3
    decay: float = 1e-3
    rate: float = 0.5

    def backward_gradient(
        self, op: Operation, x: Tensor, z: Tensor, weight: Tensor, backward: Tensor
    ) -> Tensor:
        """Return the scaled gradient of the alignment loss; B moves against it."""
        examples = x.shape[0]
        carried = op.transpose(z, backward, x)
        # d/dB of the mean over examples; `weight_gradient` sums over them.
        error = (-self.amp * x + 2 * self.null * carried) / examples
        gradient = op.weight_gradient(error, z, weight) + 2 * self.decay * backward
        energy = (z * z).sum() / examples
        curvature = 2 * self.null * energy * op.overlap(weight) + 2 * self.decay
        return self.rate * gradient / curvature
