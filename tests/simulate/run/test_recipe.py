"""Recipes: what they spell out, and what they say of a mistake."""

from __future__ import annotations

import math
import re

import pytest

from lrplan.errors import DataError, UsageError
from lrplan.simulate.run.recipe import parse_recipe, read_recipe

GRID = {"rule": '"sgdm"', "architecture": '"mlp"', "task": '"digits"'}


def recipe(*, head="", tail="", **grid):
    lines = [f"{k} = {v}" for k, v in (GRID | grid).items() if v is not None]
    return "\n".join([head, "[grid]", *lines, tail])


def test_the_grid_is_spelled_out_once_each():
    text = recipe(
        rule='["sgdm", "adam", "feedback_alignment"]',
        architecture='["mlp", "knet4"]',
        task='["digits", "digits_simclr"]',
        batch_size="[32, 64]",
        learning_rate="[0.01, 0.02]",
        model_seed="[0, 1, 2]",
        data_seed="[5, 6]",
    )
    specs = parse_recipe(text).specs
    assert len(specs) == 3 * 2 * 2 * 2 * 2 * 3 * 2
    assert len({s.hash for s in specs}) == len(specs)
    assert {s.batch_size for s in specs} == {32, 64}
    assert {s.data_seed for s in specs} == {5, 6}


def test_the_hash_of_a_spec_survives_json():
    for spec in parse_recipe(recipe(model_seed="[0, 1]")).specs:
        assert type(spec).from_json(spec.to_json()).hash == spec.hash


def test_comments_and_order_of_keys_do_not_change_the_organisms():
    one = parse_recipe(recipe(model_seed="[1]", data_seed="[2]"))
    other = parse_recipe("# a note\n" + recipe(data_seed="[2]", model_seed="[1]"))
    assert [s.hash for s in one.specs] == [s.hash for s in other.specs]


def test_learning_rates_by_rule_and_by_architecture():
    tail = """
[grid.learning_rate]
sgdm = [0.1, 0.2]
feedback_alignment = { knet4 = 0.03, default = [0.04, 0.05] }
"""
    text = recipe(
        rule='["sgdm", "adam", "feedback_alignment"]', architecture='["mlp", "knet4"]', tail=tail
    )
    found: dict[tuple[str, str], list[float]] = {}
    for s in parse_recipe(text).specs:
        found.setdefault((s.rule, s.architecture), []).append(s.learning_rate)
    assert found == {
        ("sgdm", "mlp"): [0.1, 0.2],
        ("sgdm", "knet4"): [0.1, 0.2],
        ("adam", "mlp"): [1e-3],  # the rule's own
        ("adam", "knet4"): [1e-3],
        ("feedback_alignment", "mlp"): [0.04, 0.05],
        ("feedback_alignment", "knet4"): [0.03],
    }


def test_learning_rates_by_architecture_and_task_in_either_order():
    tail = """
[grid.learning_rate]
sgdm = { knet4 = { digits_simclr = 0.1, default = 0.2 }, default = 0.3 }
adam = { digits = { mlp = [0.4, 0.5], default = 0.6 }, default = 0.7 }
feedback_alignment = { mlp = 0.8 }
"""
    text = recipe(
        rule='["sgdm", "adam", "feedback_alignment"]',
        architecture='["mlp", "knet4"]',
        task='["digits", "digits_simclr"]',
        tail=tail,
    )
    found: dict[tuple[str, str, str], list[float]] = {}
    for s in parse_recipe(text).specs:
        found.setdefault((s.rule, s.architecture, s.task), []).append(s.learning_rate)
    assert found == {
        ("sgdm", "mlp", "digits"): [0.3],
        ("sgdm", "mlp", "digits_simclr"): [0.3],
        ("sgdm", "knet4", "digits"): [0.2],
        ("sgdm", "knet4", "digits_simclr"): [0.1],
        ("adam", "mlp", "digits"): [0.4, 0.5],
        ("adam", "mlp", "digits_simclr"): [0.7],
        ("adam", "knet4", "digits"): [0.6],
        ("adam", "knet4", "digits_simclr"): [0.7],
        ("feedback_alignment", "mlp", "digits"): [0.8],
        ("feedback_alignment", "mlp", "digits_simclr"): [0.8],
        ("feedback_alignment", "knet4", "digits"): [0.05],  # the rule's own
        ("feedback_alignment", "knet4", "digits_simclr"): [0.05],
    }


