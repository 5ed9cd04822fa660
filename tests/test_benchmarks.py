"""What benchmarks compare is the same thing on both sides."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from lrplan.simulate.run.preflight import sized

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def gpu():
    spec = importlib.util.spec_from_file_location("gpu", BENCHMARKS / "gpu.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("quick", [True, False])
@pytest.mark.parametrize("name", ["mlp", "knet4", "resnet18"])
def test_the_plain_loop_trains_the_same_network(gpu, name, quick):
    """Weights, biases, and a scale and a shift of each batch normalisation."""
    spec = gpu.one_recipe(name, 1, gpu.RULES[:1], quick).specs[0]
    network, extent = sized(spec)
    plain = [tuple(p.shape) for p in gpu.plain_network(name, extent.shape, quick).parameters()]
    ours = []
    for layer in network.layers:
        ours += [layer.shape] + [(layer.shape[0],)] * (layer.bias + 2 * layer.norm)
    assert sorted(plain) == sorted(ours)
