from __future__ import annotations

import pickle

import numpy as np
import pytest

from lrplan import open_cohort
from lrplan.cohort.check import check
from lrplan.terms import STORED_OBSERVABLES

RULES = {"sgdm", "adam", "feedback_alignment", "information_alignment"}
FIRST_AND_FINAL = ("first_performance", "final_performance")


def test_info_as_json(cli, tiny_cohort_path):
    ran = cli("cohort", "info", tiny_cohort_path, "--json")
    assert (ran.code, ran.err) == (0, "")
    found = ran.json()
    assert found["organisms"] == 24
    assert found["by_rule"] == dict.fromkeys(sorted(RULES), 6)
    assert found["architectures"] == ["mlp"]
    assert found["tasks"] == ["digits"]
    assert (found["checkpoints"], found["stimuli"], found["units_stored"]) == (5, 4, 16)
    assert found["bytes"] == sum(
        p.stat().st_size for p in tiny_cohort_path.rglob("*") if p.is_file()
    )
    for name in FIRST_AND_FINAL:
        assert set(found[name]["digits"]) == RULES
    # The most frequent digit among the 360 that are held out.
    assert found["chance"]["digits"] == pytest.approx(dict.fromkeys(RULES, 37 / 360))


def test_info_as_a_table_shows_performance_by_task_and_rule(cli, tiny_cohort_path):
    found = cli("cohort", "info", tiny_cohort_path, "--json").json()
    ran = cli("cohort", "info", tiny_cohort_path)
    assert ran.code == 0
    assert ran.out == open_cohort(tiny_cohort_path).summary() + "\n"
    rows = [" ".join(line.split()) for line in ran.out.splitlines()]
    for rule in RULES:
        shares = [found[k]["digits"][rule] for k in ("chance", *FIRST_AND_FINAL)]
        assert " ".join(["digits", rule, *(f"{100 * x:.1f} %" for x in shares)]) in rows
    assert max(map(len, ran.out.splitlines())) <= 100


def test_organisms(cli, tiny_cohort_path):
    found = cli("cohort", "organisms", tiny_cohort_path, "--json").json()
    assert len({o["id"] for o in found}) == 24
    first = found[0]
    assert [x["position"] for x in first["layers"]] == ["early", "middle", "deep"]
    assert (first["rule"], first["learning_rate"], first["batch_size"]) == ("sgdm", 0.02, 64)
    ran = cli("cohort", "organisms", tiny_cohort_path)
    assert ran.code == 0
    for organism in found:
        [line] = [x for x in ran.out.splitlines() if organism["id"] in x]
        assert organism["rule"] in line
        assert f"{100 * organism['final_performance']:.1f} %" in line
    assert max(map(len, ran.out.splitlines())) <= 100


def test_the_longest_names_fit_a_line_of_100(capsys):
    from lrplan.cli import _output
    from lrplan.cohort.texts import organism_lines

    record = {
        "id": "0123456789abcdef",
        "rule": "information_alignment",
        "architecture": "knet5_lrn",
        "task": "digits_simclr",
        "batch_size": 1024,
        "learning_rate": 0.0125,
        "model_seed": 10,
        "data_seed": 10,
        "diverged": True,
        "learned": False,
        "condition": "learning",
        "layers": [],
        "final_performance": None,
    }
    _output.show(*organism_lines([record]))
    [line] = [x for x in capsys.readouterr().out.splitlines() if "0123456789abcdef" in x]
    for word in ("information_alignment", "knet5_lrn", "digits_simclr", "0.0125", "diverged"):
        assert word in line
    assert len(line) <= 100


def test_a_missing_cohort_is_bad_data(cli, tmp_path):
    for command in ("info", "organisms"):
        ran = cli("cohort", command, tmp_path / "missing.zarr")
        assert (ran.code, ran.out, ran.err.count("\n")) == (3, "", 1)
        assert "missing.zarr" in ran.err


def test_check_says_sound_or_names_what_is_wrong(cli, tiny_cohort_path, tmp_path):
    ran = cli("cohort", "check", tiny_cohort_path)
    assert (ran.code, ran.err) == (0, "")
    assert "sound (24 organisms, 72 populations" in " ".join(ran.out.split())
    assert ran.out == check(tiny_cohort_path).summary() + "\n"
    copied = tmp_path / "copy.zarr"
    made = cli("cohort", "select", tiny_cohort_path, "--rule", "adam", "--out", copied, "--json")
    assert (made.code, made.err) == (0, "")
    assert made.json()["by_rule"] == {"adam": 6}
    (copied / "synapses/synapses/c/0/0/0").unlink()
    ran = cli("cohort", "check", copied)
    assert (ran.code, ran.err) == (3, "")
    assert "not sound: 1 fault" in ran.out and "lacks 1 chunks" in ran.out
    assert max(map(len, ran.out.splitlines())) <= 100
    ran = cli("cohort", "check", copied, "--json")
    assert ran.code == 3
    found = ran.json()
    assert (found["schema"], found["sound"]) == ("lrplan.cohort-check/1", False)
    [fault] = found["findings"]
    assert (fault["level"], fault["where"]) == ("fault", "synapses/synapses")


