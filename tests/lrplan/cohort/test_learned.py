"""Learned or not: the rule, what cohorts say of it, and who is left out."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.stats import binom

from lrplan import DataError, Design, UsageError, forecast, open_cohort
from lrplan.cohort import learned as rule
from lrplan.cohort.check import check
from lrplan.cohort.format import CohortWriter
from lrplan.cohort.merge import merge
from lrplan.cohort.select import select


def verdict(first, final, *, chance=0.1, held_out=1000, loss=(2.0, 1.0), probed=False):
    [found] = rule.has_learned(
        np.array([[first, 0.5, final]]),
        np.array([[loss[0], 9.0, loss[1]]]),
        np.array([chance]),
        np.array([held_out]),
        np.array([probed]),
    )
    return bool(found)


@pytest.mark.parametrize(
    ("first", "final", "chance", "held_out", "learned"),
    [
        (0.10, 0.11, 0.1, 360, False),
        (0.10, 0.11, 0.1, 10**7, False),  # significant, and a trifle
        (0.10, 0.23, 0.1, 1000, True),
        (0.10, 0.21, 0.1, 1000, False),
        (0.10, 0.22, 0.1, 1000, True),
        (0.10, 0.30, 0.1, 30, False),  # 9 of 30 may be luck among thousands of organisms
        (0.10, 0.90, 0.1, 30, True),
        (0.90, 0.89, 0.1, 1000, False),  # it came with what it knows
        (0.001, 0.02, 0.001, 5000, True),  # of a thousand classes
        (0.001, 0.0015, 0.001, 10**7, False),
        (0.5, 0.56, 0.5, 10**5, False),
        (0.5, 0.65, 0.5, 10**5, True),
        (0.1, 0.0, 0.1, 1000, False),
        (0.1, 1.0, 0.1, 1000, True),
        (0.5, 1.0, 1.0, 1000, False),  # of one class alone nothing can be learned
        (0.1, np.nan, 0.1, 1000, False),
    ],
)
def test_a_readout_must_end_above_its_start_and_clearly_above_chance(
    first, final, chance, held_out, learned
):
    assert verdict(first, final, chance=chance, held_out=held_out) is learned
    # Performance is stored in single precision, which must not decide.
    assert (
        verdict(np.float32(first), np.float32(final), chance=chance, held_out=held_out) is learned
    )


@pytest.mark.parametrize(
    ("first", "final", "loss", "learned"),
    [
        (0.22, 0.28, (5.4, 4.0), True),
        (0.22, 0.21, (5.4, 4.0), False),
        (0.22, 0.225, (5.4, 4.0), False),  # as much as a draw of 1,000 examples
        (0.58, 0.60, (5.4, 4.0), False),
        (0.58, 0.64, (5.4, 4.0), True),
        (1.0, 1.0, (5.4, 4.0), False),
        (0.22, 0.28, (5.4, 5.3), False),
        (0.22, 0.28, (5.4, 5.6), False),
        (0.10, 0.12, (5.4, 4.0), False),  # no more than chance
        (0.22, 0.28, (-1.0, -1.2), True),
        (0.22, 0.28, (5.4, np.nan), False),
    ],
)
def test_a_probe_must_rise_while_the_loss_falls(first, final, loss, learned):
    assert verdict(first, final, loss=loss, probed=True) is learned


def test_of_probes_that_do_not_change_few_pass_for_having_risen():
    rng = np.random.default_rng(0)
    first, final = rng.binomial(1000, 0.5, (2, 20_000)) / 1000
    found = rule._rise_p_value(first, final, np.full(20_000, 1000)) < rule.RISE_ALPHA
    assert 0.04 < found.mean() < 0.06


def test_the_test_is_the_exact_binomial_one():
    for held_out, chance in ((30, 0.1), (360, 0.1), (50, 0.5)):
        right = np.arange(held_out + 1)
        found = rule._p_value(
            right / held_out, np.full(right.shape, chance), np.full(right.shape, held_out)
        )
        np.testing.assert_allclose(found, binom.sf(right - 1, held_out, chance), rtol=1e-9)


@pytest.fixture(scope="module")
def mixed(make_cohort, tmp_path_factory):
    """Twelve organisms of each rule: one diverged, three of another rule did not learn."""
    path = tmp_path_factory.mktemp("mixed") / "mixed.zarr"
    return make_cohort(path, effect=1.0, diverged=1, unlearned=[0, 13, 14, 15])


def test_those_that_did_not_learn_are_left_out_and_counted(mixed):
    assert mixed.fate_counts() == {"learned": 44, "not_learned": 3, "diverged": 1, "unknown": 0}
    assert mixed.usable_populations().tolist() == [
        p for p in range(96) if p // 2 not in (0, 13, 14, 15)
    ]
    found = forecast(mixed, Design(units=20), rng=0, held_out=False)
    assert (found.organisms, found.fates) == (44, mixed.fate_counts())
    told = found.to_json()
    json.dumps(told)
    assert told["cohort"]["fates"] == mixed.fate_counts()
    assert told["cohort"]["include_unlearned"] is False
    assert [w for w in told["warnings"] if "3 organisms did not learn" in w and "left out" in w]
    assert found.summary().count("did not learn") == 1


def test_they_can_be_asked_for(mixed):
    cohort = open_cohort(mixed.path, include_unlearned=True)
    assert len(cohort.usable_populations()) == 94
    found = forecast(cohort, Design(units=20), rng=0, held_out=False)
    assert found.organisms == 47
    assert found.to_json()["cohort"]["include_unlearned"] is True
    assert [w for w in found.warnings if "3 organisms did not learn" in w and "kept" in w]


def test_a_cohort_says_what_learned(mixed):
    told = mixed.info()["fates"]
    assert told["adam"] == {"learned": 9, "not_learned": 3, "diverged": 0, "unknown": 0}
    assert told["sgdm"] == {"learned": 11, "not_learned": 0, "diverged": 1, "unknown": 0}
    records = mixed.organism_table()
    assert [i for i, r in enumerate(records) if r["learned"] is False] == [0, 13, 14, 15]
    rows = [line.split() for line in mixed.summary().splitlines()]
    assert ["adam", "9", "3", "0"] in rows


def test_an_older_cohort_is_kept_and_said_not_to_know(make_cohort, tmp_path):
    old = make_cohort(tmp_path / "old.zarr", effect=1.0, known=False, unlearned=[1], per_rule=6)
    assert old.fate_counts()["unknown"] == 24
    found = forecast(old, Design(units=20), rng=0, held_out=False)
    assert found.organisms == 24 and found.fates["unknown"] == 24
    assert sum("does not say which organisms learned" in w for w in found.warnings) == 1
    assert "Which organisms learned is not recorded." in old.summary()
    assert {r["learned"] for r in old.organism_table()} == {None}
    assert check(old.path).to_json()["findings"][-1]["where"] == "behaviour/held_out"
    with pytest.raises(DataError, match="does not record which organisms learned"):
        select(old, tmp_path / "x.zarr", exclude_unlearned=True)


def test_a_rule_without_an_organism_that_learned_is_refused(make_cohort, tmp_path):
    cohort = make_cohort(tmp_path / "c.zarr", effect=1.0, per_rule=6, unlearned=range(6, 12))
    with pytest.raises(DataError, match=r"rule 'adam': of 6, 6 did not learn.*--include-unlearned"):
        forecast(cohort, Design(units=20), rng=0)
    some = select(cohort, tmp_path / "some.zarr", exclude_unlearned=True)
    assert some.rules == ["feedback_alignment", "information_alignment", "sgdm"]
    assert some.attributes["selected"] == {"exclude_unlearned": True}
    some.refuse_lost_rules()
    with pytest.raises(UsageError, match="adam and not unlearned"):
        select(cohort, tmp_path / "none.zarr", rule=["adam"], exclude_unlearned=True)
    open_cohort(cohort.path, include_unlearned=True).refuse_lost_rules()


def test_where_too_few_learned_that_is_said(make_cohort, tmp_path):
    cohort = make_cohort(tmp_path / "c.zarr", effect=1.0, per_rule=6, unlearned=[6, 7])
    with pytest.raises(DataError, match="4 usable organisms.*2 organisms did not learn"):
        forecast(cohort, Design(units=20), rng=0)
    none = make_cohort(tmp_path / "n.zarr", effect=1.0, per_rule=2, unlearned=range(8))
    with pytest.raises(DataError, match="no population to record: 8 organisms did not learn"):
        forecast(none, Design(units=20), rng=0)


def test_old_and_new_cohorts_merge(mixed, make_cohort, tmp_path):
    one = select(mixed, tmp_path / "one.zarr", organism=[mixed.organism_ids[13]])
    old = make_cohort(tmp_path / "old.zarr", effect=1.0, known=False)
    other = select(old, tmp_path / "other.zarr", organism=[old.organism_ids[1]])
    for pair in ((one, other), (other, one)):
        both = merge(pair, tmp_path / f"{pair[0].path.stem}-both.zarr")
        assert both.fate_counts() == {"learned": 0, "not_learned": 1, "diverged": 0, "unknown": 1}
        assert "does not say whether 1 organisms learned" in " ".join(both.fate_warnings())
        chance = both.read_variable("behaviour", "chance")
        held_out = both.read_variable("behaviour", "held_out")
        assert sorted(zip(np.isnan(chance), held_out, strict=True)) == [(False, 1000), (True, 0)]
        faults = [f.where for f in check(both.path).findings if f.level == "fault"]
        assert faults == ["organisms/id"]  # made-up organisms have no spec


def changed(cohort, path, **values):
    """Copy a cohort with other variables of behaviour, sealed anew."""
    writer = CohortWriter(path, {"name": "changed", "recipe": ""})
    for (group, name), array in cohort.variables.items():
        flags = {k: v for k, v in dict(array.attrs).items() if k.startswith("flag_")}
        held = cohort.read_variable(group, name)
        writer.write(group, name, values.get(name, held) if group == "behaviour" else held, flags)
    writer.close()
    return path


@pytest.mark.parametrize(
    ("name", "values", "said", "opens"),
    [
        ("chance", np.full(8, 1.5), "8 rows lie outside 0 to 1: row 0", False),
        ("chance", np.full(8, -0.1), "8 rows lie outside 0 to 1", False),
        ("chance", np.array([0.1] * 7 + [np.nan]), "1 rows hold NaN: row 7", True),
        ("chance", np.array(["0.1"] * 8, dtype=object), "is of type object; expected float", False),
        ("held_out", np.full(8, -1), "8 rows are below 0: row 0", False),
        ("held_out", np.full(8, 10.5), "is of type float64; expected whole", True),
        ("held_out", np.zeros(8, dtype=int), "8 rows are 0, though chance is known", True),
    ],
)
def test_bad_values_are_named(make_cohort, tmp_path, name, values, said, opens):
    cohort = make_cohort(tmp_path / "c.zarr", effect=1.0, per_rule=2)
    path = changed(cohort, tmp_path / "bad.zarr", **{name: values})
    found = [f for f in check(path).findings if f.where == f"behaviour/{name}"]
    assert [f.level for f in found] == ["fault"]
    assert said in found[0].what
    if opens:
        assert open_cohort(path).fate_counts()["diverged"] == 0
    else:
        with pytest.raises(DataError, match=f"behaviour/{name} .*lrplan cohort check"):
            open_cohort(path).usable_populations()


def test_a_wrong_number_of_rows_is_refused(make_cohort, tmp_path):
    cohort = make_cohort(tmp_path / "c.zarr", effect=1.0, per_rule=2)
    path = changed(cohort, tmp_path / "bad.zarr", chance=np.full(7, 0.1))
    assert "organism" in [f.where for f in check(path).findings if f.level == "fault"]
    with pytest.raises(DataError, match="organism has several sizes"):
        open_cohort(path)
