"""Layers of a stack under vmap are, in double precision, those of each organism."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from lrplan.simulate.architectures import Head, architectures
from lrplan.simulate.credits import Conv, Linear, carry_back
from lrplan.simulate.credits._operations import _LinearOfStack
from lrplan.simulate.credits.feedback_alignment import FeedbackAlignment
from lrplan.simulate.learn import passes
from lrplan.simulate.network import init_backward, init_params

ORGANISMS, EXAMPLES = 3, 5
SHAPES = [(1, 4, 1), (3, 2, 3), (2, 2, 2), (1, 1, 3)]
CONVOLUTIONS = [
    pytest.param(Conv(stride, padding), shape, id=f"conv {shape} stride {stride} pad {padding}")
    for shape, stride, padding in itertools.product(SHAPES, (1, 2), (0, 1, 2))
]
OPERATIONS = [pytest.param(Linear(), (4, 6, 0), id="linear"), *CONVOLUTIONS]


def close(one, other):
    torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-11)


@pytest.fixture
def layer(request):
    """A layer's inputs, weights, other weights and errors, with a first axis for organisms."""
    op, (inputs, outputs, kernel) = request.param
    generator = torch.Generator().manual_seed(0)

    def drawn(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    size = () if isinstance(op, Linear) else (7, 6)
    x = drawn(ORGANISMS, EXAMPLES, inputs, *size)
    weight, other = (drawn(ORGANISMS, outputs, inputs, *[kernel] * len(size)) for _ in range(2))
    return op, x, weight, other, torch.randn_like(torch.func.vmap(op.forward)(x, weight))


def each(function, *stacks):
    return torch.stack([function(*one) for one in zip(*stacks, strict=True)])


def layers(found):
    return pytest.mark.parametrize(
        "layer", [p.values for p in found], indirect=True, ids=[p.id for p in found]
    )


@layers(OPERATIONS)
def test_a_stack_goes_forwards_and_back_as_each_organism(layer):
    op, x, weight, other, dz = layer

    def z_and_gradients(way):
        inputs = [t.clone().requires_grad_() for t in (x, weight)]
        z = way(*inputs)
        return z, *torch.autograd.grad(z, inputs, dz)

    def one(x, w, b):
        return carry_back(op, x, w, b)

    stack = z_and_gradients(lambda x, w: torch.func.vmap(one)(x, w, other))
    alone = z_and_gradients(lambda x, w: each(one, x, w, other))
    for found, expected in zip(stack, alone, strict=True):
        close(found, expected)
    close(alone[1], each(op.transpose, dz, other, x))
    close(alone[2], each(op.weight_gradient, x, dz, weight))


@layers(OPERATIONS)
@pytest.mark.parametrize("shared", [None, 0, 1, 2])
def test_a_stack_is_asked_as_each_organism(layer, shared):
    """Also where all organisms have one of the tensors in common."""
    op, x, weight, _, dz = layer
    for function, tensors in (
        (op.transpose, (dz, weight, x)),
        (op.weight_gradient, (x, dz, weight)),
    ):
        tensors = [t[:1].expand_as(t) if i == shared else t for i, t in enumerate(tensors)]
        given = [t[0] if i == shared else t for i, t in enumerate(tensors)]
        dims = tuple(None if i == shared else 0 for i in range(3))
        close(torch.func.vmap(function, in_dims=dims)(*given), each(function, *tensors))


@layers(CONVOLUTIONS)
def test_an_answer_has_the_derivatives_of_its_sum(layer):
    """Of `transpose` and `weight_gradient` themselves, in a credit with a way back of its own."""
    op, x, weight, _, dz = (t[0] if isinstance(t, torch.Tensor) else t for t in layer)
    z, w = dz.requires_grad_(), weight.requires_grad_()
    assert torch.autograd.gradcheck(lambda z, w: op.transpose(z, w, x), (z, w))
    x = x.requires_grad_()
    assert torch.autograd.gradcheck(lambda x, z: op.weight_gradient(x, z, w.detach()), (x, z))


def test_vmap_in_vmap_is_vmap_over_both():
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, 3, 4, 2, 5, 5, generator=generator, dtype=torch.float64)
    weight, other = torch.randn(2, 2, 3, 4, 2, 3, 3, generator=generator, dtype=torch.float64)

    def one(x, w, b):
        return carry_back(Conv(1, 1), x, w, b)

    both = torch.func.vmap(torch.func.vmap(one))(x, weight, other)
    flat = torch.func.vmap(one)(*(t.flatten(0, 1) for t in (x, weight, other)))
    close(both.flatten(0, 1), flat)


