"""The cohort that ships with lrplan: what it promises, and what it can tell."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from lrplan import Design, Schedule, forecast, open_cohort
from lrplan.classifiers.calibrated_forest import calibrated_forest

ROOT = Path(__file__).parents[3]
RULES = ["adam", "feedback_alignment", "information_alignment", "sgdm"]


@pytest.fixture(scope="module")
def starter():
    return open_cohort("starter")


def test_it_has_the_promised_breadth(starter):
    info = starter.info()
    assert info["organisms"] >= 192
    assert info["rules"] == RULES
    assert len(info["architectures"]) >= 3
    assert info["tasks"] == ["digits", "digits_simclr"]
    assert info["checkpoints"] == 21
    assert info["stimuli"] >= 8
    assert info["units_stored"] >= 512
    assert info["bytes"] <= 50e6
    assert info["diverged"] == int(starter.organisms["diverged"].values.sum())


def test_no_organism_of_the_recipe_is_missing(starter):
    from lrplan.simulate.run.recipe import read_recipe

    recipe = read_recipe(ROOT / "recipes" / "starter.toml")
    assert starter.organism_ids == [s.hash for s in recipe.specs]
    assert starter.attributes["recipe"] == recipe.text
    specs = [json.loads(text) for text in starter.organisms["spec"].values]
    names = ("rule", "architecture", "task", "model_seed", "data_seed")
    found = {tuple(s[n] for n in names) for s in specs}
    assert found == set(product(*({s[n] for s in specs} for n in names)))


def test_every_rule_learned(starter):
    final = starter.info()["final_performance"]["digits"]
    for rule in ("sgdm", "adam"):
        assert final[rule] >= 0.95
    for rule in ("feedback_alignment", "information_alignment"):
        assert final[rule] >= 0.85


def test_every_population_is_whole(starter):
    everything = np.arange(starter.population_table.sizes["population"])
    for measure in ("activity", "weights", "paired"):
        assert np.isfinite(starter.read(measure, everything[:60], [0, 20])).all()
        assert (starter.stored_units(measure) >= 300).all()
    positions = starter.population_table["layer_position"].values.reshape(-1, 3)
    assert (positions == ["early", "middle", "deep"]).all()


@pytest.mark.slow
def test_activity_tells_rules_apart_better_than_chance(starter):
    design = Design(units=300, noise=0.1, schedule=Schedule(sessions=7))
    light = calibrated_forest({"max_features": ["sqrt"], "trees": [50]})
    plan = forecast(starter, design, rng=np.random.default_rng(0), held_out=False, classifier=light)
    assert plan.accuracy.low > plan.chance
    control = forecast(
        starter,
        design,
        rng=np.random.default_rng(1),
        held_out=False,
        classifier=light,
        shuffle_labels=True,
    )
    assert control.accuracy.low < control.chance < control.accuracy.high
