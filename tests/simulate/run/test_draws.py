"""Draws: what is drawn, what rules have in common, and what is said of a mistake."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest

import lrplan
from lrplan.cohort.conditions import conditions
from lrplan.errors import UsageError
from lrplan.simulate.run.distributions import Choice, Span
from lrplan.simulate.run.preflight import check_combinations
from lrplan.simulate.run.recipe import parse_recipe
from lrplan.simulate.run.simulate import simulate

RULES = ["sgdm", "adam", "feedback_alignment"]
WIDE = """
[[draw]]
count = 40
seed = 3
rule = ["sgdm", "adam", "feedback_alignment"]
architecture = ["mlp", "knet4"]
task = { values = ["digits", "digits_simclr"], weights = [3, 1] }
batch_size = { low = 16, high = 64 }

[draw.learning_rate]
sgdm = { low = 0.01, high = 1, scale = "log" }
adam = { knet4 = 1e-3, default = { low = 1e-4, high = 1e-2, scale = "log" } }
feedback_alignment = [0.1, 0.2, 0.4]

[draw.training]
epochs = { low = 2, high = 5 }
schedule = ["cosine", "constant"]

[draw.optimizers.sgdm]
momentum = { low = 0.5, high = 0.95 }
weight_decay = [0, 1e-4]

[draw.rules.adam]
weight_decay = { mlp = 1e-3 }

[draw.architectures.mlp]
width = { low = 8, high = 128, scale = "log" }
depth = [1, 2, 3]

[draw.architectures.knet4]
channels = [[4, 4], [8, 8, 8]]

[draw.tasks.digits_simclr]
temperature = { low = 0.1, high = 0.5 }

