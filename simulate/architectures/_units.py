"""What stands behind the weights of a hidden layer: normalisation, nonlinearity, initial gain."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lrplan.errors import UsageError
from lrplan.registry import nearest
from lrplan.simulate.network import RELU_GAIN, Layer, Pass


@dataclass(frozen=True)
class Nonlinearity:
    """A function from drive to activity.

    Parameters
    ----------
    apply : callable
        The function, one element at a time.
    gain : float
        Variance of the initial weights times the inputs of a unit that keeps signals alive over
        depth. For relu, tanh and gelu it is 1 / E[f(z)^2] with z standard normal: a layer of random
        weights then puts out drives as large as those it takes in (He et al. 2015; Poole et al.,
        NeurIPS 2016). For softplus it is that of relu, which softplus is for large drives: drives
        then grow as a power of depth (8 layers: 2.6 times), and what differs between examples
        shrinks as one. The gain that kept the size of drives, 1.09, would nearly halve the
        differences at each layer, since most of softplus's activity is common to all examples.
    """

    apply: Callable[[Tensor], Tensor]
    gain: float


NONLINEARITIES = {
    "relu": Nonlinearity(torch.relu, RELU_GAIN),
    "softplus": Nonlinearity(F.softplus, RELU_GAIN),
    "tanh": Nonlinearity(torch.tanh, 2.536),
    "gelu": Nonlinearity(F.gelu, 2.352),
}
NORMALISATIONS = ("batch", "layer", "none")
INITIAL = ("gain",)
"""Settings of units that show in the weights before training and nowhere else."""


@dataclass(frozen=True, kw_only=True)
class Units:
    """The units of all hidden layers of one network.

    Parameters
    ----------
    nonlinearity : {"relu", "softplus", "tanh", "gelu"}
    normalisation : {"batch", "layer", "none"}
        Of drives, before the nonlinearity: over the examples of a batch for each channel (Ioffe &
        Szegedy, ICML 2015), over all units of a layer for each example (Ba et al., 2016; in
        convolutions all channels and places), or not at all. Layers without it have biases.
    gain : float
        Times which initial weights (and backward weights) are as large as the nonlinearity's
        own gain makes them, above 0. With normalisation it leaves the first activity as it is;
        weights that start larger change less by the same step.

    Raises
    ------
    UsageError
        If one of them cannot be.
    """

    nonlinearity: str = "relu"
    normalisation: str = "batch"
    gain: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what is not known."""
        one_of(self.nonlinearity, NONLINEARITIES, "nonlinearity")
        one_of(self.normalisation, NORMALISATIONS, "normalisation")
        gain = self.gain
        number = isinstance(gain, int | float) and not isinstance(gain, bool)
        if not number or not math.isfinite(gain) or gain <= 0:
            raise UsageError(f"gain is {gain!r}; expected a number above 0")

    @property
    def normalised(self) -> bool:
        """Whether drives are normalised."""
        return self.normalisation != "none"

    def layer(self, name: str, shape: tuple[int, ...], *, branches: int = 1) -> Layer:
        """Return a hidden layer.

        Parameters
        ----------
        name, shape : str, tuple of int
            As in `Layer`.
        branches : int
            To how many skip paths one after the other such layers add. Where nothing normalises
            what they add, it is that much smaller in variance, so that the sum does not grow
            exponentially (Hayou et al., AISTATS 2021).
        """
        gain = NONLINEARITIES[self.nonlinearity].gain * self.gain**2
        if not self.normalised:
            gain /= branches
        return Layer(
            name,
            shape,
            bias=not self.normalised,
            norm=self.normalised,
            gain=None if gain == RELU_GAIN else gain,
        )

    def shortcut(self, name: str, shape: tuple[int, ...], *, norm: bool) -> Layer:
        """Return a layer on a skip path, which has no nonlinearity, and no bias."""
        gain = self.layer(name, shape).gain
        return Layer(name, shape, bias=False, norm=norm and self.normalised, gain=gain)

    def normalise(self, run: Pass, name: str, z: Tensor) -> Tensor:
        """Normalise drives as the layer `name` has it."""
        if self.normalisation == "batch":
            return run.batch_norm(name, z)
        return run.layer_norm(name, z) if self.normalisation == "layer" else z

    def activate(self, z: Tensor) -> Tensor:
        """Return the activity that drives make."""
        return NONLINEARITIES[self.nonlinearity].apply(z)

    def respond(self, run: Pass, name: str, z: Tensor, skip: Tensor | None = None) -> Tensor:
        """Return activity: normalised drives, plus what a skip path brings, activated."""
        z = self.normalise(run, name, z)
        return self.activate(z if skip is None else run.residual(z, skip))


def unit_settings(**changed: Any) -> dict[str, Any]:
    """Return the settings that a network's units have, with the defaults or other values."""
    return {f.name: f.default for f in fields(Units)} | changed


def one_of(value: Any, known: Any, setting: str) -> None:
    """Refuse a word that is not one of those known."""
    if not isinstance(value, str) or value not in known:
        raise UsageError(f"unknown {setting} {value!r}; {nearest(str(value), known)}")
