"""Every analysis finds what is there, nothing where labels are shuffled, and says what it lacks."""

from __future__ import annotations

import json
from dataclasses import replace

import matplotlib
import numpy as np
import pytest

from lrplan import open_cohort
from lrplan.analyses import Analysis, Result, analyse, analyses
from lrplan.errors import DataError, UsageError

matplotlib.use("Agg")
OPTIONS = {
    "separation": {"split": ["organism", "layer"]},
    "importance": {"permutations": 2},
    "units_noise": {"units": [5, 20], "noise": [0, 1]},
    "subsampling": {"samples": [2, 3], "period": [1, 2]},
    "equal_performance": {"tolerance": 0.05},
}
NAMES = (
    *("clustering", "confusion", "credit", "equal_performance", "held_out", "importance"),
    *("objective", "optimizer", "pairs", "pretrained", "separation", "subsampling", "thirds"),
    *("time_average", "units_noise"),
)


@pytest.fixture(scope="session")
def made(make_cohort, tmp_path_factory):
    """A separable cohort that has everything that any analysis needs."""
    path = tmp_path_factory.mktemp("analyses") / "made.zarr"
    return make_cohort(path, effect=1.0, checkpoints=6, starts=("random", "pretrained"))


def ask(name, cohort, seed=0, **options) -> Result:
    analysis = analyses.get(name)
    options = OPTIONS.get(name, {}) | options
    if "classifier" in analysis.options:
        options.setdefault("classifier", "light")
    if "splits" in analysis.options:
        options.setdefault("splits", 8)
    return analyse(name, cohort, rng=np.random.default_rng(seed), **options)


def test_these_analyses_are_registered():
    assert tuple(analyses.names()) == NAMES
    for name, analysis in analyses.items():
        assert isinstance(analysis, Analysis)
        assert analysis.name == name
        assert analysis.summary and analysis.cites and analysis.needs
        assert "shuffle_labels" in analysis.options


@pytest.mark.parametrize("name", NAMES)
def test_a_result_is_labelled_tabulated_drawn_and_strict_json(name, made):
    result = ask(name, made)
    columns, rows = result.table()
    assert rows and all(len(row) == len(columns) for row in rows)
    data = result.dataset
    main = data[result.main]
    assert all(d in data.coords for d in main.dims)
    found = np.isfinite(main.values)
    assert found.any()
    assert {"low", "high", "chance"} <= set(data.data_vars)
    low, high = (np.broadcast_to(data[v].values, main.shape)[found] for v in ("low", "high"))
    assert (low <= high).all()
    told = json.loads(json.dumps(result.to_json(), default=str))
    assert told["schema"] == "lrplan.analysis/1"
    assert told["analysis"] == name
    ax = result.plot()
    assert ax.figure.get_size_inches()[0] == pytest.approx(3.5)
    import matplotlib.pyplot as plt

    plt.close("all")


def test_a_result_is_shown_in_short_as_text_and_as_a_dataframe(made):
    result = ask("pairs", made, measure="activity", rules=["adam", "sgdm"])
    assert repr(result) == "<Result pairs of the cohort made: accuracy (measure 1, a 2, b 2)>"
    columns, rows = result.table()
    frame = result.to_dataframe()
    assert list(frame.columns) == columns
    assert frame.values.tolist() == rows
    [[_, _, _, mean, low, high, *_]] = rows
    assert f"{mean:.3f} [{low:.3f}, {high:.3f}]" in result.summary()
    assert result.summary().startswith("pairs of the cohort made: measure activity")
    assert f">{mean:.3f} [{low:.3f}, {high:.3f}]</td>" in result._repr_html_()


@pytest.mark.parametrize("observables", ["paper", "all"])
def test_another_observable_changes_no_importance(made, monkeypatch, observables):
    from lrplan.measure.observables import families

    options = {"splits": 4, "observables": observables}
    before = ask("importance", made, **options).dataset
    monkeypatch.setattr(families, "_entries", dict(families._entries))
    act = families.get("act")
    new = replace(act.observables[0], name="act_new")
    families.add("act2", replace(act, name="act2", observables=(new,)))
    assert ask("importance", made, **options).dataset.identical(before)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_result(name, made, monkeypatch):
    first = ask(name, made, seed=3)
    monkeypatch.setattr("lrplan.analyses._fits.threads", lambda: 3)
    assert ask(name, made, seed=3).dataset.identical(first.dataset)


WITH_ACCURACY = [n for n in NAMES if n not in ("clustering", "confusion", "importance")]


