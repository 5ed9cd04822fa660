"""What every rule and optimizer keeps to. A new one is held to it without an edit here."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from lrplan.errors import UsageError
from lrplan.simulate.architectures import Head, architectures
from lrplan.simulate.learn.train import train
from lrplan.simulate.network import Pass, init_backward, init_params
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
    assert rule.credit_name
    assert rule.optimizer_name in optimizers.names()
    assert isinstance(rule.optimizer, optimizers.get(rule.optimizer_name))
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


@pytest.mark.parametrize("name", rules.names())
@pytest.mark.parametrize("architecture", ["mlp", "knet4", "knet4_lrn"])
def test_gradients_and_moves_have_the_shape_of_what_they_change(name, architecture):
    rule = rules.get(name)
    settings = {"width": 12, "depth": 3} if architecture == "mlp" else {"channels": [3, 4, 5]}
    network = architectures.get(architecture).build((1, 16, 16), Head("readout", 10), **settings)
    params = {
        k: torch.from_numpy(v) for k, v in init_params(network, np.random.default_rng(0)).items()
    }
    backward = {}
    if rule.credit.backward_weights:
        drawn = init_backward(network, np.random.default_rng(1))
        backward = {k: torch.from_numpy(v) for k, v in drawn.items()}
    rng = np.random.default_rng(2)
    x = torch.from_numpy(rng.standard_normal((6, 1, 16, 16)).astype(np.float32))
    y = torch.from_numpy(rng.integers(0, 10, 6))

    def loss(params):
        run = Pass(params, backward=backward, credit=rule.credit)
        return torch.nn.functional.cross_entropy(network.forward(run, x), y)

    for key, gradient in torch.func.grad(loss)(params).items():
        assert gradient.shape == params[key].shape, key
        assert torch.isfinite(gradient).all(), key
    run = Pass(params, backward=backward, credit=rule.credit)
    network.forward(run, x)
    for key, b in backward.items():
        weight = params[f"{key}.weight"]
        assert b.shape == weight.shape
        move = rule.credit.backward_gradient(
            run.operations[key], run.inputs[key], run.drives[key], weight, b
        )
        if move is not None:
            assert move.shape == b.shape, key
            assert torch.isfinite(move).all(), key


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
