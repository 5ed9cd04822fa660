"""Handwritten digits, supervised."""

from __future__ import annotations

import math
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lrplan.simulate.architectures import Head
from lrplan.simulate.tasks import Data, Task, cross_entropy, tasks

CITES = "Alpaydin & Kaynak, UCI Optical Recognition of Handwritten Digits, 1998"
NEEDS = "nothing: the images come with scikit-learn"
TEST_FRACTION = 0.2


@lru_cache(maxsize=4)
def load_digits(size: int | None) -> Data:
    """Return scikit-learn's 1,797 images of 8 x 8 pixels, standardised, split 80 : 20.

    The split is fixed and stratified by class. Mean and standard deviation are those of the
    training images.
    """
    pixels, target = _read()
    images = pixels.reshape(-1, 1, 8, 8).astype(np.float32)
    if size is not None:
        resized = F.interpolate(torch.from_numpy(images), size=(size, size), mode="bilinear")
        images = resized.numpy()
    train, test = _split(target)
    mean, sd = images[train].mean(), images[train].std()
    images = (images - mean) / sd
    return Data(images[train], target[train], images[test], target[test])


def _read() -> tuple[np.ndarray, np.ndarray]:
    """Return pixels (image, 64) and labels (image,) from the file that scikit-learn brings.

    To import scikit-learn for it would take longer than to train a small network.
    """
    package = find_spec("sklearn")
    assert package is not None
    assert package.origin is not None
    rows = np.loadtxt(Path(package.origin).parent / "datasets/data/digits.csv.gz", delimiter=",")
    return rows[:, :-1], rows[:, -1].astype(np.int64)


def _split(target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the places of training and test images, in random order, stratified by class.

    The split is that of scikit-learn's ``train_test_split(test_size=0.2, stratify=target,
    random_state=0)``, whose legacy generator is needed for it.
    """
    rng = np.random.RandomState(0)  # noqa: NPY002
    counts = np.bincount(target)
    tests = math.ceil(TEST_FRACTION * len(target))
    train_counts = _shared_out(counts, len(target) - tests, rng)
    test_counts = _shared_out(counts - train_counts, tests, rng)
    train, test = [], []
    for label, count in enumerate(counts):
        order = np.flatnonzero(target == label)[rng.permutation(count)]
        train.append(order[: train_counts[label]])
        test.append(order[train_counts[label] :][: test_counts[label]])
    return rng.permutation(np.concatenate(train)), rng.permutation(np.concatenate(test))


def _shared_out(counts: np.ndarray, draws: int, rng: np.random.RandomState) -> np.ndarray:
    """Return how many of each class to draw: in proportion, the largest remainders rounded up."""
    exact = counts / counts.sum() * draws
    whole = np.floor(exact)
    missing, remainder = int(draws - whole.sum()), exact - whole
    for value in np.sort(np.unique(remainder))[::-1]:
        if not missing:
            break
        (places,) = np.nonzero(remainder == value)
        chosen = min(len(places), missing)
        # Ties are broken at random.
        whole[rng.choice(places, size=chosen, replace=False)] += 1
        missing -= chosen
    return whole.astype(int)


class Digits(Task):
    """Which of ten digits is it? Cross-entropy over ten classes."""

    objective = "supervised"
    summary = "classify handwritten digits"
    cites = CITES
    needs = NEEDS
    # A small piece of a digit does not tell which it is.
    contrast: dict[str, Any] = {"smallest_crop": 0.4}
    settings: dict[str, Any] = {}

    def load(self, size: int | None, settings: dict[str, Any]) -> Data:
        """Return the images, resized to `size` pixels."""
        return load_digits(size)

    def head(self, settings: dict[str, Any]) -> Head:
        """Return a readout of ten classes."""
        return Head("readout", 10)

    def loss(self, output: Tensor, labels: Tensor, settings: dict[str, Any]) -> Tensor:
        """Return the mean cross-entropy."""
        return cross_entropy(output, labels)


tasks.add("digits", Digits())
