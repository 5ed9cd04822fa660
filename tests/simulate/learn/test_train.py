"""Training: reproducible, honest about divergence, equal to plain references."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lrplan.errors import UsageError
from lrplan.simulate.credits import Linear, Observed, Visit, credits
from lrplan.simulate.credits.backpropagation import Backpropagation
from lrplan.simulate.credits.information_alignment import InformationAlignment
from lrplan.simulate.learn.divergence import GROWTH, has_diverged
from lrplan.simulate.learn.train import build, checkpoint_steps, train
from lrplan.simulate.network import Pass
from lrplan.simulate.optimizers.adam import Adam
from lrplan.simulate.optimizers.sgdm import SGDM
from lrplan.simulate.rules import Rule, rules
from lrplan.simulate.run.pack import part_bytes, read_part
from lrplan.simulate.run.recipe import parse_recipe
from lrplan.simulate.tasks.digits import load_digits
from lrplan.simulate.tasks.digits_simclr import nt_xent

RECIPE = """
[grid]
rule = "{rule}"
architecture = "{architecture}"
task = "{task}"
batch_size = {batch}
learning_rate = {rates}
model_seed = {seeds}
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


def recipe(
    rule="sgdm", architecture="mlp", task="digits", rates="0.02", seeds="0", batch=256, text=RECIPE
):
    words = {"rule": rule, "architecture": architecture, "task": task}
    return parse_recipe(text.format(**words, rates=rates, seeds=seeds, batch=batch))


def assert_same(one, other, **tolerance):
    assert set(one.arrays) == set(other.arrays)
    for name, values in one.arrays.items():
        if tolerance:
            np.testing.assert_allclose(values, other.arrays[name], err_msg=name, **tolerance)
        else:
            np.testing.assert_array_equal(values, other.arrays[name], err_msg=name)


@pytest.mark.parametrize("task", ["digits", "digits_simclr"])
def test_the_same_spec_gives_the_same_organism(task):
    made = recipe("information_alignment", "knet4", task)
    one, again = (train(list(made.specs), made.storage)[0] for _ in range(2))
    assert_same(one, again)


@pytest.mark.parametrize("seed", ["model_seed", "data_seed"])
def test_other_seeds_give_another_organism(seed):
    made = recipe()
    one = train(list(made.specs), made.storage)[0]
    other = train([replace(made.specs[0], **{seed: 7})], made.storage)[0]
    for name in ("responses", "synapses", "observables", "loss"):
        assert not np.allclose(one.arrays[name], other.arrays[name], equal_nan=True), name
    # Not even the untrained networks are shared.
    assert not np.allclose(one.arrays["synapses"][:, 0], other.arrays["synapses"][:, 0])


def test_global_random_state_is_neither_used_nor_changed():
    made = recipe("feedback_alignment", "mlp", "digits_simclr")
    torch.manual_seed(1)
    one = train(list(made.specs), made.storage)[0]
    torch.manual_seed(2)
    before = torch.get_rng_state()
    assert_same(one, train(list(made.specs), made.storage)[0])
    assert torch.equal(before, torch.get_rng_state())


@dataclass(frozen=True, kw_only=True)
class Grows(Backpropagation):
    """Weights are multiplied by a factor at every step, whatever they are shown."""

    factor: float = 2.0

    def update(self, seen):
        return (self.factor - 1) * seen.weight


def test_an_organism_that_grows_by_orders_of_magnitude_has_diverged(monkeypatch):
    """Whether or not it overflows: after 11 steps weights are finite, and 2^11 times as large."""
    for registry in (credits, rules):
        registry.names()
        monkeypatch.setattr(registry, "_entries", dict(registry._entries))
    credits.add("grows", Grows)
    optimizer = SGDM(momentum=0.0, nesterov=False)
    rules.add("grows", Rule("grows", Grows(), optimizer, 1.0, summary="grows", cites="nobody"))
    text = RECIPE.replace("[training]", '[training]\nschedule = "constant"')
    made = recipe("grows", rates="[0.01, 1.0]", batch=128, text=text)
    sound, wild = train(list(made.specs), made.storage)
    assert not sound.diverged
    assert wild.diverged
    for one, growth in ((sound, 1.01**11), (wild, 2**11)):
        weights = one.arrays["synapses"]
        assert np.isfinite(weights).all() and np.isfinite(one.arrays["loss"]).all()
        np.testing.assert_allclose(weights[:, -1], growth * weights[:, 0], rtol=1e-4)
    assert train([made.specs[1]], made.storage)[0].diverged


