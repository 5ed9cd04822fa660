"""A multilayer perceptron with batch normalisation."""

from __future__ import annotations

from torch import Tensor

from lrplan.simulate.architectures import Architecture, Head, architectures, at_least_one
from lrplan.simulate.network import Layer, Pass


class MLP:
    """Fully connected layers of equal width, each with batch normalisation and ReLU."""

    def __init__(self, shape: tuple[int, int, int], head: Head, *, width: int, depth: int) -> None:
        for name, value in (("width", width), ("depth", depth)):
            at_least_one(value, f"mlp.{name}")
        self.head = head
        fan_in = shape[0] * shape[1] * shape[2]
        hidden = []
        for i in range(depth):
            hidden.append(Layer(f"fc{i + 1}", (width, fan_in), bias=False, norm=True))
            fan_in = width
        self.hidden = tuple(hidden)
        self.layers = (*self.hidden, *head.layers(fan_in))

    def forward(self, run: Pass, x: Tensor) -> Tensor:
        """Return class scores or projections."""
        x = x.flatten(1)
        for layer in self.hidden:
            x = run.batch_norm(layer.name, run.linear(layer.name, x)).relu()
            x = run.output(layer.name, x)
        return self.head.forward(run, x)


architectures.add(
    "mlp",
    Architecture(
        name="mlp",
        build=MLP,
        size=None,
        settings={"width": 512, "depth": 3},
        summary="fully connected layers with batch normalisation",
        cites="Ioffe & Szegedy, ICML 2015 (batch normalisation)",
    ),
)
