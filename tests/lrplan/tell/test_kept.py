"""Forecasts that are kept: rebuilt exactly, or made anew."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from lrplan import Design, Interval, Schedule, forecast
from lrplan.cache import Cache
from lrplan.classifiers.calibrated_forest import calibrated_forest
from lrplan.tell import kept
from lrplan.tell.kept import Question, describe, find_forecast, keep_forecast, rebuild

DESIGN = Design(units=9, noise=0.1, schedule=Schedule(sessions=3), measure="activity,weights")
LIGHT = calibrated_forest({"max_features": ["sqrt"], "trees": [5]}, search_trees=5)


@pytest.fixture
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("LRPLAN_CACHE", str(tmp_path / "cache"))
    return Cache(tmp_path / "cache")


@pytest.fixture(scope="module")
def plan(separable):
    return forecast(separable, DESIGN, rng=0, classifier=LIGHT)


def asked(cohort, **changes):
    given = {"design": DESIGN, "seed": 0, "split": "organism", "include_unlearned": False}
    return Question(cohort=str(cohort.path), **{**given, **changes})


def same(a, b):
    """Return whether two values are the same in kind and to the bit."""
    if type(a) is not type(b):
        return False
    if isinstance(a, xr.DataArray):
        return a.identical(b) and a.dtype == b.dtype
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(v, b[k]) for k, v in a.items())
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if hasattr(a, "__dataclass_fields__"):
        return all(same(getattr(a, n), getattr(b, n)) for n in a.__dataclass_fields__)
    return a == b or (a != a and b != b)


def test_a_forecast_is_rebuilt_exactly(plan, separable, cache):
    key = asked(separable).key()
    assert find_forecast(key) is None
    keep_forecast(key, plan)
    found = find_forecast(asked(separable).key())
    assert same(found, plan)
    assert found.to_json() == plan.to_json()
    assert found.summary() == plan.summary()
    assert found.design == DESIGN


def test_all_kinds_of_values_are_rebuilt():
    given = {
        "none": None,
        "numbers": [1, 0.1, float("nan"), float("inf"), True, np.float32(0.1), np.int64(3)],
        "pairs": [("a", "b"), ()],
        1: {"array": np.arange(3), "list": {}},
        "labelled": xr.DataArray(
            [[0.1, np.nan]],
            dims=("x", "y"),
            coords={"y": ["a", "bc"], "z": ("x", [3])},
            attrs={"units": "1"},
        ),
        "interval": Interval(0.1, float("nan"), np.float64(0.3)),
    }
    arrays = {}
    plain = describe(given, arrays)
    assert same(rebuild(plain, arrays), given)


def test_what_cannot_be_rebuilt_is_refused():
    with pytest.raises(TypeError, match="is of a kind that is not kept"):
        describe({"x": object()}, {})


@pytest.mark.parametrize(
    "meta",
    [
        {},
        {"forecast": 3},
        {"forecast": {"class": ["os", "system"], "fields": {}}},
        {"forecast": {"class": ["lrplan.tell.forecast", "forecast"], "fields": {}}},
        {"forecast": {"class": ["lrplan.tell.nowhere", "Forecast"], "fields": {}}},
        {"forecast": {"class": ["lrplan.tell.forecast", "Forecast"], "fields": {"old": 1}}},
        {"forecast": {"unknown": []}},
    ],
)
def test_what_is_no_forecast_is_not_believed(separable, cache, meta):
    key = asked(separable).key()
    cache.put(key, {}, meta)
    assert find_forecast(key) is None


def test_another_question_has_another_key(separable, equal, cache, monkeypatch):
    keys = [
        asked(separable),
        asked(equal),
        asked(separable, seed=1),
        asked(separable, split="layer"),
        asked(separable, include_unlearned=True),
        asked(separable, design=DESIGN.with_(noise=0.2)),
        asked(separable, design=DESIGN.with_(schedule=Schedule(sessions=4))),
    ]
    found = [str(q.key()) for q in keys]
    assert len(set(found)) == len(found)
    monkeypatch.setattr(kept, "code_digest", lambda: "another")
    assert str(keys[0].key()) not in found


def test_nothing_is_kept_where_there_is_no_cache_or_no_cohort(plan, separable, cache, monkeypatch):
    assert Question("nowhere.zarr", DESIGN, 0, "organism", False).key() is None
    monkeypatch.setenv("LRPLAN_CACHE", "off")
    assert asked(separable).key() is None
    keep_forecast(None, plan)
    assert find_forecast(None) is None
