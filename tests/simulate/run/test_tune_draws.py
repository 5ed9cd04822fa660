"""Tuning of recipes that draw settings: on what candidates are tried, and what is written."""

from __future__ import annotations

import csv
from dataclasses import replace

import pytest

from lrplan.errors import UsageError
from lrplan.simulate.run import tune as tuning
from lrplan.simulate.run.finished import FinishedOrganisms
from lrplan.simulate.run.here import train_and_write
from lrplan.simulate.run.recipe import parse_recipe
from lrplan.simulate.run.search import Candidate
from lrplan.simulate.run.tune import plan, tune
from lrplan.simulate.run.tuned import Found, Trial, check_statable, tuned_text

DRAWN = """
name = "drawn"
[[draw]]   # of all kinds
count = 5
seed = 2
rule = ["sgdm", "information_alignment"]
architecture = "mlp"
task = ["digits", "digits_simclr"]   # of both
batch_size = [32, 64, 96]
learning_rate_batch = 64
learning_rate = { low = 0.01, high = 0.1 }   # guessed
[draw.architectures.mlp]
width = { low = 8, high = 12 }
depth = [1, 2]
[draw.optimizers.sgdm]
momentum = { low = 0.5, high = 0.9 }
[draw.training]
epochs = [2, 3]

[tune]
rungs = 2
candidates = 2
draws = 2
spread = 2
[tune.rules.information_alignment]
rate = [0.1, 1.0]
"""
CPU = {"workers": 1, "device": "cpu"}


@pytest.fixture
def search(tmp_path):
    recipe = parse_recipe(DRAWN)
    return tuning._Search(recipe, FinishedOrganisms(tmp_path / "tuned.toml"))


def found(cell, rate, settings):
    numbers = {"rung": 2, "epochs": 2, "updates": 34, "seeds": 4, "examples": 400, "loss": 1.0}
    shares = {"performance": 0.9, "low": 0.0, "high": 1.0}
    trial = Trial(
        cell, Candidate(rate, settings), **numbers, **shares, diverged=False, learned=True
    )
    return Found(cell, trial, spread=2.0)


def test_a_candidate_is_tried_on_the_first_drawn_settings_of_its_architecture_and_task(search):
    recipe = parse_recipe(DRAWN)
    assert len(search.cells) == 2 * 2
    tried = search.of(search.cells[0], Candidate(0.3, {}), 1)
    # Two draws with two seeds each.
    assert [(s.model_seed, s.data_seed) for s in tried] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert {(s.rule, s.architecture, s.task) for s in tried} == {("sgdm", "mlp", "digits")}
    for spec in tried:
        assert spec.learning_rate == 0.3 * spec.batch_size / 64
        drawn = recipe.specs[2 * spec.model_seed]
        assert spec.settings["architecture"] == drawn.settings["architecture"]
        assert spec.settings["rule"] == drawn.settings["rule"]
        assert (spec.batch_size, spec.epochs) == (drawn.batch_size, drawn.epochs)
    # The same for every rule and candidate.
    other = search.of(search.cells[2], Candidate(0.1, {"rate": 0.5}), 1)
    assert other[0].rule == "information_alignment"
    for one, two in zip(tried, other, strict=True):
        assert one.settings["architecture"] == two.settings["architecture"]
        assert two.settings["rule"] == {**one.settings["rule"], "rate": 0.5}


def test_draws_are_stated_about_the_rates_that_were_found():
    recipe = parse_recipe(DRAWN)
    rates = dict(zip((0, 1, 2), (0.1, 0.25, 0.3), strict=True))
    each = []
    for i, cell in enumerate(recipe.cells):
        ia = cell.spec.rule == "information_alignment"
        each.append(
            found(cell, rates[i], {"rate": 0.1} if ia else {})
            if i in rates
            else Found(cell, None, "lost")
        )
    text = tuned_text(recipe, each)
    for line in (
        "[[draw]]   # of all kinds",
        'task = ["digits", "digits_simclr"]   # of both',
        "[draw.learning_rate] # guessed",
    ):
        assert f"{line}\n" in text
    cells = parse_recipe(text).cells
    assert [cell.stated for cell in cells] == [
        {"low": 0.05, "high": 0.2, "scale": "log"},
        {"low": 0.125, "high": 0.5, "scale": "log"},
        {"low": 0.15, "high": 0.6, "scale": "log"},
        {"low": 0.01, "high": 0.1, "scale": "linear"},  # the recipe's
    ]
    assert [cell.spec.settings["rule"].get("rate") for cell in cells] == [None, None, 0.1, None]
    before, after = recipe.specs, parse_recipe(text).specs
    for one, two in zip(before, after, strict=True):
        assert one.settings["architecture"] == two.settings["architecture"]
    # A recipe that was tuned can be tuned again.
    again = parse_recipe(text)
    assert (
        parse_recipe(
            tuned_text(
                again,
                [found(c, 0.1, {}) for c in again.cells[:3]]
                + [Found(again.cells[3], None, "lost")],
            )
        )
        .cells[0]
        .stated["high"]
        == 0.2
    )


