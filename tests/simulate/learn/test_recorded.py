"""Updates that can be recorded: nothing is read back from the device, or copied to it."""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from lrplan.simulate.learn.learning import Learners, rule_order, stacked
from lrplan.simulate.learn.recorded import Recorded, can_be_recorded
from lrplan.simulate.learn.train import build
from lrplan.simulate.network import init_backward, init_params
from lrplan.simulate.rules import rules
from lrplan.simulate.run.recipe import parse_recipe

ALL = ["sgdm", "adam", "feedback_alignment", "information_alignment"]
RECIPE = """
[grid]
rule = {rules}
architecture = "{architecture}"
task = "{task}"
batch_size = 8
model_seed = {seeds}
[training]
epochs = 1
checkpoints = 3
[architectures.mlp]
width = 8
[architectures.knet4]
channels = [4, 4]
[architectures.knet4_lrn]
channels = [4, 4]
[architectures.resnet18]
stem = "small"
width = 2
[architectures.alexnet_lrn]
stem = "small"
width = 2
"""


def learners_of(architecture, task, seeds, rates, device):
    """Return a stack of all rules, and a batch for it."""
    names = str(ALL).replace("'", '"')
    specs = parse_recipe(
        RECIPE.format(rules=names, architecture=architecture, task=task, seeds=list(seeds))
    ).specs
    specs = sorted(specs, key=lambda s: rule_order(rules.get(s.rule)))
    _, made, settings, data, network = build(specs[0])
    here = torch.device("cpu")
    drawn = [init_params(network, s.rng("weights")) for s in specs]
    backward = [init_backward(network, s.rng("feedback")) for s in specs]
    params, feedback = (
        {k: t.to(device) for k, t in stacked(each, here, torch.float64).items()}
        for each in (drawn, backward)
    )
    rate = torch.tensor(rates(len(specs)), dtype=torch.float64)
    each = [rules.get(s.rule) for s in specs]
    # Rates are read once, when a stack is made.
    learners = Learners(network, each, made, settings, params, feedback, rate)
    learners.learning_rates = rate.to(device)
    views = 2 if made.objective == "self-supervised" else 1
    images = torch.from_numpy(data.train[: views * 8]).double().to(device)
    labels = torch.from_numpy(data.train_labels[:8]).to(device)
    return (
        learners,
        images.expand(len(specs), *images.shape),
        labels.expand(len(specs), *labels.shape),
    )


class OnDevice(TorchDispatchMode):
    """Refuses what a recorded update may not do, on the meta device, which stands for a GPU's."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._schema.name
        assert name not in (
            "aten::_local_scalar_dense",
            "aten::nonzero",
            "aten::item",
            "aten::equal",
            "aten::masked_select",
        ), f"{name} reads from the device"
        tensors = [t for t in torch.utils._pytree.tree_leaves((args, kwargs)) if torch.is_tensor(t)]
        # A number beside tensors goes to the device with the kernel; one that is copied does not.
        copies = name in ("aten::_to_copy", "aten::copy_")
        devices = {t.device.type for t in tensors if t.ndim or copies or t.device.type != "cpu"}
        to = (kwargs or {}).get("device")
        if to is not None and tensors:
            devices.add(torch.device(to).type)
        assert len(devices) < 2, f"{name} joins or copies between {devices}"
        if "fused" in name or not func._schema.returns:
            return None  # optimizers' kernels, which the meta device does not know
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ("architecture", "task"),
    [
        ("mlp", "digits"),
        ("mlp", "digits_simclr"),
        ("knet4", "digits_simclr"),
        ("knet4_lrn", "digits"),
        ("resnet18", "digits"),
        ("alexnet_lrn", "digits"),
    ],
)
@pytest.mark.parametrize("many_rates", [False, True])
def test_an_update_reads_nothing_back_and_copies_nothing(architecture, task, many_rates):
    seeds = range(8) if many_rates else range(2)

    def rates(count):
        return [0.01 * (1 + many_rates * i) for i in range(count)]

    learners, images, labels = learners_of(architecture, task, seeds, rates, "meta")
    share = torch.zeros((), dtype=torch.float64, device="meta")
    with OnDevice():
        learners.learn(images, labels, share)


def test_a_share_may_be_a_number_or_a_tensor():
    found = []
    for share in (0.5, torch.tensor(0.5, dtype=torch.float64)):
        learners, images, labels = learners_of("mlp", "digits", [0], lambda n: [0.01] * n, "cpu")
        learners.learn(images, labels, share)
        found.append(learners)
    for name, p in found[0].params.items():
        assert torch.equal(p, found[1].params[name])
    for name, b in found[0].feedback.items():
        assert torch.equal(b, found[1].feedback[name])


def test_only_stacks_on_a_gpu_are_recorded():
    learners, *_ = learners_of("mlp", "digits", [0], lambda n: [0.01] * n, "cpu")
    assert not can_be_recorded(learners)
    with pytest.raises(ValueError, match="not on a GPU"):
        Recorded(learners)
