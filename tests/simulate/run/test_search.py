"""Search spaces: what they hold, and what they say of a mistake."""

from __future__ import annotations

import re

import numpy as np
import pytest

from lrplan.errors import UsageError
from lrplan.simulate.run.recipe import parse_recipe
from lrplan.simulate.run.search import Candidate, Range, Search, Values, edges

GRID = """
[grid]
rule = ["sgdm", "adam", "information_alignment"]
architecture = "mlp"
task = "digits"
"""


def search(tune=""):
    return parse_recipe(f"{GRID}\n{tune}").search


def candidates(tune, rule):
    recipe = parse_recipe(f"{GRID}\n{tune}")
    [spec] = [cell.spec for cell in recipe.cells if cell.spec.rule == rule]
    return recipe.search.candidates_of(spec)


def test_without_a_table_rates_lie_about_the_rules_own():
    assert search() == Search()
    rates = [c.learning_rate for c in candidates("", "adam")]
    assert len(rates) == 9
    np.testing.assert_allclose(rates, 1e-3 * 30 ** np.linspace(-1, 1, 9), rtol=5e-3)
    assert rates[4] == 1e-3
    assert all(c.settings == {} for c in candidates("", "information_alignment"))


def test_ranges_are_spread_on_their_scale_and_lists_are_taken_as_they_are():
    tune = """
[tune]
candidates = 3
[tune.learning_rate]
default = { low = 1e-4, high = 1.0 }
adam = [0.1, 0.002]
information_alignment = { low = 1, high = 2, scale = "linear" }
"""
    assert [c.learning_rate for c in candidates(tune, "sgdm")] == [1e-4, 0.01, 1.0]
    assert [c.learning_rate for c in candidates(tune, "adam")] == [0.1, 0.002]
    assert [c.learning_rate for c in candidates(tune, "information_alignment")] == [1, 1.5, 2]


def test_one_candidate_is_the_middle():
    assert Range(1e-4, 1.0).spread(1) == [0.01]


def test_settings_make_a_latin_hypercube_with_the_rate():
    tune = """
[tune]
candidates = 6
[tune.rules.information_alignment]
rate = [0.1, 0.3, 1.0]
amp = { low = 1e-3, high = 1e-2 }
"""
    found = candidates(tune, "information_alignment")
    assert len(found) == 18
    assert [c.learning_rate for c in found] == sorted({c.learning_rate for c in found})
    assert sorted(c.settings["rate"] for c in found) == [0.1] * 6 + [0.3] * 6 + [1.0] * 6
    amps = [c.settings["amp"] for c in found]
    assert len(set(amps)) == 18
    assert amps != sorted(amps)
    assert found == candidates(tune, "information_alignment")
    assert len(candidates(tune, "sgdm")) == 6


def test_all_that_is_listed_is_tried_beside_a_range():
    rates = [round(0.01 * i, 2) for i in range(1, 12)]
    tune = f"""
[tune]
candidates = 4
[tune.learning_rate]
information_alignment = {rates}
[tune.rules.information_alignment]
amp = {{ low = 1e-3, high = 1e-2 }}
steps = [1, 2, 3, 4, 5]
"""
    found = candidates(tune, "information_alignment")
    assert {c.learning_rate for c in found} == set(rates)
    assert {c.settings["steps"] for c in found} == {1, 2, 3, 4, 5}
    longest = tune.replace("[1, 2, 3, 4, 5]", str(list(range(1, 21))))
    found = candidates(longest, "information_alignment")
    assert {c.settings["steps"] for c in found} == set(range(1, 21))


def test_lists_alone_are_combined_with_each_other():
    tune = """
[tune.learning_rate]
information_alignment = [0.01, 0.1]
[tune.rules.information_alignment]
rate = [0.1, 1.0]
"""
    found = candidates(tune, "information_alignment")
    assert [(c.learning_rate, c.settings["rate"]) for c in found] == [
        (0.01, 0.1),
        (0.01, 1.0),
        (0.1, 0.1),
        (0.1, 1.0),
    ]


def test_a_value_is_tried_once():
    assert Values((0.5,)).spread(3) == [0.5] * 3
    assert len(candidates("[tune.learning_rate]\nsgdm = [0.1, 0.1]", "sgdm")) == 1
    assert len(candidates("[tune.learning_rate]\nsgdm = { low = 0.1, high = 0.1 }", "sgdm")) == 1


def test_a_candidate_at_the_end_of_what_is_tried_is_known():
    tried = [
        Candidate(rate, {"steps": steps, "amp": 0.1, "nesterov": steps > 1})
        for rate, steps in ((0.1, 2), (0.01, 4), (0.05, 1), (0.1, 4))
    ]
    assert [edges(each, tried) for each in tried] == [
        {"learning_rate": "highest"},
        {"learning_rate": "lowest", "steps": "highest"},
        {"steps": "lowest"},
        {"learning_rate": "highest", "steps": "highest"},
    ]


def test_rungs_grow_as_candidates_fall():
    s = Search(rungs=3, eta=3)
    assert [s.epochs(rung, 20) for rung in range(3)] == [3, 7, 20]
    assert [s.epochs(rung, 1) for rung in range(3)] == [1, 1, 1]
    assert [s.without_repetitions(epochs).rungs for epochs in (1, 2, 3, 4, 20)] == [1, 2, 2, 3, 3]
    assert [s.without_repetitions(3).epochs(rung, 3) for rung in range(2)] == [1, 3]
    assert [s.kept(rung, 27) for rung in range(3)] == [27, 9, 3]
    assert [s.kept(rung, 9) for rung in range(3)] == [9, 3, 2]
    assert [s.kept(rung, 1) for rung in range(3)] == [1, 1, 1]


