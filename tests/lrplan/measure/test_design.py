"""Designs and schedules: what is accepted, and what is said of the rest."""

from __future__ import annotations

import json
import pickle

import pytest

from lrplan import Design, Schedule, UsageError


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"units": 0}, "units is 0"),
        ({"units": -3}, "units is -3"),
        ({"units": 2.5}, "units is 2.5"),
        ({"units": True}, "units is True"),
        ({"noise": -0.1}, "noise is -0.1; expected a finite number of at least 0"),
        ({"noise": float("nan")}, "noise is nan"),
        ({"noise": float("inf")}, "noise is inf"),
        ({"noise": "much"}, "noise is 'much'"),
        ({"measure": "activty"}, "nearest: activity"),
        ({"measure": ()}, "one or several"),
        ({"measure": "activity,activity"}, "one or several"),
        ({"modality": "idael"}, "nearest: ideal"),
        ({"modality": "counts", "measure": "weights"}, "measures activity, not weights"),
        ({"position": "top"}, "unknown position"),
        ({"noise_reference": "relatve"}, "nearest: relative"),
        ({"scaling": "rwa"}, "raw"),
        ({"stimuli": 0}, "stimuli is 0"),
        ({"measure": 5}, "measure is 5; expected one or several of activity"),
        ({"measure": ["activity", 5]}, "measure is"),
        ({"schedule": 5}, "schedule is 5; expected a Schedule"),
        ({"schedule": None}, "schedule is None"),
        ({"modality": 5}, "unknown modality 5"),
        ({"settings": 5}, "settings is 5"),
        ({"settings": {"gain": 1}}, "modality 'ideal' has no setting 'gain'; it has no settings"),
        ({"tracked": "no"}, "tracked is 'no'; expected True or False"),
        ({"position": 5}, "unknown position 5"),
        ({"scaling": None}, "unknown scaling None"),
        ({"noise_reference": ["relative"]}, "unknown noise_reference"),
        ({"stimuli": "3"}, "stimuli is '3'"),
        ({"units": None}, "units is None"),
        ({"units": [30]}, r"units is \[30\]"),
        ({"units": "some"}, "a whole number or 'all'"),
        ({"units": "all"}, "noise is 0.1, but units 'all'.*--noise 0"),
        ({"units": "all", "noise": 0, "stimuli": 3}, "stimuli is 3, but units 'all'"),
        ({"noise": 0, "modality": "counts"}, "'counts' is noisy by nature; use a noise above 0"),
        ({"areas": "top"}, "unknown area 'top'; known: deep, early, middle"),
        ({"areas": 5}, "areas is 5; expected one to three of early, middle, deep"),
        ({"areas": ()}, "one to three different areas"),
        ({"areas": "deep,deep"}, "one to three different areas"),
        ({"areas": "deep", "position": "deep"}, "areas is deep;.* leave --position out"),
        ({"areas": "deep", "contrasts": "only"}, "one area and no reference to.*name two or three"),
        ({"contrasts": "only"}, "one area and no reference"),
        ({"reference": "pasive"}, "nearest: passive"),
        ({"reference": "area:top"}, "unknown reference 'area:top'.*area:deep"),
        ({"reference": 5}, "unknown reference 5"),
        ({"reference": "area:early"}, "recorded is every population; name another area"),
        ({"reference": "area:early", "position": "early"}, "recorded is early; name another"),
        ({"reference": "area:early", "areas": "early,deep"}, "recorded is early and deep"),
        ({"reference": "passive", "contrasts": "none"}, "there for the differences from it"),
        ({"reference": "first", "reference_sessions": 0}, "reference_sessions is 0"),
        ({"reference_sessions": 3}, "reference_sessions is 3, but the reference is None"),
        ({"contrasts": "olny"}, "nearest: only"),
    ],
)
def test_a_design_that_cannot_be_is_refused(changes, said):
    with pytest.raises(UsageError, match=said):
        Design(**changes)


def test_a_design_can_be_a_key_and_be_sent_to_a_worker():
    design = Design(units=9, settings={})
    assert {design: 1}[Design(units=9)] == 1
    assert pickle.loads(pickle.dumps(design)) == design
    assert design.with_(units=10) != design


def test_a_design_becomes_json():
    text = json.dumps(Design(measure="weights,activity", schedule=Schedule(sessions=3)).to_json())
    assert json.loads(text)["measure"] == ["activity", "weights"]
    assert json.loads(text)["settings"] == {}
    assert json.loads(text)["schedule"] == {"sessions": 3, "spacing": None, "start": 0}


def test_an_area_of_reference_is_recorded_with_the_others():
    assert Design(reference="area:early", position="deep").recorded_areas == ("deep", "early")
    both = Design(reference="area:middle", areas="early,deep", contrasts="only")
    assert (both.recorded_areas, both.reference_area) == (("early", "deep", "middle"), "middle")
    assert Design(reference="passive").recorded_areas is None
    assert Design(reference="passive").recorded_reference == "passive"
    assert Design(reference="first", reference_sessions=3).recorded_reference is None


def test_areas_stand_from_early_to_deep_in_whatever_order_they_are_named():
    design = Design(areas="deep, early")
    assert design.areas == ("early", "deep") == Design(areas=["early", "deep"]).areas
    assert {design: 1}[Design(areas=("deep", "early"))] == 1
    told = json.loads(json.dumps(design.to_json()))
    assert (told["areas"], told["contrasts"]) == (["early", "deep"], "both")
    assert Design().to_json()["areas"] is None


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ({}, list(range(21))),
        ({"sessions": 3}, [0, 10, 20]),
        ({"sessions": 21}, list(range(21))),
        ({"sessions": 1}, [20]),
        ({"sessions": 3, "spacing": 5}, [0, 5, 10]),
        ({"spacing": 10}, [0, 10, 20]),
        ({"sessions": 2, "spacing": 4, "start": 3}, [3, 7]),
        ({"start": 18}, [18, 19, 20]),
        ({"sessions": 2, "start": 10}, [10, 20]),
    ],
)
def test_sessions_stand_at_checkpoints(schedule, expected):
    assert Schedule(**schedule).checkpoints(21) == expected


@pytest.mark.parametrize(
    ("schedule", "said"),
    [
        ({"sessions": 22}, "22 sessions.*--sessions 21"),
        ({"sessions": 5, "spacing": 6}, "--sessions 4"),
        ({"start": 21}, "checkpoint 21"),
        ({"sessions": 4, "start": 18}, "--sessions 3"),
    ],
)
def test_more_sessions_than_checkpoints_are_refused(schedule, said):
    with pytest.raises(UsageError, match=said):
        Schedule(**schedule).checkpoints(21)


@pytest.mark.parametrize(
    "bad", [{"sessions": 0}, {"spacing": -1}, {"start": -1}, {"start": 1.5}, {"sessions": "3"}]
)
def test_impossible_schedules_are_refused(bad):
    with pytest.raises(UsageError):
        Schedule(**bad)
