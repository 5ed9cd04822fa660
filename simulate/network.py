"""A network as a function of its parameters, and what one pass through it leaves behind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lrplan.simulate.credits import Conv, Credit, Linear, Operation, Visit
from lrplan.simulate.credits.backpropagation import Backpropagation

BATCH_NORM_EPSILON = 1e-5
RELU_GAIN = 2.0
"""Variance of the weights times the inputs of a unit with ReLU (He et al. 2015)."""


@dataclass(frozen=True)
class Layer:
    """A weighted layer.

    Parameters
    ----------
    name : str
        As the architecture calls it.
    shape : tuple of int
        (out, in) or (out, in, row, column).
    bias : bool
        Whether it has one; layers before batch normalisation need none.
    norm : bool
        Whether batch or layer normalisation follows, with a scale and shift for each of `shape[0]`
        channels; in a pre-activation network it follows the sum with the skip path.
    readout : bool
        Whether it is the readout or part of a contrastive head.
    gain : float, optional
        Variance of the initial weights times the inputs of a unit; by default 1 for a readout
        and `RELU_GAIN` for other layers. Backward weights have it, too.
    """

    name: str
    shape: tuple[int, ...]
    bias: bool = True
    norm: bool = False
    readout: bool = False
    gain: float | None = None


@dataclass
class Pass:
    """One pass of examples through the network of one organism.

    Architectures call its methods in order, as they would call torch's, and a layer's as often as
    the network has time steps. What it needs to know of training (the credit assignment, the mode
    of batch normalisation, what to hold on to) is set before.

    Parameters
    ----------
    params, backward : mapping of str to Tensor
        Forward parameters, and backward weights of layers that have their own.
    credit : Credit
        The way errors go back.
    statistics : mapping, optional
        Mean and variance for batch normalisation; by default those of the batch. Each visit has
        its own (the second to a layer ``fc1`` under the name ``fc1 2``): activity in a recurrent
        network differs between time steps (Cooijmans et al., ICLR 2017).
    probes : mapping, optional
        For each layer, what is added to its input, which is cut from the layers before, as skip
        paths are. So the derivative of a layer's output by its own probe is that of the layer
        alone, and by any other probe it is zero.
    taps : mapping, optional
        For each layer, what is added to its drive at each visit: zeros, by which the derivative
        of a loss is the error that reaches the drive.

    Attributes
    ----------
    visits : dict of str to list of Visit
        What each layer saw, in the order of time.
    outputs : dict of str to Tensor
        What each layer put out last, and the features that go into the head.
    batch_statistics : dict of str to (Tensor, Tensor)
        Mean and variance of this batch, where no statistics are given.
    operations : dict of str to Operation
        What each layer does.
    """

    params: Mapping[str, Tensor]
    backward: Mapping[str, Tensor] = field(default_factory=dict)
    credit: Credit = field(default_factory=Backpropagation)
    statistics: Mapping[str, tuple[Tensor, Tensor]] | None = None
    probes: Mapping[str, Tensor] | None = None
    taps: Mapping[str, Sequence[Tensor]] | None = None
    visits: dict[str, list[Visit]] = field(default_factory=dict)
    outputs: dict[str, Tensor] = field(default_factory=dict)
    batch_statistics: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
    operations: dict[str, Operation] = field(default_factory=dict)
    _normalised: Counter[str] = field(default_factory=Counter)

    def linear(self, name: str, x: Tensor) -> Tensor:
        """Apply a fully connected layer to (example, in)."""
        z = self._apply(name, Linear(), x)
        bias = self.params.get(f"{name}.bias")
        return z if bias is None else z + bias

    def conv(self, name: str, x: Tensor, *, stride: int = 1, padding: int = 0) -> Tensor:
        """Apply a convolution to (example, in, row, column)."""
        z = self._apply(name, Conv(stride, padding), x)
        bias = self.params.get(f"{name}.bias")
        return z if bias is None else z + bias[:, None, None]

    def _apply(self, name: str, op: Operation, x: Tensor) -> Tensor:
        if self.probes is not None and name in self.probes:
            x = x.detach() + self.probes[name]
        weight = self.params[f"{name}.weight"]
        z = self._with_way_back(op, x, weight, self.backward.get(name))
        visits = self.visits.setdefault(name, [])
        visits.append(Visit(x, z))
        self.operations[name] = op
        if self.taps is not None and name in self.taps:
            z = z + self.taps[name][len(visits) - 1].to(z.dtype)
        return z

    def _with_way_back(
        self, op: Operation, x: Tensor, weight: Tensor, backward: Tensor | None
    ) -> Tensor:
        return self.credit.apply(op, x, weight, backward)

    def _visit_of_norm(self, name: str) -> str:
        """Return the name under which statistics of this visit to a normalisation stand."""
        self._normalised[name] += 1
        visit = self._normalised[name]
        return name if visit == 1 else f"{name} {visit}"

    def batch_norm(self, name: str, x: Tensor) -> Tensor:
        """Normalise over examples and places, then scale and shift."""
        axes = (0, *range(2, x.ndim))
        visit = self._visit_of_norm(name)
        if self.statistics is None:
            mean, var = x.mean(axes), x.var(axes, correction=0)
            self.batch_statistics[visit] = (mean.detach(), var.detach())
        else:
            mean, var = self.statistics[visit]
        shape = (-1, *[1] * (x.ndim - 2))
        scale = self.params[f"{name}.scale"] / torch.sqrt(var + BATCH_NORM_EPSILON)
        shift = self.params[f"{name}.shift"] - mean * scale
        return x * scale.reshape(shape) + shift.reshape(shape)

    def layer_norm(self, name: str, x: Tensor) -> Tensor:
        """Normalise each example over all its channels and places, then scale and shift.

        After Ba et al. 2016, with a scale and a shift for each channel (Wu & He, ECCV 2018, with
        one group). Examples do not mix, so it needs no statistics.
        """
        if self.probes is None:
            return self._scaled(name, F.group_norm(x, 1, eps=BATCH_NORM_EPSILON))
        # Derivatives by probes are taken for many outputs at once. Of channels last on a CPU torch
        # before 2.14 cannot take them so through its own function.
        axes = tuple(range(1, x.ndim))
        centred = x - x.mean(axes, keepdim=True)
        variance = centred.square().mean(axes, keepdim=True)
        return self._scaled(name, centred * torch.rsqrt(variance + BATCH_NORM_EPSILON))

    def _scaled(self, name: str, x: Tensor) -> Tensor:
        """Scale and shift each channel."""
        shape = (-1, *[1] * (x.ndim - 2))
        scale, shift = self.params[f"{name}.scale"], self.params[f"{name}.shift"]
        return x * scale.reshape(shape) + shift.reshape(shape)

    def local_response_norm(
        self, x: Tensor, *, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
    ) -> Tensor:
        """Divide by the activity of neighbouring channels (Krizhevsky et al. 2012).

        As in torch, `alpha` multiplies the mean of the squares over `size` channels, zeros beyond
        the edge counted.
        """
        squares = (x * x).flatten(2).transpose(1, 2)  # example, place, channel
        near = F.avg_pool1d(squares, size, stride=1, padding=size // 2)
        near = near.transpose(1, 2).reshape(x.shape)
        return x / (k + alpha * near) ** beta

    def residual(self, z: Tensor, skip: Tensor) -> Tensor:
        """Add what a skip path brings to what the layers beside it have made of it.

        Skip paths are added here and nowhere else: a layer's output that holds such a sum also
        depends on layers before it, which is not to be taken for the layer's own derivative.
        """
        return z + (skip if self.probes is None else skip.detach())

    def output(self, name: str, y: Tensor) -> Tensor:
        """Hold on to what a layer puts out, after its nonlinearity."""
        self.outputs[name] = y
        if name in self.visits:
            self.visits[name][-1] = replace(self.visits[name][-1], y=y)
        return y


class Network(Protocol):
    """An architecture sized for one task.

    Attributes
    ----------
    layers : tuple of Layer
        In the order in which a signal passes them.
    """

    layers: tuple[Layer, ...]

    def forward(self, run: Pass, x: Tensor) -> Tensor:
        """Return the network's output for (example, channel, row, column) inputs."""
        ...


