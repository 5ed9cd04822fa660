"""Convolutional networks of any depth, each layer pooled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from lrplan.errors import UsageError
from lrplan.simulate.architectures import (
    Architecture,
    Head,
    architectures,
    each_at_least_one,
    odd_kernel,
    true_or_false,
)
from lrplan.simulate.architectures._units import INITIAL, Units, one_of, unit_settings
from lrplan.simulate.network import Pass

POOLINGS: dict[str, Callable[..., Tensor]] = {"max": F.max_pool2d, "mean": F.avg_pool2d}


class ConvNet:
    """Convolutions, each followed by normalisation, nonlinearity and 2 x 2 pooling.

    A layer's output is what goes into the pooling.

    Parameters
    ----------
    shape : tuple of int
        (channel, row, column) of an image; 2 pixels to the power of the number of layers at least.
    head : Head
        What the task wants.
    channels : list of int
        Of each convolution.
    kernel : int
        Edge of the kernels: 3, 5 or 7.
    pooling : {"max", "mean"}
        Of 2 x 2 places.
    skip : bool
        Whether each convolution but the first adds to its drive, before the nonlinearity, what
        it takes in, with zeros for channels that are new (option A of He et al., CVPR 2016).
    local_norm : bool
        Whether local response normalisation follows the nonlinearity.
    units
        Settings of `Units`.

    Raises
    ------
    UsageError
        If a setting cannot be, or the images are too small.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        head: Head,
        *,
        channels: tuple[int, ...] | list[int],
        kernel: int = 3,
        pooling: str = "max",
        skip: bool = False,
        local_norm: bool = False,
        **units: Any,
    ) -> None:
        fan_in, rows, columns = shape
        channels = each_at_least_one(channels, "channels")
        self.padding = odd_kernel(kernel, "kernel") // 2
        one_of(pooling, POOLINGS, "pooling")
        self.pool = POOLINGS[pooling]
        self.skip = true_or_false(skip, "skip")
        self.units = Units(**units)
        if self.skip and (len(channels) == 1 or list(channels) != sorted(channels)):
            raise UsageError(
                f"skip is true and channels are {list(channels)!r}; a skip path needs at least two "
                "layers, and none with fewer channels than the one before"
            )
        if min(rows, columns) < 2 ** len(channels):
            raise UsageError(
                f"a network with {len(channels)} pooled layers needs images of at least "
                f"{2 ** len(channels)} pixels; the task gives {rows} x {columns}"
            )
        self.head = head
        self.local_norm = local_norm
        convs = []
        for i, width in enumerate(channels):
            branches = len(channels) - 1 if self.skip and i else 1
            size = (width, fan_in, kernel, kernel)
            convs.append(self.units.layer(f"conv{i + 1}", size, branches=branches))
            fan_in, rows, columns = width, rows // 2, columns // 2
        self.convs = tuple(convs)
        self.layers = (*self.convs, *head.layers(fan_in * rows * columns))

    def forward(self, run: Pass, x: Tensor) -> Tensor:
        """Return class scores or projections."""
        for i, layer in enumerate(self.convs):
            skip = _widened(x, layer.shape[0]) if self.skip and i else None
            z = run.conv(layer.name, x, padding=self.padding)
            x = self.units.respond(run, layer.name, z, skip)
            if self.local_norm:
                x = run.local_response_norm(x)
            x = self.pool(run.output(layer.name, x), 2)
        return self.head.forward(run, x.flatten(1))


def _widened(x: Tensor, channels: int) -> Tensor:
    """Return a map with channels of zeros added, up to so many."""
    return F.pad(x, (0, 0, 0, 0, 0, channels - x.shape[1])) if channels > x.shape[1] else x


architectures.add(
    "convnet",
    Architecture(
        name="convnet",
        family="knet",
        build=ConvNet,
        size=16,
        settings={
            "channels": [16, 32, 64],
            "kernel": 3,
            "pooling": "max",
            "skip": False,
            **unit_settings(),
        },
        summary="convolutions, each pooled, and a readout; batch normalisation by default",
        cites="LeCun et al., Proceedings of the IEEE 1998",
        initial=INITIAL,
    ),
)