def test_select_and_merge(cli, tiny_cohort_path, tmp_path):
    for name, rules in (("a", ("--rule", "adam,sgdm")), ("b.zip", ("--rule", "adam"))):
        ran = cli("cohort", "select", tiny_cohort_path, *rules, "--out", tmp_path / name)
        assert (ran.code, ran.err) == (0, "")
    assert "12 organisms" in cli("cohort", "info", tmp_path / "a").out
    both = ("cohort", "merge", tmp_path / "a", tmp_path / "b.zip", "--out", tmp_path / "c")
    ran = cli(*both)
    assert (ran.code, ran.out, ran.err.count("\n")) == (3, "", 1)
    assert "--skip-duplicates" in ran.err
    ran = cli(*both, "--skip-duplicates", "--name", "mine")
    assert ran.code == 0
    assert "6 organisms" in ran.err
    assert cli("cohort", "info", tmp_path / "c", "--json").json()["name"] == "mine"
    ran = cli(*both)
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert "exists" in ran.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("select", "starter", "--rule", "adm", "--out", "x"), "nearest: adam"),
        (("select", "starter", "--batch-size", "many", "--out", "x"), "not a whole number"),
        (("select", "starter"), "--out"),
        (("merge", "starter", "--out", "x"), "1 cohort given"),
        (("merge", "--out", "x"), "Missing argument"),
        (("import", "--out", "x"), "Missing argument"),
    ],
)
def test_mistakes_of_usage(cli, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    ran = cli("cohort", *arguments)
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert said in ran.err
    assert not list(tmp_path.iterdir())


@pytest.fixture
def dataset(tmp_path):
    """A data set in the form of the published one: 20 organisms of 2 layers."""
    rows = [
        (r, s, x)
        for r in ("sgdm", "adam", "feedback", "information")
        for s in range(5)
        for x in ("conv1", "fc")
    ]
    meta = np.array(
        [(r, "alexnet", "imagenet", 256, s, 0, x) for r, s, x in rows],
        dtype=[
            ("rule", "O"),
            ("arch", "O"),
            ("task", "O"),
            ("batch_size", "i8"),
            ("model_seed", "i8"),
            ("data_seed", "i8"),
            ("layer", "O"),
        ],
    )
    keys = list(STORED_OBSERVABLES)
    data = {
        "X": np.random.default_rng(0).random((len(rows), 21, len(keys))),
        "Y": meta["rule"],
        "X_cat": np.repeat(np.eye(3)[[0, 2] * 20][:, None], 21, axis=1),
        "meta": meta.view(np.recarray),
        "obs_keys": keys,
    }
    path = tmp_path / "dataset.pkl"
    path.write_bytes(pickle.dumps(data, protocol=2))
    return path


def test_an_imported_cohort_is_shown_without_invented_numbers(cli, dataset, tmp_path):
    out = tmp_path / "paper.zarr"
    ran = cli("cohort", "import", dataset, "--out", out)
    assert ran.code == 0
    assert "20 organisms, 40 populations" in " ".join(ran.out.split())
    assert "arch is the architecture" in ran.err
    assert "does not say the learning rate" in ran.err
    ran = cli("cohort", "info", out)
    assert ran.code == 0
    told = " ".join(ran.out.split())
    assert "diverged" not in told and "--units all --noise 0" in told
    assert "Performance is not recorded" in told
    assert cli("cohort", "info", out, "--json").json()["units_stored"] is None
    ran = cli("cohort", "organisms", out)
    assert ran.code == 0
    assert "conv1 (early), fc (deep)" in ran.out and "nan" not in ran.out
    assert cli("cohort", "check", out).code == 0
    ran = cli("design", "--cohort", out)
    assert (ran.code, ran.out) == (3, "")
    assert "--units all --noise 0" in ran.err


def test_a_map_and_a_dangerous_file(cli, dataset, tmp_path):
    names = tmp_path / "names.toml"
    names.write_text('[meta]\nlayer = "ignore"\n')
    ran = cli("cohort", "import", dataset, "--map", names, "--out", tmp_path / "x")
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert "no field for the layer" in ran.err
    dataset.write_bytes(b"cos\nsystem\n(S'touch evil'\ntR.")
    ran = cli("cohort", "import", dataset, "--out", tmp_path / "x")
    assert (ran.code, ran.out, ran.err.count("\n")) == (3, "", 1)
    assert "asks for os.system" in ran.err
