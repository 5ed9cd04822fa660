"""Generated gratings, whose orientation is to be told."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from torch import Tensor

from lrplan.arguments import finite_number
from lrplan.randomness import keyed_rng
from lrplan.simulate.architectures import Head
from lrplan.simulate.tasks import Data, Extent, Task, cross_entropy, tasks
from lrplan.simulate.tasks._disk import enlarge, enlarged, larger_shape, whole_setting

SMALLEST_EDGE = 8
CONTRAST = (0.25, 1.0)
CYCLES_PER_EDGE = (0.125, 0.22)
"""Spatial frequency, as a share of the edge in pixels: 2 to 3.5 cycles across 16 pixels."""


def draw_gratings(
    count: int, edge: int, orientations: int, noise: float, *, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw sinusoidal gratings in noise.

    Parameters
    ----------
    count : int
        Pictures; orientations come in turn, so they are balanced.
    edge : int
        Pixels.
    orientations : int
        Evenly spaced over half a turn.
    noise : float
        Standard deviation of white noise, in units of the amplitude at full contrast.
    rng : numpy.random.Generator
        Source of phase, spatial frequency, contrast, orientation within a fifth of the spacing,
        and noise.

    Returns
    -------
    images : array (example, 1, edge, edge) of uint8
        About the middle of the range, of which full contrast takes half.
    labels : array (example,) of int64
    """
    labels = rng.permutation(np.arange(count) % orientations).astype(np.int64)
    turn = np.pi * (labels + rng.uniform(-0.2, 0.2, count)) / orientations
    phase = rng.uniform(0, 2 * np.pi, count)
    fewest, most = CYCLES_PER_EDGE
    cycles = edge * rng.uniform(fewest, most, count)
    faint, full = np.log(CONTRAST)
    contrast = np.exp(rng.uniform(faint, full, count))
    place = (np.arange(edge) + 0.5) / edge - 0.5
    across = np.cos(turn)[:, None, None] * place + np.sin(turn)[:, None, None] * place[:, None]
    wave = np.cos(2 * np.pi * cycles[:, None, None] * across + phase[:, None, None])
    light = 0.5 + 0.25 * (contrast[:, None, None] * wave + noise * rng.standard_normal(wave.shape))
    return (255 * light[:, None].clip(0, 1)).round().astype(np.uint8), labels


@lru_cache(maxsize=4)
def _drawn(
    part: str, count: int, edge: int, orientations: int, noise: float
) -> tuple[np.ndarray, np.ndarray]:
    rng = keyed_rng("gratings", part, count, edge, orientations)
    return draw_gratings(count, edge, orientations, noise, rng=rng)


class Gratings(Task):
    """Say how a grating is turned, whatever its phase, spatial frequency and contrast.

    The task of many a visual experiment. A single pixel says nothing about the orientation, as
    the phase is random, so it takes more than one layer.
    """

    summary = "tell the orientation of generated gratings of random phase, in noise"
    cites = "this package"
    needs = "nothing: the images are generated"
    settings: dict[str, Any] = {
        "train": 2000,
        "test": 500,
        "edge": 16,
        "orientations": 8,
        "noise": 0.3,
    }

    def _read(self, settings: dict[str, Any]) -> tuple[int, int, int, int, float]:
        orientations = whole_setting(settings, "orientations", "gratings", least=2)
        return (
            whole_setting(settings, "train", "gratings", least=orientations),
            whole_setting(settings, "test", "gratings", least=orientations),
            whole_setting(settings, "edge", "gratings", least=SMALLEST_EDGE),
            orientations,
            finite_number(settings["noise"], "gratings.noise"),
        )

    def load(self, size: int | None, settings: dict[str, Any]) -> Data:
        """Return the images, the same ones every time."""
        train, test, edge, orientations, noise = self._read(settings)
        images, labels = _drawn("train", train, edge, orientations, noise)
        held_out, held_out_labels = _drawn("test", test, edge, orientations, noise)
        return Data(enlarged(images, size), labels, enlarge(held_out, size), held_out_labels)

    def extent(self, size: int | None, settings: dict[str, Any]) -> Extent:
        """Return the size of the data, which are not generated for it."""
        train, test, edge, _, _ = self._read(settings)
        return Extent((1, *larger_shape(edge, edge, size)), train, test)

    def check(self, settings: dict[str, Any]) -> None:
        """Check that the settings can be."""
        self._read(settings)

    def head(self, settings: dict[str, Any]) -> Head:
        """Return a readout of as many classes as there are orientations."""
        return Head("readout", self._read(settings)[3])

    def prepare(self, images: Tensor) -> Tensor:
        """Return images about zero."""
        return (super().prepare(images) - 0.5) / 0.25

    def loss(self, output: Tensor, labels: Tensor, settings: dict[str, Any]) -> Tensor:
        """Return the mean cross-entropy."""
        return cross_entropy(output, labels)


tasks.add("gratings", Gratings())
