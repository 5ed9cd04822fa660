from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import RidgeClassifier

from lrplan.errors import UsageError
from lrplan.simulate.tasks import tasks
from lrplan.simulate.tasks.gratings import draw_gratings

TASK = tasks.get("gratings")


def draw(count, orientations=8, noise=0.0, seed=0):
    return draw_gratings(count, 16, orientations, noise, rng=np.random.default_rng(seed))


def test_orientations_are_balanced_and_the_same_generator_draws_the_same():
    images, labels = draw(40, noise=0.3)
    np.testing.assert_array_equal(images, draw(40, noise=0.3)[0])
    assert np.bincount(labels).tolist() == [5] * 8
    assert images.shape == (40, 1, 16, 16)
    assert images.dtype == np.uint8


def test_the_spectrum_peaks_at_the_orientation():
    images, labels = draw(200, orientations=4)
    spectrum = abs(np.fft.fft2(images[:, 0] - 127.5)) ** 2
    frequency = np.fft.fftfreq(16)
    angle = np.arctan2(frequency[:, None], frequency)
    # Twice the angle: a wave has no direction.
    mean = (spectrum * np.exp(2j * angle)).sum((1, 2))
    found = np.round(np.angle(mean) / 2 / (np.pi / 4)) % 4
    assert (found == labels).mean() > 0.9


def test_no_linear_readout_tells_the_orientation():
    # Of a grating and the same with light and dark exchanged it can be right in one at most.
    images, labels = draw(3000, noise=0.3)
    x = images.reshape(len(images), -1) / 255.0
    readout = RidgeClassifier(alpha=100.0).fit(x[:2000], labels[:2000])
    assert readout.score(x[2000:], labels[2000:]) < 0.5


def test_held_out_images_are_others():
    data = TASK.load(None, TASK.settings | {"train": 40, "test": 16})
    assert not any((image == data.train).all((1, 2, 3)).any() for image in data.test)


def test_the_readout_has_a_class_for_each_orientation():
    assert TASK.head(TASK.settings | {"orientations": 6}).width == 6


@pytest.mark.parametrize(
    ("key", "value"), [("train", 5), ("edge", 4), ("orientations", 1), ("noise", -0.1)]
)
def test_settings_that_cannot_be_are_refused(key, value):
    with pytest.raises(UsageError, match=rf"gratings\.{key} is {value}"):
        TASK.check(TASK.settings | {key: value})
