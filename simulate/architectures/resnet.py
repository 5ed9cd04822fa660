"""ResNet-18 and -34: residual networks, post-activation (v1) and pre-activation (v2)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from lrplan.simulate.architectures import (
    Architecture,
    Head,
    architectures,
    at_least_one,
    choose_stem,
)
from lrplan.simulate.network import Layer, Pass

# Three stages halve the feature map; the last one keeps a pixel.
LEAST = {"imagenet": 32, "small": 8}


@dataclass(frozen=True)
class Block:
    """Two 3 x 3 convolutions beside a skip path.

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
    """Four stages of residual blocks, average pooling over places, and the head.

    The first block of each stage but the first halves the feature map, doubles the channels and
    has a strided 1 x 1 convolution on its skip path (option B of He et al.). Layers are called
    ``conv1``, then ``layer<stage>_<block>_conv1``, ``_conv2`` and ``_shortcut``, in this order,
    which is torchvision's. Shortcuts count as layers: their weights learn by the rule.

    v1 is convolution, normalisation, ReLU; the sum with the skip path comes before the last ReLU
    of a block. Parameters are those of torchvision's models. v2 normalises and rectifies what
    goes into a convolution, after the sum, and leaves the skip path alone; as in the paper's
    appendix the stem is activated before the first block splits, and the last sum once more
    before the pooling. Where a shape changes the shortcut takes the activated signal.

    In v2 a normalisation thus stands behind each convolution but the shortcuts, as in v1, and is
    named after it: ``layer1_0_conv2.scale`` belongs to the normalisation of the first block's sum.

    What a layer puts out is what the next one takes in. That is after ReLU for all (for a
    block's second convolution it includes the skip path) but the shortcuts, whose output is
    signed: normalised in v1, as it is in v2.

    Parameters
    ----------
    shape : tuple of int
        (channel, row, column) of an image.
    head : Head
        What the task wants.
    name : str
        Of the architecture, for messages.
    blocks : tuple of int
        In each stage.
    preactivation : bool
        v2 rather than v1.
    stem : {"auto", "imagenet", "small"}
        "imagenet" is 7 x 7 with stride 2 and 3 x 3 max pooling with stride 2 (images of at least
        32 pixels); "small" is 3 x 3 with stride 1 and no pooling (at least 8); "auto" is
        "imagenet" from 64 pixels on.
    width : int
        Channels of the first stage.

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
        blocks: tuple[int, ...],
        preactivation: bool,
        stem: str,
        width: int,
    ) -> None:
        at_least_one(width, f"{name}.width")
        self.stem = choose_stem(stem, shape, architecture=name, least=LEAST)
        self.head = head
        self.preactivation = preactivation
        edge = 7 if self.stem == "imagenet" else 3
        self.first = Layer("conv1", (width, shape[0], edge, edge), bias=False, norm=True)
        made = []
        fan_in = width
        for stage, count in enumerate(blocks):
            channels = width * 2**stage
            for i in range(count):
                stride = 2 if stage and not i else 1
                prefix = f"layer{stage + 1}_{i}_"
                shortcut = None
                if stride > 1:
                    shortcut = Layer(
                        prefix + "shortcut",
                        (channels, fan_in, 1, 1),
                        bias=False,
                        norm=not preactivation,
                    )
                made.append(
                    Block(
                        Layer(prefix + "conv1", (channels, fan_in, 3, 3), bias=False, norm=True),
                        Layer(prefix + "conv2", (channels, channels, 3, 3), bias=False, norm=True),
                        shortcut,
                        stride,
                    )
                )
                fan_in = channels
        self.blocks = tuple(made)
        body = [layer for block in self.blocks for layer in block.layers]
        self.layers = (self.first, *body, *head.layers(fan_in))

    def forward(self, run: Pass, x: Tensor) -> Tensor:
        """Return class scores or projections."""
        large = self.stem == "imagenet"
        x = run.conv("conv1", x, stride=2 if large else 1, padding=3 if large else 1)
        x = run.output("conv1", run.batch_norm("conv1", x).relu())
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
            skip = run.batch_norm(shortcut.name, run.conv(shortcut.name, x, stride=block.stride))
            skip = run.output(shortcut.name, skip)
        x = run.batch_norm(first, run.conv(first, x, stride=block.stride, padding=1)).relu()
        x = run.conv(second, run.output(first, x), padding=1)
        x = run.residual(run.batch_norm(second, x), skip).relu()
        x = run.output(second, x)
        return x, x

    def _preactivation(
        self, run: Pass, block: Block, x: Tensor, skip: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the sum activated, for the next convolution, and as it is, for the next skip."""
        first, second, shortcut = block.first.name, block.second.name, block.shortcut
        if shortcut is not None:
            skip = run.output(shortcut.name, run.conv(shortcut.name, x, stride=block.stride))
        x = run.batch_norm(first, run.conv(first, x, stride=block.stride, padding=1)).relu()
        skip = run.residual(run.conv(second, run.output(first, x), padding=1), skip)
        x = run.output(second, run.batch_norm(second, skip).relu())
        return x, skip


def _builder(name: str, blocks: tuple[int, ...], preactivation: bool) -> Callable[..., ResNet]:
    def build(shape: tuple[int, int, int], head: Head, *, stem: str, width: int) -> ResNet:
        return ResNet(
            shape,
            head,
            name=name,
            blocks=blocks,
            preactivation=preactivation,
            stem=stem,
            width=width,
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
                build=_builder(_name, _blocks, _order == "pre"),
                size=16,
                settings={"stem": "auto", "width": 64},
                summary=f"residual network of {_depth} layers, {_order}-activation, "
                "batch normalisation",
                cites=_cites,
            ),
        )
