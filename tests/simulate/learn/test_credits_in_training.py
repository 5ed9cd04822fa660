"""What a credit may do, alone, in a stack that goes as one and under vmap, in float64."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lrplan.simulate.architectures import Head, architectures
from lrplan.simulate.credits import Credit, carry_back, credits
from lrplan.simulate.credits.backpropagation import Backpropagation
from lrplan.simulate.credits.feedback_alignment import FeedbackAlignment
from lrplan.simulate.credits.information_alignment import InformationAlignment
from lrplan.simulate.learn import learning, probes
from lrplan.simulate.learn.learning import Learners, stacked
from lrplan.simulate.learn.probes import Probes
from lrplan.simulate.learn.storage import Storage
from lrplan.simulate.learn.train import build, stack_key, train
from lrplan.simulate.network import Layer, Pass, init_backward, init_params
from lrplan.simulate.optimizers.sgdm import SGDM
from lrplan.simulate.rules import Rule, rules
from lrplan.simulate.run.recipe import parse_recipe
from lrplan.simulate.tasks import tasks


class Twice:
    """A recurrent network of two time steps, with batch normalisation in each."""

    layers = (
        Layer("into", (7, 16), bias=False),
        Layer("again", (7, 7), norm=True),
        Layer("readout", (10, 7), readout=True),
    )

    def forward(self, run, x):
        given = run.linear("into", x.flatten(1))
        h = run.output("into", given.tanh())
        for _ in range(2):
            h = run.batch_norm("again", run.linear("again", h)).tanh()
            h = run.output("again", h)
        return run.output("readout", run.linear("readout", run.output("features", h)))


@dataclass(frozen=True, kw_only=True)
class SignSymmetry(Credit):
    """Errors go back through the signs of W, all of W's mean magnitude; nothing is stored."""

    summary: ClassVar[str] = "signs of the forward weights"
    cites: ClassVar[str] = "Xiao et al., ICLR 2019"

    def apply(self, op, x, weight, backward):
        return carry_back(op, x, weight, torch.sign(weight) * weight.abs().mean())


@dataclass(frozen=True, kw_only=True)
class Delta(Backpropagation):
    """The delta rule of every layer, from the error that is delivered to it."""

    def update(self, seen):
        return -sum(seen.op.weight_gradient(v.x, v.error, seen.weight) for v in seen.visits)


@dataclass(frozen=True, kw_only=True)
class Oja(Credit):
    """Hebb's rule with Oja's decay: nothing but what a layer takes in and puts out."""

    summary: ClassVar[str] = "Hebb's rule with decay"
    cites: ClassVar[str] = "Oja, Journal of Mathematical Biology 1982"

    def apply(self, op, x, weight, backward):
        return op.forward(x.detach(), weight)

    def update(self, seen):
        hebb = seen.op.weight_gradient(seen.x, seen.z, seen.weight)
        power = (seen.z**2).transpose(0, 1).flatten(1).sum(1)
        decay = power.reshape(-1, *[1] * (hebb.ndim - 1)) * seen.weight
        return (hebb - decay) / seen.z[:, 0].numel()  # the mean over examples and places


@dataclass(frozen=True, kw_only=True)
class Rewarded(Backpropagation):
    """Three factors in hidden layers: reward, input, drive; the readout follows the gradient."""

    def update(self, seen):
        if seen.readout:
            return None
        assert seen.backward is None
        reward = seen.reward.reshape(-1, *[1] * (seen.z.ndim - 1))
        return sum(
            seen.op.weight_gradient(v.x, reward * v.z, seen.weight) / len(reward)
            for v in seen.visits
        )


NETWORKS = {
    "mlp": lambda: architectures.get("mlp").build((1, 4, 4), Head("readout", 10), width=6, depth=3),
    "knet4": lambda: architectures.get("knet4").build(
        (1, 8, 8), Head("readout", 10), channels=[3, 4, 5]
    ),
    "twice": Twice,
}
SHAPES = {"mlp": (1, 4, 4), "knet4": (1, 8, 8), "twice": (1, 4, 4)}


@pytest.fixture(params=NETWORKS)
def name(request):
    return request.param


@pytest.fixture(params=["alone", "as one", "under vmap"])
def organisms(request, monkeypatch):
    """How many there are; under vmap stacks go the way of convolutional networks on a GPU."""
    if request.param == "under vmap":
        for module in (learning, probes):
            monkeypatch.setattr(module, "goes_as_one", lambda params: False)
    return 1 if request.param == "alone" else 3


def rule_of(credit):
    optimizer = SGDM(momentum=0.0, nesterov=False)
    return Rule("tried", credit, optimizer, learning_rate=1.0, summary="tried", cites="nobody")


