"""What reaches a weight, against autodiff on the stated equivalences, in float64."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from lrplan.errors import UsageError
from lrplan.simulate.architectures import Head, architectures
from lrplan.simulate.credits import Conv, Linear, Observed, Visit
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
    """The way of one step is along the gradient of the published loss, as far as is best."""
    x, _ = batch
    params = tensors(init_params(network, np.random.default_rng(1)))
    backward = tensors(init_backward(network, np.random.default_rng(2)))
    credit = InformationAlignment(steps=1, rate=1.0)
    run = Pass(params, credit=credit, backward=backward)
    network.forward(run, x)
    for name, b in backward.items():
        [visit], op = run.visits[name], run.operations[name]
        w = params[f"{name}.weight"]
        seen = Observed(op, w, b, [visit])
        x = visit.x - visit.x.mean(tuple(range(1, visit.x.ndim)), keepdim=True)
        z = op.forward(x, w)
        of_x, of_z = ((t * t).sum() / (len(t) * t.shape[1]) for t in (x, z))
        x, z, scale = x / of_x.sqrt(), z / of_z.sqrt(), torch.sqrt(of_x / of_z)

        def loss(b, op=op, x=x, z=z, w=w, scale=scale):
            b = scale * b
            carried = op.transpose(z, b, x)
            amp = -(x * carried).sum() / len(x)
            null = (carried * carried).sum() / len(x)
            decay = (w * w).sum() + (b * b).sum()
            return credit.amp * amp + credit.null * null + credit.decay * decay

        expected = torch.func.grad(loss)(b)
        found = -credit.update_backward(seen)
        scale = (found * expected).sum() / (expected * expected).sum()
        assert scale > 0
        assert torch.allclose(found, scale * expected, rtol=1e-8, atol=1e-12)
        assert loss(b - found) < min(loss(b), loss(b - 0.9 * found), loss(b - 1.1 * found))
        least = credit.minimiser(seen)
        slope = torch.func.grad(loss)(least)
        assert slope.norm() < 1e-5 * torch.func.grad(loss)(torch.zeros_like(b)).norm()


def test_minimum_of_information_alignment_of_a_linear_layer_is_ridge_regression():
    rng = np.random.default_rng(0)
    w = torch.from_numpy(rng.standard_normal((5, 8)))
    x = torch.from_numpy(rng.standard_normal((64, 8)) @ rng.standard_normal((8, 8)) + 3)
    credit = InformationAlignment(amp=2e-3, null=1e-3, decay=5e-4)
    seen = Observed(Linear(), w, torch.zeros_like(w), [Visit(x, x @ w.T)])
    x = x - x.mean(1, keepdim=True)
    z = x @ w.T
    of_x, of_z = (x * x).mean(), (z * z).mean()
    ridge = 0.5 * 64 * of_z * torch.eye(5, dtype=torch.float64)
    expected = of_z / of_x * torch.linalg.solve(z.T @ z + ridge, z.T @ x)
    assert torch.allclose(credit.minimiser(seen), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("op", [Conv(stride=1, padding=1), Conv(stride=2, padding=1), Linear()])
def test_information_alignment_comes_close_to_its_minimum_in_tens_of_updates(op):
    """On inputs with a mean far above their spread, which once kept B where it was."""
    rng = np.random.default_rng(0)
    shape = (6, 9) if isinstance(op, Linear) else (6, 4, 3, 3)
    places = () if isinstance(op, Linear) else (8, 8)
    w = torch.from_numpy(rng.standard_normal(shape) / 3)
    b = torch.from_numpy(rng.standard_normal(shape) / 3)
    credit = InformationAlignment()
    for _ in range(60):
        x = torch.from_numpy(5 + rng.standard_normal((256, shape[1], *places)))
        seen = Observed(op, w, b, [Visit(x, op.forward(x, w))])
        b = b + credit.update_backward(seen)
    least = credit.minimiser(replace(seen, backward=b))
    assert (b - least).norm() < 0.3 * least.norm()
    assert torch.cosine_similarity(b.flatten(), w.flatten(), dim=0) > 0.5


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"rate": 0.0}, "rate is 0.0; expected a share above 0"),
        ({"rate": 1.5}, "rate is 1.5"),
        ({"steps": 0}, "steps is 0; expected a whole number"),
        ({"steps": 1.5}, "steps is 1.5"),
        ({"decay": -1.0}, "decay is -1.0"),
        ({"null": 0.0, "decay": 0.0}, "null and decay are both 0"),
    ],
)
def test_settings_under_which_feedback_cannot_settle_are_refused(settings, said):
    with pytest.raises(UsageError, match=said):
        InformationAlignment(**settings)
