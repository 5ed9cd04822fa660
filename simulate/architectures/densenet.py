"""Densely connected networks: a convolution sees all feature maps before it in its block."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lrplan.errors import UsageError
from lrplan.simulate.architectures import (
    Architecture,
    Head,
    architectures,
    at_least_one,
    each_at_least_one,
    odd_kernel,
)
from lrplan.simulate.architectures._units import Units, unit_settings
from lrplan.simulate.network import Layer, Pass


class DenseNet:
    """Blocks of densely connected convolutions, and average pooling over places.

    A convolution of a block takes in what the block takes in and what its earlier convolutions
    put out, side by side, and puts out `growth` channels. Between blocks a 1 x 1 convolution
    halves the channels, and 2 x 2 mean pooling the map (DenseNet-BC without bottlenecks, Huang et
    al., CVPR 2017). Layers are called ``conv1``, ``block<block>_<layer>`` and
    ``transition<block>``. Normalisation and nonlinearity stand behind each convolution, where the
    original has them before: so they are computed once for each map.

    Parameters
    ----------
    shape : tuple of int
        (channel, row, column) of an image.
    head : Head
        What the task wants.
    blocks : sequence of int
        Convolutions of each block.
    growth : int
        Channels that each of them adds; the first convolution of all has twice as many.
    kernel : int
        Edge of the kernels: 3, 5 or 7.
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
        blocks: Sequence[int],
        growth: int,
        kernel: int = 3,
        **units: Any,
    ) -> None:
        blocks = each_at_least_one(blocks, "densenet.blocks")
        at_least_one(growth, "densenet.growth")
        self.padding = odd_kernel(kernel, "densenet.kernel") // 2
        least = 2 ** (len(blocks) - 1)
        if min(shape[1:]) < least:
            raise UsageError(
                f"densenet with {len(blocks)} blocks needs images of at least {least} pixels; the "
                f"task gives {shape[1]} x {shape[2]}; use fewer blocks or larger images"
            )
        self.head = head
        self.units = Units(**units)
        channels = 2 * growth
        self.first = self.units.layer("conv1", (channels, shape[0], kernel, kernel))
        stages = []
        for block, count in enumerate(blocks, start=1):
            transition = None
            if block > 1:
                half = max(1, channels // 2)
                transition = self.units.layer(f"transition{block - 1}", (half, channels, 1, 1))
                channels = half
            made = []
            for i in range(count):
                size = (growth, channels, kernel, kernel)
                made.append(self.units.layer(f"block{block}_{i}", size))
                channels += growth
            stages.append((transition, tuple(made)))
        self.stages = tuple(stages)
        body = [x for before, made in stages for x in ((before,) if before else ()) + made]
        self.layers = (self.first, *body, *head.layers(channels))

    def forward(self, run: Pass, x: Tensor) -> Tensor:
        """Return class scores or projections."""
        x = self._conv(run, self.first, x, self.padding)
        for transition, block in self.stages:
            if transition is not None:
                x = F.avg_pool2d(self._conv(run, transition, x, 0), 2)
            for layer in block:
                x = torch.cat([x, self._conv(run, layer, x, self.padding)], dim=1)
        return self.head.forward(run, x.mean((2, 3)))

    def _conv(self, run: Pass, layer: Layer, x: Tensor, padding: int) -> Tensor:
        z = run.conv(layer.name, x, padding=padding)
        return run.output(layer.name, self.units.respond(run, layer.name, z))


architectures.add(
    "densenet",
    Architecture(
        name="densenet",
        family="densenet",
        build=DenseNet,
        size=16,
        settings={"blocks": [2, 2, 2], "growth": 8, "kernel": 3, **unit_settings()},
        summary="densely connected convolutions, batch normalisation by default",
        cites="Huang et al., CVPR 2017",
    ),
)
