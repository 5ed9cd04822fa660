"""What every architecture keeps to, under every credit assignment."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lrplan.errors import UsageError
from lrplan.simulate.architectures import Head, architectures
from lrplan.simulate.credits import LearnedFeedback, Observed, credits
from lrplan.simulate.credits.backpropagation import Backpropagation
from lrplan.simulate.credits.feedback_alignment import FeedbackAlignment
from lrplan.simulate.network import Pass, init_backward, init_params, layer_positions

HEADS = [Head("readout", 10), Head("contrastive", 24)]
CREDITS = {name: credit() for name, credit in credits.items()}

REFUSED = {
    "width": (0, -1, 2.5, True),
    "depth": (0, True),
    "channels": ([0], [4, True]),
    "stem": ("large", ""),
}


def narrow(settings):
    """Return the settings with widths small enough for many passes in a second."""
    widths = {"width": 6, "channels": [4, 5, 6, 7]}
    small = {k: v for k, v in widths.items() if k in settings}
    if "channels" in small:
        small["channels"] = small["channels"][: len(settings["channels"])]
    return settings | small


def built(name, head, examples=5):
    architecture = architectures.get(name)
    size = architecture.size or 8
    network = architecture.build((1, size, size), head, **narrow(architecture.settings))
    x = np.random.default_rng(0).standard_normal((examples, 1, size, size)).astype(np.float32)
    return network, torch.from_numpy(x)


def tensors(arrays):
    return {k: torch.from_numpy(v) for k, v in arrays.items()}


def doubles(arrays):
    return {k: v.double() for k, v in tensors(arrays).items()}


def gradients(network, params, backward, credit, x):
    """Return the gradients of a loss that every output takes part in, and what a pass leaves."""
    runs = []

    def loss(params):
        run = Pass(params, backward=backward, credit=credit)
        output = network.forward(run, x)
        runs.append(run)
        # Normalised layers make a plain sum blind to their weights.
        places = torch.arange(output.numel(), dtype=output.dtype).reshape(output.shape)
        return (output * places).sin().sum()

    return torch.func.grad(loss)(params), runs[0]


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


@pytest.mark.parametrize(
    ("name", "key"),
    [(n, k) for n, a in architectures.items() for k in a.settings if k in REFUSED],
)
def test_a_setting_that_cannot_be_is_refused_by_name(name, key):
    architecture = architectures.get(name)
    for value in REFUSED[key]:
        with pytest.raises(UsageError, match=key):
            architecture.build((1, 16, 16), HEADS[0], **architecture.settings | {key: value})


@pytest.mark.parametrize("name", architectures.names())
@pytest.mark.parametrize("credit", CREDITS)
def test_a_pass_records_every_layer_and_a_gradient_reaches_every_parameter(name, head, credit):
    network, x = built(name, head)
    params = tensors(init_params(network, np.random.default_rng(1)))
    backward = {}
    if CREDITS[credit].backward_weights:
        backward = tensors(init_backward(network, np.random.default_rng(2)))
    assert network.forward(Pass(params), x).shape == (5, head.width)
    found, run = gradients(network, params, backward, CREDITS[credit], x)
    names = {layer.name for layer in network.layers}
    for record in (run.visits, run.operations):
        assert set(record) == names
    assert set(run.outputs) == names | {"features"}
    for layer in network.layers:
        assert params[f"{layer.name}.weight"].shape == layer.shape
        for visit in run.visits[layer.name]:
            assert len(visit.x) == len(visit.z) == len(visit.y) == 5
        assert run.visits[layer.name][-1].y is run.outputs[layer.name]
    assert set(run.batch_statistics) == {layer.name for layer in network.layers if layer.norm}
    assert set(found) == set(params)
    for key, gradient in found.items():
        assert gradient.shape == params[key].shape
        assert torch.isfinite(gradient).all(), key
        assert gradient.abs().sum() > 0, key


@pytest.mark.parametrize("name", architectures.names())
def test_feedback_through_the_transpose_is_backpropagation(name, head):
    network, x = built(name, head)
    params = doubles(init_params(network, np.random.default_rng(1)))
    transposes = {layer.name: params[f"{layer.name}.weight"] for layer in network.layers[1:]}
    expected, _ = gradients(network, params, {}, Backpropagation(), x.double())
    found, _ = gradients(network, params, transposes, FeedbackAlignment(), x.double())
    for key, value in expected.items():
        assert torch.allclose(found[key], value, rtol=1e-10, atol=1e-10), key


@pytest.mark.parametrize("name", architectures.names())
def test_feedback_through_other_weights_changes_all_but_the_last_layer(name):
    network, x = built(name, HEADS[0])
    params = doubles(init_params(network, np.random.default_rng(1)))
    backward = doubles(init_backward(network, np.random.default_rng(2)))
    expected, _ = gradients(network, params, {}, Backpropagation(), x.double())
    found, _ = gradients(network, params, backward, FeedbackAlignment(), x.double())
    *before, last = (f"{layer.name}.weight" for layer in network.layers)
    assert torch.allclose(found[last], expected[last], rtol=1e-10, atol=1e-10)
    for key in before:
        ours, theirs = found[key].flatten(), expected[key].flatten()
        assert torch.cosine_similarity(ours, theirs, dim=0) < 0.9, key


@pytest.mark.parametrize("name", architectures.names())
@pytest.mark.parametrize("credit", CREDITS)
def test_a_stack_learns_as_its_organisms_do(name, credit):
    network, x = built(name, HEADS[0])
    x, credit = x.double(), CREDITS[credit]
    each = [doubles(init_params(network, np.random.default_rng(i))) for i in range(2)]
    backs = [doubles(init_backward(network, np.random.default_rng(9 + i))) for i in range(2)]
    if not credit.backward_weights:
        backs = [{}, {}]

    def moves(params, backward):
        run = Pass(params, backward=backward, credit=credit)
        network.forward(run, x)
        if not isinstance(credit, LearnedFeedback):
            return {}
        return {
            n: credit.update_backward(
                Observed(run.operations[n], params[f"{n}.weight"], b, run.visits[n])
            )
            for n, b in backward.items()
        }

    def both(params, backward):
        return gradients(network, params, backward, credit, x)[0], moves(params, backward)

    def stack(many):
        return {k: torch.stack([m[k] for m in many]) for k in many[0]}

    together = torch.func.vmap(both)(stack(each), stack(backs))
    for i in range(2):
        for stacked, alone in zip(together, both(each[i], backs[i]), strict=True):
            assert set(stacked) == set(alone)
            for key, value in alone.items():
                assert torch.allclose(stacked[key][i], value, rtol=1e-8, atol=1e-9), key


@pytest.mark.parametrize("name", architectures.names())
@pytest.mark.parametrize("every", [1, 3])
def test_a_probe_gives_the_derivative_of_its_own_layer(name, every):
    """Skip paths lead from one stored layer's probe to another's output, unless they are cut."""
    network, x = built(name, HEADS[0], examples=3)
    x = x.double()
    params = doubles(init_params(network, np.random.default_rng(1)))
    first = Pass(params)
    network.forward(first, x)
    statistics = first.batch_statistics
    stored = [layer.name for layer in network.layers][::every]
    shown = Pass(params, statistics=statistics)
    network.forward(shown, x)
    rng = np.random.default_rng(2)
    upon = {n: torch.from_numpy(rng.standard_normal(shown.outputs[n].shape)) for n in stored}

    def total(probes):
        run = Pass(params, statistics=statistics, probes=probes)
        network.forward(run, x)
        return sum((run.outputs[n] * upon[n]).sum() for n in stored)

    zeros = {n: torch.zeros_like(shown.visits[n][-1].x) for n in stored}
    found = torch.func.grad(total)(zeros)
    for n in stored:
        given = shown.visits[n][-1].x.clone().requires_grad_()

        class Replaced(Pass):
            def _apply(self, name, op, x, n=n, given=given):
                return super()._apply(name, op, given if name == n else x)

        alone = Replaced(params, statistics=statistics)
        network.forward(alone, x)
        [expected] = torch.autograd.grad((alone.outputs[n] * upon[n]).sum(), given)
        assert torch.allclose(found[n], expected, rtol=1e-10, atol=1e-12), n


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
        assert torch.allclose(alone[0], together[i], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", architectures.names())
def test_weights_start_where_the_seed_says(name, head):
    network, _ = built(name, head)
    one, same, other = (init_params(network, np.random.default_rng(s)) for s in (0, 0, 1))
    for key, value in one.items():
        assert value.dtype == np.float32
        np.testing.assert_array_equal(value, same[key])
        if key.endswith(".weight"):
            assert (value != other[key]).any(), key
    for layer in network.layers:
        gain = layer.gain or (1 if layer.readout else 2)
        spread = one[f"{layer.name}.weight"].std() * np.sqrt(np.prod(layer.shape[1:]) / gain)
        assert 0.7 < spread < 1.4, layer.name
    back = init_backward(network, np.random.default_rng(0))
    assert list(back) == [layer.name for layer in network.layers[1:]]
    for layer in network.layers[1:]:
        assert back[layer.name].shape == layer.shape