[training]
checkpoints = 3
[tasks.digits_simclr]
dimensions = 16
"""


def wide(**changes):
    text = WIDE
    for old, new in changes.values():
        assert old in text
        text = text.replace(old, new)
    return parse_recipe(text).specs


def draws(specs):
    """Return the organisms of each draw."""
    return [specs[i : i + len(RULES)] for i in range(0, len(specs), len(RULES))]


def test_a_number_lies_on_its_scale_between_its_ends():
    middle = (0.0, 0.5, 1 - 1e-12)
    assert [Span(1, 3).at(q) for q in middle] == [1, 2, 3]
    assert [Span(0.01, 100, "log").at(q) for q in middle] == [0.01, 1, 100]
    # To three digits, but never beyond the ends.
    assert [Span(0.12345, 0.98765).at(q) for q in middle] == [0.12345, 0.556, 0.98765]


@pytest.mark.parametrize("scale", ["linear", "log"])
def test_whole_numbers_include_both_ends(scale):
    found = [Span(1, 4, scale, whole=True).at(q) for q in np.linspace(0, 1, 4001)[:-1]]
    assert set(found) == {1, 2, 3, 4}
    assert {type(n) for n in found} == {int}
    assert found == sorted(found)
    shares = [Counter(found)[n] / len(found) for n in (1, 2, 3, 4)]
    edges = np.array([0.5, 1.5, 2.5, 3.5, 4.5])
    edges = np.log(edges) if scale == "log" else edges
    np.testing.assert_allclose(shares, np.diff(edges) / (edges[-1] - edges[0]), atol=1e-3)
    assert Span(7, 7, scale, whole=True).at(0.9) == 7


def test_a_choice_has_equal_chances_or_weights():
    quantiles = (np.arange(1000) + 0.5) / 1000
    assert Counter(Choice(("a", "b")).at(q) for q in quantiles) == {"a": 500, "b": 500}
    weighted = Choice(("a", "b", "c"), (3.0, 0.0, 1.0))
    assert Counter(weighted.at(q) for q in quantiles) == {"a": 750, "c": 250}


def test_each_draw_is_the_same_for_every_rule_but_for_what_is_the_rules_own():
    every = draws(wide())
    assert len(every) == 40
    for i, draw in enumerate(every):
        assert [s.rule for s in draw] == RULES
        assert {(s.model_seed, s.data_seed, s.checkpoints) for s in draw} == {(i, 3, 3)}
        common = {
            repr((s.architecture, s.task, s.batch_size, s.epochs))
            + repr([s.settings[k] for k in ("architecture", "task", "training")])
            for s in draw
        }
        assert len(common) == 1
        sgdm, adam, fa = draw
        assert sgdm.settings["rule"] == fa.settings["rule"]
        assert set(sgdm.settings["rule"]) == {"momentum", "weight_decay"}
        assert adam.settings["rule"] == (
            {"weight_decay": 1e-3} if adam.architecture == "mlp" else {}
        )


def test_rates_have_the_same_rank_in_every_rule():
    mlps = [draw for draw in draws(wide()) if draw[0].architecture == "mlp"]
    rates = np.array([[s.learning_rate for s in draw] for draw in mlps])
    # To three digits, of which the product may miss the last.
    np.testing.assert_allclose(rates[:, 1], rates[:, 0] * 1e-2, rtol=0.011)
    order = np.argsort(rates[:, 0])
    assert np.all(np.diff(rates[order, 2]) >= 0)
    assert {s.learning_rate for draw in draws(wide()) for s in draw if s.rule == RULES[2]} == {
        *(0.1, 0.2, 0.4)
    }
    knets = [draw[1].learning_rate for draw in draws(wide()) if draw[0].architecture == "knet4"]
    assert set(knets) == {1e-3}


def test_values_lie_where_they_may():
    specs = wide()
    assert {s.architecture for s in specs} == {"mlp", "knet4"}
    tasks = Counter(s.task for s in specs)
    assert tasks["digits"] > tasks["digits_simclr"] > 0
    assert all(16 <= s.batch_size <= 64 and type(s.batch_size) is int for s in specs)
    assert {s.epochs for s in specs} == {2, 3, 4, 5}
    assert {s.settings["training"]["schedule"] for s in specs} == {"cosine", "constant"}
    for s in specs:
        given = s.settings["architecture"]
        if s.architecture == "mlp":
            assert given["depth"] in (1, 2, 3)
            assert 8 <= given["width"] <= 128
        else:
            assert given["channels"] in ([4, 4], [8, 8, 8])
        if s.task == "digits_simclr":
            assert 0.1 <= s.settings["task"]["temperature"] <= 0.5
            assert s.settings["task"]["dimensions"] == 16
        else:
            assert s.settings["task"] == {}
        if s.rule == "sgdm":
            assert 0.5 <= s.settings["rule"]["momentum"] <= 0.95
        assert type(s).from_json(s.to_json()).hash == s.hash


def test_more_draws_contain_fewer():
    few = [s.hash for s in wide()]
    many = [s.hash for s in wide(count=("count = 40", "count = 50"))]
    assert many[: len(few)] == few
    assert len(set(many)) == 150


def test_another_seed_draws_others():
    one, other = wide(), wide(seed=("seed = 3", "seed = 4"))
    assert not {s.hash for s in one} & {s.hash for s in other}
    assert [s.batch_size for s in one] != [s.batch_size for s in other]


def test_what_is_drawn_for_one_setting_leaves_the_others():
    one, other = wide(), wide(momentum=("momentum = { low = 0.5, high = 0.95 }", "momentum = 0.3"))
    assert [s.learning_rate for s in one] == [s.learning_rate for s in other]
    assert [s.settings["architecture"] for s in one] == [s.settings["architecture"] for s in other]


def test_settings_for_all_stand_where_a_draw_says_nothing():
    specs = wide(
        all=(
            "[training]\ncheckpoints = 3",
            "[training]\ncheckpoints = 3\nstart = 'pretrained'\npretrain_epochs = 1\n"
            "[rules.sgdm]\nnesterov = false\nmomentum = 0.1\n[architectures.mlp]\nwidth = 5",
        )
    )
    assert {s.settings["training"]["pretrain_epochs"] for s in specs} == {1}
    for s in specs:
        if s.rule == "sgdm":
            assert s.settings["rule"]["nesterov"] is False
            assert s.settings["rule"]["momentum"] >= 0.5
        if s.architecture == "mlp":
            assert s.settings["architecture"]["width"] >= 8


def test_rates_are_scaled_with_the_batch_that_is_drawn():
    stated = wide()
    scaled = wide(batch=("batch_size =", "learning_rate_batch = 32\nbatch_size ="))
    for one, other in zip(stated, scaled, strict=True):
        assert other.learning_rate == one.learning_rate * one.batch_size / 32


def test_some_draws_may_start_pretrained():
    specs = wide(
        start=(
            'schedule = ["c',
            'start = ["random", "pretrained"]\npretrain_epochs = 1\nschedule = ["c',
        )
    )
    starts = Counter(s.settings["training"].get("pretrain_epochs") for s in specs)
    assert set(starts) == {1, None}


def test_settings_that_are_tables_may_hold_distributions():
    text = """
