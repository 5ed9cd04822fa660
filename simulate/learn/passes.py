"""Passes of a whole stack through its network, in training and when it is looked at.

What architectures do to examples one by one (activation, pooling, reshaping) needs no knowledge
of a stack: its organisms follow each other along the axis of examples. Only what has weights, or
mixes examples, has to know. On a GPU stacks of convolutional networks go through
`torch.func.vmap` instead, which makes of them convolutions with a group per organism.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lrplan.simulate.credits import Conv, Linear, Operation
from lrplan.simulate.network import BATCH_NORM_EPSILON, Pass


def over_stack(function: Callable[..., Any], organisms: int) -> Callable[..., Any]:
    """Apply a function of one organism to stacked arguments, and to `shared` ones of all.

    One organism alone is not vmapped.
    """

    def apply(*args: Any, shared: tuple[Any, ...] = ()) -> Any:
        if organisms == 1:
            # Not t[0], whose derivative would be copied into zeros.
            first = torch.utils._pytree.tree_map(lambda t: t.squeeze(0), args)
            return torch.utils._pytree.tree_map(lambda t: t[None], function(*first, *shared))
        in_dims = (0,) * len(args) + (None,) * len(shared)
        return torch.func.vmap(function, in_dims=in_dims)(*args, *shared)

    return apply


def with_channels_last(t: Tensor) -> Tensor:
    """Lay out (..., channel, row, column) with channels last.

    A single channel needs no copy, but strides that say so: a convolution goes by them, and what
    follows it by what it puts out.
    """
    if t.shape[-3] == 1:
        return t.squeeze(-3).contiguous().unsqueeze(-1).movedim(-1, -3)
    return t.movedim(-3, -1).contiguous().movedim(-1, -3)


def goes_as_one(params: Mapping[str, Tensor]) -> bool:
    """Say whether a stack with these parameters (organism, ...) is one pass, without vmap.

    Measured on a CPU core: for stacks of 16 networks with 64 units, vmap takes as long as the
    arithmetic; convolutions with a group per organism take far longer than one after the other.
    """
    some = next(iter(params.values()))
    convolutions = any(p.ndim == 5 for p in params.values())
    return len(some) > 1 and (some.device.type == "cpu" or not convolutions)


@dataclass(frozen=True)
class _Stacked:
    """A layer's operation for a stack: examples (organism * example, ...), weights stacked."""

    of_one: Operation
    organisms: int

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        """Return z = W x."""
        if isinstance(self.of_one, Linear):
            return torch.bmm(self._apart(x), weight.mT).flatten(0, 1)
        pairs = zip(x.chunk(self.organisms), weight.unbind(), strict=True)
        return torch.cat([self.of_one.forward(x, w) for x, w in pairs])

    def transpose(self, z: Tensor, weight: Tensor, like: Tensor) -> Tensor:
        """Return W^T z, in the shape of `like`."""
        if isinstance(self.of_one, Linear):
            return torch.bmm(self._apart(z), weight.to(z.dtype)).flatten(0, 1)
        each = zip(
            z.chunk(self.organisms), weight.unbind(), like.chunk(self.organisms), strict=True
        )
        return torch.cat([self.of_one.transpose(z, w, x) for z, w, x in each])

    def weight_gradient(self, x: Tensor, dz: Tensor, weight: Tensor) -> Tensor:
        """Return the gradient of the weight for input `x` and output error `dz`."""
        if isinstance(self.of_one, Linear):
            return torch.bmm(self._apart(dz).mT, self._apart(x)).to(weight.dtype)
        each = zip(x.chunk(self.organisms), dz.chunk(self.organisms), weight.unbind(), strict=True)
        return torch.stack([self.of_one.weight_gradient(x, dz, w) for x, dz, w in each])

    def overlap(self, weight: Tensor) -> int:
        """Return how many output places see one input at most."""
        return self.of_one.overlap(weight[0])

    def _apart(self, x: Tensor) -> Tensor:
        return x.unflatten(0, (self.organisms, -1))


