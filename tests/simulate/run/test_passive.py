"""Passive twins of a recipe: which organisms have one, what it is, and that a run makes them."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from lrplan.cohort.check import check
from lrplan.cohort.spec import OrganismSpec
from lrplan.cohort.store import open_cohort
from lrplan.errors import UsageError
from lrplan.simulate.learn.exposure import PLASTICITY
from lrplan.simulate.run.estimate import estimate
from lrplan.simulate.run.recipe import parse_recipe
from lrplan.simulate.run.simulate import simulate

GRID = """
[grid]
rule = ["sgdm", "adam"]
architecture = "mlp"
task = "digits"
model_seed = {seeds}
learning_rate = [0.001, 0.002]
{passive}
"""
DRAW = """
[[draw]]
count = 40
rule = ["sgdm", "adam", "feedback_alignment"]
architecture = ["mlp", "knet4"]
task = "digits"
[draw.architectures.mlp]
width = [16, 32]
{passive}
"""
RUN = """
name = "twins"
[grid]
rule = ["sgdm", "feedback_alignment"]
architecture = "mlp"
task = "digits"
model_seed = [0, 1]
batch_size = 512
[training]
epochs = 2
checkpoints = 3
[passive]
plasticity = [0, 0.1]
[architectures.mlp]
width = 16
[storage]
units = 12
stimuli = 3
synapses = 12
pairs = 3
pair_stimuli = 2
validation = 4
"""


def twins(recipe):
    return [spec for spec in recipe.specs if spec.is_passive]


def grid(passive="", seeds="[0, 1, 2]"):
    return parse_recipe(GRID.format(passive=passive, seeds=seeds))


def draw(passive=""):
    return parse_recipe(DRAW.format(passive=passive))


def test_without_the_table_there_are_no_twins():
    assert twins(grid()) == twins(draw()) == []


@pytest.mark.parametrize("make", [grid, draw])
def test_the_table_gives_each_organism_its_twin(make):
    plain, made = make(), make("[passive]")
    assert made.learners == plain.specs
    assert made.of_grids == plain.of_grids
    assert [t.preparation for t in twins(made)] == [s.hash for s in plain.specs]
    for spec, twin in zip(plain.specs, twins(made), strict=True):
        told = json.loads(twin.to_json())
        training = told["settings"]["training"]
        assert training.pop("condition") == "passive"
        assert training.pop("preparation") == spec.hash
        assert training.pop("plasticity") == PLASTICITY
        assert told == json.loads(spec.to_json())
        # All that is drawn for one is drawn for the other.
        again = OrganismSpec.from_json(twin.to_json())
        for stream in ("weights", "order", "units fc1"):
            assert again.rng(stream).random() == spec.rng(stream).random()


@pytest.mark.parametrize("make", [lambda p: grid(p, list(range(40))), draw])
def test_a_share_is_the_same_for_all_rules(make):
    made = make("[passive]\nshare = 0.5\nplasticity = { low = 0.01, high = 0.2 }")
    found = Counter()
    for spec in twins(made):
        plasticity = spec.settings["training"]["plasticity"]
        found[spec.architecture, spec.model_seed, plasticity] += 1
        assert 0.01 <= plasticity <= 0.2
    # Three rules; or two rules and two rates.
    assert set(found.values()) == {len(made.learners) // 40}
    assert 5 < len(found) < 35
    assert len({key[2] for key in found}) > 5


def test_a_share_depends_neither_on_order_nor_on_other_organisms():
    few, many = (
        {t.preparation for t in twins(grid("[passive]\nshare = 0.5", seeds))}
        for seeds in ([3, 1], [0, 1, 2, 3, 4])
    )
    learners = {s.hash for s in grid("", [3, 1]).specs}
    assert few == many & learners


def test_the_table_of_a_grid_or_draw_goes_before():
    text = (
        "[passive]\nplasticity = 0.3\n"
        + GRID.format(passive="[grid.passive]\nshare = 0", seeds="[0]")
        + DRAW.format(passive="[draw.passive]\nplasticity = 0.1")
    )
    made = parse_recipe(text)
    assert len(made.of_grids) == 4
    assert {t.settings["training"]["plasticity"] for t in twins(made)} == {0.1}
    assert len(twins(made)) == 120
    own = parse_recipe(GRID.format(passive="[grid.passive]", seeds="[0]"))
    assert len(twins(own)) == 4


@pytest.mark.parametrize(
    ("passive", "said"),
    [
        ("passive = true", "passive is True; expected a table"),
        ("[grid.passive]\nplastic = 0.1", "unknown key 'plastic'; nearest: plasticity"),
        ("[grid.passive]\nshare = 1.5", "share is 1.5; expected a number from 0 to 1"),
        ("[grid.passive]\nshare = true", "share is True; expected a number from 0 to 1"),
        ("[grid.passive]\nshare = { low = 0, high = 1 }", "nothing is drawn here"),
        ("[grid.passive]\nplasticity = -0.1", "plasticity is -0.1; expected a number"),
        ("[grid.passive]\nplasticity = 'much'", "plasticity is 'much'; expected a number"),
        ("[grid.passive]\nplasticity = { low = 0.1, high = 2 }", "plasticity is 2"),
        ("[grid.passive]\nplasticity = { low = 0, high = 1, scale = 'log' }", "log"),
    ],
)
def test_what_cannot_be_is_refused(passive, said):
    with pytest.raises(UsageError, match="passive") as refused:
        grid(passive)
    assert said in str(refused.value)


def test_a_dry_run_counts_them(tmp_path):
    found = estimate(parse_recipe(RUN), tmp_path / "out.zarr", workers=1, device="cpu")
    assert (found.organisms, found.done) == (8, 0)
    assert found.factors["condition"] == {"learning": 4, "passive": 4}
    assert found.work_s is not None and found.work_s > 0


def test_runs_make_the_same_twins_whatever_the_workers_and_interruptions(
    tmp_path, assert_same_cohort
):
    recipe = parse_recipe(RUN)
    simulate(recipe, tmp_path / "one.zarr", workers=1, device="cpu")
    found = open_cohort(tmp_path / "one.zarr")
    assert found.passive.tolist() == [False] * 4 + [True] * 4
    assert found.preparations.tolist() == found.organism_ids[:4] * 2
    assert check(found.path).sound
    # A twin's units and stimuli are its preparation's, and so are its first responses.
    populations = len(found.population_table["organism"])
    first = found.read("activity", range(populations), [0]).reshape(2, populations // 2, -1)
    assert (first[0] == first[1]).all()

    def stop(spec, diverged):
        if spec.is_passive:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate(recipe, tmp_path / "two.zarr", workers=1, device="cpu", on_organism=stop)
    simulate(recipe, tmp_path / "two.zarr", workers=2, device="cpu")
    assert_same_cohort(tmp_path / "one.zarr", tmp_path / "two.zarr")
