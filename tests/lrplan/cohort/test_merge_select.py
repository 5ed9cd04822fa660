"""Cohorts joined and divided: what comes out is what packing those organisms would hold."""

from __future__ import annotations

import shutil
import tracemalloc

import numpy as np
import pytest

from lrplan import DataError, UsageError, open_cohort
from lrplan.cohort import format as schema
from lrplan.cohort.check import check
from lrplan.cohort.format import CohortWriter
from lrplan.cohort.merge import merge
from lrplan.cohort.select import select


def everything(cohort):
    """Return all that a cohort holds, labels as words."""
    out = {}
    for table in (cohort.organisms, cohort.population_table):
        out |= {name: values.values for name, values in table.items()}
    for (group, name), array in cohort.variables.items():
        if array.ndim > 1 or group == "observables":
            out[name] = cohort.read_variable(group, name)
    return out


def assert_same(a, b):
    first, second = everything(a), everything(b)
    assert first.keys() == second.keys()
    for name, values in first.items():
        assert values.dtype == second[name].dtype, name
        np.testing.assert_array_equal(values, second[name], err_msg=name)


def assert_sound(cohort):
    """Assert that nothing is wrong, but for ids: those of made cohorts are hashes of nothing."""
    faults = [f for f in check(cohort.path).findings if f.level == "fault"]
    assert [f.where for f in faults] == ["organisms/id"]
    assert "not the hash of their spec" in faults[0].what


def reformed(cohort, path, change):
    """Write a copy of a cohort whose arrays are changed: change(group, name, values)."""
    writer = CohortWriter(path, {"name": "changed", "recipe": ""})
    for (group, name), array in cohort.variables.items():
        values = change(group, name, cohort.read_variable(group, name))
        if values is None:
            continue
        if "flag_meanings" in array.attrs:
            words = np.array(array.attrs["flag_meanings"].split(" "))[values]
            writer.write_categories(group, name, list(words))
        else:
            writer.write(group, name, values)
    writer.close()
    return open_cohort(path)


@pytest.mark.parametrize("ending", ["", ".zip"])
def test_what_is_divided_and_joined_is_whole_again(separable, tmp_path, ending):
    # Organisms of the made cohort stand in the order sgdm, adam, feedback, information.
    order = list(dict.fromkeys(separable.organisms["rule"].values))
    parts = [
        select(separable, tmp_path / f"{name}.zarr{ending}", rule=rules)
        for name, rules in (("a", order[:1]), ("b", order[1:]))
    ]
    assert parts[0].rules == order[:1]
    both = merge(parts, tmp_path / f"all.zarr{ending}")
    assert both.rules == separable.rules
    assert both.name == "all"
    assert_same(both, separable)
    assert_sound(both)
    assert [s["organisms"] for s in both.attributes["sources"]] == [12, 36]
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(
        f"{name}.zarr{ending}" for name in ("a", "b", "all")
    )


def with_rules(recipe, rules):
    """Return the text of a recipe with other rules, and their learning rates alone."""
    lines = recipe.read_text(encoding="utf-8").splitlines()
    rates = [x for x in lines if " = [0.0" in x and f'"{x.partition(" = ")[0]}"' not in rules]
    kept = [x for x in lines if x not in rates]
    return "\n".join(f"rule = [{rules}]" if x.startswith("rule = ") else x for x in kept)


def test_merging_two_recipes_gives_what_one_recipe_of_both_gives(
    tiny_recipe_path, tiny_cohort_path, tmp_path
):
    from lrplan.simulate.run.pack import pack
    from lrplan.simulate.run.recipe import read_recipe

    made = []
    for name, rules in (
        ("a", '"sgdm", "feedback_alignment"'),
        ("b", '"adam", "information_alignment"'),
        ("ab", '"sgdm", "feedback_alignment", "adam", "information_alignment"'),
    ):
        path = tmp_path / f"{name}.toml"
        path.write_text(with_rules(tiny_recipe_path, rules), encoding="utf-8")
        recipe = read_recipe(path)
        parts = [tiny_cohort_path.parent / f"{s.hash}.npz" for s in recipe.specs]
        pack(recipe, parts, tmp_path / f"{name}.zarr", {"device": "cpu"})
        made.append(open_cohort(tmp_path / f"{name}.zarr"))
    merged = merge(made[:2], tmp_path / "merged.zarr")
    assert_same(merged, made[2])
    texts = [s["recipe"] for s in merged.attributes["sources"]]
    assert texts == [(tmp_path / f"{n}.toml").read_text() for n in "ab"]
    assert check(merged.path).findings == check(made[2].path).findings == []


