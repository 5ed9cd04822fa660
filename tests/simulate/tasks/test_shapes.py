from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import RidgeClassifier

from lrplan.errors import UsageError
from lrplan.simulate.tasks import tasks
from lrplan.simulate.tasks.shapes import SHAPES, _coverage, draw_shapes

TASK = tasks.get("shapes")


def test_the_same_generator_draws_the_same_images():
    one, labels = draw_shapes(40, 32, rng=np.random.default_rng(3))
    again, _ = draw_shapes(40, 32, rng=np.random.default_rng(3))
    other, _ = draw_shapes(40, 32, rng=np.random.default_rng(4))
    np.testing.assert_array_equal(one, again)
    assert (one != other).mean() > 0.5
    assert np.bincount(labels).tolist() == [4] * 10


def test_held_out_images_do_not_depend_on_how_many_are_trained_on():
    small = TASK.settings | {"train": 50, "test": 30}
    one, two = TASK.load(None, small), TASK.load(None, small | {"train": 70})
    np.testing.assert_array_equal(one.test, two.test)
    assert not any((image == one.train).all((1, 2, 3)).any() for image in one.test)


def test_neither_area_nor_place_nor_colour_tells_the_shape():
    labels = np.arange(2000) % len(SHAPES)
    cover = _coverage(labels, 32, 1.0, np.random.default_rng(0))
    area = cover.mean((1, 2))
    means = np.array([area[labels == c].mean() for c in range(10)])
    assert means.max() / means.min() < 1.15
    assert area.min() > 0.03
    place = np.arange(32)
    middle = (cover.mean(1) @ place / area / 32, cover.mean(2) @ place / area / 32)
    for at in middle:
        of_class = np.array([at[labels == c].mean() for c in range(10)])
        assert abs(of_class - 15.5).max() < 1.5
        assert at.std() > 1.5
    # Edges are covered in part: they are smooth.
    assert ((cover > 0.05) & (cover < 0.95)).any((1, 2)).mean() > 0.95


def test_no_linear_readout_tells_the_shapes():
    images, labels = draw_shapes(3000, 16, rng=np.random.default_rng(0))
    x = images.reshape(len(images), -1) / 255.0
    readout = RidgeClassifier(alpha=100.0).fit(x[:2000], labels[:2000])
    assert readout.score(x[2000:], labels[2000:]) < 0.25


def test_with_no_variation_a_class_has_one_picture_but_for_contrast_and_grain():
    images, labels = draw_shapes(60, 16, rng=np.random.default_rng(0), variation=0.0)
    for c in range(10):
        same = images[labels == c].astype(float).reshape(6, -1)
        assert np.corrcoef(same)[0, 1:].min() > 0.9
    assert images[:, :, 0, 0].mean() < images[:, :, 8, 8].mean()


@pytest.mark.parametrize(
    ("key", "value"),
    [("train", 5), ("test", 0), ("edge", 8), ("variation", 1.5), ("variation", "x")],
)
def test_settings_that_cannot_be_are_refused(key, value):
    with pytest.raises(UsageError, match=rf"shapes\.{key} is {value!r}"):
        TASK.check(TASK.settings | {key: value})
