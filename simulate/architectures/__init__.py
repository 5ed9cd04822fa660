"""Architectures. One file registers one family of networks, sized by their input."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from lrplan.registry import Registry
from lrplan.simulate.network import Layer, Network, Pass


@dataclass(frozen=True)
class Head:
    """What a task wants at the end of a network.

    Parameters
    ----------
    kind : {"readout", "contrastive"}
        One linear layer, or a projection of two layers with ReLU between.
    width : int
        Classes, or dimensions of the projection.
    """

    kind: str
    width: int

    def layers(self, features: int) -> tuple[Layer, ...]:
        """Return the layers for an input of `features` values."""
        if self.kind == "contrastive":
            return (
                Layer("head1", (self.width, features), readout=True),
                Layer("head2", (self.width, self.width), readout=True),
            )
        return (Layer("readout", (self.width, features), readout=True),)

    def forward(self, run: Pass, x: Tensor) -> Tensor:
        """Apply the head to (example, features)."""
        run.output("features", x)
        if self.kind == "contrastive":
            x = run.output("head1", run.linear("head1", x).relu())
            return run.output("head2", run.linear("head2", x))
        return run.output("readout", run.linear("readout", x))


@dataclass(frozen=True)
class Architecture:
    """A family of networks.

    Parameters
    ----------
    name : str
        As registered.
    build : callable
        ``build(shape, head, **settings)`` returns the `Network` for inputs of `shape` (channel,
        row, column).
    size : int or None
        Edge in pixels to which small images are resized; None takes them as they are.
    settings : dict
        What can be set, with the defaults.
    summary, cites : str
        One line of what it is, and its source.
    """

    name: str
    build: Callable[..., Network]
    size: int | None
    settings: dict[str, Any]
    summary: str
    cites: str


architectures: Registry[Architecture] = Registry(
    "architecture", package="lrplan.simulate.architectures", group="lrplan.architectures"
)
