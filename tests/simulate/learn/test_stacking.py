"""Organisms that train together are what each of them is alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from lrplan.simulate.architectures import Head, architectures
from lrplan.simulate.learn import learning, probes
from lrplan.simulate.learn.batches import Batches
from lrplan.simulate.learn.storage import Storage
from lrplan.simulate.learn.train import build, halves, stack_key, train
from lrplan.simulate.network import Pass, init_params
from lrplan.simulate.run.recipe import parse_recipe
from lrplan.simulate.run.stacks import organism_bytes, stack_size
from lrplan.simulate.tasks import Data, Task

RECIPE = """
[grid]
rule = ["information_alignment", "sgdm", "adam", "feedback_alignment"]
architecture = "{architecture}"
task = "{task}"
batch_size = {batch}
learning_rate = [0.003, 0.01]
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
[architectures.knet4_lrn]
channels = [3, 4, 5]
"""


def recipe(architecture="mlp", task="digits", batch=256):
    return parse_recipe(RECIPE.format(architecture=architecture, task=task, batch=batch))


def pretrained(spec, epochs=1):
    training = dict(spec.settings["training"], start="pretrained", pretrain_epochs=epochs)
    return replace(spec, settings={**spec.settings, "training": training})


def assert_alike(one, other, rtol=1e-6):
    """Compare to the precision in which arrays are stored; training ran in double."""
    assert one.spec == other.spec
    assert one.diverged == other.diverged
    assert [vars(p) for p in one.populations] == [vars(p) for p in other.populations]
    for name, values in one.arrays.items():
        scale = np.nanmax(np.abs(values))
        np.testing.assert_allclose(
            other.arrays[name], values, rtol=rtol, atol=rtol * scale, err_msg=name
        )


@pytest.fixture
def under_vmap(monkeypatch):
    """Stacks go the way of convolutional networks on a GPU."""
    for module in (learning, probes):
        monkeypatch.setattr(module, "goes_as_one", lambda params: False)


def check_alone_and_in_company(specs, storage):
    together = train(specs, storage, precision="float64")
    pair = train([specs[2], specs[0]], storage, precision="float64")
    assert_alike(together[2], pair[0])
    assert_alike(together[0], pair[1])
    for spec, one in zip(specs, together, strict=True):
        assert_alike(one, train([spec], storage, precision="float64")[0])


@pytest.mark.parametrize(
    ("architecture", "task"),
    [
        ("mlp", "digits"),
        ("mlp", "digits_simclr"),
        ("knet4", "digits"),
        ("knet4_lrn", "digits"),
        pytest.param("knet4", "digits_simclr", marks=pytest.mark.slow),
    ],
)
def test_four_rules_in_one_stack_are_what_each_is_alone(architecture, task):
    made = recipe(architecture, task, batch=512)
    assert len({stack_key(s) for s in made.specs}) == 1
    check_alone_and_in_company(list(made.specs)[::2], made.storage)


@pytest.mark.parametrize("architecture", ["mlp", "knet4"])
def test_a_stack_under_vmap_is_what_each_is_alone(architecture, under_vmap):
    made = recipe(architecture, batch=512)
    check_alone_and_in_company(list(made.specs)[::2], made.storage)


def test_settings_of_a_rule_may_differ_within_a_stack():
    settings = [
        ("sgdm", {"momentum": 0.5, "weight_decay": 0.01}),
        ("sgdm", {"momentum": 0.9}),
        ("sgdm", {"nesterov": False}),
        ("adam", {"beta1": 0.5, "epsilon": 1e-4}),
        ("adam", {"beta2": 0.9}),
        ("information_alignment", {"amp": 0.01}),
        ("information_alignment", {}),
    ]
    made = recipe()
    base = {s.rule: s for s in made.specs}
    specs = [replace(base[r], settings={**base[r].settings, "rule": v}) for r, v in settings]
    together = train(specs, made.storage, precision="float64")
    for spec, one in zip(specs, together, strict=True):
        assert_alike(one, train([spec], made.storage, precision="float64")[0])
    ends = [one.arrays["synapses"][0, -1] for one in together]
    assert all(not np.allclose(a, b) for i, a in enumerate(ends) for b in ends[:i])


def test_how_large_weights_start_may_differ_within_a_stack():
    made = recipe("mlp", batch=512)
    base = list(made.specs)[::2]

    def with_gain(spec, gain):
        its = {**spec.settings["architecture"], "gain": gain}
        return replace(spec, settings={**spec.settings, "architecture": its})

    specs = [with_gain(s, gain) for s, gain in zip(base, (0.5, 1.0, 2.0, 4.0), strict=True)]
    assert len({stack_key(s) for s in specs}) == 1
    check_alone_and_in_company(specs, made.storage)


@pytest.mark.parametrize("name", ["mlp", "convnet", "knet4", "alexnet", "resnet"])
def test_initial_settings_show_in_the_weights_before_training_alone(name):
    architecture = architectures.get(name)
    assert architecture.initial == ("gain",)
    head, small = Head("readout", 3), {"alexnet": {"width": 2}, "resnet": {"width": 2}}
    settings = architecture.settings | small.get(name, {})
    one, other = (
        architecture.build((1, 16, 16), head, **settings | {"gain": gain}) for gain in (1.0, 3.0)
    )
    params = init_params(one, np.random.default_rng(0))
    larger = init_params(other, np.random.default_rng(0))
    assert any(not np.array_equal(params[k], larger[k]) for k in params)
    images = torch.from_numpy(np.random.default_rng(1).random((4, 1, 16, 16), dtype=np.float32))
    tensors = {k: torch.from_numpy(v) for k, v in params.items()}
    np.testing.assert_array_equal(
        *(network.forward(Pass(tensors), images).numpy() for network in (one, other))
    )


def test_a_stack_may_have_more_rates_than_parameters():
    """Then a step takes the rates of several organisms at once."""
    made = recipe()
    base = {s.rule: s for s in made.specs}
    few = {k: replace(base[k], epochs=1, checkpoints=2) for k in ("adam", "sgdm")}
    rates = np.linspace(0.001, 0.02, 13)  # an mlp has eleven parameters
    specs = [replace(spec, learning_rate=float(r)) for r in rates for spec in few.values()]
    together = train(specs, made.storage, precision="float64")
    for i in (0, 1, 24, 25):
        assert_alike(together[i], train([specs[i]], made.storage, precision="float64")[0])


@pytest.mark.parametrize(
    ("architecture", "vmapped"), [("mlp", False), ("mlp", True), ("knet4", False)]
)
def test_what_diverges_does_not_touch_its_neighbours(architecture, vmapped, monkeypatch):
    if vmapped:
        for module in (learning, probes):
            monkeypatch.setattr(module, "goes_as_one", lambda params: False)
    made = recipe(architecture, batch=512)
    wild = [replace(s, learning_rate=1e300) for s in made.specs[:4:2]]
    sound = [made.specs[3], made.specs[7]]
    mixed = [s for pair in zip(wild, sound, strict=True) for s in pair]
    found = train(mixed, made.storage, precision="float64")
    assert [one.spec for one in found] == mixed
    assert all(one.diverged for one in found[::2])
    for one in found[1::2]:
        assert not one.diverged
        assert_alike(one, train([one.spec], made.storage, precision="float64")[0])


@pytest.mark.parametrize(("architecture", "batch"), [("mlp", 64), ("knet4", 512)])
def test_half_precision_learns_about_the_same_and_stores_in_full(architecture, batch, under_vmap):
    """As on a GPU, with a stack of all four rules."""
    made = recipe(architecture, batch=batch)
    specs = list(made.specs)[::2]
    whole = train(specs, made.storage, precision="float32")
    half = train(specs, made.storage, precision="bfloat16")
    for one, other in zip(whole, half, strict=True):
        # Before training nothing differs: what is stored is not computed in half precision.
        for name in ("responses", "paired", "observables"):
            np.testing.assert_array_equal(one.arrays[name][:, 0], other.arrays[name][:, 0])
        assert not np.array_equal(one.arrays["synapses"][:, -1], other.arrays["synapses"][:, -1])
        assert abs(one.arrays["performance"][-1] - other.arrays["performance"][-1]) < 0.1


def test_what_cannot_share_a_stack_is_refused():
    made, other = recipe(), recipe(task="digits_simclr")
    with pytest.raises(ValueError, match="stack_key differ"):
        train([made.specs[0], other.specs[0]], made.storage)


class Stored:
    """Images read from somewhere when asked for."""

    def __init__(self, images):
        self.images, self.shape, self.dtype = images, images.shape, images.dtype
        self.asked = []

    def __len__(self):
        return len(self.images)

    def read(self, places):
        self.asked.append(len(places))
        return self.images[places]


def test_images_read_on_the_way_give_the_same_batches_as_those_in_memory():
    made = recipe()
    specs = list(made.specs)[:3]
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (100, 3, 4, 4), dtype=np.uint8)
    labels = rng.integers(0, 5, (100, 2))
    specs = [replace(s, batch_size=16) for s in specs]

    def batches(source):
        data = Data(source, labels, images[:5], labels[:5])
        return Batches(specs, Task(), {}, data, 2, torch.device("cpu"), torch.float32)

    stored = Stored(images)
    steps = list(zip(batches(images), batches(stored), strict=True))
    assert len(steps) == 2 * (100 // 16)
    for (x, y), (x_read, y_read) in steps:
        assert x.dtype == torch.float32
        assert x.shape == (3, 16, 3, 4, 4)
        assert 0 <= x.min() <= x.max() <= 1
        assert torch.equal(x, x_read)
        assert y.shape == (3, 16, 2)
        assert torch.equal(y, y_read)
    # One step at a time, not the whole set.
    assert set(stored.asked) == {3 * 16}


def test_an_epoch_shows_each_example_at_most_once():
    spec = replace(recipe().specs[0], batch_size=16)
    images = np.arange(100, dtype=np.float32).reshape(100, 1, 1, 1)
    data = Data(images, np.zeros(100, dtype=np.int64), images, np.zeros(100, dtype=np.int64))
    made = Batches([spec], Task(), {}, data, 3, torch.device("cpu"), torch.float32)
    seen = np.concatenate([x.numpy().ravel() for x, _ in made]).reshape(3, 96)
    for epoch in seen:
        assert len(set(epoch)) == 96
    expected = spec.rng("order")
    np.testing.assert_array_equal(seen[0], expected.permutation(100)[:96])
    np.testing.assert_array_equal(seen[1], expected.permutation(100)[:96])


@pytest.mark.parametrize("task", ["digits", "digits_simclr"])
def test_a_pretrained_organism_learns_the_classes_it_has_not_seen(task):
    made = recipe(task=task, batch=64)
    specs = [pretrained(s) for s in made.specs[1:5]]
    _, _, _, data, _ = build(specs[0])
    assert set(data.train_labels) == set(data.test_labels) == {5, 6, 7, 8, 9}
    together = train(specs, made.storage, precision="float64")
    for spec, one in zip(specs, together, strict=True):
        assert_alike(one, train([spec], made.storage, precision="float64")[0])
        assert one.arrays["examples"][-1] == len(data.train) // 64 * 64
        assert not one.diverged
    # It starts from what it has learned before: not from the weights it would draw.
    fresh = train(list(made.specs[1:5]), made.storage, precision="float64")
    for one, other in zip(together, fresh, strict=True):
        first = one.arrays["synapses"][0, 0], other.arrays["synapses"][0, 0]
        assert not np.allclose(*first)


def test_more_pretraining_gives_another_start():
    spec = recipe(batch=64).specs[2]
    storage = Storage(units=16, stimuli=3, validation=4)
    one, two = (train([pretrained(spec, n)], storage)[0] for n in (1, 2))
    assert not np.allclose(one.arrays["synapses"][0, 0], two.arrays["synapses"][0, 0])
    # The readout is drawn anew, whatever was learned.
    np.testing.assert_array_equal(one.arrays["loss"].shape, two.arrays["loss"].shape)


def test_halves_share_no_class_and_lose_no_example():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, (60, 2))
    images = np.arange(60, dtype=np.uint8).reshape(60, 1, 1, 1)
    data = Data(Stored(images), labels, images, labels)
    first, second = halves(data)
    assert set(first.train_labels[:, 0]) == {0, 1, 2}
    assert set(second.train_labels[:, 0]) == {3, 4}
    places = [
        half.train.read(np.arange(len(half.train))).ravel().tolist() for half in (first, second)
    ]
    assert sorted(places[0] + places[1]) == list(range(60))
    np.testing.assert_array_equal(labels[places[1]], second.train_labels)
    np.testing.assert_array_equal(second.test.ravel(), places[1])


def test_the_size_of_a_stack_fits_the_memory():
    made = recipe("knet4")
    spec, storage = made.specs[0], made.storage
    specs = [replace(spec, model_seed=i) for i in range(40)]
    each = organism_bytes(spec, storage)
    assert each > spec.batch_size * 4 * 16 * 16  # more than its images
    assert stack_size(specs, storage, "cuda", free_bytes=10 * each) == 8
    assert stack_size(specs, storage, "cuda", free_bytes=each // 10) == 1
    assert stack_size(specs, storage, "cuda", free_bytes=10**6 * each) == 40
    larger = replace(spec, batch_size=spec.batch_size * 4)
    assert organism_bytes(larger, storage) > each


def test_on_a_cpu_only_small_networks_without_convolutions_are_stacked():
    small, conv = recipe("mlp"), recipe("knet4")
    assert stack_size(small.specs, small.storage, "cpu", free_bytes=2**30) == len(small.specs)
    assert stack_size(conv.specs, conv.storage, "cpu", free_bytes=2**40) == 1
    wide = {"architecture": {"width": 512}}
    large = [replace(s, settings={**s.settings, **wide}) for s in small.specs]
    assert stack_size(large, small.storage, "cpu", free_bytes=2**40) == 1
