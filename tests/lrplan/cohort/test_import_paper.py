"""The published data set: read whatever its spelling, refused where it is not understood."""

from __future__ import annotations

import json
import pickle

import numpy as np
import numpy.lib.recfunctions as recfunctions
import pytest

import lrplan
from lrplan import DataError, Design, UsageError, open_cohort
from lrplan.cohort.check import check
from lrplan.cohort.import_paper import Map, _observable, import_paper, read_map
from lrplan.cohort.merge import merge
from lrplan.cohort.select import select
from lrplan.terms import STORED_OBSERVABLES

NAMES = list(STORED_OBSERVABLES)


@pytest.mark.parametrize(("text", "protocol"), [("O", 2), ("U", 4), ("S", 0), ("O", 5)])
def test_a_data_set_becomes_a_cohort(make_dataset, write_dataset, tmp_path, text, protocol):
    data = make_dataset(text=text)
    made = import_paper(write_dataset(data, protocol), tmp_path / "paper.zarr")
    cohort = made.cohort
    info = cohort.info()
    assert (info["organisms"], info["populations"], info["checkpoints"]) == (32, 96, 21)
    assert info["by_rule"] == dict.fromkeys(
        ["adam", "feedback_alignment", "information_alignment", "sgdm"], 8
    )
    assert info["architectures"] == ["alexnet_lrn", "resnet18v2"]
    assert info["tasks"] == ["imagenet", "simclr"]
    assert (info["stimuli"], info["units_stored"], info["stored"]) == (None, None, {})
    assert info["diverged"] is None
    json.dumps(info, allow_nan=False)
    stored = cohort.read_variable("observables", "observables")
    order = [data["obs_keys"].index(n) for n in NAMES]
    np.testing.assert_array_equal(stored, data["X"][:, :, order].astype(np.float32))
    first = cohort.organism_table()[0]
    assert first["rule"] == first["optimizer"] == "sgdm"
    assert (first["credit"], first["objective"]) == ("backpropagation", "self-supervised")
    assert (first["batch_size"], first["model_seed"], first["data_seed"]) == (128, 0, 7)
    assert first["learning_rate"] is first["final_performance"] is first["diverged"] is None
    assert [x["position"] for x in first["layers"]] == ["early", "middle", "deep"]
    assert [x["units"] for x in first["layers"]] == [None] * 3
    assert set(cohort.settings) == {"batch 128", "batch 256"}
    assert "the file does not say the learning rate" in made.notes
    found = check(cohort.path)
    assert found.sound
    assert {f.where for f in found.findings} >= {"organisms/spec", "responses", "populations/units"}


def test_identities_do_not_depend_on_the_order_of_rows_or_fields(
    make_dataset, write_dataset, tmp_path
):
    data = make_dataset()
    a = import_paper(write_dataset(data), tmp_path / "a.zarr").cohort
    rows = np.random.default_rng(1).permutation(len(data["X"]))
    mixed = {k: data[k][rows] for k in ("X", "Y", "X_cat", "meta")}
    fields = list(data["meta"].dtype.names)[::-1]
    mixed |= {"meta": mixed["meta"][fields].copy(), "obs_keys": data["obs_keys"]}
    b = import_paper(write_dataset(mixed), tmp_path / "b.zarr").cohort
    assert a.organism_ids != b.organism_ids
    assert sorted(a.organism_ids) == sorted(b.organism_ids)
    assert np.all(np.diff(b.population_table["organism"].values) >= 0)
    for cohort in (a, b):
        table = {o["id"]: o for o in cohort.organism_table()}
        assert [table[i]["rule"] for i in sorted(table)] == sorted_rules(a)


def sorted_rules(cohort):
    return [o["rule"] for o in sorted(cohort.organism_table(), key=lambda o: o["id"])]


