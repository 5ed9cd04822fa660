"""What organisms were trained under, in words that compare between rules."""

from __future__ import annotations

import json

import numpy as np
import pytest

from lrplan import DataError, open_cohort
from lrplan.cohort.conditions import conditions, performance, training_start
from lrplan.cohort.format import CohortWriter
from lrplan.cohort.settings import family_of, rank_names, rate_ranks, settings


@pytest.mark.parametrize(
    ("architecture", "family"),
    [
        ("resnet18", "resnet"),
        ("resnet34v2", "resnet"),
        ("ResNet-18", "resnet"),
        ("knet4_lrn", "knet"),
        ("alexnet_lrn", "alexnet"),
        ("resnet", "resnet"),
        ("convnet", "knet"),
        ("resnet_lab", "resnet"),
        ("mlp", "mlp"),
        ("mlpmixer", "mlpmixer"),
        ("my_net2", "my_net2"),
        ("3d", "3d"),
    ],
)
def test_families(architecture, family):
    assert family_of(architecture) == family


def labels(*rows):
    names = ("rule", "architecture", "task", "learning_rate")
    columns = zip(*rows, strict=True)
    return dict(zip(names, (np.array(c) for c in columns), strict=True))


def test_rates_are_ranked_within_a_rule_architecture_and_task():
    known = labels(
        ("adam", "mlp", "digits", 0.001),
        ("adam", "mlp", "digits", 0.002),
        ("sgdm", "mlp", "digits", 0.1),
        ("sgdm", "mlp", "digits", 0.05),
        # Another range on another task: the lowest there is as low as the lowest here.
        ("sgdm", "mlp", "cifar10", 0.4),
        ("sgdm", "mlp", "cifar10", 0.2),
        ("sgdm", "knet4", "digits", np.nan),
        ("sgdm", "knet4", "digits", 0.7),
    )
    ranks = rate_ranks(known, known["learning_rate"])
    assert ranks.tolist() == [1, 2, 2, 1, 2, 1, 0, 1]


def test_rates_that_are_drawn_go_by_thirds_which_rules_share():
    """A rate of its own for each organism: each would be a setting of its own."""
    rng = np.random.default_rng(0)
    rows = [
        (rule, "mlp", task, rate)
        for rule, scale in (("adam", 0.001), ("sgdm", 0.1))
        for task in ("digits", "tones")
        for rate in scale * np.exp(rng.uniform(-2, 2, 30))
    ]
    known = labels(*rows) | {"batch_size": np.tile([32, 64], 60)}
    names = rank_names(known, known["learning_rate"])
    for k in range(4):
        rates, third = (x[30 * k : 30 * (k + 1)] for x in (known["learning_rate"], names))
        assert [(third == t).sum() for t in ("low", "middle", "high")] == [10, 10, 10]
        assert rates[third == "low"].max() < rates[third == "middle"].min()
        assert rates[third == "middle"].max() < rates[third == "high"].min()
    found = settings(known)
    assert set(found) == {
        f"batch {b}, learning rate {t}" for b in (32, 64) for t in ("low", "middle", "high")
    }
    known["batch_size"] = rng.integers(16, 512, 120)
    thirds = ("low", "middle", "high")
    assert set(settings(known)) <= {f"batch {b}, learning rate {t}" for b in thirds for t in thirds}


def test_thirds_are_named_everywhere_or_nowhere():
    """What is a third in one cell and a rank in another would not compare."""
    few = [("adam", "mlp", "digits", r) for r in (1, 2, 3, 4)]
    assert rank_names(labels(*few), labels(*few)["learning_rate"]) is None
    many = [("sgdm", "mlp", "digits", r) for r in (1, 2, 3, 4, 5)]
    one = [("sgdm", "knet4", "digits", 7), ("adam", "knet4", "digits", np.nan)]
    known = labels(*few, *many, *one)
    assert rank_names(known, known["learning_rate"]).tolist() == [
        *("low", "middle", "middle", "high"),
        *("low", "low", "middle", "high", "high"),
        *("middle", "unknown"),
    ]


@pytest.fixture
def two_tasks(tmp_path):
    """A cohort whose rates differ between tasks, with one layer for each organism."""
    writer = CohortWriter(tmp_path / "c.zarr", {"name": "c"})
    decays = [{"optimizer": {"weight_decay": 0.1}}, {"training": {"start": "half"}}, {}, {}]
    specs = [json.dumps({"settings": s}) for s in decays]
    writer.write("organisms", "id", np.array(list("abcd"), dtype=object))
    for name in ("rule", "credit", "optimizer", "objective", "architecture"):
        writer.write_categories("organisms", name, ["one"] * 4)
    writer.write_categories("organisms", "task", ["digits", "digits", "cifar10", "cifar10"])
    writer.write("organisms", "batch_size", np.array([64, 32, 64, 32]))
    writer.write("organisms", "learning_rate", np.array([0.01, 0.02, 0.1, 0.2]))
    writer.write("organisms", "data_seed", np.array([0, 1, 0, 1]))
    writer.write("organisms", "spec", np.array(specs, dtype=object))
    writer.write("behaviour", "performance", np.array([[0.5, 0.9]] * 3 + [[0.5, np.nan]]))
    writer.write("populations", "organism", np.arange(4))
    writer.write("populations", "layer", np.array(["fc"] * 4, dtype=object))
    writer.write_categories("populations", "layer_position", ["early"] * 4)
    writer.close()
    return open_cohort(tmp_path / "c.zarr")


def test_conditions_of_populations(two_tasks):
    found = conditions(two_tasks, np.array([3, 0]))
    assert {k: v.tolist() for k, v in found.items()} == {
        "family": ["one", "one"],
        "architecture": ["one", "one"],
        "curriculum": ["batch 32, data seed 1", "batch 64, data seed 0"],
        "task": ["cifar10", "digits"],
        "learning_rate": ["rate 2", "rate 1"],
        "regularisation": ["weight decay by default", "weight decay 0.1"],
        "setting": ["batch 32, learning rate 2", "batch 64, learning rate 1"],
    }
    # One ranking: among all rates of the rule, those of the second task would be 3 and 4.
    assert set(two_tasks.settings) == {"batch 64, learning rate 1", "batch 32, learning rate 2"}
    assert training_start(two_tasks, np.array([0, 1])).tolist() == ["random", "half"]


def test_performance_of_populations(two_tasks):
    np.testing.assert_array_equal(performance(two_tasks, np.array([2, 0])), [[0.5, 0.9]] * 2)
    with pytest.raises(DataError, match="lacks the performance of some organisms"):
        performance(two_tasks, np.arange(4))


def test_what_is_not_recorded_is_unknown(make_dataset, write_dataset, tmp_path):
    from lrplan.cohort.import_paper import import_paper

    cohort = import_paper(write_dataset(make_dataset()), tmp_path / "p.zarr").cohort
    found = conditions(cohort, np.arange(4))
    assert set(found["learning_rate"]) == {"rate unknown"}
    assert set(training_start(cohort, np.arange(4))) == {"random"}
