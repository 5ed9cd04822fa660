"""Organisms learn every task from files in the real formats."""

from __future__ import annotations

import json

import numpy as np
import pytest

from lrplan.simulate.learn.train import train
from lrplan.simulate.run.recipe import parse_recipe

RECIPE = """
[grid]
rule = "sgdm"
architecture = "mlp"
task = "{task}"
batch_size = 8
learning_rate = 0.02
model_seed = [0, 1]
[training]
epochs = 2
checkpoints = 3
[storage]
units = 6
stimuli = 3
synapses = 6
pairs = 2
pair_stimuli = 2
validation = 3
[architectures.mlp]
width = 8
[tasks.{task}]
{settings}
"""
OVER_CIFAR10 = {"over": "cifar10", "over_settings": {"partial": True}, "views": {"hue": 0.2}}


def toml(value) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k} = {toml(v)}" for k, v in value.items()) + "}"
    return json.dumps(value)


@pytest.mark.parametrize("task", ["cifar10", "imagenet", "shapes", "simclr", "tones", "wsn"])
def test_a_stack_learns(data, small_settings, task):
    given = OVER_CIFAR10 if task == "simclr" else small_settings[task]
    lines = "\n".join(f"{k} = {toml(v)}" for k, v in given.items())
    made = parse_recipe(RECIPE.format(task=task, settings=lines))
    for organism in train(list(made.specs), made.storage):
        assert not organism.diverged
        loss, performance = organism.arrays["loss"], organism.arrays["performance"]
        assert loss.shape == performance.shape == (3,)
        assert np.isfinite(loss).all()
        assert ((performance >= 0) & (performance <= 1)).all()
        assert loss[-1] != loss[0]