@pytest.mark.parametrize("name", WITH_ACCURACY)
def test_what_separates_is_separated(name, made):
    data = ask(name, made).dataset
    if name == "objective":  # the made organisms differ by rule alone
        assert (data["low"] < 0.5).all()
        return
    accuracy = data["accuracy"]
    if name == "equal_performance":
        accuracy = accuracy.drop_sel(measure="performance")
    if name == "thirds":  # a gain of one third is another's
        accuracy = accuracy.sel(trained="middle", tested="middle")
    assert float(accuracy.mean()) > float(data["chance"].mean()) + 0.25


@pytest.mark.parametrize("name", NAMES)
def test_shuffled_labels_are_at_chance(name, made):
    """Over six shufflings: one alone may lie off chance, as any draw of 48 organisms may."""
    found = []
    for seed in range(6):
        result = ask(name, made, seed=seed, shuffle_labels=True, measure=_one(name))
        data = result.dataset
        figure = data["rand"] if name == "clustering" else data["accuracy"]
        if "split" in figure.dims:
            # Recognising the organism is enough where its layers stand on both sides.
            figure = figure.sel(split="organism")
        if name == "clustering":
            figure = figure.sel(label="rule")
        # The chance of importance is that of an importance: 0.
        chance = data["accuracy_chance" if name == "importance" else "chance"]
        found.append(float((figure - chance).mean()))
    error = np.std(found, ddof=1) / np.sqrt(len(found))
    assert abs(np.mean(found)) < max(3 * error, 0.03)
    assert abs(np.mean(found)) < 0.1


def _one(name):
    return "all" if name == "importance" else ["activity"]


def test_layers_of_one_organism_leak_where_the_split_lets_them(make_cohort, tmp_path, monkeypatch):
    """Without any rule: organisms can be known again, and only the layer-wise split shows it."""

    def mark(data):
        _, index = np.unique(data.organisms, return_inverse=True)
        marks = np.random.default_rng(0).standard_normal((index.max() + 1, len(data.observables)))
        data.values[...] += 5 * marks[index][:, None]

    cohort = make_cohort(tmp_path / "c.zarr", effect=0.0)
    change_values(monkeypatch, mark)
    options = {"split": ["organism", "layer"], "measure": "activity"}
    found = ask("separation", cohort, classifier="nearest", **options)
    by = found.dataset["accuracy"].squeeze().to_series()
    assert by["layer"] > 0.6 > 0.4 > by["organism"]
    assert any("layer" in w for w in found.warnings)
    shuffled = ask("separation", cohort, classifier="nearest", shuffle_labels=True, **options)
    by = shuffled.dataset["accuracy"].squeeze().to_series()
    assert by["layer"] > 0.6 > 0.4 > by["organism"]


def change_values(monkeypatch, change):
    from lrplan.analyses import _study

    load = _study._load

    def changed(*args, **options):
        data, warnings = load(*args, **options)
        change(data)
        return data, warnings

    monkeypatch.setattr(_study, "_load", changed)


def test_held_out_cost_is_paired_with_as_many_random_organisms(made):
    result = ask("held_out", made, condition=["task"])
    data = result.dataset
    np.testing.assert_allclose(data["cost"], data["known"] - data["accuracy"])
    assert list(data["case"].values) == ["task: digits", "task: digits_simclr"]
    assert (data["case_condition"] == "task").all()


def test_families_are_held_out_first_where_there_are_several(made):
    data = ask("held_out", made).dataset
    assert data["condition"].values[0] == "family"
    cases = data["case"].values[data["case_condition"].values == "family"]
    assert cases.tolist() == ["family: knet", "family: mlp"]


def test_many_values_of_a_condition_are_held_out_in_ten_groups(made):
    assert ask("held_out", made, condition=["curriculum"]).dataset.sizes["case"] == 10


def test_performance_tells_nothing_where_it_is_matched(make_cohort, tmp_path):
    """Over several splits: of 48 organisms one set of splits may stray."""
    cohort = make_cohort(tmp_path / "c.zarr", effect=1.0)
    means = []
    for seed in range(4):
        found = ask("equal_performance", cohort, seed=seed, measure="activity").dataset
        means.append(float(found["accuracy"].sel(measure="performance", match="lowest")))
    assert abs(np.mean(means) - 0.25) < 0.12


def test_equals_are_tested_together_so_that_chance_is_chance(make_cohort, tmp_path):
    # With a partner of each other rule in training, performance would be right far less often.
    cohort = make_cohort(tmp_path / "c.zarr", effect=0.0, per_rule=48)
    found = ask("equal_performance", cohort, match=["organisms"], tolerance=0.1).dataset
    matched = found.sel(measure="performance", match="organisms")
    assert float(matched["low"]) <= 0.25 <= float(matched["high"])


