"""Passive exposure: what moves, how far, in which direction, and what stays as in the twin."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lrplan.simulate.credits import Conv, Linear, Observed, Visit
from lrplan.simulate.learn import exposure, probes
from lrplan.simulate.learn.batches import Batches
from lrplan.simulate.learn.exposure import (
    MOVES_PER_CHECKPOINT,
    Exposed,
    moments,
    subspace_rule,
)
from lrplan.simulate.learn.learning import stacked
from lrplan.simulate.learn.train import build, stack_key, train
from lrplan.simulate.network import init_params
from lrplan.simulate.run.passive import twin_of
from lrplan.simulate.run.recipe import parse_recipe

RECIPE = """
[grid]
rule = ["sgdm", "feedback_alignment"]
architecture = "{architecture}"
task = "{task}"
model_seed = [0, 1]
batch_size = 512
[training]
epochs = 2
checkpoints = 3
[passive]
plasticity = {plasticity}
[architectures.mlp]
width = 8
[architectures.knet4]
channels = [3, 4]
[storage]
units = 12
stimuli = 3
synapses = 10
pairs = 3
pair_stimuli = 2
validation = 4
"""


def recipe(architecture="mlp", task="digits", plasticity=0.3):
    made = parse_recipe(RECIPE.format(architecture=architecture, task=task, plasticity=plasticity))
    return made, [s for s in made.specs if s.is_passive]


def seen(op, x, weight):
    return Observed(op, weight, None, [Visit(x, op.forward(x, weight))])


def draws(seed, *shape):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


def test_a_single_unit_moves_as_oja_says():
    x, w = draws(0, 50, 4), draws(1, 1, 4)
    x = x - x.mean(0)
    expected = torch.zeros(4, dtype=w.dtype)
    for one in x:
        z = w[0] @ one
        expected += z * one - z**2 * w[0] / 1.7
    found = subspace_rule(seen(Linear(), x, w), torch.tensor(1.7, dtype=x.dtype))
    torch.testing.assert_close(found[0], expected)


def test_units_rest_on_the_principal_subspace_and_nowhere_else():
    # Inputs with variances 9, 4, 1 and 0.25 along the axes.
    x, _ = torch.linalg.qr(draws(0, 40, 4) - draws(0, 40, 4).mean(0))
    x = (x - x.mean(0)) * torch.tensor([3.0, 2.0, 1.0, 0.5])
    cos, sin = np.cos(0.3), np.sin(0.3)
    turned = torch.tensor([[cos, sin, 0, 0], [-sin, cos, 0, 0]], dtype=x.dtype) * 1.4**0.5
    length = torch.tensor(1.4, dtype=x.dtype)
    still = subspace_rule(seen(Linear(), x, turned), length)
    torch.testing.assert_close(still, torch.zeros_like(still), atol=1e-5, rtol=0)
    # Weights that are alike are driven apart.
    alike = torch.stack([turned[0], turned[0] + 1e-2 * turned[1]])
    moved = alike + 1e-3 * subspace_rule(seen(Linear(), x, alike), length)
    before, after = (F.cosine_similarity(w[0], w[1], dim=0) for w in (alike, moved))
    assert after < before


def test_a_convolution_moves_as_a_layer_on_its_patches():
    x, w = draws(0, 5, 2, 6, 6), draws(1, 3, 2, 3, 3)
    patches = F.unfold(x, 3).transpose(1, 2).flatten(0, 1)
    # The mean of an input channel is taken off over places, before patches are cut.
    patches = patches - x.mean((0, 2, 3)).repeat_interleave(9)
    z = patches @ w.flatten(1).T
    z = z - z.mean(0)
    expected = z.T @ patches - (z.T @ z) @ w.flatten(1) / 2.5
    found = subspace_rule(seen(Conv(), x, w), torch.tensor(2.5, dtype=x.dtype))
    torch.testing.assert_close(found.flatten(1), expected)


def exposed(plasticity, updates):
    made, twins = recipe()
    _, task, settings, data, network = build(twins[0])
    params = stacked(
        [init_params(network, s.rng("weights")) for s in twins], torch.device("cpu"), torch.float64
    )
    before = {k: p.clone() for k, p in params.items()}
    batches = Batches(twins, task, settings, data, 2, torch.device("cpu"), torch.float64)
    one = Exposed(network, params, plasticity, updates)
    for images, labels in batches.at(range(updates)):
        one.learn(images, labels, 1.0)
    return network, before, params


def test_a_layer_moves_by_the_stated_share_of_its_length():
    plasticity = [0.1, 0.2, 0.0, 0.4]
    network, before, after = exposed(plasticity, 1)
    for layer in network.layers:
        name = f"{layer.name}.weight"
        way = (after[name] - before[name]).flatten(1).norm(dim=1)
        share = way / before[name].flatten(1).norm(dim=1)
        expected = [0.0] * 4 if layer.readout else plasticity
        np.testing.assert_allclose(share.numpy(), expected, atol=1e-9)
    # Several updates go the same way in all, and end no farther away.
    _, before, after = exposed(plasticity, 4)
    way = (after["fc1.weight"] - before["fc1.weight"]).flatten(1).norm(dim=1)
    share = way / before["fc1.weight"].flatten(1).norm(dim=1)
    assert (share.numpy() <= np.array(plasticity) + 1e-9).all()
    assert (share.numpy()[[0, 1, 3]] > 0.2 * np.array(plasticity)[[0, 1, 3]]).all()


def test_nothing_but_weights_moves():
    _, before, after = exposed([0.2] * 4, 2)
    for name, values in before.items():
        if not name.endswith(".weight"):
            torch.testing.assert_close(after[name], values, rtol=0, atol=0)


def test_a_layer_that_nothing_drives_stays_and_is_finite():
    made, twins = recipe()
    network = build(twins[0])[-1]
    drawn = {k: np.zeros_like(v) for k, v in init_params(network, twins[0].rng("weights")).items()}
    params = stacked([drawn], torch.device("cpu"), torch.float32)
    one = Exposed(network, params, [0.5], 1)
    one.learn(torch.zeros(1, 4, 1, 8, 8), torch.zeros(1, 4), 1.0)
    assert all((p == 0).all() for p in params.values())


def test_few_steps_from_one_checkpoint_to_the_next_move_weights():
    found = moments([0, 100, 200], [0.1])
    assert len(found) == 2 * MOVES_PER_CHECKPOINT
    assert found[0] == 0 and found[MOVES_PER_CHECKPOINT] == 100 and found[-1] < 200
    assert moments([0, 2, 3], [0.1]) == [0, 1, 2]
    assert moments([0, 0, 1], [0.0, 0.1]) == [0]
    assert moments([0, 100], [0.0, 0.0]) == []


@pytest.mark.parametrize("task", ["digits", "digits_simclr"])
def test_batches_of_some_steps_are_those_among_all(task):
    _, twins = recipe(task=task)
    _, made, settings, data, _ = build(twins[0])
    args = (twins[:2], made, settings, data, 20, torch.device("cpu"), torch.float32)
    every = list(Batches(*args))
    wanted = {1, 17, 18, 39}
    some = list(Batches(*args).at(wanted))
    assert len(some) == 4 < len(every)
    for (images, labels), step in zip(some, sorted(wanted), strict=True):
        torch.testing.assert_close(images, every[step][0], rtol=0, atol=0)
        torch.testing.assert_close(labels, every[step][1], rtol=0, atol=0)


@pytest.mark.parametrize("task", ["digits", "digits_simclr"])
def test_a_twin_begins_as_the_organism_that_learns(task):
    made, twins = recipe(task=task)
    learner = made.specs[0]
    [one], [twin] = train([learner], made.storage), train([twins[0]], made.storage)
    assert twin.spec.preparation == learner.hash != twin.spec.hash
    assert [vars(p) for p in one.populations] == [vars(p) for p in twin.populations]
    for name in ("responses", "synapses", "paired", "observables"):
        np.testing.assert_array_equal(twin.arrays[name][:, 0], one.arrays[name][:, 0], err_msg=name)
        assert twin.arrays[name].shape == one.arrays[name].shape
    for name in ("performance", "loss"):
        assert twin.arrays[name][0] == one.arrays[name][0]
    np.testing.assert_array_equal(twin.arrays["examples"], one.arrays["examples"])
    # Both move, not to the same place.
    last = [t.arrays["responses"][:, -1] for t in (one, twin)]
    assert not np.array_equal(*last)
    assert not np.array_equal(twin.arrays["responses"][:, 0], last[1])
    assert not twin.diverged


def test_a_pretrained_twin_begins_as_the_organism_that_learns():
    made, _ = recipe()
    learner = made.specs[0]
    start = {"start": "pretrained", "pretrain_epochs": 1}
    training = dict(learner.settings["training"]) | start
    learner = replace(learner, batch_size=128, settings={**learner.settings, "training": training})
    [one], [twin] = train([learner], made.storage), train([twin_of(learner)], made.storage)
    np.testing.assert_array_equal(twin.arrays["responses"][:, 0], one.arrays["responses"][:, 0])


def test_without_plasticity_nothing_changes():
    made, twins = recipe(plasticity=0)
    looked = []
    [twin] = train([twins[0]], made.storage, on_checkpoint=looked.append)
    assert looked == [0, 1, 2]
    for name in ("responses", "synapses", "observables"):
        for k in (1, 2):
            np.testing.assert_array_equal(twin.arrays[name][:, k], twin.arrays[name][:, 0])


@pytest.mark.parametrize("vmapped", [False, True])
@pytest.mark.parametrize("architecture", ["mlp", "knet4"])
def test_twins_in_one_stack_are_what_each_is_alone(architecture, vmapped, monkeypatch):
    made, _ = recipe(architecture)
    short = [replace(s, epochs=1, checkpoints=2) for s in (made.specs[0], made.specs[3])]
    twins = [twin_of(short[0], 0.3), twin_of(short[1], 0.1)]
    # What learns has a stack of its own, whatever its rule.
    assert len({stack_key(s) for s in twins}) == 1
    assert stack_key(made.specs[0]) != stack_key(twins[0])
    if vmapped:  # as convolutional networks on a GPU
        for module in (exposure, probes):
            monkeypatch.setattr(module, "goes_as_one", lambda params: False)
    together = train(twins, made.storage, precision="float64")
    for spec, one in zip(twins, together, strict=True):
        [alone] = train([spec], made.storage, precision="float64")
        for name in ("responses", "synapses", "paired", "performance"):
            np.testing.assert_allclose(
                one.arrays[name], alone.arrays[name], rtol=1e-6, atol=1e-6, err_msg=name
            )


def test_a_twin_that_overflows_is_marked_as_diverged(monkeypatch):
    made, twins = recipe()
    monkeypatch.setattr(exposure, "subspace_rule", lambda seen, length: seen.weight * torch.inf)
    [twin] = train([twins[0]], made.storage)
    assert twin.diverged


def test_twins_have_no_angles():
    made, twins = recipe()
    storage = replace(made.storage, angles=True)
    assert "angles" not in train([twins[0]], storage)[0].arrays
    assert "angles" in train([made.specs[0]], storage)[0].arrays
