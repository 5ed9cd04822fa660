"""Cohorts of known separability, made without training."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin

from lrplan.cohort import format as schema
from lrplan.cohort.store import Cohort, open_cohort
from lrplan.terms import STORED_OBSERVABLES

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
    unlearned: Sequence[int] = (),
    known: bool = True,
    small: int = 0,
    bits: int = 8,
    seed: int = 0,
    rules: Sequence[str] = RULES,
    architectures: Sequence[str] = ("knet4", "mlp"),
    tasks: Sequence[str] = ("digits_simclr", "digits"),
    starts: Sequence[str] = (),
    spoiled: Sequence[str] = (),
    short: int = 0,
    without: Sequence[str] = (),
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
    unlearned : sequence of int
        Which organisms end where they began, at chance.
    known : bool
        Whether chance and the number of held-out examples are written.
    small : int
        How many of the first populations hold half of the units.
    rules, architectures, tasks : sequence of str
        What organisms are of, in turn.
    starts : sequence of str
        From what weights training starts, in turn, if the specs say so.
    spoiled : sequence of str
        Observables that are NaN in one population.
    short : int
        How many of the first populations lack the observables of the last checkpoint.
    without : sequence of str
        Groups that are not written.
    """
    rng = np.random.default_rng(seed)
    kinds = tuple(rules)
    rules = [r for r in kinds for _ in range(per_rule)]
    n = len(rules)
    architectures = [
        architectures[i % max(2, len(architectures)) % len(architectures)] for i in range(n)
    ]
    tasks = [tasks[i // 2 % 2 % len(tasks)] for i in range(n)]
    rates = [0.02 if i // 4 % 2 else 0.05 for i in range(n)]
    writer = schema.CohortWriter(path, {"name": "made", "recipe": ""})
    writer.write("organisms", "id", np.array([f"{i:016x}" for i in range(n)], dtype=object))
    for name, words in {
        "rule": rules,
        "credit": ["backpropagation" if r in ("sgdm", "adam") else r for r in rules],
        "optimizer": ["adam" if r == "adam" else "sgdm" for r in rules],
        "objective": ["self-supervised" if "simclr" in t else "supervised" for t in tasks],
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
    specs: list[dict[str, object]] = [{"i": i} for i in range(n)]
    if starts:
        for i, spec in enumerate(specs):
            spec["settings"] = {"training": {"start": starts[i // 2 % 2 % len(starts)]}}
    writer.write("organisms", "spec", np.array([json.dumps(s) for s in specs], object))
    learned = np.linspace(0.1, 0.9, checkpoints, dtype=np.float32)
    for name in ("performance", "loss"):
        values = learned + 0.01 * rng.random((n, checkpoints), dtype=np.float32)
        values[list(unlearned)] = 0.1
        writer.write("behaviour", name, values if name == "performance" else 3 - values)
    if known:
        writer.write("behaviour", "chance", np.full(n, 0.1))
        writer.write("behaviour", "held_out", np.full(n, 1000))
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
    growth = np.array([kinds.index(r) for r in rules])[organism] * effect
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
        if name in without:
            continue
        if bits in schema.BITS:
            codes, scale, offset = schema.encode(values, bits)
            writer.write(name, name, codes, {"bits": bits})
            writer.write(name, name + "_scale", scale)
            writer.write(name, name + "_offset", offset)
        else:
            writer.write(name, name, values.astype(np.float16))
    if "observables" not in without:
        names = list(STORED_OBSERVABLES)
        # A stream of its own, so that the arrays above stay what they were without it.
        own = np.random.default_rng((seed, 1)).lognormal(0, 0.1, (populations, 1, len(names)))
        values = (own * gain[:, :, None]).astype(np.float32)
        values[0, 0, np.isin(names, list(spoiled))] = np.nan
        values[:short, -1] = np.nan
        writer.write("observables", "observable", np.array(names, dtype=object))
        writer.write("observables", "observables", values)
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
def families(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    """As `separable`, of four families with two architectures in one; resnet18 lacks adam."""
    names = ("knet4", "knet5", "mlp", "alexnet", "resnet18")
    lost = [i for i in range(15, 30) if i % 5 == 4]
    path = tmp_path_factory.mktemp("cohort") / "families.zarr"
    return _make_cohort(path, effect=1.0, per_rule=15, architectures=names, unlearned=lost)


@pytest.fixture(scope="session")
def equal(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    """Rules that differ in nothing but their names."""
    return _make_cohort(tmp_path_factory.mktemp("cohort") / "equal.zarr", effect=0.0)


class Light(ClassifierMixin, BaseEstimator):
    """The nearest mean of each label, in z-scores."""

    summary = "nearest mean"
    cites = "a test"

    @classmethod
    def make(cls, *, sessions, static, random_state, effort, workers):
        return cls()

    def fit(self, X, y, groups=None):
        assert groups is not None
        self.centre_, self.spread_ = X.mean(axis=0), X.std(axis=0) + 1e-12
        Z = (X - self.centre_) / self.spread_
        self.classes_ = np.unique(y)
        self.means_ = np.stack([Z[y == k].mean(axis=0) for k in self.classes_])
        return self

    def predict(self, X):
        Z = (X - self.centre_) / self.spread_
        far = ((Z[:, None] - self.means_) ** 2).sum(axis=-1)
        return self.classes_[far.argmin(axis=1)]


class Nearest(Light):
    """The label of the nearest recording, which knows an organism again by its other layers."""

    def fit(self, X, y, groups=None):
        super().fit(X, y, groups)
        self.means_, self.labels_ = (X - self.centre_) / self.spread_, y
        return self

    def predict(self, X):
        Z = (X - self.centre_) / self.spread_
        return self.labels_[((Z[:, None] - self.means_) ** 2).sum(axis=-1).argmin(axis=1)]


@pytest.fixture
def light() -> Iterator[type[Light]]:
    """Register classifiers that cost next to nothing as ``light`` and ``nearest``."""
    from lrplan.classifiers import classifiers

    classifiers.names()
    classifiers.add("light", Light)
    classifiers.add("nearest", Nearest)
    yield Light
    del classifiers._entries["light"], classifiers._entries["nearest"]