@dataclass
class StackPass(Pass):
    """A pass in which nothing is learned, of one organism or of a stack.

    Parameters
    ----------
    organisms : int
        With more than 1, parameters, backward weights and statistics have a first axis for them,
        and examples, probes and outputs are those of the first organism, then of the second, and
        so on.
    """

    organisms: int = 1

    def linear(self, name: str, x: Tensor) -> Tensor:
        """Apply a fully connected layer to (example, in)."""
        if self.organisms == 1:
            return super().linear(name, x)
        return self._biased(name, self._apply(name, Linear(), x))

    def conv(self, name: str, x: Tensor, **settings: int) -> Tensor:
        """Apply a convolution to (example, in, row, column)."""
        if self.organisms == 1 or f"{name}.bias" not in self.params:
            return super().conv(name, x, **settings)
        without = {k: v for k, v in self.params.items() if k != f"{name}.bias"}
        with_bias, self.params = self.params, without
        z = super().conv(name, x, **settings)
        self.params = with_bias
        return self._biased(name, z)

    def _biased(self, name: str, z: Tensor) -> Tensor:
        """Add a bias (organism, channel)."""
        bias = self.params.get(f"{name}.bias")
        if bias is None:
            return z
        return (self.apart(z) + self._channelwise(bias, z)).flatten(0, 1)

    def _with_way_back(
        self, op: Operation, x: Tensor, weight: Tensor, backward: Tensor | None
    ) -> Tensor:
        if self.organisms == 1:
            return self.credit.apply(op, x, weight, backward)
        if self.credit.way_back != "own":
            # W and B as they stand need no knowledge of a stack but the operation's.
            return self.credit.apply(_Stacked(op, self.organisms), x, weight, backward)

        def one(x: Tensor, weight: Tensor, backward: tuple[Tensor, ...]) -> Tensor:
            return self.credit.apply(op, x, weight, *(backward or (None,)))

        own = () if backward is None else (backward,)
        z: Tensor = torch.func.vmap(one)(self.apart(x), weight, own)
        return z.flatten(0, 1)

    def apart(self, x: Tensor) -> Tensor:
        """Return (organism, example, ...), or the one organism's (example, ...) as it is."""
        return x if self.organisms == 1 else x.unflatten(0, (self.organisms, -1))

    def _channelwise(self, values: Tensor, x: Tensor) -> Tensor:
        """Shape (organism, channel) values to multiply (organism, example, channel, ...)."""
        return values.reshape(self.organisms, 1, -1, *[1] * (x.ndim - 2))

    def batch_norm(self, name: str, x: Tensor) -> Tensor:
        """Normalise with given statistics, or with those of the batch, which are kept then."""
        apart = x[None] if self.organisms == 1 else self.apart(x)
        visit = self._visit_of_norm(name)
        if self.statistics is None:
            mean, var = _moments(apart)
            if self.organisms == 1:
                self.batch_statistics[visit] = (mean[0], var[0])
            else:
                self.batch_statistics[visit] = (mean, var)
        else:
            mean, var = self.statistics[visit]
        scale = self.params[f"{name}.scale"] * torch.rsqrt(var + BATCH_NORM_EPSILON)
        shift = self.params[f"{name}.shift"] - mean * scale
        scale, shift = (self._channelwise(t, x) for t in (scale, shift))
        return torch.addcmul(shift, apart, scale).flatten(0, 1)

    def _scaled(self, name: str, x: Tensor) -> Tensor:
        """Scale and shift each channel by the values of the organism."""
        if self.organisms == 1:
            return super()._scaled(name, x)
        scale, shift = (
            self._channelwise(self.params[f"{name}.{part}"], x) for part in ("scale", "shift")
        )
        return torch.addcmul(shift, self.apart(x), scale).flatten(0, 1)


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and variance (organism, channel) of (organism, example, channel, ...).

    torch's own var takes several times as long on a CPU.
    """
    rows = x.movedim(2, -1).flatten(1, -2)
    mean = rows.mean(1)
    centred = rows - mean[:, None]
    return mean, (centred * centred).mean(1)


class _BatchNormOfStack(torch.autograd.Function):
    """Batch normalisation of (organism, example, channel), with the derivative written out."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        centred = x - x.mean(1, keepdim=True)
        inverse = torch.rsqrt((centred * centred).mean(1, keepdim=True) + BATCH_NORM_EPSILON)
        factor = scale[:, None] * inverse
        ctx.save_for_backward(centred, factor, inverse)
        return torch.addcmul(shift[:, None], centred, factor)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        centred, factor, inverse = ctx.saved_tensors
        dshift = dy.sum(1, keepdim=True)
        dscale = (dy * centred).sum(1, keepdim=True).mul_(inverse)
        # factor * (dy - mean of dy - centred * inverse * mean of dy * centred * inverse)
        over_examples = factor / -dy.shape[1]
        dx = torch.addcmul(over_examples * dshift, centred, over_examples * inverse * dscale)
        return dx.addcmul_(dy, factor), dscale.squeeze(1), dshift.squeeze(1)


