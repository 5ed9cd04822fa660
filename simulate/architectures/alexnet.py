"""AlexNet in one tower: five convolutions and three fully connected layers, with or without LRN."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from lrplan.simulate.architectures import (
    Architecture,
    Head,
    architectures,
    at_least_one,
    choose_stem,
)
from lrplan.simulate.architectures._units import INITIAL, Units, unit_settings
from lrplan.simulate.network import Pass

# The first has a pixel left behind its third pooling, the second halves three times.
LEAST = {"imagenet": 63, "small": 8}
CHANNELS = (1, 3, 6, 4, 4)  # of conv1 to conv5, in units of the width
HIDDEN = 64  # units of fc6 and fc7, in units of the width
POOLED = (1, 2, 5)
READOUT_GAIN = 0.05
MAP = 6  # edge of the feature map that fc6 sees, at most


class AlexNet:
    """Convolutions, overlapping max pooling behind the first, second and fifth, then full layers.

    Layers are called ``conv1`` to ``conv5``, ``fc6`` and ``fc7``; the head is the eighth. With
    the "imagenet" stem layers and parameters are those of torchvision's model (Krizhevsky 2014):
    what comes out of the convolutions is average-pooled to 6 x 6. The "small" stem, for images
    of some 32 pixels, changes the first convolution to 5 x 5 with stride 1, as networks for
    CIFAR-10 have it (cuda-convnet; Zhang et al., ICLR 2017), and pads the pooling, so that each
    one halves the map; fc6 sees the map that is left, averaged only where it exceeds 6 x 6.

    Local response normalisation follows the nonlinearity of the first two convolutions, before the
    pooling, with the constants of the paper: k = 2, n = 5, alpha = 1e-4 on the sum of squares,
    beta = 0.75. A layer's output is what goes into the pooling.

    A readout starts small, so that all classes start about equally likely. Where nothing keeps
    activity in bounds it grows with each pooling; the error of the large scores that a readout of
    unit gain makes of it, carried back by weights that are not yet aligned, shuts the units for
    good.

    There is no dropout, in contrast to the originals: it would be noise of each organism's own
    that no rule or measure here is about.

    Parameters
    ----------
    shape : tuple of int
        (channel, row, column) of an image.
    head : Head
        What the task wants.
    name : str
        Of the architecture, for messages.
    local_norm : bool
        With local response normalisation.
    stem : {"auto", "imagenet", "small"}
        "imagenet" is 11 x 11 with stride 4 (images of at least 63 pixels), "small" 5 x 5 with
        stride 1 (at least 8); "auto" is "imagenet" from 64 pixels on.
    width : int
        Channels of the first convolution; all other widths are multiples of it.
    units : Units
        What stands behind the weights of all layers but the head.

    Raises
    ------
    UsageError
        If a setting cannot be, or the images are too small for the stem.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        head: Head,
        *,
        name: str,
        local_norm: bool,
        stem: str,
        width: int,
        units: Units,
    ) -> None:
        at_least_one(width, f"{name}.width")
        self.stem = choose_stem(stem, shape, architecture=name, least=LEAST)
        self.head = head
        self.local_norm = local_norm
        self.units = units
        large = self.stem == "imagenet"
        first = 11 if large else 5
        # Kernel, stride and padding of each convolution.
        self.places = ((first, 4 if large else 1, 2), (5, 1, 2), (3, 1, 1), (3, 1, 1), (3, 1, 1))
        self.map = (MAP, MAP)
        if not large:
            rows, columns = (_halved(edge, len(POOLED)) for edge in shape[1:])
            self.map = (min(rows, MAP), min(columns, MAP))
        convs = []
        fan_in = shape[0]
        for i, (times, (edge, _, _)) in enumerate(zip(CHANNELS, self.places, strict=True)):
            convs.append(units.layer(f"conv{i + 1}", (times * width, fan_in, edge, edge)))
            fan_in = times * width
        hidden = []
        fan_in *= self.map[0] * self.map[1]
        for i in (6, 7):
            hidden.append(units.layer(f"fc{i}", (HIDDEN * width, fan_in)))
            fan_in = HIDDEN * width
        self.convs, self.hidden = tuple(convs), tuple(hidden)
        self.layers = (*self.convs, *self.hidden, *head.layers(fan_in, gain=READOUT_GAIN))

    def forward(self, run: Pass, x: Tensor) -> Tensor:
        """Return class scores or projections."""
        for i, (layer, (_, stride, padding)) in enumerate(
            zip(self.convs, self.places, strict=True), start=1
        ):
            x = run.conv(layer.name, x, stride=stride, padding=padding)
            x = self.units.respond(run, layer.name, x)
            if self.local_norm and i <= 2:
                # torch's alpha multiplies the mean over five channels, the paper's their sum.
                x = run.local_response_norm(x, size=5, alpha=5e-4, beta=0.75, k=2.0)
            x = run.output(layer.name, x)
            if i in POOLED:
                x = F.max_pool2d(x, 3, stride=2, padding=0 if self.stem == "imagenet" else 1)
        if tuple(x.shape[2:]) != self.map:
            x = F.adaptive_avg_pool2d(x, self.map)
        x = x.flatten(1)
        for layer in self.hidden:
            x = self.units.respond(run, layer.name, run.linear(layer.name, x))
            x = run.output(layer.name, x)
        return self.head.forward(run, x)


def _halved(edge: int, times: int) -> int:
    """Return what padded pooling with stride 2 leaves of an edge."""
    for _ in range(times):
        edge = (edge + 1) // 2
    return edge


def _builder(name: str, local_norm: bool) -> Callable[..., AlexNet]:
    def build(
        shape: tuple[int, int, int], head: Head, *, stem: str, width: int, **units: Any
    ) -> AlexNet:
        if not local_norm:
            units = {"normalisation": "none"} | units
        fixed: dict[str, Any] = {"normalisation": "none"} if local_norm else {}
        return AlexNet(
            shape,
            head,
            name=name,
            local_norm=local_norm,
            stem=stem,
            width=width,
            units=Units(**fixed, **units),
        )

    return build


for _name, _local, _norm, _cites in (
    ("alexnet", False, "no normalisation by default", "Krizhevsky, arXiv:1404.5997, 2014"),
    ("alexnet_lrn", True, "local response normalisation", "Krizhevsky et al., NeurIPS 2012"),
):
    _settings = {"stem": "auto", "width": 64} | unit_settings(normalisation="none")
    if _local:
        del _settings["normalisation"]
    architectures.add(
        _name,
        Architecture(
            name=_name,
            family="alexnet",
            build=_builder(_name, _local),
            size=16,
            settings=_settings,
            summary=f"5 convolutions, 2 hidden fully connected layers and a readout, {_norm}",
            cites=_cites,
            initial=INITIAL,
        ),
    )
