"""Comparisons of two sides: in order, calibrated on families never seen, antisymmetric."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

import lrplan
from lrplan import DataError, UsageError, compare, forecast_comparison
from lrplan.classifiers.calibrated_trees import calibrated_trees
from lrplan.measure.observe import observe_cohort
from lrplan.randomness import Streams
from lrplan.tell.combine import Probabilities
from lrplan.tell.pairing import Judged, deal_alike, fit_slope, order, probability

STREAMS = Streams(0)


def light(sessions=5, static=0):
    return calibrated_trees(sessions=sessions, static=static, trees=10)


def judged(scores, told, groups, *, preparations=None, conditions="held-out family"):
    """Organisms of the rules a and b with the log-odds of a that they are given."""
    p = 1 / (1 + np.exp(-np.asarray(scores, dtype=float)))
    labels = {
        "told": np.asarray(told),
        "animal": np.array([f"o{i:03d}" for i in range(len(p))]),
    }
    table = Probabilities.of(np.stack([p, 1 - p], axis=1), np.array(["a", "b"]), labels)
    groups = np.asarray(groups)
    codes = np.unique(groups if preparations is None else preparations, return_inverse=True)[1]
    return Judged(conditions, table, groups, codes)


def noisy(apart, *, per_rule=20, families=("x", "y", "z"), spread=1.0, offset=5.0, seed=0):
    """Families with thresholds of their own, in which a is `apart` above b."""
    rng = np.random.default_rng(seed)
    told = np.tile(np.repeat(["a", "b"], per_rule), len(families))
    groups = np.repeat(families, 2 * per_rule)
    own = offset * (np.searchsorted(families, groups) - 1)
    scores = own + apart * (told == "a") + spread * rng.standard_normal(len(told))
    return judged(scores, told, groups)


def test_only_the_order_within_a_preparation_counts():
    """Each family's threshold is another, and no comparison sees it."""
    found = order(noisy(10), "a", "b", STREAMS)
    assert found.accuracy.mean == 1
    assert list(found.groups) == ["x", "y", "z"]
    assert order(noisy(-10), "a", "b", STREAMS).accuracy.mean == 0
    # The second kind first: the same comparisons.
    assert order(noisy(10), "b", "a", STREAMS).accuracy.mean == 1


def test_the_accuracy_of_single_animals_is_the_area_within_preparations():
    made = judged([3, 1, 2, 0, 9, 8], list("aabbab"), list("xxxxyy"))
    found = order(made, "a", "b", STREAMS)
    assert {g: i.mean for g, i in found.groups.items()} == {"x": 0.75, "y": 1.0}
    assert found.accuracy.mean == 0.875
    ties = order(judged([1, 1], ["a", "b"], ["x", "x"]), "a", "b", STREAMS)
    assert ties.accuracy.mean == 0.5


def test_preparations_of_a_family_are_compared_apart():
    made = judged([9, 8, 1, 0], list("abab"), list("xxxx"), preparations=[0, 0, 1, 1])
    assert order(made, "a", "b", STREAMS).accuracy.mean == 1
    assert order(made, "a", "b", STREAMS, (2, 2)) is None


def test_more_animals_a_side_lift_the_accuracy():
    made = noisy(0.7, per_rule=30)
    one, four, eight = (order(made, "a", "b", STREAMS, (n, n)) for n in (1, 4, 8))
    assert one.accuracy.mean < four.accuracy.mean < eight.accuracy.mean
    # So large a difference of means is surer of so many animals than of one.
    assert one.slope() < eight.slope()


def test_the_numbers_of_both_sides_may_be_swapped():
    made = noisy(0.7)
    one, other = (order(made, "a", "b", STREAMS, sizes) for sizes in ((1, 4), (4, 1)))
    assert (one.sizes, one.accuracy, one.slope()) == (other.sizes, other.accuracy, other.slope())


def test_an_interval_is_as_wide_as_figures_of_other_organisms_differ():
    """Of single animals and of groups of four, within a family, over 40 cohorts."""
    for sizes in ((1, 1), (4, 4)):
        figures = [
            order(noisy(0.7, seed=s, families=("x",)), "a", "b", STREAMS, sizes).groups["x"]
            for s in range(40)
        ]
        widths = [(i.high - i.low) / (2 * 1.96) for i in figures]
        assert np.mean(widths) == pytest.approx(np.std([i.mean for i in figures]), rel=0.5)


