from __future__ import annotations

import shutil

import pytest

import lrplan.tell.compare
import lrplan.tell.forecast_comparison
from lrplan.nwb.subjects import by_subject


@pytest.fixture(scope="module")
def others(process, tiny_cohort_path, tmp_path_factory):
    """NWB files of another organism than `recorded` is of."""
    organism = process("cohort", "organisms", tiny_cohort_path, "--json").json()[-1]["id"]
    out = tmp_path_factory.mktemp("recorded") / "other"
    done = process(
        *("record", "--cohort", tiny_cohort_path, "--organism", organism, "--layer", "deep"),
        *("--out", out, "--units", 12, "--sessions", 3, "-q"),
    )
    assert done.code == 0, done.err
    return sorted(out.glob("*.nwb"))


@pytest.mark.slow
def test_two_sides_are_compared_as_a_process(process, recorded, others, tiny_cohort_path):
    ran = process(
        *("compare", *recorded, "--", *others, "--cohort", tiny_cohort_path),
        *("--between", "sgdm,feedback_alignment", "--json"),
    )
    found = ran.json()
    assert found["schema"] == "lrplan.comparison/1"
    [pair] = found["pairs"]
    assert (pair["a"], pair["b"]) == ("sgdm", "feedback_alignment")
    assert ran.code == (4 if pair["answer"] is None else 0)
    assert [s["sessions"] for s in (*found["first"], *found["second"])] == [3, 3]
    assert any("0 families with both" in w for w in found["warnings"])


@pytest.fixture
def compared(monkeypatch):
    """Replace the comparison's work; collect what was asked of it."""
    calls = []

    class Answer:
        answer = "first"

    class Found:
        pairs = (Answer(),)

        def lines(self):
            return ["compared"]

    def compare(first, second, cohort, **options):
        calls.append((first, second, options))
        return Found()

    monkeypatch.setattr(lrplan.tell.compare, "compare", compare)
    return calls, Answer


def test_every_option_reaches_the_comparison(cli, compared, recorded, others, tiny_cohort_path):
    calls, answer = compared
    line = ("compare", *recorded, "--", *others, "--cohort", tiny_cohort_path, "-q")
    ran = cli(
        *(*line, "--between", "adam, sgdm", "--tell", "optimizer", "--level", 0.8),
        *("--without", "x,y", "--position", "deep", "--noise", 0.2),
    )
    assert (ran.code, ran.out, ran.err) == (0, "compared\n", "")
    [(first, second, asked)] = calls
    assert [len(side) for side in (first, second)] == [1, 1]
    assert first[0].sessions == second[0].sessions == 3
    assert (asked["between"], asked["tell"], asked["level"]) == (("adam", "sgdm"), "optimizer", 0.8)
    assert (asked["without"], asked["position"], asked["noise"]) == (["x", "y"], "deep", 0.2)
    answer.answer = None
    assert cli(*line).code == 4


def test_subjects_of_a_side_are_animals(cli, compared, recorded, others, tiny_cohort_path):
    calls, _ = compared
    cli("compare", *recorded, *others, "--", *others, "--cohort", tiny_cohort_path, "-q")
    [(first, second, _)] = calls
    assert [len(side) for side in (first, second)] == [2, 1]
    assert by_subject([*recorded, *others]) == [list(recorded), list(others)]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (("a.nwb",), "'--' stands 0 times"),
        (("a.nwb", "--", "b.nwb", "--", "c.nwb"), "'--' stands 2 times"),
        (("a.nwb", "--"), "the second side names no file"),
        (("--", "b.nwb"), "the first side names no file"),
        (("a.nwb", "--", "b.nwb", "--between", "sgdm"), "--between is 'sgdm'"),
        (("a.nwb", "--", "b.nwb", "--tell", "rules"), "nearest: rule"),
        (("a.nwb", "--", "b.nwb", "--level", "2"), "level is 2"),
        (("a.nwb", "--", "b.nwb", "--noise", "-1"), "noise is -1"),
        (("a.nwb", "--", "b.nwb", "--noise", "10%"), "say 0.1"),
        (("a.nwb", "--", "b.nwb", "--window", "x"), "--window is 'x'"),
        ((), "see `lrplan compare --help`"),
    ],
)
def test_what_cannot_be_compared_is_a_usage_error(cli, line, said):
    ran = cli("compare", *line)
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert said in ran.err


def test_bad_files_and_unknown_rules_are_told(cli, recorded, others, tmp_path, tiny_cohort_path):
    ran = cli("compare", *recorded, "--", tmp_path / "missing.nwb")
    assert (ran.code, ran.out, ran.err.count("\n")) == (3, "", 1)
    assert "missing.nwb" in ran.err
    line = ("compare", *recorded, "--", *others, "--cohort", tiny_cohort_path, "-q")
    ran = cli(*line, "--between", "sgd,adam")
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert "nearest: sgdm" in ran.err


def test_the_same_files_on_both_sides_are_warned_of(cli, recorded, tmp_path, tiny_cohort_path):
    """Whatever they are called."""
    copies = [shutil.copy(f, tmp_path / f.name) for f in recorded]
    line = ("compare", *recorded, "--", *copies, "--cohort", tiny_cohort_path, "--json", "-q")
    ran = cli(*line, "--between", "sgdm,adam")
    assert ran.code == 4
    found = ran.json()
    assert found["pairs"][0]["probability"] == 0.5
    assert any("stand on both sides" in w for w in found["warnings"])


def test_a_design_is_forecast_in_comparisons(cli, tiny_cohort_path):
    line = ("design", "--cohort", tiny_cohort_path, "--units", 12, "--compare")
    ran = cli(*line, "--json")
    assert ran.code == 0
    assert ran.err == "lrplan: forecasting comparisons from the cohort tiny\n"
    found = ran.json()
    assert found["schema"] == "lrplan.comparison-forecast/1"
    assert (len(found["pairs"]), found["chance"]) == (6, 0.5)
    # That cohort has one family.
    assert all(p["held_out_family"] == {} and p["known"] for p in found["pairs"])
    for refused in (("--split", "layer"), ("--plot", "x.png")):
        ran = cli(*line, *refused)
        assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
        assert "leave out --split layer and --plot" in ran.err
