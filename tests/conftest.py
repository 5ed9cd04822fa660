"""A cohort small enough to be trained within the tests, shared by all of them."""

from __future__ import annotations

from pathlib import Path

import pytest

TINY_RECIPE = """
name = "tiny"

[grid]
rule = ["sgdm", "adam", "feedback_alignment", "information_alignment"]
architecture = "mlp"
task = "digits"
model_seed = [0, 1, 2]

[grid.learning_rate]
sgdm = [0.02, 0.05]
adam = [0.001, 0.003]
feedback_alignment = [0.02, 0.05]
information_alignment = [0.02, 0.05]

[training]
epochs = 1
checkpoints = 5

[architectures.mlp]
width = 24
depth = 3

[storage]
units = 16
stimuli = 4
synapses = 16
pairs = 4
pair_stimuli = 2
validation = 4
"""


@pytest.fixture(scope="session")
def tiny_recipe_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recipe of `tiny_cohort_path`."""
    path = tmp_path_factory.mktemp("recipe") / "tiny.toml"
    path.write_text(TINY_RECIPE, encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def tiny_cohort_path(tiny_recipe_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 organisms: 4 rules, 2 learning rates, 3 seeds; 16 units, 4 stimuli, 5 checkpoints."""
    import torch

    from lrplan.simulate.pack import pack, write_part
    from lrplan.simulate.recipe import read_recipe
    from lrplan.simulate.train import train

    recipe = read_recipe(tiny_recipe_path)
    directory = tmp_path_factory.mktemp("cohort")
    parts = []
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    for spec in recipe.specs:
        [trained] = train([spec], recipe.storage)
        parts.append(directory / f"{spec.hash}.npz")
        write_part(parts[-1], trained)
    torch.set_num_threads(before)
    out = directory / "tiny.zarr"
    pack(recipe, parts, out, {"lrplan_version": "0", "torch_version": "0", "device": "cpu"})
    return out
