"""``lrplan cache``, and forecasts that are kept."""

from __future__ import annotations

from dataclasses import replace

import pytest

import lrplan.tell.forecast


@pytest.fixture
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("LRPLAN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def made(monkeypatch, plan):
    """Replace the forecast's work by a finished one; return the designs that were forecast."""
    designs = []

    def forecast(cohort, design, *, rng, split, shuffle_labels):
        designs.append(design)
        return replace(plan, design=design, split=split, shuffled=shuffle_labels)

    monkeypatch.setattr(lrplan.tell.forecast, "forecast", forecast)
    return designs


def test_a_question_asked_again_has_the_same_answer(cli, made, cache, tiny_cohort_path):
    line = ("design", "--cohort", tiny_cohort_path, "--units", 12)
    first, again = cli(*line), cli(*line)
    assert len(made) == 1
    assert again.code == first.code == 0 and again.out == first.out
    assert first.err == "lrplan: forecasting from the cohort tiny\n"
    assert again.err == "lrplan: this forecast was kept; LRPLAN_CACHE=off makes it anew\n"
    assert cli(*line, "--json").json() == cli(*line, "--json", "--quiet").json()
    assert len(made) == 1
    others = (
        ("--seed", 1),
        ("--noise", 0.2),
        ("--split", "layer"),
        ("--include-unlearned",),
        ("--shuffle-labels",),
    )
    for other in others:
        assert cli(*line, *other).code == 0
    assert len(made) == 1 + len(others)


def test_a_damaged_entry_is_made_anew(cli, made, cache, tiny_cohort_path):
    line = ("design", "--cohort", tiny_cohort_path, "--units", 12)
    first = cli(*line)
    [entry] = cache.iterdir()
    entry.write_bytes(entry.read_bytes()[:-5])
    assert cli(*line).out == first.out and len(made) == 2
    assert cli(*line).out == first.out and len(made) == 2


def test_a_cache_that_cannot_be_is_no_error(cli, made, monkeypatch, tmp_path, tiny_cohort_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LRPLAN_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.warns(UserWarning, match="nothing is kept in the cache"):
        ran = cli("design", "--cohort", tiny_cohort_path, "--units", 12)
    assert ran.code == 0 and len(made) == 1


def test_info_and_clear(cli, made, cache, tiny_cohort_path):
    empty = cli("cache", "info", "--json").json()
    assert empty == {"folder": str(cache), "entries": 0, "bytes": 0, "limit_bytes": 500_000_000}
    assert not cache.exists()
    assert cli("design", "--cohort", tiny_cohort_path, "--units", 12).code == 0
    found = cli("cache", "info", "--json").json()
    assert found["entries"] == 1 and found["bytes"] > 0
    ran = cli("cache", "info")
    assert ran.code == 0 and ran.out.startswith(f"{cache}: 1 entry, ")
    ran = cli("cache", "clear")
    assert ran.code == 0 and ran.out.startswith("removed 1 entry, ")
    assert cli("cache", "clear", "--json").json() == {
        "folder": str(cache),
        "entries": 0,
        "bytes": 0,
    }
    assert cli("cache", "info", "--json").json() == empty


def test_a_cache_that_is_off(cli, monkeypatch):
    monkeypatch.setenv("LRPLAN_CACHE", "off")
    assert cli("cache", "info").out == "the cache is off (LRPLAN_CACHE=off)\n"
    assert cli("cache", "info", "--json").json()["folder"] is None
    assert cli("cache", "clear", "--json").json() == {"folder": None, "entries": 0, "bytes": 0}


def test_what_cannot_be_removed_is_told(cli, cache, monkeypatch):
    from lrplan.cache import Cache

    def refuse(self):
        raise PermissionError(13, "Permission denied", str(cache / "x"))

    monkeypatch.setattr(Cache, "clear", refuse)
    ran = cli("cache", "clear")
    assert ran.code == 3 and ran.err == f"lrplan: {cache / 'x'}: Permission denied\n"
