"""What reaches a weight, against autodiff on the stated equivalences, in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lrplan.simulate.architectures import Head, architectures
from lrplan.simulate.credits import Linear, Observed, Visit
from lrplan.simulate.credits.backpropagation import Backpropagation
from lrplan.simulate.credits.feedback_alignment import FeedbackAlignment
from lrplan.simulate.credits.information_alignment import InformationAlignment
from lrplan.simulate.network import Pass, init_backward, init_params

NETWORKS = [
    ("mlp", {"width": 12, "depth": 3}),
    ("knet4", {"channels": [4, 5, 6]}),
    ("knet4_lrn", {"channels": [4, 5, 6]}),
    ("resnet18", {"width": 3, "stem": "small"}),
    ("resnet18v2", {"width": 3, "stem": "small"}),
    ("alexnet_lrn", {"width": 2, "stem": "small"}),
]


@pytest.fixture(params=NETWORKS, ids=lambda p: p[0])
def network(request):
    name, settings = request.param
    return architectures.get(name).build((1, 16, 16), Head("readout", 10), **settings)


def tensors(arrays):
    return {k: torch.from_numpy(v).double() for k, v in arrays.items()}


def gradients(network, params, credit, backward, x, y):
    def loss(params):
        run = Pass(params, credit=credit, backward=backward)
        return torch.nn.functional.cross_entropy(network.forward(run, x), y)

    return torch.func.grad(loss)(params)


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.standard_normal((7, 1, 16, 16)))
    return x, torch.from_numpy(rng.integers(0, 10, 7))


def test_feedback_alignment_with_transposed_weights_is_backpropagation(network, batch):
    params = tensors(init_params(network, np.random.default_rng(1)))
    same = {layer.name: params[f"{layer.name}.weight"] for layer in network.layers[1:]}
    expected = gradients(network, params, Backpropagation(), {}, *batch)
    found = gradients(network, params, FeedbackAlignment(), same, *batch)
    for name, value in expected.items():
        assert torch.allclose(found[name], value, rtol=0, atol=1e-10), name


def test_random_feedback_changes_all_but_the_last_layer(network, batch):
    params = tensors(init_params(network, np.random.default_rng(1)))
    backward = tensors(init_backward(network, np.random.default_rng(2)))
    expected = gradients(network, params, Backpropagation(), {}, *batch)
    found = gradients(network, params, FeedbackAlignment(), backward, *batch)
    names = [layer.name for layer in network.layers]
    assert torch.allclose(found[f"{names[-1]}.weight"], expected[f"{names[-1]}.weight"], atol=1e-12)
    for name in names[:-1]:
        ours, theirs = found[f"{name}.weight"].flatten(), expected[f"{name}.weight"].flatten()
        assert torch.cosine_similarity(ours, theirs, dim=0) < 0.9, name


def test_stacked_gradients_are_those_of_each_organism(network, batch):
    x, y = batch
    each = [tensors(init_params(network, np.random.default_rng(i))) for i in range(3)]
    backward = [tensors(init_backward(network, np.random.default_rng(9 + i))) for i in range(3)]

    def stack(many):
        return {k: torch.stack([m[k] for m in many]) for k in many[0]}

    together = torch.func.vmap(
        lambda p, b: gradients(network, p, FeedbackAlignment(), b, x, y), in_dims=(0, 0)
    )(stack(each), stack(backward))
    for i in range(3):
        alone = gradients(network, each[i], FeedbackAlignment(), backward[i], x, y)
        for name, value in alone.items():
            assert torch.allclose(together[name][i], value, rtol=0, atol=1e-10), name


def test_information_alignment_moves_down_its_published_loss(network, batch):
    x, _ = batch
    params = tensors(init_params(network, np.random.default_rng(1)))
    backward = tensors(init_backward(network, np.random.default_rng(2)))
    credit = InformationAlignment()
    run = Pass(params, credit=credit, backward=backward)
    network.forward(run, x)
    for name, b in backward.items():
        [visit], op = run.visits[name], run.operations[name]
        x, z, w = visit.x, visit.z, params[f"{name}.weight"]

        def loss(b, op=op, x=x, z=z, w=w):
            carried = op.transpose(z, b, x)
            amp = -(x * carried).sum() / len(x)
            null = (carried * carried).sum() / len(x)
            decay = (w * w).sum() + (b * b).sum()
            return credit.amp * amp + credit.null * null + credit.decay * decay

        expected = torch.func.grad(loss)(b)
        found = -credit.update_backward(Observed(op, w, b, [visit]))
        scale = (found * expected).sum() / (expected * expected).sum()
        assert scale > 0
        assert torch.allclose(found, scale * expected, rtol=1e-8, atol=1e-12)
        assert loss(b - found) < loss(b)


def test_information_alignment_of_a_linear_layer_finds_the_inverse():
    rng = np.random.default_rng(0)
    w = torch.from_numpy(rng.standard_normal((6, 6)) + 2 * np.eye(6))
    b = torch.from_numpy(rng.standard_normal((6, 6)))
    credit = InformationAlignment(decay=0.0, rate=1.0)
    for _ in range(20_000):
        x = torch.from_numpy(rng.standard_normal((64, 6)))
        b = b + credit.update_backward(Observed(Linear(), w, b, [Visit(x, x @ w.T)]))
    # B stands in the shape of W; errors go back through its transpose.
    assert torch.allclose(b.T @ w, torch.eye(6, dtype=torch.float64), atol=1e-3)
