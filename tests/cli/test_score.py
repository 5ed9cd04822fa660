from __future__ import annotations

import os
from dataclasses import replace

import pytest

import lrplan.nwb
import lrplan.tell.verdict


def test_a_recording_is_scored_as_a_process(process, recorded, tiny_cohort_path):
    organism = process("cohort", "organisms", tiny_cohort_path, "--json").json()[0]["id"]
    ran = process(
        *("score", *recorded, "--cohort", tiny_cohort_path, "--without", organism, "--json")
    )
    found = ran.json()
    assert found["schema"] == "lrplan.verdict/1"
    assert found["recording"]["sessions"] == 3
    assert found["design"]["units"] == 12
    assert sum(found["probabilities"].values()) == pytest.approx(1)
    assert ran.code == (4 if found["answer"] is None else 0)
    assert ran.err.startswith("lrplan: training on virtual recordings of the cohort tiny")


@pytest.fixture
def scored(monkeypatch, verdict):
    """Replace the verdict's work by a finished one; collect what was asked of it."""
    calls = []
    box = {"verdict": verdict, "calls": calls}

    def score(recording, cohort, **options):
        calls.append(options)
        return box["verdict"]

    def read_nwb(paths, **options):
        calls.append(options | {"paths": paths})
        return type("Recording", (), {"source": "a.nwb"})()

    monkeypatch.setattr(lrplan.tell.verdict, "score", score)
    monkeypatch.setattr(lrplan.nwb, "read_nwb", read_nwb)
    return box


def test_an_answer_is_exit_0_and_cannot_tell_is_exit_4(cli, scored, verdict, tiny_cohort_path):
    line = ("score", "a.nwb", "--cohort", tiny_cohort_path, "--quiet")
    ran = cli(*line)
    assert (ran.code, ran.err) == (0, "")
    assert "Answer: sgdm" in ran.out
    assert "12 to 14 units (not tracked)" in ran.out
    assert "92.0 %" in ran.out
    assert "85.0 to 95.0 %" in ran.out
    assert "Warning: few trials" in ran.out
    scored["verdict"] = replace(verdict, answer=None, reasons=["it lies far off"])
    ran = cli(*line)
    assert (ran.code, ran.err) == (4, "")
    assert "Answer: cannot tell (it lies far off)." in ran.out
    ran = cli(*line, "--json")
    assert ran.code == 4
    assert ran.json()["answer"] is None


def test_every_option_reaches_the_reader_and_the_verdict(cli, scored, tiny_cohort_path):
    ran = cli(
        *("score", "a.nwb", "b.nwb", "--cohort", tiny_cohort_path, "--without", "x,y"),
        *("--without", "z", "--position", "deep", "--noise", 0.2, "--units-table", "/u"),
        *("--signal", "s", "--intervals", "i", "--label", "l", "--align", "a"),
        *("--window", "0.1,0.6", "--checkpoint-by", "block:day", "--order", "given"),
        *("--units", "q > 1", "--trials", "r", "--area", "V1", "--tracking", "c", "--relative"),
        *("--trial-signal", "n"),
    )
    assert ran.code == 0, ran.err
    read, asked = scored["calls"]
    assert [p.name for p in read.pop("paths")] == ["a.nwb", "b.nwb"]
    assert read == {
        "units": "q > 1",
        "area": "V1",
        "units_table": "/u",
        "tracking": "c",
        "trials": "r",
        "trial_signal": "n",
        "relative": True,
        "signal": "s",
        "intervals": "i",
        "label": "l",
        "align": "a",
        "window_s": (0.1, 0.6),
        "checkpoint_by": "block:day",
        "order": "given",
    }
    assert asked["without"] == ["x", "y", "z"]
    assert (asked["position"], asked["noise"]) == ("deep", 0.2)


def test_a_file_that_is_no_recording_is_bad_data(cli, tmp_path, tiny_cohort_path):
    (tmp_path / "empty.nwb").touch()
    (tmp_path / "text.nwb").write_text("text")
    (tmp_path / "pointer.nwb").write_text("version https://git-lfs.github.com/spec/v1\n")
    (tmp_path / "directory.nwb").mkdir()
    os.mkfifo(tmp_path / "fifo.nwb")
    for name in ("missing", "empty", "text", "pointer", "directory", "fifo"):
        for command in (("score", "--cohort", tiny_cohort_path), ("inspect",)):
            ran = cli(*command, tmp_path / f"{name}.nwb")
            assert (ran.code, ran.out, ran.err.count("\n")) == (3, "", 1), ran.err
            assert f"{name}.nwb" in ran.err


def test_one_session_is_refused(cli, recorded, tiny_cohort_path):
    ran = cli("score", recorded[0], "--cohort", tiny_cohort_path)
    assert (ran.code, ran.out, ran.err.count("\n")) == (3, "", 1)
    assert "one session" in ran.err


def test_leaving_out_an_unknown_organism_is_refused(cli, recorded, tiny_cohort_path):
    ran = cli("score", *recorded, "--cohort", tiny_cohort_path, "--without", "nobody", "-q")
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert "'nobody'" in ran.err


def test_the_summary_is_what_the_command_prints(cli, scored, verdict, tiny_cohort_path):
    line = ("score", "a.nwb", "--cohort", tiny_cohort_path, "--quiet")
    for shown in (verdict, replace(verdict, expected_held_out=verdict.expected_accuracy)):
        scored["verdict"] = shown
        assert cli(*line).out == shown.summary() + "\n"
    assert "On architectures that it never saw: 90.0 % (85.0" in shown.summary()


def test_what_is_promised_says_under_which_conditions(verdict):
    assert "Expected accuracy under known conditions: 90.0 % (95% interval" in verdict.summary()
    unseen = replace(
        verdict,
        expected_conditions="held-out family",
        expected_families=["knet", "mlp", "resnet"],
        expected_accuracy=replace(verdict.expected_accuracy, mean=0.6, low=0.5, high=0.7),
    )
    said = " ".join(unseen.summary().split())
    assert (
        "never saw (a brain is one; found out on knet, mlp, resnet): 50.0 to 70.0 % (95% interval; "
        "mean 60.0 %); chance 50.0 %; area under the curve 0.97 (0.94 to 0.99), chance 0.50."
    ) in said
    assert "Under known conditions: 90.0 % (85.0 to 95.0 %)." in said


def test_a_notebook_shows_a_verdict(verdict):
    assert repr(verdict) == (
        "<Verdict on 'a.nwb': sgdm; most probable sgdm (92.0 %), 1 of 2 rules in the 95% set>"
    )
    unsure = replace(
        verdict, answer=None, reasons=["far"], recording=verdict.recording | {"source": "<b>.nwb"}
    )
    assert "cannot tell" in repr(unsure)
    assert "&lt;b&gt;.nwb" in unsure._repr_html_() and "<b>" not in unsure._repr_html_()
    table = verdict.to_dataframe()
    assert table.index.tolist() == ["sgdm", "adam"]
    assert table.loc["adam"].tolist() == [0.08, False]


def test_areas_are_shown_where_there_are_several(verdict):
    areas = [
        {"animal": "m1", "area": name, "probabilities": {"adam": p, "sgdm": 1 - p}}
        for name, p in (("VISp", 0.25), ("VISl", 0.5))
    ]
    rows = [" ".join(line.split()) for line in replace(verdict, areas=areas).summary().splitlines()]
    assert "m1 VISp 75.0 % 25.0 %" in rows and "m1 VISl 50.0 % 50.0 %" in rows
    assert "says alone" not in replace(verdict, areas=areas[:1]).summary()
