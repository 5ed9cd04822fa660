"""A multilayer perceptron."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from lrplan.errors import UsageError
from lrplan.simulate.architectures import (
    Architecture,
    Head,
    architectures,
    at_least_one,
    true_or_false,
)
from lrplan.simulate.architectures._units import INITIAL, Units, unit_settings
from lrplan.simulate.network import Pass


class MLP:
    """Fully connected layers of equal width, each with normalisation and a nonlinearity.

    Parameters
    ----------
    shape : tuple of int
        (channel, row, column) of an image.
    head : Head
        What the task wants.
    width, depth : int
        Units of each hidden layer, and how many layers.
    skip : bool
        Whether each layer but the first adds to its drive, before the nonlinearity, the activity
        that it takes in (He et al., CVPR 2016).
    units
        Settings of `Units`.

    Raises
    ------
    UsageError
        If a setting cannot be.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        head: Head,
        *,
        width: int,
        depth: int,
        skip: bool = False,
        **units: Any,
    ) -> None:
        for name, value in (("width", width), ("depth", depth)):
            at_least_one(value, f"mlp.{name}")
        self.skip = true_or_false(skip, "mlp.skip")
        self.units = Units(**units)
        if skip and depth == 1:
            raise UsageError("mlp.skip is true; it needs a depth of at least 2")
        if width == 1 and self.units.normalisation == "layer":
            raise UsageError(
                "mlp.width is 1; a layer's normalisation over one unit leaves nothing of it; use "
                "at least 2, or another normalisation"
            )
        self.head = head
        fan_in = shape[0] * shape[1] * shape[2]
        hidden = []
        for i in range(depth):
            branches = depth - 1 if self.skip and i else 1
            hidden.append(self.units.layer(f"fc{i + 1}", (width, fan_in), branches=branches))
            fan_in = width
        self.hidden = tuple(hidden)
        self.layers = (*self.hidden, *head.layers(fan_in))

    def forward(self, run: Pass, x: Tensor) -> Tensor:
        """Return class scores or projections."""
        x = x.flatten(1)
        for i, layer in enumerate(self.hidden):
            skip = x if self.skip and i else None
            x = self.units.respond(run, layer.name, run.linear(layer.name, x), skip)
            x = run.output(layer.name, x)
        return self.head.forward(run, x)


architectures.add(
    "mlp",
    Architecture(
        name="mlp",
        family="mlp",
        build=MLP,
        size=None,
        settings={"width": 512, "depth": 3, "skip": False, **unit_settings()},
        summary="fully connected layers, batch normalisation by default",
        cites="Ioffe & Szegedy, ICML 2015 (batch normalisation)",
        initial=INITIAL,
    ),
)
