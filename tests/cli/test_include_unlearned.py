"""Organisms that did not learn are asked for by one option, the same in every command."""

from __future__ import annotations

import pytest

import lrplan
from lrplan.errors import DataError


@pytest.mark.parametrize("asked", [False, True])
@pytest.mark.parametrize(
    "line",
    [
        ("design", "--cohort", "c.zarr"),
        ("score", "a.nwb", "--cohort", "c.zarr"),
        ("analyse", "separation", "c.zarr"),
        ("claims", "c.zarr"),
    ],
    ids=lambda line: line[0],
)
def test_the_option_reaches_the_cohort(cli, monkeypatch, line, asked):
    opened = []

    def open_cohort(path, **options):
        opened.append((path, options))
        raise DataError("enough")

    monkeypatch.setattr(lrplan, "open_cohort", open_cohort)
    monkeypatch.setattr(lrplan, "read_nwb", lambda files, **options: None)
    ran = cli(*line, *(["--include-unlearned"] if asked else []))
    assert (ran.code, ran.err) == (3, "lrplan: enough\n")
    assert opened == [("c.zarr", {"include_unlearned": asked})]


def test_select_leaves_them_out_where_that_is_asked(cli, tiny_cohort_path, tmp_path):
    """Of the tiny cohort all learned, so all are taken."""
    out = tmp_path / "some.zarr"
    ran = cli("cohort", "select", tiny_cohort_path, "--exclude-unlearned", "--out", out, "--json")
    assert ran.code == 0
    told = ran.json()["fates"]
    assert {rule: n["learned"] for rule, n in told.items()} == dict.fromkeys(told, 6)


def test_info_has_a_row_for_each_rule(cli, tiny_cohort_path):
    ran = cli("cohort", "info", tiny_cohort_path)
    assert [line.split() for line in ran.out.splitlines()].count(["adam", "6", "0", "0"]) == 1
