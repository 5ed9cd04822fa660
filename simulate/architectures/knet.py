"""KNet4 and KNet5: small convolutional networks, with batch or local response normalisation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lrplan.simulate.architectures import Architecture, Head, architectures
from lrplan.simulate.architectures._units import INITIAL, unit_settings
from lrplan.simulate.architectures.convnet import ConvNet


def _builder(local_norm: bool) -> Callable[..., ConvNet]:
    """Return what builds KNets: convolutions of 5 x 5 with max pooling.

    With local response normalisation there is no other, and it follows the nonlinearity.
    """

    def build(
        shape: tuple[int, int, int], head: Head, *, channels: tuple[int, ...], **units: Any
    ) -> ConvNet:
        fixed: dict[str, Any] = {"normalisation": "none"} if local_norm else {}
        return ConvNet(
            shape, head, channels=channels, kernel=5, local_norm=local_norm, **fixed, **units
        )

    return build


for _name, _channels in (("knet4", (32, 32, 64)), ("knet5", (32, 32, 64, 128))):
    for _suffix, _local in (("", False), ("_lrn", True)):
        _settings = {"channels": list(_channels)} | unit_settings()
        if _local:
            del _settings["normalisation"]
        architectures.add(
            _name + _suffix,
            Architecture(
                name=_name + _suffix,
                family="knet",
                build=_builder(_local),
                size=16,
                settings=_settings,
                summary=f"{len(_channels)} convolutions and a readout, "
                + ("local response normalisation" if _local else "batch normalisation by default"),
                cites="Krizhevsky, cuda-convnet 2012; Nayebi et al., NeurIPS 2020",
                initial=INITIAL,
            ),
        )