def test_an_imported_cohort_can_be_divided_and_joined(make_dataset, write_dataset, tmp_path):
    whole = import_paper(write_dataset(make_dataset()), tmp_path / "a.zarr").cohort
    parts = [select(whole, tmp_path / f"{t}.zarr.zip", task=[t]) for t in ("simclr", "imagenet")]
    both = merge(parts, tmp_path / "b.zarr")
    assert sorted(both.organism_ids) == sorted(whole.organism_ids)
    assert check(both.path).sound
    assert both.variables["observables", "observables"].attrs["norm"].startswith("L2 norm")
    with pytest.raises(DataError, match="does not record which organisms diverged"):
        select(whole, tmp_path / "c.zarr", exclude_diverged=True)


def test_an_imported_cohort_does_not_merge_with_a_simulated_one(
    make_dataset, write_dataset, separable, tmp_path
):
    paper = import_paper(write_dataset(make_dataset()), tmp_path / "a.zarr").cohort
    with pytest.raises(DataError, match="only the second holds organisms/learning_rate"):
        merge([paper, separable], tmp_path / "b.zarr")


def test_designs_of_single_units_are_told_what_is_missing(make_dataset, write_dataset, tmp_path):
    cohort = import_paper(write_dataset(make_dataset(seeds=6)), tmp_path / "a.zarr").cohort
    with pytest.raises(DataError, match="stores no responses.*units='all'"):
        lrplan.forecast(cohort, Design(units=30), rng=np.random.default_rng(0))


@pytest.mark.slow
def test_forecasts_run_from_observables(make_dataset, write_dataset, tmp_path):
    cohort = import_paper(write_dataset(make_dataset(seeds=6)), tmp_path / "a.zarr").cohort
    rng = np.random.default_rng(0)
    few = lrplan.Schedule(sessions=3)
    design = Design(units="all", noise=0, scaling="raw", schedule=few)
    assert lrplan.forecast(cohort, design, rng=rng).accuracy.low > 0.8


def test_values_that_are_not_finite_are_kept_and_said(make_dataset, write_dataset, tmp_path):
    data = make_dataset(seeds=1)
    data["X"][3, 2, data["obs_keys"].index("act_sq_kurtosis")] = np.nan
    data["X"][7, 2, data["obs_keys"].index("weight_sq_var")] = 1e60
    made = import_paper(write_dataset(data), tmp_path / "a.zarr")
    stored = made.cohort.read_variable("observables", "observables")
    assert np.isnan(stored[3, 2, NAMES.index("act_sq_kurtosis")])
    assert np.isinf(stored[7, 2, NAMES.index("weight_sq_var")])
    assert "1 values are beyond single precision" in " ".join(made.notes)
    assert "2 observables are not finite" in " ".join(made.notes)
    found = check(made.cohort.path)
    assert found.sound
    [said] = [f.what for f in found.findings if f.where == "observables/observables"]
    assert "act_sq_kurtosis, weight_sq_var" in said and "2 organisms" in said


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("weight_raw_norm", "weight_raw_norm"),
        ("Weights-Abs-Mean", "weight_abs_mean"),
        ("act_abs_mean", "act_abs_mean"),
        ("abs_activations_third_quartile", "act_abs_thirdquartile"),
        ("norm_weight_sq", "weight_sq_norm"),
        ("w/raw/median", "weight_raw_median"),
        ("act_kurtosis", "act_raw_kurtosis"),
        ("grad_raw", "grad_raw"),
        ("layerwise_act_change_abs", "grad_abs"),
        ("sq_layerwise", "grad_sq"),
        ("act_raw_entropy", None),
        ("loss", None),
        ("grad_raw_norm", None),
    ],
)
def test_spellings_of_observables(key, name):
    assert _observable(key) == name


def changed(data, **changes):
    return data | changes


def renamed(data, **names):
    meta = data["meta"].copy()
    meta.dtype.names = tuple(names.get(n, n) for n in meta.dtype.names)
    return changed(data, meta=meta)


def without(data, *fields):
    return changed(data, meta=recfunctions.drop_fields(data["meta"], fields, asrecarray=True))


