from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

SMALL = """
name = "small"
[grid]
rule = ["sgdm", "adam"]
architecture = "mlp"
task = "digits"
[training]
epochs = 1
checkpoints = 3
[architectures.mlp]
width = 16
[storage]
units = 8
stimuli = 2
synapses = 8
pairs = 2
pair_stimuli = 1
validation = 2
"""


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "small.toml"
    path.write_text(SMALL)
    return path


def test_a_recipe_becomes_a_cohort_once(process, cli, recipe, tmp_path):
    out = tmp_path / "small.zarr"
    ran = process("simulate", recipe, "--out", out, "--workers", 1, "--device", "cpu", "--json")
    assert ran.code == 0, ran.err
    found = ran.json()
    assert (found["organisms"], found["trained"], found["diverged"]) == (2, 2, 0)
    *told, few = ran.err.splitlines()
    assert told == ["lrplan: training 2 organisms", "lrplan: 2 of 2 organisms"]
    assert f"{out} holds fewer than 5 usable organisms of a rule (" in few
    again = cli("simulate", recipe, "--out", out, "--json")
    assert again.code == 0
    assert again.json()["trained"] == 0
    assert "nothing was trained" in again.err
    ran = cli("simulate", recipe, "--out", out, "--quiet")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith(f"{out}: 2 organisms, 0 diverged")


def test_a_table_of_angles_is_named(cli, recipe, tmp_path):
    asking = tmp_path / "asking.toml"
    asking.write_text(recipe.read_text().replace("[storage]", "[storage]\nangles = true"))
    out = tmp_path / "small.zarr"
    ran = cli("simulate", asking, "--out", out, "--workers", 1, "--device", "cpu")
    assert ran.code == 0, ran.err
    assert f"{out}.angles.csv: how well errors align" in ran.err


@pytest.mark.slow
def test_ctrl_c_says_what_is_kept_and_the_same_command_goes_on(process, tmp_path):
    recipe = tmp_path / "many.toml"
    seeds = ", ".join(map(str, range(20)))
    recipe.write_text(SMALL.replace("[training]", f"model_seed = [{seeds}]\n[training]"))
    out = tmp_path / "many.zarr"
    # Where the tests themselves run in the background, a shell has told them to ignore Ctrl-C.
    listening = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "from lrplan.cli.main import run; run()"
    )
    line = [sys.executable, "-c", listening, "simulate", str(recipe), "--out", str(out)]
    line += ["--workers", "1", "--device", "cpu"]
    run = subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    partial = tmp_path / "many.zarr.partial"
    limit = time.monotonic() + 120
    while len(list(partial.glob("[!.]*.npz"))) < 2 and time.monotonic() < limit:
        time.sleep(0.02)
    os.killpg(run.pid, signal.SIGINT)
    stdout, stderr = run.communicate(timeout=60)
    assert (run.returncode, stdout) == (130, "")
    last = stderr.splitlines()[-1]
    assert last.startswith("lrplan: interrupted; ")
    assert f"of 40 organisms are finished and kept in {partial}" in last
    assert "Traceback" not in stderr
    assert not out.exists()
    ran = process("simulate", recipe, "--out", out, "--workers", 1, "--device", "cpu")
    assert ran.code == 0, ran.err
    assert "of 40 organisms are there already" in ran.err
    assert ran.out.startswith(f"{out}: 40 organisms")
    assert not partial.exists()


def test_an_output_that_is_something_else_is_kept(cli, recipe, tmp_path):
    out = tmp_path / "mine.zarr"
    out.write_text("mine")
    ran = cli("simulate", recipe, "--out", out)
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert "exists" in ran.err
    assert out.read_text() == "mine"


