"""What every rule and optimizer keeps to. A new one is held to it without an edit here."""

from __future__ import annotations

import dataclasses
import inspect

import numpy as np
import pytest
import torch

from lrplan.errors import UsageError
from lrplan.simulate.credits import (
    Conv,
    LearnedFeedback,
    Linear,
    Observed,
    OwnUpdate,
    Visit,
    carry_back,
    credits,
)
from lrplan.simulate.credits.backpropagation import Backpropagation
from lrplan.simulate.learn.train import train
from lrplan.simulate.optimizers import optimizers
from lrplan.simulate.rules import rules
from lrplan.simulate.run.recipe import parse_recipe

RECIPE = """
[grid]
rule = "{rule}"
architecture = ["mlp", "knet4"]
task = ["digits", "digits_simclr"]
batch_size = 128
[training]
epochs = 1
checkpoints = 3
[storage]
units = 16
stimuli = 3
synapses = 24
pairs = 4
pair_stimuli = 2
validation = 4
[architectures.mlp]
width = 16
[architectures.knet4]
channels = [3, 4, 5]
"""


@pytest.mark.parametrize("name", rules.names())
def test_a_rule_says_what_it_is(name):
    rule = rules.get(name)
    assert rule.name == name
    assert rule.cites.strip()
    assert rule.summary.strip()
    assert type(rule.credit) is credits.get(rule.credit_name)
    assert type(rule.optimizer) is optimizers.get(rule.optimizer_name)
    assert 0 < rule.learning_rate < 10


@pytest.mark.parametrize("name", rules.names())
def test_a_rule_is_settings_in_frozen_dataclasses(name):
    rule = rules.get(name)
    for part in (rule, rule.credit, rule.optimizer):
        assert dataclasses.is_dataclass(part)
        with pytest.raises(dataclasses.FrozenInstanceError):
            part.name = "other"
    names = [f.name for part in (rule.credit, rule.optimizer) for f in dataclasses.fields(part)]
    assert len(names) == len(set(names)), "two halves of a rule share the name of a setting"
    settings = rule.settings()
    assert sorted(settings) == sorted(names)
    assert all(isinstance(v, bool | int | float) for v in settings.values())
    same = rule.with_settings({})
    assert same == rule
    for key, value in settings.items():
        other = (not value) if isinstance(value, bool) else value / 2 + 0.125
        changed = rule.with_settings({key: other})
        assert changed.settings() == settings | {key: other}
        assert rules.get(name).settings() == settings, "the registered rule was changed"


@pytest.mark.parametrize("name", rules.names())
def test_an_unknown_setting_of_a_rule_is_refused_with_the_nearest(name):
    rule = rules.get(name)
    for known in rule.settings():
        with pytest.raises(UsageError, match=f"has no setting '{known}x'; nearest: .*{known}"):
            rule.with_settings({known + "x": 1})


def test_a_rule_whose_half_is_not_registered_says_what_to_do():
    @dataclasses.dataclass(frozen=True)
    class Nameless(Backpropagation):
        pass

    rule = dataclasses.replace(rules.get("sgdm"), name="new", credit=Nameless())
    with pytest.raises(UsageError, match=r"Nameless of rule 'new' .* @credits.register\(NAME\)"):
        _ = rule.credit_name


@pytest.mark.parametrize("name", rules.names())
def test_a_rule_trains(name):
    made = parse_recipe(RECIPE.format(rule=name))
    assert len(made.specs) == 4
    for spec in made.specs:
        trained = train([spec], made.storage)[0]
        assert not trained.diverged
        for key in ("responses", "synapses", "paired", "observables", "performance", "loss"):
            assert np.isfinite(trained.arrays[key]).all(), (spec.architecture, spec.task, key)
        moved = trained.arrays["synapses"]
        assert (moved[:, 0] != moved[:, -1]).any(axis=-1).all(), "a layer did not learn"


MEMBERS = {"apply", "update", "update_backward", "backward_weights", "way_back"}
LAYERS = [
    (Linear(), (6, 4), (3, 4)),
    (Conv(1, 1), (6, 2, 5, 5), (3, 2, 3, 3)),
    (Conv(2, 0), (6, 2, 5, 5), (3, 2, 3, 3)),
]


def drawn(op, inputs, weights):
    """An operation, and x, W, B and an error of its output, for three organisms in float64."""
    rng = np.random.default_rng(0)

    def draw(*shape):
        return torch.from_numpy(rng.standard_normal((3, *shape)))

    x, w, b = draw(*inputs), draw(*weights), draw(*weights)
    return op, x, w, b, draw(*op.forward(x[0], w[0]).shape)


@pytest.fixture(params=LAYERS, ids=lambda v: repr(v[0]))
def layer(request):
    return drawn(*request.param)


