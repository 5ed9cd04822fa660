"""Observables of whole cohorts that are kept: the same to the bit, or computed anew."""

from __future__ import annotations

import numpy as np
import pytest

from lrplan import Design, Schedule, open_cohort
from lrplan.cache import Cache
from lrplan.measure import kept
from lrplan.measure.observables import GEOMETRY, Family, Observable, families
from lrplan.measure.observe import Observed, observe_cohort, observe_designs

DESIGN = Design(units=9, observables=(GEOMETRY, "act"))


@pytest.fixture
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("LRPLAN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def filled(monkeypatch):
    """Count the populations that are computed."""
    found = []
    fill = Observed.fill

    def counted(self, samples, measure, places):
        found.extend(places)
        return fill(self, samples, measure, places)

    monkeypatch.setattr(Observed, "fill", counted)
    return found


def test_what_is_kept_is_the_same_to_the_bit(separable, cache, filled, monkeypatch):
    fresh = observe_cohort(separable, DESIGN, rng=3)
    count = len(filled)
    assert count == len(separable.usable_populations())
    again = observe_cohort(open_cohort(separable.path), DESIGN, rng=3)
    assert len(filled) == count
    assert again.data.identical(fresh.data)
    monkeypatch.setenv("LRPLAN_CACHE", "off")
    assert observe_cohort(separable, DESIGN, rng=3).data.identical(fresh.data)
    assert len(filled) == 2 * count


def test_a_sweep_is_kept_as_a_whole(separable, cache, filled):
    given = {
        "populations": separable.usable_populations(),
        "units": [9, np.int64(20)],
        "noise": np.array([0.0, 0.5]),
        "schedules": [Schedule(), Schedule(sessions=2, start=1)],
    }
    fresh = observe_designs(separable, DESIGN, key=5, **given)
    count = len(filled)
    again = observe_designs(separable, DESIGN, key=5, **given)
    assert len(filled) == count
    for cell in np.ndindex(2, 2, 2):
        assert again.trajectories(*cell).data.identical(fresh.trajectories(*cell).data)


@pytest.mark.parametrize(
    ("changes", "rng"),
    [
        ({}, 4),
        ({"units": 8}, 3),
        ({"noise": 0.2}, 3),
        ({"tracked": False, "observables": "act"}, 3),
        ({"schedule": Schedule(sessions=3)}, 3),
        ({"modality": "counts"}, 3),
    ],
)
def test_another_question_is_computed(separable, cache, filled, changes, rng):
    observe_cohort(separable, DESIGN, rng=3)
    count = len(filled)
    observe_cohort(separable, DESIGN.with_(**changes), rng=rng)
    assert len(filled) == 2 * count


def test_other_code_or_another_cohort_finds_nothing(separable, equal, cache, filled, monkeypatch):
    observe_cohort(separable, DESIGN, rng=3)
    count = len(filled)
    observe_cohort(equal, DESIGN, rng=3)
    assert len(filled) == 2 * count
    monkeypatch.setattr(kept, "code_digest", lambda: "another")
    observe_cohort(separable, DESIGN, rng=3)
    assert len(filled) == 3 * count


def test_a_few_populations_are_not_kept(separable, cache):
    observe_cohort(separable, DESIGN, rng=3, populations=[0, 1, 2])
    assert not cache.exists()


def test_what_would_push_out_all_others_is_not_kept(separable, cache, monkeypatch):
    monkeypatch.setattr(kept, "LARGEST_BYTES", 1000)
    observe_cohort(separable, DESIGN, rng=3)
    assert not cache.exists()


def test_what_a_plug_in_takes_is_not_kept(separable, cache, monkeypatch):
    def compute(values):
        return np.abs(values).mean(axis=(-2, -1))[..., None]

    compute.__module__ = "my_lab.observables"
    family = Family(
        name="lab",
        measure="activity",
        observables=(Observable("lab_size", 1, "mean size"),),
        compute=compute,
        scale=compute,
        cites="a lab",
    )
    monkeypatch.setitem(families._entries, "lab", family)
    assert kept.own_code(DESIGN)
    assert not kept.own_code(DESIGN.with_(observables="lab"))


def test_an_entry_of_other_shapes_is_computed_anew(separable, cache, filled, monkeypatch):
    keys = []
    with monkeypatch.context() as patch:
        patch.setattr(Cache, "put", lambda self, key, arrays, meta=None: keys.append(key))
        fresh = observe_cohort(separable, DESIGN, rng=3)
    count = len(filled)
    Cache(cache).put(keys[0], {"values": np.zeros(3)})
    assert observe_cohort(separable, DESIGN, rng=3).data.identical(fresh.data)
    assert len(filled) == 2 * count