WRONG = {
    "no dict": (lambda d: [1], "holds a list; expected a dict of X, Y"),
    "no X": (lambda d: {k: v for k, v in d.items() if k != "X"}, "lacks X; it has Y"),
    "flat X": (lambda d: changed(d, X=d["X"][:, 0]), "X is an array of float64 of shape"),
    "text X": (lambda d: changed(d, X=d["X"].astype("U4")), "expected numbers"),
    "short X": (lambda d: changed(d, X=d["X"][:-1]), "X has 47 rows, Y has 48"),
    "short meta": (lambda d: changed(d, meta=d["meta"][:5]), "meta has 5"),
    "no records": (lambda d: changed(d, meta=d["X"]), "expected a record array"),
    "few keys": (lambda d: changed(d, obs_keys=d["obs_keys"][:-1]), "X has 45 observables, "),
    "key twice": (lambda d: changed(d, obs_keys=[*d["obs_keys"][:-1], "grad-abs"]), "both taken"),
    "strange key": (lambda d: changed(d, obs_keys=[*d["obs_keys"][:-1], "xyz"]), "'xyz'"),
    "fewer": (
        lambda d: changed(d, X=d["X"][:, :, 1:], obs_keys=d["obs_keys"][1:]),
        f"lacks {NAMES[-1]}; all 45",
    ),
    "short X_cat": (lambda d: changed(d, X_cat=d["X_cat"][:-2]), "X_cat has 46"),
    "wide X_cat": (lambda d: changed(d, X_cat=d["X"]), "expected one-hot positions"),
    "X_cat of two": (
        lambda d: changed(d, X_cat=np.maximum(d["X_cat"], np.eye(3)[0])),
        "X_cat of row 1 is not one layer position throughout",
    ),
    "moving X_cat": (
        lambda d: changed(d, X_cat=np.where(np.arange(21)[:, None] < 5, np.eye(3)[0], d["X_cat"])),
        "row 1",
    ),
    "strange field": (lambda d: renamed(d, model="frobnication"), "'frobnication'"),
    "two tasks": (lambda d: renamed(d, model_seed="task"), "'dataset' and 'task'"),
    "no layer": (lambda d: without(d, "layer_name"), "no field for the layer"),
    "no task": (lambda d: without(d, "dataset"), "or under [constants], if all share it"),
    "no seed": (lambda d: without(d, "batch_size"), "are the same layer 'conv0' of one organism"),
    "text seeds": (lambda d: renamed(d, model="model_seed", model_seed="model"), "whole number"),
    "strange rule": (
        lambda d: changed(without(d, "learning_rule"), Y=np.array(["hebb"] * 48)),
        "the rule 'hebb' is unknown",
    ),
    "Y against meta": (
        lambda d: changed(d, Y=np.roll(d["Y"], 3)),
        "Y and meta do not agree",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_not_understood_is_said(make_dataset, write_dataset, tmp_path, case):
    change, said = WRONG[case]
    path = write_dataset(change(make_dataset(seeds=1)))
    with pytest.raises((DataError, UsageError)) as error:
        import_paper(path, tmp_path / "a.zarr")
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert [p.name for p in tmp_path.iterdir()] == ["dataset.pkl"]


def test_numbers_for_rules_need_meta_or_a_map(make_dataset, write_dataset, tmp_path):
    data = make_dataset(seeds=1)
    numbers = np.unique(data["Y"].astype(str), return_inverse=True)[1]
    by_meta = import_paper(write_dataset(changed(data, Y=numbers)), tmp_path / "a.zarr").cohort
    assert by_meta.info()["by_rule"]["feedback_alignment"] == 4
    bare = changed(without(data, "learning_rule"), Y=numbers.astype(float))
    with pytest.raises(UsageError, match="rule '0' is unknown here; say under .rules."):
        import_paper(write_dataset(bare), tmp_path / "b.zarr")
    names = tmp_path / "names.toml"
    names.write_text(
        '[rules]\n0 = "adam"\n1 = "feedback_alignment"\n2 = "information_alignment"\n3 = "sgdm"\n'
    )
    by_map = import_paper(write_dataset(bare), tmp_path / "b.zarr", names=read_map(names)).cohort
    assert list(by_map.organisms["rule"].values) == list(by_meta.organisms["rule"].values)


def test_a_map_explains_what_is_unknown(make_dataset, write_dataset, tmp_path):
    data = renamed(make_dataset(seeds=1), model="which_net", dataset_seed="curriculum")
    data["obs_keys"][0] = "mystery"
    names = tmp_path / "names.toml"
    names.write_text(
        '[meta]\nwhich_net = "architecture"\ncurriculum = "organism"\n'
        f'[observables]\nmystery = "{NAMES[-1]}"\n'
        '[architectures]\nalexnet_lrn = "mynet"\n[tasks]\nimagenet = "my task"\n'
        "[constants]\nlearning_rate = 0.1\n"
    )
    made = import_paper(write_dataset(data), tmp_path / "a.zarr", names=read_map(names))
    info = made.cohort.info()
    assert info["architectures"] == ["mynet", "resnet18v2"]
    assert info["tasks"] == ["my_task", "simclr"]
    assert made.fields["curriculum"] == "organism"
    assert set(made.cohort.organisms["learning_rate"].values) == {0.1}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[metas]\n", "unknown section [metas]; nearest: meta"),
        ('[meta]\nx = "architectur"\n', "nearest: architecture"),
        ("[meta]\nx = 3\n", "[meta] x is 3; expected a word"),
        ("meta = 3\n", "meta is 3; expected a table"),
        ('[observables]\nx = "act_raw_men"\n', "act_raw_mean"),
        ('[rules]\n0 = "fa"\n', "'fa' is unknown"),
        ('[constants]\nlayer = "fc"\n', "unknown constant 'layer'"),
        ("[meta\n", "is no TOML"),
    ],
)
def test_maps_that_are_wrong(tmp_path, text, said):
    path = tmp_path / "names.toml"
    path.write_text(text)
    with pytest.raises((DataError, UsageError)) as error:
        read_map(path)
    assert said in str(error.value)