@pytest.mark.parametrize("name", credits.names())
def test_a_credit_says_what_it_is_and_has_no_member_that_nobody_calls(name):
    credit = credits.get(name)()
    assert credit.summary.strip()
    assert credit.cites.strip()
    assert dataclasses.is_dataclass(credit)
    assert all(f.default is not dataclasses.MISSING for f in dataclasses.fields(credit))
    own = {m for m, _ in inspect.getmembers(credit) if not m.startswith("_")}
    settings = {f.name for f in dataclasses.fields(credit)}
    assert own - settings - {"summary", "cites"} <= MEMBERS, "a member that lrplan does not know"
    assert credit.way_back in ("forward weights", "backward weights", "own")
    if credit.way_back != "own":
        assert credit.backward_weights == (credit.way_back == "backward weights")
    assert credit.backward_weights or not isinstance(credit, LearnedFeedback)


@pytest.mark.parametrize("name", credits.names())
def test_what_a_credit_says_of_its_way_back_is_true(name, layer):
    """A stack takes it at its word."""
    credit = credits.get(name)()
    op, x, w, b, dz = layer

    def back(apply):
        z, pull = torch.func.vjp(apply, x[0], w[0])
        return z, *pull(dz[0])

    mine = b[0] if credit.backward_weights else None
    z, *found = back(lambda x, w: credit.apply(op, x, w, mine))
    assert torch.allclose(z, op.forward(x[0], w[0]), rtol=0, atol=1e-10)
    assert all(torch.isfinite(g).all() for g in found)
    known = {
        "forward weights": op.forward,
        "backward weights": lambda x, w: carry_back(op, x, w, b[0]),
    }
    if credit.way_back in known:
        _, *expected = back(known[credit.way_back])
        for one, other in zip(found, expected, strict=True):
            assert torch.allclose(one, other, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", credits.names())
@pytest.mark.parametrize("first", [False, True])
def test_a_credit_is_the_same_under_vmap(name, first, layer):
    credit = credits.get(name)()
    op, x, w, b, dz = layer
    has_backward = credit.backward_weights and not first

    def asked(x, w, b, dz):
        mine = b if has_backward else None
        z = credit.apply(op, x, w, mine)
        through = torch.func.vjp(lambda w: credit.apply(op, x, w, mine), w)[1](dz)
        visits = [Visit(x, z, z.relu(), dz), Visit(x / 2, z / 2, z.relu() / 2, dz / 3)]
        seen = Observed(op, w, mine, visits, -(z**2).flatten(1).mean(1))
        found = [z, *through]
        if isinstance(credit, OwnUpdate):
            found += [found for found in [credit.update(seen)] if found is not None]
        if isinstance(credit, LearnedFeedback) and mine is not None:
            found.append(credit.update_backward(seen))
        for change in found[1:]:
            assert change.shape == w.shape
        return tuple(found)

    together = torch.func.vmap(asked)(x, w, b, dz)
    for i in range(3):
        alone = asked(x[i], w[i], b[i], dz[i])
        for one, other in zip(together, alone, strict=True):
            assert torch.isfinite(other).all()
            assert torch.allclose(one[i], other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", optimizers.names())
def test_an_optimizer_says_what_it_is(name):
    assert optimizers.get(name).summary.strip()
    assert optimizers.get(name).cites.strip()


@pytest.mark.parametrize("name", optimizers.names())
def test_an_optimizer_steps_each_organism_of_a_stack_on_its_own(name):
    optimizer = optimizers.get(name)()
    assert dataclasses.is_dataclass(optimizer)
    assert all(f.default is not dataclasses.MISSING for f in dataclasses.fields(optimizer))
    rng = np.random.default_rng(0)

    def draw(organisms):
        shapes = {"w": (organisms, 4, 3), "b": (organisms, 4)}
        return {k: torch.from_numpy(rng.standard_normal(s)) for k, s in shapes.items()}

    params, gradients = draw(3), [draw(3) for _ in range(4)]
    before = {k: v.clone() for k, v in params.items()}
    rates = torch.tensor([0.0, 0.01, 0.1], dtype=torch.float64)

    def run(chosen):
        mine = {k: v[chosen] for k, v in params.items()}
        state = optimizer.init(mine)
        for step in gradients:
            grads = {k: v[chosen] for k, v in step.items()}
            mine, state = optimizer.step(mine, grads, state, rates[chosen])
        return mine

    together = run([0, 1, 2])
    for i in range(3):
        alone = run([i])
        for key, value in alone.items():
            assert torch.equal(together[key][i], value[0]), key
    for key, value in together.items():
        assert torch.equal(value[0], before[key][0]), "a rate of 0 moved a weight"
        assert not torch.equal(value[1], before[key][1])
        assert torch.equal(params[key], before[key]), "a step changed its input"