[draw]
count = 3
rule = "sgdm"
architecture = "knet4"
task = "simclr"
[draw.tasks.simclr]
views = { grey = { low = 0.1, high = 0.2 }, blur = 0 }
"""
    views = [s.settings["task"]["views"] for s in parse_recipe(text).specs]
    assert len({v["grey"] for v in views}) == 3
    assert all(0.1 <= v["grey"] <= 0.2 and v["blur"] == 0 for v in views)


def test_a_recipe_may_have_grids_and_draws():
    text = WIDE + '[[grid]]\nrule = "adam"\narchitecture = "knet5"\ntask = "digits"\n'
    specs = parse_recipe(text).specs
    assert [s.architecture for s in specs].count("knet5") == 1
    assert [s.hash for s in specs[1:]] == [s.hash for s in wide()]


def draw(line="", *, tail="", **given):
    table = {"count": "2", "rule": '"sgdm"', "architecture": '"mlp"', "task": '"digits"'} | given
    lines = [f"{key} = {value}" for key, value in table.items() if value is not None]
    return "\n".join(["[[draw]]", *lines, line, tail])


MISTAKES = {
    "low above high": (
        draw(learning_rate="{ low = 1, high = 0.1 }"),
        "learning_rate of sgdm: low is 1, above high, 0.1; exchange them",
    ),
    "log from 0": (
        draw(learning_rate='{ low = 0, high = 0.1, scale = "log" }'),
        "low is 0; expected a positive number on a logarithmic scale",
    ),
    "unknown scale": (
        draw(learning_rate='{ low = 1, high = 2, scale = "lin" }'),
        "unknown scale 'lin'; nearest: linear",
    ),
    "low alone": (draw(learning_rate="{ low = 1 }"), "high is missing; expected low and high"),
    "high alone": (draw(learning_rate="{ high = 1 }"), "low is missing; expected low and high"),
    "text for low": (draw(learning_rate='{ low = "1", high = 2 }'), "low is '1'; expected a num"),
    "infinite": (draw(learning_rate="{ low = 1, high = inf }"), "high is inf; expected a number"),
    "rates that are none": (
        draw(learning_rate="{ low = -1, high = 1 }"),
        "learning_rate -1.0 of sgdm; expected a positive number",
    ),
    "a leaf that is never reached": (
        draw(learning_rate="{ adam = { knet4 = { low = 2, high = 1 } } }"),
        "learning_rate of adam: low is 2, above high, 1",
    ),
    "key of a range": (draw(learning_rate="{ low = 1, high = 2, scal = 1 }"), "nearest: scale"),
    "count of 0": (draw(count="0"), "count is 0; expected a whole number of at least 1"),
    "half a count": (draw(count="1.5"), "count is 1.5; expected a whole number"),
    "no count": (draw(count=None), "count is missing; expected the number of draws"),
    "drawn count": (
        draw(count="{ low = 1, high = 2 }"),
        r"count is the distribution .*and nothing is drawn here",
    ),
    "seed": (draw(seed="-1"), "seed is -1; expected a whole number of at least 0"),
    "model seed": (draw(model_seed="[0, 1]"), "model_seed is given; a draw has none"),
    "empty list": (draw(architecture="[]"), "architecture is empty; expected values to draw from"),
    "empty values": (draw(task="{ values = [] }"), r"values is \[\]; expected a list"),
    "no architecture": (draw(architecture=None), "architecture is missing; expected a name"),
    "unknown architecture": (draw(architecture='["mlp", "mpl"]'), "unknown architecture 'mpl'"),
    "range of architectures": (
        draw(architecture="{ low = 1, high = 2 }"),
        "architecture has no numbers between low and high.*expected a list",
    ),
    "drawn rule": (
        draw(rule='{ values = ["sgdm", "adam"] }'),
        "rule is a distribution, but each draw is trained with every rule",
    ),
    "the same rule twice": (draw(rule='["sgdm", "sgdm"]'), "same organism twice"),
    "the same draw twice": (2 * draw(), r"same organism twice; .* give one \[\[draw\]\] another"),
    "weights of another length": (
        draw(task='{ values = ["digits", "tones"], weights = [1] }'),
        "1 weights for 2 values; expected a list of one weight for each",
    ),
    "a weight below 0": (
        draw(task='{ values = ["digits", "tones"], weights = [2, -1] }'),
        "a weight is -1; expected a number of at least 0",
    ),
    "weights of 0": (draw(task='{ values = ["digits"], weights = [0] }'), "all weights are 0"),
    "weights of no list": (
        draw(task='{ values = ["digits"], weights = 1 }'),
        "weights 1 for 1 values",
    ),
    "range and values": (draw(task='{ values = ["digits"], low = 1 }'), "unknown key 'low'"),
    "half a batch": (
        draw(batch_size="{ low = 16, high = 32.5 }"),
        "batch_size: high is 32.5; expected a whole number, as the setting is one",
    ),
    "batch of one": (draw(batch_size="{ low = 1, high = 4 }"), "batch_size is 1; .* least 2"),
    "half a layer": (
        draw(tail="[draw.architectures.mlp]\ndepth = { low = 1.5, high = 3 }"),
        r"\[architectures.mlp\]: depth: low is 1.5; expected a whole number",
    ),
    "half a layer in a list": (
        draw(tail="[draw.architectures.mlp]\ndepth = [1, 1.5]"),
        r"depth is 1.5; expected a whole number",
    ),
    "range of lists": (
        draw(tail="[draw.architectures.knet4]\nchannels = { low = 4, high = 8 }"),
        "channels has no numbers between low and high",
    ),
    "range of a switch": (
        draw(tail="[draw.optimizers.sgdm]\nnesterov = { low = 0, high = 1 }"),
        "nesterov has no numbers between low and high",
    ),
    "unknown setting": (draw(tail="[draw.architectures.mlp]\nwdth = [1]"), "nearest: width"),
    "unknown task": (draw(tail="[draw.tasks.digit]\nx = [1]"), "unknown task 'digit'"),
    "setting of a rule": (
        draw(tail="[draw.rules.sgdm]\nmomentm = { low = 0, high = 1 }"),
        "rule 'sgdm' has no setting 'momentm'; nearest: momentum",
    ),
    "setting of a rule that cannot be": (
        draw(tail="[draw.rules.information_alignment]\nrate = { low = 0.5, high = 1.5 }"),
        "rate is 1.5; expected a share above 0, at most 1",
    ),
    "optimizer": (draw(tail="[draw.optimizers.sgd]\nmomentum = 1"), "unknown optimizer 'sgd'"),
    "optimizer of no rule": (
        draw(tail="[draw.optimizers.adam]\nbeta1 = 0.8"),
        "none of the rules sgdm has the optimizer 'adam'",
    ),
    "setting of an optimizer": (
        draw(tail="[draw.optimizers.sgdm]\nbeta1 = 0.8"),
        "unknown key 'beta1'; known: ",
    ),
    "epochs": (draw(tail="[draw.training]\nepochs = [3, 0]"), "epochs is 0; expected a whole"),
    "schedule": (draw(tail='[draw.training]\nschedule = ["cosin"]'), "nearest: cosine"),
    "checkpoints": (draw(tail="[draw.training]\ncheckpoints = 3"), "unknown key 'checkpoints'"),
    "pretraining": (
        draw(tail="[draw.training]\npretrain_epochs = [3, 4]"),
        "pretrain_epochs is given; it needs start = 'pretrained'",
    ),
    "key": (draw(cout="3"), "unknown key 'cout'; nearest: count"),
    "no tables": ("draw = [3]", r"draw is \[3\]; expected tables, each headed \[\[draw\]\]"),
}
NOTHING_IS_DRAWN = {
    "grid": "[grid]\nrule = 'sgdm'\narchitecture = 'mlp'\ntask = 'digits'\n"
    "{key} = {{ low = 1, high = 2 }}",
    "training": draw(tail="[training]\n{key} = {{ low = 1, high = 2 }}"),
    "architectures": draw(tail="[architectures.mlp]\n{key} = {{ low = 1, high = 2 }}"),
    "rules": draw(tail="[rules.sgdm]\n{key} = {{ values = [0.1, 0.2] }}"),
    "storage": draw(tail="[storage]\n{key} = {{ low = 1, high = 2 }}"),
    "tasks": draw(tail="[tasks.digits_simclr]\n{key} = {{ low = 0.1, high = 0.2 }}"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_named(name):
    text, message = MISTAKES[name]
    with pytest.raises(UsageError) as raised:
        parse_recipe(text, origin="mine.toml")
    assert re.search(message, str(raised.value), re.DOTALL), raised.value
    assert str(raised.value).startswith(("mine.toml", "unknown"))


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ("grid", "learning_rate"),
        ("grid", "batch_size"),
        ("grid", "model_seed"),
        ("training", "epochs"),
        ("training", "schedule"),
        ("training", "start"),
        ("architectures", "width"),
        ("rules", "momentum"),
        ("storage", "units"),
        ("tasks", "temperature"),
    ],
)
def test_a_distribution_where_nothing_is_drawn_is_refused(table, key):
    text = NOTHING_IS_DRAWN[table].format(key=key)
    told = rf"{key}.* is the distribution .*nothing is drawn here; .*\[\[draw\]\]"
    with pytest.raises(UsageError, match=told):
        parse_recipe(text)


def test_a_draw_that_cannot_be_trained_is_named():
    text = draw(
        seed="3",
        architecture='"convnet"',
        tail="[draw.architectures.convnet]\nchannels = [[4, 4], [4, 4, 4, 4, 4, 4]]",
        count="8",
    )
    told = r"draw \d of seed 3, convnet \(channels = \[4, 4, 4, 4, 4, 4\]\) on digits, cannot be"
    with pytest.raises(UsageError, match=told):
        check_combinations(parse_recipe(text))


TRAINED = """
[draw]
count = 2
rule = ["adam", "information_alignment"]
architecture = "mlp"
task = "digits"
learning_rate = { low = 1e-3, high = 1e-2, scale = "log" }
[draw.rules.information_alignment]
amp = { low = 1e-3, high = 1e-2, scale = "log" }
momentum = { low = 0.5, high = 0.9 }
[draw.architectures.mlp]
depth = [1, 2]
[architectures.mlp]
width = 8
[training]
epochs = 1
checkpoints = 2
[storage]
units = 8
stimuli = 2
synapses = 8
pairs = 2
validation = 4
"""


def test_the_number_of_workers_changes_nothing(tmp_path, assert_same_cohort):
    made = parse_recipe(TRAINED)
    assert len({s.settings["architecture"]["depth"] for s in made.specs}) == 2
    for workers in (1, 2):
        simulate(made, tmp_path / f"{workers}.zarr", workers=workers, device="cpu")
    assert_same_cohort(tmp_path / "1.zarr", tmp_path / "2.zarr")
    # Labels and conditions of a cohort in which hardly two settings are equal.
    cohort = lrplan.open_cohort(tmp_path / "1.zarr", include_unlearned=True)
    assert list(cohort.organism_ids) == [s.hash for s in made.specs]
    assert len(cohort.settings) == 4
    populations = cohort.usable_populations()
    assert len(cohort.labels(populations)["setting"]) == len(populations)
    assert len(conditions(cohort, populations)["regularisation"]) == len(populations)
    assert cohort.summary()
