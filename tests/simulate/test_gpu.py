"""Stacks on a GPU: the same organisms, to float tolerance at the start of training."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lrplan import open_cohort
from lrplan.simulate.learn.train import stack_key, train
from lrplan.simulate.run.recipe import parse_recipe
from lrplan.simulate.run.simulate import simulate
from lrplan.simulate.run.stacks import stack_size

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


def stacks(recipe):
    """Return the organisms of a recipe by what may train together."""
    groups = {}
    for spec in recipe.specs:
        groups.setdefault(stack_key(spec), []).append(spec)
    return list(groups.values())


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("place", range(4))
def test_a_stack_on_the_gpu_starts_as_on_the_cpu(place, precision, monkeypatch):
    # Otherwise a GPU rounds the inputs of a float32 convolution to 10 bits.
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    recipe = parse_recipe(RECIPE)
    specs = stacks(recipe)[place]
    there = train(specs, recipe.storage, device="cuda", precision=precision)
    here = train(specs, recipe.storage, device="cpu", precision="float32")
    for one, other in zip(there, here, strict=True):
        for name in ("responses", "synapses", "paired"):
            np.testing.assert_allclose(
                one.arrays[name][:, 0], other.arrays[name][:, 0], rtol=1e-3, atol=1e-4
            )
        assert abs(one.arrays["performance"][-1] - other.arrays["performance"][-1]) < 0.1


def test_in_double_precision_a_gpu_trains_what_a_cpu_trains():
    recipe = parse_recipe(RECIPE)
    for specs in stacks(recipe):
        there = train(specs, recipe.storage, device="cuda", precision="float64")
        here = train(specs, recipe.storage, device="cpu", precision="float64")
        for one, other in zip(there, here, strict=True):
            for name in ("responses", "synapses", "paired", "observables", "loss"):
                np.testing.assert_allclose(
                    one.arrays[name], other.arrays[name], rtol=1e-3, atol=1e-4, err_msg=name
                )


def test_a_stack_fills_the_memory_that_is_free():
    recipe = parse_recipe(RECIPE)
    for specs in stacks(recipe):
        assert 1 <= stack_size(specs, recipe.storage, "cuda") <= len(specs)
        assert stack_size(specs, recipe.storage, "cuda", free_bytes=1) == 1


def test_a_recipe_runs_on_the_gpu(tmp_path):
    recipe = parse_recipe(RECIPE)
    assert simulate(recipe, tmp_path / "c.zarr", device="cuda")
    cohort = open_cohort(tmp_path / "c.zarr")
    assert cohort.organism_ids == [s.hash for s in recipe.specs]