def trajectory():
    """Return sizes of two weights and a bias, which of them are weights, and arrays."""
    rng = np.random.default_rng(0)
    arrays = {
        "responses": rng.standard_normal((2, 4, 3, 5)),
        "synapses": rng.standard_normal((2, 4, 6)),
        "paired": rng.standard_normal((2, 4, 2, 3, 3)),
        "loss": np.ones(4),
    }
    arrays["responses"][1, :, :, 3:] = np.nan  # a layer of three units
    sizes = np.array([[0.5, 0.0, 2.0]] * 4)
    return sizes, np.array([True, False, True]), arrays


def outgrow(sizes, arrays):
    sizes[2, 0] *= 2 * GROWTH  # and is small again at the end


def overflow(sizes, arrays):
    sizes[3, 1] = np.inf


def lose_a_response(sizes, arrays):
    arrays["responses"][0, 2, 1, 4] = np.nan


def leave_half_precision(sizes, arrays):
    arrays["paired"][1, 3, 0, 0, 0] = -7e4


def lose_the_loss(sizes, arrays):
    arrays["loss"][3] = np.nan


def shout(sizes, arrays):
    arrays["responses"][1, 1] *= 2 * GROWTH


WILD = (outgrow, overflow, lose_a_response, leave_half_precision, lose_the_loss, shout)


@pytest.mark.parametrize("happens", WILD, ids=lambda f: f.__name__)
def test_divergence_is_growth_or_what_is_not_finite_at_any_checkpoint(happens):
    sizes, is_weight, arrays = trajectory()
    assert not has_diverged(sizes, is_weight, arrays)
    happens(sizes, arrays)
    assert has_diverged(sizes, is_weight, arrays)


def test_what_grows_from_nothing_or_within_bounds_has_not_diverged():
    sizes, is_weight, arrays = trajectory()
    sizes[1:, 1] = 5.0  # a bias that was zero
    sizes[1:, 2] *= GROWTH / 2
    arrays["responses"][:, 1:] *= GROWTH / 2
    arrays["responses"][0, 0] = 0.0  # a layer that was silent
    assert not has_diverged(sizes, is_weight, arrays)


def test_what_half_precision_cannot_hold_is_stored_as_a_gap(tmp_path):
    made = recipe()
    sound = train(list(made.specs), made.storage)[0]
    responses = sound.arrays["responses"].copy()
    responses[0, -1, 0, 0] = 7e4
    wild = replace(sound, arrays=sound.arrays | {"responses": responses}, diverged=True)
    (tmp_path / "part").write_bytes(part_bytes(wild))
    meta, arrays = read_part(tmp_path / "part")
    assert meta["diverged"]
    lost = np.argwhere(~np.isfinite(arrays["responses"]) & np.isfinite(sound.arrays["responses"]))
    assert lost.tolist() == [[0, len(responses[0]) - 1, 0, 0]]


@pytest.mark.parametrize("task", ["digits", "digits_simclr"])
@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_information_alignment_stays_finite_without_normalisation(task, scale):
    """Its null term grows with the drive; batch normalisation must not be what bounds it."""
    rng = np.random.default_rng(0)
    data = load_digits(None)
    x = torch.from_numpy(data.train[:256].reshape(256, -1)) * scale
    w = torch.from_numpy(rng.standard_normal((512, 64)).astype(np.float32)) * (2 / 64) ** 0.5
    b = torch.from_numpy(rng.standard_normal((512, 64)).astype(np.float32)) * (2 / 64) ** 0.5
    start = b.norm()
    for _ in range(500):
        seen = Observed(Linear(), w, b, [Visit(x, x @ w.T)])
        b = b + InformationAlignment().update_backward(seen)
    assert b.norm() <= 2 * start
    made = recipe("information_alignment", "knet4_lrn", task, rates="0.02")
    assert not train(list(made.specs), made.storage)[0].diverged