def init_params(network: Network, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Draw forward parameters: He normal weights, zero biases, unit scales."""
    params: dict[str, np.ndarray] = {}
    for layer in network.layers:
        params[f"{layer.name}.weight"] = _he_normal(layer, rng)
        if layer.bias:
            params[f"{layer.name}.bias"] = np.zeros(layer.shape[0], dtype=np.float32)
        if layer.norm:
            params[f"{layer.name}.scale"] = np.ones(layer.shape[0], dtype=np.float32)
            params[f"{layer.name}.shift"] = np.zeros(layer.shape[0], dtype=np.float32)
    return params


def init_backward(network: Network, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Draw backward weights from the distribution of the forward ones, independently of them."""
    return {layer.name: _he_normal(layer, rng) for layer in network.layers[1:]}


def trial_pass(network: Network, example: Tensor) -> Pass:
    """Return a pass of one example through a network of zeros, for the shapes of its visits."""
    params = {}
    for layer in network.layers:
        params[f"{layer.name}.weight"] = example.new_zeros(layer.shape)
        params[f"{layer.name}.scale"] = example.new_ones(layer.shape[0])
        params[f"{layer.name}.shift"] = example.new_zeros(layer.shape[0])
    run = Pass(params)
    with torch.no_grad():
        network.forward(run, example)
    return run


def _he_normal(layer: Layer, rng: np.random.Generator) -> np.ndarray:
    fan_in = int(np.prod(layer.shape[1:]))
    gain = layer.gain
    if gain is None:
        gain = 1.0 if layer.readout else RELU_GAIN
    sd = np.float32(np.sqrt(gain / fan_in))
    return rng.standard_normal(layer.shape, dtype=np.float32) * sd


def layer_positions(network: Network) -> list[str]:
    """Say of each layer whether it lies early, in the middle or deep.

    With L layers and g = L // 3, layers [0, g) are early, [g, 2g) middle and the rest deep. The
    layers of a contrastive head are deep and do not count in L.
    """
    names = [layer.name for layer in network.layers]
    body = [n for n in names if not n.startswith("head")]
    g = max(1, len(body) // 3)
    place = {n: "early" if i < g else "middle" if i < 2 * g else "deep" for i, n in enumerate(body)}
    return [place.get(n, "deep") for n in names]
