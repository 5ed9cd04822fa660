"""Stacks on a GPU: the same organisms, to float tolerance at the start of training."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lrplan import open_cohort
from lrplan.simulate.recipe import parse_recipe
from lrplan.simulate.run import simulate
from lrplan.simulate.train import train

RECIPE = """
[grid]
rule = ["sgdm", "information_alignment"]
architecture = ["mlp", "knet4"]
task = ["digits", "digits_simclr"]
model_seed = [0, 1, 2]
[training]
epochs = 2
checkpoints = 5
[storage]
units = 64
"""

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
]


def test_a_stack_on_the_gpu_starts_as_on_the_cpu():
    recipe = parse_recipe(RECIPE)
    specs = list(recipe.specs)[:3]
    there = train(specs, recipe.storage, device="cuda")
    here = train(specs, recipe.storage, device="cpu")
    for one, other in zip(there, here, strict=True):
        for name in ("responses", "synapses", "paired"):
            np.testing.assert_allclose(
                one.arrays[name][:, 0], other.arrays[name][:, 0], rtol=1e-3, atol=1e-4
            )
        assert abs(one.arrays["performance"][-1] - other.arrays["performance"][-1]) < 0.1


def test_a_recipe_runs_on_the_gpu(tmp_path):
    recipe = parse_recipe(RECIPE)
    assert simulate(recipe, tmp_path / "c.zarr", device="cuda")
    cohort = open_cohort(tmp_path / "c.zarr")
    assert cohort.organism_ids == [s.hash for s in recipe.specs]
