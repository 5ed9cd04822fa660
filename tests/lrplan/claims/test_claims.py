"""Claims: verdicts follow from intervals, and what a cohort lacks is named."""

from __future__ import annotations

import json

import matplotlib
import numpy as np
import pytest

from lrplan.claims import ClaimsReport, evaluate_claims
from lrplan.claims.judge import Criterion, Missing, judge
from lrplan.claims.nayebi2020 import CLAIMS, shallow_tasks
from lrplan.errors import DataError, UsageError
from lrplan.tell.intervals import Interval

matplotlib.use("Agg")


@pytest.fixture
def cheap(light, monkeypatch):
    """Let the paper's classifiers cost next to nothing."""
    from lrplan.classifiers import classifiers

    entries = dict(classifiers._entries)
    for name in ("random_forest", "linear_svm", "conv1d_mlp"):
        entries[name] = light
    monkeypatch.setattr(classifiers, "_entries", entries)
    return entries


@pytest.fixture(scope="module")
def made(make_cohort, tmp_path_factory):
    path = tmp_path_factory.mktemp("claims") / "made.zarr"
    return make_cohort(path, effect=1.0, checkpoints=12, units=440)


def criterion(low, high, above=0.0, but=""):
    return Criterion("a figure", Interval((low + high) / 2, low, high), above, but)


@pytest.mark.parametrize(
    ("criteria", "result", "figure"),
    [
        ([criterion(0.1, 0.3)], "holds", 0.2),
        ([criterion(-0.3, -0.1)], "fails", -0.2),
        ([criterion(-0.1, 0.3)], "undecided", 0.1),
        ([criterion(0.1, 0.3, above=0.2)], "undecided", 0.2),
        ([criterion(0.1, 0.3), criterion(-0.1, 0.2)], "undecided", 0.05),
        ([criterion(-0.1, 0.3), criterion(-0.3, -0.1)], "fails", -0.2),
        ([criterion(0.1, 0.3), Missing("no task")], "undecided", 0.2),
        ([criterion(-0.3, -0.1), Missing("no task")], "fails", -0.2),
        ([criterion(-0.3, -0.1, but="no ResNets")], "undecided", -0.2),
        ([criterion(float("nan"), float("nan"))], "undecided", None),
        ([Missing("no task")], "undecided", None),
    ],
)
def test_the_interval_gives_the_verdict(criteria, result, figure):
    found = judge(1, "short", "A claim.", criteria)
    assert found.result == result
    assert found.figure == (None if figure is None else pytest.approx(figure))
    for missing in criteria:
        if isinstance(missing, Missing):
            assert missing.why in found.note
        elif missing.but:
            assert missing.but in found.note


def test_all_15_are_tested_and_the_json_is_as_promised(cheap, made):
    seen = []
    report = evaluate_claims(made, rng=np.random.default_rng(0), done=seen.append)
    told = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert told.keys() == {"schema", "cohort", "claims"}
    assert told["schema"] == "lrplan.claims/1"
    assert [c["id"] for c in told["claims"]] == list(range(1, 16)) == sorted(CLAIMS)
    for claim in told["claims"]:
        assert claim.keys() == {"id", "statement", "result", "figure", "low", "high", "note"}
        assert claim["result"] in ("holds", "fails", "undecided")
        assert claim["note"]
        if claim["figure"] is not None and claim["low"] is not None:
            assert claim["low"] <= claim["figure"] + 1e-9
            assert claim["figure"] <= claim["high"] + 1e-9
    assert seen == report.claims
    results = {c.id: c.result for c in report.claims}
    # The made rules differ in every measure, and are told by anything.
    assert results[1] == "holds"
    # All classifiers are the same one here, so that none is ahead of another.
    assert results[2] == "undecided"
    assert "no ResNets" in report.claims[7].note
    assert len(report.plot().get_yticks()) == 15


def test_a_report_is_shown_in_short_as_text_and_as_a_dataframe():
    claims = [
        judge(1, "short", "Rules <separate>.", [criterion(0.1, 0.3)]),
        judge(7, "short", "Tasks cost more.", [Missing("no task")]),
    ]
    report = ClaimsReport("made", 9, ["adam", "sgdm"], claims, ["3 organisms diverged"])
    assert repr(report) == "<ClaimsReport of the cohort made: 1 holds, 1 undecided>"
    text = report.summary()
    assert "0.100 to 0.300" in text and "7. cannot be tested: no task" in text
    assert text.endswith("Warning: 3 organisms diverged")
    frame = report.to_dataframe()
    assert frame["result"].tolist() == ["holds", "undecided"]
    assert frame["figure"].isna().tolist() == [False, True]
    assert "Rules &lt;separate&gt;." in report._repr_html_()


