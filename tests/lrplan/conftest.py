"""Cohorts of known separability, made without training."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lrplan import schema
from lrplan.cohort import Cohort, open_cohort
from lrplan.observables import all_observables

RULES = ("sgdm", "adam", "feedback_alignment", "information_alignment")


def _make_cohort(
    path: Path,
    *,
    effect: float,
    individual: float = 0.0,
    per_rule: int = 12,
    checkpoints: int = 5,
    stimuli: int = 4,
    units: int = 40,
    diverged: int = 0,
    small: int = 0,
    bits: int = 8,
    seed: int = 0,
) -> Cohort:
    """Write a cohort in which a rule's activity grows over training by a rate of its own.

    Parameters
    ----------
    path : Path
        Where it goes.
    effect : float
        Difference of the growth between one rule and the next; 0 makes rules equal.
    individual : float
        Spread of a growth that all layers of one organism share, whatever its rule.
    diverged : int
        How many of the first organisms are marked as diverged.
    small : int
        How many of the first populations hold half of the units.
    """
    rng = np.random.default_rng(seed)
    rules = [r for r in RULES for _ in range(per_rule)]
    n = len(rules)
    architectures = ["mlp" if i % 2 else "knet4" for i in range(n)]
    tasks = ["digits" if i // 2 % 2 else "digits_simclr" for i in range(n)]
    rates = [0.02 if i // 4 % 2 else 0.05 for i in range(n)]
    writer = schema.CohortWriter(path, {"name": "made", "recipe": ""})
    writer.write("organisms", "id", np.array([f"{i:016x}" for i in range(n)], dtype=object))
    for name, words in {
        "rule": rules,
        "credit": rules,
        "optimizer": ["sgdm"] * n,
        "objective": ["supervised"] * n,
        "architecture": architectures,
        "task": tasks,
    }.items():
        writer.write_categories("organisms", name, words)
    writer.write("organisms", "batch_size", np.full(n, 64, dtype=np.int32))
    writer.write("organisms", "learning_rate", np.array(rates))
    for name in ("model_seed", "data_seed"):
        writer.write("organisms", name, np.arange(n))
    writer.write("organisms", "finished", np.ones(n, dtype=np.int8))
    writer.write("organisms", "diverged", (np.arange(n) < diverged).astype(np.int8))
    writer.write("organisms", "spec", np.array([json.dumps({"i": i}) for i in range(n)], object))
    for name in ("performance", "loss"):
        writer.write("behaviour", name, rng.random((n, checkpoints), dtype=np.float32))
    writer.write("behaviour", "examples", np.tile(np.arange(checkpoints), (n, 1)))
    populations = 2 * n
    organism = np.repeat(np.arange(n), 2)
    held = np.where(np.arange(populations) < small, units // 2, units)
    writer.write("populations", "organism", organism.astype(np.int32))
    writer.write("populations", "layer", np.array(["fc1", "fc2"] * n, dtype=object))
    writer.write("populations", "layer_index", np.tile([0, 1], n).astype(np.int32))
    for name in ("units", "inputs"):
        writer.write("populations", name, held.astype(np.int32))
    writer.write("populations", "weights", np.full(populations, 1000, dtype=np.int32))
    writer.write_categories("populations", "layer_position", ["early", "deep"] * n)
    growth = np.array([RULES.index(r) for r in rules])[organism] * effect
    growth = growth + individual * rng.random(n)[organism]
    gain = 1 + growth[:, None] * np.linspace(0, 1, checkpoints)
    base = np.maximum(rng.standard_normal((populations, 1, stimuli, units)), 0)
    responses = base * gain[:, :, None, None]
    responses[np.broadcast_to(np.arange(units) >= held[:, None, None, None], responses.shape)] = (
        np.nan
    )
    synapses = rng.standard_normal((populations, 1, 30)) * gain[:, :, None]
    paired = rng.standard_normal((populations, 1, 2, 6, 6)) * gain[:, :, None, None, None]
    for name, values in (("responses", responses), ("synapses", synapses), ("paired", paired)):
        if bits == 8:
            for suffix, part in zip(("", "_scale", "_offset"), schema.encode(values), strict=True):
                writer.write(name, name + suffix, part)
        else:
            writer.write(name, name, values.astype(np.float16))
    names = [o.name for _, o in all_observables()]
    writer.write("observables", "observable", np.array(names, dtype=object))
    writer.write(
        "observables", "observables", np.zeros((populations, checkpoints, 45), dtype=np.float32)
    )
    writer.close()
    return open_cohort(path)


@pytest.fixture(scope="session")
def make_cohort() -> Callable[..., Cohort]:
    """Return the function that writes such cohorts."""
    return _make_cohort


@pytest.fixture(scope="session")
def separable(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    """Rules whose activity grows at clearly different rates."""
    return _make_cohort(tmp_path_factory.mktemp("cohort") / "separable.zarr", effect=1.0)


@pytest.fixture(scope="session")
def equal(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    """Rules that differ in nothing but their names."""
    return _make_cohort(tmp_path_factory.mktemp("cohort") / "equal.zarr", effect=0.0)