def test_a_map_of_what_is_not_there(make_dataset, write_dataset, tmp_path):
    path = write_dataset(make_dataset(seeds=1))
    for names, said in (
        (Map(meta={"modell": "architecture"}), "nearest: model"),
        (Map(observables={"act_abs_men": "act_abs_mean"}), "nearest: act_abs_mean"),
        (Map(constants={"task": "x"}), "has it too"),
    ):
        with pytest.raises(UsageError, match=said):
            import_paper(path, tmp_path / "a.zarr", names=names)
    with pytest.raises(DataError, match="none.toml cannot be read"):
        read_map(tmp_path / "none.toml")


def test_a_data_set_that_would_run_something_is_refused(make_dataset, tmp_path):
    class Evil:
        def __reduce__(self):
            return eval, (f"open({str(tmp_path / 'evil')!r}, 'w')",)

    data = make_dataset(seeds=1) | {"meta": np.array([Evil(), 1], dtype=object)}
    path = tmp_path / "dataset.pkl"
    path.write_bytes(pickle.dumps(data, protocol=4))
    with pytest.raises(DataError, match="asks for builtins.eval"):
        import_paper(path, tmp_path / "a.zarr")
    assert [p.name for p in tmp_path.iterdir()] == ["dataset.pkl"]


def test_a_name_that_is_taken(make_dataset, write_dataset, tmp_path):
    path = write_dataset(make_dataset(seeds=1))
    import_paper(path, tmp_path / "a.zarr.zip")
    with pytest.raises(UsageError, match="exists"):
        import_paper(path, tmp_path / "a.zarr.zip")
    assert open_cohort(tmp_path / "a.zarr.zip").name == "a"


def test_a_further_observable_of_the_catalogue_is_not_asked_of_the_file(
    make_dataset, write_dataset, tmp_path, monkeypatch
):
    from lrplan.measure.observables import families

    act = families.get("act")
    monkeypatch.setitem(families._entries, "further", act)
    made = import_paper(write_dataset(make_dataset()), tmp_path / "paper.zarr")
    stored = made.cohort.read_variable("observables", "observable")
    assert len(stored) == 45 and sorted(stored) == sorted(NAMES)
