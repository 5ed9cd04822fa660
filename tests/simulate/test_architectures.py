"""ResNets and AlexNets against torchvision's, their stems, and what is stored of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torchvision

from lrplan.errors import UsageError
from lrplan.simulate.architectures import Head, architectures
from lrplan.simulate.credits import Conv, Observed, Visit
from lrplan.simulate.credits.backpropagation import Backpropagation
from lrplan.simulate.credits.feedback_alignment import FeedbackAlignment
from lrplan.simulate.credits.information_alignment import AlignmentLoss, InformationAlignment
from lrplan.simulate.learn.probes import Probes, populations_of
from lrplan.simulate.learn.storage import Storage
from lrplan.simulate.learn.train import build, train
from lrplan.simulate.network import BATCH_NORM_EPSILON, Pass, init_backward, init_params
from lrplan.simulate.run.recipe import parse_recipe

RESNETS = ("resnet18", "resnet18v2", "resnet34", "resnet34v2")
ALEXNETS = ("alexnet", "alexnet_lrn")


READOUT = Head("readout", 10)


def built(name, shape=(3, 32, 32), head=READOUT, **settings):
    architecture = architectures.get(name)
    return architecture.build(shape, head, **architecture.settings | settings)


def doubles(arrays):
    return {k: torch.from_numpy(v).double() for k, v in arrays.items()}


def images(shape, examples=4):
    rng = np.random.default_rng(3)
    return torch.from_numpy(rng.standard_normal((examples, *shape)))


def lively(params):
    """Replace the unit scales and zero shifts and biases, which would hide a misplaced one."""
    rng = np.random.default_rng(5)
    out = dict(params)
    for key, value in params.items():
        if not key.endswith(".weight"):
            out[key] = value + 0.3 * torch.from_numpy(rng.standard_normal(value.shape))
    return out


def count(network):
    total = 0
    for layer in network.layers:
        total += int(np.prod(layer.shape)) + layer.shape[0] * (layer.bias + 2 * layer.norm)
    return total


def of_torchvision(name, **changes):
    with torch.device("meta"):
        return getattr(torchvision.models, name)(**changes)


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "alexnet"])
def test_parameters_are_as_many_as_torchvisions(name):
    network = built(name, (3, 224, 224), Head("readout", 1000))
    expected = sum(p.numel() for p in of_torchvision(name).parameters())
    assert count(network) == expected
    assert expected == {"resnet18": 11_689_512, "resnet34": 21_797_672, "alexnet": 61_100_840}[name]


def test_parameters_counted_are_those_drawn():
    for name in (*RESNETS, *ALEXNETS):
        network = built(name, width=3)
        drawn = init_params(network, np.random.default_rng(0))
        assert sum(v.size for v in drawn.values()) == count(network)


@pytest.mark.parametrize("depth", [18, 34])
def test_preactivation_has_the_parameters_of_v1_but_the_shortcuts_normalisation(depth):
    one, two = (
        built(f"resnet{depth}{v}", (3, 224, 224), Head("readout", 1000)) for v in ("", "v2")
    )
    assert [layer.shape for layer in one.layers] == [layer.shape for layer in two.layers]
    assert count(one) - count(two) == 2 * (128 + 256 + 512)


def test_lrn_adds_no_parameters():
    one, two = (built(name, (3, 224, 224), Head("readout", 1000)) for name in ALEXNETS)
    assert one.layers == two.layers


def resnet_of_torchvision(network, params, statistics, **changes):
    """Return torchvision's model with our parameters, judging with our statistics."""
    model = of_torchvision("resnet18", num_classes=10)
    for name, module in changes.items():
        setattr(model, name, module)
    state = {"fc.weight": params["readout.weight"], "fc.bias": params["readout.bias"]}
    for layer in network.layers[:-1]:
        conv = layer.name.replace("_", ".").replace("shortcut", "downsample.0")
        norm = conv.replace("conv", "bn").replace("downsample.0", "downsample.1")
        state[f"{conv}.weight"] = params[f"{layer.name}.weight"]
        state[f"{norm}.weight"] = params[f"{layer.name}.scale"]
        state[f"{norm}.bias"] = params[f"{layer.name}.shift"]
        mean, var = statistics[layer.name]
        state[f"{norm}.running_mean"], state[f"{norm}.running_var"] = mean, var
        state[f"{norm}.num_batches_tracked"] = torch.tensor(0)
    model.load_state_dict(state, assign=True)
    return model.eval()


