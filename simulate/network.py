"""A network as a function of its parameters, and what one pass through it leaves behind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lrplan.simulate.credits import Backpropagation, Conv, Linear, Operation

BATCH_NORM_EPSILON = 1e-5


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
        Whether batch normalisation follows, over `shape[0]` channels; in a pre-activation network
        it follows the sum with the skip path.
    readout : bool
        Whether it is the readout or part of a contrastive head.
    gain : float, optional
        Variance of the initial weights times the inputs of a unit; by default 1 for a readout
        and 2 for layers with ReLU (He et al. 2015). Backward weights have it, too.
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

    Architectures call its methods in order, as they would call torch's. What it needs to know
    of training (the credit assignment, the mode of batch normalisation, what to hold on to)
    is set before.

    Parameters
    ----------
    params, backward : mapping of str to Tensor
        Forward parameters, and backward weights of layers that have their own.
    credit : Backpropagation
        The way errors go back.
    statistics : mapping, optional
        Mean and variance for batch normalisation; by default those of the batch.
    probes : mapping, optional
        For each layer, what is added to its input, which is cut from the layers before, as skip
        paths are. So the derivative of a layer's output by its own probe is that of the layer
        alone, and by any other probe it is zero.
    """

    params: Mapping[str, Tensor]
    backward: Mapping[str, Tensor] = field(default_factory=dict)
    credit: Backpropagation = field(default_factory=Backpropagation)
    statistics: Mapping[str, tuple[Tensor, Tensor]] | None = None
    probes: Mapping[str, Tensor] | None = None
    inputs: dict[str, Tensor] = field(default_factory=dict)
    drives: dict[str, Tensor] = field(default_factory=dict)
    outputs: dict[str, Tensor] = field(default_factory=dict)
    batch_statistics: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
    operations: dict[str, Operation] = field(default_factory=dict)

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
        # The first layer sends no error further back, so it has no backward weights.
        backward = self.backward.get(name)
        if backward is None:
            z = op.forward(x, weight)
        else:
            z = self.credit.apply(op, x, weight, backward)
        self.inputs[name], self.drives[name], self.operations[name] = x, z, op
        return z

    def batch_norm(self, name: str, x: Tensor) -> Tensor:
        """Normalise over examples and places, then scale and shift."""
        axes = (0, *range(2, x.ndim))
        if self.statistics is None:
            mean, var = x.mean(axes), x.var(axes, correction=0)
            self.batch_statistics[name] = (mean.detach(), var.detach())
        else:
            mean, var = self.statistics[name]
        shape = (-1, *[1] * (x.ndim - 2))
        scale = self.params[f"{name}.scale"] / torch.sqrt(var + BATCH_NORM_EPSILON)
        shift = self.params[f"{name}.shift"] - mean * scale
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


def _he_normal(layer: Layer, rng: np.random.Generator) -> np.ndarray:
    fan_in = int(np.prod(layer.shape[1:]))
    gain = layer.gain
    if gain is None:
        gain = 1.0 if layer.readout else 2.0
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
