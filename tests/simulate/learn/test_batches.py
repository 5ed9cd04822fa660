"""Batches in the precision that was asked for."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lrplan.simulate.learn.batches import Batches
from lrplan.simulate.run.recipe import parse_recipe
from lrplan.simulate.tasks import Data, tasks

RECIPE = """
[grid]
rule = "sgdm"
architecture = "mlp"
task = "{task}"
batch_size = 5
[training]
epochs = 1
checkpoints = 2
"""


@pytest.mark.parametrize("task", ["digits", "digits_simclr", "shapes", "simclr"])
def test_views_in_double_precision_are_computed_in_it(task):
    """Rounding to single precision, which devices do differently, happens nowhere."""
    spec = parse_recipe(RECIPE.format(task=task)).specs[0]
    what = tasks.get(task)
    settings = what.settings
    rng = np.random.default_rng(0)
    images = rng.random((10, 3, 16, 16))
    stored = (
        (255 * images).astype(np.uint8)
        if not task.startswith("digits")
        else images.astype(np.float32)
    )
    data = Data(stored, np.zeros(10, dtype=np.int64), stored, np.zeros(10, dtype=np.int64))

    def first(data, dtype):
        args = ([spec], what, settings, data, 1, torch.device("cpu"), dtype)
        return next(iter(Batches(*args)))[0]

    exact = stored / 255 if stored.dtype == np.uint8 else stored.astype(np.float64)
    doubles = Data(exact, data.train_labels, exact, data.test_labels)
    found = first(data, torch.float64)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, first(doubles, torch.float64), rtol=0, atol=0)
    torch.testing.assert_close(found.float(), first(data, torch.float32), rtol=1e-4, atol=1e-4)
    if what.augmentation(rng, 1, 1, settings) is not None:
        assert not torch.equal(found, found.float().double())
