"""Generated pictures of ten shapes, for machines without downloaded images."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from torch import Tensor

from lrplan.randomness import keyed_rng
from lrplan.simulate.architectures import Head
from lrplan.simulate.tasks import Data, Extent, Task, cross_entropy, tasks
from lrplan.simulate.tasks._augmentation import share_setting
from lrplan.simulate.tasks._disk import enlarge, enlarged, larger_shape, whole_setting

SMALLEST_EDGE = 16
SUBSAMPLES = 4
AT_ONCE = 128
# All lengths are shares of the picture's edge, all lights and colours lie between 0 and 1.
RADIUS = (0.22, 0.36)
FARTHEST = 0.12
TURN = np.pi / 6
STRETCH = 0.1
CONTRAST = (0.35, 0.6)
TEXTURE = (0.02, 0.06)
GRAIN = 0.03
GROUND = 0.25
"""What grounds are where nothing varies."""


def _polygon(x: np.ndarray, y: np.ndarray, corners: int) -> np.ndarray:
    """Say which points lie in a regular polygon with corners at radius 1."""
    inside = np.ones(np.broadcast_shapes(x.shape, y.shape), dtype=bool)
    for k in range(corners):
        angle = 2 * np.pi * (k + 0.5) / corners
        inside &= x * np.float32(np.cos(angle)) + y * np.float32(np.sin(angle)) < np.cos(
            np.pi / corners
        )
    return inside


def _star(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Say which points lie in a pentagram: on the inner side of at least four of its lines."""
    sides = np.zeros(np.broadcast_shapes(x.shape, y.shape), dtype=np.int8)
    for k in range(5):
        angle = 2 * np.pi * (k + 0.5) / 5
        sides += x * np.float32(np.cos(angle)) + y * np.float32(np.sin(angle)) < np.cos(
            2 * np.pi / 5
        )
    return sides >= 4


