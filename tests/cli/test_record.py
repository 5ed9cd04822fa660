from __future__ import annotations

import pytest


@pytest.fixture
def organism(cli, tiny_cohort_path):
    return cli("cohort", "organisms", tiny_cohort_path, "--json").json()[0]


def test_files_are_listed_one_per_line(cli, organism, tiny_cohort_path, tmp_path):
    ran = cli(
        *("record", "--cohort", tiny_cohort_path, "--organism", organism["id"], "--layer", "fc1"),
        *("--out", tmp_path / "r", "--units", 8, "--sessions", 2, "--kind", "dff", "--trials", 3),
    )
    assert ran.code == 0, ran.err
    assert ran.out.splitlines() == [str(p) for p in sorted((tmp_path / "r").iterdir())]
    assert "wrote 2 NWB files" in ran.err


def test_json_says_what_was_recorded(cli, organism, tiny_cohort_path, tmp_path):
    ran = cli(
        *("record", "--cohort", tiny_cohort_path, "--organism", organism["id"][:10]),
        *("--layer", "early", "--out", tmp_path / "r", "--units", 8, "--sessions", 2),
        *("--json", "--quiet"),
    )
    assert (ran.code, ran.err) == (0, "")
    found = ran.json()
    assert (found["organism"], found["rule"]) == (organism["id"], organism["rule"])
    assert len(found["files"]) == 2


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"--organism": "nobody"}, "'nobody'"),
        ({"--layer": "fc9"}, "fc1"),
        ({"--units": 17}, "--units 16"),
        ({"--sessions": 6}, "5 checkpoints"),
        ({"--modality": "cuonts"}, "nearest: counts"),
        ({"--modality": "counts", "--kind": "dff"}, "written as spikes"),
        ({"--set": "x=1"}, "modality 'counts' has no setting 'x'; it has no settings"),
        ({"--set": "x"}, "--set is 'x'; expected NAME=VALUE"),
        ({"--set": "x="}, "--set is 'x='"),
    ],
)
def test_what_is_not_there_cannot_be_recorded(
    cli, organism, tiny_cohort_path, tmp_path, changes, told
):
    options = {
        "--cohort": tiny_cohort_path,
        "--organism": organism["id"],
        "--layer": "deep",
        "--out": tmp_path / "r",
        "--units": 8,
    } | changes
    ran = cli("record", *(x for pair in options.items() for x in pair))
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert told in ran.err
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(cli, organism, tiny_cohort_path, tmp_path):
    (tmp_path / "mine").write_text("mine")
    ran = cli(
        *("record", "--cohort", tiny_cohort_path, "--organism", organism["id"]),
        *("--layer", "deep", "--out", tmp_path, "--units", 8),
    )
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]


def test_a_modality_is_written_as_its_kind(cli, organism, tiny_cohort_path, tmp_path):
    ran = cli(
        *("record", "--cohort", tiny_cohort_path, "--organism", organism["id"], "--layer", "fc1"),
        *("--out", tmp_path / "r", "--units", 8, "--sessions", 2, "--modality", "ideal", "--json"),
    )
    assert ran.code == 0, ran.err
    assert (ran.json()["modality"], ran.json()["settings"]) == ("ideal", {})
    assert all(name.endswith("_ophys.nwb") for name in ran.json()["files"])


def test_settings_become_numbers_truth_values_or_texts():
    from lrplan.cli import _options
    from lrplan.errors import UsageError

    given = ["rate_hz=30", "sd = 0.5", "shared=true", "indicator=GCaMP6s", "mode=a=b"]
    assert _options.settings(given) == {
        "rate_hz": 30,
        "sd": 0.5,
        "shared": True,
        "indicator": "GCaMP6s",
        "mode": "a=b",
    }
    assert _options.settings(None) == {}
    with pytest.raises(UsageError, match="names 'x' twice"):
        _options.settings(["x=1", "x=2"])
