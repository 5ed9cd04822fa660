"""Conditions on columns: what they mean, and that nothing in them is run."""

from __future__ import annotations

import numpy as np
import pytest

from lrplan.errors import UsageError
from lrplan.nwb._condition import LONGEST, parse_condition

COLUMNS = {
    "quality": np.array(["good", "mua", "", "good"], dtype=object),
    "snr": np.array([0.5, 2.0, 3.0, np.nan]),
    "passed": np.array([True, False, True, True]),
    "peak channel": np.array([1, 2, 3, 4]),
    "block": np.array([1, 1, 2, 2]),
}


def column(name, place):
    if name == "iscell":
        return np.array([[1, 0.9], [0, 0.6], [1, 0.4], [0, 0.1]])[:, place]
    if name not in COLUMNS:
        raise UsageError(f"no column {name}")
    return COLUMNS[name]


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ('quality == "good"', [0, 3]),
        ("quality != 'good'", [1]),
        ('quality in ("good", "mua")', [0, 1, 3]),
        ('quality not in ("mua",)', [0, 3]),
        ("snr > 1", [1, 2]),
        ("1 < snr <= 2", [1]),
        ("snr != 2", [0, 2]),
        ("passed", [0, 2, 3]),
        ("not passed", [1]),
        ('quality == "good" and snr < 1 or block == 2', [0, 2, 3]),
        ("`peak channel` >= 3", [2, 3]),
        ("quality == '`x`'", []),
        ("iscell", [0, 2]),
        ("iscell[1] > 0.5", [0, 1]),
        ("block < `peak channel`", [1, 2, 3]),
        ("snr > -1", [0, 1, 2]),
        ("block in [2, 3]", [2, 3]),
        ("snr", [0, 1, 2]),
        ("not snr > 1", [0, 3]),
        ("not quality == 'mua'", [0, 2, 3]),
    ],
)
def test_a_condition_holds_for_rows(text, rows):
    held = parse_condition(text, "units").holds(column)
    assert np.flatnonzero(held).tolist() == rows


def test_its_columns_are_known():
    condition = parse_condition("`peak channel` > 1 and iscell[1] > 0 and snr > 0", "units")
    assert sorted(condition.columns) == ["iscell", "peak channel", "snr"]
    assert parse_condition(None, "units") is None


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "quality.__class__",
        "10",
        "().__class__.__bases__",
        "9**9**9**9 > snr",
        "snr + 1 > 2",
        "(lambda: 1)()",
        "[x for x in snr]",
        "quality == f'{snr}'",
        "snr if passed else block",
        "(a := 5) > 1",
        "snr is None",
        "snr == None",
        "snr == ...",
        "snr == 1j",
        "snr == b'x'",
        "snr == {}",
        "quality in quality",
        "quality in ()",
        "quality in (snr,)",
        "1 == 1",
        "5",
        "'good'",
        "True",
        "-passed",
        "~passed",
        "-'a' == quality",
        "iscell[-1]",
        "iscell[True]",
        "iscell[0:1]",
        "iscell[snr]",
        "iscell[0][0]",
        "quality = 'good'",
        "quality == 'good'; snr",
        "import os",
        "snr >",
        "",
        "   ",
        "/units",
        "(" * 400 + "snr" + ")" * 400,
        f"snr > {'9' * 900}",
        "snr > 1" + " " * LONGEST,
        "snr\x00 > 1",
    ],
)
def test_what_is_no_condition_is_refused_and_not_run(text):
    with pytest.raises(UsageError) as caught:
        condition = parse_condition(text, "units= (--units)")
        condition.holds(column)
        raise AssertionError(text)
    message = str(caught.value)
    assert message.startswith("units= (--units)") and "\n" not in message and len(message) < 500


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("quality == 1", "quality holds texts"),
        ("1 == quality", "quality holds texts"),
        ("snr == 'high'", "snr holds numbers"),
        ("quality > 'a'", "== and !="),
        ("quality", "quality holds texts; compare it"),
        ("nothing > 1", "no column nothing"),
    ],
)
def test_comparisons_that_make_no_sense_are_refused(text, words):
    with pytest.raises(UsageError, match=words):
        parse_condition(text, "units").holds(column)
