"""Residual networks, post-activation (v1) and pre-activation (v2): ResNet-18 and -34, and any."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from lrplan.errors import UsageError
from lrplan.simulate.architectures import (
    Architecture,
    Head,
    architectures,
    at_least_one,
    choose_stem,
    each_at_least_one,
    odd_kernel,
)
from lrplan.simulate.architectures._units import INITIAL, Units, unit_settings
from lrplan.simulate.network import Layer, Pass

VERSIONS = (1, 2)


@dataclass(frozen=True)
class Block:
    """Two convolutions beside a skip path.

    Parameters
    ----------
    first, second : Layer
        The convolutions.
    shortcut : Layer or None
        A 1 x 1 convolution on the skip path where the shape changes; None passes it unchanged.
    stride : int
        Of `first` and `shortcut`.
    """

    first: Layer
    second: Layer
    shortcut: Layer | None
    stride: int

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The convolutions, that of the skip path last."""
        return (self.first, self.second, *([self.shortcut] if self.shortcut else []))


class ResNet:
    """Stages of residual blocks, average pooling over places, and the head.

    The first block of each stage but the first halves the feature map, doubles the channels and
    has a strided 1 x 1 convolution on its skip path (option B of He et al.). Layers are called
    ``conv1``, then ``layer<stage>_<block>_conv1``, ``_conv2`` and ``_shortcut``, in this order,
    which is torchvision's. Shortcuts count as layers: their weights learn by the rule.

    v1 is convolution, normalisation, nonlinearity; the sum with the skip path comes before the
    last nonlinearity of a block. By default parameters are those of torchvision's models. v2
    normalises and activates what goes into a convolution, after the sum, and leaves the skip path
    alone; as in the paper's appendix the stem is activated before the first block splits, and the
    last sum once more before the pooling. Where a shape changes the shortcut takes the activated
    signal.

    In v2 a normalisation thus stands behind each convolution but the shortcuts, as in v1, and is
    named after it: ``layer1_0_conv2.scale`` belongs to the normalisation of the first block's sum.

    What a layer puts out is what the next one takes in. That is after the nonlinearity for all
    (for a block's second convolution it includes the skip path) but the shortcuts, whose output is
    signed: normalised in v1, as it is in v2.

    Without normalisation second convolutions start smaller, the more blocks there are
    (`Units.layer`). Shortcuts have no biases: the sum has those of the second convolution.

    Parameters
    ----------
    shape : tuple of int
        (channel, row, column) of an image.
    head : Head
        What the task wants.
    name : str
        Of the architecture, for messages.
    blocks : sequence of int
        In each stage.
    preactivation : bool
        v2 rather than v1.
    stem : {"auto", "imagenet", "small"}
        "imagenet" is 7 x 7 with stride 2 and 3 x 3 max pooling with stride 2; "small" has the
        kernel of the blocks, stride 1 and no pooling; "auto" is "imagenet" from 64 pixels on. All
        stages but the first halve the map, and the last one needs a pixel: with four stages,
        images of at least 32 pixels, and of 8.
    width : int
        Channels of the first stage.
    kernel : int
        Edge of the blocks' kernels: 3, 5 or 7.
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
        blocks: Sequence[int],
        preactivation: bool,
        stem: str,
        width: int,
        kernel: int,
        units: Units,
    ) -> None:
        at_least_one(width, f"{name}.width")
        blocks = each_at_least_one(blocks, f"{name}.blocks")
        odd_kernel(kernel, f"{name}.kernel")
        last = 2 ** (len(blocks) - 1)
        self.stem = choose_stem(
            stem, shape, architecture=name, least={"imagenet": 4 * last, "small": last}
        )
        self.head = head
        self.preactivation = preactivation
        self.units = units
        self.padding = kernel // 2
        edge = 7 if self.stem == "imagenet" else kernel
        self.first = units.layer("conv1", (width, shape[0], edge, edge))
        made = []
        fan_in = width
        for stage, count in enumerate(blocks):
            channels = width * 2**stage
            for i in range(count):
                stride = 2 if stage and not i else 1
                prefix = f"layer{stage + 1}_{i}_"
                shortcut = None
                if stride > 1:
                    shortcut = units.shortcut(
                        prefix + "shortcut", (channels, fan_in, 1, 1), norm=not preactivation
                    )
                first = units.layer(prefix + "conv1", (channels, fan_in, kernel, kernel))
                second = units.layer(
                    prefix + "conv2", (channels, channels, kernel, kernel), branches=sum(blocks)
                )
                made.append(Block(first, second, shortcut, stride))
                fan_in = channels
        self.blocks = tuple(made)
        body = [layer for block in self.blocks for layer in block.layers]
        self.layers = (self.first, *body, *head.layers(fan_in))

    def forward(self, run: Pass, x: Tensor) -> Tensor:
        """Return class scores or projections."""
        large = self.stem == "imagenet"
        padding = 3 if large else self.padding
        x = run.conv("conv1", x, stride=2 if large else 1, padding=padding)
        x = run.output("conv1", self.units.respond(run, "conv1", x))
        if large:
            x = F.max_pool2d(x, 3, stride=2, padding=1)
        block_of = self._preactivation if self.preactivation else self._postactivation
        skip = x
        for block in self.blocks:
            x, skip = block_of(run, block, x, skip)
        return self.head.forward(run, x.mean((2, 3)))

    def _postactivation(
        self, run: Pass, block: Block, x: Tensor, skip: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the activated sum, twice: it is also what the next skip path takes."""
        first, second, shortcut = block.first.name, block.second.name, block.shortcut
        if shortcut is not None:
            skip = run.conv(shortcut.name, x, stride=block.stride)
            skip = run.output(shortcut.name, self.units.normalise(run, shortcut.name, skip))
        x = run.conv(first, x, stride=block.stride, padding=self.padding)
        x = run.output(first, self.units.respond(run, first, x))
        x = run.conv(second, x, padding=self.padding)
        x = run.output(second, self.units.respond(run, second, x, skip))
        return x, x

    def _preactivation(
        self, run: Pass, block: Block, x: Tensor, skip: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the sum activated, for the next convolution, and as it is, for the next skip."""
        first, second, shortcut = block.first.name, block.second.name, block.shortcut
        if shortcut is not None:
            skip = run.output(shortcut.name, run.conv(shortcut.name, x, stride=block.stride))
        x = run.conv(first, x, stride=block.stride, padding=self.padding)
        x = run.output(first, self.units.respond(run, first, x))
        skip = run.residual(run.conv(second, x, padding=self.padding), skip)
        x = run.output(second, self.units.respond(run, second, skip))
        return x, skip


def _builder(name: str, blocks: tuple[int, ...], preactivation: bool) -> Callable[..., ResNet]:
    def build(
        shape: tuple[int, int, int], head: Head, *, stem: str, width: int, **units: Any
    ) -> ResNet:
        return ResNet(
            shape,
            head,
            name=name,
            blocks=blocks,
            preactivation=preactivation,
            stem=stem,
            width=width,
            kernel=3,
            units=Units(**units),
        )

    return build


for _depth, _blocks in ((18, (2, 2, 2, 2)), (34, (3, 4, 6, 3))):
    for _suffix, _order, _cites in (
        ("", "post", "He et al., CVPR 2016"),
        ("v2", "pre", "He et al., ECCV 2016"),
    ):
        _name = f"resnet{_depth}{_suffix}"
        architectures.add(
            _name,
            Architecture(
                name=_name,
                family="resnet",
                build=_builder(_name, _blocks, _order == "pre"),
                size=16,
                settings={"stem": "auto", "width": 64, **unit_settings()},
                summary=f"residual network of {_depth} layers, {_order}-activation, "
                "batch normalisation by default",
                cites=_cites,
                initial=INITIAL,
            ),
        )


def _of_any_size(
    shape: tuple[int, int, int],
    head: Head,
    *,
    blocks: Sequence[int],
    width: int,
    version: int,
    kernel: int,
    stem: str,
    **units: Any,
) -> ResNet:
    if isinstance(version, bool) or version not in VERSIONS:
        raise UsageError(
            f"resnet.version is {version!r}; expected 1 (post-activation) or 2 (pre-activation)"
        )
    return ResNet(
        shape,
        head,
        name="resnet",
        blocks=blocks,
        preactivation=version == 2,
        stem=stem,
        width=width,
        kernel=kernel,
        units=Units(**units),
    )


architectures.add(
    "resnet",
    Architecture(
        name="resnet",
        family="resnet",
        build=_of_any_size,
        size=16,
        settings={
            "blocks": [1, 1, 1],
            "width": 16,
            "version": 1,
            "kernel": 3,
            "stem": "auto",
            **unit_settings(),
        },
        summary="residual network of any number of blocks, batch normalisation by default",
        cites="He et al., CVPR 2016 (version 1) and ECCV 2016 (version 2)",
        initial=INITIAL,
    ),
)