def _disc(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return x * x + y * y < 1


def _ring(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    square = x * x + y * y
    return (square < 1) & (square > 0.36)


def _crescent(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (x * x + y * y < 1) & ((x - 0.5) ** 2 + y * y > 0.64)


def _half(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (x * x + (y + 0.4) ** 2 < 1) & (y > -0.4)


def _cross(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    x, y = abs(x), abs(y)
    return (np.minimum(x, y) < 0.33) & (np.maximum(x, y) < 1)


def _heart(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    x, y = 1.15 * x, 1.15 * y
    ball = x * x + y * y - 1
    return ball * ball * ball < x * x * y * y * y


def _arrow(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    head = (y > 0) & (abs(x) < 1 - y) & (y < 1)
    return head | ((abs(x) < 0.35) & (y <= 0) & (y > -1))


SHAPES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "disc": _disc,
    "ring": _ring,
    "crescent": _crescent,
    "half disc": _half,
    "triangle": lambda x, y: _polygon(x, y, 3),
    "square": lambda x, y: _polygon(x, y, 4),
    "star": _star,
    "cross": _cross,
    "heart": _heart,
    "arrow": _arrow,
}


@lru_cache(maxsize=1)
def _measures() -> tuple[np.ndarray, np.ndarray]:
    """Return by how much each shape is enlarged, so that all cover a disc's area, and its middle.

    Middles (axis, shape) are centres of gravity, about which shapes are placed and turned.
    """
    line = np.linspace(-1.2, 1.2, 481, dtype=np.float32)
    covers = [inside(line[None], line[:, None]) for inside in SHAPES.values()]
    areas = np.array([cover.mean() for cover in covers])
    middles = [
        [(cover.mean(axis) @ line) / cover.mean() / 481 for axis in (0, 1)] for cover in covers
    ]
    return np.sqrt(areas[0] / areas).astype(np.float32), np.array(middles, dtype=np.float32).T


def _uniform(rng: np.random.Generator, low: float, high: float, *shape: int) -> np.ndarray:
    return rng.uniform(low, high, shape).astype(np.float32)


def _coverage(
    labels: np.ndarray, edge: int, variation: float, rng: np.random.Generator
) -> np.ndarray:
    """Return which share of each pixel a shape covers, (example, row, column).

    Each is moved from the middle, sized, turned and stretched at random, and lies within the
    picture almost wholly. Sixteen points of each pixel are looked at.
    """
    n = len(labels)
    sizes, middles = _measures()
    size = sizes[labels] * _uniform(rng, *_about(*RADIUS, variation), n)
    away = variation * np.clip(0.5 - size, 0.05, FARTHEST)
    centre = 0.5 + _uniform(rng, -1, 1, 2, n) * away
    turn = variation * _uniform(rng, -TURN, TURN, n)
    stretch = np.exp(variation * _uniform(rng, -STRETCH, STRETCH, n))
    points = (np.arange(edge * SUBSAMPLES, dtype=np.float32) + 0.5) / (edge * SUBSAMPLES)
    out = np.empty((n, edge, edge), dtype=np.float32)
    for label, inside in enumerate(SHAPES.values()):
        every = np.flatnonzero(labels == label)
        for i in range(0, len(every), AT_ONCE):
            some = every[i : i + AT_ONCE]
            cos, sin = (f(turn[some])[:, None, None] for f in (np.cos, np.sin))
            across = (points - centre[0, some, None])[:, None, :] / size[some, None, None]
            down = (points - centre[1, some, None])[:, :, None] / size[some, None, None]
            wide = stretch[some, None, None]
            found = inside(
                (cos * across + sin * down) * wide + middles[0, label],
                (cos * down - sin * across) / wide + middles[1, label],
            )
            found = found.reshape(len(some), edge, SUBSAMPLES, edge, SUBSAMPLES)
            out[some] = found.mean((2, 4), dtype=np.float32)
    return out


def _about(low: float, high: float, share: float) -> tuple[float, float]:
    """Return a range with the same middle and a share of its width."""
    less = (1 - share) * (high - low) / 2
    return low + less, high - less


def _colours(n: int, variation: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return colours of shapes and grounds, (example, channel), that differ visibly.

    Either may be the lighter one: which shape it is cannot be told from the colours. The less
    they vary, the more often shapes are light and grounds are dark.
    """
    dark = (1 - variation) * GROUND
    ground = dark + variation * _uniform(rng, 0.15, 0.85, n, 3)
    away = rng.standard_normal((n, 3)).astype(np.float32)
    away /= np.linalg.norm(away, axis=1, keepdims=True)
    if variation < 1:
        away = variation * away + (1 - variation) / np.sqrt(3)
        away = (away / np.linalg.norm(away, axis=1, keepdims=True)).astype(np.float32)
    away *= _uniform(rng, *CONTRAST, n, 1) * np.float32(np.sqrt(3))
    # A channel that would leave the range goes the other way, and so differs as much.
    inside = (ground + away >= 0) & (ground + away <= 1)
    shape = (ground + np.where(inside, away, -away)).clip(0, 1)
    return shape, ground


def _texture(n: int, edge: int, rng: np.random.Generator) -> np.ndarray:
    """Return textures (example, row, column) about 0: plain, stripes, checks or clouds.

    The finest wave is four pixels long, so nothing aliases.
    """
    kind = rng.integers(0, 4, n)
    place = np.arange(edge, dtype=np.float32) / edge
    waves = _uniform(rng, 2, edge / 4, n)[:, None, None]
    turn = _uniform(rng, 0, np.pi, n)[:, None, None]
    phase = _uniform(rng, 0, 2 * np.pi, 2, n)[..., None, None]
    across = 2 * np.pi * waves * (np.cos(turn) * place + np.sin(turn) * place[:, None])
    down = 2 * np.pi * waves * (np.cos(turn) * place[:, None] - np.sin(turn) * place)
    one, other = np.sin(across + phase[0]), np.sin(down + phase[1])
    cells = rng.standard_normal((n, 6, 6)).astype(np.float32)
    line = np.linspace(0, 5, edge, dtype=np.float32)
    smooth = np.maximum(0, 1 - abs(line[:, None] - np.arange(6, dtype=np.float32)))
    clouds = smooth @ cells @ smooth.T
    plain = np.zeros_like(clouds)
    found = np.choose(kind[:, None, None], (plain, one, one * other, clouds))
    return (found * _uniform(rng, *TEXTURE, n)[:, None, None]).astype(np.float32)


def draw_shapes(
    count: int, edge: int, *, rng: np.random.Generator, variation: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Draw pictures of shapes.

    Parameters
    ----------
    count : int
        Pictures; classes come in turn, so they are balanced.
    edge : int
        Pixels.
    rng : numpy.random.Generator
        Source of the nuisances: position, size, rotation, stretch, two colours, two textures,
        a gradient of light, and grain.
    variation : float
        How much of their ranges all nuisances but contrast and grain take, 0 to 1. At 0 every
        picture of a class is the same light shape on a dark ground.

    Returns
    -------
    images : array (example, 3, edge, edge) of uint8
    labels : array (example,) of int64
        In the order of `SHAPES`.
    """
    labels = rng.permutation(np.arange(count) % len(SHAPES)).astype(np.int64)
    cover = _coverage(labels, edge, variation, rng)[:, None]
    shape, ground = (c[:, :, None, None] for c in _colours(count, variation, rng))
    fill, behind = (variation * _texture(count, edge, rng)[:, None] for _ in range(2))
    place = np.linspace(-1, 1, edge, dtype=np.float32)
    slope = variation * _uniform(rng, -0.1, 0.1, 2, count, 1, 1, 1)
    light = slope[0] * place + slope[1] * place[:, None]
    images = np.empty((count, 3, edge, edge), dtype=np.uint8)
    for i in range(0, count, AT_ONCE):
        some = slice(i, i + AT_ONCE)
        inner, outer = shape[some] + fill[some], ground[some] + behind[some]
        image = outer + cover[some] * (inner - outer) + light[some]
        image += np.float32(GRAIN) * rng.standard_normal(image.shape, dtype=np.float32)
        images[some] = (255 * image.clip(0, 1)).round().astype(np.uint8)
    return images, labels


@lru_cache(maxsize=4)
def _drawn(part: str, count: int, edge: int, variation: float) -> tuple[np.ndarray, np.ndarray]:
    # Pictures that vary less are of the same shapes, places and colours, drawn nearer together.
    rng = keyed_rng("shapes", part, count, edge)
    return draw_shapes(count, edge, rng=rng, variation=variation)


class Shapes(Task):
    """Say which of ten shapes it is, wherever, however large, turned and coloured it is.

    Networks see colours in [0, 1] less 0.5, divided by 0.25.
    """

    summary = "classify generated shapes, whose place, size, rotation, colours and textures vary"
    cites = "this package"
    needs = "nothing: the images are generated"
    flips = True
    # Any colours are as good, and either of shape and ground may be the lighter one. A small
    # piece of a shape does not tell which it is.
    contrast: dict[str, Any] = {"smallest_crop": 0.4, "hue": 0.5, "negative": 0.5}
    settings: dict[str, Any] = {"train": 8000, "test": 2000, "edge": 32, "variation": 1.0}

    def _read(self, settings: dict[str, Any]) -> tuple[int, int, int, float]:
        return (
            whole_setting(settings, "train", "shapes", least=len(SHAPES)),
            whole_setting(settings, "test", "shapes", least=len(SHAPES)),
            whole_setting(settings, "edge", "shapes", least=SMALLEST_EDGE),
            share_setting(settings["variation"], "shapes.variation"),
        )

    def load(self, size: int | None, settings: dict[str, Any]) -> Data:
        """Return the images as uint8, the same ones every time."""
        train, test, edge, variation = self._read(settings)
        images, labels = _drawn("train", train, edge, variation)
        held_out, held_out_labels = _drawn("test", test, edge, variation)
        return Data(enlarged(images, size), labels, enlarge(held_out, size), held_out_labels)

    def extent(self, size: int | None, settings: dict[str, Any]) -> Extent:
        """Return the size of the data, which are not generated for it."""
        train, test, edge, _ = self._read(settings)
        return Extent((3, *larger_shape(edge, edge, size)), train, test)

    def check(self, settings: dict[str, Any]) -> None:
        """Check that the settings can be."""
        self._read(settings)

    def head(self, settings: dict[str, Any]) -> Head:
        """Return a readout of ten classes."""
        return Head("readout", len(SHAPES))

    def prepare(self, images: Tensor) -> Tensor:
        """Return images about zero."""
        return (super().prepare(images) - 0.5) / 0.25

    def loss(self, output: Tensor, labels: Tensor, settings: dict[str, Any]) -> Tensor:
        """Return the mean cross-entropy."""
        return cross_entropy(output, labels)


tasks.add("shapes", Shapes())
