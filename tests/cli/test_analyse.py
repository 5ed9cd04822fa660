"""``lrplan analyse``."""

from __future__ import annotations

import csv
from typing import Annotated

import numpy as np
import pytest
import xarray as xr

from lrplan.analyses import FLAG, WHOLES, Analysis, Option, Result, analyses


def test_table_names_the_cohort_and_every_figure(cli, tiny_cohort_path):
    ran = cli("analyse", "clustering", tiny_cohort_path, "--measure", "activity")
    assert ran.code == 0
    assert ran.err == "lrplan: clustering of the cohort tiny\n"
    assert ran.out.startswith("clustering of the cohort tiny: ")
    assert "position" in ran.out and "rand" in ran.out
    assert "Warning: the cohort has one architecture" in " ".join(ran.out.split())


def test_json_files_and_plot_depend_on_the_seed_alone(cli, tiny_cohort_path, tmp_path):
    line = (
        *("analyse", "separation", tiny_cohort_path, "--measure", "activity,weights"),
        *("--classifier", "linear_svm", "--splits", 4, "--split", "organism,layer"),
        *("--seed", 3, "--json"),
    )
    files = [tmp_path / n for n in ("a.csv", "a.png")]
    ran = cli(*line, "--out", files[0], "--plot", files[1])
    assert ran.code == 0, ran.err
    found = ran.json()
    assert found["schema"] == "lrplan.analysis/1"
    assert found["analysis"] == "separation"
    assert found["columns"][:4] == ["measure", "classifier", "split", "accuracy"]
    assert len(found["rows"]) == 4
    assert any("split by layer" in w for w in found["warnings"])
    with files[0].open(encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows[0] == found["columns"]
    assert [float(r[3]) for r in rows[1:]] == [r[3] for r in found["rows"]]
    assert files[1].read_bytes().startswith(b"\x89PNG")
    again = cli(*line, "--quiet")
    assert (again.code, again.err, again.out) == (0, "", ran.out)


def test_netcdf_holds_the_labelled_arrays(cli, tiny_cohort_path, tmp_path):
    out = tmp_path / "c.nc"
    ran = cli("analyse", "clustering", tiny_cohort_path, "--out", out, "--json", "--quiet")
    assert ran.code == 0, ran.err
    with xr.open_dataset(out, engine="scipy") as data:
        assert data["rand"].dims == ("measure", "label")
        assert data["rand"].values.tolist() == ran.json()["data"]["rand"]["values"]
        assert data.attrs["cohort"] == "tiny"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("clusterin",), "unknown analysis 'clusterin'; nearest: clustering"),
        (("clustering", "--splits", 3), "clustering has no --splits; "),
        (("thirds", "--measure", "act"), "unknown measure 'act'"),
        (("thirds", "--classifier", "forest"), "unknown classifier 'forest'"),
        (("separation", "--splts=3"), "separation has no --splts; nearest: --splits, --split"),
        (("subsampling", "--samples", "two"), "'--samples': 'two'; expected a whole number or"),
        (("importance", "--measure", "activity,weights"), "unknown measure 'activity,weights'"),
        (("thirds", "--out", "a.txt"), "--out a.txt: expected a name that ends in .csv, .nc"),
        (("thirds", "--plot", "a.txt"), "--plot a.txt: expected a name"),
        (("separation", "--splits", 1000), "1000 splits were asked"),
    ],
)
def test_a_mistake_is_named(cli, tiny_cohort_path, arguments, text):
    name, *options = arguments
    ran = cli("analyse", name, tiny_cohort_path, "--quiet", *options)
    assert ran.code == 2
    assert text in ran.err
    assert ran.err.count("\n") == 1 and ran.out == ""


def test_an_analysis_shows_its_own_options_and_their_defaults(cli):
    ran = cli("analyse", "equal_performance", "--help")
    assert ran.code == 0
    shown = " ".join(ran.out.split())
    for text in ("--match NAME", "none,organisms,checkpoints,lowest", "--tolerance", "0.02"):
        assert text in shown
    assert "--period" not in shown
    ran = cli("analyse", "--help")
    assert ran.code == 0
    assert "lrplan analyse NAME --help" in " ".join(ran.out.split())


def test_options_may_come_before_the_name(cli, tiny_cohort_path):
    line = ("--shuffle-labels", "--measure", "activity", "--json", "-q")
    before = cli("analyse", *line, "clustering", tiny_cohort_path)
    after = cli("analyse", "clustering", tiny_cohort_path, *line)
    assert before.code == after.code == 0
    assert before.json() == after.json()


def count(
    cohort: object,
    *,
    rng: np.random.Generator,
    steps: Annotated[list[int], Option("How many.", WHOLES, metavar="N")] = (1, 2),
    down: Annotated[bool, Option("From above.", FLAG)] = False,
) -> Result:
    """Count steps."""
    data = xr.Dataset({"height": ("step", [float(s) for s in steps])}, {"step": list(steps)})
    return Result("counting", "tiny", {"steps": steps, "down": down}, data, "height", [])


def test_options_of_a_plug_in_reach_it(cli, tiny_cohort_path, monkeypatch):
    analyses.names()
    monkeypatch.setattr(analyses, "_entries", dict(analyses._entries))
    plug_in = Analysis("counting", "how many", "a test", "nothing", count, lambda *a, **k: None)
    analyses.add("counting", plug_in)
    assert "--steps N" in cli("analyse", "counting", "--help").out
    ran = cli("analyse", "--down", "--steps", "3,5", "counting", tiny_cohort_path, "--json", "-q")
    assert ran.json()["options"] == {"steps": [3, 5], "down": True}
    assert ran.json()["rows"] == [[3, 3.0], [5, 5.0]]
    ran = cli("analyse", "counting", tiny_cohort_path, "--stps", 3)
    assert ran.code == 2
    assert "counting has no --stps; nearest: --steps" in ran.err


def test_what_the_cohort_lacks_is_named(cli, tiny_cohort_path):
    ran = cli("analyse", "pretrained", tiny_cohort_path, "--quiet")
    assert ran.code == 3
    assert "training.start" in ran.err


def test_a_file_that_exists_is_kept(cli, tiny_cohort_path, tmp_path):
    out = tmp_path / "a.csv"
    out.write_text("mine")
    line = ("analyse", "clustering", tiny_cohort_path, "--out", out, "--quiet")
    ran = cli(*line)
    assert (ran.code, out.read_text()) == (2, "mine")
    assert cli(*line, "--force").code == 0
    assert out.read_text() != "mine"