def test_labels_that_say_nothing_are_at_chance():
    found = order(noisy(0, per_rule=60), "a", "b", STREAMS)
    assert found.accuracy.low < 0.5 < found.accuracy.high


def test_the_slope_is_that_of_the_differences():
    """Differences d, right as often as a logistic function of slope 1.5 says."""
    rng = np.random.default_rng(0)
    sizes = rng.exponential(1.0, 20000)
    right = rng.random(20000) < 1 / (1 + np.exp(-1.5 * sizes))
    differences = np.where(right, sizes, -sizes)
    weights = np.full(20000, 1 / 20000)
    assert fit_slope(differences, weights, 20000) == pytest.approx(1.5, rel=0.05)


def test_no_difference_is_a_proof_and_none_is_turned_round():
    ones = np.full(10, 0.1)
    always = fit_slope(np.ones(10), ones, 10)
    assert float(probability(always, 1.0)) == pytest.approx(11 / 12)
    assert fit_slope(-np.ones(10), ones, 10) == 0
    assert fit_slope(np.zeros(10), ones, 10) == 0
    assert float(probability(0.0, 3.0)) == 0.5


def test_what_is_answered_is_fitted_to_other_families():
    """Two families are in order and the third is not: what they promise it does not keep."""
    made = noisy(8)
    scores = np.log(made.p.values[:, 0] / made.p.values[:, 1])
    told = np.where(made.groups == "z", np.where(made.p.told == "a", "b", "a"), made.p.told)
    mixed = judged(scores, told, made.groups)
    found = order(mixed, "a", "b", STREAMS)
    assert found.slope(without="z") > found.slope() > 0
    share, right = found.answered(0.9)
    assert share == pytest.approx(1 / 3, abs=0.02) and right == pytest.approx(0, abs=0.02)
    assert order(made, "a", "b", STREAMS).answered(0.9)[1] == 1
    alone = order(noisy(8, families=("x",)), "a", "b", STREAMS)
    assert np.isnan(alone.answered(0.9)[0]) and alone.answered(0.9)[1] is None


def test_of_several_layers_at_a_position_the_last_is_the_area(families):
    made = observe_cohort(families, lrplan.Design(units=9), rng=0)
    p = np.full((len(made), 4), 0.25)
    p[0] = np.nan
    table = Probabilities.of(p, np.unique(made.y), made.labels)
    places = np.array(["early"] * len(made), dtype=object)
    one = made.of(made.values, made.observables, made.labels | {"position": places})
    found = Judged.of("held-out family", one, table, made.label("family"), 1)
    organisms = np.unique(made.organisms)
    assert sorted(found.p.animals) == sorted(organisms)
    assert len(Judged.of("known", made, table, made.label("family"), 1).p.animals) == len(made) - 1
    both = Judged.of("known", made, table, made.label("family"), 2)
    assert len(both.p.animals) == len(organisms) - 1


# Real recordings.


def recorded(cohort, place, *, units=20, seed=5, noise=0.1, **changes):
    """One population of an organism, as if it had been read."""
    design = lrplan.Design(units=units, noise=noise)
    populations = cohort.usable_populations("deep")
    organism = cohort.population_table["organism"].values[populations]
    [row] = populations[organism == place]
    made = lrplan.record(cohort, design, rng=seed, populations=[int(row)], trials=10)
    return dataclasses.replace(made, source=f"organism {place}", **changes)


def judge(cohort, one, two, **options):
    return compare(one, two, cohort, rng=0, classifier=light(), **options)


@pytest.fixture(scope="module")
def pair(families):
    """Recordings of an organism of sgdm and of one of feedback alignment, both alexnets."""
    rules = families.organisms["rule"].values
    names = families.organisms["architecture"].values
    one, two = (
        int(np.flatnonzero((rules == rule) & (names == "alexnet"))[0])
        for rule in ("sgdm", "feedback_alignment")
    )
    return recorded(families, one), recorded(families, two)


@pytest.fixture(scope="module")
def found(families, pair):
    return compare(*pair, families, rng=0, position="deep", classifier=light(static=3))