@pytest.mark.parametrize(("stem", "edge"), [("imagenet", 64), ("imagenet", 45), ("small", 16)])
def test_resnet_computes_what_torchvisions_does(stem, edge):
    network = built("resnet18", (3, edge, edge), stem=stem)
    params = lively(doubles(init_params(network, np.random.default_rng(0))))
    x = images((3, edge, edge))
    first = Pass(params)
    network.forward(first, x)
    changes = {}
    if stem == "small":
        with torch.device("meta"):
            conv = torch.nn.Conv2d(3, 64, 3, padding=1, bias=False)
        changes = {"conv1": conv, "maxpool": torch.nn.Identity()}
    model = resnet_of_torchvision(network, params, first.batch_statistics, **changes)
    found = network.forward(Pass(params, statistics=first.batch_statistics), x)
    with torch.no_grad():
        assert torch.allclose(found, model(x), rtol=1e-9, atol=1e-9)


def test_alexnet_computes_what_torchvisions_does():
    network = built("alexnet", (3, 96, 80), stem="imagenet")
    drawn = init_params(network, np.random.default_rng(0))
    params = {k: torch.from_numpy(v) for k, v in drawn.items()}
    for key, value in params.items():
        if key.endswith(".bias"):
            value += 0.1 * torch.arange(len(value)).sin()
    model = of_torchvision("alexnet", num_classes=10)
    places = {"conv1": 0, "conv2": 3, "conv3": 6, "conv4": 8, "conv5": 10}
    places |= {"fc6": 1, "fc7": 4, "readout": 6}
    state = {}
    for layer in network.layers:
        part = "features" if layer.name.startswith("conv") else "classifier"
        for kind in ("weight", "bias"):
            state[f"{part}.{places[layer.name]}.{kind}"] = params[f"{layer.name}.{kind}"]
    model.load_state_dict(state, assign=True)
    x = images((3, 96, 80), examples=2).float()
    with torch.no_grad():
        found, expected = network.forward(Pass(params), x), model.eval()(x)
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