def test_what_is_drawn_and_searched_is_refused():
    text = DRAWN + "[tune.rules.sgdm]\nmomentum = [0.8, 0.9]\n"
    recipe = parse_recipe(text)
    candidates = [recipe.search.candidates_of(cell.spec) for cell in recipe.cells]
    told = "sgdm, mlp, digits of draw 1: momentum is drawn, and searched in .tune."
    with pytest.raises(UsageError, match=told):
        check_statable(recipe, candidates)
    fixed = parse_recipe(text.replace("{ low = 0.5, high = 0.9 }", "0.5"))
    check_statable(fixed, candidates)


def test_a_range_beyond_all_rates_is_refused_before_training(tmp_path):
    recipe = parse_recipe(DRAWN + "[tune.learning_rate]\ndefault = [0.1, 9e5]\n")
    with pytest.raises(UsageError, match=r"learning_rate 1800000.0 of sgdm; expected a positive"):
        plan(recipe, tmp_path / "tuned.toml", **CPU)


@pytest.mark.parametrize("spread", ["0.5", "true", "1e9", '"3"', "nan"])
def test_a_spread_that_is_none_is_refused(spread):
    with pytest.raises(UsageError, match=r"spread is .*; expected a factor of at least 1"):
        parse_recipe(DRAWN.replace("spread = 2", f"spread = {spread}"))


def test_a_number_of_draws_that_is_none_is_refused():
    with pytest.raises(UsageError, match="draws is 0; expected a whole number"):
        parse_recipe(DRAWN.replace("draws = 2", "draws = 0"))


@pytest.mark.parametrize(
    ("learned", "passes"),
    [
        ([True] * 6, True),
        ([True, True, True, True, False, False], True),
        # One seed of a setting that does not learn is enough for that setting.
        ([True, True, True, False, True, False], False),
    ],
)
def test_most_drawn_settings_must_learn(search, monkeypatch, learned, passes):
    search.settings = replace(search.settings, draws=3)
    ground = tuning._Ground(400, 0.1, 1000, False)
    answers = iter(learned)
    monkeypatch.setattr(tuning._Ground, "learned", lambda self, arrays: next(answers))
    monkeypatch.setattr(search, "ground", lambda spec: ground)
    part = {"diverged": False}, {"performance": [0.5], "loss": [1.0]}
    monkeypatch.setattr(tuning, "read_part", lambda file: part)
    candidate = search.candidates[0][0]
    trial = search._trial(search.cells[0], candidate, 1)
    assert (trial.learned, trial.seeds) == (passes, 6)
    row = trial.row()
    assert (row["grid"], row["draw"], row["batch_size"], row["settings"]) == (None, 1, None, {})


def test_a_grid_beside_draws_keeps_its_own(tmp_path):
    text = DRAWN + '[[grid]]\nrule = "adam"\narchitecture = "mlp"\ntask = "digits"\n'
    recipe = parse_recipe(text)
    assert [(c.draws is None, c.grid) for c in recipe.cells] == [(True, 0), *[(False, 0)] * 4]
    check_statable(recipe, [recipe.search.candidates_of(c.spec) for c in recipe.cells])
    assert plan(recipe, tmp_path / "tuned.toml", **CPU, budget_s=0).searches == 5


def test_a_search_of_draws_writes_a_recipe_that_can_be_drawn(tmp_path, monkeypatch):
    def in_this_process(stacks, storage, parts, workers, finished):
        for stack in stacks:
            train_and_write(stack, storage, parts, "cpu", False, finished)

    monkeypatch.setattr(tuning, "on_cores", in_this_process)
    text = DRAWN.replace("rungs = 2", "rungs = 1\nseeds = 1")
    text = text.replace('["sgdm", "information_alignment"]', '"sgdm"')
    recipe = parse_recipe(text.replace('["digits", "digits_simclr"]   # of both', '"digits"'))
    out = tmp_path / "tuned.toml"
    [one] = tune(recipe, out, **CPU).found
    tuned = parse_recipe(out.read_text())
    assert tuned.cells[0].stated == one.stated
    assert one.settings == {}
    assert len(tuned.specs) == len(recipe.specs)
    with (tmp_path / "tuned.tsv").open(newline="") as file:
        table = list(csv.DictReader(file, delimiter="\t"))
    assert [(r["grid"], r["draw"], r["batch_size"], r["seeds"]) for r in table] == [
        ("", "1", "", "2")
    ] * 2