def test_selecting_keeps_rows_order_and_values(separable, tmp_path):
    ids = separable.organism_ids
    some = select(
        separable,
        tmp_path / "some.zarr",
        rule=["adam", "sgdm"],
        task=["digits"],
        batch_size=[64],
        name="mine",
    )
    labels = separable.organisms
    wanted = np.isin(labels["rule"].values, ["adam", "sgdm"]) & (labels["task"].values == "digits")
    assert some.name == "mine"
    assert some.organism_ids == [i for i, w in zip(ids, wanted, strict=True) if w]
    rows = np.flatnonzero(wanted[separable.population_table["organism"].values])
    for name in ("responses", "paired_scale", "observables"):
        group = name.removesuffix("_scale")
        np.testing.assert_array_equal(
            some.read_variable(group, name), separable.read_variable(group, name)[rows]
        )
    assert some.attributes["selected"] == {
        "rule": ["adam", "sgdm"],
        "task": ["digits"],
        "batch_size": [64],
    }
    one = select(separable, tmp_path / "one.zarr.zip", organism=[ids[17]])
    assert one.organism_ids == [ids[17]]
    assert_sound(one)


def test_diverged_organisms_are_left_out(make_cohort, tmp_path):
    cohort = make_cohort(tmp_path / "a.zarr", effect=1.0, per_rule=3, diverged=2)
    assert select(cohort, tmp_path / "b.zarr", exclude_diverged=True).info()["organisms"] == 10


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"rule": ["admm"]}, "no organism of 'made' has the rule 'admm'; nearest: adam"),
        ({"task": ["digit"]}, "nearest: digits, digits_simclr"),
        ({"architecture": ["cnn"]}, "known: knet4, mlp"),
        ({"batch_size": [65]}, "the batch size 65; nearest: 64"),
        ({"organism": ["00000000000000ff"]}, "no organism of 'made' has an id"),
        ({"organism": ["00"]}, "48 organisms of 'made' have an id that starts with '00'"),
        (
            {"organism": ["0" * 16], "rule": ["adam"]},
            "no organism of 'made' is rule adam, organism 0000000000000000; see",
        ),
    ],
)
def test_what_selects_nothing_is_an_error(separable, tmp_path, asked, said):
    with pytest.raises(UsageError) as error:
        select(separable, tmp_path / "x.zarr", **asked)
    assert said in str(error.value)
    assert not list(tmp_path.iterdir())


def test_the_same_organism_twice_is_refused_by_id(separable, tmp_path):
    a = select(separable, tmp_path / "a.zarr", rule=["adam"])
    with pytest.raises(DataError, match=f"same organism is in .*{a.organism_ids[0]}.*and 7 more"):
        merge([separable, a], tmp_path / "x.zarr")
    both = merge([a, separable], tmp_path / "x.zarr", skip_duplicates=True)
    assert sorted(both.organism_ids) == sorted(separable.organism_ids)
    assert both.organism_ids[:12] == a.organism_ids
    skipped = [s.get("skipped", []) for s in both.attributes["sources"]]
    assert skipped == [[], a.organism_ids]
    assert_sound(both)


def test_older_cohorts_are_read_and_merge_with_newer_ones(separable, tmp_path, monkeypatch):
    """Those before codes had other bits than 8, and another order on disk."""
    monkeypatch.setattr(schema, "CODED", {})
    old = reformed(separable, tmp_path / "old.zarr", lambda group, name, values: values)
    monkeypatch.undo()
    responses = [c.variables["responses", "responses"] for c in (separable, old)]
    assert [len(r.filters) for r in responses] == [1, 0]
    assert ["bits" in r.attrs for r in responses] == [True, False]
    assert_sound(old)
    parts = [
        select(cohort, tmp_path / f"{i}.zarr", rule=rules)
        for i, (cohort, rules) in enumerate(
            [(old, separable.rules[:1]), (separable, separable.rules[1:])]
        )
    ]
    both = merge(parts, tmp_path / "both.zarr")
    assert both.variables["paired", "paired"].attrs["bits"] == 8
    for measure in ("activity", "weights", "paired"):
        for cohort in (old, both):
            rows = np.argsort([separable.organism_ids.index(i) for i in cohort.organism_ids])
            owner = cohort.population_table["organism"].values
            places = np.concatenate([np.flatnonzero(owner == r) for r in rows])
            np.testing.assert_array_equal(
                cohort.read(measure, places, range(5)),
                separable.read(measure, np.arange(len(owner)), range(5)),
            )