def test_two_recordings_come_in_the_right_order(found):
    told = found.pair("feedback_alignment", "sgdm")
    assert told.probability < 0.5 and told.difference < 0
    assert told.expected.conditions == "held-out family"
    assert sorted(told.expected.groups) == ["alexnet", "knet", "mlp", "resnet"]
    assert told.expected.accuracy.low > 0.5
    assert "right on families that were never seen" in told.statement
    assert len(found.pairs) == 6


def test_a_family_that_lacks_one_rule_is_compared_by_the_others(found):
    assert sorted(found.pair("adam", "sgdm").expected.groups) == ["alexnet", "knet", "mlp"]


def test_swapped_sides_turn_the_probability_round(families, pair, found):
    swapped = compare(*pair[::-1], families, rng=0, position="deep", classifier=light(static=3))
    for one, two in zip(found.pairs, swapped.pairs, strict=True):
        assert two.probability == 1 - one.probability
        assert two.difference == -one.difference
        assert two.expected.accuracy == one.expected.accuracy


def test_a_comparison_is_plain_json(found):
    told = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert told["schema"] == "lrplan.comparison/1"
    assert set(told) == {
        *("schema", "first", "second", "design", "told", "level", "pairs", "distance", "warnings")
    }
    assert set(told["pairs"][0]) == {
        *("a", "b", "scores", "difference", "probability", "statement", "answer", "reasons"),
        *("expected_accuracy", "expected_conditions", "expected_families", "expected_animals"),
        *("chance", "answered", "right_of_answered"),
    }
    assert found.to_dataframe().loc[("adam", "sgdm"), "probability"] == pytest.approx(
        found.pair("adam", "sgdm").probability
    )
    assert "chance 50.0 %" in found.summary() and "<table>" in found._repr_html_()
    assert "Comparison of 1 with 1 recordings" in repr(found)


def test_a_recording_against_itself_says_nothing(families, pair):
    itself = judge(families, pair[0], pair[0])
    assert {p.probability for p in itself.pairs} == {0.5}
    assert all(p.answer is None for p in itself.pairs)
    assert "neither side" in itself.pairs[0].statement
    assert any("stand on both sides" in w for w in itself.warnings)


def test_a_pair_is_the_same_alone_and_among_others(families, pair):
    every = judge(families, *pair)
    alone = judge(families, *pair, between=("sgdm", "feedback_alignment"))
    [one] = alone.pairs
    other = every.pair("feedback_alignment", "sgdm")
    assert one.difference == pytest.approx(-other.difference)
    assert one.expected.accuracy == other.expected.accuracy


def test_credit_and_level_are_asked(families, pair):
    easy = judge(families, *pair, tell="credit", level=0.5)
    assert {(p.a, p.b) for p in easy.pairs} >= {("backpropagation", "feedback_alignment")}
    told = easy.pair("backpropagation", "feedback_alignment")
    assert told.answer == "first" and not told.reasons
    strict = judge(families, *pair, tell="credit", level=0.999)
    told = strict.pair("backpropagation", "feedback_alignment")
    assert told.answer is None and told.reasons == ["the probability is below 99.9 %"]


def test_several_recordings_of_a_side_are_averaged(families, pair):
    one, two = pair
    doubled = judge(families, [one, one], two)
    single = judge(families, one, two)
    told, alone = (f.pair("feedback_alignment", "sgdm") for f in (doubled, single))
    assert told.scores[0] == pytest.approx(alone.scores[0])
    assert len(doubled.first) == 2
    # That cohort has one or two organisms of a rule in a preparation: none that could be drawn.
    assert told.expected.sizes == (1, 1)
    assert any("those of single animals, and too cautious" in w for w in doubled.warnings)


def test_a_far_recording_gets_no_answer(families, pair):
    one, two = pair
    values = np.exp(4 * np.random.default_rng(0).standard_normal(two.data["activity"].shape))
    wild = two.data.drop_vars("trials").copy(deep=True)
    wild["activity"].values[...] = values * (-1) ** np.arange(5)[:, None, None]
    wild["activity_sem"].values[...] = 0.01 * values
    told = judge(families, one, dataclasses.replace(two, data=wild), level=0.5)
    assert told.distance["second"]["quantile"] > 0.99
    assert all(p.answer is None for p in told.pairs)
    assert any("the second side lies farther" in r for r in told.pairs[0].reasons)


