"""Cohorts with passive twins: counted apart, kept with their learning twins, and references."""

from __future__ import annotations

import json

import numpy as np
import pytest

from lrplan import Design, LrplanError, forecast, open_cohort
from lrplan.cohort.check import check
from lrplan.cohort.format import CohortWriter
from lrplan.cohort.merge import merge
from lrplan.cohort.references import with_twins
from lrplan.cohort.select import select

RECIPE = """
name = "twins"
[grid]
rule = ["sgdm", "feedback_alignment"]
architecture = "mlp"
task = "digits"
model_seed = [0, 1, 2, 3, 4]
[training]
epochs = 3
checkpoints = 4
[passive]
[architectures.mlp]
width = 16
[storage]
units = 16
stimuli = 4
synapses = 8
pairs = 2
pair_stimuli = 1
validation = 4
"""


@pytest.fixture(scope="module")
def twins(tmp_path_factory):
    """Ten organisms and their passive twins, trained."""
    from lrplan.simulate.run.recipe import parse_recipe
    from lrplan.simulate.run.simulate import simulate

    out = tmp_path_factory.mktemp("twins") / "twins.zarr"
    simulate(parse_recipe(RECIPE), out, workers=1, device="cpu")
    return open_cohort(out)


def test_they_are_counted_apart(twins):
    info = twins.info()
    assert (info["organisms"], info["passive"]) == (20, 10)
    assert info["by_rule"] == {"feedback_alignment": 5, "sgdm": 5}
    assert [sum(n.values()) for n in info["fates"].values()] == [5, 5]
    assert "20 organisms, 10 of them passive twins" in " ".join(twins.summary().split())
    records = twins.organism_table()
    assert [r["condition"] for r in records] == ["learning"] * 10 + ["passive"] * 10
    assert [r["preparation"] for r in records] == [r["id"] for r in records[:10]] * 2


def test_learned_performance_is_that_of_those_that_learn(twins):
    final = twins.final_performance()[twins.organisms["rule"].values == "sgdm"]
    assert twins.info()["final_performance"]["digits"]["sgdm"] == pytest.approx(
        np.median(final[:5]), abs=1e-6
    )


def test_a_selected_organism_keeps_its_twin(twins, tmp_path):
    ids = twins.organism_ids
    chosen = select(twins, tmp_path / "a.zarr", organism=[ids[3], ids[7]])
    assert chosen.organism_ids == [ids[i] for i in (3, 7, 13, 17)]
    rule = select(twins, tmp_path / "b.zarr", rule=["sgdm"])
    assert rule.organism_ids == ids[:5] + ids[10:15]
    # It learned nothing, which is no reason to lose it.
    learned = select(twins, tmp_path / "c.zarr", exclude_unlearned=True)
    kept = twins.fates[:10] == "learned"
    assert kept.any()
    assert learned.organism_ids == [i for i, k in zip(ids, [*kept, *kept], strict=True) if k]
    # Asked for by name it comes without.
    alone = select(twins, tmp_path / "d.zarr", organism=[ids[13]])
    assert alone.organism_ids == [ids[13]]


def test_twins_go_with_their_preparation_and_strangers_stay():
    args = {
        "passive": np.array([False, True, True]),
        "preparations": np.array(["a", "a", "elsewhere"], dtype=object),
        "ids": ["a", "b", "c"],
    }
    for first in (True, False):
        for own in (True, False):
            chosen = with_twins(np.array([first, own, own]), **args)
            assert chosen.tolist() == [first, first, own]


def test_what_is_divided_and_merged_finds_its_twin_again(twins, tmp_path):
    ids = twins.organism_ids
    parts = [
        select(twins, tmp_path / "learners.zarr", rule=["sgdm"]),
        select(twins, tmp_path / "rest.zarr", rule=["feedback_alignment"]),
    ]
    both = merge(parts, tmp_path / "both.zarr")
    assert both.organism_ids == ids[:5] + ids[10:15] + ids[5:10] + ids[15:]
    assert both.info()["passive"] == 10
    references = both.reference_populations("passive")
    learning = ~both.passive[both.population_table["organism"].values]
    assert (references[learning] >= 0).all()


def test_a_check_counts_them_and_misses_the_preparation(twins, tmp_path):
    found = check(twins.path)
    assert found.sound
    assert [f.what for f in found.findings] == [
        "10 organisms were under passive exposure: references"
    ]
    alone = select(twins, tmp_path / "alone.zarr", organism=[twins.organism_ids[13]])
    assert any("the learning twin is not here" in f.what for f in check(alone.path).findings)


def test_a_check_finds_a_twin_that_bears_other_labels(twins, tmp_path):
    """The eleventh organism calls itself the twin of the last that learns, of another rule."""
    writer = CohortWriter(tmp_path / "wrong.zarr", {"name": "wrong", "recipe": ""})
    for key, array in twins.variables.items():
        values = twins.read_variable(*key)
        if key == ("organisms", "spec"):
            told = json.loads(str(values[10]))
            told["settings"]["training"]["preparation"] = twins.organism_ids[9]
            values = values.copy()
            values[10] = json.dumps(told)
        flags = {k: v for k, v in dict(array.attrs).items() if k.startswith("flag_")}
        writer.write(*key, values, flags)
    writer.close()
    found = {f.where: f.what for f in check(tmp_path / "wrong.zarr").findings}
    assert "1 passive organisms have another than their learning twin" in found["organisms/rule"]


def test_a_design_takes_them_for_references(twins, capsys):
    from lrplan.cli.main import main

    line = ["design", "--cohort", str(twins.path), "--units", "12", "--reference", "passive"]
    assert main([*line, "--json", "--quiet"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["cohort"]["organisms"] == 10
    assert told["design"]["reference"] == "passive"


def test_a_control_is_another_animal_under_passive_exposure(twins):
    organism = twins.population_table["organism"].values
    learning = np.flatnonzero(~twins.passive[organism])
    found = organism[twins.reference_populations("control")[learning]]
    assert twins.passive[found].all()
    assert (twins.preparations[found] != twins.preparations[organism[learning]]).all()


def test_a_cohort_of_twins_alone_gives_no_forecast(twins, tmp_path):
    alone = select(twins, tmp_path / "alone.zarr", organism=twins.organism_ids[10:])
    with pytest.raises(LrplanError, match="organism"):
        forecast(alone, Design(units=12), rng=0)
