"""Architectures. One file registers one family of networks, sized by their input."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from lrplan.errors import UsageError
from lrplan.registry import Registry, nearest
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

    def layers(self, features: int, *, gain: float | None = None) -> tuple[Layer, ...]:
        """Return the layers for an input of `features` values; `gain` is that of a readout."""
        if self.kind == "contrastive":
            return (
                Layer("head1", (self.width, features), readout=True),
                Layer("head2", (self.width, self.width), readout=True),
            )
        return (Layer("readout", (self.width, features), readout=True, gain=gain),)

    def forward(self, run: Pass, x: Tensor) -> Tensor:
        """Apply the head to (example, features)."""
        run.output("features", x)
        if self.kind == "contrastive":
            x = run.output("head1", run.linear("head1", x).relu())
            return run.output("head2", run.linear("head2", x))
        return run.output("readout", run.linear("readout", x))


@dataclass(frozen=True)
class Architecture:
    """A kind of network.

    Parameters
    ----------
    name : str
        As registered.
    family : str
        Architectures that are alike have one; a forecast holds out whole families. A cohort knows
        architectures by their names alone, so it must be what `family_of` reads from the name:
        for an architecture of no built-in family that is the name itself.
    build : callable
        ``build(shape, head, **settings)`` returns the `Network` for inputs of `shape` (channel,
        row, column).
    size : int or None
        Edge in pixels to which smaller images are enlarged; None takes them as they are.
    settings : dict
        What can be set, with the defaults.
    summary, cites : str
        One line of what it is, and its source.
    initial : tuple of str
        Settings on which the weights before training depend and nothing else, so that organisms
        which differ in them train in one stack.
    """

    name: str
    family: str
    build: Callable[..., Network]
    size: int | None
    settings: dict[str, Any]
    summary: str
    cites: str
    initial: tuple[str, ...] = ()


def at_least_one(value: Any, setting: str) -> int:
    """Return a whole number of at least 1; anything else raises `UsageError`."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UsageError(f"{setting} is {value!r}; expected a whole number of at least 1")
    return value


def each_at_least_one(values: Any, setting: str) -> tuple[int, ...]:
    """Return whole numbers of at least 1; an empty list or others raise `UsageError`."""
    if not isinstance(values, list | tuple) or not values:
        raise UsageError(f"{setting} is {values!r}; expected a list of whole numbers")
    for value in values:
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise UsageError(f"{setting} has {value!r}; expected whole numbers of at least 1")
    return tuple(values)


KERNELS = (3, 5, 7)


def odd_kernel(value: Any, setting: str) -> int:
    """Return the edge of a kernel that leaves a map its size; others raise `UsageError`."""
    if isinstance(value, bool) or value not in KERNELS:
        raise UsageError(f"{setting} is {value!r}; expected 3, 5 or 7")
    return int(value)


def true_or_false(value: Any, setting: str) -> bool:
    """Return a switch; anything else raises `UsageError`."""
    if not isinstance(value, bool):
        raise UsageError(f"{setting} is {value!r}; expected true or false")
    return value


STEMS = ("auto", "imagenet", "small")
LARGE_IMAGE = 64


def choose_stem(
    stem: Any, shape: tuple[int, int, int], *, architecture: str, least: dict[str, int]
) -> str:
    """Return the stem that a network gets for its images.

    Parameters
    ----------
    stem : {"auto", "imagenet", "small"}
        What was asked for; "auto" is "imagenet" where both edges have `LARGE_IMAGE` pixels or
        more, and "small" elsewhere.
    shape : tuple of int
        (channel, row, column) of an image.
    architecture : str
        Who asks, for the message.
    least : dict of str to int
        The smallest edge in pixels that "imagenet" and "small" leave a feature map of.

    Raises
    ------
    UsageError
        If there is no such stem, or the images are too small for it.
    """
    if stem not in STEMS:
        raise UsageError(f"{architecture}.stem: unknown stem {stem!r}; {nearest(stem, STEMS)}")
    edge = min(shape[1:])
    chosen = stem
    if stem == "auto":
        chosen = "imagenet" if edge >= LARGE_IMAGE else "small"
    if edge < least[chosen]:
        ways = f"use larger images (at least {least['small']} pixels)"
        if edge >= least["small"]:
            ways = 'set stem = "small" (or "auto"), or use larger images'
        raise UsageError(
            f"{architecture} with the stem {chosen!r} needs images of at least {least[chosen]} "
            f"pixels; the task gives {shape[1]} x {shape[2]}; {ways}"
        )
    return chosen


architectures: Registry[Architecture] = Registry(
    "architecture", package="lrplan.simulate.architectures", group="lrplan.architectures"
)
