"""KNet4 and KNet5: small convolutional networks, with batch or local response normalisation."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from lrplan.errors import UsageError
from lrplan.simulate.architectures import Architecture, Head, architectures
from lrplan.simulate.network import Layer, Pass


class KNet:
    """Convolutions of 5 x 5, each followed by normalisation, ReLU and 2 x 2 pooling.

    With batch normalisation the order is convolution, normalisation, ReLU; with local response
    normalisation it is convolution, ReLU, normalisation. A layer's output is what goes into
    the pooling.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        head: Head,
        *,
        channels: tuple[int, ...] | list[int],
        local_norm: bool,
    ) -> None:
        fan_in, rows, columns = shape
        for width in channels:
            if not isinstance(width, int) or isinstance(width, bool) or width < 1:
                raise UsageError(f"channels has {width!r}; expected whole numbers of at least 1")
        if min(rows, columns) < 2 ** len(channels):
            raise UsageError(
                f"a network with {len(channels)} pooled layers needs images of at least "
                f"{2 ** len(channels)} pixels; the task gives {rows} x {columns}"
            )
        self.head = head
        self.local_norm = local_norm
        convs = []
        for i, width in enumerate(channels):
            convs.append(
                Layer(f"conv{i + 1}", (width, fan_in, 5, 5), bias=local_norm, norm=not local_norm)
            )
            fan_in, rows, columns = width, rows // 2, columns // 2
        self.convs = tuple(convs)
        self.layers = (*self.convs, *head.layers(fan_in * rows * columns))

    def forward(self, run: Pass, x: Tensor) -> Tensor:
        """Return class scores or projections."""
        for layer in self.convs:
            x = run.conv(layer.name, x, padding=2)
            if self.local_norm:
                x = run.local_response_norm(x.relu())
            else:
                x = run.batch_norm(layer.name, x).relu()
            x = F.max_pool2d(run.output(layer.name, x), 2)
        return self.head.forward(run, x.flatten(1))


for _name, _channels in (("knet4", (32, 32, 64)), ("knet5", (32, 32, 64, 128))):
    for _suffix, _local in (("", False), ("_lrn", True)):

        def _build(
            shape: tuple[int, int, int],
            head: Head,
            *,
            channels: tuple[int, ...],
            _local: bool = _local,
        ) -> KNet:
            return KNet(shape, head, channels=channels, local_norm=_local)

        architectures.add(
            _name + _suffix,
            Architecture(
                name=_name + _suffix,
                build=_build,
                size=16,
                settings={"channels": list(_channels)},
                summary=f"{len(_channels)} convolutions and a readout, "
                f"{'local response' if _local else 'batch'} normalisation",
                cites="Krizhevsky, cuda-convnet 2012; Nayebi et al., NeurIPS 2020",
            ),
        )
