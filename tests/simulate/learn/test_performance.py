"""What performance is compared with."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lrplan.cohort.spec import OrganismSpec
from lrplan.simulate.learn.performance import Performance
from lrplan.simulate.learn.train import build
from lrplan.simulate.tasks import tasks


@pytest.mark.parametrize(
    ("labels", "chance"),
    [
        ([0, 0, 1, 2], 0.5),
        ([[0, 5], [1, 5], [2, 5], [3, 5]], 0.25),  # performance is about the first label
        ([7, 9], 0.5),
    ],
)
def test_chance_is_the_share_of_the_most_frequent_class(labels, chance):
    for name in ("digits", "simclr", "wsn"):
        assert tasks.get(name).chance(np.array(labels)) == chance


@pytest.mark.parametrize("task", ["digits", "digits_simclr"])
@pytest.mark.parametrize("start", ["random", "pretrained"])
def test_held_out_examples_are_those_that_performance_is_about(task, start):
    """Of an organism that starts pretrained, those of the classes that it has not seen."""
    spec = OrganismSpec(
        **{"rule": "sgdm", "architecture": "mlp", "task": task, "batch_size": 64},
        **{"learning_rate": 0.1, "model_seed": 0, "data_seed": 0, "epochs": 1, "checkpoints": 2},
        settings={"training": {"start": start}},
    )
    _, found, settings, data, _ = build(spec)
    behind = Performance(found, settings, data, torch.device("cpu"), torch.float32).behind
    counts = np.bincount(data.test_labels)
    assert (counts > 0).sum() == (10 if start == "random" else 5)
    assert (behind["held_out"], behind["chance"]) == (counts.sum(), counts.max() / counts.sum())
    assert np.shape(behind["chance"]) == np.shape(behind["held_out"]) == ()