def drawn(name, organisms, examples=9):
    """Return a network and, for each organism, parameters, feedback, images and labels."""
    network = NETWORKS[name]()
    each = [init_params(network, np.random.default_rng(i)) for i in range(organisms)]
    backs = [init_backward(network, np.random.default_rng(50 + i)) for i in range(organisms)]
    rng = np.random.default_rng(99)
    images = torch.from_numpy(rng.standard_normal((organisms, examples, *SHAPES[name])))
    labels = torch.from_numpy(rng.integers(0, 10, (organisms, examples)))
    return network, doubles(each), doubles(backs), images, labels


def doubles(each):
    return stacked(each, torch.device("cpu"), torch.float64)


def of(tensors, i):
    return {k: t[i].detach().clone() for k, t in tensors.items()}


def changes(network, credits, params, feedback, images, labels, steps=1):
    """Return how learning changes every parameter at a rate of 1."""
    before = {k: p.clone() for k, p in params.items()}
    rates = torch.ones(len(credits), dtype=torch.float64)
    learners = Learners(
        network,
        [rule_of(c) for c in credits],
        tasks.get("digits"),
        {},
        {k: p.clone() for k, p in params.items()},
        {k: b.clone() for k, b in feedback.items()},
        rates,
    )
    for _ in range(steps):
        learners.learn(images, labels, 1.0)
    return {k: p.detach() - before[k] for k, p in learners.params.items()}, learners.feedback


def autodiff(network, params, images, labels, through=None):
    """Return minus the gradient, errors going back through `through` of each weight, by autodiff.

    z = W x has the derivative S by x if x enters through S, and W by none but a detached x.
    """

    class Replaced(Pass):
        def _with_way_back(self, op, x, weight, backward):
            if through is None:
                return op.forward(x, weight)
            by = op.forward(x, through(weight, backward).detach())
            return by - by.detach() + op.forward(x.detach(), weight)

    def loss(params):
        run = Replaced({k: p for k, p in params.items() if not k.startswith("back ")})
        run.backward = {k[5:]: p for k, p in params.items() if k.startswith("back ")}
        return F.cross_entropy(network.forward(run, images), labels)

    return {k: -g for k, g in torch.func.grad(loss)(params).items()}


def assert_close(found, expected, atol=1e-10):
    assert set(found) >= set(expected)
    for key, value in expected.items():
        assert torch.allclose(found[key], value, rtol=0, atol=atol), key


def test_backpropagation_is_autodiff_however_often_a_layer_is_visited(name, organisms):
    network, params, _, images, labels = drawn(name, organisms)
    found, _ = changes(network, [Backpropagation()] * organisms, params, {}, images, labels)
    for i in range(organisms):
        assert_close(of(found, i), autodiff(network, of(params, i), images[i], labels[i]))


def plain_twice(p, x, labels):
    """`Twice` without any of its parts."""

    def normed(z):
        centred = z - z.mean(0)
        z = centred / ((centred**2).mean(0) + 1e-5).sqrt()
        return z * p["again.scale"] + p["again.shift"]

    h = (x.flatten(1) @ p["into.weight"].T).tanh()
    h = normed(h @ p["again.weight"].T + p["again.bias"]).tanh()
    h = normed(h @ p["again.weight"].T + p["again.bias"]).tanh()
    return F.cross_entropy(h @ p["readout.weight"].T + p["readout.bias"], labels)


@pytest.mark.parametrize("credit", [Backpropagation(), Delta()], ids=lambda c: type(c).__name__)
def test_a_weight_used_twice_has_the_gradient_of_a_plain_network(credit, organisms):
    network, params, _, images, labels = drawn("twice", organisms)
    found, _ = changes(network, [credit] * organisms, params, {}, images, labels)
    for i in range(organisms):
        expected = torch.func.grad(plain_twice)(of(params, i), images[i], labels[i])
        assert_close(of(found, i), {k: -g for k, g in expected.items()})


def test_sign_symmetry_without_stored_weights_is_not_backpropagation(name, organisms):
    network, params, _, images, labels = drawn(name, organisms)
    found, _ = changes(network, [SignSymmetry()] * organisms, params, {}, images, labels)

    def signs(weight, backward):
        return torch.sign(weight) * weight.abs().mean()

    for i in range(organisms):
        mine, x, y = of(params, i), images[i], labels[i]
        assert_close(of(found, i), autodiff(network, mine, x, y, signs))
        exact = autodiff(network, mine, x, y)
        for layer in network.layers[:-1]:
            ours, theirs = (g[f"{layer.name}.weight"].flatten() for g in (of(found, i), exact))
            assert torch.cosine_similarity(ours, theirs, dim=0) < 0.99, layer.name


