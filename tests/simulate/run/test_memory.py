"""Memory of a stack, counted in a rehearsal without any."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lrplan.simulate.run.memory import PROCESS_BYTES, process_bytes, tensor_bytes
from lrplan.simulate.run.preflight import sized
from lrplan.simulate.run.recipe import parse_recipe

RECIPE = """
[grid]
rule = {rules}
architecture = "{architecture}"
task = "{task}"
batch_size = 16
model_seed = [0, 1]
[training]
epochs = 1
checkpoints = 3
[storage]
units = 16
stimuli = 3
pairs = 4
pair_stimuli = 2
validation = 4
[architectures.knet4]
channels = [4, 4]
[architectures.resnet18]
stem = "small"
width = 2
[tasks.shapes]
train = 4000
test = 40
"""


def recipe(rules='["sgdm"]', architecture="knet4", task="digits"):
    return parse_recipe(RECIPE.format(rules=rules, architecture=architecture, task=task))


@pytest.mark.parametrize("architecture", ["mlp", "knet4", "resnet18"])
@pytest.mark.parametrize("task", ["digits", "digits_simclr", "shapes"])
def test_weights_gradients_and_moments_are_counted_for_each_organism(architecture, task):
    """Also for tasks whose loss has no labels, and rules with backward weights of their own."""
    made = recipe('["adam", "information_alignment"]', architecture, task)
    network, extent = sized(made.specs[0])
    weights = sum(int(np.prod(layer.shape)) for layer in network.layers)
    one, four = (tensor_bytes(s, made.storage) for s in (made.specs[:1], made.specs))
    # Weights, gradients, two moments; of four organisms also backward weights.
    assert one > 4 * 4 * weights
    assert four > 4 * 5 * 4 * weights
    assert four > one
    pixels = int(np.prod(extent.shape))
    data = 4 * pixels * (extent.train + extent.test)
    assert process_bytes(made.specs, made.storage) > PROCESS_BYTES + data + four


def test_what_a_look_shows_is_counted():
    made = recipe()
    more = replace(made.storage, validation=256)
    assert tensor_bytes(made.specs, more) > tensor_bytes(made.specs, made.storage)


def test_a_larger_batch_takes_more():
    made = recipe(architecture="resnet18")
    larger = [replace(s, batch_size=2048) for s in made.specs]
    assert tensor_bytes(larger, made.storage) > 2 * tensor_bytes(made.specs, made.storage)


def test_errors_that_layers_learn_from_are_counted():
    """What feedback alignment holds, and what information alignment works with besides."""
    fixed, moving = (
        recipe(f'["{rule}"]', "resnet18")
        for rule in ("feedback_alignment", "information_alignment")
    )
    specs = [[replace(s, batch_size=2048) for s in r.specs] for r in (fixed, moving)]
    assert tensor_bytes(specs[1], moving.storage) > tensor_bytes(specs[0], fixed.storage)


def test_no_data_are_read(monkeypatch):
    made = recipe(task="shapes")

    def load(*args):
        raise AssertionError("data were read")

    monkeypatch.setattr("lrplan.simulate.tasks.shapes.Shapes.load", load)
    assert process_bytes(made.specs, made.storage) > PROCESS_BYTES
