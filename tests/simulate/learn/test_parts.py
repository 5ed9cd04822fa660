"""Parts of data: a validation part that is taken from the training data alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lrplan.errors import UsageError
from lrplan.simulate.learn import parts
from lrplan.simulate.learn.parts import halves, validation_split
from lrplan.simulate.tasks import Data


class Untouchable:
    """Test data at which nothing may look."""

    def __getattribute__(self, name):
        raise AssertionError(f"test data were asked for {name}")

    def __getitem__(self, places):
        raise AssertionError("test data were read")

    def __len__(self):
        raise AssertionError("test data were counted")


class OnDisk:
    """Images that are read when they are needed."""

    def __init__(self, images):
        self.images, self.shape, self.dtype = images, images.shape, images.dtype
        self.reads = 0

    def __len__(self):
        return len(self.images)

    def read(self, places):
        self.reads += 1
        return self.images[places]


def data(labels, *, on_disk=False):
    """Images that hold their own place, and their labels."""
    images = np.arange(len(labels), dtype=np.float32)[:, None, None, None]
    return OnDisk(images) if on_disk else images, np.asarray(labels)


def places(images):
    read = images if isinstance(images, np.ndarray) else images.read(np.arange(len(images)))
    return read.ravel().astype(int)


@pytest.mark.parametrize("on_disk", [False, True])
def test_training_data_are_divided_by_class(on_disk):
    labels = np.arange(200) % 4
    whole = data(labels, on_disk=on_disk)
    split = validation_split(*whole, 0.2)
    kept, validation = places(split.train), places(split.test)
    assert sorted([*kept, *validation]) == list(range(200))
    assert list(kept) == sorted(kept)
    assert np.bincount(split.test_labels).tolist() == [10, 10, 10, 10]
    np.testing.assert_array_equal(split.train_labels, labels[kept])
    np.testing.assert_array_equal(split.test_labels, labels[validation])
    assert isinstance(split.test, np.ndarray)


def test_the_validation_part_of_images_on_disk_is_read_once():
    """A process divides them for each stack."""
    images, labels = data(np.arange(100) % 2, on_disk=True)
    one, again = (validation_split(images, labels, 0.2).test for _ in range(2))
    assert images.reads == 1
    np.testing.assert_array_equal(one, again)
    other = validation_split(images, labels, 0.4).test
    assert (len(one), len(other), images.reads) == (20, 40, 2)
    # Others of the same kind are others.
    images, labels = data(np.arange(100)[::-1] % 2, on_disk=True)
    images.images = images.images + 1000
    assert places(validation_split(images, labels, 0.4).test).min() >= 1000


def test_the_division_is_the_same_every_time_and_follows_no_order():
    one, again = (validation_split(*data(np.arange(100) % 2), 0.3) for _ in range(2))
    np.testing.assert_array_equal(one.test, again.test)
    assert len(set(np.diff(places(one.test)))) > 1


def test_of_several_labels_the_first_counts():
    labels = np.stack([np.arange(40) % 2, np.arange(40)], axis=1)
    split = validation_split(*data(labels), 0.25)
    assert np.bincount(split.test_labels[:, 0]).tolist() == [5, 5]
    assert split.train_labels.shape == (30, 2)


def test_each_class_is_on_both_sides_however_small_the_share():
    split = validation_split(*data([0] * 5 + [1] * 95), 0.01)
    assert np.bincount(split.test_labels).tolist() == [1, 1]
    split = validation_split(*data([0] * 5 + [1] * 95), 0.5)
    assert np.bincount(split.train_labels).tolist() == [3, 47]


def test_too_few_examples_of_a_class_are_refused():
    with pytest.raises(UsageError, match="class 1 has 4 training examples; expected at least 5"):
        validation_split(*data([0] * 50 + [1] * 4), 0.2)


def test_a_large_set_gives_no_larger_a_part_than_is_needed(monkeypatch):
    monkeypatch.setattr(parts, "MOST_VALIDATION", 20)
    assert len(validation_split(*data(np.arange(400) % 2), 0.2).test) == 20


def test_halves_of_a_divided_set_are_those_of_its_parts():
    early, late = halves(validation_split(*data(np.arange(100) % 4), 0.2))
    assert set(early.test_labels) == set(early.train_labels) == {0, 1}
    assert set(late.test_labels) == {2, 3}


def test_an_organism_that_is_tried_is_built_on_the_training_data(monkeypatch):
    from lrplan.simulate.learn.train import build
    from lrplan.simulate.run.recipe import parse_recipe
    from lrplan.simulate.tasks import tasks

    text = '[grid]\nrule = "sgdm"\narchitecture = "mlp"\ntask = "digits"\n'
    [spec] = parse_recipe(text).specs
    tried = replace(spec, settings={**spec.settings, "training": {"validation": 0.2}})
    whole, part = build(spec)[3], build(tried)[3]
    assert len(part.train) + len(part.test) == len(whole.train)
    hidden = Data(whole.train, whole.train_labels, Untouchable(), Untouchable())
    monkeypatch.setattr(type(tasks.get("digits")), "load", lambda *args: hidden)
    again = build(tried)[3]
    np.testing.assert_array_equal(again.test, part.test)
