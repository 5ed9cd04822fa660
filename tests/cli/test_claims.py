"""``lrplan claims``."""

from __future__ import annotations

import pytest

from lrplan.claims import Claim, ClaimsReport


@pytest.fixture
def tested(monkeypatch):
    """Replace the work by a finished report."""
    claims = [
        Claim(1, "a", "Rules separate.", "holds", 0.4, 0.3, 0.5, 0.25, "accuracy"),
        Claim(8, "b", "ResNets.", "undecided", None, None, None, 0.0, "no \x1b[2JResNets"),
    ]
    asked = {}

    def evaluate(cohort, *, rng, claims=None, done=None):
        asked["claims"], asked["seed"] = claims, int(rng.integers(1000))
        for c in found.claims:
            done(c)
        return found

    found = ClaimsReport("tiny", 24, ["adam", "sgdm"], claims, ["3 organisms diverged"])
    monkeypatch.setattr("lrplan.claims.evaluate_claims", evaluate)
    return asked


def test_json_is_the_report(cli, tested, tiny_cohort_path):
    ran = cli("claims", tiny_cohort_path, "--json", "--claim", 1, "--claim", 8)
    assert ran.code == 0
    found = ran.json()
    assert found.keys() == {"schema", "cohort", "claims"}
    assert found["schema"] == "lrplan.claims/1"
    assert found["claims"][1]["figure"] is None
    assert found["claims"][0] == {
        "id": 1,
        "statement": "Rules separate.",
        "result": "holds",
        "figure": 0.4,
        "low": 0.3,
        "high": 0.5,
        "note": "accuracy",
    }
    assert tested["claims"] == [1, 8]
    assert "lrplan: claim 8 (b): undecided\n" in ran.err


def test_table_has_figure_interval_and_note(cli, tested, tiny_cohort_path, tmp_path):
    ran = cli("claims", tiny_cohort_path, "--quiet", "--plot", tmp_path / "c.png")
    assert (ran.code, ran.err) == (0, "")
    assert "0.300 to 0.500" in ran.out and "8. no ?[2JResNets" in ran.out
    assert "Warning: 3 organisms diverged" in ran.out
    assert tested["claims"] is None
    assert (tmp_path / "c.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("--claim", "16"), 2, "there is no claim 16; claims are 1 to 15"),
        (("--claim", "one"), 2, "'one' is not a whole number"),
        (("--plot", "a.txt"), 2, "--plot a.txt"),
    ],
)
def test_a_mistake_is_named(cli, tiny_cohort_path, arguments, code, text):
    ran = cli("claims", tiny_cohort_path, "--quiet", *arguments)
    assert ran.code == code
    assert text in ran.err and ran.err.count("\n") == 1


def test_no_cohort_is_bad_data(cli, tmp_path):
    ran = cli("claims", tmp_path / "none.zarr")
    assert ran.code == 3
    assert "no cohort at" in ran.err