def test_learning_rates_are_scaled_with_the_batch():
    text = recipe(batch_size="[32, 64, 256]", learning_rate="[0.1, 0.2]", learning_rate_batch="64")
    found = [(s.batch_size, s.learning_rate) for s in parse_recipe(text).specs]
    assert found == [(32, 0.05), (32, 0.1), (64, 0.1), (64, 0.2), (256, 0.4), (256, 0.8)]


def test_several_grids_are_a_union():
    grids = """
[[grid]]
rule = "sgdm"
architecture = ["mlp", "knet4"]
task = "digits"
learning_rate = 0.1
[[grid]]
rule = "adam"
architecture = "knet5"
task = "digits_simclr"
[grid.learning_rate]
adam = 0.3
[grid.training]
epochs = 7
schedule = "constant"
[training]
epochs = 5
checkpoints = 3
"""
    found = [
        (s.rule, s.architecture, s.task, s.learning_rate, s.epochs, s.settings["training"])
        for s in parse_recipe(grids).specs
    ]
    assert found == [
        ("sgdm", "mlp", "digits", 0.1, 5, {"schedule": "cosine"}),
        ("sgdm", "knet4", "digits", 0.1, 5, {"schedule": "cosine"}),
        ("adam", "knet5", "digits_simclr", 0.3, 7, {"schedule": "constant"}),
    ]


def test_one_grid_of_a_union_is_that_grid():
    one, many = (
        recipe(model_seed="[0, 1]").replace("[grid]", head) for head in ("[grid]", "[[grid]]")
    )
    assert parse_recipe(one).specs == parse_recipe(many).specs


def test_the_start_is_written_down_only_where_it_is_not_random():
    def training(text):
        [spec] = parse_recipe(recipe(tail=f"[training]\n{text}")).specs
        return spec.settings["training"]

    assert training("") == training('start = "random"') == {"schedule": "cosine"}
    assert training('start = "pretrained"\npretrain_epochs = 3\nepochs = 9') == {
        "schedule": "cosine",
        "start": "pretrained",
        "pretrain_epochs": 3,
    }
    assert training('start = "pretrained"\nepochs = 9')["pretrain_epochs"] == 9


def test_settings_reach_only_the_organisms_they_name():
    tail = "[rules.sgdm]\nmomentum = 0.5\n[architectures.knet4]\nchannels = [4, 4]"
    text = recipe(rule='["sgdm", "adam"]', architecture='["mlp", "knet4"]', tail=tail)
    for s in parse_recipe(text).specs:
        assert s.settings["rule"] == ({"momentum": 0.5} if s.rule == "sgdm" else {})
        assert s.settings["architecture"] == (
            {"channels": [4, 4]} if s.architecture == "knet4" else {}
        )