def test_more_sessions_and_units_are_cut_to_the_lesser(families, pair):
    one, two = pair
    fewer = recorded(families, 40, units=15)
    fewer = dataclasses.replace(fewer, data=fewer.data.isel(session=[0, 2, 4]))
    told = compare(fewer, two, families, rng=0, classifier=light(sessions=3))
    assert (told.design.units, told.design.schedule.sessions) == (15, 3)
    assert any("3 to 5 sessions" in w for w in told.warnings)
    assert any("15 to 20 units" in w for w in told.warnings)


def test_different_areas_and_noise_and_tracking_are_said(families, pair):
    one, two = pair
    other = two.data.assign_coords(area=("population", ["V1"]))
    loose = dataclasses.replace(two, data=other, tracked=False)
    told = judge(families, one, loose)
    assert told.design.tracked is False
    assert any("different areas" in w for w in told.warnings)
    assert any("not tracked" in w for w in told.warnings)
    louder = recorded(families, 40, noise=0.6)
    assert any("noise differs" in w for w in judge(families, one, louder).warnings)


def test_with_fewer_families_a_comparison_holds_for_known_conditions(separable):
    told = judge(separable, recorded(separable, 1), recorded(separable, 40))
    assert {p.expected.conditions for p in told.pairs} == {"known"}
    said = "all pairs: the cohort has 2 families with both (knet, mlp)"
    assert any(said in w for w in told.warnings)
    assert "under known conditions" in told.pair("information_alignment", "sgdm").statement
    assert told.to_json()["pairs"][0]["expected_families"] == {}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"between": ("sgd", "adam")}, "'sgd'.*nearest: sgdm"),
        ({"between": ("adam", "adam")}, "twice"),
        ({"between": "adam"}, "expected two of"),
        ({"between": ("adam",)}, "expected two of"),
        ({"tell": "rules"}, "nearest: rule"),
        ({"level": 1}, "level is 1"),
        ({"level": 0.4}, "level is 0.4"),
        ({"position": "top"}, "unknown position"),
        ({"without": ["nobody"]}, "nobody"),
        ({"classifier": "forest"}, "classifier is 'forest'"),
    ],
)
def test_what_is_no_option_is_refused(families, pair, options, said):
    with pytest.raises(UsageError, match=said):
        compare(*pair, families, rng=0, **({"classifier": light()} | options))


@pytest.mark.parametrize("side", ["a.nwb", [], ["a.nwb"], None])
def test_what_is_no_side_is_refused(families, pair, side):
    with pytest.raises(UsageError, match="the first side is empty|first is"):
        judge(families, side, pair[1])


def test_recordings_that_differ_in_what_must_be_the_same_are_refused(families, pair):
    one, two = pair
    spikes = dataclasses.replace(two, kind="spikes")
    with pytest.raises(DataError, match="differ in kind .virtual and spikes"):
        judge(families, one, spikes)
    fewer = dataclasses.replace(two, data=two.data.isel(stimulus=[0, 1, 2]))
    with pytest.raises(DataError, match="number of stimuli .4 and 3"):
        judge(families, one, fewer)
    named = dataclasses.replace(two, data=two.data.assign_coords(stimulus=list("abcd")))
    with pytest.raises(DataError, match="differ in stimuli"):
        judge(families, one, named)
    areas = [two.data.assign_coords(area=("population", [n])) for n in ("V1", "LM")]
    both = lrplan.join([dataclasses.replace(two, data=data) for data in areas])
    with pytest.raises(DataError, match="number of areas .1 and 2"):
        judge(families, one, both)
    animals = [two.data.assign_coords(animal=("population", [n])) for n in ("m1", "m2")]
    herd = lrplan.join([dataclasses.replace(two, data=data) for data in animals])
    with pytest.raises(DataError, match="2 animals"):
        judge(families, one, herd)
    short = dataclasses.replace(two, data=two.data.isel(session=[0]))
    with pytest.raises(DataError, match="one session"):
        judge(families, one, short)
    weights = lrplan.record(families, lrplan.Design(units=9, measure="weights"), rng=0)
    with pytest.raises(DataError, match="no activity"):
        judge(families, one, weights)


# Designs.


def planned(cohort, **options):
    options = {"rng": 0, "animals": [1, 2], "classifier": light(static=3)} | options
    return forecast_comparison(cohort, lrplan.Design(units=20), **options)


