"""Verdicts: sure where they can be, and silent where they cannot."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

import lrplan
from lrplan import DataError, UsageError, read_nwb, record_nwb, score
from lrplan.classifiers.calibrated_forest import calibrated_forest
from lrplan.tell.infer import infer_noise

LIGHT = calibrated_forest({"max_features": ["sqrt"], "trees": [25]})


def rehearse(cohort, tmp_path, organism, **options):
    options = {"units": 20, "sessions": 5, "noise": 0.1, "kind": "dff", "layer": "deep"} | options
    files = record_nwb(
        cohort,
        organism=organism,
        out=tmp_path / "nwb",
        rng=np.random.default_rng(5),
        **options,
    )
    return read_nwb(files)


def judge(cohort, recording, **options):
    return score(recording, cohort, rng=np.random.default_rng(0), classifier=LIGHT, **options)


@pytest.mark.parametrize("kind", ["spikes", "dff"])
def test_a_rehearsal_comes_back_as_its_rule(separable, tmp_path, kind):
    organism = separable.organism_ids[40]
    recording = rehearse(separable, tmp_path, organism, kind=kind)
    verdict = judge(separable, recording, without=[organism], position="deep")
    rule = separable.organisms["rule"].values[40]
    assert max(verdict.probabilities, key=verdict.probabilities.get) == rule
    assert sum(verdict.probabilities.values()) == pytest.approx(1)
    assert verdict.design.units == 20
    assert verdict.design.noise == pytest.approx(0.1, rel=0.35)
    assert verdict.expected_accuracy.low > verdict.chance
    assert verdict.distance["quantile"] < 0.99
    found = json.loads(json.dumps(verdict.to_json(), allow_nan=False))
    assert found["schema"] == "lrplan.verdict/1"


def test_what_did_not_learn_trains_no_classifier_and_is_said(make_cohort, tmp_path):
    cohort = make_cohort(tmp_path / "c.zarr", effect=1.0, per_rule=7, unlearned=[0])
    recording = rehearse(cohort, tmp_path, cohort.organism_ids[9])
    verdict = judge(cohort, recording, without=cohort.organism_ids[9])
    assert [w for w in verdict.to_json()["warnings"] if w.startswith("1 organisms did not learn")]


def test_where_rules_are_equal_the_answer_is_cannot_tell(equal, tmp_path):
    organism = equal.organism_ids[0]
    verdict = judge(equal, rehearse(equal, tmp_path, organism), without=[organism])
    assert verdict.answer is None
    assert verdict.reasons


def test_a_recording_unlike_any_virtual_one_gets_no_answer(separable, tmp_path):
    organism = separable.organism_ids[40]
    recording = rehearse(separable, tmp_path, organism)
    rng = np.random.default_rng(0)
    values = recording.data["activity"].values
    values[...] = (
        np.exp(4 * rng.standard_normal(values.shape)) * (-1) ** np.arange(5)[:, None, None]
    )
    recording.data["activity_sem"].values[...] = 0.01 * np.abs(values)
    verdict = judge(separable, recording)
    assert verdict.distance["quantile"] > 0.99
    assert verdict.answer is None
    assert any("farther" in r for r in verdict.reasons)


def test_noise_is_inferred_from_trials(separable, tmp_path):
    recording = rehearse(separable, tmp_path, separable.organism_ids[3], noise=0.4, units=40)
    [found] = infer_noise(recording, rng=0)
    assert found.over_units[0] == pytest.approx(0.4, rel=0.15)
    verdict = judge(separable, recording)
    assert (verdict.design.noise_reference, verdict.noise) == ("within", [verdict.noise[0]])
    assert verdict.design.noise == verdict.noise[0].noise[0] == found.noise[0]
    assert f"Noise of the recording: {verdict.noise[0].line()}." in " ".join(
        verdict.summary().split()
    )


def test_a_baseline_is_no_signal_and_labels_that_do_nothing_give_no_verdict(separable, tmp_path):
    recording = rehearse(separable, tmp_path, separable.organism_ids[3], noise=0.4, units=40)
    data = recording.data.drop_vars(["activity", "activity_sem"])
    raised = data.assign(trials=data["trials"] + 9.0 * np.arange(40))
    [found], [before] = (
        infer_noise(dataclasses.replace(recording, data=d), rng=0) for d in (raised, data)
    )
    assert found.noise == pytest.approx(before.noise, rel=1e-3)
    assert found.over_units[0] < before.over_units[0] / 10
    rng = np.random.default_rng(0)
    shape = data["trials"].shape
    order = rng.permutation(shape[2] * shape[3])
    mixed = data["trials"].values.reshape(*shape[:2], -1, shape[-1])[:, :, order].reshape(shape)
    shuffled = dataclasses.replace(recording, data=data.assign(trials=(data["trials"].dims, mixed)))
    with pytest.raises(DataError, match="no signal is shown.*--label"):
        judge(separable, shuffled)
    assert judge(separable, shuffled, noise=0.4).noise == []


def test_without_repeats_the_noise_must_be_given(separable, tmp_path):
    recording = rehearse(separable, tmp_path, separable.organism_ids[3], trials=1)
    with pytest.raises(DataError, match="--noise"):
        judge(separable, recording)
    assert judge(separable, recording, noise=0.1).design.noise == 0.1


def test_more_than_the_cohort_holds_is_cut_and_said(separable, tmp_path):
    recording = rehearse(separable, tmp_path, separable.organism_ids[3], units=40)
    data = recording.data.isel(session=[0, 1, 2, 3, 4, 4, 4], stimulus=[0, 1, 2, 3, 3])
    verdict = judge(separable, dataclasses.replace(recording, data=data))
    assert verdict.design.schedule.sessions == 5
    assert verdict.design.stimuli == 4
    assert sum("are used" in w for w in verdict.warnings) == 2


def test_unknown_organisms_and_positions_are_refused(separable, tmp_path):
    recording = rehearse(separable, tmp_path, separable.organism_ids[3])
    with pytest.raises(UsageError, match="lrplan cohort organisms"):
        judge(separable, recording, without=["nobody"])
    with pytest.raises(UsageError, match="position"):
        judge(separable, recording, position="top")


def test_few_units_are_refused(separable, tmp_path):
    recording = rehearse(separable, tmp_path, separable.organism_ids[3], units=5)
    with pytest.raises(DataError, match="5 units"):
        judge(separable, recording)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"layer": "fc9"}, "no stored layer"),
        ({"units": 41}, "use at most --units 40"),
        ({"sessions": 6}, "--sessions 5"),
        ({"kind": "spike"}, "nearest: spikes"),
        ({"noise": -1}, "noise is -1; expected a finite number of at least 0"),
    ],
)
def test_a_rehearsal_that_cannot_be_is_refused(separable, tmp_path, options, said):
    with pytest.raises(UsageError, match=said):
        rehearse(separable, tmp_path, separable.organism_ids[0], **options)
    assert not (tmp_path / "nwb").exists()


def test_an_ambiguous_organism_is_refused(separable, tmp_path):
    with pytest.raises(UsageError, match="several"):
        rehearse(separable, tmp_path, "00")


def test_an_organism_left_out_by_its_name_alone(separable, tmp_path):
    organism = separable.organism_ids[40]
    recording = rehearse(separable, tmp_path, organism)
    one, listed = (judge(separable, recording, without=w) for w in (organism, [organism]))
    assert one.to_json() == listed.to_json()
    told = f"--without {organism}"
    assert not any(told in w for w in one.warnings)
    assert any(told in w for w in judge(separable, recording).warnings)


def test_several_areas_of_an_animal_are_told_together(separable, tmp_path):
    organism = separable.organism_ids[40]
    one = rehearse(separable, tmp_path, organism)
    areas = [one.data.assign_coords(area=("population", [name])) for name in ("V1", "LM")]
    two = lrplan.join([dataclasses.replace(one, data=data) for data in areas])
    verdict = judge(separable, two, without=[organism])
    assert [a["area"] for a in verdict.areas] == ["V1", "LM"]
    alone = judge(separable, one, without=[organism])
    assert len(alone.areas) == 1
    rule = separable.organisms["rule"].values[40]
    assert max(verdict.probabilities, key=verdict.probabilities.get) == rule
    assert sum(verdict.probabilities.values()) == pytest.approx(1)


def test_what_is_no_recording_is_refused(separable):
    with pytest.raises(UsageError, match="expected a Recording"):
        score("session1.nwb", separable, rng=0)


def joined(recording, **named):
    """The recording twice, as populations that differ in one coordinate."""
    [(name, values)] = named.items()
    parts = [recording.data.assign_coords({name: ("population", [v])}) for v in values]
    return lrplan.join([dataclasses.replace(recording, data=data) for data in parts])


def test_more_areas_than_organisms_have_are_refused(separable, tmp_path):
    """An organism of that cohort has one layer at each position."""
    both = joined(rehearse(separable, tmp_path, separable.organism_ids[40]), area=["V1", "LM"])
    with pytest.raises(DataError, match="2 areas, but organisms .* have 1 stored"):
        judge(separable, both, position="deep")


def test_conditions_are_not_areas(separable, tmp_path):
    one = rehearse(separable, tmp_path, separable.organism_ids[40])
    with pytest.raises(DataError, match="conditions other, passive, none of them 'learning'"):
        judge(separable, joined(one, condition=["passive", "other"]))
    passive = dataclasses.replace(
        one, data=one.data.assign_coords(condition=("population", ["passive"]))
    )
    assert any("'passive'" in w for w in judge(separable, passive).warnings)
    both = judge(separable, joined(one, condition=["learning", "passive"]))
    assert len(both.areas) == 1


def test_several_animals_are_refused(separable, tmp_path):
    one = rehearse(separable, tmp_path, separable.organism_ids[40])
    with pytest.raises(DataError, match="2 animals"):
        judge(separable, joined(one, animal=["m1", "m2"]))


def test_the_noise_of_areas_is_that_of_each(separable, tmp_path):
    """Whatever their scale: a large area does not lend its noise to a small one."""
    one = rehearse(separable, tmp_path, separable.organism_ids[3], noise=0.4, units=40)
    louder = one.data.drop_vars("trials") * 100
    two = dataclasses.replace(one, data=one.data.drop_vars("trials"))
    parts = [two, dataclasses.replace(one, data=louder)]
    both = lrplan.join(
        [
            dataclasses.replace(r, data=r.data.assign_coords(area=("population", [name])))
            for r, name in zip(parts, ("V1", "LM"), strict=True)
        ]
    )
    [alone] = infer_noise(one, rng=0)
    found = infer_noise(both, rng=0)
    assert [e.noise[0] for e in found] == pytest.approx([alone.noise[0]] * 2, rel=1e-6)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"without": 5}, "without is 5"),
        ({"noise": "x"}, "noise is 'x'"),
        ({"classifier": "random_forest"}, "classifier is 'random_forest'"),
    ],
)
def test_what_is_no_option_is_refused(separable, tmp_path, options, said):
    recording = rehearse(separable, tmp_path, separable.organism_ids[3])
    with pytest.raises(UsageError, match=said):
        score(recording, separable, rng=0, **options)


def test_a_recording_without_activity_is_refused(separable):
    weights = lrplan.record(separable, lrplan.Design(units=9, measure="weights"), rng=0)
    with pytest.raises(DataError, match="no activity"):
        judge(separable, weights.of(animal=separable.organism_ids[0]))


def test_with_three_families_the_promise_is_of_a_family_that_was_never_seen(families, tmp_path):
    organism = families.organism_ids[30]
    verdict = judge(families, rehearse(families, tmp_path, organism), without=[organism])
    assert verdict.expected_conditions == "held-out family"
    assert verdict.expected_families == ["alexnet", "knet", "mlp"]
    assert verdict.expected_held_out is None
    assert verdict.expected_accuracy.low > verdict.chance and verdict.expected_auc.low > 0.5
    assert any("families resnet (it lacks adam)" in w for w in verdict.warnings)
    found = verdict.to_json()
    assert found["expected_conditions"] == "held-out family"
    assert found["expected_accuracy_known"] == verdict.expected_known.to_json()


def test_with_fewer_families_a_verdict_says_that_it_is_for_known_conditions(separable, tmp_path):
    organism = separable.organism_ids[40]
    verdict = judge(separable, rehearse(separable, tmp_path, organism), without=[organism])
    assert verdict.expected_conditions == "known"
    assert verdict.expected_accuracy == verdict.expected_known
    assert verdict.expected_held_out is not None
    [said] = [w for w in verdict.warnings if "2 families with all rules (knet, mlp)" in w]
    assert "known conditions only" in said and "not for a brain" in said