def test_feedback_alignment_goes_back_through_its_weights_at_every_visit(name, organisms):
    network, params, feedback, images, labels = drawn(name, organisms)
    found, _ = changes(network, [FeedbackAlignment()] * organisms, params, feedback, images, labels)
    for i in range(organisms):
        both = of(params, i) | {f"back {k}": b for k, b in of(feedback, i).items()}

        def stored(weight, backward):
            return weight if backward is None else backward

        expected = autodiff(network, both, images[i], labels[i], stored)
        assert_close(of(found, i), {k: v for k, v in expected.items() if "back " not in k})


def test_an_update_from_the_delivered_error_is_backpropagation(name, organisms):
    network, params, _, images, labels = drawn(name, organisms)
    found, _ = changes(network, [Delta()] * organisms, params, {}, images, labels)
    expected, _ = changes(network, [Backpropagation()] * organisms, params, {}, images, labels)
    assert_close(found, expected)


@pytest.mark.parametrize("organisms", ["as one", "under vmap"], indirect=True)
def test_in_a_mixed_stack_each_organism_learns_by_its_own_credit(name, organisms):
    network, params, feedback, images, labels = drawn(name, organisms)
    mixed = [Delta(), InformationAlignment(), Rewarded()]
    found, moved = changes(network, mixed, params, feedback, images, labels)
    for i, credit in enumerate(mixed):
        mine = {k: b[i : i + 1] for k, b in feedback.items()} if credit.backward_weights else {}
        alone = {k: p[i : i + 1] for k, p in params.items()}
        expected, feedback_alone = changes(
            network, [credit], alone, mine, images[i : i + 1], labels[i : i + 1]
        )
        assert_close(of(found, i), of(expected, 0))
        if credit.backward_weights:
            assert_close(of(moved, i), of(feedback_alone, 0))
            assert not torch.equal(moved["readout"][i], feedback["readout"][i])


def test_the_reward_is_minus_the_loss_of_each_example(name, organisms):
    network, params, _, images, labels = drawn(name, organisms)
    found, _ = changes(network, [Rewarded()] * organisms, params, {}, images, labels)
    for i in range(organisms):
        mine, x, y = of(params, i), images[i], labels[i]
        run = Pass(mine)
        reward = -F.cross_entropy(network.forward(run, x), y, reduction="none")
        exact = autodiff(network, mine, x, y)
        for layer in network.layers:
            key = f"{layer.name}.weight"
            expected = torch.zeros_like(mine[key])
            for visit in run.visits[layer.name]:
                for x, z, r in zip(visit.x, visit.z, reward, strict=True):
                    step = run.operations[layer.name].weight_gradient(x[None], z[None], mine[key])
                    expected += r * step / len(reward)
            expected = exact[key] if layer.readout else expected
            assert torch.allclose(found[key][i], expected, rtol=0, atol=1e-10), key


def test_a_local_rule_is_its_equation_and_no_gradient(organisms):
    """Oja's rule in an MLP, against numpy: five steps, in which no error reaches a layer."""
    network, params, _, images, labels = drawn("mlp", organisms)
    # A rate of 1 is far too large for Oja's rule at this scale of input.
    images = images / 4
    found, _ = changes(network, [Oja()] * organisms, params, {}, images, labels, steps=5)
    for i in range(organisms):
        weights = {k: v.numpy() for k, v in of(params, i).items() if k.endswith(".weight")}
        for _ in range(5):
            x = images[i].numpy().reshape(len(images[i]), -1)
            steps = {}
            for key, w in weights.items():
                z = x @ w.T
                steps[key] = np.mean(
                    [np.outer(b, a) - (b * b)[:, None] * w for a, b in zip(x, z, strict=True)], 0
                )
                x = np.maximum((z - z.mean(0)) / np.sqrt(z.var(0) + 1e-5), 0)
            weights = {key: w + steps[key] for key, w in weights.items()}
        for key, change in of(found, i).items():
            if key in weights:
                expected = weights[key] - params[key][i].numpy()
                np.testing.assert_allclose(change, expected, rtol=0, atol=1e-10)
            elif not key.startswith("readout"):
                assert not change.any(), f"an error reached {key}"


RECIPE = """
[grid]
rule = "tried"
architecture = {}
task = "digits"
batch_size = 128
learning_rate = [0.001, 0.002]
[training]
epochs = 1
checkpoints = 3
[storage]
units = 8
validation = 4
[architectures.mlp]
width = 8
[architectures.knet4]
channels = [3, 4, 5]
"""


@pytest.fixture
def registered(monkeypatch):
    """Register a rule of a credit for one test."""

    def register(credit):
        for registry in (credits, rules):
            registry.names()
            monkeypatch.setattr(registry, "_entries", dict(registry._entries))
        credits.add("tried", type(credit))
        rules.add("tried", rule_of(credit))

    return register


