"""Digits are read and split without scikit-learn, as scikit-learn would."""

from __future__ import annotations

import numpy as np

from lrplan.simulate.tasks import digits


def test_pixels_and_split_are_those_of_scikit_learn():
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    there = load_digits()
    expected = train_test_split(
        np.arange(len(there.target)),
        test_size=digits.TEST_FRACTION,
        stratify=there.target,
        random_state=0,
    )
    pixels, target = digits._read()
    np.testing.assert_array_equal(pixels, there.data)
    np.testing.assert_array_equal(target, there.target)
    for ours, theirs in zip(digits._split(target), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