def torch_steps(make, parameters, gradients):
    mine = {k: torch.nn.Parameter(v.clone()) for k, v in parameters.items()}
    optimizer = make(mine.values())
    for step in gradients:
        for name, g in step.items():
            mine[name].grad = g.clone()
        optimizer.step()
    return {k: v.detach() for k, v in mine.items()}


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (SGDM(), lambda p: torch.optim.SGD(p, lr=0.03, momentum=0.9, nesterov=True)),
        (SGDM(nesterov=False), lambda p: torch.optim.SGD(p, lr=0.03, momentum=0.9)),
        (
            SGDM(weight_decay=0.1),
            lambda p: torch.optim.SGD(p, lr=0.03, momentum=0.9, nesterov=True, weight_decay=0.1),
        ),
        (Adam(), lambda p: torch.optim.Adam(p, lr=0.03)),
        (
            Adam(beta1=0.8, beta2=0.95, epsilon=1e-3, weight_decay=0.1),
            lambda p: torch.optim.Adam(p, lr=0.03, betas=(0.8, 0.95), eps=1e-3, weight_decay=0.1),
        ),
    ],
    ids=["sgdm", "sgdm plain", "sgdm decay", "adam", "adam decay"],
)
def test_optimizers_are_those_of_torch(ours, theirs):
    rng = np.random.default_rng(3)

    def draw():
        shapes = {"a": (4, 3), "b": (5,)}
        return {k: torch.from_numpy(rng.standard_normal(s)) for k, s in shapes.items()}

    start, gradients = draw(), [draw() for _ in range(12)]
    expected = torch_steps(theirs, start, gradients)

    def stepped(rates):
        params = {k: torch.stack([v, v]) for k, v in start.items()}
        state = ours.init(params)
        for step in gradients:
            # A gradient's layout need not be its parameter's.
            grads = {k: torch.stack([g, g], dim=-1).movedim(-1, 0) for k, g in step.items()}
            params, state = ours.step(
                params, grads, state, torch.tensor(rates, dtype=torch.float64)
            )
        return params

    # Two organisms: the second has another rate and must not move the first.
    apart, together = stepped([0.03, 0.5]), stepped(0.03)
    for name, value in expected.items():
        assert torch.allclose(apart[name][0], value, rtol=0, atol=1e-10), name
        assert not torch.allclose(apart[name][1], value, rtol=0, atol=1e-3), name
        for one in together[name]:
            assert torch.allclose(one, value, rtol=0, atol=1e-10), name


