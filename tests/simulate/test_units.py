"""Nonlinearities, normalisation, initial gain and skip paths of the built-in architectures."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lrplan.errors import UsageError
from lrplan.simulate.architectures import Head, architectures
from lrplan.simulate.architectures._units import NONLINEARITIES, unit_settings
from lrplan.simulate.learn.passes import StackPass
from lrplan.simulate.learn.train import train
from lrplan.simulate.network import Layer, Pass, init_params
from lrplan.simulate.run.recipe import parse_recipe

READOUT = Head("readout", 10)
TORCH = {"relu": F.relu, "softplus": F.softplus, "tanh": torch.tanh, "gelu": F.gelu}


def built(name, shape=(2, 16, 16), **settings):
    architecture = architectures.get(name)
    return architecture.build(shape, READOUT, **architecture.settings | settings)


def drawn(network, seed=0):
    """Return parameters in double precision, biases, scales and shifts unlike 0 and 1."""
    rng = np.random.default_rng(seed)
    params = {k: torch.from_numpy(v).double() for k, v in init_params(network, rng).items()}
    for key, value in params.items():
        if not key.endswith(".weight"):
            params[key] = value + 0.3 * torch.from_numpy(rng.standard_normal(value.shape))
    return params


def images(shape=(2, 16, 16), examples=4):
    rng = np.random.default_rng(3)
    return torch.from_numpy(rng.standard_normal((examples, *shape)))


def layer_norm(x, scale, shift):
    """Layer normalisation written out (Ba et al. 2016), with a scale for each channel."""
    flat = x.flatten(1)
    mean = flat.mean(1, keepdim=True)
    sd = ((flat - mean).square().mean(1, keepdim=True) + 1e-5).sqrt()
    y = ((flat - mean) / sd).reshape(x.shape)
    places = (-1, *[1] * (x.ndim - 2))
    return y * scale.reshape(places) + shift.reshape(places)


class Written:
    """What a layer does, written out with torch, for networks to be compared with."""

    def __init__(self, params, nonlinearity, normalisation):
        self.params, self.f, self.normalisation = params, TORCH[nonlinearity], normalisation

    def norm(self, name, z):
        if self.normalisation == "none":
            return z
        scale, shift = self.params[f"{name}.scale"], self.params[f"{name}.shift"]
        if self.normalisation == "batch":
            return F.batch_norm(z, None, None, scale, shift, training=True)
        return layer_norm(z, scale, shift)

    def linear(self, name, x):
        return F.linear(x, self.params[f"{name}.weight"], self.params.get(f"{name}.bias"))

    def conv(self, name, x, stride=1):
        w = self.params[f"{name}.weight"]
        bias = self.params.get(f"{name}.bias")
        return F.conv2d(x, w, bias, stride=stride, padding=w.shape[-1] // 2)


ALL = [(f, n) for f in NONLINEARITIES for n in ("batch", "layer", "none")]


@pytest.mark.parametrize(("nonlinearity", "normalisation"), ALL)
@pytest.mark.parametrize("skip", [False, True])
def test_an_mlp_computes_what_is_written_out(nonlinearity, normalisation, skip):
    units = {"nonlinearity": nonlinearity, "normalisation": normalisation}
    network = built("mlp", width=5, depth=3, skip=skip, **units)
    params = drawn(network)
    written = Written(params, **units)
    run = Pass(params)
    found = network.forward(run, images())
    x = images().flatten(1)
    for i, name in enumerate(("fc1", "fc2", "fc3")):
        z = written.norm(name, written.linear(name, x))
        x = written.f(z + x if skip and i else z)
        assert torch.allclose(run.outputs[name], x, rtol=1e-9, atol=1e-10), name
    assert torch.allclose(found, written.linear("readout", x), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(("nonlinearity", "normalisation"), ALL[::2])
@pytest.mark.parametrize(("kernel", "pooling", "skip"), [(3, "max", True), (5, "mean", False)])
def test_a_convnet_computes_what_is_written_out(nonlinearity, normalisation, kernel, pooling, skip):
    units = {"nonlinearity": nonlinearity, "normalisation": normalisation}
    network = built(
        "convnet", channels=[3, 3, 5], kernel=kernel, pooling=pooling, skip=skip, **units
    )
    assert network.layers[0].shape == (3, 2, kernel, kernel)
    params = drawn(network)
    written = Written(params, **units)
    x = images()
    for i, name in enumerate(("conv1", "conv2", "conv3")):
        z = written.norm(name, written.conv(name, x))
        if skip and i:
            # Of the old channels; new ones have nothing to add.
            z = torch.cat([z[:, : x.shape[1]] + x, z[:, x.shape[1] :]], dim=1)
        pool = F.max_pool2d if pooling == "max" else F.avg_pool2d
        x = pool(written.f(z), 2)
    expected = written.linear("readout", x.flatten(1))
    found = network.forward(Pass(params), images())
    assert torch.allclose(found, expected, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(("nonlinearity", "normalisation"), ALL[::2])
def test_a_small_resnet_computes_what_is_written_out(version, nonlinearity, normalisation):
    units = {"nonlinearity": nonlinearity, "normalisation": normalisation}
    network = built("resnet", blocks=[1, 1], width=3, version=version, kernel=5, **units)
    params = drawn(network)
    written = Written(params, **units)
    x = written.f(written.norm("conv1", written.conv("conv1", images())))
    s = x
    for block, stride in (("layer1_0_", 1), ("layer2_0_", 2)):
        one, two, shortcut = (block + k for k in ("conv1", "conv2", "shortcut"))
        if stride == 2:
            s = written.conv(shortcut, x, stride)
            s = written.norm(shortcut, s) if version == 1 else s
        h = written.f(written.norm(one, written.conv(one, x, stride)))
        h = written.conv(two, h)
        if version == 1:
            s = x = written.f(written.norm(two, h) + s)
        else:
            s = h + s
            x = written.f(written.norm(two, s))
    expected = written.linear("readout", x.mean((2, 3)))
    found = network.forward(Pass(params), images())
    assert torch.allclose(found, expected, rtol=1e-9, atol=1e-10)
    assert f"{shortcut}.bias" not in params


@pytest.mark.parametrize(("nonlinearity", "normalisation"), ALL[1::2])
def test_a_densenet_computes_what_is_written_out(nonlinearity, normalisation):
    units = {"nonlinearity": nonlinearity, "normalisation": normalisation}
    network = built("densenet", blocks=[2, 1], growth=3, **units)
    sizes = {layer.name: layer.shape[:2] for layer in network.layers}
    assert sizes == {
        "conv1": (6, 2),
        "block1_0": (3, 6),
        "block1_1": (3, 9),
        "transition1": (6, 12),
        "block2_0": (3, 6),
        "readout": (10, 9),
    }
    params = drawn(network)
    written = Written(params, **units)

    def of(name, *maps):
        return written.f(written.norm(name, written.conv(name, torch.cat(maps, dim=1))))

    a = of("conv1", images())
    b = of("block1_0", a)
    c = of("block1_1", a, b)
    d = F.avg_pool2d(of("transition1", a, b, c), 2)
    e = of("block2_0", d)
    expected = written.linear("readout", torch.cat([d, e], dim=1).mean((2, 3)))
    found = network.forward(Pass(params), images())
    assert torch.allclose(found, expected, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(("nonlinearity", "normalisation"), ALL[1::2])
def test_an_alexnet_has_them_in_all_its_hidden_layers(nonlinearity, normalisation):
    units = {"nonlinearity": nonlinearity, "normalisation": normalisation}
    network = built("alexnet", width=2, **units)
    params = drawn(network)
    written = Written(params, **units)
    run = Pass(params)
    network.forward(run, images())
    for name in ("conv1", "conv4", "fc6", "fc7"):
        x = run.visits[name][0].x
        z = written.conv(name, x) if name.startswith("conv") else written.linear(name, x)
        expected = written.f(written.norm(name, z))
        assert torch.allclose(run.outputs[name], expected, rtol=1e-9, atol=1e-10), name


def test_a_resnet_of_two_blocks_in_four_stages_is_resnet18():
    for version, name in ((1, "resnet18"), (2, "resnet18v2")):
        one = built("resnet", blocks=[2, 2, 2, 2], width=4, version=version)
        other = built(name, width=4)
        assert one.layers == other.layers
        params = drawn(one)
        assert torch.equal(
            one.forward(Pass(params), images()), other.forward(Pass(params), images())
        )


def test_a_convnet_may_be_a_knet():
    one, other = built("convnet", channels=[3, 4, 5], kernel=5), built("knet4", channels=[3, 4, 5])
    assert one.layers == other.layers
    params = drawn(one)
    assert torch.equal(one.forward(Pass(params), images()), other.forward(Pass(params), images()))


def test_defaults_are_what_these_networks_were_before_they_had_settings():
    """Initial weights follow from the layers and the seed."""
    readout = {"readout": True}
    assert built("mlp", width=7, depth=2).layers == (
        Layer("fc1", (7, 512), bias=False, norm=True),
        Layer("fc2", (7, 7), bias=False, norm=True),
        Layer("readout", (10, 7), **readout),
    )
    for name, local in (("knet4", False), ("knet4_lrn", True)):
        parts = {"bias": local, "norm": not local}
        assert built(name, channels=[3, 4, 5]).layers == (
            Layer("conv1", (3, 2, 5, 5), **parts),
            Layer("conv2", (4, 3, 5, 5), **parts),
            Layer("conv3", (5, 4, 5, 5), **parts),
            Layer("readout", (10, 20), **readout),
        )
    layers = built("alexnet_lrn", width=2).layers
    assert layers[0] == Layer("conv1", (2, 2, 5, 5))
    assert layers[5] == Layer("fc6", (128, 32))
    assert layers[-1] == Layer("readout", (10, 128), gain=0.05, **readout)
    for name, shortcut in (("resnet18", True), ("resnet34v2", False)):
        layers = {layer.name: layer for layer in built(name, width=2).layers}
        for key, layer in layers.items():
            if key == "readout":
                assert layer == Layer(key, (10, 16), **readout)
            else:
                norm = shortcut if key.endswith("shortcut") else True
                assert layer == Layer(key, layer.shape, bias=False, norm=norm)


RECIPE = """
[grid]
rule = ["sgdm", "adam", "feedback_alignment", "information_alignment"]
architecture = "{name}"
task = "digits"
batch_size = 512
learning_rate = 0.01
[training]
epochs = 1
checkpoints = 3
[storage]
populations = "all"
units = 9
stimuli = 2
pairs = 2
pair_stimuli = 1
synapses = 12
validation = 3
[architectures.{name}]
{settings}
"""


def recipe(name, **settings):
    lines = [
        f"{k} = {str(v).lower() if isinstance(v, bool) else repr(v)}" for k, v in settings.items()
    ]
    return parse_recipe(RECIPE.format(name=name, settings="\n".join(lines)))


def test_a_spec_that_names_no_setting_keeps_its_hash():
    """Its hash seeds everything random about an organism."""
    assert recipe("mlp", width=8).specs[0].hash == "6d09e531df4f429a"


TRAINED = {
    "mlp": {"width": 6},
    "convnet": {"channels": [3, 4, 5]},
    "alexnet": {"width": 1},
    "resnet": {"width": 3, "blocks": [1, 1]},
    "densenet": {"growth": 2, "blocks": [1, 1]},
}


# Each nonlinearity and each normalisation with every family; all pairs of them take minutes.
SOME = [("relu", "batch"), ("softplus", "layer"), ("tanh", "none"), ("gelu", "batch")]
CELLS = [pytest.param(*p, marks=[] if p in SOME else [pytest.mark.slow]) for p in ALL]


@pytest.mark.parametrize("name", TRAINED)
@pytest.mark.parametrize(("nonlinearity", "normalisation"), CELLS)
def test_all_layers_learn_under_every_rule(name, nonlinearity, normalisation):
    units = {"nonlinearity": nonlinearity, "normalisation": normalisation}
    skip = {"skip": nonlinearity in ("tanh", "relu")} if name in ("mlp", "convnet") else {}
    version = {"version": 1 + (nonlinearity in ("tanh", "gelu"))} if name == "resnet" else {}
    made = recipe(name, **TRAINED[name], **skip, **version, **units)
    for trained in train(list(made.specs), made.storage):
        assert not trained.diverged
        for kind in ("responses", "synapses", "loss"):
            assert np.isfinite(trained.arrays[kind][..., :4]).all()
        moved = trained.arrays["synapses"][:, 0] != trained.arrays["synapses"][:, -1]
        assert moved.any(-1).all(), f"a layer did not learn under {trained.spec.rule}"


@pytest.mark.parametrize(
    ("nonlinearity", "normalisation", "skip"),
    [("softplus", "layer", False), ("tanh", "none", True), ("gelu", "batch", True)],
)
def test_organisms_learn_alone_as_in_a_stack(nonlinearity, normalisation, skip):
    made = recipe("mlp", width=6, skip=skip, nonlinearity=nonlinearity, normalisation=normalisation)
    specs = list(made.specs)
    together = train(specs, made.storage, precision="float64")
    for spec, one in zip(specs, together, strict=True):
        [alone] = train([spec], made.storage, precision="float64")
        for kind in ("responses", "synapses", "paired", "loss", "performance"):
            np.testing.assert_allclose(
                one.arrays[kind], alone.arrays[kind], rtol=1e-3, atol=1e-6, err_msg=kind
            )


def test_layer_normalisation_of_a_stack_has_scales_and_shifts_of_its_organisms():
    rng = np.random.default_rng(0)
    for shape in ((6, 3), (6, 3, 4, 4)):
        x = torch.from_numpy(rng.standard_normal((2, *shape)))
        scale, shift = (torch.from_numpy(rng.standard_normal((2, 3))) for _ in range(2))
        run = StackPass({"a.scale": scale, "a.shift": shift}, organisms=2)
        found = run.layer_norm("a", x.flatten(0, 1)).unflatten(0, (2, 6))
        for i in range(2):
            expected = layer_norm(x[i], scale[i], shift[i])
            assert torch.allclose(found[i], expected, rtol=1e-9, atol=1e-10)
            one = Pass({"a.scale": scale[i], "a.shift": shift[i]})
            assert torch.allclose(one.layer_norm("a", x[i]), expected, rtol=1e-9, atol=1e-10)


def test_layer_normalisation_has_the_same_derivatives_where_layers_are_looked_at():
    x = torch.randn(3, 4, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x = x.contiguous(memory_format=torch.channels_last).requires_grad_()
    params = {k: torch.linspace(0.5, 2, 4, dtype=torch.float64) for k in ("a.scale", "a.shift")}
    y, looked_at = (Pass(params, probes=p).layer_norm("a", x) for p in (None, {}))
    assert torch.allclose(y, looked_at, rtol=1e-12, atol=1e-12)
    several = torch.eye(y.numel(), dtype=y.dtype)[::7].reshape(-1, *y.shape)
    (found,) = torch.autograd.grad(looked_at, x, several, is_grads_batched=True)
    for chosen, change in zip(several, found, strict=True):
        (expected,) = torch.autograd.grad(y, x, chosen, retain_graph=True)
        assert torch.allclose(change, expected, rtol=1e-9, atol=1e-12)


def test_layer_normalisation_learns_in_half_precision():
    made = recipe("mlp", width=6, normalisation="layer", nonlinearity="softplus")
    for specs in (list(made.specs), list(made.specs[:1])):
        for trained in train(specs, made.storage, precision="bfloat16"):
            assert np.isfinite(trained.arrays["loss"]).all()
            first, last = trained.arrays["synapses"][:, 0], trained.arrays["synapses"][:, -1]
            assert (first != last).any(-1).all()


def test_gains_keep_the_size_of_drives():
    """1 / E[f(z)^2] with z standard normal; softplus has that of ReLU."""
    z, weight = np.polynomial.hermite_e.hermegauss(101)
    weight /= weight.sum()
    for name in ("tanh", "gelu"):
        kept = float((weight * TORCH[name](torch.from_numpy(z)).numpy() ** 2).sum())
        assert NONLINEARITIES[name].gain == pytest.approx(1 / kept, rel=2e-3)
    assert NONLINEARITIES["relu"].gain == NONLINEARITIES["softplus"].gain == 2


@pytest.mark.parametrize("nonlinearity", NONLINEARITIES)
@pytest.mark.parametrize("skip", [False, True])
def test_signals_neither_vanish_nor_explode_without_normalisation(nonlinearity, skip):
    """Over eight layers: drives, and how they differ between examples."""
    units = {"nonlinearity": nonlinearity, "normalisation": "none"}
    network = built("mlp", width=300, depth=9, skip=skip, **units)
    params = init_params(network, np.random.default_rng(0))
    run = Pass({k: torch.from_numpy(v).double() for k, v in params.items()})
    network.forward(run, images(examples=20))

    def sizes(name):
        z = run.outputs[name] if skip else run.visits[name][0].z
        return float(z.square().mean().sqrt()), float(z.std(0).square().mean().sqrt())

    for first, last in zip(sizes("fc1"), sizes("fc9"), strict=True):
        assert 0.15 < last / first < 4


def test_gain_multiplies_initial_weights_but_those_of_the_head():
    for name in TRAINED:
        small = TRAINED[name]
        one, other = built(name, **small), built(name, gain=1.5, **small)
        weights, larger = (init_params(n, np.random.default_rng(0)) for n in (one, other))
        for layer in one.layers:
            times = 1 if layer.readout else 1.5
            key = f"{layer.name}.weight"
            np.testing.assert_allclose(larger[key], times * weights[key], rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "settings", "says"),
    [
        ("mlp", {"nonlinearity": "relo"}, "unknown nonlinearity 'relo'; nearest: relu"),
        ("convnet", {"normalisation": "instance"}, "'instance'.*batch, layer, none"),
        ("resnet18", {"gain": 0.0}, "gain is 0.0; expected a number above 0"),
        ("mlp", {"skip": True, "depth": 1}, "mlp.skip is true; it needs a depth of at least 2"),
        ("mlp", {"width": 1, "normalisation": "layer"}, "mlp.width is 1.*at least 2"),
        ("convnet", {"kernel": 4}, "kernel is 4; expected 3, 5 or 7"),
        ("convnet", {"pooling": "median"}, "unknown pooling 'median'.*max, mean"),
        ("convnet", {"channels": [4, 3], "skip": True}, r"skip is true.*\[4, 3\].*fewer channels"),
        ("convnet", {"channels": [4], "skip": True}, "at least two layers"),
        ("convnet", {"channels": [1, 1, 1, 1, 1]}, "at least 32 pixels; the task gives 16 x 16"),
        ("resnet", {"blocks": [1, 0]}, "resnet.blocks has 0; expected whole numbers"),
        ("resnet", {"version": 3}, r"resnet.version is 3; expected 1 \(post-act.*2 \(pre-act"),
        ("resnet", {"kernel": 9}, "resnet.kernel is 9; expected 3, 5 or 7"),
        ("densenet", {"growth": 0}, "densenet.growth is 0; expected a whole number"),
        ("densenet", {"blocks": [1] * 6}, "at least 32 pixels; the task gives 16 x 16; use fewer"),
        ("resnet", {"blocks": [1] * 6}, "at least 32 pixels; the task gives 16 x 16"),
    ],
)
def test_what_cannot_be_is_refused_with_what_can(name, settings, says):
    with pytest.raises(UsageError, match=says):
        built(name, **settings)


def test_local_response_variants_have_no_other_normalisation():
    for name in ("knet4_lrn", "knet5_lrn", "alexnet_lrn"):
        settings = architectures.get(name).settings
        assert unit_settings().keys() - settings.keys() == {"normalisation"}
        with pytest.raises(UsageError, match="unknown key 'normalisation'"):
            recipe(name, normalisation="batch")
