"""What every architecture keeps to, under every credit assignment."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lrplan.simulate.architectures import Head, architectures
from lrplan.simulate.network import Pass, init_backward, init_params, layer_positions
from lrplan.simulate.rules import rules

HEADS = [Head("readout", 10), Head("contrastive", 24)]
CREDITS = {rule.credit_name: rule.credit for _, rule in rules.items()}


def built(name, head):
    architecture = architectures.get(name)
    size = architecture.size or 8
    network = architecture.build((1, size, size), head, **architecture.settings)
    x = np.random.default_rng(0).standard_normal((5, 1, size, size)).astype(np.float32)
    return network, torch.from_numpy(x)


def tensors(arrays):
    return {k: torch.from_numpy(v) for k, v in arrays.items()}


@pytest.fixture(params=HEADS, ids=lambda h: h.kind)
def head(request):
    return request.param


@pytest.mark.parametrize("name", architectures.names())
def test_an_architecture_says_what_it_is(name):
    architecture = architectures.get(name)
    assert architecture.name == name
    assert architecture.summary.strip()
    assert architecture.cites.strip()
    assert isinstance(architecture.settings, dict)
    assert architecture.size is None or architecture.size >= 1


@pytest.mark.parametrize("name", architectures.names())
def test_layers_have_names_of_their_own_and_a_position(name, head):
    network, _ = built(name, head)
    names = [layer.name for layer in network.layers]
    assert len(names) == len(set(names))
    assert not any("." in n for n in names), "a dot parts the layer from its parameter"
    positions = layer_positions(network)
    assert len(positions) == len(names)
    assert set(positions) == {"early", "middle", "deep"}
    order = [("early", "middle", "deep").index(p) for p in positions]
    assert order == sorted(order)
    body = [p for n, p in zip(names, positions, strict=True) if not n.startswith("head")]
    g = max(1, len(body) // 3)
    assert body == ["early"] * g + ["middle"] * g + ["deep"] * (len(body) - 2 * g)
    assert all(p == "deep" for n, p in zip(names, positions, strict=True) if n.startswith("head"))


@pytest.mark.parametrize("name", architectures.names())
@pytest.mark.parametrize("credit", CREDITS)
def test_a_pass_records_every_layer_and_a_gradient_reaches_every_parameter(name, head, credit):
    network, x = built(name, head)
    params = tensors(init_params(network, np.random.default_rng(1)))
    backward = {}
    if CREDITS[credit].backward_weights:
        backward = tensors(init_backward(network, np.random.default_rng(2)))
    runs = []

    def loss(params):
        run = Pass(params, backward=backward, credit=CREDITS[credit])
        output = network.forward(run, x)
        runs.append(run)
        assert output.shape == (5, head.width)
        # Normalised layers make a plain sum blind to their weights.
        return (output * torch.arange(output.numel()).reshape(output.shape)).sin().sum()

    gradients = torch.func.grad(loss)(params)
    names = {layer.name for layer in network.layers}
    for record in (runs[0].inputs, runs[0].drives, runs[0].operations):
        assert set(record) == names
    assert set(runs[0].outputs) == names | {"features"}
    for layer in network.layers:
        assert params[f"{layer.name}.weight"].shape == layer.shape
        assert len(runs[0].inputs[layer.name]) == len(runs[0].outputs[layer.name]) == 5
    assert set(runs[0].batch_statistics) == {layer.name for layer in network.layers if layer.norm}
    for key, gradient in gradients.items():
        assert gradient.shape == params[key].shape
        assert torch.isfinite(gradient).all(), key
        assert gradient.abs().sum() > 0, key


@pytest.mark.parametrize("name", architectures.names())
def test_an_example_is_judged_on_its_own_once_statistics_are_fixed(name, head):
    network, x = built(name, head)
    params = tensors(init_params(network, np.random.default_rng(1)))
    first = Pass(params)
    network.forward(first, x)
    statistics = first.batch_statistics
    together = network.forward(Pass(params, statistics=statistics), x)
    for i in range(len(x)):
        alone = network.forward(Pass(params, statistics=statistics), x[i : i + 1])
        assert torch.allclose(alone[0], together[i], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", architectures.names())
def test_weights_start_where_the_seed_says(name, head):
    network, _ = built(name, head)
    one, same, other = (init_params(network, np.random.default_rng(s)) for s in (0, 0, 1))
    for key, value in one.items():
        assert value.dtype == np.float32
        np.testing.assert_array_equal(value, same[key])
        if key.endswith(".weight"):
            assert (value != other[key]).any()
            fan_in = int(np.prod(value.shape[1:]))
            assert 0.5 < value.std() * np.sqrt(fan_in) < 2
    back = init_backward(network, np.random.default_rng(0))
    assert list(back) == [layer.name for layer in network.layers[1:]]
    for layer in network.layers[1:]:
        assert back[layer.name].shape == layer.shape