def test_training_with_a_constant_rate_is_plain_torch():
    """One organism against a loop in torch.nn that shares none of its code."""
    made = recipe(text=RECIPE.replace("[training]", '[training]\nschedule = "constant"'))
    spec = made.specs[0]
    _, task, _, data, network = build(spec)
    from lrplan.simulate.network import init_params

    start = {k: torch.from_numpy(v) for k, v in init_params(network, spec.rng("weights")).items()}
    model = torch.nn.Sequential(torch.nn.Flatten())
    for i in range(3):
        layer = torch.nn.Linear(start[f"fc{i + 1}.weight"].shape[1], 16, bias=False)
        layer.weight.data = start[f"fc{i + 1}.weight"].clone()
        model.extend([layer, torch.nn.BatchNorm1d(16), torch.nn.ReLU()])
    readout = torch.nn.Linear(16, 10)
    readout.weight.data = start["readout.weight"].clone()
    readout.bias.data.zero_()
    model.append(readout)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9, nesterov=True)
    order = spec.rng("order").permutation(len(data.train))
    for i in range(len(data.train) // 256):
        batch = order[i * 256 : (i + 1) * 256]
        optimizer.zero_grad()
        output = model(torch.from_numpy(data.train[batch]))
        F.cross_entropy(output, torch.from_numpy(data.train_labels[batch])).backward()
        optimizer.step()

    found = train([spec], made.storage)[0]
    from lrplan.simulate.learn.probes import Probes

    probes = Probes(network, [spec], made.storage, task, data, torch.device("cpu"))
    for p, population in enumerate(probes.populations):
        place = [layer.name for layer in network.layers].index(population.layer)
        weights = [m for m in model if isinstance(m, torch.nn.Linear)][place].weight
        expected = weights.detach().flatten()[probes.synapses[population.layer][0]]
        np.testing.assert_allclose(found.arrays["synapses"][p, -1], expected, rtol=0, atol=1e-5)


def numpy_nt_xent(z, temperature):
    z = z / np.sqrt((z * z).sum(1, keepdims=True))
    n = len(z) // 2
    total = 0.0
    for i in range(2 * n):
        partner = (i + n) % (2 * n)
        others = [np.exp(z[i] @ z[k] / temperature) for k in range(2 * n) if k != i]
        total += -np.log(np.exp(z[i] @ z[partner] / temperature) / sum(others))
    return total / (2 * n)


@pytest.mark.parametrize("temperature", [0.1, 0.2, 1.0])
def test_nt_xent_is_its_equation(temperature):
    z = np.random.default_rng(0).standard_normal((12, 5))
    found = nt_xent(torch.from_numpy(z), temperature)
    assert found.item() == pytest.approx(numpy_nt_xent(z, temperature), rel=1e-12)


def test_nt_xent_is_least_where_the_views_of_an_image_agree():
    rng = np.random.default_rng(0)
    z = torch.from_numpy(rng.standard_normal((8, 16)))
    agree = nt_xent(torch.cat([z, z]), 0.2)
    assert agree < nt_xent(torch.cat([z, z.roll(1, 0)]), 0.2)


def test_the_split_of_digits_is_fixed_and_disjoint():
    from sklearn.datasets import load_digits as original

    load_digits.cache_clear()
    one = load_digits(None)
    load_digits.cache_clear()
    again = load_digits(None)
    for field in ("train", "train_labels", "test", "test_labels"):
        np.testing.assert_array_equal(getattr(one, field), getattr(again, field))
    assert len(one.train) + len(one.test) == 1797
    raw = original()
    known = {image.astype(np.float32).tobytes(): i for i, image in enumerate(raw.images)}
    assert len(known) == 1797  # all images differ, so they can be told apart
    lowest, step = one.train.min(), (one.train.max() - one.train.min()) / 16

    def places(images):
        back = np.rint((images[:, 0] - lowest) / step).astype(np.float32)
        return {known[image.tobytes()] for image in back}

    train_places, test_places = places(one.train), places(one.test)
    assert len(train_places) == len(one.train)
    assert not train_places & test_places
    assert len(train_places | test_places) == 1797
    for labels in (one.train_labels, one.test_labels):
        share = np.bincount(labels, minlength=10) / len(labels)
        np.testing.assert_allclose(share, np.bincount(raw.target) / 1797, atol=0.01)
    assert abs(one.train.mean()) < 1e-4
    assert one.train.std() == pytest.approx(1, abs=1e-4)
    # Another size shows the same digits in the same order.
    np.testing.assert_array_equal(load_digits(16).test_labels, one.test_labels)


@pytest.mark.parametrize("shape", [(9, 6), (9, 6, 4, 5)])
def test_batch_norm_is_that_of_torch(shape):
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.standard_normal(shape)) * 3 + 1
    scale, shift = (torch.from_numpy(rng.standard_normal(6)) for _ in range(2))
    run = Pass({"a.scale": scale, "a.shift": shift})
    expected = F.batch_norm(x, None, None, scale, shift, training=True, eps=1e-5)
    assert torch.allclose(run.batch_norm("a", x), expected, rtol=0, atol=1e-12)
    mean, var = run.batch_statistics["a"]
    fixed = Pass({"a.scale": scale, "a.shift": shift}, statistics={"a": (mean, var)})
    other = x.flip(0)[:2] * 2
    expected = F.batch_norm(other, mean, var, scale, shift, training=False, eps=1e-5)
    assert torch.allclose(fixed.batch_norm("a", other), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("channels", [3, 5, 32])
def test_local_response_norm_is_that_of_torch(channels):
    """Torch and cuda-convnet divide alpha by the size; Krizhevsky et al. (2012) write a sum."""
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((4, channels, 3, 2))) * 50
    found = Pass({}).local_response_norm(x, size=5, alpha=1e-2, beta=0.75, k=1.0)
    expected = F.local_response_norm(x, 5, alpha=1e-2, beta=0.75, k=1.0)
    assert torch.allclose(found, expected, rtol=1e-12, atol=1e-12)
    near = torch.stack([(x[:, max(0, c - 2) : c + 3] ** 2).sum(1) for c in range(channels)], dim=1)
    assert torch.allclose(found, x / (1 + 1e-2 / 5 * near) ** 0.75, rtol=1e-12, atol=1e-12)


def test_checkpoints_are_evenly_spaced_and_end_with_training():
    spec = replace(recipe().specs[0], epochs=3, batch_size=64, checkpoints=21)
    steps = checkpoint_steps(spec, 1437)
    assert steps[0] == 0
    assert steps[-1] == 3 * (1437 // 64)
    assert len(steps) == 21
    assert set(np.diff(steps)) <= {3, 4}
    with pytest.raises(UsageError, match="too few for 21 checkpoints"):
        checkpoint_steps(replace(spec, epochs=1, batch_size=1000), 1437)
    with pytest.raises(UsageError, match="0 updates"):
        checkpoint_steps(replace(spec, batch_size=2000), 1437)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rule", "rate", "least"),
    [
        ("sgdm", 0.05, 0.95),
        ("adam", 0.001, 0.95),
        ("feedback_alignment", 0.05, 0.85),
        ("information_alignment", 0.05, 0.85),
    ],
)
def test_each_rule_learns_digits(rule, rate, least):
    made = parse_recipe(f"""
[grid]
rule = "{rule}"
architecture = "mlp"
task = "digits"
learning_rate = {rate}
[training]
epochs = 20
checkpoints = 3
""")
    trained = train(list(made.specs), made.storage)[0]
    assert not trained.diverged
    assert trained.arrays["performance"][0] < 0.3
    assert trained.arrays["performance"][-1] >= least