@layers(OPERATIONS)
def test_activity_in_half_precision_gives_gradients_in_that_of_the_weights(layer):
    op, x, weight, _, dz = layer
    weight = weight.float()
    half = [t.to(torch.bfloat16) for t in (x, dz)]
    carried = torch.func.vmap(op.transpose)(half[1], weight, half[0])
    assert carried.dtype == torch.bfloat16
    assert torch.func.vmap(op.weight_gradient)(*half, weight).dtype == torch.float32


def of_all(tensor):
    """Return a stack's examples one after the other."""
    return tensor.flatten(0, 1)


def contract_of(op, x, weight, dz):
    """Return every operation that a layer of this kind has, each with its x, weight and dz."""
    stacked = passes._Stacked(op, ORGANISMS), of_all(x), weight, of_all(dz)
    found = [(op, x[0], weight[0], dz[0]), stacked]
    if isinstance(op, Linear):
        found.append((_LinearOfStack(), x, weight, dz))
    else:
        x, dz = (t.transpose(0, 1).flatten(1, 2) for t in (x, dz))
        found.append((op.of_stack(ORGANISMS), x, of_all(weight), dz))
    return found


@layers(OPERATIONS)
@pytest.mark.parametrize("which", range(3), ids=["alone", "one after another", "side by side"])
def test_every_operation_casts_weights_and_returns_their_precision(layer, which):
    """The contract of `Operation`: activity in half precision, weights in single."""
    op, x, weight, dz = contract_of(*layer[:3], layer[4])[which]
    weight = weight.float()
    x, dz = x.to(torch.bfloat16), dz.to(torch.bfloat16)
    carried = op.transpose(dz, weight, x)
    assert (carried.dtype, carried.shape) == (torch.bfloat16, x.shape)
    torch.testing.assert_close(
        carried, op.transpose(dz, weight.to(torch.bfloat16), x), rtol=0, atol=0
    )
    gradient = op.weight_gradient(x, dz, weight)
    assert (gradient.dtype, gradient.shape) == (torch.float32, weight.shape)
    torch.testing.assert_close(
        gradient, op.weight_gradient(x, dz, weight.to(torch.bfloat16)).float(), rtol=0, atol=0
    )


NETWORKS = [
    ("mlp", {"width": 12, "depth": 3}),
    ("resnet18", {"width": 3, "stem": "small"}),
    ("alexnet_lrn", {"width": 2, "stem": "small"}),
]


@pytest.mark.parametrize(("name", "settings"), NETWORKS, ids=[n for n, _ in NETWORKS])
def test_networks_of_a_stack_have_the_gradients_of_each(name, settings):
    network = architectures.get(name).build((1, 16, 16), Head("readout", 10), **settings)
    stack, feedback = (
        {k: torch.stack([torch.from_numpy(d[k]).double() for d in drawn]) for k in drawn[0]}
        for drawn in (
            [init_params(network, np.random.default_rng(i)) for i in range(ORGANISMS)],
            [init_backward(network, np.random.default_rng(10 + i)) for i in range(ORGANISMS)],
        )
    )
    images = torch.from_numpy(
        np.random.default_rng(20).standard_normal((ORGANISMS, EXAMPLES, 1, 16, 16))
    )

    def loss(params, feedback, images, under_vmap):
        run = passes.TrainingPass(
            params, backward=feedback, credit=FeedbackAlignment(), under_vmap=under_vmap
        )
        return network.forward(run, images).square().sum()

    def gradients(loss_of_all):
        params = {k: p.clone().requires_grad_() for k, p in stack.items()}
        return torch.autograd.grad(loss_of_all(params), list(params.values()))

    together = gradients(
        lambda p: torch.func.vmap(lambda *one: loss(*one, True))(p, feedback, images).sum()
    )
    alone = gradients(
        lambda p: sum(
            loss(
                {k: t[i] for k, t in p.items()},
                {k: t[i] for k, t in feedback.items()},
                images[i],
                False,
            )
            for i in range(ORGANISMS)
        )
    )
    for found, expected in zip(together, alone, strict=True):
        scale = expected.abs().max()
        torch.testing.assert_close(found / scale, expected / scale, rtol=0, atol=1e-10)
