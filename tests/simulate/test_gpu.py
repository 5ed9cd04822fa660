"""Stacks on a GPU: the same organisms, to float tolerance at the start of training."""

from __future__ import annotations

import functools
import warnings

import numpy as np
import pytest
import torch

from lrplan import open_cohort
from lrplan.simulate.learn.learning import Learners, rule_order, stacked
from lrplan.simulate.learn.recorded import UPDATES_BEFORE, Recorded
from lrplan.simulate.learn.train import build, stack_key, train
from lrplan.simulate.network import init_backward, init_params
from lrplan.simulate.rules import rules
from lrplan.simulate.run.recipe import parse_recipe
from lrplan.simulate.run.simulate import simulate
from lrplan.simulate.run.stacks import stack_size

RECIPE = """
[grid]
rule = ["sgdm", "adam", "feedback_alignment", "information_alignment"]
architecture = ["mlp", "knet4"]
task = ["digits", "digits_simclr"]
batch_size = 128
model_seed = 0
[training]
epochs = 1
checkpoints = 4
[architectures.mlp]
width = 32
[architectures.knet4]
channels = [8, 8, 8]
[storage]
units = 16
stimuli = 8
pairs = 4
pair_stimuli = 2
validation = 16
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


@functools.cache
def on_the_cpu(place, precision):
    """Return a stack's organisms, trained on the CPU."""
    recipe = parse_recipe(RECIPE)
    return train(stacks(recipe)[place], recipe.storage, device="cpu", precision=precision)


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_stack_on_the_gpu_starts_as_on_the_cpu(place, precision, monkeypatch):
    # Otherwise a GPU rounds the inputs of a float32 convolution to 10 bits.
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    recipe = parse_recipe(RECIPE)
    there = train(stacks(recipe)[place], recipe.storage, device="cuda", precision=precision)
    for one, other in zip(there, on_the_cpu(place, "float32"), strict=True):
        for name in ("responses", "synapses", "paired"):
            np.testing.assert_allclose(
                one.arrays[name][:, 0], other.arrays[name][:, 0], rtol=1e-3, atol=1e-4
            )
        assert abs(one.arrays["performance"][-1] - other.arrays["performance"][-1]) < 0.1


@pytest.mark.parametrize("place", range(4))
def test_in_double_precision_a_gpu_trains_what_a_cpu_trains(place):
    recipe = parse_recipe(RECIPE)
    there = train(stacks(recipe)[place], recipe.storage, device="cuda", precision="float64")
    for one, other in zip(there, on_the_cpu(place, "float64"), strict=True):
        for name in ("responses", "synapses", "paired", "observables", "loss"):
            np.testing.assert_allclose(
                one.arrays[name],
                other.arrays[name],
                rtol=1e-3,
                atol=1e-4,
                err_msg=f"{name} of {one.spec.rule}",
            )


def learners_of(specs):
    """Return a stack on the GPU in double precision, and the shape of a batch."""
    specs = sorted(specs, key=lambda s: rule_order(rules.get(s.rule)))
    gpu, double = torch.device("cuda"), torch.float64
    _, task, settings, data, network = build(specs[0])
    params = stacked([init_params(network, s.rng("weights")) for s in specs], gpu, double)
    feedback = stacked([init_backward(network, s.rng("feedback")) for s in specs], gpu, double)
    rates = torch.tensor([s.learning_rate for s in specs], device=gpu, dtype=double)
    each = [rules.get(s.rule) for s in specs]
    views = 2 if task.objective == "self-supervised" else 1
    shape = (len(specs), views * 32, *data.train.shape[1:])
    return Learners(network, each, task, settings, params, feedback, rates), shape


@pytest.mark.parametrize("place", range(4))
def test_recorded_updates_are_those_that_python_makes(place):
    specs = stacks(parse_recipe(RECIPE))[place]
    made, shape = learners_of(specs)
    played, _ = learners_of(specs)
    recorded = Recorded(played)
    generator = torch.Generator().manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for step in range(UPDATES_BEFORE + 5):
            images = torch.rand(shape, generator=generator, dtype=torch.float64).cuda()
            labels = torch.randint(10, (len(specs), 32), generator=generator).cuda()
            made.learn(images, labels, 1 / (1 + step))
            recorded.learn(images, labels, 1 / (1 + step))
    assert recorded.is_recorded
    for kind in ("params", "feedback"):
        for name, p in getattr(made, kind).items():
            np.testing.assert_allclose(
                getattr(played, kind)[name].detach().cpu(),
                p.detach().cpu(),
                rtol=1e-10,
                atol=1e-10,
                err_msg=name,
            )


def test_what_cannot_be_recorded_is_told_and_made_all_the_same(monkeypatch):
    learners, shape = learners_of(stacks(parse_recipe(RECIPE))[0])
    learn = Learners.learn

    def reads_back(self, images, labels, share):
        learn(self, images, labels, share)
        assert float(images.sum()) >= 0  # waits for the device

    monkeypatch.setattr(Learners, "learn", reads_back)
    recorded = Recorded(learners)
    images = torch.rand(shape, dtype=torch.float64, device="cuda")
    labels = torch.zeros(shape[0], 32, dtype=torch.int64, device="cuda")
    for _ in range(UPDATES_BEFORE):
        recorded.learn(images, labels, 1.0)
    with pytest.warns(RuntimeWarning, match="could not be recorded"):
        recorded.learn(images, labels, 1.0)
    before = {k: p.detach().clone() for k, p in learners.params.items()}
    recorded.learn(images, labels, 1.0)
    assert recorded.reason is not None
    assert any(not torch.equal(p, before[k]) for k, p in learners.params.items())


def test_a_stack_fills_the_memory_that_is_free():
    recipe = parse_recipe(RECIPE)
    for specs in stacks(recipe):
        assert 1 <= stack_size(specs, recipe.storage, "cuda") <= len(specs)
        assert stack_size(specs, recipe.storage, "cuda", free_bytes=1) == 1


def test_a_recipe_runs_on_the_gpu(tmp_path):
    # Each stack is a process, which takes seconds to start.
    recipe = parse_recipe(RECIPE.replace('["mlp", "knet4"]', '"knet4"'))
    assert simulate(recipe, tmp_path / "c.zarr", device="cuda")
    cohort = open_cohort(tmp_path / "c.zarr")
    assert cohort.organism_ids == [s.hash for s in recipe.specs]
