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
rule = ["sgdm", "feedback_alignment"]
architecture = "mlp"
task = "digits"
[training]
epochs = 4
[architectures.mlp]
width = 16
depth = 2
[tune]
rungs = 2
candidates = 3
seeds = 1
"""
WILD = "[tune.learning_rate]\nsgdm = [1e5]\nfeedback_alignment = [1e-6, 0.1]\n"


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "small.toml"
    path.write_text(SMALL)
    return path


def test_a_search_writes_a_recipe_that_simulate_takes(process, cli, recipe, tmp_path):
    out = tmp_path / "tuned.toml"
    ran = process("tune", recipe, "--out", out, "--workers", 1, "--device", "cpu", "--json")
    assert ran.code == 0, ran.err
    found = ran.json()
    assert found["schema"] == "lrplan.tune/1"
    assert (found["trained"], found["tried"], found["unresolved"]) == (10, 10, 0)
    assert [f["rule"] for f in found["found"]] == ["sgdm", "feedback_alignment"]
    assert all(f["trial"]["outcome"] == "chosen" for f in found["found"])
    assert all(f["on_edge"] == bool(f["edges"]) for f in found["found"])
    assert all(f["edges"] == f["trial"]["edges"] for f in found["found"])
    assert found["on_edge"] == sum(f["on_edge"] for f in found["found"])
    lines = ran.err.splitlines()
    assert (lines[0], lines[-1]) == ("lrplan: training 10 organisms", "lrplan: 10 of 10 organisms")
    assert found["table"] == str(tmp_path / "tuned.tsv")
    again = cli("tune", recipe, "--out", out, "--device", "cpu")
    assert (again.code, again.out) == (2, "")
    assert "exists; nothing is overwritten" in again.err
    planned = cli("simulate", out, "--out", tmp_path / "c.zarr", "--dry-run", "--quiet", "--json")
    assert planned.json()["organisms"] == 2


@pytest.mark.slow
def test_what_is_found_depends_neither_on_workers_nor_on_a_kill(process, recipe, tmp_path):
    recipe.write_text(SMALL.replace("rungs = 2", "rungs = 1"))
    tables = []
    for workers in (1, 2):
        folder = tmp_path / str(workers)
        folder.mkdir()
        line = [*("tune", recipe, "--out", folder / "tuned.toml"), "--workers", workers]
        line += ["--device", "cpu", "--quiet"]
        if workers == 2:
            run = subprocess.Popen([sys.executable, "-m", "lrplan.cli", *map(str, line)])
            limit = time.monotonic() + 120
            partial = folder / "tuned.toml.partial"
            while not list(partial.glob("[!.]*.npz")) and time.monotonic() < limit:
                time.sleep(0.01)
            os.kill(run.pid, signal.SIGKILL)
            run.wait()
            assert list(partial.glob("[!.]*.npz"))
            assert not (folder / "tuned.toml").exists()
        ran = process(*line)
        assert ran.code == 0, ran.err
        tables.append([(folder / name).read_text() for name in ("tuned.toml", "tuned.tsv")])
    assert tables[0] == tables[1]


def test_nothing_found_is_named_and_has_its_exit_code(process, recipe, tmp_path):
    recipe.write_text(SMALL.replace("rungs = 2", "rungs = 1") + WILD)
    out = tmp_path / "tuned.toml"
    ran = process("tune", recipe, "--out", out, "--workers", 1, "--device", "cpu", "--quiet")
    assert (ran.code, ran.err) == (4, "")
    told = " ".join(ran.out.split())
    assert "Nothing was found for sgdm, mlp, digits: all candidates diverged." in told
    assert "feedback_alignment mlp digits 0.1 " in told
    assert "At the edge of the search space, where what lies beyond was not tried" in told
    assert "feedback_alignment, mlp, digits: learning_rate the highest that was tried" in told
    assert "sgdm = 0.05\n" in out.read_text()


@pytest.mark.parametrize(
    ("extra", "code", "told"),
    [
        (WILD.replace("1e5", "0"), 2, "0 is no learning rate"),
        (WILD.replace("[1e5]", "[]"), 2, "learning_rate of sgdm is empty"),
        (WILD.replace("sgdm", "sgd"), 2, "nearest: sgdm"),
        ("[tune", 3, "not valid TOML"),
        ("[tasks.digits]\nedge = 3", 2, "unknown key 'edge'"),
    ],
)
def test_a_wrong_search_space_is_refused_before_anything_is_written(
    cli, recipe, tmp_path, extra, code, told
):
    recipe.write_text(SMALL + extra)
    ran = cli("tune", recipe, "--out", tmp_path / "tuned.toml")
    assert (ran.code, ran.out, ran.err.count("\n")) == (code, "", 1)
    assert told in ran.err
    assert [p.name for p in tmp_path.iterdir()] == [recipe.name]


def test_notes_and_progress_of_a_search_reach_the_user(cli, recipe, tmp_path, monkeypatch):
    from lrplan.cli.simulate import Account
    from lrplan.simulate.run import tune

    shares = []

    def search(recipe, out, *, on_start, on_note, on_progress, **_):
        on_start(0, 10)
        on_note("less memory is free than was expected")
        on_progress(0.25)
        raise KeyboardInterrupt

    monkeypatch.setattr(tune, "tune", search)
    monkeypatch.setattr(Account, "progress", lambda self, share: shares.append(share))
    ran = cli("tune", recipe, "--out", tmp_path / "tuned.toml")
    assert (ran.code, shares) == (130, [0.25])
    assert "lrplan: less memory is free than was expected\n" in ran.err


def test_a_dry_run_says_what_a_search_takes_and_writes_nothing(cli, recipe, tmp_path):
    arguments = ("tune", recipe, "--out", tmp_path / "tuned.toml", "--device", "cpu", "--dry-run")
    found = cli(*arguments, "--json", "--quiet").json()
    assert found["schema"] == "lrplan.tune.plan/1"
    assert (found["searches"], found["organisms"], found["done"]) == (2, 10, 0)
    assert found["rungs"] == [
        {"epochs": [2], "candidates": 6, "organisms": 6},
        {"epochs": [4], "candidates": 4, "organisms": 4},
    ]
    assert found["work_seconds"] > 0
    ran = cli(*arguments)
    told = "small: rates are searched for 2 combinations of rule, architecture and task; about 10"
    assert " ".join(ran.out.split()).startswith(f"{told} organisms")
    assert "Data of digits: ready" in ran.out
    assert [p.name for p in tmp_path.iterdir()] == [recipe.name]


def test_what_is_at_an_edge_is_said_once_whatever_the_number_of_grids():
    from types import SimpleNamespace

    from lrplan.cli.tune import _edge_lines

    def found(rule, **edges):
        spec = SimpleNamespace(rule=rule, architecture="mlp", task="digits")
        return SimpleNamespace(cell=SimpleNamespace(spec=spec), edges=edges)

    low, high = {"learning_rate": "lowest"}, {"learning_rate": "highest"}
    every = [found("sgdm", **low), found("sgdm", **low), found("adam"), found("sgdm", **high)]
    told = list(_edge_lines(SimpleNamespace(on_edge=[f for f in every if f.edges])))
    assert told[1:] == [
        "  sgdm, mlp, digits: learning_rate the lowest and learning_rate the highest that was tried"
    ]
    assert list(_edge_lines(SimpleNamespace(on_edge=[]))) == []