class _CarriedBack(torch.autograd.Function):
    """z = W x forwards, W^T or B^T dz backwards: `carry_back` where no vmap is about.

    torch binds the arguments of a function that vmap may take anew at each call, which takes longer
    than a small layer.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, through: Tensor, op: Operation) -> Tensor:
        ctx.save_for_backward(x, weight, through)
        ctx.op = op
        return op.forward(x, weight)

    @staticmethod
    def backward(ctx: Any, dz: Tensor) -> tuple[Tensor | None, Tensor, None, None]:
        x, weight, through = ctx.saved_tensors
        op, dx = ctx.op, None
        if isinstance(op, Conv):
            back = partial(
                torch.ops.aten.convolution_backward,
                bias_sizes=None,
                stride=[op.stride] * 2,
                padding=[op.padding] * 2,
                dilation=[1, 1],
                transposed=False,
                output_padding=[0, 0],
                groups=1,
            )
            if ctx.needs_input_grad[0]:
                dx = back(dz, x, through, output_mask=[True, False, False])[0]
            return dx, back(dz, x, weight, output_mask=[False, True, False])[1], None, None
        if ctx.needs_input_grad[0]:
            dx = op.transpose(dz, through, x)
        return dx, op.weight_gradient(x, dz, weight), None, None


class _BatchNormUnderVmap(torch.autograd.Function):
    """Batch normalisation of a stack as that of one network with as many times the channels.

    torch's own rule for vmap takes it apart into operations that take five times as long.
    """

    @staticmethod
    def forward(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        return _batch_norm(x, scale, shift)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> None:
        raise NotImplementedError("under vmap torch differentiates batch_norm itself")

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int, int, int], x: Tensor, scale: Tensor, shift: Tensor
    ) -> tuple[Tensor, int]:
        x = x.movedim(in_dims[0], 1)  # (example, organism, channel, ...)
        scale, shift = (
            t.movedim(d, 0).flatten() for t, d in ((scale, in_dims[1]), (shift, in_dims[2]))
        )
        return _batch_norm(x.flatten(1, 2), scale, shift).unflatten(1, x.shape[1:3]), 1


def _batch_norm(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return F.batch_norm(x, None, None, scale, shift, training=True, eps=BATCH_NORM_EPSILON)


@dataclass
class TrainingPass(StackPass):
    """A pass in training: batch normalisation by the batch, and layers in half precision.

    Parameters
    ----------
    half : torch.dtype, optional
        In which weighted layers compute, such as bfloat16. Weights, statistics of batch
        normalisation and the loss stay in their own precision.
    under_vmap : bool
        Whether it is one of a stack under vmap.
    """

    half: torch.dtype | None = None
    under_vmap: bool = False

    def __post_init__(self) -> None:
        """Cast what weighted layers need once for all; batch normalisation has other names."""
        if self.half is not None:
            self.params = {
                k: p.to(self.half) if k.endswith((".weight", ".bias")) else p
                for k, p in self.params.items()
            }
            self.backward = {k: b.to(self.half) for k, b in self.backward.items()}

    def _apply(self, name: str, op: Operation, x: Tensor) -> Tensor:
        return super()._apply(name, op, x if self.half is None else x.to(self.half))

    def _with_way_back(
        self, op: Operation, x: Tensor, weight: Tensor, backward: Tensor | None
    ) -> Tensor:
        way, alone = self.credit.way_back, self.organisms == 1
        # torch's own derivatives are as quick for one organism, but not for products of a stack.
        through = None if alone or (way != "forward weights" and x.requires_grad) else weight
        if way == "backward weights" and backward is not None:
            through = backward
        if self.under_vmap or way == "own" or through is None:
            return super()._with_way_back(op, x, weight, backward)
        stacked = op if alone else _Stacked(op, self.organisms)
        z: Tensor = _CarriedBack.apply(x, weight, through, stacked)
        return z

    def batch_norm(self, name: str, x: Tensor) -> Tensor:
        """Normalise by the batch."""
        scale, shift = self.params[f"{name}.scale"], self.params[f"{name}.shift"]
        if self.under_vmap:
            y: Tensor = _BatchNormUnderVmap.apply(x, scale, shift)
            return y
        if self.organisms == 1:
            return _batch_norm(x, scale, shift)
        if x.ndim == 2:
            y = _BatchNormOfStack.apply(self.apart(x).to(scale.dtype), scale, shift)
            return y.flatten(0, 1).to(x.dtype)
        each = zip(x.chunk(self.organisms), scale.unbind(), shift.unbind(), strict=True)
        return torch.cat([_batch_norm(*one) for one in each])

    def layer_norm(self, name: str, x: Tensor) -> Tensor:
        """Normalise each example; not in half precision."""
        if self.half is None:
            return super().layer_norm(name, x)
        return super().layer_norm(name, x.float()).to(x.dtype)

    def local_response_norm(self, x: Tensor, **settings: Any) -> Tensor:
        """Divide by the activity of neighbouring channels; the power is not for half precision."""
        if self.half is None:
            return super().local_response_norm(x, **settings)
        return super().local_response_norm(x.float(), **settings).to(x.dtype)
