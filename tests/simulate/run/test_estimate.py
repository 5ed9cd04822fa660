"""What a run will take, told before it starts."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import lrplan
from lrplan.errors import UsageError
from lrplan.simulate.learn.train import train
from lrplan.simulate.run.estimate import _extents, _kind, _Steps, disk_bytes, estimate
from lrplan.simulate.run.recipe import parse_recipe, read_recipe
from lrplan.simulate.run.shards import Shard
from lrplan.simulate.run.simulate import simulate

RECIPES = Path(__file__).parents[3] / "recipes"


def size_of(path: Path) -> int:
    return sum(p.stat().st_size for p in path.rglob("*") if p.is_file())


def test_organisms_are_counted_by_factor_and_by_what_is_done(tiny, parts, tmp_path):
    out = tmp_path / "tiny.zarr"
    partial = tmp_path / "tiny.zarr.partial"
    partial.mkdir()
    for part in parts[:3]:
        shutil.copy(part, partial)
    found = estimate(tiny, out, workers=2, device="cpu")
    assert (found.organisms, found.done) == (8, 3)
    assert found.factors == {
        "rule": {"information_alignment": 4, "sgdm": 4},
        "architecture": {"mlp": 8},
        "task": {"digits": 4, "digits_simclr": 4},
        "batch_size": {64: 8},
        "model_seed": {0: 4, 1: 4},
        "data_seed": {0: 8},
    }
    assert found.timed == found.kinds
    assert found.wall_s is not None and found.work_s is not None
    assert 0 < found.wall_s <= found.work_s
    assert [(d.task, d.problem) for d in found.data] == [("digits", None), ("digits_simclr", None)]
    assert sorted(p.name for p in partial.iterdir()) == sorted(p.name for p in parts[:3])


def test_a_cohort_that_is_there_takes_no_time(tiny, parts, tmp_path):
    out = tmp_path / "tiny.zarr"
    partial = tmp_path / "tiny.zarr.partial"
    partial.mkdir()
    for part in parts:
        shutil.copy(part, partial)
    found = estimate(tiny, out, device="cpu")
    assert (found.done, found.work_s, found.wall_s) == (8, 0, 0)
    simulate(tiny, out, device="cpu")
    found = estimate(tiny, out, device="cpu")
    assert (found.done, found.work_s, found.kinds) == (8, 0, 0)


def test_what_would_be_refused_is_refused(tiny, tiny_text, tmp_path):
    (tmp_path / "mine.zarr").write_text("mine")
    with pytest.raises(UsageError, match="exists and is not this recipe's cohort"):
        estimate(tiny, tmp_path / "mine.zarr", device="cpu")
    wide = parse_recipe(tiny_text.replace("width = 16", "width = 0"))
    with pytest.raises(UsageError, match="mlp.width is 0"):
        estimate(wide, tmp_path / "tiny.zarr", device="cpu")


def test_a_shard_is_estimated_by_itself(tiny, tmp_path):
    every = [
        estimate(tiny, tmp_path / "t.zarr", device="cpu", shard=Shard(i, 3)) for i in (1, 2, 3)
    ]
    assert sum(found.organisms for found in every) == 8


def test_time_is_that_of_training_within_a_factor(tiny_text, tmp_path):
    """Loose, because machines are busy: it is there to find a forgotten factor of ten."""
    import time

    text = tiny_text.replace("epochs = 1", "epochs = 30").replace('"information_alignment"', "")
    recipe = parse_recipe(text.replace('["digits", "digits_simclr"]', '"digits"'))
    found = estimate(recipe, tmp_path / "t.zarr", workers=1, device="cpu")
    began = time.perf_counter()
    train(list(recipe.specs), recipe.storage, device="cpu")
    took = time.perf_counter() - began
    assert found.work_s is not None
    assert took / 10 < found.work_s < took * 10


def test_each_half_of_a_pretrained_organism_counts_half_of_the_data(tiny_text):
    def seconds(training):
        text = tiny_text.replace("epochs = 1", f"epochs = 10\n{training}")
        specs = list(parse_recipe(text).specs)
        steps = _Steps("cpu", _extents(specs, parse_recipe(text).storage), 0.0)
        steps.measured[_kind(specs[:1])] = (1.0, 0.0)
        return steps.seconds(specs[:1])

    # 1,437 images in batches of 64; one half after the other, ten epochs and twenty.
    assert seconds("") == 10 * 22
    assert seconds('start = "pretrained"\npretrain_epochs = 20') == (10 + 20) * 11


def test_a_network_that_is_not_timed_is_scaled_by_its_multiplications(tiny_text):
    def recipe(width, depth):
        text = tiny_text.replace("width = 16", f"width = {width}\ndepth = {depth}")
        return parse_recipe(text)

    timed, other = recipe(16, 2), recipe(32, 3)
    stack = list(timed.specs[:1])
    steps = _Steps("cpu", _extents([*stack, *other.specs], timed.storage), 0.0)
    steps.measured[_kind(stack)] = (1.0, 1.0)
    # 8 x 8 pixels, ten classes; two weighted layers and three, besides the readout.
    assert steps._size(stack) == (3, 64 * 16 + 16 * 16 + 16 * 10)
    fixed, slope = steps._scaled(list(other.specs[:2]))
    assert fixed == 2 * 4 / 3
    assert slope == 2 * (64 * 32 + 2 * 32 * 32 + 32 * 10) / (64 * 16 + 16 * 16 + 16 * 10)


def test_a_random_cohort_is_timed_by_some_draws_of_all_rules_and_tasks(monkeypatch):
    text = """
