"""Parts of a task's data: half of the classes, or a validation part in place of the test data."""

from __future__ import annotations

from typing import Any

import numpy as np

from lrplan.errors import UsageError
from lrplan.randomness import keyed_rng
from lrplan.simulate.tasks import Data, Images

FEWEST_OF_A_CLASS = 5
"""Training examples of a class without which no validation part is taken."""
MOST_VALIDATION = 10_000
"""Examples of a validation part; it lies in memory, and more would hardly be more exact."""


class _Chosen:
    """Some of the images of a source that is read when they are needed."""

    def __init__(self, images: Images, places: np.ndarray) -> None:
        self.images, self.places = images, places
        self.shape = (len(places), *images.shape[1:])
        self.dtype = images.dtype

    def __len__(self) -> int:
        return len(self.places)

    def read(self, places: np.ndarray) -> np.ndarray:
        return self.images.read(self.places[places])


def first_labels(labels: np.ndarray) -> np.ndarray:
    """Return the label of each example that performance is about."""
    return labels if labels.ndim == 1 else labels[:, 0]


def halves(data: Data) -> tuple[Data, Data]:
    """Split data by class: the first half of the classes, sorted by label, and the rest.

    Labels stay what they were. Of several labels the first one counts.
    """
    classes = np.unique(first_labels(data.train_labels))
    if len(classes) < 2:
        raise UsageError(
            'start = "pretrained" learns one half of the classes after the other; the task has '
            f"{len(classes)} class"
        )
    first = classes[: (len(classes) + 1) // 2]
    parts = []
    for early in (True, False):
        train, test = (
            np.flatnonzero(np.isin(first_labels(labels), first) == early)
            for labels in (data.train_labels, data.test_labels)
        )
        parts.append(
            Data(
                _some(data.train, train),
                data.train_labels[train],
                data.test[test],
                data.test_labels[test],
            )
        )
    return parts[0], parts[1]


def validation_split(images: np.ndarray | Images, all_labels: np.ndarray, share: float) -> Data:
    """Divide the training data of a task in two.

    The division is stratified by class and keyed by class and number of examples, so it is the
    same for every organism.

    Parameters
    ----------
    images : array or Images (example, channel, row, column)
        The training examples. Of those on disk a process keeps the validation part it read last,
        since it divides them for one stack after the other.
    all_labels : array (example,) or (example, label)
        Theirs; of several labels the first one counts.
    share : float
        Of the training examples that become the validation part, in (0, 1); about
        `MOST_VALIDATION` examples at most.

    Returns
    -------
    Data
        As `train` what is left of the training data, as `test` the validation part. Examples keep
        their order.

    Raises
    ------
    UsageError
        If a class has fewer than `FEWEST_OF_A_CLASS` training examples.
    """
    labels = first_labels(all_labels)
    share = min(share, MOST_VALIDATION / len(labels))
    held_out = np.zeros(len(labels), dtype=bool)
    for name in np.unique(labels):
        places = np.flatnonzero(labels == name)
        if len(places) < FEWEST_OF_A_CLASS:
            raise UsageError(
                f"class {name} has {len(places)} training examples; expected at least "
                f"{FEWEST_OF_A_CLASS}, to train on some and validate on the others. Take more "
                "training data"
            )
        count = min(max(round(share * len(places)), 1), len(places) - 1)
        order = keyed_rng("validation", len(labels), int(name)).permutation(len(places))
        held_out[places[order[:count]]] = True
    kept, validation = np.flatnonzero(~held_out), np.flatnonzero(held_out)
    return Data(
        _some(images, kept),
        all_labels[kept],
        images[validation] if isinstance(images, np.ndarray) else _read.of(images, validation),
        all_labels[validation],
    )


def _some(images: np.ndarray | Images, places: np.ndarray) -> Any:
    """Return some images; those on disk stay there."""
    return images[places] if isinstance(images, np.ndarray) else _Chosen(images, places)


class _LastRead:
    """Images that were read last; to ask for the same again reads nothing."""

    def __init__(self) -> None:
        self.kept: tuple[Images, np.ndarray, np.ndarray] | None = None

    def of(self, images: Images, places: np.ndarray) -> np.ndarray:
        kept = self.kept
        if kept is not None and kept[0] is images and np.array_equal(kept[1], places):
            return kept[2]
        self.kept = kept = None  # never two of them in memory
        read = images.read(places)
        self.kept = images, places, read
        return read


_read = _LastRead()