@pytest.mark.parametrize(
    ("old", "new", "code", "told"),
    [
        ('"sgdm"', '"sgdmm"', 2, "nearest: sgdm"),
        ('"mlp"', '"mpl"', 2, "nearest: mlp"),
        ('"digits"', '"digit"', 2, "nearest: digits"),
        ("epochs = 1", "epochs = 0", 2, "epochs is 0"),
        ("epochs", "epoch", 2, "nearest: epochs"),
        ("[grid]", "[grid", 3, "not valid TOML"),
    ],
)
def test_a_wrong_recipe_is_refused_before_anything_is_written(
    cli, recipe, tmp_path, old, new, code, told
):
    recipe.write_text(SMALL.replace(old, new))
    ran = cli("simulate", recipe, "--out", tmp_path / "out.zarr")
    assert (ran.code, ran.out, ran.err.count("\n")) == (code, "", 1)
    assert told in ran.err
    assert [p.name for p in tmp_path.iterdir()] == [recipe.name]


def test_a_dry_run_says_what_a_run_takes_and_writes_nothing(cli, recipe, tmp_path):
    out = tmp_path / "small.zarr"
    arguments = ("simulate", recipe, "--out", out, "--device", "cpu", "--dry-run")
    ran = cli(*arguments, "--json", "--workers", 2)
    assert ran.code == 0, ran.err
    found = ran.json()
    assert found["schema"] == "lrplan.simulate.estimate/1"
    assert (found["organisms"], found["done"], found["workers"]) == (2, 0, 2)
    assert found["factors"]["rule"] == {"adam": 1, "sgdm": 1}
    assert found["work_seconds"] >= found["wall_seconds"] > 0
    assert found["data"] == [{"task": "digits", "problem": None}]
    assert found["cohort_bytes"] > 0
    ran = cli(*arguments)
    assert ran.out.startswith("small: 2 organisms, 0 of them finished\n")
    assert "Data of digits: ready" in ran.out
    assert "Disk: about " in ran.out
    few = "small has fewer than 5 organisms of a rule (1 of sgdm, 1 of adam)"
    assert few in ran.err
    assert [p.name for p in tmp_path.iterdir()] == [recipe.name]
    seeds = recipe.read_text().replace("[training]", "model_seed = [0, 1, 2, 3, 4]\n[training]")
    recipe.write_text(seeds)
    assert "fewer than" not in cli(*arguments).err


def test_a_factor_of_many_values_is_told_by_its_range():
    from lrplan.cli.simulate import _counts_words

    assert _counts_words({"adam": 4000, "sgdm": 3}) == "adam: 4,000, sgdm: 3"
    assert _counts_words(dict.fromkeys(range(400), 4)) == "400 values from 0 to 399, 4 of each"
    counts = {size: size for size in range(16, 1129)}
    assert _counts_words(counts) == "1,113 values from 16 to 1128, 16 to 1,128 of each"


def test_a_dry_run_names_missing_data(cli, recipe, tmp_path, monkeypatch):
    monkeypatch.delenv("LRPLAN_DATA", raising=False)
    recipe.write_text(SMALL.replace('"digits"', '["digits", "cifar10"]'))
    arguments = ("simulate", recipe, "--out", tmp_path / "o", "--device", "cpu", "--dry-run")
    ran = cli(*arguments, "--json", "--quiet")
    assert (ran.code, ran.err) == (0, "")
    problems = {d["task"]: d["problem"] for d in ran.json()["data"]}
    assert problems["digits"] is None
    assert "--data" in problems["cifar10"]
    ran = cli(*arguments, "--data", tmp_path)
    assert f"Data of cifar10: MISSING: no data of the task 'cifar10' at {tmp_path}" in " ".join(
        ran.out.split()
    )
    # Without --dry-run that is an error, before anything is written.
    ran = cli("simulate", recipe, "--out", tmp_path / "o", "--data", tmp_path)
    assert (ran.code, ran.out) == (3, "")
    assert [p.name for p in tmp_path.iterdir()] == [recipe.name]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--shard", "3/2"), "shard 3/2 does not exist; shards are counted from 1"),
        (("--shard", "half"), "shard is 'half'; expected INDEX/COUNT"),
        (("--shard", "1/2", "--scheduler", "tcp://h:1"), "--scheduler and --shard exclude"),
        (("--cluster", "slurm", "--scheduler", "tcp://h:1"), "--scheduler and --cluster exclude"),
        (("--cluster", "slrm"), "unknown cluster 'slrm'; nearest: slurm"),
        (("--jobs", 3), "--jobs describes Slurm jobs; give it with --cluster slurm"),
        (("--memory", "3GB"), "--memory describes Slurm jobs"),
        (("--cluster", "slurm", "--jobs", 0), "jobs is 0"),
        (("--scheduler", "tcp://h:1", "--workers", 2), "--workers is about this machine"),
        (("--scheduler", "nowhere"), "scheduler is 'nowhere'; expected an address such as tcp://"),
        (("--data", "/nowhere/at/all"), "the data folder /nowhere/at/all does not exist"),
        (("--data", "/nowhere/at/all", "--dry-run"), "the data folder /nowhere/at/all does not"),
    ],
)
def test_options_that_cannot_be_are_refused(cli, recipe, tmp_path, options, told):
    ran = cli("simulate", recipe, "--out", tmp_path / "o.zarr", "--quiet", *options)
    assert (ran.out, ran.err.count("\n")) == ("", 1)
    assert ran.code == (3 if "--data" in options else 2)
    assert told in ran.err
    assert not list(tmp_path.rglob("*.npz"))
    assert not (tmp_path / "o.zarr").exists()


