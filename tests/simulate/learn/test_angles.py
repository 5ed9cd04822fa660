"""Angles between delivered errors and those of backpropagation."""

from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np
import pytest
import torch

from lrplan.errors import UsageError
from lrplan.simulate.architectures import Head, architectures
from lrplan.simulate.credits import Observed
from lrplan.simulate.credits.backpropagation import Backpropagation
from lrplan.simulate.credits.feedback_alignment import FeedbackAlignment
from lrplan.simulate.credits.information_alignment import InformationAlignment
from lrplan.simulate.learn.angles import ANGLES, angles
from lrplan.simulate.network import Pass, init_backward, init_params
from lrplan.simulate.run.angles import COLUMNS, angles_file
from lrplan.simulate.run.recipe import parse_recipe
from lrplan.simulate.run.simulate import simulate
from lrplan.simulate.tasks import tasks

ERROR, FEEDBACK, DISTANCE = range(len(ANGLES))


@pytest.fixture(params=["mlp", "knet4", "resnet18v2"])
def organism(request):
    """A network, its parameters, backward weights, and a batch of digits."""
    settings = {
        "mlp": {"width": 12, "depth": 3},
        "knet4": {"channels": [4, 5, 6]},
        "resnet18v2": {"width": 3, "stem": "small"},
    }[request.param]
    network = architectures.get(request.param).build((1, 16, 16), Head("readout", 10), **settings)

    def doubles(arrays):
        return {k: torch.from_numpy(a).double() for k, a in arrays.items()}

    params = doubles(init_params(network, np.random.default_rng(0)))
    feedback = doubles(init_backward(network, np.random.default_rng(1)))
    rng = np.random.default_rng(2)
    images = torch.from_numpy(rng.standard_normal((8, 1, 16, 16)))
    labels = torch.from_numpy(rng.integers(0, 10, 8))
    return network, params, feedback, images, labels


def measured(organism, credit, feedback=None):
    network, params, drawn, images, labels = organism
    back = drawn if feedback is None else feedback
    return angles(network, credit, tasks.get("digits"), {}, params, back, images, labels)


def test_backpropagation_delivers_its_own_errors(organism):
    found = measured(organism, Backpropagation())
    np.testing.assert_allclose(found[ERROR], 1, atol=1e-6)
    assert np.isnan(found[[FEEDBACK, DISTANCE]]).all()


def test_random_feedback_is_aligned_at_the_readout_alone(organism):
    found = measured(organism, FeedbackAlignment())
    assert found[ERROR, -1] == pytest.approx(1, abs=1e-6)
    assert (np.abs(found[ERROR, :-1]) < 0.9).all()
    assert np.isnan(found[DISTANCE]).all()


def test_feedback_through_the_forward_weights_is_backpropagation(organism):
    network, params = organism[:2]
    same = {layer.name: params[f"{layer.name}.weight"] for layer in network.layers[1:]}
    found = measured(organism, FeedbackAlignment(), same)
    np.testing.assert_allclose(found[ERROR], 1, atol=1e-6)
    np.testing.assert_allclose(found[FEEDBACK, 1:], 1, atol=1e-6)


def test_distance_to_the_minimum_falls_as_backward_weights_learn(organism):
    """Measured on the batch from which they learn, so the distance may reach zero."""
    network, params, feedback, images, labels = organism
    credit = replace(InformationAlignment(), rate=1.0, steps=30)
    before = measured(organism, credit)[DISTANCE]
    assert np.isnan(before[0])
    assert (before[1:] > 0.5).all()
    run = Pass(params)
    network.forward(run, images)
    feedback = {
        name: b
        + credit.update_backward(
            Observed(run.operations[name], params[f"{name}.weight"], b, run.visits[name])
        )
        for name, b in feedback.items()
    }
    after = measured(organism, credit, feedback)[DISTANCE]
    assert (after[1:] < before[1:]).all()


def test_a_recipe_can_ask_for_a_table_of_angles(tiny_text, tmp_path):
    recipe = parse_recipe(tiny_text.replace("[storage]", "[storage]\nangles = true"))
    out = tmp_path / "tiny.zarr"
    simulate(recipe, out, workers=1, device="cpu")
    with open(angles_file(out), encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert {row["organism"] for row in rows} == {s.hash for s in recipe.specs}
    for spec in recipe.specs:
        mine = [row for row in rows if row["organism"] == spec.hash]
        layers = {row["layer"] for row in mine}
        assert len(mine) == len(layers) * spec.checkpoints
        error = {float(row["error_cosine"]) for row in mine}
        aligned = all(value == pytest.approx(1, abs=1e-3) for value in error)
        assert aligned == (spec.rule == "sgdm")


def test_angles_is_true_or_false(tiny_text):
    with pytest.raises(UsageError, match="angles is 1; expected true or false"):
        parse_recipe(tiny_text.replace("[storage]", "[storage]\nangles = 1"))


@pytest.mark.parametrize("name", ["tiny.zarr", "tiny.zarr.zip"])
def test_a_table_that_exists_is_not_overwritten(tiny_text, tmp_path, name):
    recipe = parse_recipe(tiny_text.replace("[storage]", "[storage]\nangles = true"))
    table = angles_file(tmp_path / name)
    table.write_text("mine")
    with pytest.raises(UsageError, match="exists; nothing is overwritten"):
        simulate(recipe, tmp_path / name, workers=1, device="cpu")
    assert table.read_text() == "mine"


def test_a_diverged_organism_has_a_table_with_gaps(organism):
    network, params, feedback, *_ = organism
    params["readout.weight"][:] = float("nan")
    found = measured(organism, InformationAlignment())
    assert np.isnan(found[ERROR]).all()