[draw]
count = 30
rule = ["sgdm", "adam"]
architecture = "knet4"
task = ["digits", "shapes"]
[draw.architectures.knet4]
channels = [[1], [2], [3], [4], [5], [6]]
"""
    made = parse_recipe(text)
    order = []
    monkeypatch.setattr(_Steps, "_line", lambda self, stack: order.append(stack[0]) or (0.0, 1.0))
    steps = _Steps("cpu", _extents(made.specs, made.storage), 60.0)
    steps.time([[spec] for spec in made.specs])
    assert {(s.rule, s.task) for s in order[:4]} == {
        (rule, task) for rule in ("sgdm", "adam") for task in ("digits", "shapes")
    }
    assert len(order) == steps.kinds > 4


def test_disk_of_the_starter_cohort():
    recipe = read_recipe(RECIPES / "starter.toml")
    found, _ = disk_bytes(recipe.specs, recipe.storage, _extents(recipe.specs, recipe.storage))
    real = lrplan.open_cohort("starter").info()["bytes"]
    assert 0.7 < found / real < 1.4


def test_disk_of_a_small_cohort_and_of_its_parts(tiny, parts, tmp_path):
    cohort, beside = disk_bytes(tiny.specs, tiny.storage, _extents(tiny.specs, tiny.storage))
    assert 0.4 < beside / sum(p.stat().st_size for p in parts) < 1.2
    partial = tmp_path / "tiny.zarr.partial"
    partial.mkdir()
    for part in parts:
        shutil.copy(part, partial)
    simulate(tiny, tmp_path / "tiny.zarr", device="cpu")
    assert 0.5 < cohort / size_of(tmp_path / "tiny.zarr") < 2


@pytest.mark.parametrize("bits", [8, 16])
def test_disk_grows_with_what_is_stored(tiny_text, bits):
    def size(units):
        text = tiny_text.replace("units = 20", f"units = {units}\nbits = {bits}")
        text = text.replace("width = 16", "width = 4000")
        recipe = parse_recipe(text)
        return disk_bytes(recipe.specs, recipe.storage, _extents(recipe.specs, recipe.storage))

    small, large = np.array(size(20)), np.array(size(4000))
    assert (large > 2 * small).all()


def test_missing_data_are_reported_and_the_rest_is_estimated(tiny_text, tmp_path, monkeypatch):
    monkeypatch.delenv("LRPLAN_DATA", raising=False)
    text = tiny_text.replace('"mlp"\n', '"knet4"\n').replace(
        "[architectures.mlp]\nwidth = 16", "[architectures.knet4]\nchannels = [2, 2]"
    )
    recipe = parse_recipe(text.replace('["digits", "digits_simclr"]', '["digits", "cifar10"]'))
    found = estimate(recipe, tmp_path / "t.zarr", device="cpu")
    problems = {d.task: d.problem for d in found.data}
    assert problems["digits"] is None
    assert problems["cifar10"] is not None
    assert "--data" in problems["cifar10"]
    assert found.work_s is not None


def test_what_is_not_timed_is_scaled_from_what_is(tiny_text, tmp_path):
    recipe = parse_recipe(tiny_text)
    found = estimate(recipe, tmp_path / "t.zarr", device="cpu", budget_s=0.0)
    assert (found.timed, found.work_s) == (0, None)
    found = estimate(recipe, tmp_path / "t.zarr", device="cpu", budget_s=1e-6)
    assert found.timed <= 1


@pytest.mark.slow
def test_the_recipe_of_the_paper_is_estimated_in_bounded_time(tmp_path, monkeypatch):
    monkeypatch.delenv("LRPLAN_DATA", raising=False)
    recipe = read_recipe(RECIPES / "nayebi2020.toml")
    found = estimate(recipe, tmp_path / "t.zarr", device="cpu", budget_s=5.0)
    assert found.organisms == 1056
    assert {d.task.split(",")[0] for d in found.data if d.problem} == {
        "imagenet",
        "simclr",
        "wsn",
        "cifar10",
    }
    assert found.timed >= 1
    assert found.cohort_bytes > 100_000_000