def test_shards_become_one_cohort(cli, recipe, tmp_path):
    from lrplan.simulate.run.recipe import read_recipe
    from lrplan.simulate.run.shards import Shard
    from lrplan.simulate.run.work import stacks_of

    # The two organisms may be one stack, which goes to one shard.
    made = read_recipe(recipe)
    stacks = stacks_of(made.specs, made.storage, "cpu")
    empty = next(i for i in (1, 2, 3) if not Shard(i, 3).of(stacks))
    out = tmp_path / "small.zarr"
    arguments = ("simulate", recipe, "--out", out, "--workers", 1, "--device", "cpu", "--shard")
    ran = cli(*arguments, f"{empty}/3", "--json")
    assert (ran.code, ran.json()["missing"], ran.json()["cohort"]) == (0, 2, None)
    ran = cli(*arguments, f"{empty}/3")
    assert "trained 0 organisms; 2 of the recipe are missing" in ran.out
    for i in {1, 2, 3} - {empty}:
        ran = cli(*arguments, f"{i}/3", "--json")
        assert ran.code == 0, ran.err
    assert (ran.json()["missing"], ran.json()["organisms"]) == (0, 2)
    assert [p.name for p in sorted(tmp_path.iterdir())] == [recipe.name, "small.zarr"]


def test_the_account_counts_the_diverged(capsys):
    from lrplan.cli.simulate import Account

    account = Account(quiet=False)
    account.start(3, 5)
    account.advance(True)
    account.advance(False)
    assert account.trained == 2
    err = capsys.readouterr().err.splitlines()
    assert err[0] == "lrplan: going on: 3 of 5 organisms are there already"
    assert err[-1] == "lrplan: 5 of 5 organisms, 1 diverged in this run"


def test_the_account_knows_the_time_left_when_something_is_done(capsys):
    from lrplan.cli.simulate import Account

    account = Account(quiet=False)
    account.start(0, 4)
    assert account.left_s is None
    account.progress(0.5)  # of four organisms in training none is finished
    assert account.trained == 0
    assert account.left_s is not None
    account.progress(1.0)
    assert account.left_s == 0


def test_the_account_of_more_organisms_than_expected_says_no_time_left(capsys, monkeypatch):
    from lrplan.cli import simulate

    monkeypatch.setattr(simulate, "LINE_SECONDS", 0)
    account = simulate.Account(quiet=False)
    account.start(3, 2)
    for _ in range(2):
        account.advance(False)
    account.progress(1.2)
    assert account.left_s == 0
    assert capsys.readouterr().err.splitlines() == [
        "lrplan: going on: 3 of 3 organisms are there already",
        "lrplan: training 0 organisms",
        "lrplan: 4 of 4 organisms",
        "lrplan: 5 of 5 organisms",
        "lrplan: 5 of 5 organisms",
    ]