@pytest.mark.parametrize(
    ("tune", "told"),
    [
        ("[tune]\nrung = 3", "[tune]: unknown key 'rung'; nearest: rungs"),
        ("[tune]\nrungs = 0", "rungs is 0; expected a whole number of at least 1"),
        ("[tune]\ncandidates = 0", "candidates is 0; expected a whole number of at least 1"),
        ("[tune]\neta = 1", "eta is 1; expected a whole number of at least 2"),
        ("[tune]\nseeds = 0", "seeds is 0"),
        ("[tune]\nvalidation = 0", "validation is 0; expected a share above 0, at most 0.5"),
        ("[tune]\nvalidation = 0.9", "validation is 0.9"),
        ("[tune]\nvalidation = true", "validation is True"),
        ("[tune]\nlearning_rate = 0.1", "learning_rate is 0.1; expected a table"),
        ("[tune.learning_rate]\nsgd = 0.1", "unknown rule 'sgd'; nearest: sgdm"),
        ("[tune.learning_rate]\nsgdm = []", "learning_rate of sgdm is empty"),
        ("[tune.learning_rate]\nsgdm = [0.1, 0]", "0 is no learning rate"),
        ("[tune.learning_rate]\nsgdm = -0.1", "-0.1 is no learning rate"),
        ("[tune.learning_rate]\nsgdm = ['fast']", "'fast' is no learning rate"),
        ("[tune.learning_rate]\nsgdm = [nan]", "nan is no learning rate"),
        ("[tune.learning_rate]\nsgdm = [1e7]", "no learning rate"),
        ("[tune.learning_rate]\ndefault = { low = 1, high = 0.1 }", "low is 1, above high, 0.1"),
        (
            "[tune.learning_rate]\ndefault = { low = 0, high = 0.1 }",
            "low is 0; expected a positive number on a logarithmic scale",
        ),
        (
            "[tune.learning_rate]\ndefault = { low = 0, high = 0.1, scale = 'linear' }",
            "0.0 is no learning rate",
        ),
        ("[tune.learning_rate]\nsgdm = { low = 0.1 }", "high is missing; expected low and high"),
        ("[tune.learning_rate]\nsgdm = { low = 'a', high = 1 }", "low is 'a'; expected a number"),
        ("[tune.learning_rate]\nsgdm = { low = 0.1, high = inf }", "high is inf"),
        ("[tune.learning_rate]\nsgdm = { low = 0.1, hi = 1 }", "unknown key 'hi'; nearest: high"),
        (
            "[tune.learning_rate]\nsgdm = { low = 0.1, high = 1, scale = 'lin' }",
            "unknown scale 'lin'; nearest: linear",
        ),
        ("[tune.rules.sgd]\nmomentum = 0.9", "unknown rule 'sgd'; nearest: sgdm"),
        ("[tune.rules.sgd]", "unknown rule 'sgd'"),
        ("[tune.rules.sgdm]\nmomentumm = 0.9", "rule 'sgdm' has no setting 'momentumm'"),
        ("[tune.rules.sgdm]\nmomentum = []", "sgdm.momentum is empty"),
        ("[tune.rules.sgdm]\nmomentum = ['much']", "momentum is 'much'; expected a number"),
        ("[tune.rules]\nsgdm = 1", "sgdm is 1; expected a table"),
        (
            "[tune.rules.information_alignment]\nsteps = { low = 1, high = 8 }",
            "recipe [tune] information_alignment.steps has no range between low and high; "
            "expected a list, such as [1, 2, 4]",
        ),
        (
            "[tune.rules.information_alignment]\nsteps = [1.0]",
            "recipe [tune] information_alignment.steps: steps is 1.0; expected a whole number",
        ),
        (
            "[tune.rules.information_alignment]\nrate = [0.0]",
            "recipe [tune] information_alignment.rate: rate is 0.0; expected a share",
        ),
        ("[tune.rules.sgd]", "recipe [tune] rules: unknown rule 'sgd'"),
        ("[tune.learning_rate]\nsgd = 1", "recipe [tune] learning_rate: unknown rule 'sgd'"),
        # Ends are refused as they are tried, at three digits.
        (
            "[tune.learning_rate]\nsgdm = { low = 1, high = 999999.9 }",
            "1000000.0 is no learning rate",
        ),
    ],
)
def test_a_search_space_that_cannot_be_is_refused(tune, told):
    with pytest.raises(UsageError, match=re.escape(told)):
        search(tune)


def test_a_switch_has_no_range():
    with pytest.raises(UsageError, match=r"nesterov.* expected true or false"):
        search("[tune.rules.sgdm]\nnesterov = { low = 0.1, high = 1 }")
    assert [
        c.settings["nesterov"]
        for c in candidates(
            "[tune.learning_rate]\nsgdm = 0.1\n[tune.rules.sgdm]\nnesterov = [true, false]", "sgdm"
        )
    ] == [True, False]


def test_simulate_passes_over_the_search_space():
    with_space = parse_recipe(f"{GRID}\n[tune]\nrungs = 2\n")
    assert with_space.specs == parse_recipe(GRID).specs
