"""Handwritten digits, supervised."""

from __future__ import annotations

from functools import lru_cache
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
    from sklearn.datasets import load_digits as sklearn_digits
    from sklearn.model_selection import train_test_split

    bunch = sklearn_digits()
    images = bunch.images.astype(np.float32)[:, None]
    if size is not None:
        resized = F.interpolate(torch.from_numpy(images), size=(size, size), mode="bilinear")
        images = resized.numpy()
    train, test = train_test_split(
        np.arange(len(images)), test_size=TEST_FRACTION, stratify=bunch.target, random_state=0
    )
    mean, sd = images[train].mean(), images[train].std()
    images = (images - mean) / sd
    labels = bunch.target.astype(np.int64)
    return Data(images[train], labels[train], images[test], labels[test])


class Digits(Task):
    """Which of ten digits is it? Cross-entropy over ten classes."""

    objective = "supervised"
    summary = "classify handwritten digits"
    cites = CITES
    needs = NEEDS
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