def test_matched_sets_hold_one_organism_of_each_kind():
    from lrplan.analyses.equal_performance import _sets

    final = np.array([0.90, 0.50, 0.91, 0.70, 0.52])
    sets = _sets(final, np.array(list("aabbb")), np.array(["a", "b"]), 0.03)
    assert sorted(map(sorted, sets)) == [[0, 2], [1, 4]]
    assert not len(_sets(final, np.array(list("aabbb")), np.array(["a", "b"]), 0.005))


def test_importance_finds_the_one_observable_that_differs(make_cohort, tmp_path, monkeypatch):
    def differ(data):
        place = data.observables.index("act_raw_norm")
        data.values[:, :, place] += np.unique(data.y, return_inverse=True)[1][:, None]

    change_values(monkeypatch, differ)
    made = make_cohort(tmp_path / "c.zarr", effect=0.0, checkpoints=3)
    options = {"measure": "activity", "classifier": "random_forest", "splits": 2}
    found = ask("importance", made, **options).dataset
    for by in ("importance", "gini"):
        assert str(found["observable"].values[np.argmax(found[by].values)]) == "act_raw_norm"
    first = found.sel(observable="act_raw_norm")
    assert float(first["low"]) > 0
    assert float(found["gini"].sum()) == pytest.approx(1)


def test_adjusted_rand_is_that_of_scikit_learn():
    from sklearn.metrics import adjusted_rand_score
    from sklearn.metrics.cluster import contingency_matrix

    from lrplan.analyses.clustering import adjusted_rand

    rng = np.random.default_rng(0)
    a, b = rng.integers(3, size=50), rng.integers(4, size=50)
    table = contingency_matrix(a, b).astype(float)
    assert adjusted_rand(table) == pytest.approx(adjusted_rand_score(a, b))
    # A recording drawn twice agrees with itself no more than one drawn once.
    assert adjusted_rand(2 * table, 4 * table) == pytest.approx(
        adjusted_rand_score(a, b), abs=1e-12
    )


def test_clusters_are_the_rules_where_nothing_else_differs(made):
    found = ask("clustering", made).dataset["rand"].sel(measure="activity")
    assert float(found.sel(label="rule")) > 0.9
    assert abs(float(found.sel(label="task"))) < 0.1


def test_samples_that_do_not_fit_are_left_empty(made):
    found = ask("subsampling", made, samples=[2, 4], period=[1, 5]).dataset["accuracy"]
    assert np.isnan(found.sel(samples=4, period=5)).all()
    assert np.isfinite(found.sel(samples=2, period=5)).all()


def test_only_the_rules_asked_for_are_told(made):
    found = ask("confusion", made, rules=["adam", "sgdm"])
    assert list(found.dataset["true"].values) == ["adam", "sgdm"]
    assert float(found.dataset["chance"]) == 0.5


def test_the_paper_was_left_with_24_observables():
    from lrplan.analyses._study import PAPER_OBSERVABLES
    from lrplan.measure.observables import all_observables

    assert len(PAPER_OBSERVABLES) == 24
    assert set(PAPER_OBSERVABLES) <= {o.name for _, o in all_observables()}


# -- bad input --------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def cohort_with(make_cohort, tmp_path_factory):
    directory = tmp_path_factory.mktemp("bad")

    def make(name, **options):
        path = directory / f"{name}.zarr"
        return make_cohort(path, **({"effect": 1.0, "checkpoints": 3} | options))

    return make