@pytest.mark.parametrize("where", ["responses", "performance", "learning_rate"])
def test_unequal_organisms_of_one_id_are_never_skipped(make_cohort, tmp_path, where):
    cohort = make_cohort(tmp_path / "a.zarr", effect=1.0, per_rule=2)

    def change(group, name, values):
        if name == where:
            values = values.copy()
            values[5] = values[5] + np.ones(1, dtype=values.dtype)[0]
        return values

    other = reformed(cohort, tmp_path / "b.zarr", change)
    organism = cohort.organism_ids[2 if where == "responses" else 5]
    with pytest.raises(DataError, match=f"organism {organism} is in .* differ in .*/{where}"):
        merge([cohort, other], tmp_path / "x.zarr", skip_duplicates=True)
    assert not (tmp_path / "x.zarr").exists()


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ({"checkpoints": 6}, "behaviour/performance is float32, 5 x checkpoint in the first"),
        ({"stimuli": 5}, "4 x stimulus, 40 x unit in the first"),
        ({"units": 41}, "41 x unit in the second"),
        ({"bits": 16}, "responses/responses is uint8"),
        ({"bits": 6}, "responses/responses is noted as {'bits': 8} in the first, {'bits': 6}"),
    ],
)
def test_cohorts_of_different_forms_are_refused_by_name(
    separable, make_cohort, tmp_path, made, said
):
    other = make_cohort(tmp_path / "other.zarr", effect=1.0, per_rule=1, **made)
    with pytest.raises(DataError) as error:
        merge([separable, other], tmp_path / "x.zarr")
    assert said in str(error.value)
    assert "separable.zarr and " in str(error.value) and "other.zarr cannot" in str(error.value)


def test_cohorts_that_hold_different_variables_are_refused(make_cohort, tmp_path):
    cohort = make_cohort(tmp_path / "a.zarr", effect=1.0, per_rule=1)
    other = reformed(
        cohort, tmp_path / "b.zarr", lambda group, name, v: None if group == "paired" else v
    )
    with pytest.raises(DataError, match="only the first holds paired/paired;"):
        merge([cohort, other], tmp_path / "x.zarr")

    def renamed(group, name, values):
        return np.array(["new", *values[1:]]) if name == "observable" else values

    other = reformed(cohort, tmp_path / "c.zarr", renamed)
    with pytest.raises(DataError, match="observables differ: act_abs|observables differ: .*new"):
        merge([cohort, other], tmp_path / "x.zarr")


def test_names_that_are_taken_and_too_few_cohorts(separable, tmp_path):
    (tmp_path / "taken").mkdir()
    for make in (
        lambda: merge([separable, separable], tmp_path / "taken"),
        lambda: select(separable, tmp_path / "taken"),
    ):
        with pytest.raises(UsageError, match="taken exists"):
            make()
    with pytest.raises(UsageError, match="1 cohort given"):
        merge([separable], tmp_path / "x.zarr")


def test_a_failure_leaves_nothing_behind(separable, tmp_path):
    broken = tmp_path / "broken.zarr"
    shutil.copytree(separable.path, broken)
    chunk = sorted((broken / "synapses/synapses").rglob("0"))[-1]
    chunk.write_bytes(chunk.read_bytes()[:-7] + b"1234567")
    with pytest.raises(DataError, match="chunk synapses/synapses/c/0/0/0 is damaged"):
        select(broken, tmp_path / "x.zarr", rule=["adam"])
    assert [p.name for p in tmp_path.iterdir()] == ["broken.zarr"]


def test_what_is_merged_is_written_in_blocks(make_cohort, tmp_path, monkeypatch):
    """Small chunks: rows of two cohorts meet within a chunk, and one spans many."""
    monkeypatch.setattr("lrplan.cohort.format.CHUNK_BYTES", 3000)
    a = make_cohort(tmp_path / "a.zarr", effect=1.0, per_rule=5)
    assert a.variables["responses", "responses"].chunks[0] == 3
    parts = [
        select(a, tmp_path / "b.zarr", architecture=["mlp"]),
        select(a, tmp_path / "c.zarr", architecture=["knet4"]),
    ]
    both = merge(parts, tmp_path / "d.zarr")
    place = [both.organism_ids.index(i) for i in a.organism_ids]
    rows = [2 * p + layer for p in place for layer in range(2)]
    for name in ("responses", "synapses", "paired_offset"):
        group = name.removesuffix("_offset")
        np.testing.assert_array_equal(
            both.read_variable(group, name)[rows], a.read_variable(group, name)
        )
    assert_sound(both)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_cohort(make_cohort, tmp_path, monkeypatch):
    monkeypatch.setattr("lrplan.cohort.format.CHUNK_BYTES", 100_000)
    peaks = []
    for per_rule in (20, 80):
        place = tmp_path / str(per_rule)
        place.mkdir()
        a = make_cohort(place / "a.zarr", effect=1.0, per_rule=per_rule, stimuli=16, units=400)
        select(a, place / "b.zarr", rule=["adam", "feedback_alignment"])
        select(a, place / "c.zarr", rule=["sgdm", "information_alignment"])
        tracemalloc.start()
        both = merge([place / "b.zarr", place / "c.zarr"], place / "d.zarr")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert both.variables["responses", "responses"].nbytes == 8 * per_rule * 5 * 16 * 400
    assert peaks[1] < 1.5 * peaks[0]