def test_a_design_is_forecast_in_comparisons(families):
    plan = planned(families)
    assert len(plan.pairs) == 6
    one = next(p for p in plan.pairs if (p.a, p.b) == ("feedback_alignment", "sgdm"))
    assert one.held_out[1].low > 0.5 and one.known.low > 0.5
    assert sorted(one.families[1]) == ["alexnet", "knet", "mlp", "resnet"]
    assert 2 not in one.held_out
    assert any("nothing is known of 2 animals a side" in w for w in plan.warnings)
    told = json.loads(json.dumps(plan.to_json(), allow_nan=False))
    assert told["schema"] == "lrplan.comparison-forecast/1"
    assert told["pairs"][0]["held_out_family"]["1"]["families"]
    frame = plan.to_dataframe()
    assert frame.loc[("feedback_alignment", "sgdm", "known", 1), "accuracy"] == one.known.mean
    assert "chance 50.0 %" in plan.summary() and "<table>" in plan._repr_html_()
    assert "held-out family" in repr(plan)


def test_more_animals_are_drawn_where_preparations_have_them(make_cohort, tmp_path):
    cohort = make_cohort(
        tmp_path / "c.zarr",
        effect=0.3,
        individual=0.5,
        per_rule=12,
        rules=("sgdm", "adam"),
        architectures=("mlp", "knet4"),
        tasks=("digits",),
    )
    [pair] = planned(cohort, animals=[1, 4]).pairs
    assert list(pair.held_out) == [1, 4]
    assert pair.held_out[4].mean >= pair.held_out[1].mean


def test_shuffled_labels_are_at_chance(families):
    means = [
        p.held_out[1].mean
        for seed in range(4)
        for p in planned(families, rng=seed, animals=[1], shuffle_labels=True).pairs
        if 1 in p.held_out
    ]
    assert np.mean(means) == pytest.approx(0.5, abs=0.1)


def test_one_family_alone_leaves_known_conditions(make_cohort, tmp_path):
    cohort = make_cohort(
        tmp_path / "c.zarr", effect=1.0, rules=("sgdm", "adam"), architectures=("mlp",)
    )
    plan = planned(cohort, animals=[1])
    assert plan.pairs[0].held_out == {} and plan.pairs[0].known is not None
    assert any("no family that could be held out" in w for w in plan.warnings)
    assert "no family held out" in repr(plan)


def test_numbers_that_some_families_cannot_give_have_no_mean(make_cohort, tmp_path):
    """Of two families of 12 and 6 organisms of a rule, one has more than 6."""
    cohort = make_cohort(
        tmp_path / "c.zarr",
        effect=1.0,
        per_rule=18,
        rules=("sgdm", "adam"),
        architectures=("mlp", "knet4", "mlp"),
        tasks=("digits",),
    )
    plan = planned(cohort, animals=[1, 6])
    [pair] = plan.pairs
    assert list(pair.held_out) == [1] and list(pair.families[6]) == ["mlp"]
    assert plan.to_json()["pairs"][0]["held_out_family"]["6"]["accuracy"] is None
    assert any("6 animals a side could be drawn in mlp alone" in w for w in plan.warnings)


def test_folds_of_known_conditions_take_as_many_of_each_rule(separable):
    """Else training would lack the rule that is tested, and guesses would be below chance."""
    made = observe_cohort(separable, lrplan.Design(units=9), rng=0)
    folds = deal_alike(made, np.random.default_rng(0))
    place = np.char.add(made.label("architecture"), made.label("task"))
    for where in np.unique(place):
        counts = [
            np.bincount(folds[(place == where) & (made.y == rule)], minlength=5)
            for rule in np.unique(made.y)
        ]
        assert all((c == counts[0]).all() for c in counts)
    for organism in np.unique(made.organisms):
        assert len(set(folds[made.organisms == organism])) == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"animals": []}, "animals is"),
        ({"animals": [0]}, "one of animals is 0"),
        ({"animals": "12"}, "animals is"),
        ({"between": ("sgd", "adam")}, "nearest: sgdm"),
        ({"tell": "area"}, "unknown label"),
    ],
)
def test_a_forecast_that_cannot_be_is_refused(families, options, said):
    with pytest.raises(UsageError, match=said):
        planned(families, **options)