def test_one_claim_is_asked_by_its_number(cheap, made):
    [claim] = evaluate_claims(made, rng=np.random.default_rng(0), claims=1).claims
    assert claim.id == 1


def test_the_same_seed_gives_the_same_report(cheap, made):
    def ask(numbers):
        report = evaluate_claims(made, rng=np.random.default_rng(4), claims=numbers)
        return {c.id: c for c in report.claims}

    together, alone = ask([5, 1]), ask([5])
    assert list(together) == [1, 5]
    assert together[5] == alone[5]


def test_four_organisms_of_a_rule_are_enough_with_fewer_splits(cheap, make_cohort, tmp_path):
    cohort = make_cohort(tmp_path / "c.zarr", effect=1.0, per_rule=4)
    report = evaluate_claims(cohort, rng=np.random.default_rng(0), claims=[1, 5, 9])
    assert "4 splits in place of 10, since a rule has few organisms" in report.warnings
    assert all(claim.figure is not None for claim in report.claims)


def test_all_units_are_compared_though_most_populations_are_smaller(cheap, make_cohort, tmp_path):
    cohort = make_cohort(tmp_path / "c.zarr", effect=1.0, per_rule=6, units=900, small=30)
    [claim] = evaluate_claims(cohort, rng=np.random.default_rng(0), claims=[15]).claims
    assert claim.figure is not None
    assert "recording 224 units" in claim.note


def test_rules_that_do_not_differ_fail_to_separate(cheap, make_cohort, tmp_path):
    cohort = make_cohort(tmp_path / "c.zarr", effect=0.0)
    [claim] = evaluate_claims(cohort, rng=np.random.default_rng(0), claims=[1]).claims
    assert claim.result == "fails"


def test_no_fit_is_made_twice(cheap, made, light, monkeypatch):
    fits = []
    fit = light.fit
    monkeypatch.setattr(light, "fit", lambda self, *a, **k: fits.append(1) or fit(self, *a, **k))
    evaluate_claims(made, rng=np.random.default_rng(0), claims=[1])
    once = len(fits)
    assert once == 30  # ten splits of three measures
    evaluate_claims(made, rng=np.random.default_rng(0), claims=[1, 3, 5])
    assert len(fits) == 2 * once


@pytest.mark.parametrize(
    ("options", "number", "text"),
    [
        ({"rules": ("sgdm", "adam")}, 1, "no organisms of feedback_alignment"),
        ({"rules": ("sgdm", "adam", "feedback_alignment")}, 14, "no organisms of information"),
        ({"tasks": ["digits"]}, 7, "one task"),
        ({"architectures": ["mlp"]}, 6, "one architecture"),
        ({"units": 20}, 15, "smallest population that is stored whole has 20 units"),
        ({"checkpoints": 4}, 11, "4 checkpoints; 11 are needed"),
        ({"without": ["paired"]}, 14, "stores no paired"),
        ({}, 14, "stores 30 units of a population for weights; 100 are needed"),
    ],
)
def test_what_a_cohort_cannot_speak_about_is_undecided_and_named(
    cheap, make_cohort, tmp_path, options, number, text
):
    cohort = make_cohort(tmp_path / "c.zarr", **({"effect": 1.0} | options))
    [claim] = evaluate_claims(cohort, rng=np.random.default_rng(0), claims=[number]).claims
    assert claim.result == "undecided"
    assert text in claim.note


def test_tasks_of_shallow_networks_are_parted_where_depth_has_its_widest_gap():
    paper = {"cifar10": [3, 4], "imagenet": [7, 17, 33], "wsn": [7, 33]}
    assert shallow_tasks(paper) == ["cifar10"]
    assert shallow_tasks({"a": [3], "b": [4, 5], "c": [30]}) == ["a", "b"]
    assert shallow_tasks({"a": [3, 33], "b": [5]}) == []
    assert shallow_tasks({"a": [3, 4], "b": [3, 4]}) == []
    assert shallow_tasks({"a": [3]}) == []


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"rules": ("sgdm",)}, "1 of the paper's rules"),
        ({"per_rule": 1}, "1 usable organisms of the rule"),
        ({"diverged": 48}, "all its organisms diverged"),
        ({"without": ["observables"]}, "stores no observables"),
    ],
)
def test_a_cohort_that_no_claim_can_be_tested_on_is_refused(make_cohort, tmp_path, options, text):
    cohort = make_cohort(tmp_path / "c.zarr", effect=1.0, **options)
    with pytest.raises(DataError, match=text):
        evaluate_claims(cohort, rng=np.random.default_rng(0))


def test_there_are_15_claims(separable):
    with pytest.raises(UsageError, match="no claim 16; claims are 1 to 15"):
        evaluate_claims(separable, rng=np.random.default_rng(0), claims=[16])