MISTAKES = {
    "rule": (recipe(rule='"sgmd"'), "unknown rule 'sgmd'; nearest: sgdm"),
    "rule of the wrong type": (recipe(rule="[3]"), "unknown rule 3; known: adam"),
    "nested rule": (recipe(rule='[["sgdm"]]'), "unknown rule"),
    "architecture": (recipe(architecture='"knet_4"'), "unknown architecture.*nearest: knet4"),
    "task": (recipe(task='"digit"'), "unknown task 'digit'; nearest: digits"),
    "no rule": (recipe(rule=None), "rule is missing"),
    "empty rule": (recipe(rule="[]"), "rule is empty"),
    "key of the grid": (recipe(modelseed="[0]"), "unknown key 'modelseed'; nearest: model_seed"),
    "key at the top": (recipe(head="nme = 'x'"), "unknown key 'nme'; nearest: name"),
    "name": (recipe(head="name = 3"), "name is 3; expected a word"),
    "grid": ("grid = 3", "grid is 3; expected a table"),
    "training key": (recipe(tail="[training]\nepoch = 3"), "unknown key 'epoch'; nearest: epochs"),
    "schedule": (recipe(tail='[training]\nschedule = "cosin"'), "nearest: cosine"),
    "schedule of the wrong type": (recipe(tail="[training]\nschedule = [1]"), "unknown schedule"),
    "epochs": (recipe(tail="[training]\nepochs = 0"), "epochs is 0; expected a whole number"),
    "half an epoch": (recipe(tail="[training]\nepochs = 1.5"), "epochs is 1.5"),
    "checkpoints": (recipe(tail="[training]\ncheckpoints = 1"), "checkpoints is 1; .* least 2"),
    "batch size": (recipe(batch_size="[1]"), "batch_size is 1; .* least 2"),
    "batch size true": (recipe(batch_size="true"), "batch_size is True"),
    "batch size text": (recipe(batch_size='"64"'), "batch_size is '64'"),
    "model seed": (recipe(model_seed="[-1]"), "model_seed is -1"),
    "model seed too large": (recipe(model_seed=f"[{2**63}]"), "model_seed is 9223372036854775808"),
    "data seed": (recipe(data_seed="[0.5]"), "data_seed is 0.5"),
    "the same seed twice": (recipe(model_seed="[1, 1]"), "same organism twice"),
    "learning rate 0": (recipe(learning_rate="[0.0]"), "learning_rate 0.0 of sgdm"),
    "learning rate negative": (recipe(learning_rate="-0.1"), "learning_rate -0.1 of sgdm"),
    "learning rate nan": (recipe(learning_rate="nan"), "learning_rate nan of sgdm"),
    "learning rate inf": (recipe(learning_rate="inf"), "learning_rate inf of sgdm"),
    "learning rate text": (recipe(learning_rate='["fast"]'), "learning_rate 'fast' of sgdm"),
    "no learning rate": (recipe(learning_rate="[]"), "learning_rate of sgdm is empty"),
    "learning rate of an unknown rule": (
        recipe(tail="[grid.learning_rate]\nadm = 0.1"),
        "unknown rule 'adm'; nearest: adam",
    ),
    "learning rate of an unknown architecture": (
        recipe(tail="[grid.learning_rate.sgdm]\nmpl = 0.1"),
        "learning_rate of sgdm: unknown architecture or task 'mpl'; nearest: mlp",
    ),
    "learning rate of an unknown task": (
        recipe(tail="[grid.learning_rate.sgdm]\ndigits = 0.1\ndigit = 0.1"),
        "unknown task 'digit'; nearest: digits",
    ),
    "learning rate three tables deep": (
        recipe(tail="[grid.learning_rate.sgdm.mlp.digits]\nmlp = 0.1"),
        "is a table within two tables",
    ),
    "batch of the learning rate": (
        recipe(learning_rate_batch="0"),
        "learning_rate_batch is 0; expected a whole number of at least 1",
    ),
    "start": (recipe(tail='[training]\nstart = "trained"'), "unknown start.*nearest: pretrained"),
    "start of the wrong type": (recipe(tail="[training]\nstart = [1]"), "unknown start"),
    "no pretraining": (
        recipe(tail='[training]\nstart = "pretrained"\npretrain_epochs = 0'),
        "pretrain_epochs is 0",
    ),
    "pretraining from random weights": (
        recipe(tail="[training]\npretrain_epochs = 3"),
        "pretrain_epochs is given; it needs start = 'pretrained'",
    ),
    "key of the second grid": (
        recipe().replace("[grid]", "[[grid]]") + "\n[[grid]]\nrul = 'sgdm'",
        r"\[\[grid\]\] 2: unknown key 'rul'; nearest: rule",
    ),
    "rule of the second grid": (
        recipe().replace("[grid]", "[[grid]]") + "\n[[grid]]\ntask = 'digits'",
        r"\[\[grid\]\] 2: rule is missing",
    ),
    "the same organism in two grids": (
        2 * recipe().replace("[grid]", "[[grid]]"),
        "same organism twice",
    ),
    "grids that are no tables": ("grid = [3]", "expected tables, each headed"),
    "no grids": ("grid = []", "expected tables, each headed"),
    "checkpoints of one grid": (
        recipe(tail="[grid.training]\ncheckpoints = 3"),
        r"\[training\]: unknown key 'checkpoints'",
    ),
    "local response normalisation of a ResNet": (
        recipe(architecture='"resnet18"', tail="[architectures.resnet18]\nlocal_norm = true"),
        r"\[architectures.resnet18\]: unknown key 'local_norm'; known: .*stem, width",
    ),
    "settings that moved into a table": (
        recipe(task='"simclr"', tail="[tasks.simclr]\ngrey = 0.1\nblur = 0\nsmallest_crop = 0.3"),
        r"\[tasks.simclr\]: grey and blur and smallest_crop moved into the table views; write "
        r"views = { grey = 0.1, blur = 0, smallest_crop = 0.3 }",
    ),
    "settings of an unknown rule": (recipe(tail="[rules.sgd]\nmomentum = 1"), "nearest: sgdm"),
    "unknown setting of a rule": (
        recipe(tail="[rules.sgdm]\nmomentm = 0.9"),
        "rule 'sgdm' has no setting 'momentm'; nearest: momentum",
    ),
    "text for a number": (recipe(tail='[rules.sgdm]\nmomentum = "0.9"'), "expected a number"),
    "list for a number": (recipe(tail="[rules.sgdm]\nmomentum = [0.9]"), "expected a number"),
    "nan for a number": (recipe(tail="[rules.sgdm]\nmomentum = nan"), "expected a number"),
    "number for a switch": (recipe(tail="[rules.sgdm]\nnesterov = 1"), "expected true or false"),
    "switch for a number": (recipe(tail="[rules.sgdm]\nmomentum = true"), "expected a number"),
    "rule settings that are no table": (recipe(tail="[rules]\nsgdm = 3"), "expected a table"),
    "rules that are no table": (recipe(head="rules = 3"), "rules is 3; expected a table"),
    "architecture settings that are no table": (
        recipe(tail="[architectures]\nmlp = 3"),
        "expected a table",
    ),
    "setting of an architecture": (recipe(tail="[architectures.mlp]\nwdth = 3"), "nearest: width"),
    "setting of a task": (recipe(tail="[tasks.digits_simclr]\ntemp = 3"), "nearest: temperature"),
    "text for a width": (
        recipe(tail='[architectures.mlp]\nwidth = "wide"'),
        "width is 'wide'; expected a whole number",
    ),
    "number for channels": (recipe(tail="[architectures.knet4]\nchannels = 3"), "a list such as"),
    "text among channels": (
        recipe(tail='[architectures.knet4]\nchannels = [3, "4"]'),
        "channels is '4'; expected a whole number",
    ),
    "text for a temperature": (
        recipe(tail='[tasks.digits_simclr]\ntemperature = "hot"'),
        "temperature is 'hot'; expected a number",
    ),
    "storage key": (recipe(tail="[storage]\nunit = 3"), "unknown key 'unit'; nearest: units"),
    "storage units": (recipe(tail="[storage]\nunits = 0"), "units is 0"),
    "storage bits": (
        recipe(tail="[storage]\nbits = 12"),
        "bits is 12; expected 4, 5, 6, 7, 8 or 16",
    ),
    "storage populations": (recipe(tail='[storage]\npopulations = "some"'), "'positions' or 'all'"),
    "more pair stimuli than stimuli": (
        recipe(tail="[storage]\nstimuli = 2\npair_stimuli = 3"),
        "pair_stimuli is 3; .* 2 stimuli",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_named(name):
    text, message = MISTAKES[name]
    with pytest.raises(UsageError) as raised:
        parse_recipe(text, origin="mine.toml")
    assert re.search(message, str(raised.value)), raised.value


def test_pairs_are_of_the_stored_stimuli():
    assert parse_recipe(recipe(tail="[storage]\nstimuli = 2")).storage.pair_stimuli == 2
    assert parse_recipe(recipe(tail="[storage]\nstimuli = 9")).storage.pair_stimuli == 4


def test_what_is_not_a_recipe_is_named(tmp_path):
    with pytest.raises(DataError, match="no recipe at .*none.toml"):
        read_recipe(tmp_path / "none.toml")
    with pytest.raises(DataError, match="cannot be read"):
        read_recipe(tmp_path)
    (tmp_path / "broken.toml").write_text("[grid\n")
    with pytest.raises(DataError, match="broken.toml is not valid TOML"):
        read_recipe(tmp_path / "broken.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="cannot be read as text"):
        read_recipe(tmp_path / "binary.toml")
    (tmp_path / "empty.toml").write_text("")
    with pytest.raises(UsageError, match="rule is missing"):
        read_recipe(tmp_path / "empty.toml")


def test_the_starter_recipe_is_the_grid_that_the_package_promises():
    from pathlib import Path

    path = Path(__file__).parents[3] / "recipes" / "starter.toml"
    made = read_recipe(path)
    groups: dict[tuple[str, str, str], set[tuple[float, int, int]]] = {}
    for s in made.specs:
        key = (s.rule, s.architecture, s.task)
        groups.setdefault(key, set()).add((s.learning_rate, s.model_seed, s.data_seed))
    assert len(made.specs) >= 192
    assert len({rule for rule, _, _ in groups}) == 4
    assert len({architecture for _, architecture, _ in groups}) >= 3
    assert len({task for _, _, task in groups}) == 2
    assert len(groups) == math.prod(len(set(column)) for column in zip(*groups, strict=True))
    for settings in groups.values():
        assert len({rate for rate, _, _ in settings}) >= 2
        assert len({seeds for _, *seeds in map(list, settings) for seeds in [tuple(seeds)]}) >= 4
    assert {s.checkpoints for s in made.specs} == {21}
    assert made.storage.units >= 512
    assert made.storage.stimuli >= 8


PAPER = {
    "rule": dict.fromkeys(["adam", "feedback_alignment", "information_alignment", "sgdm"], 264),
    "architecture": dict.fromkeys(
        ["resnet18", "resnet18v2", "resnet34", "resnet34v2", "alexnet", "alexnet_lrn"], 144
    )
    | dict.fromkeys(["knet4", "knet4_lrn", "knet5", "knet5_lrn"], 48),
    "model_seed": {0: 528, 1: 528},
    "data_seed": {0: 528, 1: 528},
    "checkpoints": {21: 1056},
}


@pytest.mark.parametrize(
    ("name", "tasks", "batches"),
    [
        ("nayebi2020", ["imagenet", "simclr", "wsn", "cifar10"], [128, 256, 512]),
        ("nayebi2020-small", ["shapes", "simclr", "tones", "digits"], [64, 128, 256]),
    ],
)
def test_the_recipes_of_the_paper_have_its_organisms(name, tasks, batches):
    """4 rules x (6 architectures x 3 tasks + 4 architectures x 1) x 12 settings."""
    from collections import Counter
    from pathlib import Path

    made = read_recipe(Path(__file__).parents[3] / "recipes" / f"{name}.toml")
    expected = PAPER | {
        "task": dict.fromkeys(tasks[:3], 288) | {tasks[3]: 192},
        "batch_size": dict.fromkeys(batches, 352),
    }
    for factor, counts in expected.items():
        assert Counter(getattr(s, factor) for s in made.specs) == counts, factor
    knets = {s.architecture for s in made.specs if s.task == tasks[3]}
    assert knets == {a for a in PAPER["architecture"] if str(a).startswith("knet")}
    cells = Counter((s.rule, s.architecture, s.task) for s in made.specs)
    assert len(cells) == 4 * (6 * 3 + 4)
    assert set(cells.values()) == {12}
    rates: dict[tuple[str, str, str], set[float]] = {}
    for s in made.specs:
        rate = s.learning_rate / s.batch_size
        rates.setdefault((s.rule, s.architecture, s.task), set()).add(round(rate, 12))
    assert all(len(each) == 1 for each in rates.values())
    assert {s.settings["task"].get("over") for s in made.specs if s.task == "simclr"} == {tasks[0]}


def test_the_starter_recipe_still_has_the_organisms_that_were_trained():
    from pathlib import Path

    import lrplan

    made = read_recipe(Path(__file__).parents[3] / "recipes" / "starter.toml")
    assert [s.hash for s in made.specs] == list(lrplan.open_cohort("starter").organism_ids)


def rule_settings(text):
    """Return the settings of each rule, architecture and task of a recipe."""
    return {(s.rule, s.architecture, s.task): s.settings["rule"] for s in parse_recipe(text).specs}


def test_settings_of_rules_by_architecture_and_task():
    text = recipe(
        rule='["sgdm", "information_alignment"]',
        architecture='["mlp", "knet4"]',
        task='["digits", "digits_simclr"]',
        tail="""
[rules.information_alignment]
amp = 1e-2
rate = { knet4 = { digits = 0.1, default = 0.2 }, default = 0.3 }
null = { digits_simclr = 1e-4 }
""",
    )
    rule = "information_alignment"
    assert rule_settings(text) == {
        ("sgdm", "mlp", "digits"): {},
        ("sgdm", "mlp", "digits_simclr"): {},
        ("sgdm", "knet4", "digits"): {},
        ("sgdm", "knet4", "digits_simclr"): {},
        (rule, "mlp", "digits"): {"amp": 1e-2, "rate": 0.3},
        (rule, "mlp", "digits_simclr"): {"amp": 1e-2, "rate": 0.3, "null": 1e-4},
        (rule, "knet4", "digits"): {"amp": 1e-2, "rate": 0.1},
        (rule, "knet4", "digits_simclr"): {"amp": 1e-2, "rate": 0.2, "null": 1e-4},
    }


def test_settings_of_rules_below_a_grid_go_before_those_of_all():
    text = """
[[grid]]
rule = "sgdm"
architecture = "mlp"
task = "digits"
[grid.rules.sgdm]
momentum = { mlp = 0.5 }
[[grid]]
rule = "sgdm"
architecture = ["mlp", "knet4"]
task = "digits_simclr"
[grid.rules.sgdm]
momentum = { knet4 = 0.6 }
[rules.sgdm]
momentum = 0.8
nesterov = false
"""
    assert rule_settings(text) == {
        ("sgdm", "mlp", "digits"): {"momentum": 0.5, "nesterov": False},
        ("sgdm", "mlp", "digits_simclr"): {"momentum": 0.8, "nesterov": False},
        ("sgdm", "knet4", "digits_simclr"): {"momentum": 0.6, "nesterov": False},
    }


@pytest.mark.parametrize("where", ["rules", "grid.rules"])
@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("momentum = { mpl = 0.5 }", "unknown architecture or task 'mpl'; nearest: mlp"),
        ("momentum = { mlp = 'much' }", "momentum is 'much'; expected a number"),
        ("momentum = { mlp = { digit = 0.5 } }", "unknown task 'digit'; nearest: digits"),
        ("momentum = { mlp = { digits = { mlp = 1 } } }", "is a table within two tables"),
        ("momentumm = { mlp = 0.5 }", "no setting 'momentumm'; nearest: momentum"),
        ("nesterov = { mlp = 1 }", "expected true or false"),
    ],
)
def test_settings_of_rules_that_cannot_be_are_refused(where, line, told):
    text = recipe(tail=f"[{where}.sgdm]\n{line}")
    with pytest.raises(UsageError, match=re.escape(told)):
        parse_recipe(text)


def test_a_cell_states_the_rates_at_their_batch_size():
    text = recipe(
        architecture='["mlp", "knet4"]',
        batch_size="[32, 128]",
        learning_rate="{ sgdm = { knet4 = [0.1, 0.2], default = 0.3 } }",
        learning_rate_batch="64",
        model_seed="[3, 4]",
    )
    found = [
        (c.grid, c.spec.architecture, c.spec.batch_size, c.rates) for c in parse_recipe(text).cells
    ]
    assert found == [(0, "mlp", 64, (0.3,)), (0, "knet4", 64, (0.1, 0.2))]
    [cell] = parse_recipe(recipe(batch_size="[32, 128]")).cells
    assert (cell.spec.batch_size, cell.rates) == (32, (0.05,))


def test_the_contrastive_recipe_of_the_document_is_the_one_in_the_repository():
    from pathlib import Path

    root = Path(__file__).parents[3]
    section = (root / "docs" / "tasks.md").read_text().split("`recipes/simclr-shapes.toml`", 1)[1]
    shown = parse_recipe(section.split("```toml\n", 1)[1].split("```", 1)[0])
    made = read_recipe(root / "recipes" / "simclr-shapes.toml")
    assert shown.specs == made.specs
    assert [spec.rule for spec in made.specs] == ["sgdm", "sgdm", "adam", "adam"]
    assert all(spec.settings["task"] == {"over": "shapes"} for spec in made.specs)
