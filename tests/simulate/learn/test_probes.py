"""What is stored at a checkpoint, against plain numpy and autodiff."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from lrplan.measure.observables import families
from lrplan.simulate.learn.probes import Probes
from lrplan.simulate.learn.storage import Storage, stored_observables
from lrplan.simulate.learn.train import build, train
from lrplan.simulate.network import Pass, init_params
from lrplan.simulate.run.recipe import parse_recipe

RECIPE = """
[grid]
rule = "sgdm"
architecture = "{}"
task = "{}"
model_seed = [0, 1]
[architectures.mlp]
width = 40
[architectures.knet4]
channels = [3, 4, 5]
"""


def plain_statistics(v):
    """Seven statistics of one vector, written from the paper's words alone."""
    mean = sum(v) / len(v)
    ordered = sorted(v)

    def quantile(q):
        place = q * (len(v) - 1)
        low = int(np.floor(place))
        high = min(low + 1, len(v) - 1)
        return ordered[low] + (ordered[high] - ordered[low]) * (place - low)

    var = sum((x - mean) ** 2 for x in v) / len(v)
    fourth = sum((x - mean) ** 4 for x in v) / len(v)
    return {
        "norm": (sum(x * x for x in v) / len(v)) ** 0.5,
        "mean": mean,
        "var": var,
        "skew": 3 * (mean - quantile(0.5)) / var**0.5 if var else 0.0,
        "kurtosis": fourth / var**2 if var else 0.0,
        "median": quantile(0.5),
        "thirdquartile": quantile(0.75),
    }


FUNCTIONS = {"raw": lambda x: x, "abs": abs, "sq": lambda x: x * x}


@pytest.mark.parametrize(
    ("architecture", "task"), [("mlp", "digits"), ("knet4", "digits"), ("knet4", "digits_simclr")]
)
def test_stored_values_equal_a_plain_reference(architecture, task):
    specs = list(parse_recipe(RECIPE.format(architecture, task)).specs)
    _, task, _, data, network = build(specs[0])
    storage = Storage(units=30, stimuli=3, synapses=20, pairs=4, pair_stimuli=2, validation=3)
    probes = Probes(network, specs, storage, task, data, torch.device("cpu"), torch.float64)
    each = [init_params(network, s.rng("weights")) for s in specs]
    params = {k: torch.from_numpy(np.stack([e[k] for e in each])).double() for k in each[0]}
    statistics = probes.batch_statistics(params)
    measured = probes.measure(params, statistics)
    names = [o.name for o in stored_observables()]

    for i in range(len(specs)):
        mine = {k: v[i] for k, v in params.items()}
        fixed = {k: (m[i], v[i]) for k, (m, v) in statistics.items()}
        run = Pass(mine, statistics=fixed)
        network.forward(run, probes.validation)
        shown = Pass(mine, statistics=fixed)
        network.forward(shown, probes.stimuli)
        for p, population in enumerate(probes.populations):
            layer = population.layer
            expected = {}
            outputs = run.outputs[layer].flatten(1).numpy()
            for f, function in FUNCTIONS.items():
                per_stimulus = [plain_statistics([function(x) for x in row]) for row in outputs]
                for s in per_stimulus[0]:
                    expected[f"act_{f}_{s}"] = np.mean([row[s] for row in per_stimulus])
                weights = [function(x) for x in mine[f"{layer}.weight"].flatten().tolist()]
                for s, value in plain_statistics(weights).items():
                    expected[f"weight_{f}_{s}"] = value
            image = probes.stimuli[:1]
            jacobian = layer_jacobian(network, mine, fixed, layer, run.visits[layer][-1].x, image)
            for f, function in FUNCTIONS.items():
                total = jacobian.sum(1)  # over outputs: (stimulus, input)
                change = [sum(function(x) for x in row) / jacobian.shape[1] for row in total]
                expected[f"grad_{f}"] = np.mean(change)
            found = dict(zip(names, measured["observables"][p][i].tolist(), strict=True))
            assert found == pytest.approx(expected, rel=1e-5, abs=1e-8)

            units = probes.units[layer][i].numpy()
            responses = shown.outputs[layer].flatten(1).numpy()[:, units]
            np.testing.assert_allclose(measured["responses"][p][i].numpy(), responses, atol=1e-12)
            inputs = shown.visits[layer][-1].x[:2]
            jacobian = layer_jacobian(network, mine, fixed, layer, inputs, image)
            post, pre = probes.post[layer][i].numpy(), probes.pre[layer][i].numpy()
            np.testing.assert_allclose(
                measured["paired"][p][i].numpy(), jacobian[:, post[:, None], pre], atol=1e-10
            )


def layer_jacobian(network, params, statistics, layer, inputs, image):
    """Return d output / d input of one layer, (stimulus, output, input), one stimulus at a time.

    The network is run on any image; what reaches the layer is replaced by its stated input.
    """

    def output(x):
        class Replaced(Pass):
            def _apply(self, name, op, given):
                return super()._apply(name, op, x[None] if name == layer else given)

        run = Replaced(params, statistics=statistics)
        network.forward(run, image)
        return run.outputs[layer].flatten()

    rows = [torch.autograd.functional.jacobian(output, x).flatten(1).numpy() for x in inputs]
    return np.stack(rows)


def test_what_is_stored_does_not_depend_on_what_else_is_registered(monkeypatch):
    def stored():
        made = parse_recipe(RECIPE.format("mlp", "digits") + "[training]\nepochs = 1\n")
        storage = Storage(units=8, stimuli=2, synapses=5, pairs=2, pair_stimuli=1, validation=2)
        spec = replace(made.specs[0], batch_size=512, checkpoints=2)
        return train([spec], storage)[0].arrays["observables"]

    before = stored()
    assert before.shape[-1] == len(stored_observables()) == 45
    monkeypatch.setattr(families, "_entries", dict(families._entries))
    families.add("about", replace(families.get("act"), name="about"))
    assert len(stored_observables()) == 45
    np.testing.assert_array_equal(stored(), before)