@pytest.mark.parametrize("architecture", ["mlp", "knet4"])
@pytest.mark.parametrize("credit", [Oja(), SignSymmetry()], ids=lambda c: type(c).__name__)
def test_a_recipe_trains_it_alone_as_in_company(credit, architecture, registered):
    registered(credit)
    made = parse_recipe(RECIPE.format(f'"{architecture}"'))
    together = train(list(made.specs), made.storage, precision="float64")
    for spec, one in zip(made.specs, together, strict=True):
        [alone] = train([spec], made.storage, precision="float64")
        assert not one.diverged
        synapses = one.arrays["synapses"]
        assert (synapses[:, 0] != synapses[:, -1]).any(-1).all(), "a layer did not learn"
        np.testing.assert_allclose(synapses, alone.arrays["synapses"], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("credit", [Delta(), Rewarded()], ids=lambda c: type(c).__name__)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_errors_and_rewards_reach_updates_of_a_contrastive_task(credit, precision, registered):
    registered(credit)
    # Of a narrower network some projection is exactly zero, and its direction not defined.
    text = RECIPE.replace("width = 8", "width = 32").replace('"digits"', '"digits_simclr"')
    made = parse_recipe(text.format('"mlp"'))
    for one in train(list(made.specs), made.storage, precision=precision):
        assert not one.diverged
        synapses = one.arrays["synapses"]
        assert (synapses[:, 0] != synapses[:, -1]).any(-1).all(), "a layer did not learn"


def test_a_way_back_of_its_own_shares_no_stack(registered):
    text = RECIPE.format('"mlp"').replace('rule = "tried"', 'rule = ["tried", "sgdm"]')

    def keys(credit):
        registered(credit)
        return {stack_key(spec) for spec in parse_recipe(text).specs}

    assert len(keys(SignSymmetry())) == 2


def test_what_goes_back_through_the_forward_weights_shares_one(registered):
    registered(Delta())
    text = RECIPE.format('"mlp"').replace('rule = "tried"', 'rule = ["tried", "sgdm"]')
    assert len({stack_key(spec) for spec in parse_recipe(text).specs}) == 1


def test_every_visit_asks_the_credit_that_of_the_first_layer_too(name):
    asked = []

    class Asked(Backpropagation):
        def apply(self, op, x, weight, backward):
            asked.append(backward)
            return super().apply(op, x, weight, backward)

    network, params, _, images, labels = drawn(name, 1)
    run = Pass(of(params, 0), credit=Asked())
    network.forward(run, images[0])
    assert len(asked) == sum(map(len, run.visits.values())) >= len(network.layers)
    assert asked == [None] * len(asked)


def test_feedback_alignment_refuses_to_send_an_error_through_weights_it_has_not():
    network, params, _, images, _ = drawn("mlp", 1)
    mine = {k: p.requires_grad_() for k, p in of(params, 0).items()}
    run = Pass(mine, credit=FeedbackAlignment())
    with pytest.raises(ValueError, match="no backward weights"):
        network.forward(run, images[0])


def test_a_layer_that_is_visited_twice_is_looked_at_in_its_last_visit(organisms):
    """d post / d pre is that of the last time step alone, under statistics of every step."""
    spec = parse_recipe(RECIPE.format('"mlp"').replace('"tried"', '"sgdm"')).specs[0]
    _, task, _, data, _ = build(spec)
    small = type(data)(
        data.train[:, :, :4, :4].copy(),
        data.train_labels,
        data.test[:, :, :4, :4].copy(),
        data.test_labels,
    )
    network, params, _, _, _ = drawn("twice", organisms)
    storage = Storage(
        populations="all", units=7, stimuli=3, synapses=9, pairs=4, pair_stimuli=3, validation=3
    )
    looked = Probes(
        network, [spec] * organisms, storage, task, small, torch.device("cpu"), torch.float64
    )
    statistics = looked.batch_statistics(params)
    assert set(statistics) == {"again", "again 2"}
    measured = looked.measure(params, statistics)
    place = [p.layer for p in looked.populations].index("again")
    for i in range(organisms):
        mine = of(params, i)
        fixed = {k: (m[i], v[i]) for k, (m, v) in statistics.items()}
        run = Pass(mine, statistics=fixed)
        network.forward(run, looked.stimuli)
        first, last = run.visits["again"]
        assert not torch.allclose(first.y, last.y)
        units = looked.units["again"][i]
        assert torch.allclose(measured["responses"][place][i], last.y[:, units], atol=1e-12)
        gain = mine["again.scale"] / (fixed["again 2"][1] + 1e-5).sqrt()
        slope = (1 - last.y**2) * gain
        expected = slope[:, :, None] * mine["again.weight"]
        post, pre = looked.post["again"][i], looked.pre["again"][i]
        expected = expected[:, post][:, :, pre]
        assert torch.allclose(measured["paired"][place][i], expected, atol=1e-10)