def test_preactivation_follows_the_paper():
    """ResNet-18v2 written out block by block, from He et al. 2016b and its appendix."""
    network = built("resnet18v2", (3, 16, 16), width=4)
    params = lively(doubles(init_params(network, np.random.default_rng(0))))
    x = images((3, 16, 16))
    first = Pass(params)
    network.forward(first, x)
    fixed = first.batch_statistics

    def conv(name, x, stride=1):
        w = params[f"{name}.weight"]
        return torch.nn.functional.conv2d(x, w, stride=stride, padding=w.shape[-1] // 2)

    def activate(name, x):
        mean, var = fixed[name]
        scale, shift = params[f"{name}.scale"], params[f"{name}.shift"]
        return torch.nn.functional.batch_norm(x, mean, var, scale, shift, eps=1e-5).relu()

    s = activate("conv1", conv("conv1", x))  # split after the activation of the stem
    before = None  # the normalisation in front of a block is named after the convolution behind it
    for stage in (1, 2, 3, 4):
        for i in (0, 1):
            block = f"layer{stage}_{i}_"
            stride = 2 if stage > 1 and i == 0 else 1
            h = s if before is None else activate(before, s)
            skip = conv(block + "shortcut", h, stride) if stride == 2 else s
            h = activate(block + "conv1", conv(block + "conv1", h, stride))
            s = skip + conv(block + "conv2", h)
            before = block + "conv2"
    features = activate(before, s).mean((2, 3))
    expected = features @ params["readout.weight"].T + params["readout.bias"]
    found = network.forward(Pass(params, statistics=fixed), x)
    assert torch.allclose(found, expected, rtol=1e-9, atol=1e-9)


def test_a_preactivated_skip_path_carries_the_signal_unchanged():
    """With all residual branches silent, the stem's activity arrives at the end of a stage."""
    network = built("resnet18v2", (3, 8, 8), width=4)
    params = doubles(init_params(network, np.random.default_rng(0)))
    for layer in network.layers:
        if layer.name.endswith("conv2"):
            params[f"{layer.name}.weight"] = torch.zeros_like(params[f"{layer.name}.weight"])
    unchanged = {}
    for layer in network.layers:
        ones = torch.ones(layer.shape[0], dtype=torch.float64)
        unchanged[layer.name] = (0 * ones, ones - BATCH_NORM_EPSILON)
    run = Pass(params, statistics=unchanged)
    network.forward(run, images((3, 8, 8)))
    assert torch.allclose(run.outputs["layer1_1_conv2"], run.outputs["conv1"], atol=1e-12)


def test_local_response_normalisation_has_the_constants_of_the_paper():
    network = built("alexnet_lrn", (3, 16, 16), width=4)
    params = lively(doubles(init_params(network, np.random.default_rng(0))))
    # Large activity, so that the constants matter.
    params["conv1.weight"] = params["conv1.weight"] * 300
    run = Pass(params)
    x = images((3, 16, 16), examples=2)
    network.forward(run, x)
    a = (run.visits["conv1"][0].z + params["conv1.bias"][:, None, None]).relu().numpy()
    expected = np.zeros_like(a)
    channels = a.shape[1]
    for i in range(channels):
        near = a[:, max(0, i - 2) : min(channels - 1, i + 2) + 1]
        expected[:, i] = a[:, i] / (2 + 1e-4 * (near**2).sum(1)) ** 0.75
    np.testing.assert_allclose(run.outputs["conv1"].numpy(), expected, rtol=1e-10)
    assert (expected.max() < 0.5 * a.max()) and (expected != a / 2**0.75).any()
    assert torch.equal(
        run.outputs["conv3"],
        (run.visits["conv3"][0].z + params["conv3.bias"][:, None, None]).relu(),
    )


@pytest.mark.parametrize("name", [*RESNETS, *ALEXNETS])
def test_the_stem_follows_the_images(name):
    def first(edge, **settings):
        return built(name, (3, edge, edge), width=2, **settings).layers

    assert first(63) == first(63, stem="small")
    assert first(64) == first(64, stem="imagenet")
    assert first(64) != first(64, stem="small")
    assert built(name, (3, 64, 63), width=2).stem == "small"
    # A network trains on images of the size that small ones are enlarged to.
    size = architectures.get(name).size
    network = built(name, (1, size, size), width=2)
    params = doubles(init_params(network, np.random.default_rng(0)))
    assert network.forward(Pass(params), images((1, size, size))).shape == (4, 10)


@pytest.mark.parametrize(
    ("name", "stem", "edge", "least", "says"),
    [
        ("resnet18", "imagenet", 31, 32, 'stem = "small"'),
        ("resnet34v2", "small", 7, 8, "larger images"),
        ("resnet34", "auto", 7, 8, "larger images"),
        ("alexnet", "imagenet", 62, 63, 'stem = "small"'),
        ("alexnet_lrn", "imagenet", 7, 63, "larger images"),
    ],
)
def test_images_too_small_for_a_stem_are_refused(name, stem, edge, least, says):
    with pytest.raises(UsageError) as caught:
        built(name, (3, edge, 70), stem=stem, width=2)
    text = str(caught.value)
    assert name in text
    assert f"{edge} x 70" in text
    assert f"at least {least}" in text or f"least {least} pixels" in text
    assert says in text
    network = built(name, (3, least, 70), stem=stem, width=2)
    params = doubles(init_params(network, np.random.default_rng(0)))
    assert torch.isfinite(network.forward(Pass(params), images((3, least, 70)))).all()


RECIPE = """
[grid]
rule = ["sgdm", "feedback_alignment"]
architecture = "{name}"
task = "digits"
model_seed = 0
batch_size = 256
[training]
epochs = 1
checkpoints = 3
[storage]
populations = "all"
units = 20
stimuli = 2
pairs = 3
pair_stimuli = 2
synapses = 12
validation = 3
[architectures.{name}]
{settings}
"""


def test_what_a_resnet_does_not_have_is_refused_by_name():
    with pytest.raises(UsageError, match="resnet18_lrn.*nearest: resnet18"):
        parse_recipe(RECIPE.format(name="resnet18_lrn", settings=""))
    with pytest.raises(UsageError, match=r"resnet18\].*'local_norm'.*known: .*stem, width"):
        parse_recipe(RECIPE.format(name="resnet18", settings="local_norm = true"))
    with pytest.raises(UsageError, match="expected a value such as 'auto'"):
        parse_recipe(RECIPE.format(name="alexnet", settings="stem = 3"))


@pytest.mark.parametrize(
    ("name", "stem", "edges"),
    [
        ("resnet18", "small", (9, 8)),
        ("resnet18", "small", (13, 18)),
        ("resnet18", "imagenet", (33, 46)),
        ("resnet18v2", "small", (15, 10)),
        ("resnet18v2", "imagenet", (32, 37)),
        ("alexnet", "small", (11, 60)),
        ("alexnet_lrn", "imagenet", (63, 120)),
    ],
)
def test_feedback_goes_through_strides_over_even_and_odd_maps(name, stem, edges):
    network = built(name, (2, *edges), width=3, stem=stem)
    params = [doubles(init_params(network, np.random.default_rng(i))) for i in (1, 2)]
    backward = [doubles(init_backward(network, np.random.default_rng(i))) for i in (3, 4)]
    transposes = {n.name: params[0][f"{n.name}.weight"] for n in network.layers[1:]}
    x = images((2, *edges), examples=3)

    def gradients(params, backward, credit):
        def loss(params):
            run = Pass(params, credit=credit, backward=backward)
            return network.forward(run, x).sin().sum()

        return torch.func.grad(loss)(params)

    expected = gradients(params[0], {}, Backpropagation())
    found = gradients(params[0], transposes, FeedbackAlignment())
    for key, value in expected.items():
        assert torch.allclose(found[key], value, rtol=1e-10, atol=1e-10), key

    def stack(many):
        return {k: torch.stack([m[k] for m in many]) for k in many[0]}

    together = torch.func.vmap(lambda p, b: gradients(p, b, FeedbackAlignment()))(
        stack(params), stack(backward)
    )
    for i in range(2):
        for key, value in gradients(params[i], backward[i], FeedbackAlignment()).items():
            assert torch.allclose(together[key][i], value, rtol=1e-9, atol=1e-9), key


@pytest.mark.parametrize("kernel", [1, 2, 3, 5])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_overlap_is_how_many_outputs_see_one_pixel(kernel, stride):
    op = Conv(stride, 0)
    weight = torch.ones(1, 1, kernel, kernel)
    x = torch.ones(1, 1, 24, 24)
    seen = op.transpose(torch.ones_like(op.forward(x, weight)), weight, x)
    assert op.overlap(weight) == int(seen.max())


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("edge", [7, 8])
def test_an_alignment_step_of_full_rate_is_stable_for_a_convolution(stride, edge):
    rng = np.random.default_rng(0)
    op = Conv(stride, 1)
    w = torch.from_numpy(rng.standard_normal((4, 3, 3, 3)))
    b = torch.from_numpy(rng.standard_normal((4, 3, 3, 3)))
    credit = InformationAlignment(rate=1.0)
    # So few that the update looks at all of them.
    x = images((3, edge, edge), examples=8)
    seen = Observed(op, w, b, [Visit(x, op.forward(x, w))])
    loss = AlignmentLoss(credit, seen, examples=8)

    def value(b):
        """The quadratic with that slope and bend, but for a constant."""
        return float((0.5 * loss.bend(b) - loss.down(torch.zeros_like(b))).mul(b).sum())

    before = value(b)
    for _ in range(200):
        b = b + credit.update_backward(replace(seen, backward=b))
        assert value(b) <= before + 1e-12 * abs(before)
        before = value(b)


@pytest.mark.parametrize(("name", "early"), [("resnet18", 7), ("resnet34v2", 12)])
def test_shortcuts_count_as_layers(name, early):
    network = built(name, width=2)
    names = [layer.name for layer in network.layers]
    assert [n for n in names if n.endswith("shortcut")] == [
        f"layer{stage}_0_shortcut" for stage in (2, 3, 4)
    ]
    assert len(names) // 3 == early
    feedback = init_backward(network, np.random.default_rng(0))
    assert feedback["layer3_0_shortcut"].shape == (8, 4, 1, 1)


@pytest.mark.parametrize("name", ALEXNETS)
def test_an_alexnet_starts_without_an_opinion(name):
    network = built(name, width=8)
    params = doubles(init_params(network, np.random.default_rng(0)))
    scores = network.forward(Pass(params), images((3, 32, 32), 50))
    guess = -scores.log_softmax(1).mean(0)  # loss if each class were the right one
    assert float(guess.mean()) < np.log(10) + 0.5
    head = built(name, width=8, head=Head("contrastive", 16)).layers[-2:]
    assert [layer.gain for layer in head] == [None, None]


@pytest.mark.parametrize("name", RESNETS[:2])
def test_only_a_shortcut_puts_out_signed_activity(name):
    network = built(name, width=3)
    run = Pass(doubles(init_params(network, np.random.default_rng(0))))
    network.forward(run, images((3, 32, 32)))
    for layer in network.layers[:-1]:
        assert bool((run.outputs[layer.name] < 0).any()) == layer.name.endswith("shortcut")


@pytest.mark.parametrize("name", ["resnet18", "resnet18v2", "alexnet_lrn"])
def test_stored_derivatives_are_those_of_each_layer_alone(name):
    """With every layer stored, skip paths lead from each stored layer to the next ones."""
    specs = list(parse_recipe(RECIPE.format(name=name, settings="width = 2")).specs[:1])
    _, task, _, data, network = build(specs[0])
    storage = Storage(
        populations="all", units=9, stimuli=2, synapses=9, pairs=3, pair_stimuli=2, validation=2
    )
    probes = Probes(network, specs, storage, task, data, torch.device("cpu"), torch.float64)
    params = {
        k: torch.from_numpy(v)[None].double()
        for k, v in init_params(network, specs[0].rng("weights")).items()
    }
    statistics = probes.batch_statistics(params)
    measured = probes.measure(params, statistics)
    assert [p.layer for p in probes.populations] == [layer.name for layer in network.layers]
    mine = {k: v[0] for k, v in params.items()}
    fixed = {k: (mean[0], var[0]) for k, (mean, var) in statistics.items()}
    plain = Pass(mine, statistics=fixed)
    network.forward(plain, probes.stimuli)
    for p, population in enumerate(probes.populations):
        layer = population.layer
        given = plain.visits[layer][0].x.clone().requires_grad_()

        class Replaced(Pass):
            def _apply(self, name, op, x, layer=layer, given=given):
                return super()._apply(name, op, given if name == layer else x)

        alone = Replaced(mine, statistics=fixed)
        network.forward(alone, probes.stimuli)
        put_out = alone.outputs[layer].flatten(1)
        pre = probes.pre[layer][0]
        for i, post in enumerate(probes.post[layer][0].tolist()):
            # Examples do not mix, so one sum gives the derivative of each.
            [slope] = torch.autograd.grad(put_out[:, post].sum(), given, retain_graph=True)
            expected = slope.flatten(1)[:, pre]
            assert torch.allclose(measured["paired"][p][0, :, i], expected, atol=1e-11), layer


def test_positions_choose_layers_of_a_resnet_that_are_large_enough():
    network = built("resnet18", (1, 16, 16), width=16)
    chosen = populations_of(network, Storage(), torch.zeros(1, 1, 16, 16))
    assert [p.layer_position for p in chosen] == ["early", "middle", "deep"]
    assert [p.layer for p in chosen] == ["layer2_0_conv2", "layer3_1_conv1", "layer4_1_conv2"]
    assert all(p.units >= 512 for p in chosen)


@pytest.mark.parametrize("name", ["resnet18", "resnet18v2", "alexnet", "alexnet_lrn"])
def test_a_cohort_of_them_trains(name):
    recipe = parse_recipe(RECIPE.format(name=name, settings='width = 2\nstem = "small"'))
    for spec in recipe.specs:
        [trained] = train([spec], recipe.storage)
        assert not trained.diverged
        first, last = trained.arrays["synapses"][:, 0], trained.arrays["synapses"][:, -1]
        assert (first != last).any(-1).all(), "a layer did not learn"
