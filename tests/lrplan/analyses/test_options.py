"""Options: what an analysis declares is what it takes, and the rest is named."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from typing import Annotated, Any

import matplotlib
import numpy as np
import pytest

from lrplan.analyses import (
    FLAG,
    NAMES,
    NUMBER,
    WHOLE,
    WHOLES,
    Analysis,
    Kind,
    Option,
    SplitCount,
    analyse,
    analyses,
)
from lrplan.errors import UsageError

matplotlib.use("Agg")


def option(kind: Kind, default: Any = 0) -> Option:
    return Option("What it does.", kind, name="it", default=default)


@pytest.mark.parametrize(
    ("kind", "value", "taken"),
    [
        (NAMES, "a, b", ["a", "b"]),
        (NAMES, ("a", "b"), ["a", "b"]),
        (NAMES, np.array(["a"]), ["a"]),
        (WHOLE, np.int64(3), 3),
        (WHOLES, 3, [3]),
        (WHOLES, range(2, 4), [2, 3]),
        (NUMBER, 1, 1),
        (FLAG, True, True),
    ],
)
def test_a_value_of_its_kind_is_taken(kind, value, taken):
    assert option(kind).checked(value) == taken


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        (NAMES, 5, "it is 5; expected a name or several"),
        (NAMES, ["a", 5], r"it is \['a', 5\]; expected a name or several"),
        (WHOLE, 2.5, "it is 2.5; expected a whole number"),
        (WHOLE, True, "it is True; expected a whole number"),
        (WHOLES, "12", "it is '12'; expected a whole number or several"),
        (NUMBER, None, "it is None; expected a number"),
        (FLAG, "no", "it is 'no'; expected True or False"),
    ],
)
def test_another_value_is_named(kind, value, text):
    with pytest.raises(UsageError, match=text):
        option(kind).checked(value)


def test_none_is_taken_where_it_is_the_default():
    assert option(WHOLES, default=None).checked(None) is None


def test_what_a_command_line_says_is_what_a_script_says():
    assert option(WHOLES).read("3,5") == option(WHOLES).checked([3, 5])
    assert option(NAMES).read("a, b") == option(NAMES).checked("a,b")
    assert option(NUMBER).read("0.5") == 0.5
    with pytest.raises(UsageError, match="'x'; expected a whole number"):
        option(WHOLE).read("x")


def test_defaults_are_shown_as_they_would_be_written():
    assert option(WHOLES, (0.0, 0.3)).shown_default == "0,0.3"
    assert option(NAMES, "a").shown_default == "a"
    assert Option("", unset="all").shown_default == "all"


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        ("separation", {"shuffle_labels": "yes"}, "shuffle_labels is 'yes'; expected True or"),
        ("separation", {"splits": "ten"}, "splits is 'ten'; expected a whole number"),
        ("separation", {"measure": 5}, "measure is 5; expected a name"),
        ("pairs", {"classifier": ["light"]}, "classifier is .*; expected a name"),
        ("units_noise", {"noise": "loud"}, "noise is 'loud'; expected a number"),
    ],
)
def test_analyses_refuse_values_of_another_kind(separable, name, options, text):
    with pytest.raises(UsageError, match=text):
        analyse(name, separable, rng=np.random.default_rng(0), **options)


def test_rules_in_one_word_are_several(separable):
    options = {"measure": "activity", "rules": "adam,sgdm", "label": "rule"}
    found = analyse("clustering", separable, rng=np.random.default_rng(0), **options)
    assert found.options["rules"] == ["adam", "sgdm"]


def test_a_parameter_without_an_option_is_refused_when_registered():
    def undeclared(cohort, *, rng, depth: int = 3): ...

    def without_default(cohort, *, rng, depth: SplitCount): ...

    def taken(cohort, *, rng, seed: Annotated[int, Option("Seed.")] = 0): ...

    for run, text in (
        (undeclared, "'depth' .* declares no option; annotate it"),
        (without_default, "'depth' .* has no default"),
        (taken, "'seed' .* has a name that the command line takes"),
    ):
        with pytest.raises(TypeError, match=text):
            Analysis("wrong", "", "", "", run, "plot_label")


def test_the_documented_analysis_answers(separable, tmp_path, monkeypatch):
    page = (Path(__file__).parents[3] / "docs" / "analyse.md").read_text(encoding="utf-8")
    *_, text = re.findall(r"^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    analyses.names()
    monkeypatch.setattr(analyses, "_entries", dict(analyses._entries))
    (tmp_path / "documented_analysis.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.import_module("documented_analysis")
    found = analyse("census", separable, rng=np.random.default_rng(0), rules="adam,sgdm")
    assert found.table()[1] == [["adam", 12], ["sgdm", 12]]
    assert found.plot() is not None
    del sys.modules["documented_analysis"]


def test_every_option_says_what_it_does():
    for name, analysis in analyses.items():
        for option in analysis.options.values():
            assert option.help.endswith("."), (name, option.name)
            assert option.shown_default, (name, option.name)
