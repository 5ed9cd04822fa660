"""What breaks a promise of its kind is told which."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
import torch

from lrplan.analyses import analyses
from lrplan.measure.modalities import Modality, modalities, setting
from lrplan.simulate.architectures import Architecture
from lrplan.simulate.credits import Credit, carry_back
from lrplan.simulate.credits.feedback_alignment import FeedbackAlignment
from lrplan.simulate.network import Layer
from lrplan.simulate.optimizers.sgdm import SGDM
from lrplan.simulate.rules import rules
from lrplan.simulate.tasks import tasks
from lrplan.testing import (
    AnalysisContract,
    ArchitectureContract,
    CreditContract,
    ModalityContract,
    OptimizerContract,
    RuleContract,
    TaskContract,
)


@pytest.fixture
def hold(monkeypatch):
    """Return a function that registers a plug-in for one test and holds it to its contract."""

    def run(contract, plugin, check, name="tried"):
        registry = contract.registry
        registry.names()
        monkeypatch.setattr(registry, "_entries", {**registry._entries, name: plugin})
        contract.run(name, check)

    return run


@dataclass(frozen=True, kw_only=True)
class Signs(Credit):
    summary: ClassVar[str] = "signs"
    cites: ClassVar[str] = "a test"

    def apply(self, op, x, weight, backward):
        return carry_back(op, x, weight, torch.sign(weight))


class Mistyped(Signs):
    def backwards_weights(self):
        return True


class Claiming(Signs):
    way_back = "forward weights"


class Doubled(Signs):
    def apply(self, op, x, weight, backward):
        return 2 * op.forward(x, weight)


class Branching(Signs):
    def apply(self, op, x, weight, backward):
        return op.forward(x, weight) if weight.sum() > 0 else carry_back(op, x, weight, weight)


class Mixing(Signs):
    def update(self, seen):
        return seen.op.weight_gradient(seen.x, seen.error, seen.weight).sum(0)


class Told(FeedbackAlignment):
    def update_backward(self, seen):
        return seen.op.weight_gradient(seen.x, seen.error, seen.weight)


class Homeless(Signs):
    def update_backward(self, seen):
        return torch.zeros_like(seen.weight)


@pytest.mark.parametrize(
    ("credit", "error", "said"),
    [
        (Mistyped, AssertionError, "knows no members {'backwards_weights'}"),
        (Claiming, AssertionError, 'errors go back otherwise; say "own"'),
        (Doubled, AssertionError, "apply must return z = W x"),
        (Branching, RuntimeError, "data-dependent control flow"),
        (Mixing, AssertionError, "a change has the shape"),
        (Told, ValueError, "error was asked for that this layer was not shown"),
        (Homeless, AssertionError, "update_backward needs backward_weights = True"),
    ],
)
def test_a_credit(hold, credit, error, said):
    hold(CreditContract, Signs, None)
    with pytest.raises(error, match=said):
        hold(CreditContract, credit, None)


class Global(SGDM):
    def step(self, params, grads, state, learning_rate):
        return super().step(params, grads, state, learning_rate.mean().expand_as(learning_rate))


class Drifting(SGDM):
    def step(self, params, grads, state, learning_rate):
        moved, state = super().step(params, grads, state, learning_rate)
        return {k: p * 0.999 for k, p in moved.items()}, state


class Unsourced(SGDM):
    cites = ""


@pytest.mark.parametrize(
    ("optimizer", "said"),
    [
        (Global, "moves otherwise in a stack than alone"),
        (Drifting, "a rate of 0 moved a weight"),
        (Unsourced, "cites is ''"),
    ],
)
def test_an_optimizer(hold, optimizer, said):
    with pytest.raises(AssertionError, match=said):
        hold(OptimizerContract, optimizer, None)


@pytest.mark.parametrize(
    ("changes", "check", "said"),
    [
        ({"name": "other"}, "test_it_is_registered_under_its_name", "its own name is 'other'"),
        ({"cites": ""}, "test_it_says_what_it_is", "cites is ''"),
        ({"learning_rate": 50.0}, "test_it_says_what_it_is", "learning_rate is 50.0"),
        ({"learning_rate": 1e-30}, "test_it_trains", "a layer stayed"),
    ],
)
def test_a_rule(hold, changes, check, said):
    rule = replace(rules.get("sgdm"), **{"name": "tried", **changes})
    with pytest.raises(AssertionError, match=said):
        hold(RuleContract, rule, check)


@dataclass(frozen=True, kw_only=True)
class White(Modality):
    """White noise; each fault is one of its switches."""

    summary = "white noise"
    measures = ("activity",)
    cites = "a test"

    loud: bool = setting(False, unit="1", source="a test")
    biased: bool = setting(False, unit="1", source="a test")
    repeated: bool = setting(False, unit="1", source="a test")
    by_shape: bool = setting(False, unit="1", source="a test")
    single: bool = setting(False, unit="1", source="a test")
    writing: bool = setting(False, unit="1", source="a test")

    def trials(self, signal, *, trials, noise_sd, course, rng):
        shape = (*signal.shape[:-1], trials)
        noise = np.moveaxis(rng.standard_normal((signal.shape[-1], *shape), np.float32), 0, -1)
        if self.by_shape:
            noise = rng.standard_normal((*shape, signal.shape[-1]), np.float32)
        if self.repeated:
            noise = np.broadcast_to(noise[:1], noise.shape)
        size = noise_sd * (1 if self.single else np.sqrt(trials)) * (1.5 if self.loud else 1)
        if self.writing:
            signal += 1
        measured = signal[..., None, :] + size * (noise + 0.2 * self.biased)
        return np.asarray(measured, dtype=np.float32)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("loud", "the noise of the mean is"),
        ("biased", "the noise has a bias"),
        ("repeated", "between sessions"),
        ("by_shape", "draw what units share first"),
        ("single", "the variance is"),
        ("writing", "the signal was changed"),
    ],
)
def test_a_modality(monkeypatch, fault, said):
    modalities.names()
    monkeypatch.setattr(modalities, "_entries", {**modalities._entries, "tried": White})
    ModalityContract.run("tried")
    with pytest.raises(AssertionError, match=said):
        ModalityContract.run("tried", settings={fault: True})


def test_an_analysis(hold):
    clustering = analyses.get("clustering")
    with pytest.raises(AssertionError, match="needs is ''"):
        hold(AnalysisContract, replace(clustering, name="tried", needs=""), None)

    def run(cohort, *, rng):
        raise NotImplementedError("only its parameters are looked at")

    with pytest.raises(AssertionError, match="takes shuffle_labels=False"):
        check = "test_options_are_keywords_with_defaults"
        hold(AnalysisContract, replace(clustering, name="tried", run=run), check)
    with pytest.raises(AssertionError, match="the result says it is of 'clustering'"):
        check = "test_a_result_is_labelled_tabulated_and_json"
        hold(AnalysisContract, replace(clustering, name="tried"), check)


class Skipping:
    """A dense network with a skip path; each fault is one of its switches."""

    def __init__(self, head, features, **faults):
        self.head, self.faults = head, faults
        shapes = {"one": (6, features), "two": (6, 6), "three": (6, 6)}
        hidden = tuple(Layer(name, shape) for name, shape in shapes.items())
        self.layers = (*hidden, *head.layers(6))

    def forward(self, run, x):
        x = x.flatten(1)
        if self.faults.get("mixing"):
            x = x - x.mean(0)
        skip = x = run.output("one", run.linear("one", x).relu())
        x = run.output("two", run.linear("two", x).relu())
        x = run.linear("three", x)
        if self.faults.get("silent"):
            return self.head.forward(run, x)
        if self.faults.get("around"):
            w = run.params["two.weight"]
            x = x + torch.nn.functional.linear(skip, w)
        joined = x + skip if self.faults.get("uncut") else run.residual(x, skip)
        return self.head.forward(run, run.output("three", joined.relu()))


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("uncut", "skip paths join through run.residual"),
        ("mixing", "an example is not judged on its own"),
        ("silent", "run.output is called for each layer"),
        ("around", "the probe of one meets other layers"),
    ],
)
def test_an_architecture(monkeypatch, fault, said):
    def build(shape, head, **settings):
        return Skipping(head, int(np.prod(shape)), **settings)

    architecture = Architecture(
        "tried", "tried", build, None, {fault: False}, summary="dense, skipping", cites="a test"
    )
    registry = ArchitectureContract.registry
    registry.names()
    monkeypatch.setattr(registry, "_entries", {**registry._entries, "tried": architecture})
    ArchitectureContract.run("tried")
    with pytest.raises(AssertionError, match=said):
        ArchitectureContract.run("tried", settings={fault: True})


DIGITS = type(tasks.get("digits"))


class Unrepeatable(DIGITS):
    def views(self, images, drawn):
        return (self.prepare(images) + 0.1 * torch.randn(images.shape))[None]


class Unequal(DIGITS):
    def loss(self, output, labels, settings):
        return super().loss(output[1:], labels[1:], settings)


class Large(DIGITS):
    def prepare(self, images):
        return 255 * super().prepare(images)


@pytest.mark.parametrize(
    ("task", "said"),
    [
        (Unrepeatable, "torch's global seed changed a view"),
        (Unequal, "an example takes no part in the loss"),
        (Large, "inputs are to be of the order of 1"),
    ],
)
def test_a_task(hold, task, said):
    with pytest.raises(AssertionError, match=said):
        hold(TaskContract, task(), None)