@pytest.mark.parametrize(
    ("name", "cohort", "options", "text"),
    [
        ("separation", {"rules": ["sgdm"]}, {}, "rule 'sgdm'; at least 2"),
        ("separation", {"per_rule": 1}, {}, "1 usable organisms of the rule 'adam'; at least 4"),
        ("separation", {"diverged": 48}, {}, "all its organisms diverged"),
        ("separation", {"short": 3}, {}, "checkpoints"),
        ("separation", {"without": ["observables"]}, {}, "stores no observables"),
        ("units_noise", {"without": ["responses", "synapses", "paired"]}, {}, "no responses"),
        (
            "held_out",
            {"architectures": ["mlp"]},
            {"condition": ["architecture"]},
            r"one architecture \(mlp\); at least 2",
        ),
        ("held_out", {}, {"condition": ["regularisation"]}, "one regularisation"),
        ("pretrained", {}, {}, "started from random weights; .*training.start"),
        ("objective", {"tasks": ["digits"]}, {}, "the objective 'supervised'; at least 2"),
        ("thirds", {"checkpoints": 2}, {}, "2 checkpoints; at least 3"),
        ("clustering", {"tasks": ["digits"]}, {"label": "task"}, "single value of task"),
    ],
)
def test_what_a_cohort_lacks_is_named(request, cohort_with, name, cohort, options, text):
    opened = cohort_with(request.node.callspec.id.replace("/", "_")[:40], **cohort)
    with pytest.raises(DataError, match=text):
        ask(name, opened, **options)


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        (
            "separation",
            {"splits": 10_000},
            "10000 splits were asked, but 12 organisms .* allow 220",
        ),
        ("separation", {"splits": 0}, "splits is 0"),
        ("separation", {"measure": "activty"}, "unknown measure 'activty'; nearest: activity"),
        ("separation", {"measure": ["activity", "activity"]}, "different ones"),
        ("separation", {"split": "unit"}, "unknown split"),
        ("separation", {"classifier": "forest"}, "unknown classifier 'forest'; nearest"),
        ("separation", {"label": "brain"}, "unknown label"),
        ("separation", {"label": "position"}, "position is itself a feature"),
        ("separation", {"observables": "some"}, "unknown set of observables"),
        ("separation", {"observables": ["act_raw_men"]}, "unknown observable 'act_raw_men'"),
        ("separation", {"effort": "much"}, "unknown effort"),
        ("separation", {"rules": ["hebb"]}, "unknown rule 'hebb'"),
        ("separation", {"colour": 1}, "has no option 'colour'"),
        ("held_out", {"condition": "taks"}, "unknown condition 'taks'; nearest: task"),
        ("equal_performance", {"match": "most"}, "unknown match"),
        ("equal_performance", {"tolerance": 2}, "tolerance is 2"),
        ("subsampling", {"samples": [40], "period": [1]}, "40 samples .* do not fit"),
        ("subsampling", {"samples": [0]}, "samples is 0"),
        ("units_noise", {"units": [4000]}, "4000 units were asked"),
        ("units_noise", {"noise": [-1]}, "noise is"),
        ("importance", {"permutations": 0}, "permutations is 0"),
        ("separations", {}, "unknown analysis 'separations'; nearest: separation"),
    ],
)
def test_what_was_asked_wrongly_is_named(made, name, options, text):
    with pytest.raises(UsageError, match=text):
        if name in NAMES:
            ask(name, made, **options)
        else:
            analyse(name, made, rng=np.random.default_rng(0))


def test_an_observable_that_is_nan_somewhere_is_dropped_for_all_and_said(cohort_with):
    cohort = cohort_with("nan", spoiled=["act_raw_norm"])
    result = ask("separation", cohort, measure="activity")
    assert "not finite in some recording, and so left out for all: act_raw_norm" in result.warnings
    assert float(result.dataset["accuracy"].min()) > 0.5


def test_diverged_organisms_are_left_out_and_said(cohort_with):
    result = ask("separation", cohort_with("diverged", diverged=3), measure="activity")
    assert "3 organisms diverged in training and were left out" in result.warnings


def test_organisms_that_did_not_learn_are_left_out_unless_asked_for(cohort_with):
    cohort = cohort_with("unlearned", unlearned=[0, 1])
    result = ask("separation", cohort, measure="activity")
    assert [w for w in result.warnings if w.startswith("2 organisms did not learn")]
    whole = open_cohort(cohort.path, include_unlearned=True)
    result = ask("separation", whole, measure="activity")
    assert "2 organisms did not learn their task and were kept" in result.warnings


def test_a_rule_of_which_none_learned_must_be_left_out_by_name(cohort_with):
    cohort = cohort_with("lost", unlearned=range(12))
    with pytest.raises(DataError, match="no usable organism of the rule 'sgdm': of 12, 12 did not"):
        ask("separation", cohort, measure="activity")
    rules = ["adam", "feedback_alignment"]
    assert ask("separation", cohort, measure="activity", rules=rules)


def test_a_match_that_leaves_too_few_is_said(make_cohort, tmp_path):
    found = ask("equal_performance", make_cohort(tmp_path / "c.zarr", effect=1.0), tolerance=0.0)
    assert np.isnan(found.dataset["accuracy"].sel(match="organisms")).all()
    assert any("match organisms" in w for w in found.warnings)


def test_a_joined_measure_with_nothing_to_take_is_left_out(make_cohort, tmp_path):
    """Base of the paper: what diverges in one organism is dropped for all, a whole measure too."""
    gone = ("grad_raw", "grad_abs", "grad_sq")
    cohort = make_cohort(tmp_path / "c.zarr", effect=1.0, spoiled=gone)
    for name in ("importance", "units_noise"):
        found = ask(name, cohort, measure="all")
        assert any("grad_raw" in w for w in found.warnings)
    only = ask("importance", cohort, measure="all", observables=["act_raw_mean"])
    assert list(only.dataset["observable"].values) == ["act_raw_mean", "position"]
